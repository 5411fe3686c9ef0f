"""Training: rollouts, holds, stopping. A generator of events; prints nothing and writes nothing.

    for event in Trainer(problem, optimizer, limits).run(state): ...

One outer iteration is a rollout of the true plant and a hold of up to N updates. `TrainingState` is all that a later
`run` needs to go on bit for bit, also from the middle of a hold: then it holds the hold's beginning too, from which the
hold is made again exactly.
"""

import time
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.device import to_device, to_host
from hfcontrol.closed_loop.continuous import ContinuousLoop
from hfcontrol.closed_loop.counts import Counts
from hfcontrol.closed_loop.loop import ClosedLoop, PassOptions
from hfcontrol.errors import TrainingError, UsageError
from hfcontrol.training import holds
from hfcontrol.training.state import (
    CurvePoint,
    Event,
    Limits,
    Stop,
    TrainingState,
    move_state,
    without_curve,
)
from hfcontrol.training.stop import StopToken

CONVERGED, CONVERGED_HOLDS = (
    1e-4,
    3,
)  # so many accepted holds in a row that each bring less than this part of the loss
NOTHING = 1e-16  # part of the first loss that is nothing but rounding
REJECTED_MOST, UNDONE_MOST = (
    3,
    12,
)  # holds in a row that found no descent; that the true plant undid


class RolloutWanted(NamedTuple):
    """A training wants the rollout of weights theta (P,) on a loop."""

    loop: object
    theta: np.ndarray

    def done(self):
        """The `Rollout`."""
        return self.loop.rollout(self.theta)


class StepWanted(NamedTuple):
    """A training wants an update by its optimizer, of at most so many as are left in the hold."""

    optimizer: object
    state: object
    rollout: object
    hold: object
    left: int

    def done(self):
        """The optimizer's state, the rollout after it and its `Report`."""
        return self.optimizer.step(self.state, self.rollout, self.hold, self.left)


@dataclass
class Trainer:
    """One training problem: a task, a network, the wiring between them, an optimizer, the hold asked for and limits.

    With an `estimator` (continuous/estimators.py) plant and network are one differential equation, not a sequence of steps.
    `optimal` gives the mean
    optimal loss of a scenario; it is called only where a target ratio needs it. `fused`, `store_every` and `dtype` are those of
    `ClosedLoop`. Where `kernels` are of a GPU, the training is there; states go in and come out wherever they are. With an `average`
    of n holds, the controller is, from the n-th on, the mean of the weights after each of n holds, which then moves by 1/n of the way to
    those after every other: fresh scenarios pull each hold's weights another way, and the mean is nearer to what all of them ask for
    (Polyak and Juditsky 1992).
    """

    task: object
    plant: object
    kernels: object
    network: object
    wiring: object
    optimizer: object
    hold: str = "auto"
    limits: Limits = field(default_factory=Limits)
    optimal: object = None
    fused: bool = True
    store_every: int = 1
    estimator: object = None
    dtype: str = "float64"
    average: int = 1

    def __post_init__(self):
        if self.hold not in holds.KINDS:
            raise UsageError(f"--hold {self.hold}: known are {', '.join(holds.KINDS)}")
        if self.limits.ratio is not None and self.task.optimum_is_zero:
            raise UsageError(
                "--target-ratio: with a final-state cost alone the optimal loss is zero and there is no ratio; "
                "use --target-loss, or give --effort or --running"
            )
        if self.limits.ratio is not None and self.task.noisy:
            raise UsageError(
                "--target-ratio: with noise the optimum is one that knows the noise in advance, which no "
                "controller attains; use --target-loss"
            )

    def loop(self, rng):
        """The closed loop on a scenario drawn from rng."""
        if self.estimator:
            return ContinuousLoop(
                self.plant,
                self.kernels,
                self.network,
                self.task.draw(rng),
                self.wiring,
                self.estimator,
            )
        return ClosedLoop(
            self.plant,
            self.kernels,
            self.network,
            self.task.draw(rng),
            self.wiring,
            PassOptions(self.fused, self.store_every, self.dtype),
        )

    def init(self, theta, rng, hold_state=None):
        """The state before the first rollout, from weights theta (P,) and the generator of scenarios."""
        if hold_state is None:
            hold_state, _ = holds.choose_hold(
                self.hold, self.loop(np.random.default_rng(0))
            )
        return TrainingState(
            self.optimizer.init(self.place(theta)), hold_state, rng.bit_generator.state
        )

    def place(self, a):
        """An array where this training is."""
        return to_device(a) if self.kernels.device == "gpu" else a

    def run(self, state, stop_token=None):
        """Events of the training from `state` on, until a limit is reached; the last one is "done".

        `stop_token` is read between updates.
        """
        course, answer = self.course(state, stop_token), None
        while True:
            try:
                told = course.send(answer)
            except StopIteration:
                return
            answer = None if isinstance(told, Event) else told.done()
            if answer is None:
                yield told

    def course(self, state, stop_token=None):
        """The events, and between them what is wanted, `RolloutWanted` or `StepWanted`, to be done and sent back: by `run` at once, or
        (gathering.py) together with what the trainings of other seeds want."""
        return _Run(self, state, stop_token or StopToken()).course()


class _Run:
    """One run of a trainer: the loop and scenario in use, the clock, and the state as it moves. What costs time it asks for.

    `begun` is the state at the beginning of the hold in progress and `start` the true rollout of its weights; `fresh` says
    that nothing was learnt on this problem yet, whatever was spent before.
    """

    def __init__(self, trainer, state, stop_token):
        self.stop_token = stop_token
        self.trainer, self.limits, self.state = (
            trainer,
            trainer.limits,
            move_state(state, trainer.place),
        )
        self.begun, self.loop = self.state.begun or without_curve(self.state), None
        self._draw(self.begun.random)

    def _begin(self):
        """The first rollout, from which the clock runs on."""
        state, self.start = (
            self.state,
            (yield RolloutWanted(self.loop, self.begun.optimizer.theta)),
        )
        if not np.isfinite(self.start.loss):
            raise TrainingError(
                getattr(self.start, "failure", None)
                or "the loss at the first weights is not finite: another --seed may help; "
                "`hfcontrol check` tells whether the plant itself stays finite"
            )
        self.fresh = not state.curve
        # what a resumed training simulates again is not counted again
        if self.fresh:
            self._add(self.start.counts)
        self.clock = time.perf_counter() - state.seconds

    def _draw(self, random):
        """Draws the scenario of a hold from a generator in the given state, and finds its target loss."""
        rng = np.random.default_rng()
        rng.bit_generator.state = random
        self.loop = self.trainer.loop(rng)
        self.random_after = rng.bit_generator.state
        self.target = self.limits.loss
        if self.limits.ratio is not None:
            by_ratio = self.limits.ratio * self.trainer.optimal(self.loop)
            self.target = (
                by_ratio if self.target is None else max(self.target, by_ratio)
            )

    def _add(self, counts: Counts) -> None:
        """Add what something cost to the state."""
        self.state = replace(self.state, counts=self.state.counts + counts)

    def _mark(self, **changes):
        self.state = replace(
            self.state,
            seconds=time.perf_counter() - self.clock,
            **changes,
        )

    def course(self):
        """Holds until a limit is reached."""
        stop = None
        yield from self._begin()
        if not self.state.begun:
            self._mark(
                loss=self.start.loss,
                first=self.start.loss if self.fresh else self.state.first,
            )
            if self.fresh:
                self._chart()
            self.begun = without_curve(self.state)
            stop = self._reached(self.start.loss) or self._settled()
            if self.fresh:
                yield Event("start", self.state, self.loop, self.start)
        while stop is None:
            stop = yield from self._hold()
            stop = stop or self._settled()
        yield Event("done", self.state, self.loop, self.start, stop=stop)

    def _hold(self):
        """One hold: updates on its function, then its judgement. Returns the `Stop` that ends the training, or None.

        A training that is stopped inside a hold leaves it open: resumed, it goes on as if it had not stopped.
        """
        state = self.state
        hold = holds.begin_hold(self.loop, self.start, self.begun.hold, state.in_hold)
        current = hold.first()
        if state.begun:
            # made again after an interruption, and counted before it
            current = hold.rollout(state.optimizer.theta)
        else:
            self._add(hold.counts)
        over = state.over or state.in_hold >= self.limits.batches
        stop = self._reached(state.loss) if state.begun else None
        over = over or stop is Stop.TARGET
        while not over and stop is None:
            before, left = current.loss, self.limits.batches - self.state.in_hold
            inner, current, report = yield StepWanted(
                self.trainer.optimizer, self.state.optimizer, current, hold, left
            )
            self._add(report.counts)
            over = (
                not report.accepted
                or hold.over(before, current, self.target)
                or report.updates >= left
            )
            self._mark(
                optimizer=inner,
                loss=current.loss if hold.true else self.start.loss,
                begun=self.begun,
                updates=self.state.updates + report.updates,
                in_hold=self.state.in_hold + report.updates,
                over=over,
            )
            if hold.true:
                self._chart()
            yield Event(
                "update", self.state, self.loop, current, report, report.accepted
            )
            stop = self._reached(self.state.loss)
            over = over or stop is Stop.TARGET
        if not over:
            return stop
        target = self.target
        accepted = yield from self._judge(hold, current)
        yield Event("hold", self.state, self.loop, self.start, None, accepted)
        return stop or self._reached(self.state.history[-1].loss, target)

    def _judge(self, hold, current):
        """Ends a hold: goes on from its last rollout or undoes it, and draws the next scenario where the task is random."""
        begun, inner, task = self.begun, self.state.optimizer, self.trainer.task
        after, hold_state, counts = hold.close(current, begun.hold)
        self._add(counts)
        if after is None:
            inner = replace(begun.optimizer, updates=inner.updates)
        else:
            self.start = after
        accepted = after is not None and self.state.in_hold > 0
        loss, random = self.start.loss, begun.random
        if accepted and task.random:
            random = self.random_after
            self._draw(random)
            self.start = yield RolloutWanted(self.loop, inner.theta)
            self._add(self.start.counts)
        small = (
            begun.small + 1 if abs(begun.loss - loss) < CONVERGED * begun.loss else 0
        )
        self._mark(
            optimizer=inner,
            hold=holds.next_kind(self.trainer.hold, hold_state),
            random=random,
            loss=self.start.loss,
            in_hold=0,
            over=False,
            begun=None,
            small=small if accepted else begun.small,
            mean=self._mean(inner.theta) if accepted else begun.mean,
            rejected=0 if accepted else begun.rejected + 1,
        )
        mark = CurvePoint(
            loss, self.state.updates, self.state.rollouts, self.state.seconds
        )
        self.state = replace(self.state, history=(*self.state.history, mark))
        if not hold.true:
            self.state = replace(self.state, curve=(*self.state.curve, mark))
        self.begun = without_curve(self.state)
        return accepted

    def _mean(self, theta):
        """The mean of the weights after the last holds, with those after one more; None where they are not averaged, or not yet."""
        n, mean = self.trainer.average, self.state.mean
        late = self.state.holds + 1 - n
        if n == 1 or late < 0:
            return None
        theta = to_host(theta)
        return (
            theta.copy() if mean is None else mean + (theta - mean) / min(n, late + 1)
        )

    def _chart(self):
        """Adds the loss as it is now to the learning curve."""
        s = self.state
        self.state = replace(
            s, curve=(*s.curve, CurvePoint(s.loss, s.updates, s.rollouts, s.seconds))
        )

    def _reached(self, loss, target=None):
        """The limit reached at this loss, if any."""
        return self.limits.reached(
            loss,
            self.target if target is None else target,
            self.stop_token.stopped,
            self.state.rollouts,
            time.perf_counter() - self.clock,
        )

    def _settled(self):
        """Whether nothing more is to be gained: holds that bring next to nothing, or no descent at all."""
        state = self.state
        if state.small >= CONVERGED_HOLDS or state.loss < NOTHING * state.first:
            return Stop.CONVERGED
        if state.rejected >= (
            UNDONE_MOST if state.hold.kind == "model" else REJECTED_MOST
        ):
            return Stop.CONVERGED if state.loss < 0.9 * state.first else Stop.FAILED
        return None
