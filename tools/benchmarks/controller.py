"""Microseconds of one call of `hf.Controller`, 32 + 32 units, one trial."""

import time

import numpy as np

import hfcontrol as hf
from benchmarks.report import show, table
from hfcontrol.deploy.controller import Controller
from hfcontrol.runs.settings import settings_for

CALLS, REPEATS = 2000, 5
CASES = {
    "the shipped run: 32 + 32 tanh": {},
    "32 + 32 ctrnn": {"cell": "ctrnn"},
    "32 + 32 ltc": {"cell": "ltc"},
}


def measure(seeds):
    """A row for each network: the fastest of a few means."""
    from hfcontrol.runs.factory import make_trainer

    rows = []
    for told, settings in CASES.items():
        trainer = make_trainer(settings_for(plant="arm2", **settings))
        theta = trainer.network.initial(np.random.default_rng(0))
        controller = (
            hf.Controller.load("weights/arm2-reach")
            if not settings
            else Controller(trainer.network, theta, trainer.plant, trainer.wiring)
        )
        rows.append(
            {
                "told": told,
                "microseconds": 1e6
                * min(mean_seconds(controller) for _ in range(REPEATS)),
            }
        )
    table(
        "Controller.act",
        ("network", "microseconds a call"),
        [(r["told"], show(r["microseconds"])) for r in rows],
    )
    return rows


def mean_seconds(controller):
    """The mean time of a call [s]."""
    target, seen = np.ones(controller.n_target), np.ones(len(controller.observes))
    controller.reset()
    begin = time.perf_counter()
    for _ in range(CALLS):
        controller.act(target, seen)
    return (time.perf_counter() - begin) / CALLS
