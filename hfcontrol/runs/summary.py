"""A run in one line: what a list of many runs shows of each.

It is read from the header of the newest checkpoint alone, without its arrays.
"""

from typing import Any, NamedTuple

from hfcontrol.errors import CheckpointError
from hfcontrol.runs.folder import RunFolder
from hfcontrol.runs.form import check_settings, check_stop, check_value
from hfcontrol.runs.hdf5 import Tree
from hfcontrol.runs.settings import Settings

# The entries of a training's state that a list shows.
NUMBERS: dict[str, Any] = {
    "loss": float,
    "updates": int,
    "rollouts": int,
    "seconds": float,
}


class Summary(NamedTuple):
    """Where a run stands: loss, counts, time [s], why it stopped, its own settings."""

    loss: float
    updates: int
    rollouts: int
    seconds: float
    stop: str | None
    settings: dict[str, Any]


def summarise(folder: RunFolder) -> Summary:
    """Return the summary of a run at its newest checkpoint.

    Raises CheckpointError if it cannot be read.
    """
    tree = folder.load(arrays=False)
    settings = check_settings(tree.get("settings"))
    numbers = {name: _number(tree, name) for name in NUMBERS}
    stop = tree.get("stop")
    check_stop(stop)
    return Summary(**numbers, stop=stop, settings=own_settings(settings))


def _number(tree: Tree, name: str) -> Any:
    """Return a number of the training's state, of the right type."""
    state = tree.get("state")
    if not isinstance(state, dict) or name not in state:
        raise CheckpointError(f"its entry state/{name} is missing")
    check_value(state[name], NUMBERS[name], f"state/{name}")
    return state[name]


def own_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings that do not have their default value, by name."""
    names = type(settings).model_fields
    return {n: getattr(settings, n) for n in names if not settings.is_default(n)}
