"""The outer loop of a training: a rollout on the true plant, a hold, its evaluation.

A hold has up to `limits.batches` updates. A training may be interrupted in the middle
of one: the state then contains the hold's start too, from which the hold is begun again
exactly, so that a resumed training has the same bits.

Training stops by itself when it can go no further (progress.py), or when the loss of
its validation trials no longer falls. Before that, rejected holds get a remedy
(rejections.py).
"""

import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from hfcontrol.arrays.communicator import of_first
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.counts import Counts
from hfcontrol.closed_loop.faults import Fault, NotFiniteError
from hfcontrol.closed_loop.linear_model import NOTHING_FIXED
from hfcontrol.closed_loop.loop import ClosedLoop
from hfcontrol.closed_loop.lost_numbers import find_wrong_number
from hfcontrol.closed_loop.protocol import Loop
from hfcontrol.errors import DivergedError
from hfcontrol.optim.curvature import promised_gain
from hfcontrol.training.differences import choose_widening, widen
from hfcontrol.training.holds import Hold, HoldState, switch_hold
from hfcontrol.training.problem import TrainingProblem
from hfcontrol.training.progress import (
    NEAR_OPTIMUM,
    check_convergence,
    count_small_gains,
    is_rejected,
    judge_rejections,
)
from hfcontrol.training.rejections import (
    after_hold,
    find_remedy,
    keep_trials,
    leave_out,
    needs_remedy,
)
from hfcontrol.training.state import (
    CurvePoint,
    Event,
    Stop,
    TrainingState,
    describe_divergence,
    move_state,
    without_curve,
)
from hfcontrol.training.stop import StopToken
from hfcontrol.training.targets import Target, has_arrived
from hfcontrol.training.validation import Validation


class OuterLoop:
    """One run of a training: the state, which it replaces, and what belongs to it.

    `loop` is the closed loop on the scenario in use, `hold_start` the state at the
    beginning of the hold in progress, `start` the true rollout of its weights.
    """

    def __init__(
        self, problem: TrainingProblem, state: TrainingState, stop_token: StopToken
    ) -> None:
        self.problem = problem
        self.limits = problem.limits
        self.stop_token = stop_token
        self.state = move_state(state, problem.move)
        self.hold_start = self.state.hold_start or without_curve(self.state)
        self.start: Any = None
        self.clock = 0.0
        self.validation = Validation.of(problem)
        if self.validation and problem.fresh:
            # targets are those of the validation trials
            self.target = self._target_on(self.validation.judged, self.state.lowered)
        self._draw(self.hold_start.generator, self.state.lowered)

    def events(self) -> Iterator[Event]:
        """Yield events until a limit is reached."""
        stop = None
        # nothing was learnt on this problem yet, whatever was spent before
        is_new = not self.state.curve
        self._make_first_rollout(is_new)
        if is_new and self.problem.remedies:
            self._choose_differences()
        if not self.state.hold_start:
            first_loss = self.start.loss if is_new else self.state.first_loss
            self._update(loss=self.start.loss, first_loss=first_loss)
            if is_new:
                self._extend_curve(self.state.point)
                self._validate_start()
            self.hold_start = without_curve(self.state)
            stop = self._check_limits(self.start.loss) or self._check_progress()
            if is_new:
                yield Event("start", self.state, self.loop, self.start)

        while stop is None:
            yield from self._recover()
            stop = yield from self._hold()
            stop = stop or self._check_progress()
        if stop is Stop.TARGET and self.validation and not self.problem.fresh:
            self.state = self.validation.keep_last(self.state)
        yield Event("done", self.state, self.loop, self.start, stop=stop)

    def _validate_start(self) -> None:
        """Try the first weights on the validation trials, if there are any."""
        if self.validation:
            theta = self.state.optimizer.theta
            self.state = self.validation.update(self.state, theta, 0)

    def _make_first_rollout(self, is_new: bool) -> None:
        """Make the rollout from which the clock runs on."""
        theta = self.hold_start.optimizer.theta
        self.start = self.loop.rollout(theta, NOTHING_FIXED)
        if not np.isfinite(self.start.loss):
            raise DivergedError(self._describe_failure())
        # A resumed training makes its last rollout again and does not count it again.
        if is_new:
            self._add(self.start.counts)
        self.clock = time.perf_counter() - self.state.seconds

    def _describe_failure(self) -> str:
        """Return why the first rollout has no finite loss."""
        failure: str | None = getattr(self.start, "failure", None)
        if not failure and isinstance(self.loop, ClosedLoop):
            self.start = self.loop.whole(self.start)
            failure = find_wrong_number(self.loop, self.start)
        return failure or describe_divergence(self.problem.plant, self.start.x)

    def _draw(self, generator: Mapping[str, Any], lowered: float = np.inf) -> None:
        """Draw a scenario from a generator in the given state, and set its target."""
        rng = np.random.default_rng()
        rng.bit_generator.state = generator
        self.loop = widen(self.problem.loop(rng), self.hold_start.hold.widening)
        self.next_generator = rng.bit_generator.state

        if not self._validates_targets:
            self.target = self._target_on(self.loop, lowered)

    def _target_on(self, loop: Loop, lowered: float) -> Target:
        """Return the target on the scenario of a loop."""
        return Target(self.limits, loop, self.problem.optimal, lowered)

    @property
    def _validates_targets(self) -> bool:
        """Whether targets are those of the validation trials, as for random ones."""
        return self.validation is not None and self.problem.fresh

    def _add(self, counts: Counts) -> None:
        """Add what something cost to the state."""
        self.state = replace(self.state, counts=self.state.counts + counts)

    def _update(self, **changes: Any) -> None:
        """Change the state, and its seconds to now."""
        seconds = time.perf_counter() - self.clock
        lowered = self.target.lowered
        self.state = replace(self.state, seconds=seconds, lowered=lowered, **changes)

    def _extend_curve(self, point: CurvePoint) -> None:
        """Add a point to the learning curve."""
        self.state = replace(self.state, curve=(*self.state.curve, point))

    def _hold(self) -> Generator[Event, None, Stop | None]:
        """Make one hold: updates on its objective, then its evaluation.

        Returns the `Stop` that ends the training, or None. A training that stops inside
        a hold leaves the hold open; resumed, it continues as if it had not stopped.
        """
        state = self.state
        is_resumed = state.hold_start is not None
        loop, start = keep_trials(self.loop, self.start, self.hold_start.hold)
        hold = self.problem.begin_hold(
            loop, start, self.hold_start.hold, state.updates_in_hold
        )
        is_exact = hold.exact and not self.hold_start.hold.left_out
        current = hold.first_rollout()
        over = state.hold_over or state.updates_in_hold >= self._most_updates()
        stop = None
        if is_resumed:
            # made and counted before the interruption, and now once more
            current = hold.rollout(state.optimizer.theta)
            stop = self._check_limits(state.loss)
        else:
            self._add(hold.counts)
            if start is not self.start:
                self._add(start.counts)
        # a target that is reached ends the hold, so that it is evaluated
        over = over or stop is Stop.TARGET

        while not over and stop is None:
            before = current.loss
            left = self._most_updates() - self.state.updates_in_hold
            try:
                inner, current, report = self.problem.optimizer.step(
                    self.state.optimizer, current, hold, left
                )
            except NotFiniteError as error:
                if not self.state.updates_in_hold:
                    return (yield from self._meet(error.fault))
                # what was gained before counts
                over = True
                break
            self._add(report.counts)
            over = (
                not report.accepted
                or hold.is_over(before, current, self._target_of_hold)
                or report.updates >= left
            )
            self._update(
                optimizer=inner,
                loss=current.loss if is_exact else self.start.loss,
                hold_start=self.hold_start,
                updates=self.state.updates + report.updates,
                updates_in_hold=self.state.updates_in_hold + report.updates,
                hold_over=over,
            )
            if is_exact:
                self._extend_curve(self.state.point)
            yield Event(
                "update", self.state, self.loop, current, report, report.accepted
            )
            stop = self._check_limits(self.state.loss)
            over = over or stop is Stop.TARGET
        if not over:
            # interrupted, or out of time or rollouts: the hold stays open
            return stop

        # the target of this hold's scenario: the next one may have another
        target = self.target
        accepted = self._close(hold, current)
        yield Event("hold", self.state, self.loop, self.start, None, accepted)
        return stop or self._check_limits(self.state.history[-1].loss, target)

    def _most_updates(self) -> int:
        """Return the most updates of the hold in progress."""
        most = self.hold_start.hold.most_updates
        return min(self.limits.batches, most or self.limits.batches)

    def _close(self, hold: Hold, current: Any) -> bool:
        """End a hold: continue from its last rollout or undo it.

        Draws the next scenario if the task is random. Returns whether the hold was
        accepted.
        """
        begun = self.hold_start
        inner = self.state.optimizer
        after, hold_state, counts = hold.close(current, begun.hold)
        self._add(counts)
        if after is not None and begun.hold.left_out:
            after = self._on_all_trials(after.theta)
        if after is None:
            # the count goes on: it seeds the probes of the curvature
            inner = replace(begun.optimizer, updates=inner.updates)
        else:
            self.start = after

        accepted = after is not None and self.state.updates_in_hold > 0
        loss = self.start.loss
        generator = begun.generator
        draws_again = (accepted and self.problem.task.random) or self.problem.fresh
        if draws_again:
            generator = self.next_generator
            self._draw(generator)
            self.start = self.loop.rollout(inner.theta, NOTHING_FIXED)
            self._add(self.start.counts)

        small_gains = begun.small_gains
        rejected_holds = begun.rejected_holds + 1
        mean_theta = begun.mean_theta
        if accepted:
            small_gains = count_small_gains(begun, loss)
            rejected_holds = 0
            mean_theta = self.state.average(inner.theta, self.problem.average)
        if accepted and self.validation:
            theta = inner.theta if mean_theta is None else mean_theta
            number = self.state.holds + 1
            self.state = self.validation.update(self.state, theta, number)
        if self.problem.remedies:
            drawn = self.problem.fresh
            hold_state = after_hold(hold_state, begun.hold, accepted, drawn)
        next_hold = switch_hold(self.problem.hold, hold_state)
        if next_hold is not hold_state:
            # what the former hold could not do says nothing about the next one
            small_gains = rejected_holds = 0
        self._update(
            optimizer=inner,
            hold=next_hold,
            generator=generator,
            loss=self.start.loss,
            updates_in_hold=0,
            hold_over=False,
            hold_start=None,
            small_gains=small_gains,
            rejected_holds=rejected_holds,
            mean_theta=mean_theta,
        )

        # the loss on the hold's own scenario, not on the next one
        point = self.state.point._replace(loss=loss)
        self.state = replace(self.state, history=(*self.state.history, point))
        if not hold.exact or begun.hold.left_out:
            self._extend_curve(point)
        self.hold_start = without_curve(self.state)
        return accepted

    @property
    def _target_of_hold(self) -> float | None:
        """The loss to reach on the trials in use, None if others have the target."""
        return None if self._validates_targets else self.target.loss

    def _check_limits(self, loss: float, target: Target | None = None) -> Stop | None:
        """Return the `Stop` of the limit that is reached at a loss, or None."""
        target = target or self.target
        theta = self.state.optimizer.theta
        if not self._validates_targets and target.is_reached(loss, theta):
            return Stop.TARGET
        # Processes that share the training stop together.
        seconds = time.perf_counter() - self.clock
        stopped, seconds = of_first((self.stop_token.stopped, seconds))
        return self.limits.check(loss, None, stopped, self.state.rollouts, seconds)

    def _check_progress(self) -> Stop | None:
        """Return the `Stop` of a training that can go no further, or None."""
        state = self.state
        validation = self.validation
        if validation and self.problem.fresh:
            judged = validation.judged_loss(state)
            if self.target.is_reached(judged, state.best_theta):
                return Stop.TARGET
        if validation and validation.has_ended(state):
            return Stop.VALIDATED
        converged = check_convergence(state)
        if converged:
            return converged
        if self._has_arrived():
            return Stop.ARRIVED
        if not is_rejected(state):
            return None
        linear = self.loop.linearise(self.start)
        promise = promised_gain(linear, self.start.loss)
        self._add(linear.counts)
        return judge_rejections(state, promise, self._is_near_optimum)

    def _has_arrived(self) -> bool:
        """Whether a training that began from a law has nothing left to gain.

        A law begins so near to the optimum that finding it costs little.
        """
        problem, state = self.problem, self.state
        if not (problem.remedies and problem.network.architecture.linear_path):
            return False
        if problem.optimal is None or problem.task.noisy:
            return False
        loop = self.loop
        if self.validation and problem.fresh:
            loop = self.validation.loop
        loop = problem.judged(loop)
        is_at_rest = state.small_gains > 0
        return has_arrived(
            loop, problem.optimal, problem.move(state.own_theta), is_at_rest
        )

    def _is_near_optimum(self) -> bool:
        """Whether the loss is near the optimal loss, if that can be computed."""
        problem = self.problem
        if problem.optimal is None or problem.estimator is not None:
            return False
        return bool(self.start.loss <= NEAR_OPTIMUM * problem.optimal(self.loop))

    def _choose_differences(self) -> None:
        """Widen the finite differences at once if the plant is rough."""
        widening, counts = choose_widening(self.loop, self.start)
        self._add(counts)
        self._change_hold(replace(self.state.hold, widening=widening))

    def _change_hold(self, hold: HoldState) -> None:
        """Begin the next hold as `hold` says."""
        if hold.widening != self.state.hold.widening:
            self.loop = widen(self.loop, hold.widening)
            self.start = self.loop.rollout(self.start.theta, NOTHING_FIXED)
            self._add(self.start.counts)
        self.state = replace(self.state, hold=hold, rejected_holds=0)
        self.hold_start = without_curve(self.state)

    def _recover(self) -> Iterator[Event]:
        """Try a remedy if holds are rejected in a row; yield a notice of it."""
        state, problem = self.state, self.problem
        if not (problem.remedies and needs_remedy(state, problem.fresh)):
            return
        remedy, counts = find_remedy(self.loop.linearise(self.start), state.hold)
        self._add(counts)
        if remedy:
            self._change_hold(remedy.hold)
            yield self._notice(remedy.text)

    def _meet(self, fault: Fault) -> Generator[Event, None, Stop | None]:
        """Leave out the trials of a fault, or stop; yield a notice of it."""
        hold = None
        if self.problem.remedies:
            hold = leave_out(self.hold_start.hold, fault.trials, self.loop.trials)
        if hold is None:
            yield self._notice(fault.text)
            return Stop.NOT_FINITE
        self._change_hold(hold)
        yield self._notice(f"{fault.text}; left out of the next hold")
        return None

    def _notice(self, text: str) -> Event:
        """Return the event that tells of a remedy or a fault."""
        return Event("notice", self.state, self.loop, self.start, activity=text)

    def _on_all_trials(self, theta: Array) -> Any:
        """Return the rollout of theta (P,) on all trials; None if their loss rises."""
        after = self.loop.rollout(theta, NOTHING_FIXED)
        self._add(after.counts)
        return after if after.loss < self.start.loss else None
