"""The state of a training, its limits, its events, and why it stopped.

A `TrainingState` is all that training needs to continue bit for bit; checkpoints store
it (runs/state_tree.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Literal, NamedTuple

import numpy as np

from hfcontrol.arrays.device import to_host
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.counts import NO_COUNTS, Counts
from hfcontrol.closed_loop.protocol import Loop
from hfcontrol.errors import UsageError
from hfcontrol.plant.contract import Plant
from hfcontrol.training.holds import HoldState
from hfcontrol.training.protocol import DrawsScenarios

EventKind = Literal["start", "update", "hold", "notice", "done", "curriculum", "rung"]

# The mean optimal loss of a loop's scenario; the commands of a rollout, a second
# argument, are one more start for it.
OptimalLoss = Callable[..., float]

# The setting of each limit.
LIMIT_SETTINGS = {
    "batches": "batches",
    "rollouts": "rollouts",
    "seconds": "max_seconds",
    "loss": "target_loss",
    "ratio": "target_ratio",
}


class Stop(Enum):
    """Why a training stopped: a word for scripts and a sentence for people.

    Several share the word `converged`, and their sentences say what has happened.
    """

    TARGET = "target", "target reached"
    ROLLOUTS = "rollouts", "rollout limit reached"
    TIME = "time", "time limit reached"
    CONVERGED = (
        "converged",
        "converged: the loss changed by less than 1e-4 (relative) in each of three "
        "holds in a row",
    )
    ROUNDING = "converged", "converged: what is left of the loss is rounding error"
    ARRIVED = "converged", "converged: the loss is within 0.1 % of the optimum"
    VANISHED = (
        "converged",
        "converged: no step lowers the loss, and its gradient has vanished",
    )
    NEAR_OPTIMUM = (
        "converged",
        "converged: no step lowers the loss, which is within 1 % of the optimum",
    )
    STALLED = (
        "stalled",
        "stalled: no step lowers the loss any further, but its gradient has not "
        "vanished",
    )
    VALIDATED = (
        "validated",
        "converged: the loss of the validation trials no longer falls",
    )
    INTERRUPTED = "interrupted", "interrupted"
    FAILED = "failed", "failed: no step lowers the loss, whatever the damping"
    NOT_FINITE = "not_finite", "failed: derivatives are not finite"

    def __init__(self, word: str, sentence: str) -> None:
        self.word = word
        self.sentence = sentence


@dataclass(frozen=True)
class Limits:
    """When to stop, and the most updates of a hold (`batches`).

    A loss, a ratio to the optimal loss, a number of true rollouts, seconds of training;
    None for no limit. Raises UsageError for numbers out of range.
    """

    batches: int = 32
    loss: float | None = None
    ratio: float | None = None
    rollouts: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name, setting in LIMIT_SETTINGS.items():
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"`{setting}` {value}: must be a number above 0")
        if self.ratio is not None and self.ratio < 1:
            raise UsageError(
                f"`target_ratio` {self.ratio}: must be a number above 1, which is the "
                "optimum"
            )

    def check_task(self, task: DrawsScenarios) -> None:
        """Raise UsageError for a ratio to an optimum that is no bar for a task."""
        if self.ratio is None:
            return
        if task.optimum_is_zero:
            raise UsageError(
                "`target_ratio`: with a final-state cost alone the optimal loss is zero"
                ", so there is no ratio; use `target_loss` instead, or set `effort` or "
                "`running`"
            )
        if task.noisy:
            raise UsageError(
                "`target_ratio`: with noise the optimum knows the noise in advance, "
                "which no controller does; use `target_loss` instead"
            )

    def target(self, loop: Loop, optimal: OptimalLoss | None) -> float | None:
        """Return the loss to reach on a loop's scenario, or None."""
        if self.ratio is None:
            return self.loss
        assert optimal is not None
        by_ratio = self.ratio * optimal(loop)
        return by_ratio if self.loss is None else max(self.loss, by_ratio)

    def check(
        self,
        loss: float,
        target: float | None,
        interrupted: bool,
        rollouts: int,
        seconds: float,
    ) -> Stop | None:
        """Return the `Stop` of the limit that is reached, or None.

        `target` is the loss to reach, None for no target. The other arguments are what
        was reached and spent.
        """
        if target is not None and loss <= target:
            return Stop.TARGET
        if interrupted:
            return Stop.INTERRUPTED
        if self.rollouts is not None and rollouts >= self.rollouts:
            return Stop.ROLLOUTS
        if self.seconds is not None and seconds >= self.seconds:
            return Stop.TIME
        return None


class CurvePoint(NamedTuple):
    """A point of the learning curve: a true loss, and what was spent until then."""

    loss: float
    updates: int
    rollouts: int
    seconds: float


class Best(NamedTuple):
    """The best weights (P,) on the validation trials, their loss and hold."""

    theta: Array | None
    loss: float
    hold: int


@dataclass(frozen=True)
class TrainingState:
    """Where a training stands: optimizer, hold and generator, counts, learning curve.

    `generator` is the state of the random generator that the scenario in use was drawn
    with. `history` has a point for the end of each hold, `curve` a point for every
    update after which the true loss is known. `small_gains` and `rejected_holds` count
    holds in a row, see `Trainer`. Inside a hold, `hold_start` is the state at its
    beginning and `updates_in_hold` the number of updates made since; between holds it
    is None. `mean_theta` is the mean of the weights after the last holds, if training
    averages them. With validation trials, `best_theta` are the weights of their lowest
    loss `best_loss`, which came after `best_hold` holds. `earlier` are the best weights
    of earlier rungs (ladder.py), None if there are none. `lowered` is the optimal loss
    that commands of the controller have shown (targets.py), infinite if they have not.
    """

    optimizer: Any
    hold: HoldState
    generator: Mapping[str, Any]
    loss: float = np.inf
    updates: int = 0
    counts: Counts = NO_COUNTS
    seconds: float = 0.0
    history: tuple[CurvePoint, ...] = ()
    curve: tuple[CurvePoint, ...] = ()
    small_gains: int = 0
    rejected_holds: int = 0
    updates_in_hold: int = 0
    hold_over: bool = False
    first_loss: float = np.inf
    hold_start: "TrainingState | None" = None
    mean_theta: Array | None = None
    best_theta: Array | None = None
    best_loss: float = np.inf
    best_hold: int = 0
    earlier: Best | None = None
    lowered: float = np.inf

    @property
    def rollouts(self) -> int:
        """Number of true rollouts made."""
        return self.counts.rollouts

    @property
    def holds(self) -> int:
        """Number of holds that have ended."""
        return len(self.history)

    @property
    def theta(self) -> Array:
        """The controller's weights (P,), as a NumPy array: the best of all rungs."""
        if self.leads or self.earlier is None or self.earlier.theta is None:
            return self.own_theta
        return self.earlier.theta

    @property
    def leads(self) -> bool:
        """Whether `own_theta` is better than the weights of earlier rungs."""
        return self.earlier is None or self.own_loss < self.earlier.loss

    @property
    def controller_loss(self) -> float:
        """The loss that belongs to `theta`."""
        if self.leads or self.earlier is None:
            return self.loss
        return self.earlier.loss

    @property
    def own_loss(self) -> float:
        """The loss that compares `own_theta` with the weights of other rungs."""
        return self.loss if self.best_theta is None else self.best_loss

    @property
    def own_theta(self) -> Array:
        """The controller's weights (P,) without those of earlier rungs.

        These are the weights that the true loss `loss` belongs to, or their mean, or
        those that the validation trials chose. The updates of a hold with an
        approximate loss count only when the hold has ended.
        """
        if self.is_validated and self.best_theta is not None:
            return self.best_theta
        if self.mean_theta is not None:
            return self.mean_theta
        source = self
        hold_start = self.hold_start
        if hold_start and (hold_start.hold.kind != "scenario" or self.leaves_out):
            source = hold_start
        return to_host(source.optimizer.theta)

    @property
    def is_validated(self) -> bool:
        """Whether validation trials have chosen `own_theta`.

        In the first hold they know the first weights alone, and have nothing to choose.
        """
        is_first_hold = self.hold_start is not None and not self.history
        return self.best_theta is not None and not is_first_hold

    @property
    def leaves_out(self) -> bool:
        """Whether the hold in progress leaves out trials."""
        return self.hold_start is not None and bool(self.hold_start.hold.left_out)

    @property
    def best(self) -> Best:
        """The best weights on the validation trials; none before the first hold."""
        return Best(self.best_theta, self.best_loss, self.best_hold)

    def average(self, theta: Array, n: int) -> Array | None:
        """Return the running mean with the weights theta (P,) after one more hold.

        The last ones weigh 1/n. None if n is 1, or before the n-th hold.
        """
        late = self.holds + 1 - n
        if n == 1 or late < 0:
            return None
        theta = to_host(theta)
        if self.mean_theta is None:
            return theta.copy()
        return self.mean_theta + (theta - self.mean_theta) / min(n, late + 1)

    @property
    def point(self) -> CurvePoint:
        """The point of the learning curve now."""
        return CurvePoint(self.loss, self.updates, self.rollouts, self.seconds)


def move_state(state: TrainingState, move: Callable[[Array], Array]) -> TrainingState:
    """Return a state with the optimizer's arrays moved to a GPU or back."""
    arrays = {}
    for name, value in vars(state.optimizer).items():
        if getattr(value, "ndim", 0):
            arrays[name] = move(value)
    start = state.hold_start
    return replace(
        state,
        optimizer=replace(state.optimizer, **arrays),
        hold_start=start and move_state(start, move),
    )


def without_curve(state: TrainingState) -> TrainingState:
    """Return a state without its learning curve: all that a hold's start needs."""
    return replace(state, history=(), curve=())


def describe_divergence(plant: Plant, x: Array) -> str:
    """Return that first weights fail: which state (T+1, nx, N) leaves, and when."""
    is_lost = ~np.isfinite(to_host(x))
    where = ""
    if is_lost.any():
        step, trial = np.argwhere(is_lost.any(axis=1))[0]
        name = plant.state[int(np.argmax(is_lost[step, :, trial]))]
        where = f" ({name} overflows at {step * plant.dt:g} s in trial {trial})"
    return (
        f"the loss of the first weights is not finite{where}: try another `seed`; "
        "`hfcontrol check` tells whether the plant itself stays finite"
    )


@dataclass(frozen=True)
class Event:
    """An event of a training: its kind, the state then, its loop and true rollout.

    A "hold" event is the end of a hold, `accepted` if it was not undone; an "update"
    event has the optimizer's report. The last event is "done" and has a `stop`. Events
    of kind "curriculum" come before the training proper, one of kind "rung" before each
    further rung of a ladder; `activity` describes in words what is going on. A
    "notice" tells what changes after rejected holds, or what is not finite.
    """

    kind: EventKind
    state: TrainingState
    loop: Loop | None
    rollout: Any
    report: Any = None
    accepted: bool = True
    stop: Stop | None = None
    activity: str = ""

    @property
    def numbers(self) -> dict[str, float]:
        """The numbers of the event for a log: those that there are.

        `loss`, the counts `update`, `hold` and `rollouts`, `seconds` and, from the
        optimizer, `damping`, `rho` and `iterations`.
        """
        state, report = self.state, self.report
        loss = self.rollout.loss if self.kind == "update" else state.loss
        found = {
            "update": state.updates,
            "hold": state.holds,
            "rollouts": state.rollouts,
            "seconds": state.seconds,
            "loss": loss,
            "damping": getattr(state.optimizer, "damping", None),
            "rho": getattr(report, "rho", None),
            "iterations": getattr(report, "iterations", None),
        }
        # Methods without a reduction ratio report NaN.
        return {
            name: float(value) if isinstance(value, float) else int(value)
            for name, value in found.items()
            if value is not None and value == value
        }
