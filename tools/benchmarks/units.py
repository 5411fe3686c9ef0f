"""The same plant in other units reaches the same ratio, in as many updates.

A plant file is written again in other units, without typical sizes of its own. Every
state, control and observation has a factor, such as 1,000 in the units called milli.
States and observations have an offset too. The cost stays the same number, so that
ratios can be compared.
"""

import tempfile
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.report import ROOT, Row, show, table
from hfcontrol.api.training import train
from hfcontrol.evaluation.evaluation import compare_with_optimum, summarise
from hfcontrol.plant.contract import Plant
from hfcontrol.plant.registry import load_plant
from hfcontrol.tasks.weights import weights_by_component

SPRING = ROOT / "tools" / "benchmarks" / "two_masses.py"

# Plants, tasks, and seconds of training.
CASES = ((str(SPRING), "rest", 10.0), ("pendulum", "balance", 15.0))
SMALLEST_SETTINGS = {"rollouts": 4, "trials": 4, "hidden": (4,)}

# Entries of a task that are numbers for each state.
OF_STATES = ("start", "target", "spread")


class Units(NamedTuple):
    """A unit system: factors of states, controls, observations, and one offset.

    The factors repeat if there are more signals. The offset is that of every state and
    observation.
    """

    states: tuple[float, ...] = (1.0,)
    controls: tuple[float, ...] = (1.0,)
    observations: tuple[float, ...] = (1.0,)
    offset: float = 0.0


SYSTEMS = {
    "SI": Units(),
    "milli": Units((1e3,), (1e3,), (1e3,)),
    "mega": Units((1e-6,), (1e-6,), (1e-6,)),
    "mixed": Units((1e3, 1e-3), (1e-2, 1e2), (1e-1, 1e3)),
    "offset of 350": Units(offset=350.0),
    "milli, controls in mega": Units((1e3,), (1e-6,), (1.0,)),
}

FUNCTIONS = """


def dynamics(x, u, p, dx):
    in_si_dynamics({x}, {u}, p, dx)
{rates}


def observe(x, p, y):
    in_si_observe({x}, p, y)
{seen}
"""
IDENTITY = """

def in_si_observe(x, p, y):
{lines}
"""
RESIDUAL = """

def in_units(x, u, target, p, r):
    {residual}({x}, {u}, {target}, p, r)
"""


def write_plant(name: str, task: str, units: Units, folder: Path) -> Path:
    """Write a plant and one of its tasks in other units; return the file's path.

    The task has no limits of success: their norms mix units.
    """
    plant = load_plant(name)
    a = np.array(list(islice(cycle(units.states), plant.nx)))
    c = np.array(list(islice(cycle(units.controls), plant.nu)))
    e = np.array(list(islice(cycle(units.observations), plant.ny)))
    x = _tuple(f"(x[{i}] - {units.offset!r}) / {f!r}" for i, f in enumerate(a.tolist()))
    u = _tuple(f"u[{i}] / {f!r}" for i, f in enumerate(c.tolist()))
    target = x.replace("x[", "target[")
    rates = [f"    dx[{i}] *= {f!r}" for i, f in enumerate(a.tolist())]
    seen = [
        f"    y[{i}] = {f!r} * y[{i}] + {units.offset!r}"
        for i, f in enumerate(e.tolist())
    ]

    text = plant.source
    for function in ("dynamics", "observe"):
        text = text.replace(f"def {function}(", f"def in_si_{function}(")
    if "observe" not in plant.functions:
        lines = "\n".join(f"    y[{i}] = x[{i}]" for i in range(plant.ny))
        text += IDENTITY.format(lines=lines)
        text += f"\n\nOBSERVATION = {tuple(f'seen_{n}' for n in plant.state)!r}\n"
    entries = dict(plant.tasks[task])
    text += FUNCTIONS.format(x=x, u=u, rates="\n".join(rates), seen="\n".join(seen))
    if "residual" in entries:
        text += RESIDUAL.format(
            residual=entries["residual"].__name__, x=x, u=u, target=target
        )
    text += "\n\n" + _write_numbers(plant, _convert(plant, entries, a, c, units), task)
    if plant.limit is not None:
        bounds = (plant.limit * c).T.tolist()
        text += f"LIMIT = {tuple(map(tuple, bounds))!r}\n"
    path = folder / f"{plant.name}_units.py"
    path.write_text(text, encoding="utf-8")
    return path


def _tuple(words: Any) -> str:
    """Return words as a tuple in Python."""
    return "(" + "".join(f"{word}, " for word in words) + ")"


def _convert(
    plant: Plant, entries: dict[str, Any], a: np.ndarray, c: np.ndarray, units: Units
) -> dict[str, Any]:
    """Return the entries of a task in other units."""
    new = {k: v for k, v in entries.items() if k not in ("success", "train")}
    for name in ("start", "target"):
        new[name] = tuple((np.array(entries[name]) * a + units.offset).tolist())
    new["spread"] = tuple((np.array(entries["spread"]) * a).tolist())
    factors = {"running": a, "final": a, "effort": c}
    for name, default in (("running", 0.0), ("final", 1.0), ("effort", 0.0)):
        weights = weights_by_component(plant, name, entries.get(name, default))
        new[name] = tuple((weights / factors[name] ** 2).tolist())
    return new


def _write_numbers(plant: Plant, entries: dict[str, Any], task: str) -> str:
    """Return the assignments of tasks and sizes."""
    words = []
    for name, value in entries.items():
        shown = "in_units" if name == "residual" else repr(value)
        words.append(f"{name!r}: {shown}")
    tasks = f"TASKS = {{{task!r}: {{{', '.join(words)}}}}}\n"
    # typical sizes are to be found, not given
    return tasks + "TYPICAL = {}\nUNITS = {}\n"


def measure(seeds: Sequence[int], smallest: bool = False) -> list[Row]:
    """Return a row per plant and unit system."""
    rows = []
    cases = CASES[:1] if smallest else CASES
    systems = list(SYSTEMS)[:2] if smallest else list(SYSTEMS)
    for name, task, seconds in cases:
        for system in systems:
            settings: dict[str, Any] = {"max_seconds": seconds}
            if smallest:
                settings = SMALLEST_SETTINGS
            rows.append(measure_case(name, task, system, seeds, settings))
    header = ("plant", "task", "units", "ratio", "updates")
    cells = [
        [
            row["plant"],
            row["task"],
            row["units"],
            ", ".join(show(ratio, 5) for ratio in row["ratio"]),
            ", ".join(str(count) for count in row["updates"]),
        ]
        for row in rows
    ]
    table("the same plant in other units, held-out ratio", header, cells)
    return rows


def measure_case(
    name: str, task: str, system: str, seeds: Sequence[int], settings: dict[str, Any]
) -> Row:
    """Return the row of a plant in one unit system."""
    ratios, updates = [], []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            path = write_plant(name, task, SYSTEMS[system], Path(folder))
            run = train(path, seed=seed, out=folder, **settings)
            summary = summarise(compare_with_optimum(run, "held_out"))
        ratios.append(summary["ratio"])
        updates.append(run.state.updates)
    return {
        "plant": load_plant(name).name,
        "task": task,
        "units": system,
        "seeds": list(seeds),
        "ratio": ratios,
        "updates": updates,
    }
