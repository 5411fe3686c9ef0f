"""SciPy's L-BFGS as a rival of the Hessian-free step, restarted in each hold."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import minimize

from hfcontrol.arrays.device import to_device_of, to_host
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.faults import check_gradient
from hfcontrol.optim.counting import CountedObjective
from hfcontrol.optim.first_order import FirstOrderState
from hfcontrol.optim.protocol import Objective, Report

# SciPy's line search cannot work with an infinite loss.
NOT_FINITE = 1e300


@dataclass(frozen=True)
class LBFGS:
    """SciPy's L-BFGS-B, called once per hold, with an iteration per update.

    Only the weights are carried from hold to hold. `memory` is the number of pairs of
    steps and gradient changes that it keeps.
    """

    memory: int = 50
    name = "lbfgs"

    def init(self, theta: Array) -> FirstOrderState:
        """Return the state before the first update."""
        return FirstOrderState(theta, np.zeros(0), np.zeros(0))

    def step(
        self, state: FirstOrderState, rollout: Any, hold: Objective, left: int = 1
    ) -> tuple[FirstOrderState, Any, Report]:
        """Make `left` updates; return state and rollout after them, and a report."""
        objective = CountedObjective(hold)
        best = rollout

        def loss_and_gradient(theta: Array) -> tuple[float, Array]:
            nonlocal best
            moved = objective.rollout(to_device_of(theta.copy(), state.theta))
            if not np.isfinite(moved.loss):
                return NOT_FINITE, np.zeros_like(theta)
            if moved.loss <= best.loss:
                best = moved
            linear = objective.linearise(moved)
            check_gradient(linear)
            return moved.loss, to_host(linear.gradient)

        # Tolerances of zero: the trainer decides when to stop.
        options = {
            "maxiter": left,
            "maxcor": self.memory,
            "ftol": 0.0,
            "gtol": 0.0,
            "maxls": 40,
        }
        start = to_host(state.theta).copy()
        result = minimize(
            loss_and_gradient, start, jac=True, method="L-BFGS-B", options=options
        )

        updates = int(result.nit)
        report = Report(
            best.loss < rollout.loss,
            best.loss,
            np.nan,
            self.name,
            updates,
            int(result.nfev),
            max(updates, 1),
            objective.counts,
        )
        total = state.updates + updates
        return replace(state, theta=best.theta, updates=total), best, report
