"""Study: CTPG with Hessian-free against CTPG with the source's first-order optimizer, and with rates tuned over a grid."""

import numpy as np

from hfcontrol.compare.course import ADAPTIVE, Method, Problem, adam, momentum, reached, run, second_order
from hfcontrol.compare.training import ENTRIES, SETTINGS
from hfcontrol.errors import UsageError

RATES = {"diffdrive": ("momentum", (1e-3, 3e-3, 1e-2, 3e-2)), "quadrotor": ("adam", (3e-3, 1e-2, 3e-2, 1e-1))}
KINDS = {"adam": adam, "momentum": momentum}
SECOND_UPDATES = 80  # of Hessian-free at most


def study(plant="quadrotor", seeds=3, updates=None, tell=None):
    """Courses of every rate and of Hessian-free, and what each seed's best rate and Hessian-free took to its lowest cost; after every
    seed what there is."""
    if plant not in RATES:
        raise UsageError(f"--plant {plant}: this study knows {' and '.join(RATES)}")
    setting, (kind, rates) = SETTINGS[plant], RATES[plant]
    problem, updates, courses, compared = Problem(*setting.problem), updates or setting.updates, [], []
    for seed in range(seeds):
        firsts = [run(problem, Method(f"{kind} {rate:g}", ADAPTIVE, KINDS[kind](rate, **ENTRIES), setting.trials), seed, updates, 80,
                      tell=tell) for rate in rates]
        second = run(problem, second_order("hf", ADAPTIVE), seed, SECOND_UPDATES, SECOND_UPDATES, tell=tell)
        best = min(firsts, key=lambda course: np.nan_to_num(course.held_out[-1], nan=np.inf))
        cost = min(best.held_out)
        compared.append({"seed": seed, "best": best.method, "cost": cost, "first_order": reached(best, cost),
                         "hf": reached(second, cost), "hf_final": second.held_out[-1]})
        courses += [*firsts, second]
        ratios = [c["first_order"]["evaluations"] / c["hf"]["evaluations"] if c["hf"] else 0.0 for c in compared]
        yield {"study": "orders", "plant": plant, "rates": list(rates), "kind": kind, "updates": updates, "seeds": seeds,
               "compared": compared, "ratios": ratios, "courses": [course.tree() for course in courses]}
