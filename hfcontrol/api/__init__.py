"""What `import hfcontrol as hf` offers.

train, resume        train a controller, or continue a run
evaluate             compare a controller with the optimum
benchmark            compare trained controllers with classical ones
Run                  a run folder, its settings, network and numbers
Controller           a trained controller, one step at a time
Settings             all settings of a training
load_plant           a plant by its name or file
plant_names          names of the shipped plants
check_plant          check a plant against the contract
HFControlError       the base class of all errors
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hfcontrol.api.training import resume, train
    from hfcontrol.classical.benchmark import benchmark
    from hfcontrol.deploy.controller import Controller
    from hfcontrol.errors import HFControlError
    from hfcontrol.evaluation.evaluation import evaluate
    from hfcontrol.evaluation.plant_check import check_plant
    from hfcontrol.plant.registry import load_plant, plant_names
    from hfcontrol.runs.run import Run
    from hfcontrol.runs.settings import Settings

__all__ = [
    "Controller",
    "HFControlError",
    "Run",
    "Settings",
    "benchmark",
    "check_plant",
    "evaluate",
    "load_plant",
    "plant_names",
    "resume",
    "train",
]

# Where each name is. Only the modules of names in use are imported: looking at a plant
# should not wait for the libraries that training needs.
MODULES = {
    "Controller": "deploy.controller",
    "HFControlError": "errors",
    "Run": "runs.run",
    "Settings": "runs.settings",
    "benchmark": "classical.benchmark",
    "check_plant": "evaluation.plant_check",
    "evaluate": "evaluation.evaluation",
    "load_plant": "plant.registry",
    "plant_names": "plant.registry",
    "resume": "api.training",
    "train": "api.training",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name not in MODULES:
        raise AttributeError(f"module 'hfcontrol' has no attribute {name!r}")
    return getattr(import_module(f"hfcontrol.{MODULES[name]}"), name)


def __dir__() -> list[str]:
    """Return all public names, loaded or not."""
    return list(__all__)
