"""The ladder: what follows when a training ends far from the optimum.

A training is the first rung. When it ends, its weights are compared with the optimum on
validation trials. If the ratio is above `GOOD_RATIO`, the next rung is climbed:

trials      more trials, whenever the network overfits (trial_sets.py)
imitation   the whole network imitates optimal laws first (imitation.py)
growth      the horizon grows first (curriculum.py)
guidance    the network follows good trajectories first (guidance.py)
race        other initial weights race first

Each rung begins with its curriculum and goes on with the cost itself to its normal end.
The best weights of all rungs are kept. A rung has a budget in counted operations. A
rung that leads gets its budget again as long as its excess over the optimum falls
quickly; one that is no better than the rungs before ends with its budget. Overfitting
ends it too. After the last rung the best one is trained to its normal end.

Fixed trials are compared with their own optima. What validation trials between them
cost more, as a factor, counts as a part of the ratio.

Where there is no ratio, since the optimum is zero or knows the noise in advance, the
next rung is climbed as long as the last one has lowered the loss.

A ladder of one rung is a training as it always was: a curriculum, and the cost.
"""

import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any, cast

import numpy as np

from hfcontrol.arrays.random import Stream, stream
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.counts import Counts
from hfcontrol.closed_loop.linear_model import NOTHING_FIXED
from hfcontrol.closed_loop.loop import ClosedLoop
from hfcontrol.errors import DivergedError, TrainingError
from hfcontrol.optim.operations import count_linear_step
from hfcontrol.optim.yardstick import Optima, Pilots
from hfcontrol.tasks.scenario import is_same_scenario
from hfcontrol.training.curriculum import Curriculum, CurriculumState
from hfcontrol.training.rungs import (
    MORE_TRIALS,
    LadderOptions,
    LadderState,
    Rung,
    further_rungs,
)
from hfcontrol.training.state import Best, Event, Stop, TrainingState
from hfcontrol.training.stop import StopToken
from hfcontrol.training.trainer import Trainer
from hfcontrol.training.trial_sets import (
    LEAST_GAP,
    MORE,
    TrialSets,
    overfits,
)

# A ratio up to this one is good: no further rung is climbed.
GOOD_RATIO = 1.01

# Weights above this ratio are in a poor minimum: the next rung begins elsewhere.
POOR_RATIO = 3.0

# Budget of a rung in operations, a few seconds of one core; at least so many updates,
# however large the problem.
BUDGET = 5e10
LEAST_UPDATES = 16

# A rung that leads gets another budget if the last one has brought its excess over
# the optimum below this part. The first budget always does: what remains of the loss
# of untrained weights says little. Twice the budget at half this rate keeps a rung in a
# poor minimum for twice as long (measured: 108 updates at 200 times the optimum).
FALLEN = 0.7

# Without a ratio, a rung has helped if its loss is below this part of the one before.
HELPED = 0.99

# Where the optimum is zero, a loss below this part of the first one is good.
NEARLY_ZERO = 1e-4

# Operations per weight, trial and step of a tangent, an adjoint or a rollout.
PASS_OPERATIONS = 4

# Limits that end the whole ladder, and not only a rung.
FINAL = (Stop.TARGET, Stop.ROLLOUTS, Stop.TIME, Stop.INTERRUPTED)


class Ladder:
    """Trains on one rung after another.

    The first one has the curriculum of the settings, and starts from weights theta
    (P,), which cannot race, or from initial ones. During a curriculum `training` is
    None, afterwards it is the state of the training.
    """

    def __init__(
        self,
        trainer: Trainer,
        settings: LadderOptions,
        theta: Array | None = None,
        climbs: bool = False,
    ) -> None:
        self.trainer = trainer
        self.settings = settings
        self.state = LadderState(theta=theta, climbs=climbs)
        self.training: TrainingState | None = None
        self.curriculum: Curriculum | None = Curriculum(trainer, settings, theta=theta)
        # why the rung in progress cannot be trained, if it cannot
        self.fault: TrainingError | None = None
        # what comes next, in words
        self.following = ""
        if self.curriculum.is_finished:
            self._end_curriculum(self.curriculum)

    def resume(
        self,
        state: LadderState,
        curriculum: CurriculumState | None,
        training: TrainingState | None,
    ) -> None:
        """Continue from a state, and the curriculum or training then in progress."""
        self.state = state
        self.training = training
        self.curriculum = None
        if curriculum is not None:
            options = self.rungs[state.rung - 1] if state.rung else self.settings
            self.curriculum = Curriculum(self.rung_trainer, options, curriculum)

    def events(self, stop_token: StopToken | None = None) -> Iterator[Event]:
        """Yield the events of all rungs, the last of kind "done".

        If a curriculum is interrupted, the last event is its own. Raises TrainingError
        if no rung has weights of finite loss.
        """
        token = stop_token or StopToken()
        while True:
            if self.curriculum:
                yield from self._precede(self.curriculum, token)
            if self.curriculum and self.curriculum.stop is Stop.INTERRUPTED:
                return
            done = yield from self._train(token)
            if done and (done.stop in FINAL or self._is_last_rung):
                yield done
                return
            fault = self.fault
            if self._settle(has_ended=done is not None):
                assert done is not None
                yield done
                return
            activity = self._describe_rung(fault)
            yield Event("rung", self.spent, None, None, activity=activity)

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """The rungs after the first one, besides more trials.

        The optima of a plant that is not compiled take longer than most trainings.
        """
        if not (self.state.climbs and self.trainer.plant.compiled):
            return ()
        return further_rungs(self.settings)

    @cached_property
    def sets(self) -> TrialSets:
        """The trials, which stay as they are if the user has chosen their number."""
        adds = self.state.climbs and self.settings.trials is None
        return TrialSets(self.trainer, self.settings.seed, adds)

    @property
    def rung_trainer(self) -> Trainer:
        """The trainer of the rung in progress, which may have more trials."""
        state = self.state
        factor = state.best_trials if self._is_last_rung else state.trials
        return self.sets.trainer_of(factor)

    @property
    def spent(self) -> TrainingState:
        """The state that tells what was spent until now."""
        if self.training is not None:
            return self.training
        assert self.curriculum is not None
        return self.curriculum.state.training

    @property
    def _is_last_rung(self) -> bool:
        """Whether nothing follows the rung in progress, whatever it reaches."""
        return not self.state.climbs or self.state.rung > len(self.rungs)

    def _precede(self, curriculum: Curriculum, token: StopToken) -> Iterator[Event]:
        """Run the curriculum in progress, and prepare the training after it."""
        most = self.trainer.limits.rollouts
        try:
            for event in curriculum.events(token):
                yield event
                # the curriculum of the first rung has always ignored this limit
                rollouts = curriculum.result.rollouts if most else 0
                if self.state.has_climbed and most and rollouts >= most:
                    break
        except TrainingError as fault:
            self._fail(fault)
            return
        if curriculum.stop is not Stop.INTERRUPTED:
            self._end_curriculum(curriculum)

    def _end_curriculum(self, curriculum: Curriculum) -> None:
        """Continue with the training that a curriculum has prepared.

        If it is not finished, a limit was reached: the training ends at once, and a
        resumed ladder continues with the curriculum.
        """
        result = curriculum.result
        if self.state.has_climbed:
            best = self.state.best
            trained = self._begin(result.theta, result, best)
            if best is not None and not curriculum.is_finished:
                trained = self._with_spent(best, result)
            result = trained
        self.training = result
        if curriculum.is_finished:
            self.curriculum = None
            self.state = replace(self.state, spent=result.counts)

    def _fail(self, fault: TrainingError) -> None:
        """Give up a rung whose weights cannot be trained."""
        if not self.rungs:
            raise fault
        spent = self.spent
        self.fault = fault
        self.curriculum = None
        self.training = self._begin(spent.own_theta, spent, self.state.best)

    def _begin(
        self, theta: Array, spent: TrainingState, best: TrainingState | None = None
    ) -> TrainingState:
        """Return the state before a training from theta (P,), with earlier costs.

        `best` is the state of the best rung before.
        """
        rng = stream(self.settings.seed, Stream.SCENARIOS)
        earlier = None
        if best is not None:
            earlier = Best(best.own_theta, best.own_loss, best.holds)
        begun = replace(self.rung_trainer.init(theta, rng), earlier=earlier)
        return self._with_spent(begun, spent)

    def _with_spent(self, state: TrainingState, spent: TrainingState) -> TrainingState:
        """Return a state with what was spent until another one."""
        # a curriculum does not count its updates
        updates = max(self.state.updates, spent.updates)
        return replace(
            state, counts=spent.counts, seconds=spent.seconds, updates=updates
        )

    def _train(self, token: StopToken) -> Generator[Event, None, Event | None]:
        """Train on the cost itself; return the last event.

        None if the rung has spent its budget, or cannot be trained.
        """
        if self.fault or self._is_spent():
            return None
        assert self.training is not None
        try:
            for event in self.rung_trainer.run(self.training, token):
                self.training = event.state
                if event.kind == "done":
                    return event
                yield event
                if event.kind == "hold" and self._is_spent():
                    break
        except DivergedError as fault:
            self._fail(fault)
        return None

    def _is_spent(self) -> bool:
        """Whether the rung in progress has spent its budget; renew it if it leads."""
        state, training = self.state, self.training
        assert training is not None
        if self._is_last_rung or state.is_free:
            return False
        # the budget is that of the training on the cost itself, which goes by holds
        if training.hold_start or not training.history:
            return False
        if self._has_overfitted(training):
            return True
        cost = self._operations(training.counts) - self._operations(state.spent)
        if cost < max(BUDGET, state.best_cost, LEAST_UPDATES * self._update_cost()):
            return False
        if state.best is not None and not training.own_loss < state.best.own_loss:
            return True
        ratio = self._timed_ratio(training.own_theta)
        excess = training.own_loss if ratio is None else ratio - 1.0
        is_free = ratio is not None and ratio <= GOOD_RATIO
        is_slow = excess > FALLEN * state.excess
        if is_slow and self.rungs:
            return True
        if not is_free and self._needs_trials(training):
            return True
        self.state = replace(
            self.state, spent=training.counts, excess=excess, is_free=is_free
        )
        return False

    def _settle(self, has_ended: bool) -> bool:
        """Choose what follows a rung; return whether it is the last.

        `has_ended` tells whether the rung was trained to its normal end.
        """
        state, training = self.state, self.training
        assert training is not None
        best = state.best
        before = np.inf if best is None else best.own_loss
        has_helped = training.own_loss < HELPED * before
        leads = training.own_loss < before
        if leads:
            cost = self._operations(training.counts) - self._operations(state.begun)
            best = replace(training, earlier=None)
            self.state = replace(
                state, best=best, best_cost=cost, best_trials=state.trials
            )

        if not self._is_good(best, has_helped):
            if best is not None and self._needs_trials(best):
                self._climb(adds_trials=True)
                return False
            if state.rung < len(self.rungs):
                self._climb()
                return False
        if best is None:
            raise self.fault or TrainingError("no weights have a finite loss")
        if has_ended and leads:
            return True
        # the best rung goes on to its normal end
        self.training = self._with_spent(best, training)
        self.state = replace(self.state, rung=len(self.rungs) + 1)
        self.following = "the best weights to their normal end"
        self.fault = None
        return False

    def _is_good(self, best: TrainingState | None, has_helped: bool) -> bool:
        """Whether no further rung is needed.

        Without a ratio, none is needed if the last rung has not helped, or if the
        optimum is zero and little of the first loss is left.
        """
        if best is None:
            return False
        ratio = self._timed_ratio(best.own_theta)
        if ratio is not None:
            return ratio <= GOOD_RATIO
        is_small = best.loss <= NEARLY_ZERO * best.first_loss
        return not has_helped or (self.trainer.task.optimum_is_zero and is_small)

    def _has_overfitted(self, training: TrainingState) -> bool:
        """Whether a training has begun to overfit.

        Then the loss of validation trials rises, and more updates do not help.
        """
        return self.sets.is_stale(training) and self._needs_trials(training)

    def _needs_trials(self, state: TrainingState) -> bool:
        """Whether a training needs more trials, because it overfits to its own."""
        # of next to nothing, any factor means nothing
        if self.trainer.task.optimum_is_zero:
            return False
        if not self.sets.can_add(self.state.trials):
            return False
        gap = self.sets.gap(state)
        return gap > LEAST_GAP and overfits(gap, self.ratio(state.own_theta))

    def _climb(self, adds_trials: bool = False) -> None:
        """Begin the curriculum of the next rung, or the same one with more trials."""
        spent = self.spent
        rung = Rung(MORE_TRIALS)
        if not adds_trials:
            rung = self.rungs[self.state.rung]
        self.following = rung.name
        self.state = replace(
            self.state,
            rung=self.state.rung + (not adds_trials),
            trials=self.state.trials * (MORE if adds_trials else 1),
            updates=spent.updates,
            begun=spent.counts,
            spent=spent.counts,
            excess=np.inf,
        )
        # the first of the initial weights have been tried
        initialisation = int(rung.race > 1)
        theta = self._first_weights(initialisation, adds_trials)
        curriculum = CurriculumState(self._begin(theta, spent), initialisation)
        self.curriculum = Curriculum(self.rung_trainer, rung, curriculum)
        self.training = None
        self.fault = None
        if self.curriculum.is_finished:
            self._end_curriculum(self.curriculum)

    def _first_weights(self, initialisation: int, keeps_best: bool = False) -> Array:
        """Return the weights (P,) that the next rung begins with.

        They are the best so far, unless others race, or unless those are in a poor
        minimum and it does not keep them.
        """
        best = self.state.best
        seed = self.settings.seed
        network = self.trainer.network
        if initialisation:
            return network.initial(stream(seed, Stream.WEIGHTS, initialisation))
        if best is None:
            return network.initial(stream(seed, Stream.WEIGHTS))
        ratio = self.ratio(best.own_theta)
        if keeps_best or ratio is None or ratio <= POOR_RATIO:
            return best.own_theta
        if self.state.theta is not None:
            return self.state.theta
        return network.initial(stream(seed, Stream.WEIGHTS))

    def _describe_rung(self, fault: TrainingError | None) -> str:
        """Return what comes next, and why, in one line.

        `fault` tells why the rung before could not be trained, if it could not.
        """
        best = self.state.best
        if best is None:
            why = str(fault)
        elif (ratio := self.ratio(best.own_theta)) is None:
            why = f"the loss of the best weights is {best.own_loss:.3g}"
        else:
            why = f"the best weights are at {ratio:.4g} times the optimum"
        return f"next: {self.following}; {why}"

    def _update_cost(self) -> float:
        """Return the mean operations of an update in the rung in progress."""
        state, training = self.state, self.training
        assert training is not None
        cost = self._operations(training.counts) - self._operations(state.begun)
        updates = training.updates - state.updates
        return cost / updates if updates > 0 else 0.0

    def _operations(self, counts: Counts) -> float:
        """Return the operations of what was counted."""
        trainer, task = self.trainer, cast(Any, self.rung_trainer.task)
        steps = counts.tangent_steps + counts.adjoint_steps
        steps += counts.rollouts * task.steps * task.trials
        of_plant = trainer.kernels.step_operations or count_linear_step(trainer.kernels)
        of_passes = PASS_OPERATIONS * trainer.network.size * steps
        return float(of_passes + of_plant * counts.jacobian_steps)

    @cached_property
    def _judged(self) -> ClosedLoop:
        """The closed loop of the judged trials."""
        trainer = self.trainer
        scenario = trainer.validation
        if scenario is None or self.sets.are_fixed:
            scenario = trainer.task.draw(stream(self.settings.seed, Stream.SCENARIOS))
        return cast(ClosedLoop, trainer.judged(trainer.loop_on(scenario)))

    def use_pilots(self, pilots: Pilots) -> None:
        """Take the optimal loss from pilots, if they are the judged trials.

        They save a part of the search for the optima of targets too.
        """
        if isinstance(self.trainer.optimal, Optima):
            self.trainer.optimal.pilots = pilots
        if is_same_scenario(pilots.scenario, self._judged.scenario):
            optimal = float(np.mean(pilots.best.losses))
            self.state = replace(self.state, optimal=optimal)

    def ratio(self, theta: Array) -> float | None:
        """Return the ratio of weights theta (P,) to the optimum, if there is one."""
        task, optimal = self.trainer.task, self.trainer.optimal
        if task.noisy or task.optimum_is_zero or optimal is None:
            return None
        if not self.trainer.plant.compiled:
            return None
        if self.state.optimal is None:
            self.state = replace(self.state, optimal=optimal(self._judged))
        least = self.state.optimal
        assert least is not None
        if not 0 < least < np.inf:
            return None
        rollout = self._judged.rollout(self.trainer.move(theta), NOTHING_FIXED)
        if rollout.loss <= GOOD_RATIO * least:
            # good weights may show that the optimum is lower
            least = min(least, optimal(self._judged, rollout))
            self.state = replace(self.state, optimal=least)
        return float(rollout.loss / least) * self.sets.factor_between(theta)

    def _timed_ratio(self, theta: Array) -> float | None:
        """Return the ratio, and add the time that it takes to the training's."""
        begin = time.perf_counter()
        ratio = self.ratio(theta)
        assert self.training is not None
        seconds = self.training.seconds + time.perf_counter() - begin
        self.training = replace(self.training, seconds=seconds)
        return ratio
