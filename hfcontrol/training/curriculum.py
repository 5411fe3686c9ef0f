"""The curriculum: what comes before training on the full horizon.

It is for hard plants. Over a long horizon an unstable plant diverges with an untrained
network, and the errors at its end hide what could be learnt at its beginning. So the
network imitates the optimal laws of a few trials (imitation.py), or the horizon grows:
an eighth, a quarter, half of it. If that does not help, the network follows good
trajectories first (guidance.py). If the loss has many local minima, several
initialisations race each other and the best continues.

    curriculum = Curriculum(trainer, settings)
    for event in curriculum.events():
        ...
    trainer.run(curriculum.result)

A `CurriculumState` is all that a later `Curriculum` needs to continue bit for bit.
Trajectories to follow and laws to imitate are not in it: the seed determines them.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, cast

import numpy as np

from hfcontrol.arrays.communicator import of_first
from hfcontrol.arrays.random import Stream, stream
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.counts import NO_COUNTS, Counts
from hfcontrol.closed_loop.loop import ClosedLoop
from hfcontrol.tasks.task import Task
from hfcontrol.training.diagnosis import diagnose
from hfcontrol.training.guidance import PARTS, Guide
from hfcontrol.training.imitation import ImitationLoop, ImitationTask
from hfcontrol.training.protocol import DrawsScenarios
from hfcontrol.training.state import Event, Limits, Stop, TrainingState, without_curve
from hfcontrol.training.stop import StopToken
from hfcontrol.training.trainer import Trainer

# Updates of each initialisation in a race.
RACE_UPDATES = 12

# Updates on the same trajectories to follow.
UPDATES_PER_DRAW = 4

# Updates on the same disturbances of a teacher.
IMITATED = 8

# Parts of the horizon over which it grows.
GROWTH = (1 / 8, 1 / 4, 1 / 2)

# Most trials over a part of the horizon: the first moves need no more.
MOST_TRIALS = 128

# Activities, as messages name them.
IMITATING = "imitating"
GROWING = "growing"
FOLLOWING = "following"
RACING = "racing"


class CurriculumOptions(Protocol):
    """The settings that a curriculum reads.

    `grow` and `guide` are numbers of updates over each part of the horizon, `imitate`
    is one for all of it, and `race` is the number of initialisations.
    """

    @property
    def imitate(self) -> int:
        """Most updates of imitating optimal laws; 0 for none."""
        ...

    @property
    def grow(self) -> int:
        """Updates over each part of the horizon as it grows; 0 for none."""
        ...

    @property
    def guide(self) -> int:
        """Most updates of following over each part of the horizon; 0 for none."""
        ...

    @property
    def race(self) -> int:
        """Number of initialisations."""
        ...

    @property
    def seed(self) -> int:
        """Seed of all random numbers."""
        ...


# What imitation changes in a trainer: its loop has no plant to model.
IMITATION = {"hold": "scenario", "loop_type": ImitationLoop}
NO_CHANGES: Mapping[str, Any] = {}


class Phase(NamedTuple):
    """A phase of the plan: its activity, over a part of the horizon."""

    activity: str
    part: float


class Stage(NamedTuple):
    """How to train in a phase: task, most updates, limits.

    `target_loss` is the loss at which the stage is done, None for none. `changes` are
    other fields of the trainer.
    """

    task: DrawsScenarios
    updates: int
    limits: Limits
    target_loss: float | None = None
    changes: Mapping[str, Any] = NO_CHANGES


@dataclass(frozen=True)
class CurriculumState:
    """Where a curriculum stands: the stage of an initialisation, and its training.

    `training` is the `TrainingState` within the stage or, unless `stage_started`, the
    one whose weights and counts the stage begins with; its seconds are those of the
    whole curriculum. `earlier` is what earlier initialisations cost, `best` the best of
    their states. `guide_counted` tells that the seconds of finding trajectories to
    follow are included.
    """

    training: TrainingState
    initialisation: int = 0
    stage: int = 0
    stage_started: bool = False
    guide_counted: bool = False
    earlier: Counts = NO_COUNTS
    best: TrainingState | None = None

    @property
    def theta(self) -> Array:
        """The weights (P,) as they are now."""
        return self.training.theta


class Curriculum:
    """Growing horizons, guidance and a race of initialisations, before training proper.

    Starts from weights theta (P,), which cannot race, from the state of an earlier
    curriculum, or else from initial weights. `state` is the state at the end of the
    last hold, or where the curriculum was stopped. `stop` is why it stopped before it
    was finished (time or interruption), else None.
    """

    def __init__(
        self,
        trainer: Trainer,
        settings: CurriculumOptions,
        state: CurriculumState | None = None,
        theta: Array | None = None,
    ) -> None:
        self.trainer = trainer
        self.settings = settings
        self.stop: Stop | None = None
        self._guide: Guide | None = None
        self._imitation: ImitationTask | None = None

        self.plan = []
        if settings.imitate:
            self.plan.append(Phase(IMITATING, 1))
        if settings.grow:
            self.plan += [Phase(GROWING, part) for part in GROWTH]
        if settings.guide:
            self.plan += [Phase(FOLLOWING, part) for part in PARTS]
        if settings.race > 1:
            self.plan.append(Phase(RACING, 1))

        if state is None:
            training = self._on_task(theta) if theta is not None else self._initial(0)
            state = CurriculumState(training)
        self.state = state

    @property
    def is_finished(self) -> bool:
        """Whether all initialisations have passed all stages."""
        return not self.plan or self.state.initialisation == self.settings.race

    @property
    def phase(self) -> Phase:
        """The phase of the plan in progress."""
        return self.plan[self.state.stage]

    @property
    def activity(self) -> str:
        """What is going on, in words."""
        if self.is_finished:
            return "done"
        race = ""
        if self.settings.race > 1:
            number = self.state.initialisation + 1
            race = f"initialisation {number} of {self.settings.race}, "
        steps = _part_of_horizon(self.trainer.task, self.phase.part)
        return f"{race}{self.phase.activity}, {steps} step{'s' * (steps > 1)}"

    @property
    def result(self) -> TrainingState:
        """The state from which training continues, with all that was spent.

        It is that of the best initialisation; before the curriculum is finished, of the
        best one so far.
        """
        state = self.state
        if not self.plan:
            return state.training
        best = state.best
        counts = state.earlier
        if not self.is_finished:
            best = _better(best, self._candidate(state.training, state.stage_started))
            counts = counts + state.training.counts
        assert best is not None
        return replace(best, counts=counts, seconds=state.training.seconds)

    def events(self, stop_token: StopToken | None = None) -> Iterator[Event]:
        """Yield the events of its trainings, of kind "curriculum".

        If the limit of seconds or `stop_token` stops it, the last event has a `stop`.
        """
        token = stop_token or StopToken()
        while not (self.is_finished or self.stop):
            spent = (token.stopped, self.state.training.seconds)
            # Processes that share the training stop together.
            stopped, seconds = of_first(spent)
            self.stop = self.trainer.limits.check(np.inf, None, stopped, 0, seconds)
            if self.stop:
                break
            if self._lacks_optima:
                yield from self._find_optima(token)
            else:
                yield from self._train(token)
        if self.stop:
            progress = self._describe_progress(self.state.training)
            yield self._event(progress, self.stop)

    def _event(self, activity: str, stop: Stop | None = None) -> Event:
        """Return an event without a rollout."""
        training = self.state.training
        return Event("curriculum", training, None, None, stop=stop, activity=activity)

    @property
    def _lacks_optima(self) -> bool:
        """Whether the phase in progress needs trajectories that are not found yet."""
        activity = self.phase.activity
        if activity == IMITATING:
            return self._imitation is None
        return activity == FOLLOWING and self._guide is None

    def _find_optima(self, token: StopToken) -> Iterator[Event]:
        """Find what to imitate or to follow; count the seconds that it takes once."""
        yield self._event("iLQR looks for trajectories to follow")
        if of_first(token.stopped):
            return
        begin = time.perf_counter()
        trainer, task = self.trainer, cast(Task, self.trainer.task)
        rng = stream(self.settings.seed, Stream.SCENARIOS)
        if self.phase.activity == IMITATING:
            # on the CPU, where scenarios are drawn
            loop = ClosedLoop(
                task.plant,
                task.kernels,
                trainer.network,
                task.draw(rng),
                trainer.wiring,
            )
            self._imitation = ImitationTask(diagnose(loop))
        else:
            self._guide = Guide(
                trainer.plant, trainer.kernels, task, trainer.wiring, rng
            )
        seconds = time.perf_counter() - begin
        if not self.state.guide_counted:
            training = self.state.training
            counted = replace(training, seconds=training.seconds + seconds)
            self.state = replace(self.state, guide_counted=True, training=counted)

    def _train(self, token: StopToken) -> Iterator[Event]:
        """Train until the stage is done or the curriculum is stopped."""
        begun = self.state
        stage = self._stage()
        # the mean of weights belongs to the last holds of the training proper, and
        # whether a loss is near the optimum matters only there
        trainer = replace(
            self.trainer,
            task=stage.task,
            limits=stage.limits,
            average=1,
            optimal=None if stage.limits.ratio is None else self.trainer.optimal,
            validation=None,
            remedies=False,
            **stage.changes,
        )
        start = begun.training
        if not begun.stage_started:
            start = self._on_task(begun.theta, trainer, begun.training)

        for event in trainer.run(start, token):
            training = event.state
            # described before the state, and with it the stage, changes
            progress = self._describe_progress(training)
            is_external = event.stop in (Stop.TIME, Stop.INTERRUPTED)
            self.stop = event.stop if is_external else None
            is_done = not self.stop and self._is_done(stage, event)
            if is_done:
                self.state = self._after_stage(training)
            elif event.kind in ("hold", "done"):
                self.state = replace(begun, training=training, stage_started=True)
            if not self.stop:
                yield replace(event, kind="curriculum", stop=None, activity=progress)
            if is_done:
                return

    @staticmethod
    def _is_done(stage: Stage, event: Event) -> bool:
        """Whether a stage is done with an event of its training."""
        if event.stop or event.state.updates >= stage.updates:
            return True
        if stage.target_loss is None or event.kind != "hold":
            return False
        return event.state.loss <= stage.target_loss

    def _stage(self) -> Stage:
        """Return the stage of the phase in progress."""
        activity, part = self.phase
        task = self.trainer.task
        seconds = self.trainer.limits.seconds
        if activity == RACING:
            return Stage(task, RACE_UPDATES, self.trainer.limits)
        if activity == GROWING:
            grow = self.settings.grow
            full = cast(Task, task)
            steps = _part_of_horizon(full, part)
            shorter = full.shrink(steps, min(full.trials, MOST_TRIALS))
            return Stage(shorter, grow, Limits(grow, seconds=seconds))
        if activity == IMITATING:
            assert self._imitation is not None
            imitated = self._imitation
            return Stage(
                imitated,
                self.settings.imitate,
                Limits(IMITATED, seconds=seconds),
                imitated.target_loss,
                IMITATION,
            )
        assert self._guide is not None
        following = self._guide.task_for(part)
        limits = Limits(UPDATES_PER_DRAW, seconds=seconds)
        return Stage(following, self.settings.guide, limits, following.target_loss)

    def _after_stage(self, training: TrainingState) -> CurriculumState:
        """Return the state at the beginning of the next stage or initialisation.

        `training` is the state at the end of the stage in progress.
        """
        state = self.state
        if state.stage + 1 < len(self.plan):
            # losses of another task do not belong to the same curve
            return replace(
                state,
                stage=state.stage + 1,
                training=without_curve(training),
                stage_started=False,
            )

        initialisation = state.initialisation + 1
        following = without_curve(training)
        if initialisation < self.settings.race:
            following = self._initial(initialisation, training.seconds)
        return replace(
            state,
            training=following,
            initialisation=initialisation,
            stage=0,
            stage_started=False,
            earlier=state.earlier + training.counts,
            best=_better(state.best, self._candidate(training)),
        )

    def _candidate(
        self, training: TrainingState, stage_started: bool = True
    ) -> TrainingState:
        """Return what an initialisation has reached, as a state of the full task."""
        if stage_started and self.phase.activity == RACING:
            return training
        return self._on_task(training.theta, spent=training)

    def _initial(self, initialisation: int, seconds: float = 0.0) -> TrainingState:
        """Return the state of a new initialisation, after `seconds` of curriculum."""
        # the first one is that of a training without a race
        substream = (initialisation,) if initialisation else ()
        rng = stream(self.settings.seed, Stream.WEIGHTS, *substream)
        theta = self.trainer.network.initial(rng)
        return replace(self._on_task(theta), seconds=seconds)

    def _on_task(
        self,
        theta: Array,
        trainer: Trainer | None = None,
        spent: TrainingState | None = None,
    ) -> TrainingState:
        """Return a trainer's state before its first rollout, with earlier costs.

        The trainer is by default that of the full task.
        """
        rng = stream(self.settings.seed, Stream.SCENARIOS)
        state = (trainer or self.trainer).init(theta, rng)
        if spent is None:
            return state
        return replace(state, counts=spent.counts, seconds=spent.seconds)

    def _describe_progress(self, training: TrainingState) -> str:
        """Return what is going on and how far it has come, in words."""
        if not np.isfinite(training.loss):
            return self.activity
        return f"{self.activity}: update {training.updates}, loss {training.loss:.3g}"


def run_curriculum(
    trainer: Trainer, settings: CurriculumOptions, theta: Array | None = None
) -> TrainingState:
    """Run a whole curriculum; return the state from which training continues.

    It starts from weights theta (P,) or, if not given, from initial weights.
    """
    curriculum = Curriculum(trainer, settings, theta=theta)
    for _ in curriculum.events():
        pass
    return curriculum.result


def _part_of_horizon(task: Any, part: float) -> int:
    """Return a part of a task's horizon in steps."""
    return max(1, round(part * task.steps))


def _better(best: TrainingState | None, other: TrainingState) -> TrainingState:
    """Return the state of lower loss, the earlier one of equals."""
    if best is not None and best.loss <= other.loss:
        return best
    return other
