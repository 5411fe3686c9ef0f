"""Counting what one update costs, by looking at all that it asks of its hold."""

from typing import Any

from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.counts import Counts


class CountedHold:
    """A hold that adds up the costs of its rollouts and linearisations.

    An optimizer wraps its hold at the beginning of an update and puts `counts` into the
    update's report. A linearisation is still used after it is made, so that `counts` is
    read when the update is over.
    """

    def __init__(self, hold: Any) -> None:
        self.loop = hold.loop
        self._hold = hold
        self._rollouts = Counts()
        self._linearised: list[Any] = []

    def rollout(self, theta: Array) -> Any:
        """Return the hold's rollout of weights theta (P,)."""
        rollout = self._hold.rollout(theta)
        self._rollouts = self._rollouts + rollout.counts
        return rollout

    def linearise(self, rollout: Any) -> Any:
        """Return the derivative of the hold's function at one of its rollouts."""
        linear = self._hold.linearise(rollout)
        self._linearised.append(linear)
        return linear

    @property
    def counts(self) -> Counts:
        """What all of it cost so far."""
        return sum((linear.counts for linear in self._linearised), self._rollouts)
