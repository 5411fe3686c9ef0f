"""Runs: trainings kept in folders of checkpoints. `train` and `resume` tie trainer and checkpoints together.

A checkpoint executes no code: the plant source inside it is compared with, never run. What runs is the shipped plant of
that name, or the user's file at its recorded path.
"""

import platform
import shlex
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from hfcontrol import __version__
from hfcontrol.building import (
    HELD_OUT,
    SCENARIOS,
    build,
    plant_of,
    prepare,
    stream,
    task_of,
    wiring_of,
)
from hfcontrol.closed_loop import ClosedLoop
from hfcontrol.errors import CheckpointError, PlantError, TrainingError, UsageError
from hfcontrol.kernels import compile_plant
from hfcontrol.plant import FILES, load_plant
from hfcontrol.run_folder import RunFolder, find_run
from hfcontrol.settings import Settings, settings_for
from hfcontrol.training_state import Stop, state_from_tree, state_tree
from hfcontrol.warmup import WarmUp, warming_from_tree, warming_tree

RESUMABLE = (
    "rollouts",
    "max_seconds",
    "target_loss",
    "target_ratio",
    "plant",
    "device",
)


@dataclass(frozen=True)
class Run:
    """One checkpoint of a run, with all that is needed to use it; `path` is the run's folder."""

    path: Path
    tree: dict

    @classmethod
    def load(cls, where=None, roots=None, warming=False):
        """The run at a folder, a checkpoint file or a bare name under `weights/`; None is the newest. With `warming`, to go on with it:
        in its warm-up, where that is not over and no checkpoint is named.

        Raises CheckpointError for one that is missing, damaged or not of hfcontrol and, without `warming`, for one without a checkpoint.
        """
        folder, which = find_run(where, roots)
        if warming and which == "newest":
            which = folder.warming or which
        run = cls(folder.path, folder.load(which))
        if "warming" in run.tree and not warming:
            raise folder.still_warming()
        try:
            run.warming or run.info()
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"{where or folder.path}: its checkpoint is not one of a training that this hfcontrol knows "
                f"({error}); `hfcontrol runs` lists the runs there are"
            ) from error
        return run

    @property
    def folder(self):
        """The run's `RunFolder`."""
        return RunFolder(self.path)

    @cached_property
    def settings(self):
        """The `Settings` the run was trained with."""
        return Settings.from_tree(self.tree["settings"])

    @cached_property
    def state(self):
        """The `TrainingState` at this checkpoint."""
        return state_from_tree(self.tree["state"])

    @cached_property
    def warming(self):
        """The `WarmingState` of a run still in its warm-up, else None."""
        return (
            warming_from_tree(self.tree["warming"]) if "warming" in self.tree else None
        )

    @property
    def theta(self):
        """The weights (P,)."""
        return (self.warming or self.state).theta

    @cached_property
    def plant_file(self):
        """The plant of its file as it is now, under its name or at its recorded path; PlantError if it is gone."""
        path = Path(self.settings.plant)
        if path.suffix in FILES and not path.exists():
            raise PlantError(
                f"{path}, the plant of {self.path}, is gone; put it back, or tell its new place with "
                f"hfcontrol train --resume {self.path} --plant FILE"
            )
        return load_plant(self.settings.plant)

    @cached_property
    def plant(self):
        """The plant that was trained on: that of its file with the parameters, actuators and observations asked for."""
        return plant_of(self.settings, self.plant_file)

    @property
    def plant_changed(self):
        """Whether the plant's file is no longer the one trained on."""
        return self.plant.source_hash != self.tree["plant"]["hash"]

    @cached_property
    def trainer(self):
        """The trainer that its settings describe, on the CPU wherever it was trained; PlantError where the plant is no longer one
        that its weights fit."""
        trainer = build(self.settings.changed(device="cpu"), self.plant_file)
        if trainer.network.size != self.theta.size:
            raise PlantError(
                f"{self.plant.path}: its controller needs {trainer.network.size} weights, {self.path} has "
                f"{self.theta.size}; put back the plant it was trained on, or train anew"
            )
        return trainer

    @property
    def network(self):
        """The network."""
        return self.trainer.network

    def task(self, settings=None):
        """The task on its plant, under the run's own settings or others that its network fits; else UsageError."""
        settings = settings or self.settings
        plant = plant_of(settings, self.plant_file)
        if plant.environment:
            raise UsageError(
                f"{self.path}: it was trained on {plant.environment.id}, whose paths no task describes; evaluate, info, "
                "export and hf.Controller take it"
            )
        if plant.observation != self.plant.observation:
            raise UsageError(
                f"--observe {','.join(settings.observe)}: the run's network observes "
                f"{', '.join(self.plant.observation)}, and nothing else fits it"
            )
        task = task_of(settings, plant, compile_plant(plant))
        if task.n_target != self.trainer.task.n_target:
            raise UsageError(
                f"--space {settings.space}: the run was trained in {self.settings.space} space"
            )
        return task

    def closed_loop(self, split="training", settings=None, taper=False, trials=None):
        """The closed loop on the training or the held-out scenarios, without taper unless asked for.

        `settings` may differ from the run's in task numbers, delays, disturbances and limits, to test under other conditions.
        """
        settings, task = settings or self.settings, self.task(settings)
        if trials is not None and trials < 1:
            raise UsageError(f"--trials {trials}: at least 1 is needed")
        rng = stream(settings, SCENARIOS if split == "training" else HELD_OUT)
        scenario = task.draw(rng, split, trials)
        return ClosedLoop(
            task.plant,
            task.kernels,
            self.network,
            scenario,
            wiring_of(settings, task.plant, taper),
            store_every=settings.store_every,
        )

    def info(self):
        """What `hfcontrol info --json` prints: a dict of numbers, words and the loss history."""
        state, settings = self.state, self.settings
        return {
            "run": str(self.path),
            "plant": settings.plant,
            "task": self.tree["task"],
            "seed": settings.seed,
            "hold": settings.hold,
            "batches": settings.batches,
            "holds": state.holds,
            "updates": state.updates,
            "rollouts": state.rollouts,
            "jacobian_steps": state.jacobian_steps,
            "parameters": self.theta.size,
            "connections": self.tree.get("connections"),
            "time_constants": self.tree.get("time_constants") or None,
            "loss": state.loss,
            "loss_history": [m.loss for m in state.history],
            "seconds": state.seconds,
            "compile_seconds": self.tree["compile_seconds"],
            "solver": self.tree["solver"],
            "stop": self.tree["stop"],
            "command": self.tree["command"],
            "version": self.tree["versions"]["hfcontrol"],
        }


class Training:
    """A training in progress in its run folder; `events` yields the trainer's, each already on disk when it arrives.

    It begins with `warming`, a `WarmUp`, unless that is over; until then its own `state` is None.
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

    def events(self):
        """The events of the warm-up and of the trainer; a checkpoint is written at the end of each hold and wherever the training stops.

        A warm-up is kept in the same way, in a file of its own. Interrupted, it is the end; where the time is over, training ends at once.
        """
        with self.folder.lock():
            if self.warming:
                yield from self._warmed()
                if self.warming.stop is Stop.INTERRUPTED:
                    return
                self.state = self.warming.reached
            for event in self.trainer.run(self.state):
                self.note(event)
                yield event

    def _warmed(self):
        kept = None
        for event in self.warming.events():
            if self.warming.state is not kept and not self.warming.over:
                kept = self.warming.state
                self.folder.save_warming(
                    {**self._tree(), "warming": warming_tree(kept)}
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


def begin(settings, out=None, start=None, command=None, plant=None, prepared=None):
    """A new `Training` in a new run folder under `out` (default ./weights), from random weights or those of a `Run`. For many seeds the
    `plant` of the settings may be given, and what is `prepared` already.

    Raises a kind of HFControlError where settings, plant and weights do not fit together or the folder cannot be made.
    """
    trainer = build(settings, plant)
    if start is not None:
        _check_start(start, trainer, settings)
    prepared = prepared or prepare(trainer, settings)
    warming = WarmUp(trainer, settings, theta=None if start is None else start.theta)
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


def go_on(run, limits=None, force=False):
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
        run.trainer if settings.device == "cpu" else build(settings, run.plant_file)
    )
    prepared = prepare(trainer, settings if run.warming else settings.changed(guide=0))
    prepared = prepared._replace(seconds=prepared.seconds + run.tree["compile_seconds"])
    state, warming = (
        (None, WarmUp(trainer, settings, run.warming))
        if run.warming
        else (run.state, None)
    )
    return Training(
        settings, trainer, state, run.folder, prepared, run.tree["command"], warming
    )


def train(plant="arm2", *, out=None, start=None, on_event=None, **settings):
    """Train a controller and return its `Run`: `hf.train("arm2", task="reach", batches=32, seed=0)`.

    `settings` are the fields of `Settings`; `start` is a run whose weights to begin with, `on_event` is called with every
    `Event`, those of the warm-up too. Raises kinds of HFControlError only.
    """
    training = begin(settings_for(plant=plant, **settings), out, start)
    for event in training.events():
        if on_event:
            on_event(event)
    return training.run


def resume(where=None, *, force=False, on_event=None, **limits):
    """Go on with a run, the newest by default, and return it: `hf.resume("weights/...", rollouts=100)`."""
    training = go_on(Run.load(where, warming=True), limits, force)
    for event in training.events():
        if on_event:
            on_event(event)
    return training.run
