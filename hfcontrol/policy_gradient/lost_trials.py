"""Trials that a plant runs away with: where their episodes end, and what that costs.

Exploration can drive an unstable plant beyond all bounds. If such trials were left out,
a policy would learn from the others alone, and not that it lost them. So a lost trial
ends where its cost passes a bound, and is charged between one and two times the bound
in all: less, the later it is lost. The bound is ten times what a trial costs that
stands still a typical size away from its start, or that is not lost (the median). So
losing a trial is worse than controlling it badly, and the rewards of lost trials do not
drown those of others, as costs at 1e6 typical sizes would.
"""

from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.loop import ClosedLoop, Rollout
from hfcontrol.closed_loop.lost_numbers import find_wrong_number, state_sizes
from hfcontrol.errors import NumberError

# A plant has run away with a trial whose state is this many sizes away from zero.
RUNAWAY = 1e3

# The bound on the cost of a trial, in costs of an ordinary one.
BOUND = 10.0

# If others run away, so does a trial of this cost, in bounds.
ON_ITS_WAY = 10.0


class LostTrials(NamedTuple):
    """Costs, and the ends of trials that are lost.

    `costs` (T, N) are zero after a loss; `is_last` (T, N) marks the steps in which
    trials are lost, and `is_kept` (T, N) all steps until then.
    """

    costs: Array
    is_last: Array
    is_kept: Array

    @property
    def number(self) -> int:
        """Number of trials that are lost."""
        return int(self.is_last.sum())


def find_lost_trials(loop: ClosedLoop, rollout: Rollout, costs: Array) -> LostTrials:
    """Return where trials are lost, and what each step (T, N) costs then.

    `costs` are those of the rollout, with the final cost in the last step. Raises
    NumberError if the plant or the cost gives a number that is not finite at a state of
    ordinary size: that is no trial that has run away.
    """
    size = state_sizes(loop)
    with np.errstate(invalid="ignore"):
        # NaN is not near either.
        is_near = (np.abs(rollout.x[1:]) <= RUNAWAY * size).all(axis=1)
    is_near &= np.isfinite(costs)
    has_run_away = ~is_near.all(axis=0)
    is_last = np.zeros(costs.shape, dtype=bool)
    if not has_run_away.any():
        return LostTrials(costs, is_last, ~is_last)

    wrong = find_wrong_number(loop, rollout)
    if wrong:
        raise NumberError(wrong)

    totals = np.cumsum(np.where(is_near, costs, np.inf), axis=0)
    ordinary = _ordinary_cost(loop)
    if not has_run_away.all():
        ordinary = max(ordinary, float(np.median(totals[-1, ~has_run_away])))
    bound = BOUND * ordinary
    # A trial that is on its way out would cost more than those that are lost.
    is_lost = has_run_away | (totals[-1] > ON_ITS_WAY * bound)

    T = len(costs)
    lost = np.flatnonzero(is_lost)
    end = np.argmax(totals[:, lost] > bound, axis=0)
    is_last[end, lost] = True
    paid = np.where(end > 0, totals[end - 1, lost], 0.0)
    charge = bound * (2 - (end + 1) / T)

    is_kept = np.ones(costs.shape, dtype=bool)
    is_kept[:, lost] = np.arange(T)[:, None] <= end
    costs = np.where(is_kept, costs, 0.0)
    costs[end, lost] = charge - paid
    return LostTrials(costs, is_last, is_kept)


def _ordinary_cost(loop: ClosedLoop) -> float:
    """Return the mean cost of standing still, a typical size away from the start."""
    scenario, plant = loop.scenario, loop.plant
    T, N = scenario.steps, scenario.trials
    away = scenario.x0 + plant.typical_state[:, None]
    x = np.repeat(away[None], T + 1, axis=0)
    u = np.broadcast_to(plant.typical_control[:, None], (T, plant.nu, N)).copy()
    losses = scenario.cost.losses(x, u)
    cost = float(losses[np.isfinite(losses)].sum()) / N
    # A cost that none of this moves gives no scale.
    return cost if cost > 0 else 1.0
