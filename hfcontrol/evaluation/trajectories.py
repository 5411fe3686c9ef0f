"""Trajectories of a run as data for other programs, in npz and csv files; and files that are written whole or not at all."""

import csv
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.files import atomic_write
from hfcontrol.errors import UsageError
from hfcontrol.tasks.scenario import SPLITS

PREFIXES = {
    "output": "output ",
    "observation": "observed ",
    "target": "target ",
    "hidden": "hidden ",
}  # of columns


class Quantity(NamedTuple):
    """Names, units and values of what belongs together: trajectories [time, entry, trial]."""

    names: tuple
    units: tuple
    values: np.ndarray


@dataclass(frozen=True)
class Trajectories:
    """What a controller did: quantities by name, the times (T+1,) [s], parameters (np, N) and loss (N,) of every trial.

    States and outputs are those at every time; what happens within a step, control, observation, target and hidden
    activity, stands at its beginning, so that the last time has none. The observation is what the network sees, delayed
    and noisy; the target is what it is told, the goal at the end of the step. `about` says which run, plant, task and
    split these are.
    """

    about: dict
    time: np.ndarray
    quantities: dict
    params: dict
    losses: np.ndarray


def trajectories(run, split="training", settings=None, trials=None):
    """The `Trajectories` of a run on the "training" or the "held_out" scenarios.

    `settings` may differ from the run's, to see it under other conditions. Raises UsageError for another split.
    """
    if split not in SPLITS:
        raise UsageError(f"--split {split}: known are {', '.join(SPLITS)}")
    loop = run.closed_loop(split, settings, trials=trials)
    plant, scenario, rollout, network = (
        loop.plant,
        loop.scenario,
        loop.rollout(run.theta),
        run.network,
    )
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
    in_hand = (settings or run.settings).space == "hand"
    told, places = (
        ("output", plant.hand)
        if in_hand
        else ("state", range(scenario.target.shape[1]))
    )
    if len(places) != plant.n_body and not in_hand:
        names, units = tuple(f"seen_{i + 1}" for i in places), ("",) * len(places)
    else:
        names, units = (
            tuple(words[i] for i in places) for words in quantities[told][:2]
        )
    quantities["target"] = Quantity(names, units, scenario.target)
    cells = tuple(
        f"{layer.name}.{k + 1}"
        for layer in network.layers[:-1]
        for k in range(layer.size)
    )
    quantities["hidden"] = Quantity(cells, ("",) * len(cells), rollout.hidden(network))
    about = {
        "run": run.path.resolve().name,
        "plant": plant.name,
        "task": run.trainer.task.name,
        "split": split,
    }
    return Trajectories(
        about,
        plant.dt * np.arange(scenario.steps + 1),
        quantities,
        dict(zip(plant.params, scenario.params)),
        rollout.losses,
    )


def _npz(path, data):
    """Arrays [time, entry, trial] with their names and units beside them; texts are arrays of text, nothing is pickled."""
    arrays = {name: np.array(word) for name, word in data.about.items()} | {
        "time": data.time,
        "time_units": np.array("s"),
    }
    for kind, (names, units, values) in data.quantities.items():
        arrays |= {
            kind: values,
            f"{kind}_names": np.array(names),
            f"{kind}_units": np.array(units),
        }
    if data.params:
        arrays |= {
            "parameter": np.array(list(data.params.values())),
            "parameter_names": np.array(list(data.params)),
        }
    np.savez_compressed(path, loss=data.losses, **arrays)


def _csv(path, data):
    """A row for each trial (from 1 on) and time, every number so that it reads back as it was."""
    steps = len(data.time) - 1
    always, within = (
        [q for q in data.quantities.items() if (len(q[1].values) > steps) == whole]
        for whole in (True, False)
    )
    heads = [
        "trial",
        "time [s]",
        "loss",
        *(f"parameter {name}" for name in data.params),
    ]
    for kind, (names, units, _) in (*always, *within):
        heads += [
            PREFIXES.get(kind, "") + name + (f" [{unit}]" if unit else "")
            for name, unit in zip(names, units)
        ]
    params = np.array(list(data.params.values())).reshape(-1, len(data.losses))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(heads)
        for n, loss in enumerate(data.losses.tolist()):
            now, then = (
                np.concatenate([q.values[:, :, n] for _, q in part], axis=1).tolist()
                for part in (always, within)
            )
            first = [loss, *params[:, n].tolist()]
            for t, seconds in enumerate(data.time.tolist()):
                writer.writerow(
                    [
                        n + 1,
                        seconds,
                        *first,
                        *now[t],
                        *(then[t] if t < steps else [""] * len(then[0])),
                    ]
                )


WRITERS = {".npz": _npz, ".csv": _csv}


def simulate(run, path, split="training", settings=None, trials=None):
    """Write the trajectories of a run to `path`, as npz or csv by its ending; what goes in stands at `trajectories`.

    Raises UsageError for another ending, and where the file cannot be written.
    """
    with atomic_write(path, WRITERS) as temporary:
        WRITERS[temporary.suffix](temporary, trajectories(run, split, settings, trials))
