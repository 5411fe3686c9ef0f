"""Study: CTPG with Hessian-free against CTPG with a tuned first-order optimizer.

All trainings keep the weights that validation trials choose. A training reaches a cost
where it stays at or below it for the rest.
"""

import math
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np

from hfcontrol.closed_loop.continuous import Estimator
from hfcontrol.errors import UsageError
from hfcontrol.optim.first_order import Adam, Momentum
from hfcontrol.optim.hessian_free import HessianFree
from hfcontrol.studies.course import (
    ADAPTIVE,
    Budget,
    Course,
    Method,
    Report,
    reach,
    run,
    second_order,
)
from hfcontrol.studies.training import CLIPPED, SETTINGS, Setting

# Optimizer and grid of learning rates of first order.
RATES = {
    "diffdrive": ("momentum", (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)),
    "quadrotor": ("adam", (3e-3, 1e-2, 3e-2, 1e-1)),
    "cartpole": ("adam", (1e-3, 3e-3, 1e-2, 3e-2)),
}
KINDS: dict[str, Any] = {"adam": Adam, "momentum": Momentum}

# How many times the paper's updates first order makes: the 200 updates of quadrotor and
# cartpole end far from the optimum.
LONGER = {"diffdrive": 1, "quadrotor": 5, "cartpole": 5}

# Updates of Hessian-free at most. Every one is a point of its course.
SECOND_UPDATES = 60

# How first order starts: as in the paper, or with the weights and tolerances that
# Hessian-free starts with.
SOURCE = "source"
SAME = "same"

# A course settles at the highest cost of this last part of its points.
SETTLED = 0.25

# What Hessian-free changes, and after which update.
Plan = tuple[tuple[int, dict[str, Any]], ...]
PLANS: dict[str, Plan] = {
    "diffdrive": (
        (
            0,
            {
                "rtol": 3e-2,
                "atol": 1e-3,
                "products": "midpoint",
                "trials": 64,
                "batches": 1,
                "grow": 8,
                "cap": 10,
            },
        ),
        (24, {"least_damping": 0.3}),
        (40, {"trials": 128}),
    ),
    "quadrotor": (
        (
            0,
            {
                "rtol": 1e-3,
                "atol": 1e-3,
                "products": "midpoint",
                "trials": 32,
                "batches": 2,
                "grow": 6,
                "cap": 5,
                "least_damping": 0.1,
            },
        ),
        (18, {"products": "rk4", "trials": 16, "batches": 1, "cap": 7}),
        (26, {"products": "midpoint", "atol": 1e-6, "trials": 32, "cap": 10}),
    ),
    "cartpole": ((0, {"trials": 16, "cap": 10, "grow": SETTINGS["cartpole"].grow}),),
}


def planned_method(plant: str) -> Method:
    """Return Hessian-free with the plan of a plant.

    While the horizon grows, if it does, it is cheap, with loose tolerances. Later it
    uses more trials and is more exact, because the remaining gain is small compared
    with the difference between two draws of trials.
    """
    # Blocks of trials share their steps. With blocks as large as the first-order
    # optimizer's, an evaluation means the same for both.
    estimator = replace(ADAPTIVE, block_size=SETTINGS[plant].trials)
    return _apply_plan(second_order("Hessian-free", estimator), PLANS[plant])


def _apply_plan(method: Method, plan: Plan) -> Method:
    """Return a method with the first changes of a plan, followed by the others."""
    (_, changes), *others = plan
    method = _change(method, changes)
    if not others:
        return method
    after = others[0][0]
    return replace(method, then=(after, _apply_plan(method, tuple(others))))


def _change(method: Method, changes: dict[str, Any]) -> Method:
    """Return a method with changed fields, of its own, its estimator or optimizer."""

    def changes_of(kind: Any) -> dict[str, Any]:
        names = {field.name for field in fields(kind)}
        return {name: value for name, value in changes.items() if name in names}

    return replace(
        method,
        estimator=replace(method.estimator, **changes_of(Estimator)),
        optimizer=replace(method.optimizer, **changes_of(HessianFree)),
        **changes_of(Method),
    )


def study(
    plant: str = "quadrotor",
    seeds: int = 3,
    updates: int | None = None,
    report: Report | None = None,
) -> Iterator[dict[str, Any]]:
    """Run every learning rate, started in both ways, and Hessian-free.

    Yields the result after every seed. Raises UsageError for an unknown plant.
    """
    if plant not in RATES:
        *others, last = RATES
        known = f"{', '.join(others)} and {last}"
        raise UsageError(f"`plant` {plant}: this study has {known}")
    setting = SETTINGS[plant]
    # Compiled dynamics: a simulator would take a hundred times longer for as many
    # trainings.
    problem = replace(setting.problem, engine=None)
    kind, rates = RATES[plant]
    method = planned_method(plant)
    updates = updates or LONGER[plant] * setting.updates
    loose = method.estimator
    same = replace(ADAPTIVE, rtol=loose.rtol, atol=loose.atol)
    second_budget = Budget(SECOND_UPDATES, SECOND_UPDATES)

    courses: list[dict[str, Any]] = []
    compared: list[dict[str, Any]] = []
    for seed in range(seeds):
        own = problem.own_weights(seed)
        second = run(problem, method, seed, second_budget, report, own, True)
        courses.append(second.tree())

        paper = problem.paper_weights(seed)
        for begun, estimator, start in ((SOURCE, ADAPTIVE, paper), (SAME, same, own)):
            methods = first_order_methods(plant, setting, estimator)
            firsts = [
                run(
                    problem,
                    first,
                    seed,
                    Budget(updates),
                    report,
                    start,
                    keeps_best=True,
                )
                for first in methods
            ]
            for after in sorted({min(setting.updates, updates), updates}):
                row = {"seed": seed, "begun": begun, "after": after}
                compared.append({**row, **_compare(firsts, second, after)})
            courses += [{"begun": begun, **course.tree()} for course in firsts]

        yield {
            "study": "orders",
            "plant": plant,
            "rates": list(rates),
            "kind": kind,
            "updates": updates,
            "seeds": seeds,
            "compared": compared,
            "ratios": {
                begun: _ratios(compared, begun, updates) for begun in (SOURCE, SAME)
            },
            "courses": courses,
        }


def first_order_methods(
    plant: str, setting: Setting, estimator: Estimator
) -> list[Method]:
    """Return the first-order optimizer of a plant at every learning rate."""
    kind, rates = RATES[plant]
    methods = []
    for rate in rates:
        optimizer = KINDS[kind](rate, **CLIPPED)
        methods.append(Method(f"{kind} {rate:g}", estimator, optimizer, setting.trials))
    return methods


def _ratios(compared: list[dict[str, Any]], begun: str, after: int) -> list[float]:
    """Return the ratios of evaluations of all seeds, for one way to start."""
    return [
        row["ratio"]
        for row in compared
        if (row["after"], row["begun"]) == (after, begun)
    ]


def costs_within(course: Course, after: int) -> list[float]:
    """Return the held-out costs of a course within the first `after` updates."""
    points = zip(course.held_out, course.updates, strict=True)
    return [cost for cost, updates in points if updates <= after]


def settled_cost(course: Course, after: int) -> float:
    """Return the cost at which a course settles within the first `after` updates.

    It is infinite for a course that is so at some of its last points.
    """
    costs = costs_within(course, after)
    return max(costs[-math.ceil(SETTLED * len(costs)) :], default=np.inf)


def _compare(firsts: list[Course], second: Course, after: int) -> dict[str, Any]:
    """Compare Hessian-free with the best first-order course within some updates.

    Returns what each took to the lowest cost of that course.
    """
    best = min(firsts, key=lambda course: settled_cost(course, after))
    cost = settled_cost(best, after)
    costs = costs_within(best, after)
    first = reach(best, cost, after)
    hf = reach(second, cost)
    ratio = first["evaluations"] / hf["evaluations"] if first and hf else 0.0
    return {
        "best": best.method,
        "cost": cost,
        "first_order": first,
        "first_order_lowest": min(costs),
        "first_order_final": costs[-1],
        "hf": hf,
        "hf_lowest": min(second.held_out),
        "hf_final": second.held_out[-1],
        "ratio": ratio,
    }
