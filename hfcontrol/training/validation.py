"""Validation: trials that choose the weights, and are never trained on.

Where trials are drawn at random, the loss of the trials in use says little: it is lower
than that of others, and differs from draw to draw. Weights after a hold are therefore
tried on validation trials, which stay the same. The best ones are kept, and training
has converged when none are better for a while.
"""

from dataclasses import replace

from hfcontrol.arrays.device import to_host
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.linear_model import NOTHING_FIXED
from hfcontrol.closed_loop.protocol import Loop
from hfcontrol.training.state import TrainingState

# Least number of holds without better weights after which training has converged.
LEAST_PATIENCE = 12


def patience(hold: int) -> int:
    """Return after how many holds without better weights training has converged.

    `hold` is the number of the best hold. The loss of random trials falls slower and
    slower, and with chance: what took long to reach is given long to be surpassed.
    """
    return LEAST_PATIENCE + hold // 2


class Validation:
    """The validation trials as a closed loop."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop

    def update(self, state: TrainingState, theta: Array, hold: int) -> TrainingState:
        """Return a state with the better of its best weights and theta (P,).

        theta are the weights after hold number `hold`.
        """
        tried = self.loop.rollout(theta, NOTHING_FIXED)
        state = replace(state, counts=state.counts + tried.counts)
        if not tried.loss < state.best_loss:
            return state
        best = to_host(theta).copy()
        return replace(state, best_theta=best, best_loss=tried.loss, best_hold=hold)

    def has_ended(self, state: TrainingState) -> bool:
        """Whether no weights have been better for a while."""
        best = state.best
        return state.holds - best.hold >= patience(best.hold)
