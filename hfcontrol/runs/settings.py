"""What a user asks of a training, as one flat record.

The same names serve as keywords of `hf.train`, options of `hfcontrol train` and entries of a checkpoint.
"""

from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path

from hfcontrol.arrays.device import DEVICES
from hfcontrol.closed_loop.continuous import FIXED, Estimator
from hfcontrol.errors import TaskError, UsageError
from hfcontrol.network.cells import CELLS, is_continuous, is_staged
from hfcontrol.plant.registry import FILES, load_plant
from hfcontrol.runs.quantities import duration

POLICY = ("ppo", "a2c")
OPTIMIZERS = ("hf", "adam", "momentum", "lbfgs", *POLICY)
POLICY_OPTIONS = (
    "discount",
    "gae_lambda",
    "clip",
    "epochs",
    "minibatches",
    "entropy",
    "value_clip",
    "target_kl",
    "log_spread",
    "anneal",
    "normalise",
)
DERIVATIVES = (
    "hold",
    "batches",
    "average",
    "estimator",
    "race",
    "grow",
    "guide",
    "store_every",
    "target_ratio",
)  # of no use to POLICY
HIDING = (
    "observe",
    "feedback_delay",
    "command_delay",
    "sensory_noise",
    "vary",
    "curl_field",
    "actuators",
)  # a part of the state
SOLVERS = ("auto", "cg", "residual")
DTYPES = ("float64", "float32")


@dataclass(frozen=True)
class Settings:
    """Everything that defines a training; None means the task's, the plant's or the method's own value.

    Delays are steps, or a text such as "40ms"; `motor_noise` is in control units, or a text such as "5%" for noise in
    proportion to the control; `control_limit` is a number, or "plant" for the plant's own, or None for none. `param` holds
    texts such as "friction=0.1", `vary` such as "load=0..1"; `actuators` is a time constant in seconds or such as "40ms",
    `time_constants` a range of them, "20ms..200ms", for the cells that have one.
    """

    plant: str = "arm2"
    task: str | None = None
    trials: int | None = None
    steps: int | None = None
    effort: float | None = None
    running: float | None = None
    space: str = "joint"
    feedback_delay: int | str = 0
    command_delay: int | str = 0
    sensory_noise: float = 0.0
    motor_noise: float | str = 0.0
    push: float | None = None
    param: tuple = ()
    vary: tuple = ()
    curl_field: float | None = None
    actuators: float | str = 0.0
    observe: tuple = ()
    control_limit: float | str | None = "plant"
    hidden: tuple = (32, 32)
    skip: tuple | str = "auto"
    recurrent: tuple | str = "all"
    cell: str = "tanh"
    scheme: str = "fused"
    unfold: int = 1
    time_constants: str | None = None
    learn_start: bool = False
    density: float = 1.0
    freeze: tuple = ()
    dale: float | None = None
    batches: int = 32
    average: int = 1
    hold: str = "auto"
    rollouts: int | None = None
    optimizer: str = "hf"
    learning_rate: float | None = None
    solver: str = "auto"
    damping: float = 1.0
    structural: float = 0.0
    cg_cap: int = 100
    curvature_trials: int | None = None
    store_every: int = 1
    estimator: str | None = None
    rtol: float = 1e-4
    atol: float = 1e-6
    solver_step: float | str | None = None
    discount: float = 0.99
    gae_lambda: float | None = None
    clip: float | None = None
    epochs: int | None = None
    minibatches: int | None = None
    entropy: float = 0.0
    value_clip: float | None = None
    target_kl: float | None = None
    log_spread: float = -0.5
    anneal: int = 0
    normalise: bool = True
    device: str = "cpu"
    dtype: str = "float64"
    seed: int = 0
    race: int = 1
    grow: int = 0
    guide: int = 0
    target_loss: float | None = None
    target_ratio: float | None = None
    max_seconds: float | None = None

    def __post_init__(self):
        for name, least in (
            ("race", 1),
            ("average", 1),
            ("seed", 0),
            ("store_every", 1),
            ("grow", 0),
            ("guide", 0),
        ):
            if getattr(self, name) < least:
                raise UsageError(
                    f"--{name.replace('_', '-')} {getattr(self, name)}: {least} or above is needed"
                )
        if self.optimizer not in OPTIMIZERS:
            raise UsageError(
                f"--optimizer {self.optimizer}: known are {', '.join(OPTIMIZERS)}"
            )
        if self.solver not in SOLVERS:
            raise UsageError(f"--solver {self.solver}: known are {', '.join(SOLVERS)}")
        if self.dtype not in DTYPES:
            raise UsageError(f"--dtype {self.dtype}: known are {' and '.join(DTYPES)}")
        self._check_fit()
        self._check_device()
        self._check_estimator()
        if Path(self.plant).suffix in FILES:
            object.__setattr__(self, "plant", str(Path(self.plant).resolve()))

    def _check_fit(self):
        """Raises UsageError for options of one optimizer or cell that are given with another, and would do nothing."""
        if self.learning_rate is not None and self.optimizer not in (
            "adam",
            "momentum",
            *POLICY,
        ):
            raise UsageError(
                f"--learning-rate {self.learning_rate} with --optimizer {self.optimizer}: only adam, momentum, ppo and a2c "
                "have one; leave it out"
            )
        for names, right, whose in (
            (POLICY_OPTIONS, self.optimizer in POLICY, "belongs to ppo and a2c"),
            (
                DERIVATIVES,
                self.optimizer not in POLICY,
                "is of training by derivatives",
            ),
        ):
            for name in names if not right else ():
                if getattr(self, name) != type(self).__dataclass_fields__[name].default:
                    raise UsageError(
                        f"--{name.replace('_', '-')} {getattr(self, name)} with --optimizer {self.optimizer}: it {whose}; "
                        "leave it out"
                    )
        for name in ("solver", "damping", "structural", "cg_cap", "curvature_trials"):
            if (
                getattr(self, name) != type(self).__dataclass_fields__[name].default
                and self.optimizer != "hf"
            ):
                raise UsageError(
                    f"--{name.replace('_', '-')} {getattr(self, name)} with --optimizer {self.optimizer}: it "
                    "belongs to hf; leave it out"
                )

        for name in ("scheme", "unfold", "time_constants"):
            if getattr(self, name) != type(self).__dataclass_fields__[
                name
            ].default and not is_continuous(self.cell):
                raise UsageError(
                    f"--{name.replace('_', '-')} {getattr(self, name)} with --cell {self.cell}: it belongs to the "
                    f"cells in continuous time, {', '.join(filter(is_continuous, CELLS))}; leave it out"
                )

    def _check_device(self):
        """Raises UsageError for what is of the CPU alone, or of float64."""
        if self.device not in DEVICES:
            raise UsageError(f"--device {self.device}: known are {', '.join(DEVICES)}")
        of_steps = (
            ""
            if not (self.estimator or self.optimizer in POLICY)
            else f"--estimator {self.estimator}"
            if self.estimator
            else f"--optimizer {self.optimizer}"
        )
        for name in ("device", "dtype"):
            if (
                of_steps
                and getattr(self, name) != type(self).__dataclass_fields__[name].default
            ):
                raise UsageError(
                    f"--{name} {getattr(self, name)} with {of_steps}: that trains on the CPU in float64; leave it out"
                )
        if self.device != "cpu" and self.store_every != 1:
            raise UsageError(
                f"--store-every {self.store_every} with --device {self.device}: a GPU stores every step; leave one out"
            )
        if self.dtype != "float64" and is_staged(self.cell):
            raise UsageError(
                f"--dtype {self.dtype} with --cell {self.cell}: cells in continuous time are solved in float64; leave it out"
            )

    def _check_estimator(self):
        """Raises UsageError for what cannot be asked of an estimator on a continuous trajectory, or only of one."""
        fields = type(self).__dataclass_fields__
        told = {
            name: f"--{name.replace('_', '-')} {getattr(self, name)}" for name in fields
        }
        if not self.estimator:
            for name in ("rtol", "atol", "solver_step"):
                if getattr(self, name) != fields[name].default:
                    raise UsageError(
                        f"{told[name]}: it belongs to an --estimator such as ctpg, which solves in continuous time"
                    )
            return
        if self.hold not in ("auto", "scenario"):
            raise UsageError(
                f"{told['hold']} with --estimator: a continuous trajectory is simulated anew; leave one out"
            )
        for name in ("structural", "store_every", "guide", "target_ratio"):
            if getattr(self, name) != fields[name].default:
                raise UsageError(
                    f"{told[name]} with --estimator: it is of control steps; leave one out"
                )
        if self.solver == "residual":
            raise UsageError(
                "--solver residual with --estimator: residuals of a continuous trajectory have no rows; leave one out"
            )
        if self.estimator not in FIXED and self.solver_step is not None:
            raise UsageError(
                f"{told['solver_step']} with --estimator {self.estimator}: it belongs to {' and '.join(FIXED)}; the "
                "others choose their steps by --rtol and --atol"
            )
        self.solved_by

    @property
    def solved_by(self):
        """The `Estimator` asked for, or None."""
        step = (
            None
            if self.solver_step is None
            else duration(self.solver_step, "solver-step")
        )
        return (
            Estimator(self.estimator, self.rtol, self.atol, step)
            if self.estimator
            else None
        )

    def tree(self):
        """The settings as a nested dict for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_tree(cls, tree):
        """The settings of a checkpoint; entries of other versions are left out."""
        known = {f.name for f in fields(cls)}
        return cls(
            **{
                k: tuple(v) if isinstance(v, list) else v
                for k, v in tree.items()
                if k in known
            }
        )

    def changed(self, **changes):
        """The same settings with some replaced."""
        return replace(self, **changes)


def settings_for(**given):
    """The settings of a training: those given, over what the task's own `train` entry asks for, over the defaults.

    A task that asks for no recurrence, since the network sees all of the state, does not get it where settings hide a part; plain
    cells have none under an estimator on a continuous trajectory.

    Raises a kind of HFControlError for what does not fit together.
    """
    for name in sorted(given.keys() - Settings.__dataclass_fields__.keys()):
        near = get_close_matches(name, Settings.__dataclass_fields__)
        raise UsageError(
            f"{name}: a training has no such setting; "
            + (
                f"{' or '.join(near)} it has"
                if near
                else "`hfcontrol train --help` lists them"
            )
        )
    settings = Settings(**given)
    plant = load_plant(settings.plant)
    name = settings.task or next(iter(plant.tasks), None)
    own = plant.tasks.get(name, {}).get("train", {})
    for entry in own:
        if entry in ("plant", "task", "seed") or entry not in settings.tree():
            raise TaskError(
                f"task {name} of {plant.name}: its train entry has {entry!r}, which is no setting of a training "
                "such as hidden, grow or batches"
            )
    unfit = [*DERIVATIVES, "curvature_trials"] if settings.optimizer in POLICY else []
    if any(
        getattr(settings, entry) != Settings.__dataclass_fields__[entry].default
        for entry in HIDING
    ):
        unfit.append("recurrent")
    settings = settings.changed(
        **{
            entry: value
            for entry, value in own.items()
            if entry not in (*given, *unfit)
        }
    )
    if (
        settings.estimator
        and "recurrent" not in {*given, *own}
        and not is_continuous(settings.cell)
    ):
        settings = settings.changed(
            recurrent=()
        )  # such a memory has no meaning between control steps
    return settings
