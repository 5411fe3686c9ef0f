"""Studies of whole trainings: the CTPG paper's tasks.

CTPG runs next to Euler's method with as many evaluations, either with the paper's
first-order optimizer and weights, or with Hessian-free from this project's initial
weights.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hfcontrol.closed_loop.continuous import Estimator
from hfcontrol.errors import UsageError
from hfcontrol.optim.first_order import Adam, Momentum
from hfcontrol.studies.course import (
    ADAPTIVE,
    HELD_OUT_SEED,
    Budget,
    Course,
    Method,
    Problem,
    Report,
    matched_steps,
    run,
    second_order,
)

# The paper clips gradients entry by entry, or not at all.
CLIPPED: dict[str, Any] = {"clip": 10.0, "entrywise": True}
UNCLIPPED: dict[str, Any] = {"clip": 1e300}

# Parts of a training after which trajectories are drawn, and how many.
SHOWN = (0.5, 0.75, 1.0)
SHOWN_TRIALS = 10
SHOWN_TIMES = 101

# Hessian-free gets this part of the first-order updates, and at least so many; a
# shorter training, as tests run it, gets at least the third number.
SECOND_ORDER_PART = 1 / 50
SECOND_ORDER_LEAST = 40
SECOND_ORDER_LEAST_SHORT = 8


@dataclass(frozen=True)
class Setting:
    """A task of the paper with its settings, and what Euler's method gets.

    `factors` multiply CTPG's evaluations; `step` is a step length [s] of the paper.
    `start_factor` multiplies the paper's initial weights; `note` says what else
    differs. Hessian-free makes `grow` updates on each part of a growing horizon.
    """

    problem: Problem
    optimizer: Any
    trials: int
    updates: int
    seeds: int
    factors: tuple[float, ...] = (1.0,)
    step: float | None = None
    start_factor: float = 1.0
    note: str = ""
    grow: int = 6

    @property
    def rivals(self) -> int:
        """Number of Euler methods next to CTPG."""
        return len(self.factors) + (self.step is not None)

    @property
    def difference(self) -> str:
        """What is not as in the paper, in words."""
        if self.start_factor == 1:
            return self.note
        return f"initial weights {self.start_factor:g} times the paper's"


SETTINGS = {
    "diffdrive": Setting(
        Problem("diffdrive", "stabilise", 5.0, (32, 32)),
        Momentum(1e-3, **CLIPPED),
        trials=8,
        updates=10000,
        seeds=1,
        # With the paper's weights, gradients by them are some hundred times smaller,
        # and 10,000 updates learn nothing.
        start_factor=10.0,
    ),
    "electric": Setting(
        Problem("electric", "follow", 15.36, (64,)),
        Momentum(1e-3, **UNCLIPPED),
        trials=1,
        updates=2000,
        seeds=5,
        step=0.03,
    ),
    "cartpole": Setting(
        Problem("cartpole", "poster", 3.0, (64, 64), 1.0, engine="mjcf/cartpole.xml"),
        Adam(3e-2, **UNCLIPPED),
        trials=4,
        updates=200,
        seeds=5,
        step=0.01,
        note="on MuJoCo's engine",
        # A hanging pole that learns on a part of the horizon learns to spin.
        grow=0,
    ),
    "quadrotor": Setting(
        Problem("quadrotor", "poster", 5.0, (16, 16)),
        Adam(1e-2, **CLIPPED),
        trials=16,
        updates=200,
        seeds=5,
        factors=(1.0, 1.5),
    ),
}


def euler_methods(
    setting: Setting, problem: Problem, course: Course, method: Method
) -> list[Method]:
    """Return the Euler methods that are as costly as a course of `method`."""
    steps = {}
    if setting.factors:
        count = matched_steps(problem, course, method)
        for factor in setting.factors:
            step = problem.seconds / max(1, round(factor * count))
            steps[f"euler, {factor:g} x evaluations"] = step
    if setting.step:
        steps[f"euler, {1000 * setting.step:g} ms"] = setting.step
    return [
        replace(method, name=name, estimator=Estimator("euler", step=step))
        for name, step in steps.items()
    ]


def study(
    name: str,
    seeds: int | None = None,
    updates: int | None = None,
    optimizer: str = "first-order",
    most_seconds: float = np.inf,
    report: Report | None = None,
) -> Iterator[dict[str, Any]]:
    """Train by CTPG and by Euler's method over seeds; yield the result after each.

    `name` is one of SETTINGS; `optimizer` is first-order (the paper's) or hf. Raises
    UsageError for another optimizer.
    """
    if optimizer not in ("first-order", "hf"):
        raise UsageError(
            f"`optimizer` {optimizer}: must be first-order, as in the paper, or hf"
        )
    setting = SETTINGS[name]
    problem = setting.problem
    least = SECOND_ORDER_LEAST_SHORT if updates else SECOND_ORDER_LEAST
    seeds = seeds or setting.seeds
    updates = updates or setting.updates
    ctpg = Method("ctpg", ADAPTIVE, setting.optimizer, setting.trials)
    if optimizer == "hf":
        ctpg = second_order("ctpg", ADAPTIVE, grow=setting.grow)
        updates = max(least, round(updates * SECOND_ORDER_PART))

    budget = Budget(updates, seconds=most_seconds)
    courses: list[Course] = []
    rivals: list[Method] = []
    for seed in range(seeds):
        for k in range(1 + setting.rivals):
            # All seeds compare with Euler methods as costly as the first seed's CTPG.
            if k and not rivals:
                rivals = euler_methods(setting, problem, courses[0], ctpg)
            method = rivals[k - 1] if k else ctpg
            if optimizer == "hf":
                start = problem.own_weights(seed)
            else:
                start = setting.start_factor * problem.paper_weights(seed)
            course = run(problem, method, seed, budget, report, start)
            courses.append(course)
            yield {
                "study": name,
                "optimizer": optimizer,
                "updates": updates,
                "seeds": seeds,
                "trials": ctpg.trials,
                "difference": "" if optimizer == "hf" else setting.difference,
                "courses": [course.tree() for course in courses],
                "paths": held_out_paths(problem, courses),
                "visited": visited_states(courses),
            }


def visited_states(courses: list[Course]) -> dict[str, Any]:
    """Return the states of the first seed's training, by method.

    They are nested lists (rollout, time, state, trial).
    """
    first = [course for course in courses if course.seed == 0]
    return {c.method: np.array(c.visited).tolist() for c in first}


def held_out_paths(problem: Problem, courses: list[Course]) -> dict[str, Any]:
    """Return where ten held-out trials went, by method and part of the training.

    Paths are nested lists (part, time, state, trial), of the first seed's weights; None
    where the solver failed.
    """
    rng = np.random.default_rng(HELD_OUT_SEED)
    loop = problem.loop(problem.scoring, rng, SHOWN_TRIALS, "held_out")
    times = np.linspace(0, loop.horizon, SHOWN_TIMES)
    methods: dict[str, Any] = {}
    for course in courses:
        if course.seed != 0:
            continue
        paths = []
        for part in SHOWN:
            theta = course.thetas[round(part * (len(course.thetas) - 1))]
            rollout = loop.rollout(theta)
            # Early weights may drive the plant beyond what the solver can follow.
            states = None
            if rollout.failure is None:
                states = rollout.at(times)[:, : loop.plant.nx].tolist()
            paths.append(states)
        methods[course.method] = paths
    return {
        "state": list(loop.plant.state),
        "times": times.tolist(),
        "parts": list(SHOWN),
        "methods": methods,
    }
