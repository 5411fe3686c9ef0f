"""Controllers outside of hfcontrol: as a Python object, in C, as npz and as ONNX.

- `controller`: `Controller`, a trained network that acts step by step
- `export`: writing a controller to a file, in the format that its suffix names
- `c_source`, `npz`, `onnx`: one format each
"""
