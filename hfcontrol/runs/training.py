"""Trainings in progress, tied to their run folders."""

import logging
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from hfcontrol.arrays.communicator import is_first, on_first
from hfcontrol.arrays.types import Array
from hfcontrol.errors import NumberError, TrainingError, UsageError
from hfcontrol.optim.yardstick import Pilots
from hfcontrol.plant.registry import load_plant
from hfcontrol.policy_gradient.samplers import Episodes
from hfcontrol.policy_gradient.trainer import PolicyTrainer
from hfcontrol.runs.factory import make_trainer, make_wiring
from hfcontrol.runs.folder import RunFolder
from hfcontrol.runs.hdf5 import Tree
from hfcontrol.runs.interface import Interface
from hfcontrol.runs.machine import library_versions
from hfcontrol.runs.preparation import Preparation, prepare
from hfcontrol.runs.records import is_known, remember_out, remember_plant
from hfcontrol.runs.run import Run
from hfcontrol.runs.settings import Settings
from hfcontrol.runs.sharing import check_processes
from hfcontrol.runs.state_tree import (
    conditioning_to_tree,
    curriculum_to_tree,
    ladder_to_tree,
    state_to_tree,
)
from hfcontrol.tasks.task import Task
from hfcontrol.training.conditioning import PLAIN, Conditioning
from hfcontrol.training.curriculum import Curriculum, CurriculumState
from hfcontrol.training.ladder import Ladder
from hfcontrol.training.start import choose_start
from hfcontrol.training.state import Event, Stop, TrainingState
from hfcontrol.training.stop import StopToken
from hfcontrol.training.trainer import Trainer

# Settings that may change when a run is resumed; none of them moves the weights.
RESUMABLE = (
    "rollouts",
    "max_seconds",
    "target_loss",
    "target_ratio",
    "plant",
    "device",
)

# For programs that keep logs; without a handler of theirs, nothing is printed.
LOGGER = logging.getLogger("hfcontrol")
LOGGER.addHandler(logging.NullHandler())


class Training:
    """A training in progress in its run folder: the ladder, and what is saved of it."""

    def __init__(
        self,
        settings: Settings,
        ladder: Ladder,
        folder: RunFolder,
        prepared: Preparation,
        command: str | None = None,
        conditioning: Conditioning = PLAIN,
    ) -> None:
        self.settings = settings
        self.conditioning = conditioning
        self.ladder = ladder
        self.folder = folder
        self.prepared = prepared
        # Without the folder of the program, which differs between machines.
        self.command = command or shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
        self.last_checkpoint: Path | None = None
        # A curriculum before any checkpoint; those of further rungs come after some.
        self.has_preceded = ladder.curriculum is not None and ladder.state.rung == 0

    @property
    def trainer(self) -> Trainer | PolicyTrainer:
        """The trainer of all rungs."""
        return self.ladder.trainer

    @property
    def curriculum(self) -> Curriculum | None:
        """The curriculum in progress, or None."""
        return self.ladder.curriculum

    @property
    def state(self) -> TrainingState | None:
        """The state of the training, None during a curriculum."""
        return self.ladder.training

    @property
    def task(self) -> Task | Episodes:
        """The task, or an environment's episodes."""
        task = self.trainer.task
        assert isinstance(task, (Task, Episodes))
        return task

    @property
    def updates(self) -> int:
        """The number of updates made before, of a training that is resumed."""
        return self.state.updates if self.state else 0

    @property
    def pilots(self) -> Pilots | None:
        """What the diagnosis knows of the optimum of the training trials."""
        diagnosis = self.prepared.diagnosis
        # an evaluation is on the CPU
        if diagnosis is None or self.trainer.kernels.device != "cpu":
            return None
        return diagnosis.pilots

    @property
    def run(self) -> Run:
        """The run at the last checkpoint that this training has written.

        Raises CheckpointError if there is none yet.
        """
        where = self.last_checkpoint or self.folder.path
        # its user has named the plant
        return Run.load(where, plant=self.settings.plant)

    def events(self, stop_token: StopToken | None = None) -> Iterator[Event]:
        """Yield the events of the ladder, each when it is on disk.

        A checkpoint is written at the end of each hold, and when the training stops.
        A curriculum is saved likewise, in a file of its own. If it is interrupted, the
        events end. If its time is over, the trainer starts from the state reached, and
        stops at once.

        Raises NumberError where a number is not finite; it names the checkpoint that
        holds the last weights.
        """
        saved: CurriculumState | None = None
        with self._locked() as locked:
            for event in self._ladder_events(stop_token):
                if locked:
                    self._use_folder(locked.follow())
                if event.kind == "curriculum":
                    saved = self._save_curriculum(saved)
                # Within a hold there is nothing to save: an interrupted one is made
                # again. Between rungs neither: what comes next is found again.
                elif event.kind not in ("update", "rung"):
                    self._save(event.state, event.stop)
                self._log(event)
                yield event

    @contextmanager
    def _locked(self) -> Iterator[RunFolder | None]:
        """Lock the folder in the process that writes; the others have None."""
        if not is_first():
            yield None
            return
        # Two trainings in one folder would delete each other's files.
        with self.folder.lock() as locked:
            yield locked

    def _log(self, event: Event) -> None:
        """Log an event for Python's logging: updates as DEBUG, the rest as INFO."""
        level = logging.DEBUG if event.kind == "update" else logging.INFO
        if not LOGGER.isEnabledFor(level):
            return
        what = event.activity or (event.stop.sentence if event.stop else "")
        words = [f"{name} {value:.6g}" for name, value in event.numbers.items()]
        text = ", ".join(filter(None, [what, *words]))
        LOGGER.log(level, "%s: %s: %s", self.folder.path.name, event.kind, text)

    def _use_folder(self, folder: RunFolder) -> None:
        """Save to a folder from now on: that of the run, which may have been moved."""
        if folder != self.folder and self.last_checkpoint is not None:
            self.last_checkpoint = folder.path / self.last_checkpoint.name
        self.folder = folder

    def _ladder_events(self, stop_token: StopToken | None) -> Iterator[Event]:
        """Yield the events of the ladder; a NumberError names the last checkpoint."""
        try:
            yield from self.ladder.events(stop_token)
        except NumberError as error:
            if self.last_checkpoint is None:
                raise
            raise NumberError(
                f"{error}; {self.last_checkpoint} holds the last weights"
            ) from error

    def _save_curriculum(self, saved: CurriculumState | None) -> CurriculumState | None:
        """Save the state of the curriculum in progress, unless it was; return it."""
        curriculum = self.curriculum
        if curriculum is None or curriculum.is_finished or curriculum.state is saved:
            return saved
        tree = {**self._common_tree(), "warming": curriculum_to_tree(curriculum.state)}
        on_first(partial(self.folder.save_curriculum, tree))
        return curriculum.state

    def _save(self, state: TrainingState, stop: Stop | None) -> None:
        """Write the checkpoint of a state; it replaces a finished curriculum."""
        network = self.trainer.network
        time_constants = self.trainer.plant.dt * network.time_constants(state.theta)
        tree = {
            **self._common_tree(),
            "time_constants": time_constants.tolist(),
            "stop": stop and stop.word,
            "state": state_to_tree(state),
        }
        self.last_checkpoint = on_first(partial(self._write, tree, state))

    def _write(self, tree: Tree, state: TrainingState) -> Path:
        """Write a checkpoint, and remove the file of a finished curriculum."""
        path = self.folder.save(tree, state.updates, state.loss)
        if self.curriculum is None:
            self.folder.end_curriculum(first=path if self.has_preceded else None)
            self.has_preceded = False
        return path

    def _common_tree(self) -> Tree:
        """The entries that every file of the run has, so that each is self-contained.

        They are data: nothing in them is ever executed.
        """
        plant = self.trainer.plant
        plant_tree = {
            "name": plant.name,
            "source": plant.source,
            "hash": plant.source_hash,
        }
        network = self.trainer.network
        # not the trainer's, whose arrays may be on a GPU
        limits = make_wiring(self.settings, plant).limits
        n_target = network.n_input - plant.ny
        interface = Interface.describe(plant, limits, n_target)
        return {
            "settings": self.settings.tree(),
            "conditioning": conditioning_to_tree(self.conditioning),
            "ladder": ladder_to_tree(self.ladder.state),
            "task": self.task.name,
            "command": self.command,
            "plant": plant_tree,
            "inputs": dict(plant.inputs),
            "interface": interface.tree(),
            "solver": self.prepared.solver,
            "compile_seconds": self.prepared.seconds,
            "versions": library_versions(),
            "connections": network.connections,
        }


@np.errstate(all="ignore")
def start_training(
    settings: Settings,
    out: Path | str | None = None,
    start: Run | None = None,
    command: str | None = None,
) -> Training:
    """Start a training in a new run folder.

    out: where the folder is created, default ./weights.
    start: a run whose weights it starts from, default random weights.
    command: recorded in the checkpoints, default the command line of this process.

    Raises HFControlError if settings, plant and weights do not fit together, or if the
    folder cannot be created.
    """
    # Compiling comes before the folder: most mistakes show here and leave no folder.
    begin = _begin(settings, start)
    trainer, prepared, theta = begin.trainer, begin.prepared, begin.theta
    # Policy gradients have no curriculum: theirs is finished from the start.
    climbs = start is None and _is_adaptive(settings, trainer)
    ladder = Ladder(cast(Trainer, trainer), settings, theta, climbs)
    if climbs and prepared.diagnosis is not None and trainer.kernels.device == "cpu":
        ladder.use_pilots(prepared.diagnosis.pilots)
    task = cast(Task, trainer.task)
    root = out or "weights"
    names = (trainer.plant.name, task.name, settings.seed)
    folder = on_first(partial(RunFolder.create, root, *names))
    if is_first():
        remember_plant(settings.plant)
        remember_out(root)
    return Training(settings, ladder, folder, prepared, command, begin.conditioning)


class _Beginning(NamedTuple):
    """What a training begins with; theta (P,) is None for random weights."""

    trainer: Trainer | PolicyTrainer
    prepared: Preparation
    conditioning: Conditioning
    theta: Array | None


def _begin(settings: Settings, start: Run | None) -> _Beginning:
    """Return what a training begins with: from a run, or as its strategy says."""
    plant = load_plant(settings.plant)
    check_processes(settings, plant)
    if start is not None:
        trainer = make_trainer(settings, plant, start.conditioning)
        _check_start(start, trainer, settings)
        prepared = prepare(trainer, settings)
        return _Beginning(trainer, prepared, start.conditioning, start.theta)

    trainer = make_trainer(settings, plant)
    prepared = prepare(trainer, settings)
    if not _chooses_start(settings, trainer):
        return _Beginning(trainer, prepared, PLAIN, None)

    # A few trials are looked at, which a GPU would not make faster.
    on_host = settings.changed(device="cpu")

    def build(conditioning: Conditioning) -> Trainer:
        # the plain one has been made already
        built = trainer
        if conditioning is not PLAIN or settings.device != "cpu":
            built = make_trainer(on_host, plant, conditioning)
        assert isinstance(built, Trainer)
        return built

    chosen = choose_start(build, settings.seed, settings.strategy == "law")
    prepared = prepared._replace(
        reasons=(*prepared.reasons, chosen.reason), diagnosis=chosen.diagnosis
    )
    conditioning = chosen.conditioning
    conditioned: Trainer | PolicyTrainer = build(conditioning)
    if settings.device != "cpu":
        conditioned = make_trainer(settings, plant, conditioning)
    return _Beginning(conditioned, prepared, conditioning, chosen.theta)


def _chooses_start(settings: Settings, trainer: Trainer | PolicyTrainer) -> bool:
    """Whether scaling and start are chosen from the problem.

    The optima of a simulator take longer than most trainings.
    """
    if not _is_adaptive(settings, trainer):
        return False
    plant = trainer.plant
    return plant.compiled or plant.steps_together or settings.strategy == "law"


def _is_adaptive(settings: Settings, trainer: Trainer | PolicyTrainer) -> bool:
    """Whether a training looks at its problem, and climbs a ladder."""
    in_steps = settings.estimator is None and isinstance(trainer, Trainer)
    return in_steps and settings.strategy != "plain"


class Problem(NamedTuple):
    """A problem as a training begins with it: conditioned, and with its diagnosis."""

    trainer: Trainer | PolicyTrainer
    prepared: Preparation
    conditioning: Conditioning


@np.errstate(all="ignore")
def prepare_problem(settings: Settings) -> Problem:
    """Return what a training with these settings begins with; no folder is made."""
    begin = _begin(settings, None)
    return Problem(begin.trainer, begin.prepared, begin.conditioning)


def _check_start(
    start: Run, trainer: Trainer | PolicyTrainer, settings: Settings
) -> None:
    """Raise UsageError if a training cannot start from the weights of a run."""
    own, other = trainer.network, start.network
    if other.layers != own.layers or other.size != own.size:
        raise UsageError(
            f"`start` {start.path}: its network has {start.theta.size} weights in "
            f"another arrangement than the requested {own.size}; use the same "
            "`hidden`, `skip`, `recurrent`, `cell`, `learn_start` and `space`"
        )
    if settings.race > 1:
        raise UsageError(
            f"`race` {settings.race} with `start`: a race needs several initial "
            "networks, but `start` gives one; leave one of them out"
        )


@np.errstate(all="ignore")
def continue_training(
    run: Run, limits: dict[str, Any] | None = None, force: bool = False
) -> Training:
    """Continue a training from a run's checkpoint or unfinished curriculum.

    limits: new values of settings in RESUMABLE; None values are ignored.
    force: continue although the plant's file has changed.

    Raises UsageError for other settings, and TrainingError if the plant's file has
    changed.
    """
    limits = limits or {}
    settings = _resumed_settings(run, limits)
    # Whoever insists on a plant that has changed trusts it, if it is a plant of theirs.
    if limits.get("plant") is not None or (force and is_known(settings.plant)):
        run = replace(run, named_plant=settings.plant)
    run = replace(run, tree={**run.tree, "settings": settings.tree()})
    if run.plant_changed and not force:
        changed = ", ".join(run.changed_files)
        raise TrainingError(
            f"{changed} changed since {run.path} was trained; continue "
            "anyway with `force`, or train a new run from its weights with `start`"
        )
    if is_first():
        remember_plant(settings.plant)
    check_processes(settings, run.plant_file)
    # `run.trainer` is on the CPU, and checks that the weights still fit.
    trainer = (
        run.trainer
        if settings.device == "cpu"
        else make_trainer(settings, run.plant_file, run.conditioning)
    )
    # A curriculum needs kernels that training does not need again.
    finished = settings.changed(guide=0, imitate=0)
    prepared = prepare(trainer, settings if run.curriculum else finished)
    # Compile times of all sessions add up, as those of training do.
    prepared = prepared._replace(seconds=prepared.seconds + run.tree["compile_seconds"])
    state = None if run.curriculum else run.state
    ladder = Ladder(cast(Trainer, trainer), settings)
    ladder.resume(run.ladder, run.curriculum, state)
    return Training(
        settings, ladder, run.folder, prepared, run.tree["command"], run.conditioning
    )


def _resumed_settings(run: Run, limits: dict[str, Any]) -> Settings:
    """The settings of a resumed run; UsageError for a setting that may not change."""
    limits = {name: value for name, value in limits.items() if value is not None}
    fixed = [f"`{name}`" for name in limits if name not in RESUMABLE]
    if fixed:
        raise UsageError(
            f"`resume` with {', '.join(fixed)}: only limits may change (`rollouts`, "
            "`max_seconds`, `target_loss`, `target_ratio`), and `plant` and `device`; "
            "use `start` to train a new run from its weights"
        )
    return run.settings.changed(**limits)
