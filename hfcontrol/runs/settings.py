"""All settings of a training as one flat record.

The same names serve as keywords of `hf.train`, options of `hfcontrol train` and entries
of a checkpoint. Each package declares its own settings; `Settings` inherits them all.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

from typing_extensions import Unpack

from hfcontrol.arrays.settings import (
    DeviceName,
    DeviceSettings,
    DtypeName,
    OptimizerName,
)
from hfcontrol.closed_loop.settings import (
    EstimatorName,
    EstimatorSettings,
    StorageSettings,
)
from hfcontrol.errors import TaskError, UsageError
from hfcontrol.network.settings import (
    CONTINUOUS_CELLS,
    CellName,
    NetworkSettings,
    RecurrentWord,
    SchemeName,
    SkipWord,
)
from hfcontrol.optim.settings import OptimizerSettings, SolverName
from hfcontrol.policy_gradient.settings import PolicyGradientSettings
from hfcontrol.schema import (
    GivenAssignments,
    GivenWords,
    SettingsModel,
    Whole,
    option_of,
    setting,
)
from hfcontrol.tasks.settings import HIDING, ConditionSettings, Space, TaskSettings
from hfcontrol.training.settings import (
    CurriculumSettings,
    HoldName,
    HoldSettings,
    LimitSettings,
    StrategyName,
)

# NumPy and all that needs it is imported in functions: the command line builds its help
# from this module.
if TYPE_CHECKING:
    from hfcontrol.closed_loop.continuous import Estimator
    from hfcontrol.plant.contract import Plant

POLICY_SETTINGS = tuple(PolicyGradientSettings.model_fields)

# A task's `train` entry may hold any setting but these.
NOT_FOR_TASKS = ("plant", "task", "seed")


# What settings were before they existed, where that is not the default.
BEFORE = {"strategy": "plain"}

# Defaults that have changed. Older checkpoints hold them, with or without effect.
FORMER_DEFAULTS = {"discount": 0.99}


class SeedSettings(SettingsModel):
    """Where random numbers come from."""

    seed: Whole = setting(
        0, "Seed of the initial weights and of all random numbers.", "N", ge=0
    )


# The models in the order of their settings, and with the headings of docs/options.md.
MODELS: dict[str, type[SettingsModel]] = {
    "Task": TaskSettings,
    "Conditions": ConditionSettings,
    "Network": NetworkSettings,
    "Holds": HoldSettings,
    "Optimizer": OptimizerSettings,
    "Memory": StorageSettings,
    "Continuous time": EstimatorSettings,
    "Policy gradients": PolicyGradientSettings,
    "Device": DeviceSettings,
    "Seed": SeedSettings,
    "Curriculum": CurriculumSettings,
    "Limits": LimitSettings,
}


# An entry of `control_limit`.
_Bound: TypeAlias = float | tuple[float | None, float | None] | None


class ConditionKeywords(TypedDict, total=False):
    """The settings under which a trained controller is tested, as keywords.

    A test compares names and types with the models.
    """

    steps: int | None
    effort: float | tuple[float, ...] | None
    running: float | tuple[float, ...] | None
    final: float | tuple[float, ...] | None
    target_centre: tuple[float, float] | None
    target_radius: float | None
    feedback_delay: float | str
    command_delay: float | str
    sensory_noise: float
    motor_noise: float | str
    push: float | None
    jitter: float
    param: GivenAssignments
    vary: GivenAssignments
    curl_field: float | None
    actuators: float | str
    observe: GivenWords
    control_limit: float | str | tuple[_Bound, ...] | None
    seed: int


class TrainKeywords(ConditionKeywords, total=False):
    """The settings but the plant as keywords, for editors and type checkers.

    A test compares names and types with the models.
    """

    task: str | None
    trials: int | None
    space: Space
    hidden: tuple[int, ...]
    skip: tuple[int, ...] | SkipWord
    recurrent: tuple[int, ...] | RecurrentWord
    cell: CellName
    scheme: SchemeName
    unfold: int
    time_constants: str | None
    learn_start: bool
    density: float
    freeze: GivenWords
    dale: float | None
    batches: int | None
    average: int
    hold: HoldName
    rollouts: int | None
    optimizer: OptimizerName
    learning_rate: float | None
    solver: SolverName
    damping: float | None
    structural: float
    cg_cap: int
    curvature_trials: int | None
    store_every: int
    estimator: EstimatorName | None
    rtol: float
    atol: float
    solver_step: float | str | None
    discount: float | None
    gae_lambda: float | None
    clip: float | None
    epochs: int | None
    minibatches: int | None
    n_steps: int | None
    entropy: float
    value_clip: float | None
    target_kl: float | None
    log_spread: float
    anneal: int
    normalise: bool
    device: DeviceName
    dtype: DtypeName
    strategy: StrategyName
    race: int
    imitate: int
    grow: int
    guide: int
    target_loss: float | None
    target_ratio: float | None
    max_seconds: float | None


class SettingsDict(TrainKeywords, total=False):
    """All settings as keywords."""

    plant: str | Path


# pydantic collects fields from the last base to the first.
class Settings(
    LimitSettings,
    CurriculumSettings,
    SeedSettings,
    DeviceSettings,
    PolicyGradientSettings,
    EstimatorSettings,
    StorageSettings,
    OptimizerSettings,
    HoldSettings,
    NetworkSettings,
    ConditionSettings,
    TaskSettings,
):
    """Everything that defines a training.

    None means the value of the task, the plant or the method. Raises UsageError, which
    lists all faults.
    """

    def __init__(self, **values: Unpack[SettingsDict]) -> None:
        given: dict[str, Any] = {**values}
        super().__init__(**given)

    def find_misfits(self) -> Iterator[str]:
        """Yield a sentence for each setting that does not fit the others."""
        misfits = list(super().find_misfits())
        yield from misfits

        # The estimator reads the text of `solver_step`.
        if not misfits:
            try:
                self.make_estimator()
            except UsageError as error:
                yield str(error)

    def make_estimator(self) -> "Estimator | None":
        """Return the estimator of continuous time, or None for control steps."""
        if self.estimator is None:
            return None

        from hfcontrol.closed_loop.continuous import Estimator
        from hfcontrol.runs.quantities import parse_time

        step = None
        if self.solver_step is not None:
            step = parse_time(self.solver_step, "solver_step")
        return Estimator(self.estimator, self.rtol, self.atol, step)

    def tree(self) -> dict[str, Any]:
        """Return the settings as a dict for a checkpoint."""
        return {name: getattr(self, name) for name in type(self).model_fields}

    @classmethod
    def from_tree(cls, tree: dict[str, Any]) -> "Settings":
        """Return the settings of a checkpoint; unknown entries are ignored.

        Those come from other versions of hfcontrol, and so do missing ones.
        """
        tree = {**BEFORE, **tree}
        known = {name: tree[name] for name in cls.model_fields if name in tree}
        for name, former in FORMER_DEFAULTS.items():
            rules = option_of(cls, name).only_with
            has_effect = all(known.get(rule.other) in rule.values for rule in rules)
            if known.get(name) == former and not has_effect:
                del known[name]
        return cls(**known)

    def changed(self, **changes: Unpack[SettingsDict]) -> "Settings":
        """Return the same settings with some replaced."""
        return type(self)(**{**self.tree(), **changes})


def settings_for(**given: Unpack[SettingsDict]) -> Settings:
    """Return the settings of a training: given ones, the task's own, then defaults.

    A task's `train` entry holds its own settings. Those that do not fit the given ones
    are ignored, as `guide` is with an `estimator`. One that turns recurrence off, since
    the network observes the whole state, is ignored if settings hide a part of it.
    Plain cells are not recurrent in continuous time.

    Raises UsageError for settings that do not fit together, and TaskError for a `train`
    entry that is no setting.
    """
    settings = Settings(**given)
    own = _task_settings(settings)

    skipped = set(given)
    if not all(settings.is_default(name) for name in HIDING):
        skipped.add("recurrent")
    used = {name: value for name, value in own.items() if name not in skipped}
    settings = settings.changed(**_fitting(settings, used))

    # The memory of a plain cell has no meaning between control steps.
    chosen = "recurrent" in given or "recurrent" in own
    if settings.estimator and not chosen and settings.cell not in CONTINUOUS_CELLS:
        settings = settings.changed(recurrent=())
    return settings


def _fitting(settings: Settings, own: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a task that fit those that were chosen.

    Nobody has given them, so they give way.
    """
    own = dict(own)
    while True:
        together = settings.model_copy(update=own)
        culprits = {
            option.name if option.name in own else rule.other
            for option, rule in together.broken_rules()
        }
        culprits &= own.keys()
        if not culprits:
            return own
        for name in culprits:
            del own[name]


def _task_settings(settings: Settings) -> dict[str, Any]:
    """Return the `train` entry of the task; TaskError if it holds anything else."""
    from hfcontrol.plant.registry import load_plant

    plant: Plant = load_plant(settings.plant)
    name = plant.find_task(settings.task or None)
    own: dict[str, Any] = {}
    if name in plant.tasks:
        own = plant.tasks[name].get("train", {})
    # A task checks its other entries when it is made, with the user's numbers in them.
    if find_train_fault(own):
        faults = find_task_faults(plant)
        lines = [f"task {task} of {plant.name}: {fault}" for task, fault in faults]
        raise TaskError(*lines)
    return own


def find_train_fault(own: Any) -> str | None:
    """Return what is wrong with the `train` entry of a task, or None."""
    if not isinstance(own, dict):
        return f"train {own!r}: must be a dictionary of settings of a training"
    for entry in own:
        if entry in NOT_FOR_TASKS or entry not in Settings.model_fields:
            return (
                f"its `train` entry has {entry!r}, which is not a setting of a "
                "training such as `hidden`, `grow` or `batches`"
            )
    try:
        Settings(**own)
    except UsageError as error:
        return f"its `train` entry: {error}"
    return None


def find_task_faults(plant: "Plant") -> list[tuple[str, str]]:
    """Return (task, sentence) for each fault in the entries of a plant's tasks."""
    from hfcontrol.tasks.entries import find_faults

    faults = []
    for name, entries in plant.tasks.items():
        faults += [(name, fault) for fault in find_faults(plant, entries)]
        fault = find_train_fault(entries.get("train", {}))
        # The model of the entries reports a value that is no dictionary.
        if fault and isinstance(entries.get("train"), dict):
            faults.append((name, fault))
    return faults
