"""Weights of the cost: one number for all components, or one number for each.

| entry     | one number weighs | several numbers weigh       |
|-----------|-------------------|-----------------------------|
| `final`   | every state       | one state each              |
| `running` | every position    | one state each, rates too   |
| `effort`  | every control     | one control each            |

States are those of the plant's body, without actuators.
"""

import math
from numbers import Real
from typing import Any, TypeAlias

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.plant.contract import Plant

Weight: TypeAlias = float | tuple[float, ...]

WEIGHTS = ("final", "running", "effort")


def is_number(value: Any) -> bool:
    """Whether a value is a real number, NaN and infinity included, and no boolean."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_finite(value: Any) -> bool:
    """Whether a value is a finite number, also in floating point."""
    try:
        return is_number(value) and math.isfinite(value)
    except OverflowError:  # an integer that is no float
        return False


def weight_entries(value: Any) -> tuple[Any, ...]:
    """Return the entries of a weight; a single number has one."""
    is_sequence = isinstance(value, (list, tuple)) or np.ndim(value) == 1
    return tuple(value) if is_sequence else (value,)


def describe_bad_entry(value: Any) -> str | None:
    """Return what is wrong with the entries of a weight, or None."""
    entries = weight_entries(value)
    if not entries:
        return "must be a number or a sequence of numbers; this one is empty"
    for i, entry in enumerate(entries):
        if is_finite(entry) and entry >= 0:
            continue
        which = f"; number {i + 1} is {entry!r}" if len(entries) > 1 else ""
        return f"must be a finite number, zero or above{which}"
    return None


def describe_bad_weight(plant: Plant, name: str, value: Any) -> str | None:
    """Return what is wrong with the weight `name` of a plant's cost, or None."""
    fault = describe_bad_entry(value)
    # A sequence of one number is a weight by component, and needs one component.
    if fault or np.ndim(value) == 0:
        return fault

    names = _components(plant, name)
    count = len(weight_entries(value))
    if count == len(names):
        return None
    came = "1 weight" if count == 1 else f"{count} weights"
    scope = "all positions" if name == "running" else "all"
    return (
        f"has {came}; give one number for {scope}, or {len(names)} numbers: "
        f"{', '.join(names)}"
    )


def weights_by_component(plant: Plant, name: str, value: Any) -> Array:
    """Return the weight of each component: states (n,), or controls (nu,)."""
    weights = np.zeros(len(_components(plant, name)))
    if np.ndim(value) == 0 and name == "running":
        # Rates follow from the positions: one number leaves them free.
        weights[plant.positions] = value
    else:
        weights[:] = value
    return weights


def _components(plant: Plant, name: str) -> tuple[str, ...]:
    """Return the names of the components that a weight can tell apart."""
    return plant.control if name == "effort" else plant.state[: plant.n_body]
