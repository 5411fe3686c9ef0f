"""Runs: trainings kept in folders of checkpoints. `train` and `resume` tie trainer and checkpoints together.

A checkpoint executes no code: the plant source inside it is compared with, never run. What runs is the shipped plant of
that name, or the user's file at its recorded path.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hfcontrol.arrays.random import Stream, stream
from hfcontrol.closed_loop.loop import ClosedLoop
from hfcontrol.errors import CheckpointError, PlantError, UsageError
from hfcontrol.kernels import compile_plant
from hfcontrol.plant.registry import PLANT_SUFFIXES, load_plant
from hfcontrol.runs.factory import make_plant, make_task, make_trainer, make_wiring
from hfcontrol.runs.folder import RunFolder, find_run
from hfcontrol.runs.settings import Settings
from hfcontrol.runs.state_tree import curriculum_from_tree, state_from_tree


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
        """The `CurriculumState` of a run still in its warm-up, else None."""
        return (
            curriculum_from_tree(self.tree["warming"])
            if "warming" in self.tree
            else None
        )

    @property
    def theta(self):
        """The weights (P,)."""
        return (self.warming or self.state).theta

    @cached_property
    def plant_file(self):
        """The plant of its file as it is now, under its name or at its recorded path; PlantError if it is gone."""
        path = Path(self.settings.plant)
        if path.suffix in PLANT_SUFFIXES and not path.exists():
            raise PlantError(
                f"{path}, the plant of {self.path}, is gone; put it back, or tell its new place with "
                f"hfcontrol train --resume {self.path} --plant FILE"
            )
        return load_plant(self.settings.plant)

    @cached_property
    def plant(self):
        """The plant that was trained on: that of its file with the parameters, actuators and observations asked for."""
        return make_plant(self.settings, self.plant_file)

    @property
    def plant_changed(self):
        """Whether the plant's file is no longer the one trained on."""
        return self.plant.source_hash != self.tree["plant"]["hash"]

    @cached_property
    def trainer(self):
        """The trainer that its settings describe, on the CPU wherever it was trained; PlantError where the plant is no longer one
        that its weights fit."""
        trainer = make_trainer(self.settings.changed(device="cpu"), self.plant_file)
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
        plant = make_plant(settings, self.plant_file)
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
        task = make_task(settings, plant, compile_plant(plant))
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
        rng = stream(
            settings.seed, Stream.SCENARIOS if split == "training" else Stream.HELD_OUT
        )
        scenario = task.draw(rng, split, trials)
        return ClosedLoop(
            task.plant,
            task.kernels,
            self.network,
            scenario,
            make_wiring(settings, task.plant, taper),
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
            "jacobian_steps": state.counts.jacobian_steps,
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
