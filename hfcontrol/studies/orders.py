"""Study: CTPG with Hessian-free against CTPG with the source's first-order optimizer, its rates tuned over a grid."""

from dataclasses import fields, replace

import numpy as np

from hfcontrol.closed_loop.continuous import Estimator
from hfcontrol.errors import UsageError
from hfcontrol.optim.first_order import Adam, Momentum
from hfcontrol.optim.hessian_free import HessianFree
from hfcontrol.studies.course import (
    ADAPTIVE,
    Method,
    Problem,
    reached,
    run,
    second_order,
)
from hfcontrol.studies.training import ENTRIES, SETTINGS

RATES = {
    "diffdrive": ("momentum", (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)),
    "quadrotor": ("adam", (3e-3, 1e-2, 3e-2, 1e-1)),
}
KINDS = {"adam": Adam, "momentum": Momentum}
LONGER = {
    "diffdrive": 1,
    "quadrotor": 5,
}  # times as many first-order updates as in the source: its 200 end far from the optimum
SECOND_UPDATES = 60  # of Hessian-free at most
SOURCE, SAME = (
    "source",
    "same",
)  # how the first-order optimizer begins: as in the source, or with the weights and tolerances that Hessian-free begins with
PLANS = {  # of Hessian-free: from which update on, what changes
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
        (24, {"least": 0.3}),
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
                "least": 0.1,
            },
        ),
        (18, {"products": "rk4", "trials": 16, "batches": 1, "cap": 7}),
        (26, {"products": "midpoint", "atol": 1e-6, "trials": 32, "cap": 10}),
    ),
}


def second(plant):
    """Hessian-free by the plant's plan: cheap while the horizon grows, when tolerances may be loose, with more trials and more exact
    later, when what is left to gain is little more than what one draw of trials differs from another.

    Steps are shared by as many trials as the first-order optimizer draws, so that an evaluation goes as far for either.
    """
    return _planned(
        second_order(
            "Hessian-free", replace(ADAPTIVE, block_size=SETTINGS[plant].trials)
        ),
        PLANS[plant],
    )


def _planned(method, plan):
    """A method with the first changes of a plan, which the others follow."""
    (_, changes), *others = plan
    method = _changed(method, changes)
    return (
        replace(method, then=(others[0][0], _planned(method, others)))
        if others
        else method
    )


def _changed(method, changes):
    """A method with changes of its own fields, its estimator's or its optimizer's."""

    def of(kind):
        return {
            name: value
            for name, value in changes.items()
            if name in {field.name for field in fields(kind)}
        }

    return replace(
        method,
        estimator=replace(method.estimator, **of(Estimator)),
        optimizer=replace(method.optimizer, **of(HessianFree)),
        **of(Method),
    )


def study(plant="quadrotor", seeds=3, updates=None, tell=None):
    """Courses of every rate, begun in either way, and of Hessian-free, and what each seed's best rate and Hessian-free took to its lowest
    cost; after every seed what there is."""
    if plant not in RATES:
        raise UsageError(f"--plant {plant}: this study knows {' and '.join(RATES)}")
    setting, (kind, rates), method = SETTINGS[plant], RATES[plant], second(plant)
    problem, courses, compared = Problem(*setting.problem), [], []
    updates = updates or LONGER[plant] * setting.updates
    same = replace(ADAPTIVE, rtol=method.estimator.rtol, atol=method.estimator.atol)
    for seed in range(seeds):
        hf = run(
            problem,
            method,
            seed,
            SECOND_UPDATES,
            SECOND_UPDATES,
            tell=tell,
            start=problem.initial(seed),
        )
        courses.append(hf.tree())
        for begun, estimator, start in (
            (SOURCE, ADAPTIVE, problem.start(seed)),
            (SAME, same, problem.initial(seed)),
        ):
            firsts = [
                run(
                    problem,
                    Method(
                        f"{kind} {rate:g}",
                        estimator,
                        KINDS[kind](rate, **ENTRIES),
                        setting.trials,
                    ),
                    seed,
                    updates,
                    80,
                    tell=tell,
                    start=start,
                )
                for rate in rates
            ]
            compared += [
                {
                    "seed": seed,
                    "begun": begun,
                    "after": after,
                    **_compared(firsts, hf, after),
                }
                for after in sorted({min(setting.updates, updates), updates})
            ]
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
                begun: [
                    c["ratio"]
                    for c in compared
                    if (c["after"], c["begun"]) == (updates, begun)
                ]
                for begun in (SOURCE, SAME)
            },
            "courses": courses,
        }


def _compared(firsts, second, after):
    """What the best of the first-order courses took to its lowest cost within so many updates, and Hessian-free to the same."""

    def lowest(course):
        return min(
            (
                cost
                for cost, updates in zip(course.held_out, course.updates)
                if updates <= after
            ),
            default=np.inf,
        )

    best = min(firsts, key=lowest)
    first, hf = reached(best, lowest(best)), reached(second, lowest(best))
    return {
        "best": best.method,
        "cost": lowest(best),
        "first_order": first,
        "hf": hf,
        "hf_lowest": min(second.held_out),
        "ratio": first["evaluations"] / hf["evaluations"] if hf else 0.0,
    }
