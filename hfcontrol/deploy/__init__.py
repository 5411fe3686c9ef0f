"""Controllers outside of hfcontrol: the Controller object, C, ONNX and npz."""
