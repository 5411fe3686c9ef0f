"""Counting what one update costs, by watching all that it does with its objective."""

from typing import Any

from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.counts import Counts
from hfcontrol.closed_loop.protocol import Linearised, RolloutResult
from hfcontrol.optim.protocol import Objective


class CountedObjective:
    """An objective that adds up the costs of its rollouts and linearisations.

    An optimizer wraps its objective at the beginning of an update and puts `counts`
    into the report. Derivatives still cost something after they are made, so `counts`
    is read when the update is over.
    """

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self._rollouts = Counts()
        self._derivatives: list[Linearised] = []

    @property
    def loop(self) -> Any:
        """The closed loop of the objective."""
        return self._objective.loop

    def rollout(self, theta: Array) -> Any:
        """Return the objective's rollout of weights theta (P,)."""
        rollout: RolloutResult = self._objective.rollout(theta)
        self._rollouts = self._rollouts + rollout.counts
        return rollout

    def linearise(self, rollout: Any) -> Any:
        """Return the objective's derivative at one of its rollouts."""
        derivative: Linearised = self._objective.linearise(rollout)
        self._derivatives.append(derivative)
        return derivative

    @property
    def counts(self) -> Counts:
        """What all of it cost so far."""
        costs = (derivative.counts for derivative in self._derivatives)
        return sum(costs, self._rollouts)
