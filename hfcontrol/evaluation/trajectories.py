"""Trajectories of a run as data for other programs, in npz and csv files."""

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hfcontrol.arrays.files import atomic_write
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.loop import ClosedLoop
from hfcontrol.errors import UsageError
from hfcontrol.network.network import Network
from hfcontrol.runs.run import Run
from hfcontrol.runs.settings import Settings
from hfcontrol.tasks.scenario import SPLITS

# Before the column names of a csv file; states and controls have none.
COLUMN_PREFIXES = {
    "output": "output ",
    "observation": "observed ",
    "target": "target ",
    "hidden": "hidden ",
}


class Quantity(NamedTuple):
    """Names and units of several entries, and their values [time, entry, trial]."""

    names: tuple[str, ...]
    units: tuple[str, ...]
    values: Array


@dataclass(frozen=True)
class Trajectories:
    """What a controller did in every trial.

    about: run, plant, task and split.
    time: (T+1,) [s].
    quantities: by kind; state and output are at every time. Control, observation,
        target and hidden are at the beginning of every step, so that the last time has
        none. The observation is what the network gets, delayed and noisy; the target is
        the goal at the end of the step.
    params: values (N,) by name.
    losses: (N,).
    """

    about: dict[str, str]
    time: Array
    quantities: dict[str, Quantity]
    params: dict[str, Array]
    losses: Array


def compute_trajectories(
    run: Run,
    split: str = "training",
    settings: Settings | None = None,
    trials: int | None = None,
) -> Trajectories:
    """Compute the trajectories of a run on the "training" or "held_out" scenarios.

    settings: other conditions than those of the training, default the run's.
    trials: number of trials, default the task's.

    Raises UsageError for another split.
    """
    if split not in SPLITS:
        raise UsageError(f"`split` {split}: must be one of {', '.join(SPLITS)}")
    loop = run.closed_loop(split, settings, trials=trials)
    plant, scenario = loop.plant, loop.scenario
    rollout = loop.rollout(run.theta)

    values = {
        "state": rollout.x,
        "output": loop.kernels.output(rollout.x, scenario.params),
        "control": rollout.u,
        "observation": rollout.y,
    }
    quantities = {
        kind: Quantity(getattr(plant, kind), plant.units[kind], values[kind])
        for kind in values
    }
    space = (settings or run.settings).space
    quantities["target"] = _target_quantity(loop, space, quantities)
    quantities["hidden"] = _hidden_quantity(run.network, rollout.hidden(run.network))

    about = {
        "run": run.path.resolve().name,
        "plant": plant.name,
        "task": run.trained_task.name,
        "split": split,
    }
    time = plant.dt * np.arange(scenario.steps + 1)
    params = dict(zip(plant.params, scenario.params, strict=True))
    return Trajectories(about, time, quantities, params, rollout.losses)


def _target_quantity(
    loop: ClosedLoop, space: str, quantities: dict[str, Quantity]
) -> Quantity:
    """The target, with the names and units of the entries that it is a goal for."""
    plant, target = loop.plant, loop.scenario.target
    if space == "hand":
        assert plant.hand is not None
        return _name_entries(quantities["output"], plant.hand, target)
    size = target.shape[1]
    if size == plant.n_body:
        return _name_entries(quantities["state"], range(size), target)
    # The task defines its own entries, which have no names.
    names = tuple(f"seen_{i + 1}" for i in range(size))
    return Quantity(names, ("",) * size, target)


def _name_entries(source: Quantity, indices: Iterable[int], values: Array) -> Quantity:
    """Values with the names and units of some entries of another quantity."""
    chosen = list(indices)
    names = tuple(source.names[i] for i in chosen)
    units = tuple(source.units[i] for i in chosen)
    return Quantity(names, units, values)


def _hidden_quantity(network: Network, activations: Array) -> Quantity:
    """Activations of the hidden units, which are named by layer and number."""
    names = tuple(
        f"{layer.name}.{k + 1}"
        for layer in network.layers[:-1]
        for k in range(layer.size)
    )
    return Quantity(names, ("",) * len(names), activations)


def _write_npz(path: Path, data: Trajectories) -> None:
    """Write arrays [time, entry, trial], with arrays of their names and units.

    Texts are arrays of text; nothing is pickled.
    """
    arrays: dict[str, Any] = {name: np.array(word) for name, word in data.about.items()}
    arrays["time"] = data.time
    arrays["time_units"] = np.array("s")
    for kind, (names, units, values) in data.quantities.items():
        arrays[kind] = values
        arrays[f"{kind}_names"] = np.array(names)
        arrays[f"{kind}_units"] = np.array(units)
    if data.params:
        arrays["parameter"] = np.array(list(data.params.values()))
        arrays["parameter_names"] = np.array(list(data.params))
    np.savez_compressed(path, loss=data.losses, **arrays)


def _write_csv(path: Path, data: Trajectories) -> None:
    """Write a row for each trial, counted from 1, and time.

    Every number reads back as it was. Quantities without a value at the last time come
    last.
    """
    steps = len(data.time) - 1
    at_times: dict[str, Quantity] = {}
    in_steps: dict[str, Quantity] = {}
    for kind, quantity in data.quantities.items():
        group = at_times if len(quantity.values) > steps else in_steps
        group[kind] = quantity

    header = ["trial", "time [s]", "loss"]
    header += [f"parameter {name}" for name in data.params]
    for kind, quantity in {**at_times, **in_steps}.items():
        header += _column_names(kind, quantity)
    # Reshaped for plants without parameters, so that every trial has a column.
    params = np.array(list(data.params.values())).reshape(-1, len(data.losses))

    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for n, loss in enumerate(data.losses.tolist()):
            constant = [loss, *params[:, n].tolist()]
            whole = _trial_rows(at_times, n)
            partial = _trial_rows(in_steps, n)
            # The last time ends the last step, and begins none.
            partial.append([""] * len(partial[0]))
            for t, seconds in enumerate(data.time.tolist()):
                writer.writerow([n + 1, seconds, *constant, *whole[t], *partial[t]])


def _column_names(kind: str, quantity: Quantity) -> list[str]:
    """Column names of a quantity, with units in square brackets."""
    prefix = COLUMN_PREFIXES.get(kind, "")
    return [
        f"{prefix}{name} [{unit}]" if unit else f"{prefix}{name}"
        for name, unit in zip(quantity.names, quantity.units, strict=True)
    ]


def _trial_rows(quantities: dict[str, Quantity], trial: int) -> list[list[object]]:
    """The values of a trial: one list per time, over all quantities."""
    columns = [quantity.values[:, :, trial] for quantity in quantities.values()]
    return np.concatenate(columns, axis=1).tolist()


# By the ending of the file.
WRITERS: dict[str, Callable[[Path, Trajectories], None]] = {
    ".npz": _write_npz,
    ".csv": _write_csv,
}


@np.errstate(all="ignore")
def write_trajectories(
    run: Run,
    path: Path | str,
    split: str = "training",
    settings: Settings | None = None,
    trials: int | None = None,
) -> None:
    """Write the trajectories of a run to a file, npz or csv by its ending.

    The other arguments are those of `compute_trajectories`. Raises UsageError for
    another ending, and if the file cannot be written.
    """
    with atomic_write(path, WRITERS) as temporary:
        # Inside the context, so that a wrong ending is refused before the simulation.
        data = compute_trajectories(run, split, settings, trials)
        WRITERS[temporary.suffix](temporary, data)
