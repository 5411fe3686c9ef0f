"""Trajectories of a run as files for other programs, npz and csv."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hfcontrol.arrays.files import atomic_write
from hfcontrol.runs.run import Run
from hfcontrol.runs.settings import Settings
from hfcontrol.runs.trajectories import Quantity, Trajectories


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
        header += quantity.columns(kind)
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
) -> Trajectories:
    """Write the trajectories of a run to a file, npz or csv by its ending; return them.

    The other arguments are those of `Run.rollout`. Raises UsageError for another
    ending, and if the file cannot be written.
    """
    with atomic_write(path, WRITERS) as temporary:
        # Inside the context, so that a wrong ending is refused before the simulation.
        data = run.rollout(split, settings, trials)
        WRITERS[temporary.suffix](temporary, data)
    return data
