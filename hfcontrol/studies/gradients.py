"""Study: the error of a gradient against evaluations and time, for every estimator."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.continuous import (
    ESTIMATORS,
    FIXED,
    Estimator,
    Evaluations,
)
from hfcontrol.errors import TrainingError
from hfcontrol.studies.course import Problem, Report

# Errors are measured against this estimate, which is exact to rounding.
REFERENCE = Estimator("ctpg", 1e-14, 1e-14, max_steps=100000, block_size=1, slack=1.0)

# Tolerances of the adaptive estimators, and steps [s] of the others.
TOLERANCES = 10.0 ** -np.arange(0.5, 12.1, 0.5)
STEPS = {
    "euler": 10.0 ** -np.arange(0.5, 4.01, 0.25),
    "rk4": 10.0 ** -np.arange(0.5, 3.01, 0.25),
}
ATOL_PER_RTOL = 1e-3
MOST_STEPS = 20000

# The error at which estimators are compared, and a floor for errors of zero.
TARGET_ERROR = 1e-6
LEAST_ERROR = 1e-16

Row = dict[str, Any]


def problems() -> dict[str, Problem]:
    """Return the regulator and the robot, both over 10 s."""
    return {
        "linear": Problem("linear", None, 10.0, (2,), cell="linear"),
        "diffdrive": Problem("diffdrive", None, 10.0, (32, 32)),
    }


def weights(name: str, problem: Problem, seed: int) -> Array:
    """Return the weights (P,) at which the gradient is evaluated.

    The regulator's are optimal, u = -x; the robot's are random.
    """
    theta = problem.paper_weights(seed)
    if name == "linear":
        theta = np.zeros_like(theta)
        views = problem.network.views(theta)
        views["W_in_1"][:, 2:] = np.eye(2)
        views["W_1_out"][:] = -np.eye(2)
    return theta


def study(samples: int = 16, report: Report | None = None) -> Iterator[dict[str, Any]]:
    """Measure every estimator at every tolerance or step; yield after each sample."""
    plants = {}
    for name, problem in problems().items():
        rows: list[Row] = []
        for seed in range(samples):
            theta = weights(name, problem, seed)
            # All estimators are measured at the same weights and start.
            exact, _, _ = _gradient(problem, REFERENCE, seed, theta)
            for estimator, at in estimators():
                if report:
                    report(
                        f"{name}, sample {seed + 1} of {samples}: "
                        f"{estimator.name} at {at:.0e}"
                    )
                try:
                    g, counts, seconds = _gradient(problem, estimator, seed, theta)
                except TrainingError:
                    # A step that is too long for the dynamics has no gradient.
                    continue
                # The loosest tolerances may overflow; such points say nothing.
                error = float(np.linalg.norm(g - exact))
                if np.isfinite(error):
                    row = {
                        "estimator": estimator.name,
                        "at": at,
                        "sample": seed,
                        "error": error,
                        "passes": counts.passes,
                        "all_told": counts.total,
                        "counts": list(counts),
                        "seconds": seconds,
                    }
                    rows.append(row)
            plants[name] = {
                "points": rows,
                "evaluations": price_of_error(rows, "passes"),
                "seconds": price_of_error(rows, "seconds"),
            }
            yield {
                "study": "gradients",
                "samples": samples,
                "error": TARGET_ERROR,
                "plants": plants,
            }


def estimators() -> Iterator[tuple[Estimator, float]]:
    """Yield every estimator at every tolerance or step, with that number."""
    for name in ESTIMATORS:
        for at in STEPS.get(name, TOLERANCES):
            if name in FIXED:
                yield Estimator(name, step=at, block_size=1), float(at)
            else:
                atol = ATOL_PER_RTOL * at
                estimator = Estimator(
                    name, at, atol, max_steps=MOST_STEPS, block_size=1
                )
                yield estimator, float(at)


def _gradient(
    problem: Problem, estimator: Estimator, seed: int, theta: Array
) -> tuple[Array, Evaluations, float]:
    """Return the gradient by start and weights, its evaluations, and seconds."""
    rng = np.random.default_rng([seed, 7])
    loop = problem.loop(estimator, rng, 1)
    if problem.plant == "diffdrive":
        # Random wheel speeds, as in the paper.
        loop.problem.x0[3:] = rng.standard_normal((2, 1))

    begin = time.perf_counter()
    rollout = loop.rollout(theta)
    if rollout.failure:
        raise TrainingError(rollout.failure)
    found = loop.gradient(rollout)
    seconds = time.perf_counter() - begin
    gradient = np.concatenate([found.start[:, 0], found.theta])
    return gradient, rollout.evaluations + found.evaluations, seconds


def price_of_error(
    rows: list[Row], price: str, error: float = TARGET_ERROR
) -> dict[str, Any]:
    """Return, by estimator, the price at which its median error is `error`.

    Between two tolerances, the price is interpolated in logarithms. "beyond" says
    whether it was extrapolated. None if errors do not fall.
    """
    return {
        name: _price([row for row in rows if row["estimator"] == name], price, error)
        for name in ESTIMATORS
    }


def _price(rows: list[Row], price: str, error: float) -> dict[str, Any] | None:
    """Return the price of an error for the rows of one estimator."""
    prices = []
    errors = []
    for at in sorted({row["at"] for row in rows}, reverse=True):
        same = [row for row in rows if row["at"] == at]
        prices.append(np.median([row[price] for row in same]))
        errors.append(max(np.median([row["error"] for row in same]), LEAST_ERROR))
    x = np.log(prices)
    # A tighter tolerance with a larger error counts as the better one before it.
    y = np.log(np.minimum.accumulate(errors))
    below = np.flatnonzero(y <= np.log(error))
    k = below[0] if below.size else len(y) - 1
    if k == 0 and below.size:
        return {"price": float(np.exp(x[0])), "beyond": False}
    if k < 1 or not y[k - 1] > y[k]:
        return None
    part = (y[k - 1] - np.log(error)) / (y[k - 1] - y[k])
    found = np.exp(x[k - 1] + part * (x[k] - x[k - 1]))
    return {"price": float(found), "beyond": not below.size}


def pareto_front(rows: list[Row], price: str) -> list[tuple[float, float]]:
    """Return the points (price, error) that no other point beats in both."""
    best = np.inf
    points = []
    for row in sorted(rows, key=lambda row: (row[price], row["error"])):
        if row["error"] < best:
            best = row["error"]
            points.append((row[price], row["error"]))
    return points
