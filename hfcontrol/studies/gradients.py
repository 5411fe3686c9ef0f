"""Study: the error of a gradient against evaluations and against wall-clock, for every estimator, on the regulator and the robot."""

import time

import numpy as np

from hfcontrol.closed_loop.continuous import ESTIMATORS, FIXED, Estimator
from hfcontrol.errors import TrainingError
from hfcontrol.studies.course import Problem

REFERENCE = Estimator("ctpg", 1e-14, 1e-14, max_steps=100000, block_size=1, slack=1.0)
TOLERANCES = 10.0 ** -np.arange(0.5, 12.1, 0.5)
STEPS = {
    "euler": 10.0 ** -np.arange(0.5, 4.01, 0.25),
    "rk4": 10.0 ** -np.arange(0.5, 3.01, 0.25),
}  # [s]
MOST_STEPS = 20000
ASKED = 1e-6  # the error at which estimators are compared


def problems():
    """The regulator at its optimum u = -x, and the robot with fresh weights and wheels that turn, both over 10 s."""
    return {
        "linear": Problem("linear", None, 10.0, (2,), cell="linear"),
        "diffdrive": Problem("diffdrive", None, 10.0, (32, 32)),
    }


def weights(name, problem, seed):
    """The weights (P,) at which the gradient is judged."""
    theta = problem.start(seed)
    if name == "linear":
        theta = np.zeros_like(theta)
        views = problem.network.views(theta)
        views["W_in_1"][:, 2:], views["W_1_out"][:] = np.eye(2), -np.eye(2)
    return theta


def study(samples=16, tell=None):
    """Evaluations, seconds and errors of every estimator at every tolerance or step, by plant; after every sample what there is."""
    found = {}
    for name, problem in problems().items():
        rows = []
        for seed in range(samples):
            theta = weights(name, problem, seed)
            exact = _gradient(problem, REFERENCE, seed, theta)[0]
            for estimator, at, told in _ladder():
                if tell:
                    tell(
                        f"{name}, sample {seed + 1} of {samples}: {estimator.name} at {at:.0e}"
                    )
                try:
                    g, counts, seconds = _gradient(problem, estimator, seed, theta)
                except TrainingError:
                    continue
                error = float(np.linalg.norm(g - exact))
                if np.isfinite(error):
                    rows.append(
                        {
                            "estimator": estimator.name,
                            "at": at,
                            "sample": seed,
                            "error": error,
                            "passes": counts.passes,
                            "all_told": counts.total,
                            "counts": list(counts),
                            "seconds": seconds,
                        }
                    )
            found[name] = {
                "points": rows,
                "evaluations": at_error(rows, "passes"),
                "seconds": at_error(rows, "seconds"),
            }
            yield {
                "study": "gradients",
                "samples": samples,
                "error": ASKED,
                "plants": found,
            }


def _ladder():
    for name in ESTIMATORS:
        for at in STEPS.get(name, TOLERANCES):
            yield (
                (
                    Estimator(name, step=at, block_size=1)
                    if name in FIXED
                    else Estimator(name, at, 1e-3 * at, max_steps=MOST_STEPS, block_size=1)
                ),
                float(at),
                name,
            )


def _gradient(problem, estimator, seed, theta):
    """The gradient by start and weights as one vector, what it took to evaluate, and the seconds."""
    rng = np.random.default_rng([seed, 7])
    loop = problem.loop(estimator, rng, 1)
    if problem.plant == "diffdrive":
        loop.problem.x0[3:] = rng.standard_normal(
            (2, 1)
        )  # wheel speeds, as in the source
    begin = time.perf_counter()
    rollout = loop.rollout(theta)
    if rollout.failure:
        raise TrainingError(rollout.failure)
    found = loop.gradient(rollout)
    seconds = time.perf_counter() - begin
    return (
        np.concatenate([found.start[:, 0], found.theta]),
        rollout.evaluations + found.evaluations,
        seconds,
    )


def at_error(rows, price, error=ASKED):
    """By estimator, the price at which its median error is that error, on lines between rungs in logarithms, and whether that line
    had to be drawn on beyond the last rung; None where errors do not fall."""
    prices = {}
    for name in ESTIMATORS:
        rungs = [
            [r for r in rows if r["estimator"] == name and r["at"] == at]
            for at in sorted(
                {r["at"] for r in rows if r["estimator"] == name}, reverse=True
            )
        ]
        x = np.log([np.median([r[price] for r in rung]) for rung in rungs])
        y = np.log(
            np.minimum.accumulate(
                [max(np.median([r["error"] for r in rung]), 1e-16) for rung in rungs]
            )
        )
        below = np.flatnonzero(y <= np.log(error))
        k = below[0] if below.size else len(y) - 1
        if k == 0 and below.size:
            prices[name] = {"price": float(np.exp(x[0])), "beyond": False}
        elif k < 1 or not y[k - 1] > y[k]:
            prices[name] = None
        else:
            part = (y[k - 1] - np.log(error)) / (y[k - 1] - y[k])
            prices[name] = {
                "price": float(np.exp(x[k - 1] + part * (x[k] - x[k - 1]))),
                "beyond": not below.size,
            }
    return prices


def front(rows, price):
    """The points (price, error) that none beats in both."""
    best, points = np.inf, []
    for row in sorted(rows, key=lambda r: (r[price], r["error"])):
        if row["error"] < best:
            best = row["error"]
            points.append((row[price], row["error"]))
    return points
