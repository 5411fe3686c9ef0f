"""Runs: one checkpoint of a training, with everything that is needed to use it.

A checkpoint is data: the plant source inside it is compared with the plant's file, but
never executed. Hfcontrol executes the shipped plant of that name, a plant that the user
names, or the file at the recorded path if the user has trained on it (records.py).
The network, its limits and its control step come from the checkpoint alone.
"""

import os
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hfcontrol.arrays.communicator import ALONE
from hfcontrol.arrays.random import Stream, stream
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.counts import NO_COUNTS, Counts
from hfcontrol.closed_loop.loop import ClosedLoop, PassOptions
from hfcontrol.closed_loop.structure import learn_structure
from hfcontrol.display import Displayed
from hfcontrol.errors import (
    CheckpointError,
    HFControlWarning,
    PlantError,
    UsageError,
)
from hfcontrol.kernels import compile_plant
from hfcontrol.network.network import Network
from hfcontrol.plant.contract import Plant
from hfcontrol.plant.registry import PLANT_SUFFIXES, load_plant
from hfcontrol.policy_gradient.samplers import Episodes
from hfcontrol.policy_gradient.trainer import PolicyTrainer
from hfcontrol.runs.factory import (
    make_network,
    make_plant,
    make_task,
    make_trainer,
    make_wiring,
)
from hfcontrol.runs.folder import RunFolder, find_run
from hfcontrol.runs.form import check_tree
from hfcontrol.runs.hdf5 import Tree
from hfcontrol.runs.history import History
from hfcontrol.runs.interface import Interface
from hfcontrol.runs.records import check_trusted
from hfcontrol.runs.roots import is_shipped
from hfcontrol.runs.settings import ConditionKeywords, Settings
from hfcontrol.runs.state_tree import (
    conditioning_from_tree,
    curriculum_from_tree,
    ladder_from_tree,
    state_from_tree,
)
from hfcontrol.runs.summary import own_settings
from hfcontrol.runs.trajectories import Trajectories, collect_trajectories
from hfcontrol.tasks.scenario import SPLITS
from hfcontrol.tasks.task import Task
from hfcontrol.texts import one_line
from hfcontrol.training.conditioning import Conditioning
from hfcontrol.training.curriculum import CurriculumState
from hfcontrol.training.rungs import LadderState
from hfcontrol.training.state import TrainingState
from hfcontrol.training.trainer import Trainer

if TYPE_CHECKING:
    from typing_extensions import Unpack


@dataclass(frozen=True, repr=False)
class Run(Displayed):
    """One checkpoint of a run; `path` is the run's folder, `tree` the checkpoint.

    `named_plant` is a plant that the user has named for it, and so trusts.
    """

    path: Path
    tree: Tree
    named_plant: str | None = None

    @classmethod
    def load(
        cls,
        where: "Run | Path | str | None" = None,
        roots: list[Path] | None = None,
        allow_unfinished: bool = False,
        plant: Path | str | None = None,
    ) -> "Run":
        """Load a run.

        where: a run folder, a checkpoint file or the name of a folder under `roots`;
        None for the newest run. A `Run` is not loaded again.
        roots: where runs are looked for, default `run_roots()`.
        allow_unfinished: also load a run whose curriculum has not finished. Such a run
        can only be resumed.
        plant: the plant to use in place of the recorded one, which you trust.

        Raises CheckpointError if the run is missing, damaged or not one of hfcontrol.
        """
        if isinstance(where, Run):
            return where if plant is None else cls(where.path, where.tree, str(plant))
        folder, which = find_run(where, roots)
        if allow_unfinished and which == "newest":
            which = folder.curriculum_file or which
        # The curriculum's file exists only until it has finished.
        named = None if plant is None else str(plant)
        run = cls(folder.path, folder.load(which), named)
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

    def __repr__(self) -> str:
        problem = one_line(f"{self.tree['plant']['name']} {self.task_name}")
        if self.curriculum:
            progress = "in its curriculum"
        else:
            loss, updates = self.state.controller_loss, self.state.updates
            progress = f"loss {loss:.3g} after {updates} updates"
        return f"Run({str(self.path)!r}: {problem}, {progress})"

    @property
    def folder(self) -> RunFolder:
        """The run's `RunFolder`."""
        return RunFolder(self.path)

    @property
    def output_folder(self) -> Path:
        """Where figures and other files about the run go: its own folder.

        A run that is shipped, or that the user may not write to, is not added to.
        """
        is_own = not is_shipped(self.path) and os.access(self.path, os.W_OK)
        return self.path if is_own else Path()

    @cached_property
    def settings(self) -> Settings:
        """The `Settings` that the run was trained with."""
        settings = Settings.from_tree(self.tree["settings"])
        if self.named_plant is not None:
            settings = settings.changed(plant=self.named_plant)
        return settings

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
    def task_name(self) -> str:
        """The name of the task that it was trained on."""
        name: str = self.tree["task"]
        return name

    @property
    def trained_counts(self) -> Counts:
        """What the training has cost; nothing is known of a curriculum."""
        return NO_COUNTS if self.curriculum else self.state.counts

    @property
    def theta(self) -> Array:
        """The trained vector (P,)."""
        return (self.curriculum or self.state).theta

    @property
    def weights(self) -> dict[str, Array]:
        """What the network multiplies with, by layer: copies, named as `Network.views`.

        `W_in_1` (units, inputs) leads from the input to layer 1, `W_1_1` back into it,
        and `b_1` (units,) are its biases; the layer of the controls is `out`.
        """
        network = self.network
        views = network.views(network.weights(self.theta))
        return {name: view.copy() for name, view in views.items()}

    @property
    def history(self) -> History:
        """The learning curve as arrays; empty in a curriculum that has not finished."""
        return History.from_points(() if self.curriculum else self.state.curve)

    @cached_property
    def interface(self) -> Interface:
        """What the network needs to know of the plant that it was trained on.

        Checkpoints of older versions lack it; their plant is loaded for it.
        """
        if "interface" in self.tree:
            return Interface(**self.tree["interface"])
        wiring = make_wiring(self.settings, self.plant)
        n_target = self.trainer.network.n_input - self.plant.ny
        return Interface.describe(self.plant, wiring.limits, n_target)

    @cached_property
    def plant_file(self) -> Plant:
        """The plant as its file defines it now.

        Raises PlantError if the file is missing, or if the user has neither named it
        nor trained on it: loading it would run it.
        """
        if self.named_plant is not None:
            return load_plant(self.named_plant)
        plant = self.settings.plant
        # Shipped plants are names without a suffix, and always exist.
        path = Path(plant)
        if path.suffix.lower() in PLANT_SUFFIXES and not path.exists():
            raise PlantError(
                f"plant file not found: {path}, which {self.path} was trained on. "
                "Restore it, or pass its new location: `plant=FILE`"
            )
        check_trusted(plant, self.path)
        return load_plant(plant)

    @cached_property
    def plant(self) -> Plant:
        """`plant_file` with the parameters, actuators and observations of the run.

        A warning tells which of its files have changed since the training. Raises
        PlantError as `plant_file` does, and if it has other names than the plant that
        the run was trained on.
        """
        if self.plant_changed:
            files = ", ".join(self.changed_files)
            text = f"{files} changed since {self.path} was trained; used as it is now"
            warnings.warn(text, HFControlWarning, stacklevel=3)
        return self._plant_now

    @cached_property
    def _plant_now(self) -> Plant:
        """What `plant` returns, without a warning."""
        plant = make_plant(self.settings, self.plant_file)
        if "interface" in self.tree:
            self._check_names(plant)
        return self.conditioning.plant(plant)

    def _check_names(self, plant: Plant) -> None:
        """Raise PlantError if the run was trained on a plant of other names."""
        for kind in ("state", "control", "observation"):
            now, trained = getattr(plant, kind), getattr(self.interface, kind)
            if now != trained:
                raise PlantError(
                    f"{plant.path}: its {kind} is {', '.join(now)}, but {self.path} "
                    f"was trained with {', '.join(trained)}, which its weights fit; "
                    "restore the plant, or train again"
                )

    @cached_property
    def conditioning(self) -> Conditioning:
        """How the run's problem was conditioned."""
        return conditioning_from_tree(self.tree.get("conditioning", {}))

    @property
    def changed_files(self) -> list[str]:
        """The files of the plant that have changed since the run was trained."""
        plant = self._plant_now
        trained: dict[str, str] | None = self.tree.get("inputs")
        is_same = plant.source_hash == self.tree["plant"]["hash"]
        changed = [] if is_same else [str(plant.path)]
        # Checkpoints of older versions do not know what else the plant read.
        if trained is not None:
            names = sorted({*trained, *plant.inputs})
            changed += [n for n in names if trained.get(n) != plant.inputs.get(n)]
        return changed

    @property
    def plant_changed(self) -> bool:
        """Whether a file of the plant has changed since the run was trained."""
        return bool(self.changed_files)

    @cached_property
    def trainer(self) -> Trainer | PolicyTrainer:
        """The trainer of the run's settings, on the CPU wherever it was trained.

        Raises PlantError if the network no longer fits the plant.
        """
        # A run that a GPU has trained can be used without one.
        settings = self.settings.changed(device="cpu")
        plant = self.plant
        trainer = make_trainer(settings, self.plant_file, self.conditioning)
        if trainer.network.size != self.theta.size:
            raise PlantError(
                f"{plant.path}: its controller needs {trainer.network.size} "
                f"weights, but {self.path} has {self.theta.size}; restore the plant "
                "that it was trained on, or train again"
            )
        return trainer

    @cached_property
    def network(self) -> Network:
        """The controller's network, by the checkpoint alone.

        Raises CheckpointError if the weights do not fit it.
        """
        interface = self.interface
        network = make_network(
            self.settings, interface.n_input, interface, self.conditioning
        )
        if network.size != self.theta.size:
            raise CheckpointError(
                f"{self.path}: the network that it describes needs {network.size} "
                f"weights, but it has {self.theta.size}; `hfcontrol runs` lists the "
                "runs that exist"
            )
        return network

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
        observed = self.interface.observation
        if plant.observation != observed:
            raise UsageError(
                f"`observe` {','.join(settings.observe)}: the network of {self.path} "
                f"observes {', '.join(observed)}; only these names fit it"
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
            # Whoever looks at a run wants all of its trials.
            ALONE,
        )

    @np.errstate(all="ignore")
    def rollout(
        self,
        split: str = "training",
        settings: Settings | None = None,
        trials: int | None = None,
        **conditions: "Unpack[ConditionKeywords]",
    ) -> Trajectories:
        """Return what the controller does on the "training" or "held_out" scenarios.

        settings: all settings of the test, default the run's.
        trials: their number, default the task's.
        conditions: settings that differ, such as `motor_noise="5%"`.

        Raises UsageError for another split, and for settings that do not fit.
        """
        if split not in SPLITS:
            raise UsageError(f"`split` {split}: must be one of {', '.join(SPLITS)}")
        settings = (settings or self.settings).changed(**conditions)
        loop = self.closed_loop(split, settings, trials=trials)
        about = {
            "run": self.path.resolve().name,
            "plant": loop.plant.name,
            "task": self.trained_task.name,
            "split": split,
        }
        return collect_trajectories(
            loop, self.network, self.theta, settings.space, about
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
        # The settings that make it another run than one with all defaults.
        settings_entry = {"settings": own_settings(settings)}
        recorded = ("compile_seconds", "solver", "stop", "command")
        record = {name: self.tree[name] for name in recorded}
        version = self.tree["versions"]["hfcontrol"]
        return {
            **problem,
            **settings_entry,
            **counts,
            **network,
            **result,
            **record,
            "version": version,
        }
