"""Settings of tasks: what is trained for, and under which conditions."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, field_validator

from hfcontrol.schema import (
    Assignments,
    Number,
    SettingsModel,
    Whole,
    Words,
    setting,
)

Space = Literal["joint", "hand"]
Finite: TypeAlias = Annotated[Number, Field(allow_inf_nan=False)]
NonNegative: TypeAlias = Annotated[Finite, Field(ge=0)]
# One number, or one for each component.
Weights: TypeAlias = (
    NonNegative | Annotated[tuple[NonNegative, ...], Field(min_length=1)]
)
# An entry of a plant file's LIMIT.
ControlBound: TypeAlias = Number | tuple[Number | None, Number | None] | None
WEIGHT_WORDS = (
    "a finite number of at least 0, or one for each component such as 1,1,0.1,0.1"
)

# These draw what no controller can know in advance.
CHANCE = ("sensory_noise", "motor_noise", "push", "jitter")

# These hide a part of the state from the network, which then needs a memory.
HIDING = (
    "observe",
    "feedback_delay",
    "command_delay",
    "sensory_noise",
    "vary",
    "curl_field",
    "actuators",
)


class TaskSettings(SettingsModel):
    """Plant and task; None means the task's own number."""

    plant: str = setting(
        "arm2",
        "A shipped plant (see `hfcontrol plants`), a .py or .xml file, or gym:ID.",
        "NAME|FILE",
        allowed="the name of a plant or the path of its file",
    )
    task: str | None = setting(
        None, "A task of the plant; its first one by default.", "WORD"
    )
    trials: Whole | None = setting(
        None, "Trials in one batch; the task's own number by default.", "N", ge=1
    )
    steps: Whole | None = setting(
        None, "Horizon in control steps; the task's own by default.", "N", ge=1
    )
    effort: Weights | None = setting(
        None,
        "Weight of 1/2 u^2 per step, one number or one for each control; the task's "
        "own by default, 0 for none.",
        "WEIGHT",
        syntax="numbers",
        allowed=WEIGHT_WORDS,
        plants_only=True,
    )
    running: Weights | None = setting(
        None,
        "Weight of the squared distance at every step: one number for the positions, "
        "or one for each state; the task's own by default.",
        "WEIGHT",
        syntax="numbers",
        allowed=WEIGHT_WORDS,
        plants_only=True,
    )
    final: Weights | None = setting(
        None,
        "Weight of the squared distance on arrival, one number or one for each state; "
        "the task's own by default.",
        "WEIGHT",
        syntax="numbers",
        allowed=WEIGHT_WORDS,
        plants_only=True,
    )
    space: Space = setting(
        "joint",
        "Where distance is measured: joint or hand.",
        "WORD",
        plants_only=True,
    )
    target_centre: tuple[Finite, Finite] | None = setting(
        None,
        "Centre of the circle of targets, x,y [m] in the plane of the hand; the task's "
        "own by default, or the hand at the start.",
        "X,Y",
        syntax="numbers",
        allowed="two finite coordinates in metres such as 0,0.35",
        plants_only=True,
    )
    target_radius: Number | None = setting(
        None,
        "Radius of the circle of targets [m]; the task's own by default.",
        "R",
        plants_only=True,
        gt=0,
        allow_inf_nan=False,
    )

    @field_validator("effort", "running", "final", "target_centre", mode="before")
    @classmethod
    def convert_array(cls, value: Any) -> Any:
        """Return a NumPy vector as a tuple, and anything else unchanged."""
        return tuple(value.tolist()) if getattr(value, "ndim", 0) == 1 else value

    @field_validator("plant", mode="before")
    @classmethod
    def resolve_file(cls, value: Any) -> Any:
        """Return the absolute path of a plant file, and a name unchanged."""
        # Imported here because the command line builds its help without NumPy.
        from hfcontrol.arrays.files import expand_home
        from hfcontrol.plant.registry import PLANT_SUFFIXES

        if not isinstance(value, (str, Path)):
            return value
        is_file = Path(value).suffix.lower() in PLANT_SUFFIXES
        # A checkpoint records it, and is used from other folders.
        return str(expand_home(value).resolve() if is_file else value)


class ConditionSettings(SettingsModel):
    """Delays, noise, disturbances and limits; training and evaluation share them."""

    feedback_delay: Number | str = setting(
        0,
        "Delay of the observations: steps, or milliseconds such as 40ms.",
        "STEPS|MS",
        allowed="steps such as 3, or milliseconds such as 40ms",
        plants_only=True,
    )
    command_delay: Number | str = setting(
        0,
        "Delay of the commands: steps, or milliseconds such as 20ms.",
        "STEPS|MS",
        allowed="steps such as 3, or milliseconds such as 40ms",
        plants_only=True,
    )
    sensory_noise: Number = setting(
        0.0,
        "Standard deviation of noise on every observation, in its unit.",
        "SD",
        plants_only=True,
        ge=0,
        allow_inf_nan=False,
    )
    motor_noise: Number | str = setting(
        0.0,
        "Standard deviation of noise on every control, in its unit, or as a percentage "
        "of the control: 5%.",
        "SD|PERCENT",
        allowed="a number in control units, or a percentage such as 5%",
        plants_only=True,
    )
    push: Number | None = setting(
        None,
        "One random push per trial: standard deviation of the change of every rate, in "
        "its unit.",
        "SD",
        plants_only=True,
        ge=0,
        allow_inf_nan=False,
    )
    jitter: Number = setting(
        0.0,
        "Control steps of random length, up to this part longer or shorter than the "
        "plant's; needs cells that have a time, such as ltc.",
        "PART",
        plants_only=True,
        ge=0,
        lt=1,
    )
    param: Assignments = setting(
        (),
        "Another value of a plant's parameter; repeatable.",
        "NAME=VALUE",
        syntax="repeated",
        allowed="texts such as friction=0.1",
        plants_only=True,
    )
    vary: Assignments = setting(
        (),
        "A plant's parameter that varies between trials, drawn uniformly: load=0..1 or "
        "mass=20%; repeatable.",
        "NAME=LOW..HIGH|NAME=PERCENT",
        syntax="repeated",
        allowed="texts such as load=0..1 or mass=20%",
        plants_only=True,
    )
    curl_field: Number | None = setting(
        None,
        "A curl force field at the hand [N s/m]; its strength is drawn for each trial, "
        "between plus and minus this one.",
        "STRENGTH",
        plants_only=True,
        ge=0,
        allow_inf_nan=False,
    )
    actuators: Number | str = setting(
        0.0,
        "Time constant of first-order actuators (muscles): 0.04 or 40ms.",
        "S|MS",
        allowed="seconds such as 0.04 or 2s, or milliseconds such as 40ms",
        plants_only=True,
    )
    observe: Words = setting(
        (),
        "What the network observes: names separated by commas, or positions; "
        "everything by default.",
        "NAMES",
        syntax="words",
        allowed="names of observations",
    )
    control_limit: Number | str | tuple[ControlBound, ...] | None = setting(
        "plant",
        "Smooth limit of the controls: 2 for +-2, 0..5, or one for each, separated by "
        "commas; the plant's own by default.",
        "LIMIT|LOW..HIGH|plant|none",
        allowed="a positive number, a range LOW..HIGH, plant or none",
        plants_only=True,
    )
