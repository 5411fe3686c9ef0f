"""The linear-quadratic regulator about a goal.

The plant is linearised about x = goal, u = trim, where it is held over the whole
horizon. With the Gauss-Newton expansion of the cost there, one backward pass of iLQR
(ilqr.py has the equations) gives the law

    v_t = trim + k_t + K_t (x_t - goal_t)

For a linear plant that rests at its goal, and a quadratic cost, the law is optimal.
The gains of step 0 are those of the longest horizon: as a constant law they come
nearest to the regulator of an infinite horizon.
"""

from typing import NamedTuple

import numpy as np

from hfcontrol.kernels.base import LinearLaw
from hfcontrol.optim.ilqr import OpenLoop, find_laws
from hfcontrol.optim.trim import Trim, find_trim


class Rest(NamedTuple):
    """Trim of every trial at its start and at its last goal."""

    start: Trim
    goal: Trim


def find_rest(system: OpenLoop) -> Rest:
    """Return the trim at start and goal; a goal's entries that are NaN are free."""
    s, limits = system.scenario, system.wiring.limits
    start = find_trim(system.kernels, s.x0, s.x0, s.params, limits)
    goal = find_trim(system.kernels, s.goal[-1], s.x0, s.params, limits)
    return Rest(start, goal)


def regulate_goal(system: OpenLoop, goal: Trim) -> LinearLaw:
    """Return the regulator about the goal of every trial, and the trim there.

    Where a goal is NaN, the reference is the state of the trim.
    """
    s, wiring = system.scenario, system.wiring
    reference = np.where(np.isnan(s.goal), goal.x, s.goal)
    v = np.repeat(goal.u[None], s.steps, axis=0)
    v[: wiring.command_delay] = 0.0
    u = v * (1.0 + s.motor_gain) + s.motor_noise

    k, K = find_laws(system, reference, v, u)
    return LinearLaw(v + k.transpose(0, 2, 1), K, reference, wiring.limits.bounds)
