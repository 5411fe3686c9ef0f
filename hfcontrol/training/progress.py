"""When a training can go no further, and whether it has converged.

It has converged

* if the loss changes by less than 1e-4 (relative) in each of three accepted holds in a
  row, or if it is nothing but rounding error;
* if holds are rejected, and the gradient promises nothing more or the loss is near the
  optimum. Else it has stalled, if the loss has fallen by a tenth before, or failed.
"""

from collections.abc import Callable

from hfcontrol.training.state import Stop, TrainingState

# A gain is small if it is less than this part of the loss; training has converged after
# as many accepted holds in a row with small gains.
SMALL_GAIN = 1e-4
CONVERGED_HOLDS = 3

# A loss below this part of the first one is nothing but rounding error.
NEGLIGIBLE = 1e-16

# Most rejected holds in a row: holds without descent, and holds that the true plant
# undoes, after each of which the trust radius is smaller.
MOST_REJECTED = 3
MOST_UNDONE = 12

# A training whose holds are rejected has converged if its gradient promises less than
# this part of the loss (rounding errors alone: below 1e-12), or below this ratio to the
# optimal loss: at a kink of the plant the gradient does not vanish.
NO_PROMISE = 1e-6
NEAR_OPTIMUM = 1.01

# Otherwise it has failed if its loss is not below this part of the first one.
PROGRESS = 0.9


def count_small_gains(before: TrainingState, loss: float) -> int:
    """Return the accepted holds in a row with small gains, after one more to a loss."""
    is_small = abs(before.loss - loss) < SMALL_GAIN * before.loss
    return before.small_gains + 1 if is_small else 0


def check_convergence(state: TrainingState) -> Stop | None:
    """Return the `Stop` of a loss that is rounding error or no longer falls."""
    if state.loss < NEGLIGIBLE * state.first_loss:
        return Stop.ROUNDING
    return Stop.CONVERGED if state.small_gains >= CONVERGED_HOLDS else None


def is_rejected(state: TrainingState) -> bool:
    """Whether so many holds in a row were rejected that the training ends."""
    most = MOST_UNDONE if state.hold.kind == "model" else MOST_REJECTED
    return state.rejected_holds >= most


def judge_rejections(
    state: TrainingState, promise: float, is_near_optimum: Callable[[], bool]
) -> Stop:
    """Return the `Stop` of a training whose holds are rejected.

    `promise` is the part of the loss that the gradient promises.
    """
    if promise < NO_PROMISE:
        return Stop.VANISHED
    if is_near_optimum():
        return Stop.NEAR_OPTIMUM
    has_fallen = state.loss < PROGRESS * state.first_loss
    return Stop.STALLED if has_fallen else Stop.FAILED
