"""Studies of whole trainings: the source's tasks by CTPG and by Euler's method with as many evaluations, by its own first-order
settings, or from this project's first weights by Hessian-free."""

from dataclasses import dataclass, replace

import numpy as np

from hfcontrol.closed_loop.continuous import Estimator
from hfcontrol.errors import UsageError
from hfcontrol.optim.first_order import Adam, Momentum
from hfcontrol.studies.course import (
    ADAPTIVE,
    HELD_OUT_SEED,
    JUDGE,
    Method,
    Problem,
    matched,
    run,
    second_order,
)

ENTRIES = {"clip": 10.0, "entrywise": True}  # the source's clipping
NONE = {"clip": 1e300}
SHOWN = (0.5, 0.75, 1.0)  # parts of a training at which trajectories are drawn
SECOND_ORDER_PART, SECOND_ORDER_LEAST = (
    1 / 50,
    40,
)  # of the first-order updates, that Hessian-free gets, and as many at least


@dataclass(frozen=True)
class Setting:
    """A task of the source with its settings: the problem, optimizer, trials, updates, seeds, and what Euler's method gets
    beside CTPG: factors of its evaluations, and a length of step [s] of its own, if any."""

    problem: tuple
    optimizer: object
    trials: int
    updates: int
    seeds: int
    factors: tuple = (1.0,)
    step: float | None = None


SETTINGS = {
    "diffdrive": Setting(
        ("diffdrive", "stabilise", 5.0, (32, 32)),
        Momentum(1e-3, **ENTRIES),
        8,
        10000,
        1,
    ),
    "electric": Setting(
        ("electric", "follow", 15.36, (64,)),
        Momentum(1e-3, **NONE),
        1,
        2000,
        5,
        (),
        0.03,
    ),
    "cartpole": Setting(
        ("cartpole", "swing_up", 3.0, (64, 64), 1.0),
        Adam(3e-2, **NONE),
        4,
        200,
        5,
        (),
        0.01,
    ),
    "quadrotor": Setting(
        ("quadrotor", "poster", 5.0, (16, 16)),
        Adam(1e-2, **ENTRIES),
        16,
        200,
        5,
        (1.0, 1.5),
    ),
}


def methods(setting, problem, course, first_order):
    """Euler's methods beside CTPG's, as costly as the course of the latter was."""
    count = matched(problem, course, first_order) if setting.factors else None
    steps = {
        f"euler, {factor:g} x evaluations": problem.seconds
        / max(1, round(factor * count))
        for factor in setting.factors
    }
    if setting.step:
        steps[f"euler, {1000 * setting.step:g} ms"] = setting.step
    return [
        replace(first_order, name=name, estimator=Estimator("euler", step=step))
        for name, step in steps.items()
    ]


def study(
    name,
    seeds=None,
    updates=None,
    optimizer="first-order",
    most_seconds=np.inf,
    tell=None,
):
    """The courses of CTPG and of Euler's method on one of SETTINGS, over seeds, after every course what there is; "hf" takes
    Hessian-free for the source's optimizer."""
    if optimizer not in ("first-order", "hf"):
        raise UsageError(
            f"--optimizer {optimizer}: first-order, as in the source, or hf"
        )
    setting, least = SETTINGS[name], 8 if updates else SECOND_ORDER_LEAST
    problem, seeds, updates = (
        Problem(*setting.problem),
        seeds or setting.seeds,
        updates or setting.updates,
    )
    first = Method("ctpg", ADAPTIVE, setting.optimizer, setting.trials)
    if optimizer == "hf":
        first, updates = (
            second_order("ctpg", ADAPTIVE),
            max(least, round(updates * SECOND_ORDER_PART)),
        )
    courses, others = [], []
    for seed in range(seeds):
        for k in range(1 + len(setting.factors) + (setting.step is not None)):
            others = others or (
                methods(setting, problem, courses[0], first) if k else []
            )  # as costly as the first seed's
            method = others[k - 1] if k else first
            start = problem.initial(seed) if optimizer == "hf" else problem.start(seed)
            courses.append(
                run(
                    problem,
                    method,
                    seed,
                    updates,
                    most_seconds=most_seconds,
                    tell=tell,
                    start=start,
                )
            )
            yield {
                "study": name,
                "optimizer": optimizer,
                "updates": updates,
                "seeds": seeds,
                "trials": first.trials,
                "courses": [course.tree() for course in courses],
                "paths": _paths(problem, courses),
            }


def _paths(problem, courses):
    """Where ten held-out starts went (stage, time, state, trial) by the first seed's weights at parts of the training, by method."""
    loop = problem.loop(JUDGE, np.random.default_rng(HELD_OUT_SEED), 10, "held_out")
    found, times = {}, np.linspace(0, loop.horizon, 101)
    for course in (course for course in courses if course.seed == 0):
        stages = [
            course.thetas[round(part * (len(course.thetas) - 1))] for part in SHOWN
        ]
        rollouts = [loop.rollout(theta) for theta in stages]
        found[course.method] = [
            r.at(times)[:, : loop.plant.nx].tolist() if r.failure is None else None
            for r in rollouts
        ]
    return {
        "state": list(loop.plant.state),
        "times": times.tolist(),
        "parts": list(SHOWN),
        "methods": found,
    }
