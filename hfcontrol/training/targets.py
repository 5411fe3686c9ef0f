"""Targets: the loss at which a training ends, and whether it has arrived.

The optimum is the best that is known. iLQR may find something better from the commands
of a good controller than from its own starts, as in an evaluation: a ratio counts only
against that.
"""

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.linear_model import NOTHING_FIXED
from hfcontrol.closed_loop.protocol import Loop
from hfcontrol.training.state import Limits, OptimalLoss

# An excess over the optimum is negligible below this part of it: as much as a gain is
# that counts as none (progress.py). After a hold without a gain, the larger one is.
NEGLIGIBLE_EXCESS = 1e-4
SMALL_EXCESS = 1e-3


class Target:
    """The loss to reach on the scenario of a loop, None for no target.

    `lowered` is the mean optimal loss if commands of the controller have shown a lower
    one than iLQR's own starts, else infinite.
    """

    def __init__(
        self,
        limits: Limits,
        loop: Loop,
        optimal: OptimalLoss | None,
        lowered: float = np.inf,
    ) -> None:
        self.limits = limits
        self.loop = loop
        self.optimal = optimal
        self.lowered = lowered
        self.loss = limits.target(loop, self._least)

    def _least(self, loop: Loop) -> float:
        """Return the lowest mean optimal loss that is known."""
        assert self.optimal is not None
        return min(self.optimal(loop), self.lowered)

    def is_reached(self, loss: float, theta: Array | None) -> bool:
        """Whether the weights theta (P,) reach it, whose loss is given.

        If their commands show that the optimum is lower, so is the target from then on.
        """
        if self.loss is None or theta is None or not loss <= self.loss:
            return False
        optimal = self.optimal
        if self.limits.ratio is None or optimal is None:
            return True
        rollout = self.loop.rollout(theta, NOTHING_FIXED)
        self.lowered = min(self.lowered, optimal(self.loop, rollout))
        self.loss = self.limits.target(self.loop, self._least)
        assert self.loss is not None
        return loss <= self.loss


def has_arrived(
    loop: Loop, optimal: OptimalLoss, theta: Array, is_at_rest: bool
) -> bool:
    """Whether weights theta (P,) have hardly anything left to gain on a loop's trials.

    `is_at_rest` tells whether the last hold has gained hardly anything.
    """
    rollout = loop.rollout(theta, NOTHING_FIXED)
    most = 1.0 + (SMALL_EXCESS if is_at_rest else NEGLIGIBLE_EXCESS)
    if not rollout.loss <= most * optimal(loop):
        return False
    return bool(rollout.loss <= most * optimal(loop, rollout))
