"""Runs: one checkpoint of a training, with everything that is needed to use it.

A checkpoint is data: the plant source inside it is compared with the plant's file, but
never executed. Hfcontrol executes the shipped plant of that name, or the user's file at
its recorded path.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hfcontrol.arrays.random import Stream, stream
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.counts import NO_COUNTS, Counts
from hfcontrol.closed_loop.loop import ClosedLoop, PassOptions
from hfcontrol.closed_loop.structure import learn_structure
from hfcontrol.errors import CheckpointError, PlantError, UsageError
from hfcontrol.kernels import compile_plant
from hfcontrol.network.network import Network
from hfcontrol.plant.contract import Plant
from hfcontrol.plant.registry import PLANT_SUFFIXES, load_plant
from hfcontrol.policy_gradient.samplers import Episodes
from hfcontrol.policy_gradient.trainer import PolicyTrainer
from hfcontrol.runs.factory import make_plant, make_task, make_trainer, make_wiring
from hfcontrol.runs.folder import RunFolder, find_run
from hfcontrol.runs.form import check_tree
from hfcontrol.runs.hdf5 import Tree
from hfcontrol.runs.settings import Settings
from hfcontrol.runs.state_tree import (
    conditioning_from_tree,
    curriculum_from_tree,
    ladder_from_tree,
    state_from_tree,
)
from hfcontrol.tasks.task import Task
from hfcontrol.training.conditioning import Conditioning
from hfcontrol.training.curriculum import CurriculumState
from hfcontrol.training.ladder import LadderState
from hfcontrol.training.state import TrainingState
from hfcontrol.training.trainer import Trainer


@dataclass(frozen=True)
class Run:
    """One checkpoint of a run; `path` is the run's folder, `tree` the checkpoint."""

    path: Path
    tree: Tree

    @classmethod
    def load(
        cls,
        where: Path | str | None = None,
        roots: list[Path] | None = None,
        allow_unfinished: bool = False,
    ) -> "Run":
        """Load a run.

        where: a run folder, a checkpoint file or the name of a folder under `roots`;
        None for the newest run.
        roots: where runs are looked for, default `run_roots()`.
        allow_unfinished: also load a run whose curriculum has not finished. Such a run
        can only be resumed.

        Raises CheckpointError if the run is missing, damaged or not one of hfcontrol.
        """
        folder, which = find_run(where, roots)
        if allow_unfinished and which == "newest":
            which = folder.curriculum_file or which
        # The curriculum's file exists only until it has finished.
        run = cls(folder.path, folder.load(which))
        if "warming" in run.tree and not allow_unfinished:
            raise folder.unfinished_error()
        try:
            check_tree(run.tree)
        except CheckpointError as error:
            raise CheckpointError(
                f"{where or run.path}: this version of hfcontrol cannot read its "
                f"checkpoint as a training: {error}; `hfcontrol runs` lists the runs "
                "that exist"
            ) from error
        return run

    @property
    def folder(self) -> RunFolder:
        """The run's `RunFolder`."""
        return RunFolder(self.path)

    @cached_property
    def settings(self) -> Settings:
        """The `Settings` that the run was trained with."""
        return Settings.from_tree(self.tree["settings"])

    @cached_property
    def state(self) -> TrainingState:
        """The `TrainingState` at this checkpoint."""
        return state_from_tree(self.tree["state"])

    @cached_property
    def curriculum(self) -> CurriculumState | None:
        """The state of a curriculum that has not finished, else None."""
        if "warming" not in self.tree:
            return None
        return curriculum_from_tree(self.tree["warming"])

    @cached_property
    def ladder(self) -> LadderState:
        """The state of the ladder that the training climbs."""
        return ladder_from_tree(self.tree.get("ladder", {}))

    @property
    def trained_counts(self) -> Counts:
        """What the training has cost; nothing is known of a curriculum."""
        return NO_COUNTS if self.curriculum else self.state.counts

    @property
    def theta(self) -> Array:
        """The trained vector (P,)."""
        return (self.curriculum or self.state).theta

    @cached_property
    def plant_file(self) -> Plant:
        """The plant as its file defines it now; PlantError if the file is missing."""
        # Shipped plants are names without a suffix, and always exist.
        path = Path(self.settings.plant)
        if path.suffix.lower() in PLANT_SUFFIXES and not path.exists():
            raise PlantError(
                f"plant file not found: {path}, which {self.path} was trained on. "
                "Restore it, or pass its new location: "
                f"hfcontrol train --resume {self.path} --plant FILE"
            )
        return load_plant(self.settings.plant)

    @cached_property
    def plant(self) -> Plant:
        """`plant_file` with the parameters, actuators and observations of the run."""
        plant = make_plant(self.settings, self.plant_file)
        self._check_sizes(plant)
        return self.conditioning.plant(plant)

    def _check_sizes(self, plant: Plant) -> None:
        """Raise PlantError if the run was conditioned for a plant of other sizes."""
        sizes = {
            "states": (self.conditioning.state_size, plant.nx),
            "controls": (self.conditioning.control_size, plant.nu),
        }
        for name, (array, count) in sizes.items():
            if array is not None and array.size != count:
                raise PlantError(
                    f"{plant.path}: it has {count} {name}, but {self.path} was trained "
                    f"on {array.size}; restore the plant, or train again"
                )

    @cached_property
    def conditioning(self) -> Conditioning:
        """How the run's problem was conditioned."""
        return conditioning_from_tree(self.tree.get("conditioning", {}))

    @property
    def plant_changed(self) -> bool:
        """Whether the plant's file has changed since the run was trained."""
        return self.plant.source_hash != self.tree["plant"]["hash"]

    @cached_property
    def trainer(self) -> Trainer | PolicyTrainer:
        """The trainer of the run's settings, on the CPU wherever it was trained.

        Raises PlantError if the network no longer fits the plant.
        """
        # A run that a GPU has trained can be used without one.
        settings = self.settings.changed(device="cpu")
        trainer = make_trainer(settings, self.plant_file, self.conditioning)
        if trainer.network.size != self.theta.size:
            raise PlantError(
                f"{self.plant.path}: its controller needs {trainer.network.size} "
                f"weights, but {self.path} has {self.theta.size}; restore the plant "
                "that it was trained on, or train again"
            )
        return trainer

    @property
    def network(self) -> Network:
        """The controller's network."""
        return self.trainer.network

    @property
    def trained_task(self) -> Task | Episodes:
        """The task that the controller was trained on, or an environment's episodes."""
        task = self.trainer.task
        assert isinstance(task, (Task, Episodes))
        return task

    def task(self, settings: Settings | None = None) -> Task:
        """The task of the run's settings, or of others that its network fits.

        Raises UsageError if the network does not fit them.
        """
        settings = settings or self.settings
        plant = self.conditioning.plant(make_plant(settings, self.plant_file))
        if plant.environment:
            raise UsageError(
                f"{self.path}: it was trained on {plant.environment.id}, which has no "
                "tasks; use evaluate, info, export or hf.Controller for it"
            )
        # The network's inputs are fixed; other conditions may not add or remove any.
        if plant.observation != self.plant.observation:
            raise UsageError(
                f"`observe` {','.join(settings.observe)}: the network of {self.path} "
                f"observes {', '.join(self.plant.observation)}; only these names fit it"
            )
        task = make_task(settings, plant, compile_plant(plant))
        trained = self.trained_task
        assert isinstance(trained, Task)
        if task.n_target != trained.n_target:
            raise UsageError(
                f"`space` {settings.space}: the run was trained in "
                f"{self.settings.space} space; use `space` {self.settings.space}"
            )
        return task

    def closed_loop(
        self,
        split: str = "training",
        settings: Settings | None = None,
        taper: bool = False,
        trials: int | None = None,
    ) -> ClosedLoop:
        """The closed loop on the "training" or the "held_out" scenarios.

        settings: other task numbers, delays, disturbances or limits than the run's, to
        test under other conditions.
        taper: whether the plant's tapering acts, as it does in training.
        trials: their number, default the task's.
        """
        settings = settings or self.settings
        task = self.task(settings)
        if trials is not None and trials < 1:
            raise UsageError(f"`trials` {trials}: must be at least 1")
        which = Stream.SCENARIOS if split == "training" else Stream.HELD_OUT
        scenario = task.draw(stream(settings.seed, which), split, trials)
        wiring = make_wiring(settings, task.plant, taper)
        learn_structure(task.kernels, task, wiring)
        return ClosedLoop(
            task.plant,
            task.kernels,
            self.network,
            scenario,
            wiring,
            PassOptions(store_every=settings.store_every),
        )

    def info(self) -> dict[str, Any]:
        """Facts about the run, as `hfcontrol info --json` prints them."""
        settings, state = self.settings, self.state
        problem = {
            "run": str(self.path),
            "plant": settings.plant,
            "task": self.tree["task"],
            "seed": settings.seed,
            "hold": settings.hold,
            "batches": settings.batches,
        }
        counts = {
            "holds": state.holds,
            "updates": state.updates,
            "rollouts": state.rollouts,
            "jacobian_steps": state.counts.jacobian_steps,
        }
        network = {
            "parameters": self.theta.size,
            # Checkpoints of older versions lack the next two entries.
            "connections": self.tree.get("connections"),
            "time_constants": self.tree.get("time_constants") or None,
        }
        result = {
            "loss": state.loss,
            "loss_history": [point.loss for point in state.history],
            "seconds": state.seconds,
        }
        recorded = ("compile_seconds", "solver", "stop", "command")
        record = {name: self.tree[name] for name in recorded}
        version = self.tree["versions"]["hfcontrol"]
        return {
            **problem,
            **counts,
            **network,
            **result,
            **record,
            "version": version,
        }
