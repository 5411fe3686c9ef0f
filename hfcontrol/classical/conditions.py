"""The conditions of a benchmark: nominal, with noise, and with a load."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hfcontrol.errors import UsageError
from hfcontrol.runs.run import Run
from hfcontrol.runs.settings import Settings
from hfcontrol.tasks.settings import ConditionSettings

# Settings that belong to one condition; all others apply to every condition.
NOISE_SETTINGS = ("sensory_noise", "motor_noise", "push")
LOAD_SETTINGS = ("param", "vary", "curl_field")

# What the conditions are by default, if the run was not trained with noise or a load.
NOISE: dict[str, Any] = {"sensory_noise": 0.005, "motor_noise": "5%"}
LOAD_PARAMETER = "load"
LOAD: dict[str, Any] = {"vary": (f"{LOAD_PARAMETER}=0..1",)}

# Settings without noise and load.
NOMINAL: dict[str, Any] = {
    "sensory_noise": 0.0,
    "motor_noise": 0.0,
    "vary": (),
    "curl_field": None,
}


@dataclass(frozen=True)
class Condition:
    """A condition by its name, with all settings, and those that it changes."""

    name: str
    settings: Settings
    changes: dict[str, Any]


def make_conditions(
    run: Run, given: Mapping[str, Any]
) -> tuple[list[Condition], dict[str, str]]:
    """Return the conditions for a run, and why some are left out, by their names.

    `given` are settings. Noise and pushes make up the condition `noise`, in place of
    those that the run was trained with; parameters and force fields the condition
    `load`; delays, actuators and limits apply to all conditions.

    Raises UsageError for a setting that is no condition.
    """
    # What a network observes is fixed by its training.
    known = [name for name in ConditionSettings.model_fields if name != "observe"]
    for name, value in given.items():
        if name not in known:
            raise UsageError(
                f"`{name}` {value!r}: not a condition of a benchmark; it has: "
                f"{', '.join(known)}"
            )
    noise = {name: given[name] for name in NOISE_SETTINGS if name in given}
    load = {name: given[name] for name in LOAD_SETTINGS if name in given}
    common = {k: v for k, v in given.items() if k not in {**noise, **load}}
    nominal = run.settings.changed(**{**common, **NOMINAL})

    conditions = [Condition("nominal", nominal, common)]
    noise = noise or _own(run.settings, NOISE_SETTINGS) or NOISE
    conditions.append(_change("noise", nominal, common, noise))
    load = load or _own(run.settings, ("vary", "curl_field"))
    if not load and LOAD_PARAMETER in run.plant.params:
        load = LOAD
    if load:
        conditions.append(_change("load", nominal, common, load))
        return conditions, {}
    reason = (
        f"{run.plant.name} has no parameter {LOAD_PARAMETER}; name another one with "
        "`vary` or `param`"
    )
    return conditions, {"load": reason}


def _own(settings: Settings, names: tuple[str, ...]) -> dict[str, Any]:
    """Return those of some settings that the run was trained with."""
    own = (name for name in names if not settings.is_default(name))
    return {name: getattr(settings, name) for name in own}


def _change(
    name: str, nominal: Settings, common: dict[str, Any], changes: dict[str, Any]
) -> Condition:
    """Return a condition that changes the nominal settings."""
    return Condition(name, nominal.changed(**changes), {**common, **changes})
