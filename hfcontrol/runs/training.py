"""Trainings in progress in their run folders."""

import platform
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from hfcontrol import __version__
from hfcontrol.errors import TrainingError, UsageError
from hfcontrol.runs.factory import make_trainer, prepare
from hfcontrol.runs.folder import RunFolder
from hfcontrol.runs.run import Run
from hfcontrol.runs.state_tree import curriculum_tree, state_tree
from hfcontrol.training.curriculum import Curriculum
from hfcontrol.training.state import Stop

RESUMABLE = (
    "rollouts",
    "max_seconds",
    "target_loss",
    "target_ratio",
    "plant",
    "device",
)


class Training:
    """A training in progress in its run folder; `events` yields the trainer's, each already on disk when it arrives.

    It begins with `warming`, a `Curriculum`, unless that is over; until then its own `state` is None.
    """

    def __init__(
        self, settings, trainer, state, folder, prepared, command=None, warming=None
    ):
        self.settings, self.trainer, self.state, self.warming = (
            settings,
            trainer,
            state,
            warming,
        )
        self.folder, self.prepared, self.saved = folder, prepared, None
        self.command = command or shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])

    @property
    def run(self):
        """The run at the last checkpoint that this training has written; CheckpointError before there is one."""
        return Run.load(self.saved or self.folder.path)

    def events(self, stop_token=None):
        """The events of the warm-up and of the trainer; a checkpoint is written at the end of each hold and wherever the training stops.

        A warm-up is kept in the same way, in a file of its own. Interrupted, it is the end; where the time is over, training ends at once.
        """
        with self.folder.lock():
            if self.warming:
                yield from self._warmed(stop_token)
                if self.warming.stop is Stop.INTERRUPTED:
                    return
                self.state = self.warming.reached
            for event in self.trainer.run(self.state, stop_token):
                self.note(event)
                yield event

    def _warmed(self, stop_token):
        kept = None
        for event in self.warming.events(stop_token):
            if self.warming.state is not kept and not self.warming.over:
                kept = self.warming.state
                self.folder.save_warming(
                    {**self._tree(), "warming": curriculum_tree(kept)}
                )
            yield event

    def note(self, event):
        """Takes over the state of an event, and writes the checkpoint that is due then."""
        self.state = event.state
        if event.kind != "update":
            self.save(event.stop)

    def save(self, stop=None):
        """Writes the checkpoint of the state as it is now; with the first after the warm-up, what was kept of that is removed."""
        times = self.trainer.plant.dt * self.trainer.network.time_constants(
            self.state.theta
        )
        tree = {
            **self._tree(),
            "time_constants": times.tolist(),
            "stop": stop and stop.word,
            "state": state_tree(self.state),
        }
        self.saved = self.folder.save(tree, self.state.updates, self.state.loss)
        if self.warming is None or self.warming.over:
            self.folder.warmed(self.saved if self.warming else None)
            self.warming = None

    def _tree(self):
        """What every file of the run has in it, which is self-contained, though nothing in it is ever executed."""
        plant = self.trainer.plant
        versions = {
            "hfcontrol": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            **{
                name: sys.modules[name].__version__
                for name in ("numba", "scipy", "h5py")
                if name in sys.modules
            },
        }
        return {
            "settings": self.settings.tree(),
            "task": self.trainer.task.name,
            "command": self.command,
            "plant": {
                "name": plant.name,
                "source": plant.source,
                "hash": plant.source_hash,
            },
            "solver": self.prepared.solver,
            "compile_seconds": self.prepared.seconds,
            "versions": versions,
            "connections": self.trainer.network.connections,
        }


def start_training(
    settings, out=None, start=None, command=None, plant=None, prepared=None
):
    """A new `Training` in a new run folder under `out` (default ./weights), from random weights or those of a `Run`. For many seeds the
    `plant` of the settings may be given, and what is `prepared` already.

    Raises a kind of HFControlError where settings, plant and weights do not fit together or the folder cannot be made.
    """
    trainer = make_trainer(settings, plant)
    if start is not None:
        _check_start(start, trainer, settings)
    prepared = prepared or prepare(trainer, settings)
    warming = Curriculum(
        trainer, settings, theta=None if start is None else start.theta
    )
    folder = RunFolder.create(
        out or "weights", trainer.plant.name, trainer.task.name, settings.seed
    )
    state, warming = (warming.reached, None) if warming.over else (None, warming)
    return Training(settings, trainer, state, folder, prepared, command, warming)


def _check_start(start, trainer, settings):
    if (
        start.network.layers != trainer.network.layers
        or start.network.size != trainer.network.size
    ):
        raise UsageError(
            f"--from {start.path}: its network has {start.theta.size} weights in another shape than the "
            f"{trainer.network.size} asked for; give the same --hidden, --skip, --recurrent, --cell, "
            "--learn-start and --space"
        )
    if settings.race > 1:
        raise UsageError(
            f"--race {settings.race} with --from: there is but one network to start from; leave one of them out"
        )


def continue_training(run, limits=None, force=False):
    """The `Training` that goes on from a run's checkpoint or in its warm-up; `limits` may replace the settings named in RESUMABLE.

    Raises UsageError for other settings, and TrainingError when the plant's file has changed since, unless forced.
    """
    limits = {
        name: value for name, value in (limits or {}).items() if value is not None
    }
    fixed = [f"--{name.replace('_', '-')}" for name in limits if name not in RESUMABLE]
    if fixed:
        raise UsageError(
            f"--resume with {', '.join(fixed)}: only limits may change (--rollouts, --max-seconds, "
            "--target-loss, --target-ratio) and --device; --from RUN starts a new run from its weights"
        )
    settings = run.settings.changed(**limits)
    run = replace(run, tree={**run.tree, "settings": settings.tree()})
    if run.plant_changed and not force:
        raise TrainingError(
            f"{run.plant.path} has changed since {run.path} was trained; go on all the same with --force, or "
            "start anew from its weights with --from"
        )
    trainer = (
        run.trainer
        if settings.device == "cpu"
        else make_trainer(settings, run.plant_file)
    )
    prepared = prepare(trainer, settings if run.warming else settings.changed(guide=0))
    prepared = prepared._replace(seconds=prepared.seconds + run.tree["compile_seconds"])
    state, warming = (
        (None, Curriculum(trainer, settings, run.warming))
        if run.warming
        else (run.state, None)
    )
    return Training(
        settings, trainer, state, run.folder, prepared, run.tree["command"], warming
    )
