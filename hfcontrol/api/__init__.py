"""What `import hfcontrol as hf` offers.

train, resume        train a controller, or continue a run
sweep                train many settings with many seeds
evaluate, compare    compare a controller, or several runs, with the optimum
simulate             what a controller does, as named arrays
plot, animate        figures and movies
plot_tradeoff        the figure of a sweep
report               a page about runs
export               a controller for other programs
benchmark            compare trained controllers with classical ones
Run                  a run folder, its settings, network and numbers
Controller           a trained controller, one step at a time
Settings             all settings of a training
load_plant           a plant by its name or file
plant_names          names of the shipped plants
check_plant          check a plant against the contract
EarlyStop            a callback that ends a training that gains little
StopTraining         what a callback raises to end a training
Event                what a callback gets
Evaluation, Plant, RunTable, SweepTable, Trajectories   what the functions return
HFControlError       the base class of all errors
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hfcontrol.api.callbacks import EarlyStop
    from hfcontrol.api.files import animate, export, plot, simulate
    from hfcontrol.api.sweeps import sweep
    from hfcontrol.api.training import resume, train
    from hfcontrol.classical.benchmark import benchmark
    from hfcontrol.deploy.controller import Controller
    from hfcontrol.errors import HFControlError
    from hfcontrol.evaluation.evaluation import evaluate
    from hfcontrol.evaluation.plant_check import check_plant
    from hfcontrol.evaluation.result import Evaluation
    from hfcontrol.evaluation.run_table import RunTable, compare
    from hfcontrol.figures.tradeoff import plot_tradeoff
    from hfcontrol.jobs.sweep_table import SweepTable
    from hfcontrol.plant.contract import Plant
    from hfcontrol.plant.registry import load_plant, plant_names
    from hfcontrol.reports.report import report
    from hfcontrol.runs.run import Run
    from hfcontrol.runs.settings import Settings
    from hfcontrol.runs.trajectories import Trajectories
    from hfcontrol.training.state import Event
    from hfcontrol.training.stop import StopTraining

__all__ = [
    "Controller",
    "EarlyStop",
    "Evaluation",
    "Event",
    "HFControlError",
    "Plant",
    "Run",
    "RunTable",
    "Settings",
    "StopTraining",
    "SweepTable",
    "Trajectories",
    "animate",
    "benchmark",
    "check_plant",
    "compare",
    "evaluate",
    "export",
    "load_plant",
    "plant_names",
    "plot",
    "plot_tradeoff",
    "report",
    "resume",
    "simulate",
    "sweep",
    "train",
]

# Where each name is. Only the modules of names in use are imported: looking at a plant
# should not wait for the libraries that training needs.
MODULES = {
    "Controller": "deploy.controller",
    "EarlyStop": "api.callbacks",
    "Evaluation": "evaluation.result",
    "Event": "training.state",
    "HFControlError": "errors",
    "Plant": "plant.contract",
    "Run": "runs.run",
    "RunTable": "evaluation.run_table",
    "Settings": "runs.settings",
    "StopTraining": "training.stop",
    "SweepTable": "jobs.sweep_table",
    "Trajectories": "runs.trajectories",
    "animate": "api.files",
    "benchmark": "classical.benchmark",
    "check_plant": "evaluation.plant_check",
    "compare": "evaluation.run_table",
    "evaluate": "evaluation.evaluation",
    "export": "api.files",
    "load_plant": "plant.registry",
    "plant_names": "plant.registry",
    "plot": "api.files",
    "plot_tradeoff": "figures.tradeoff",
    "report": "reports.report",
    "resume": "api.training",
    "simulate": "api.files",
    "sweep": "api.sweeps",
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
