"""Study: every cell on balancing the cart's pole and on reaching.

Cells are compared with the same number of units and with the same number of weights.
A second part compares three ways to differentiate through a cell's own time.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.continuous import ContinuousLoop, Estimator
from hfcontrol.errors import TrainingError
from hfcontrol.network.architecture import Architecture
from hfcontrol.network.cells import CELLS
from hfcontrol.network.network import Network
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.settings import Settings, settings_for
from hfcontrol.studies.course import Problem, Report
from hfcontrol.studies.harness import GROW, Setup

TASKS = (("cartpole", "balance"), ("arm2", "reach"))

# Units in each of two layers, and the cell that sets the number of weights.
UNITS = 16
MODEL = "ctrnn"

WAYS = {
    "BPTT": Estimator("rk4", step=0.01),
    "stored-state adjoint": Estimator("ctpg", 1e-8, 1e-10),
    "backsolve": Estimator("backsolve", 1e-8, 1e-10),
}
EXACT = Estimator("ctpg", 1e-13, 1e-13)

# Time constants [s], and the length [s] of the trajectory that is differentiated.
TIME_CONSTANTS = (1.0, 0.2, 0.1, 0.05)
SECONDS = 2.0
GRADIENT_TRIALS = 8


def study(
    seeds: int = 5, seconds: float = 10.0, report: Report | None = None
) -> Iterator[dict[str, Any]]:
    """Train every cell with every seed; yield the result after each training.

    The result has the held-out ratio, updates and seconds, and the errors of gradients
    by time constant.
    """
    result: dict[str, Any] = {
        "study": "cells",
        "seeds": seeds,
        "seconds": seconds,
        "gradients": gradient_errors(report),
        "trainings": [],
    }
    # The first result is there before any training, in case the study is stopped.
    yield result
    for row in _plan(seeds):
        if report:
            units = row["units"]
            report(
                f"{row['plant']} {row['task']}, {row['cell']}, {units} + {units} "
                f"units, seed {row['seed']}"
            )
        settings = _settings(
            row["plant"],
            row["task"],
            row["cell"],
            row["units"],
            seed=row["seed"],
            max_seconds=seconds,
        )
        result["trainings"].append(row | _train(settings))
        yield result


def _plan(seeds: int) -> Iterator[dict[str, Any]]:
    """Yield what each training is about."""
    cells = [name for name in CELLS if name != "linear"]
    for plant, task in TASKS:
        for sizing in ("units", "weights"):
            for cell in cells:
                units = UNITS
                if sizing == "weights":
                    units = _matching_units(plant, task, cell)
                for seed in range(seeds):
                    yield {
                        "plant": plant,
                        "task": task,
                        "same": sizing,
                        "cell": cell,
                        "units": units,
                        "seed": seed,
                    }


def _settings(plant: str, task: str, cell: Any, units: int, **others: Any) -> Settings:
    """Return the settings of a training with two layers of a cell."""
    grow = GROW.get((plant, task), 0)
    return settings_for(
        plant=plant, task=task, cell=cell, hidden=(units, units), grow=grow, **others
    )


def _matching_units(plant: str, task: str, cell: str) -> int:
    """Return the units per layer for about as many weights as the model cell has."""

    def size(cell: str, units: int) -> int:
        return make_trainer(_settings(plant, task, cell, units)).network.size

    wanted = size(MODEL, UNITS)
    return min(range(2, 4 * UNITS), key=lambda units: abs(size(cell, units) - wanted))


def _train(settings: Settings) -> dict[str, Any]:
    """Train, and return what the controller reaches on the held-out set."""
    setup = Setup(settings)
    yardstick = setup.held_out()
    state = setup.train()
    rollout = yardstick.loop.rollout(state.theta)
    success = setup.trainer.task.success(rollout, yardstick.loop.scenario)
    return {
        "weights": int(state.theta.size),
        "ratio": yardstick.ratio(state.theta),
        "updates": state.updates,
        "seconds": state.seconds,
        "success": float(np.mean(success)),
    }


def gradient_errors(report: Report | None) -> dict[str, Any]:
    """Return the relative error of each way by time constant; None if it failed.

    The problem is the regulator's plant with a running cost and 16 units of ctrnn.
    """
    errors: dict[str, Any] = {}
    for tau in TIME_CONSTANTS:
        if report:
            report(f"gradients through a time constant of {tau} s")
        exact = _gradient(tau, EXACT)
        errors[str(tau)] = {}
        for name, estimator in WAYS.items():
            try:
                difference = np.linalg.norm(_gradient(tau, estimator) - exact)
                error = float(difference / np.linalg.norm(exact))
            except TrainingError:
                # Integrating a short time constant backward overflows.
                error = None
            errors[str(tau)][name] = error
    return errors


def _gradient(tau: float, estimator: Estimator) -> Array:
    """Return the gradient (P,) through cells with a time constant [s]."""
    problem = Problem("linear", None, SECONDS, (16,))
    loop = problem.loop(estimator, np.random.default_rng(0), GRADIENT_TRIALS)
    # Architectures measure time constants in control steps.
    steps = tau / loop.plant.dt
    architecture = Architecture((16,), MODEL, (), (1,), time_constants=(steps, steps))
    network = Network(architecture, problem.network.n_input, loop.plant.nu)
    loop = ContinuousLoop(
        loop.plant, loop.kernels, network, loop.scenario, loop.wiring, estimator
    )
    rollout = loop.rollout(network.initial(np.random.default_rng(1)))
    return loop.gradient(rollout).theta
