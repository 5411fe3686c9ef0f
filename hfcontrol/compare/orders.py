"""Study: CTPG with Hessian-free against CTPG with the source's first-order optimizer, and with rates tuned over a grid."""

from dataclasses import replace

import numpy as np

from hfcontrol.compare.course import ADAPTIVE, Method, Problem, reached, run, second_order
from hfcontrol.compare.training import ENTRIES, SETTINGS
from hfcontrol.errors import UsageError
from hfcontrol.first_order import Adam, Momentum

RATES = {"diffdrive": ("momentum", (1e-3, 3e-3, 1e-2, 3e-2)), "quadrotor": ("adam", (3e-3, 1e-2, 3e-2, 1e-1))}
KINDS = {"adam": Adam, "momentum": Momentum}
LONGER = {"diffdrive": 1, "quadrotor": 5}  # times as many first-order updates as in the source: its 200 end far from the optimum
SECOND_UPDATES = 60  # of Hessian-free at most
# over a part of the time the robot had better stand still: its horizon does not grow
FIRST = {"diffdrive": {"trials": 32, "cap": 10, "grow": 0, "damping": 0.5, "least": 0.3},
         "quadrotor": {"trials": 16, "cap": 8, "grow": 6, "least": 0.1}}
LATER = {"diffdrive": (20, "midpoint", 10, {"trials": 64}),  # from which update on: products, cap, and what else changes
         "quadrotor": (18, "rk4", 15, {"trials": 32, "least": 0.0})}


def second(plant):
    """Hessian-free as it suits the plant: cheap at first, with few trials and conjugate gradients and products by the midpoint rule,
    and more exact later.

    Steps are shared by as many trials as the first-order optimizer draws, so that an evaluation goes as far for either.
    """
    first = second_order("hf", replace(ADAPTIVE, together=SETTINGS[plant].trials, products="midpoint"), **FIRST[plant])
    after, products, cap, others = LATER[plant]
    later = replace(first, estimator=replace(first.estimator, products=products), optimizer=replace(first.optimizer, cap=cap), **others)
    return replace(first, then=(after, later))


def study(plant="quadrotor", seeds=3, updates=None, tell=None):
    """Courses of every rate and of Hessian-free, and what each seed's best rate and Hessian-free took to its lowest cost; after every
    seed what there is."""
    if plant not in RATES:
        raise UsageError(f"--plant {plant}: this study knows {' and '.join(RATES)}")
    setting, (kind, rates) = SETTINGS[plant], RATES[plant]
    problem, courses, compared = Problem(*setting.problem), [], []
    updates = updates or LONGER[plant] * setting.updates
    for seed in range(seeds):
        firsts = [run(problem, Method(f"{kind} {rate:g}", ADAPTIVE, KINDS[kind](rate, **ENTRIES), setting.trials), seed, updates, 80,
                      tell=tell) for rate in rates]
        hf = run(problem, second(plant), seed, SECOND_UPDATES, SECOND_UPDATES, tell=tell)
        for after in sorted({min(setting.updates, updates), updates}):
            compared.append({"seed": seed, "after": after, **_compared(firsts, hf, after)})
        courses += [*firsts, hf]
        ratios = [c["ratio"] for c in compared if c["after"] == updates]
        yield {"study": "orders", "plant": plant, "rates": list(rates), "kind": kind, "updates": updates, "seeds": seeds,
               "compared": compared, "ratios": ratios, "courses": [course.tree() for course in courses]}


def _compared(firsts, second, after):
    """What the best of the first-order courses took to its lowest cost within so many updates, and Hessian-free to the same."""
    def lowest(course):
        return min((cost for cost, updates in zip(course.held_out, course.updates) if updates <= after), default=np.inf)
    best = min(firsts, key=lowest)
    first, hf = reached(best, lowest(best)), reached(second, lowest(best))
    return {"best": best.method, "cost": lowest(best), "first_order": first, "hf": hf, "hf_lowest": min(second.held_out),
            "ratio": first["evaluations"] / hf["evaluations"] if hf else 0.0}
