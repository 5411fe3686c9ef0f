"""iLQR with its feedback law: planned controls, and gains about the planned path.

    u = u* + K (x - x*)

The plan x*, u* is the best movement of the nominal plant that the yardstick finds
(`optim/yardstick.py`), and K are the gains of iLQR's backward pass about it
(`optim/ilqr.py`).

Source: Li and Todorov, "Iterative linear quadratic regulator design for nonlinear
biological movement systems", ICINCO (2004).
"""

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.classical.problem import Problem
from hfcontrol.optim.ilqr import DAMPING_START, OpenLoop, backward_pass
from hfcontrol.optim.yardstick import optimum


class Tracking:
    """The law about a problem's plan; it has no gains to choose."""

    def __init__(self, problem: Problem, gains: tuple[float, float]) -> None:
        scenario, wiring = problem.scenario, problem.wiring
        kernels = problem.kernels
        plan = optimum(kernels, scenario, wiring)
        self.x, self.u = plan.x, plan.u
        system = OpenLoop(kernels, scenario, wiring)
        expansion = system.expand(plan.x, plan.u, plan.u)
        damping = np.full(scenario.trials, DAMPING_START)
        _, self.K = backward_pass(expansion, damping)
        self.wiring = wiring

    def __call__(self, t: int, x: Array) -> Array:
        """Return the controls (nu, N) in step t, for states x (nx, N)."""
        # The state is old when it is seen, and the control arrives later.
        seen = max(t - self.wiring.feedback_delay, 0)
        arrival = min(t + self.wiring.command_delay, len(self.u) - 1)
        change = np.einsum("nij,jn->in", self.K[arrival], x - self.x[seen])
        controls: Array = self.u[arrival] + change
        return controls
