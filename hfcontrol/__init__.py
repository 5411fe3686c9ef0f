"""Second-order training of recurrent controllers on your simulator.

import hfcontrol as hf
run = hf.train("arm2", task="reach", batches=32, seed=0)
print(run.info()["loss"], hf.evaluate(run)["sets"]["held_out"]["ratio"])
"""

from importlib import import_module

__version__ = "0.1.0"

_PUBLIC = {
    "train": "api.training",
    "resume": "api.training",
    "Run": "runs.run",
    "evaluate": "evaluation.evaluation",
    "load_plant": "plant.registry",
    "plant_names": "plant.registry",
    "check_plant": "evaluation.plant_check",
    "Settings": "runs.settings",
    "Controller": "deploy.controller",
    "HFControlError": "errors",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name):
    """Loads a public name when it is first asked for, so that `import hfcontrol` costs nothing."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'hfcontrol' has no attribute {name!r}")
    return getattr(import_module(f"hfcontrol.{_PUBLIC[name]}"), name)
