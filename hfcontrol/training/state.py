"""Where a training stands and what it tells: its limits, its state, also as a checkpoint has it, its events, and why it ended."""

from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.device import to_host
from hfcontrol.closed_loop.counts import NO_COUNTS, Counts
from hfcontrol.closed_loop.loop import ClosedLoop
from hfcontrol.errors import UsageError
from hfcontrol.training.holds import HoldState


class Stop(Enum):
    """Why a training ended: a word for scripts and a sentence for people."""

    TARGET = "target", "the target was reached"
    ROLLOUTS = "rollouts", "the rollouts asked for are made"
    TIME = "time", "the time asked for is over"
    CONVERGED = (
        "converged",
        (
            "nothing more is to be gained: three holds in a row brought less than 1e-4 of the loss each, "
            "or none is left"
        ),
    )
    INTERRUPTED = "interrupted", "it was interrupted"
    FAILED = "failed", "no step lowers the loss any more, whatever the damping"

    def __init__(self, word, sentence):
        self.word, self.sentence = word, sentence


@dataclass(frozen=True)
class Limits:
    """When to stop: a loss, a ratio to the optimal loss, true rollouts, seconds of training; None for no limit."""

    batches: int = 32
    loss: float | None = None
    ratio: float | None = None
    rollouts: int | None = None
    seconds: float | None = None

    def __post_init__(self):
        for name, option in (
            ("batches", "batches"),
            ("rollouts", "rollouts"),
            ("seconds", "max-seconds"),
            ("loss", "target-loss"),
            ("ratio", "target-ratio"),
        ):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"--{option} {value}: a number above 0 is needed")
        if self.ratio is not None and self.ratio < 1:
            raise UsageError(
                f"--target-ratio {self.ratio}: 1 is the optimum; ask for a number above it"
            )

    def reached(self, loss, target, interrupted, rollouts, seconds):
        """The `Stop` of the limit reached, if any, by a loss, where a target loss or None is to be met, and by what was spent."""
        if target is not None and loss <= target:
            return Stop.TARGET
        if interrupted:
            return Stop.INTERRUPTED
        if self.rollouts is not None and rollouts >= self.rollouts:
            return Stop.ROLLOUTS
        return (
            Stop.TIME if self.seconds is not None and seconds >= self.seconds else None
        )


class CurvePoint(NamedTuple):
    """A point of the learning curve: a true loss, and the updates, true rollouts and seconds spent until then."""

    loss: float
    updates: int
    rollouts: int
    seconds: float


@dataclass(frozen=True)
class TrainingState:
    """Where a training stands: optimizer, hold and generator state, counts, and the learning curve.

    `history` has a `CurvePoint` for the end of each hold, `curve` one for every update whose true loss is known.
    `random` is the generator's state from which the scenario in use is drawn. `begun` is None between holds; inside one
    it is the state at the hold's beginning, and `in_hold` the updates made since. `mean` is that of the weights after the
    last holds, where the training averages them.
    """

    optimizer: object
    hold: HoldState
    random: dict
    loss: float = np.inf
    updates: int = 0
    counts: Counts = NO_COUNTS
    seconds: float = 0.0
    history: tuple = ()
    curve: tuple = ()
    small: int = 0
    rejected: int = 0
    in_hold: int = 0
    over: bool = False
    first: float = np.inf
    begun: object = None
    mean: np.ndarray | None = None

    @property
    def rollouts(self) -> int:
        """Number of true rollouts made."""
        return self.counts.rollouts

    @property
    def holds(self):
        """Number of holds that have ended."""
        return len(self.history)

    @property
    def theta(self):
        """The controller's weights, one of NumPy's arrays: those that the true loss `loss` belongs to, where those of an unjudged hold do
        not count yet, or their `mean`."""
        if self.mean is not None:
            return self.mean
        unjudged = self.begun and self.begun.hold.kind != "scenario"
        return to_host((self.begun if unjudged else self).optimizer.theta)


def move_state(state, move):
    """A state with the optimizer's arrays as `move` makes them: on a GPU, or back."""
    arrays = {
        name: move(value)
        for name, value in vars(state.optimizer).items()
        if getattr(value, "ndim", 0)
    }
    return replace(
        state,
        optimizer=replace(state.optimizer, **arrays),
        begun=state.begun and move_state(state.begun, move),
    )


def without_curve(state):
    """A state without its learning curve: all that a hold needs to know of how it began."""
    return replace(state, history=(), curve=())


@dataclass(frozen=True)
class Event:
    """Something happened: kind "start", "update", "hold" or "done", the state then, the loop and the rollout it stands on.

    Before a training proper, whatever it was, the kind is "warming", and `doing` tells in words what is done.
    """

    kind: str
    state: TrainingState
    loop: ClosedLoop
    rollout: object
    report: object = None
    accepted: bool = True
    stop: Stop | None = None
    doing: str = ""
