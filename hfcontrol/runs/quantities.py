"""Read texts such as 40ms, 5% or load=0..1 as numbers.

Raises UsageError for texts that cannot be read.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from hfcontrol.errors import UsageError
from hfcontrol.plant.contract import Plant
from hfcontrol.plant.modifiers import check_param
from hfcontrol.texts import one_line


class ParameterRange(NamedTuple):
    """A parameter of a plant and the range from which each trial draws it."""

    name: str
    low: float
    high: float


def parse_delay(value: float | str, dt: float, name: str) -> int:
    """Return a delay in control steps of dt [s].

    `value` is a number of steps, or a text such as "3" or "40ms".
    """
    text = str(value)
    try:
        number = float(text.removesuffix("ms"))
    except ValueError:
        allowed = "steps such as 3, or milliseconds such as 40ms"
        raise _refusal(name, value, allowed) from None

    steps = number / (1000 * dt) if text.endswith("ms") else number

    # 40 ms / 10 ms is not exactly 4 in floating point.
    whole = 0 <= steps < np.inf and abs(steps - round(steps)) <= 1e-9
    if not whole:
        allowed = f"a whole number of control steps of {1000 * dt:g} ms, at least 0"
        raise _refusal(name, value, allowed)
    return round(steps)


def parse_time(value: float | str, name: str) -> float:
    """Return a time [s] of at least 0.

    `value` is a number of seconds, or a text such as "0.04", "2s" or "40ms".
    """
    text = str(value)
    try:
        # Before the s alone, which ends milliseconds too.
        if text.endswith("ms"):
            seconds = float(text[:-2]) / 1000
        else:
            seconds = float(text.removesuffix("s"))
    except ValueError:
        allowed = "seconds such as 0.04 or 2s, or milliseconds such as 40ms"
        raise _refusal(name, value, allowed) from None

    if not 0 <= seconds < np.inf:
        raise _refusal(name, value, "a finite time of at least 0")
    return seconds


def parse_time_range(value: str, name: str) -> tuple[float, float]:
    """Return two times (shortest, longest) [s] from a text such as 20ms..0.2."""
    low, dots, high = str(value).partition("..")
    if not dots:
        allowed = "two times separated by dots, such as 20ms..200ms"
        raise _refusal(name, value, allowed)
    return parse_time(low, name), parse_time(high, name)


def parse_motor_noise(value: float | str) -> tuple[float, float]:
    """Return motor noise as (in control units, as a fraction of the control)."""
    text = str(value)
    try:
        if text.endswith("%"):
            return 0.0, float(text[:-1]) / 100
        return float(text), 0.0
    except ValueError:
        allowed = "a number in control units, or a percentage such as 5%"
        raise _refusal("motor_noise", value, allowed) from None


def parse_params(texts: Iterable[str]) -> dict[str, float]:
    """Return the values of parameters from texts such as "friction=0.1"."""
    values = {}
    for text in texts:
        name, equals, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            # Fails the check of finite numbers, with the same message.
            value = np.nan
        if not equals or not np.isfinite(value):
            allowed = "a parameter and a finite number, such as friction=0.1"
            raise _refusal("param", text, allowed)
        values[name.strip()] = value
    return values


def parse_bounds(text: str, count: int) -> Any:
    """Return the bounds of `count` controls that a text such as "2", "0..5,-1.." gives.

    They are the value of a plant file's LIMIT. Raises ValueError, in words.
    """
    entries = tuple(_parse_bound(entry.strip()) for entry in text.split(","))
    return entries if len(entries) > 1 else count * entries


def _parse_bound(entry: str) -> Any:
    """Return a number, a pair of bounds or None."""
    if entry == "none":
        return None
    low, dots, high = entry.partition("..")
    try:
        if not dots:
            return float(entry)
        return tuple(float(side) if side else None for side in (low, high))
    except ValueError:
        raise ValueError(
            "must be a positive number, or a range such as 0..5, 0.. or ..5"
        ) from None


def parse_ranges(texts: Iterable[str], plant: Plant) -> tuple[ParameterRange, ...]:
    """Return the ranges of parameters that vary between trials.

    A text such as "load=0..1" gives both ends; "upper_mass=20%" is relative to the
    plant's own value.
    """
    return tuple(_parse_range(text, plant) for text in texts)


def _parse_range(text: str, plant: Plant) -> ParameterRange:
    """Return the range of one parameter."""
    name, _, span = text.partition("=")
    name = name.strip()
    check_param(plant, name, "vary")

    first, dots, second = span.partition("..")
    try:
        if first.endswith("%") and not dots:
            fraction = float(first[:-1]) / 100
            own = plant.params[name]

            # A negative value swaps the ends.
            low, high = sorted((own * (1 - fraction), own * (1 + fraction)))
        else:
            low, high = float(first), float(second)
    except ValueError:
        low = high = np.nan

    if not -np.inf < low <= high < np.inf:
        allowed = (
            "a parameter with its range, such as load=0..1, or with a percentage of "
            "its own value, such as upper_mass=20%"
        )
        raise _refusal("vary", text, allowed)
    return ParameterRange(name, low, high)


def curl_range(value: float | None, plant: Plant) -> tuple[ParameterRange, ...]:
    """Return the range -value to value [N s/m] of the curl field, if there is one."""
    if value is None:
        return ()
    if plant.hand is None or "curl" not in plant.params:
        raise UsageError(
            f"`curl_field` {value}: plant {plant.name} has no hand with a parameter "
            "curl [N s/m]; choose one of the arms"
        )
    if not 0 <= value < np.inf:
        allowed = "a finite strength [N s/m] of at least 0"
        raise _refusal("curl_field", value, allowed)
    return (ParameterRange("curl", -value, value),)


def _refusal(name: str, value: object, allowed: str) -> UsageError:
    """Return the error for a setting's value; a text may come from anyone's file."""
    return UsageError(f"`{name}` {one_line(value)}: must be {allowed}")
