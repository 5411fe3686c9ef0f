"""Trained controllers of arm2 next to classical ones (`hfcontrol benchmark`).

The shipped run only ever learnt to reach. Two more runs are trained to return: without
noise and load, and with those of the benchmark's conditions.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import hfcontrol as hf
from benchmarks.report import ROOT, Row, show, table
from hfcontrol.classical import tuning
from hfcontrol.classical.benchmark import Benchmark, compare_controllers
from hfcontrol.classical.conditions import LOAD, NOISE
from hfcontrol.cli.output import json_safe
from hfcontrol.figures.benchmarks import plot_benchmark

SHIPPED_RUN = ROOT / "weights" / "arm2-reach"
PICTURE = ROOT / "tools" / "pictures" / "benchmark.png"

# Names of the trained controllers, and what they are trained with.
TRAINED: dict[str, dict[str, Any]] = {
    "trained to return": {},
    "trained to return with noise and load": {**NOISE, **LOAD},
}
ROLLOUTS = 500


def measure(seeds: Sequence[int], smallest: bool = False) -> list[Row]:
    """Return a row for each motion, condition and controller; draw the figure.

    The networks are those of the first seed.
    """
    rollouts = 3 if smallest else ROLLOUTS
    with TemporaryDirectory() as folder:
        runs = [hf.Run.load(SHIPPED_RUN)]
        for name, settings in TRAINED.items():
            runs.append(train(name, Path(folder), rollouts, seeds[0], settings))
        if smallest:
            with mock.patch.object(tuning, "SIMULATIONS", 2):
                result = compare_controllers(runs, trials=2)
        else:
            result = compare_controllers(runs)
            plot_benchmark(result, PICTURE)

    rows = [make_row(result, row) for row in result.numbers()["rows"]]
    header = ("motion", "condition", "controller", "cost", "ratio", "success", "us")
    names = ("motion", "condition", "controller")
    lines = [
        [
            *(row[name] for name in names),
            show(row["loss"]),
            show(row["ratio"]),
            show(row["success"]),
            show(row["microseconds"]),
        ]
        for row in rows
    ]
    table("controllers", header, lines)
    return rows


def train(
    name: str, folder: Path, rollouts: int, seed: int, settings: dict[str, Any]
) -> hf.Run:
    """Return a run that is trained to reach out and back, in a folder of its name."""
    run = hf.train(
        "arm2",
        task="out_and_back",
        out=folder,
        rollouts=rollouts,
        seed=seed,
        **settings,
    )
    return hf.Run.load(run.path.rename(folder / name))


def make_row(result: Benchmark, row: Row) -> Row:
    """Return a row of the benchmark, with the title and the gains of its controller."""
    gains = result.gains.get(row["controller"])
    numbers: Row = json_safe(row)
    return {
        **numbers,
        "controller": result.titles[row["controller"]],
        "gains": gains and list(gains.chosen),
        "rule": gains and list(gains.rule),
        "tuned_loss": gains and gains.loss,
        "rule_loss": gains and gains.rule_loss,
    }
