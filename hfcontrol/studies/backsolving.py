"""Study: how integrating backward fails on the regulator.

Its closed loop is stable, and so unstable backward in time.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from hfcontrol.closed_loop.continuous import Estimator
from hfcontrol.errors import TrainingError
from hfcontrol.optim.first_order import Adam
from hfcontrol.studies.course import Problem, Report

# The paper's learning rate and seed; its gradients are not clipped.
RATE = 1e-3
SEED = 123
UNCLIPPED = 1e300

# The best law, u = -x, costs |x0|^2 (1 - e^-2T) from x0 = (1, 1).
OPTIMUM = 2.0

REPORT_EVERY = 50
ESTIMATORS = ("ctpg", "backsolve", "backsolve_checkpoints")


def study(
    updates: int = 1000,
    seconds: float = 25.0,
    report: Report | None = None,
    seed: int = SEED,
) -> Iterator[dict[str, Any]]:
    """Train with each estimator from x0 = (1, 1); yield the result after each.

    `seed` draws the initial weights. The result has the loss and the error of the
    reconstructed start at every update.
    """
    problem = Problem("linear", None, seconds, (32,))
    methods = {}
    for name in ESTIMATORS:
        methods[name] = _train(problem, name, updates, report, seed)
        yield {
            "study": "backsolve",
            "updates": updates,
            "seconds": seconds,
            "optimum": OPTIMUM,
            "methods": methods,
        }


def _train(
    problem: Problem, name: str, updates: int, report: Report | None, seed: int
) -> dict[str, Any]:
    """Return losses, errors of the start, and why the training stopped, if it did."""
    loop = problem.loop(Estimator(name, 1e-3, 1e-6), np.random.default_rng(0), 1)
    loop.problem.x0[:] = 1.0
    optimizer = Adam(RATE, UNCLIPPED)
    state = optimizer.init(problem.paper_weights(seed))
    losses = []
    errors = []
    stopped = None
    for k in range(updates):
        rollout = loop.rollout(state.theta)
        losses.append(rollout.loss)
        try:
            gradient = loop.gradient(rollout)
        except TrainingError as error:
            stopped = str(error)
            break
        start = gradient.reconstructed
        if start is None:
            start = loop.problem.x0
        errors.append(float(np.linalg.norm(start - loop.problem.x0)))
        state = optimizer.update(state, gradient.theta)
        if report and k % REPORT_EVERY == 0:
            report(
                f"{name}: update {k} of {updates}, loss {losses[-1]:.4g}, "
                f"reconstruction error {errors[-1]:.2g}"
            )
    return {"loss": losses, "error": errors, "stopped": stopped}
