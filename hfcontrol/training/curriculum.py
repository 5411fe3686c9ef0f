"""What comes before a training proper: horizons that grow, guidance, and initial weights that race each other.

They are for hard plants. Over a long horizon an unstable plant runs away from an untrained network, and what it does at the
end drowns what could be learnt at the beginning; a short horizon tells the first moves, and the next, twice as long, those
after. Where that does not help, good trajectories show the way (guide.py). Where the loss has many local minima, several
initial weights get a start and the best goes on.

    for event in (warming := Curriculum(trainer, settings)).events(): ...
    trainer.run(warming.reached)

`CurriculumState` is all that a later `Curriculum` needs to go on bit for bit. Trajectories to follow are not in it: the seed gives them again.
"""

import time
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.random import Stream, stream
from hfcontrol.closed_loop.counts import NO_COUNTS, Counts
from hfcontrol.training.guidance import PARTS, Guide
from hfcontrol.training.state import Event, Limits, Stop, TrainingState, without_curve
from hfcontrol.training.stop import StopToken

RACE_UPDATES = 12  # that each of the raced initialisations gets
FOLLOWED = 4  # updates on the same trajectories
GROWTH = (1 / 8, 1 / 4, 1 / 2)  # of the horizon
FIRST = 128  # trials at most, for the first moves
GROWING, FOLLOWING, RACING = "growing", "following", "racing"


class Stage(NamedTuple):
    """A task, the most updates to be made on it, when a training of them ends, and the loss at which it is done."""

    task: object
    updates: int
    limits: Limits
    close: float | None = None


@dataclass(frozen=True)
class CurriculumState:
    """Where a warm-up stands: in which stage of which initialisation, and with what.

    `training` is the `TrainingState` within the stage or, before that is `entered`, the one whose weights and counts it begins with;
    its seconds are those of all that was done. `others` counts what initialisations before this one took, `best` is the best of
    their states, and `guided` tells that the seconds of finding trajectories to follow are in.
    """

    training: TrainingState
    initialisation: int = 0
    stage: int = 0
    entered: bool = False
    guided: bool = False
    others: Counts = NO_COUNTS
    best: TrainingState | None = None

    @property
    def theta(self):
        """The weights (P,) as they are now."""
        return self.training.theta


class Curriculum:
    """`settings.grow` updates at each shorter horizon, at most `settings.guide` updates of following at each, and a dozen updates
    where initialisations race, of each of `settings.race`; from given weights theta (P,), not raced, or from the state of an earlier one.

    `state` is where it stood at the end of its last hold, or where it was stopped; `stop`, None or TIME or INTERRUPTED, is why it
    ended before it was `over`.
    """

    def __init__(self, trainer, settings, state=None, theta=None):
        self.trainer, self.settings, self.stop, self._guide = (
            trainer,
            settings,
            None,
            None,
        )
        self.plan = (
            [(GROWING, part) for part in GROWTH if settings.grow]
            + [(FOLLOWING, part) for part in PARTS if settings.guide]
            + [(RACING, 1)] * (settings.race > 1)
        )
        self.state = state or CurriculumState(
            self._first(0) if theta is None else self._on_task(theta)
        )

    @property
    def over(self):
        """Whether all of it is done."""
        return not self.plan or self.state.initialisation == self.settings.race

    @property
    def doing(self):
        """What is done now, in words."""
        if self.over:
            return "done"
        word, part = self.plan[self.state.stage]
        race = (
            f"initialisation {self.state.initialisation + 1} of {self.settings.race}, "
            if self.settings.race > 1
            else ""
        )
        steps = _steps(self.trainer.task, part)
        return f"{race}{word}, {steps} step{'s' * (steps > 1)}"

    @property
    def reached(self):
        """The state to train on from: of the best initialisation, with all that was spent counted; before it is over, as far as it came."""
        s = self.state
        if not self.plan:
            return s.training
        best, spent = s.best, s.others
        if not self.over:
            best, spent = (
                _better(best, self._candidate(s.training, s.entered)),
                spent + s.training.counts,
            )
        return replace(best, counts=spent, seconds=s.training.seconds)

    def events(self, stop_token=None):
        """The events of all the trainings it is made of, of kind "warming", until it is over; of one that is stopped before, by the
        trainer's limit of seconds or by `stop_token`, the last one tells why."""
        token = stop_token or StopToken()
        while not (self.over or self.stop):
            self.stop = self.trainer.limits.reached(
                np.inf, None, token.stopped, 0, self.state.training.seconds
            )
            if not self.stop:
                unguided = (
                    self.plan[self.state.stage][0] == FOLLOWING and not self._guide
                )
                yield from (
                    self._find_trajectories(token) if unguided else self._train(token)
                )
        if self.stop:
            yield Event(
                "warming",
                self.state.training,
                None,
                None,
                stop=self.stop,
                doing=self._told(self.state.training),
            )

    def _find_trajectories(self, token):
        yield Event(
            "warming",
            self.state.training,
            None,
            None,
            doing="iLQR looks for trajectories to follow",
        )
        if token.stopped:
            return
        t, begin = self.trainer, time.perf_counter()
        self._guide = Guide(
            t.plant,
            t.kernels,
            t.task,
            t.wiring,
            stream(self.settings.seed, Stream.SCENARIOS),
        )
        training, seconds = self.state.training, time.perf_counter() - begin
        if not self.state.guided:
            self.state = replace(
                self.state,
                guided=True,
                training=replace(training, seconds=training.seconds + seconds),
            )

    def _train(self, token):
        """The updates of a stage."""
        s, stage = self.state, self._stage()
        trainer = replace(self.trainer, task=stage.task, limits=stage.limits, average=1)
        for event in trainer.run(
            s.training if s.entered else self._on_task(s.theta, trainer, s.training),
            token,
        ):
            state, told = event.state, self._told(event.state)
            self.stop = (
                event.stop if event.stop in (Stop.TIME, Stop.INTERRUPTED) else None
            )
            close = (
                stage.close is not None
                and event.kind == "hold"
                and state.loss <= stage.close
            )
            done = not self.stop and (
                event.stop or close or state.updates >= stage.updates
            )
            if done:
                self.state = self._after(state)
            elif event.kind in ("hold", "done"):
                self.state = replace(s, training=state, entered=True)
            if not self.stop:
                yield replace(event, kind="warming", stop=None, doing=told)
            if done:
                return

    def _stage(self):
        """The `Stage` it is in."""
        (word, part), settings, own = (
            self.plan[self.state.stage],
            self.settings,
            self.trainer.limits,
        )
        if word == RACING:
            return Stage(self.trainer.task, RACE_UPDATES, own)
        if word == GROWING:
            task = self.trainer.task
            task = task.shrink(_steps(task, part), min(task.trials, FIRST))
            return Stage(
                task, settings.grow, Limits(settings.grow, seconds=own.seconds)
            )
        task = self._guide.following(part)
        return Stage(
            task, settings.guide, Limits(FOLLOWED, seconds=own.seconds), task.close
        )

    def _after(self, training):
        """The state after a stage that ends with a `TrainingState`: at the beginning of the next, or of the next initialisation."""
        s = self.state
        if s.stage + 1 < len(self.plan):
            return replace(
                s, stage=s.stage + 1, training=without_curve(training), entered=False
            )
        best, k = _better(s.best, self._candidate(training)), s.initialisation + 1
        following = (
            self._first(k, training.seconds)
            if k < self.settings.race
            else without_curve(training)
        )
        return replace(
            s,
            training=following,
            initialisation=k,
            stage=0,
            entered=False,
            others=s.others + training.counts,
            best=best,
        )

    def _candidate(self, training, entered=True):
        """What an initialisation has come to with a training's state, as a state of the task itself."""
        racing = entered and self.plan[self.state.stage][0] == RACING
        return training if racing else self._on_task(training.theta, spent=training)

    def _first(self, k, seconds=0.0):
        """The state of an initialisation that nothing was done with, after so many seconds."""
        theta = self.trainer.network.initial(
            stream(self.settings.seed, Stream.WEIGHTS, *((k,) if k else ()))
        )
        return replace(self._on_task(theta), seconds=seconds)

    def _on_task(self, theta, trainer=None, spent=None):
        """The state before the first rollout of a trainer, by default that of the task itself, with what was `spent` before."""
        counted = {"counts": spent.counts, "seconds": spent.seconds} if spent else {}
        return replace(
            (trainer or self.trainer).init(
                theta, stream(self.settings.seed, Stream.SCENARIOS)
            ),
            **counted,
        )

    def _told(self, training):
        """What is done, in words, and how far it has come."""
        within = (
            f": update {training.updates}, loss {training.loss:.3g}"
            if np.isfinite(training.loss)
            else ""
        )
        return self.doing + within


def run_curriculum(trainer, settings, theta=None):
    """The state to train on from, after the whole warm-up of a new training or, if given, from weights theta (P,)."""
    warming = Curriculum(trainer, settings, theta=theta)
    for _ in warming.events():
        pass
    return warming.reached


def _steps(task, part):
    """A part of a task's horizon in steps."""
    return max(1, round(part * task.steps))


def _better(best, other):
    """The state of less loss, the earlier one of equals."""
    return best if best and best.loss <= other.loss else other
