"""Study: how integrating backward fails on the regulator.

Its closed loop is stable, and so unstable backward in time. As in the paper, the state
that is reconstructed is z = (c, x), with the cost so far c' = w, c(0) = 0. Backward
from c(T) = C, it arrives at

    c~(0) = C - integral of w along the path backward

and x~(0). That path solves the equation of the closed loop, so the integral is the cost
of a rollout that starts at x~(0).
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

    `seed` draws the initial weights. The result has, at every update, the loss and the
    distance of the reconstructed z(0) from (0, x0).
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
    loop, again = (
        problem.loop(Estimator(name, 1e-3, 1e-6), np.random.default_rng(0), 1)
        for _ in range(2)
    )
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
        off = 0.0
        if gradient.reconstructed is not None:
            again.problem.x0[:] = gradient.reconstructed
            cost = losses[-1] - again.rollout(state.theta).loss
            distance = np.linalg.norm(gradient.reconstructed - loop.problem.x0)
            off = float(np.hypot(cost, distance))
        errors.append(off)
        state = optimizer.update(state, gradient.theta)
        if report and k % REPORT_EVERY == 0:
            report(
                f"{name}: update {k} of {updates}, loss {losses[-1]:.4g}, "
                f"reconstruction error {errors[-1]:.2g}"
            )
    return {"loss": losses, "error": errors, "stopped": stopped}
