"""Plants: the contract of a plant file, the reader, and `load_plant`, which finds them.

- contract.py: `Plant`, the simulator as all other packages see it
- environment.py: `Environment`, a Gymnasium environment in place of a plant
- source.py: the part of Python that a plant's functions may use
- probe.py, numpy_probe.py: plain calls of a plant's functions
- reader.py: `read_plant`, from the text of a plant file to a `Plant`
- simulators: MuJoCo models and Gymnasium environments as plants
- registry.py: `load_plant`, from a name or path to a `Plant`, and `plant_names`
- modifiers.py: other parameters, actuators, fewer observations
"""
