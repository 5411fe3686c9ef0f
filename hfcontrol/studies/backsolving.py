"""Study: how integrating backward fails on the regulator, whose closed loop is stable, and so unstable backward."""

import numpy as np

from hfcontrol.closed_loop.continuous import Estimator
from hfcontrol.errors import TrainingError
from hfcontrol.optim.first_order import Adam
from hfcontrol.studies.course import Problem

RATE, SEED, WIDE = 1e-3, 123, 1e300  # the source's; no clipping


def study(updates=1000, seconds=25.0, tell=None):
    """Loss and distance of the reconstructed start from the true one, update by update, from x0 = (1, 1), after every
    method what there is; the best law costs |x0|^2 (1 - e^-2T) at u = -x, 2.0."""
    problem, found = Problem("linear", None, seconds, (32,)), {}
    for name in ("ctpg", "backsolve", "backsolve_checkpoints"):
        loop = problem.loop(Estimator(name, 1e-3, 1e-6), np.random.default_rng(0), 1)
        loop.problem.x0[:] = 1.0
        optimizer, losses, errors, stopped = Adam(RATE, WIDE), [], [], None
        state = optimizer.init(problem.start(SEED))
        for k in range(updates):
            rollout = loop.rollout(state.theta)
            losses.append(rollout.loss)
            try:
                found_now = loop.gradient(rollout)
            except TrainingError as error:
                stopped = str(error)
                break
            back = (
                loop.problem.x0
                if found_now.reconstructed is None
                else found_now.reconstructed
            )
            errors.append(float(np.linalg.norm(back - loop.problem.x0)))
            state = optimizer.update(state, found_now.theta)
            if tell and k % 50 == 0:
                tell(
                    f"{name}: update {k} of {updates}, loss {losses[-1]:.4g}, reconstruction off by {errors[-1]:.2g}"
                )
        found[name] = {"loss": losses, "error": errors, "stopped": stopped}
        yield {
            "study": "backsolve",
            "updates": updates,
            "seconds": seconds,
            "optimum": 2.0,
            "methods": found,
        }
