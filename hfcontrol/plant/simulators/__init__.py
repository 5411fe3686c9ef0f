"""Simulators whose models become plants: MuJoCo and Gymnasium.

`SIMULATORS` says which names each of them loads. To add a simulator, write a module
with a function `load(name)` and add a row. A loader imports its simulator only when it
is called, so that the packages stay optional.
"""

from collections.abc import Callable
from typing import NamedTuple

from hfcontrol.errors import PlantError
from hfcontrol.plant.contract import Plant

MUJOCO_SUFFIX = ".xml"


class SimulatorEntry(NamedTuple):
    """A simulator: which plant names it loads, and its loader.

    `example` is how the names look, for messages; `suffix` is the ending of the files
    that it loads, if it loads files.
    """

    example: str
    matches: Callable[[str], bool]
    load: Callable[[str], Plant]
    suffix: str | None = None


def is_environment(name: str) -> bool:
    """Return whether a plant name is that of a Gymnasium environment, gym:ID."""
    return name.startswith("gym:")


def is_mujoco_model(name: str) -> bool:
    """Return whether a plant name is the path of an MJCF file."""
    return name.lower().endswith(MUJOCO_SUFFIX)


def load_environment(name: str) -> Plant:
    """Return the plant of a Gymnasium environment.

    Raises PlantError if it cannot be a plant, or if a package is not installed.
    """
    from hfcontrol.plant.simulators.gym import load

    return load(name)


def load_mujoco_model(name: str) -> Plant:
    """Return the plant of an MJCF file.

    Raises PlantError if it cannot be a plant, or if MuJoCo is not installed.
    """
    try:
        from hfcontrol.plant.simulators.mujoco import load
    except ModuleNotFoundError as error:
        # Any other missing module is a fault, not an optional package.
        if error.name != "mujoco":
            raise
        raise PlantError(
            f"plant {name} is a MuJoCo model, and the package mujoco is not installed: "
            "pip install -e '.[mujoco]' in hfcontrol's folder"
        ) from None
    return load(name)


# Searched in this order; the first match loads the plant.
SIMULATORS = (
    SimulatorEntry("gym:ID", is_environment, load_environment),
    SimulatorEntry("model.xml", is_mujoco_model, load_mujoco_model, MUJOCO_SUFFIX),
)
