"""Microseconds of one call of `hf.Controller`, 32 + 32 units, one trial."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

import hfcontrol as hf
from benchmarks.report import ROOT, Row, show, table
from hfcontrol.deploy.controller import Controller
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.interface import Interface
from hfcontrol.runs.settings import settings_for

# Enough for the clock: a call takes some 10 microseconds.
CALLS = 2000
REPEATS = 5
SHIPPED_RUN = ROOT / "weights" / "arm2-reach"

# Cells of untrained networks, by their names in the table.
CELLS: dict[str, dict[str, Any]] = {
    "32 + 32 ctrnn": {"cell": "ctrnn"},
    "32 + 32 ltc": {"cell": "ltc"},
}


def measure(seeds: Sequence[int], smallest: bool = False) -> list[Row]:
    """Return a row per network: the fastest of a few mean times."""
    calls, repeats = (10, 1) if smallest else (CALLS, REPEATS)
    controllers = {"the shipped run: 32 + 32 tanh": hf.Controller.load(SHIPPED_RUN)}
    for name, settings in CELLS.items():
        controllers[name] = untrained_controller(settings)

    rows: list[Row] = []
    for name, controller in controllers.items():
        # The fastest mean is the one that other programs disturbed least.
        seconds = min(mean_seconds(controller, calls) for _ in range(repeats))
        rows.append({"told": name, "microseconds": 1e6 * seconds})
    lines = [[row["told"], show(row["microseconds"])] for row in rows]
    table("Controller.act", ("network", "microseconds per call"), lines)
    return rows


def untrained_controller(settings: dict[str, Any]) -> Controller:
    """Return a controller of arm2 with initial weights."""
    trainer: Any = make_trainer(settings_for(plant="arm2", **settings))
    theta = trainer.network.initial(np.random.default_rng(0))
    n_target = trainer.network.n_input - trainer.plant.ny
    limits = trainer.wiring.limits
    interface = Interface.describe(trainer.plant, limits, n_target)
    return Controller(trainer.network, theta, interface)


def mean_seconds(controller: Controller, calls: int) -> float:
    """Return the mean time of a call [s]."""
    target = np.ones(controller.n_target)
    observation = np.ones(len(controller.observes))
    controller.reset()
    begin = time.perf_counter()
    for _ in range(calls):
        controller.act(target, observation)
    return (time.perf_counter() - begin) / calls
