"""Limits of the controls, and how a network's commands meet them.

A control has a lower bound, an upper bound, both or none. A command c becomes a control
u smoothly, so that training has a slope everywhere:

    both bounds    u = m + h tanh((c - m) / h)
    lower alone    u = low + s softplus((c - low) / s)
    upper alone    u = high - s softplus((high - c) / s)
    none           u = c

with the middle m of the range, half the range h, and softplus(z) = log(1 + e^z). Far
from its bounds a control is its command: the slope is 1 in the middle of a range, and
far inside a single bound. A single bound has no range that tells how fast to bend; the
softness s, a typical size of the control, does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from hfcontrol.arrays.types import Array

# Controls beyond this part of half their range count as saturated, and those within the
# rest of it, in units of the softness, of a single bound. Commands are the inverse of a
# smooth limit, which would be infinite at a bound.
SATURATED = 0.999


@dataclass(frozen=True, eq=False)
class ControlLimits:
    """Bounds low and high (nu,), infinite where there are none, and softness (nu,)."""

    low: Array
    high: Array
    softness: Array

    @classmethod
    def symmetric(cls, limit: npt.ArrayLike) -> "ControlLimits":
        """Return the limits +-limit (nu,), infinite for none."""
        size = np.array(limit, dtype=float)
        return cls(-size, size, np.ones_like(size))

    def move(self, move: Callable[[Array], Array]) -> "ControlLimits":
        """Return the limits with their arrays moved by a function."""
        return ControlLimits(move(self.low), move(self.high), move(self.softness))

    @property
    def bounds(self) -> Array:
        """The lower and upper bounds (2, nu)."""
        return np.stack([self.low, self.high])

    @property
    def table(self) -> Array:
        """The rows low, high and softness (3, nu), as kernels take them."""
        return np.stack([self.low, self.high, self.softness])

    @property
    def bends(self) -> Array:
        """The rows centre, width and side (3, nu); the width is infinite for none."""
        width = np.where(self.is_limited, self.width, np.inf)
        return np.stack([self.centre, width, self.side])

    @cached_property
    def is_limited(self) -> Array:
        """Which controls have a bound (nu,)."""
        return np.isfinite(self.low) | np.isfinite(self.high)

    @cached_property
    def has_range(self) -> Array:
        """Which controls have both bounds (nu,)."""
        return np.isfinite(self.low) & np.isfinite(self.high)

    @cached_property
    def side(self) -> Array:
        """1 for a lower bound alone, -1 for an upper one alone, else 0 (nu,)."""
        has_low, has_high = np.isfinite(self.low), np.isfinite(self.high)
        return np.where(has_low, 1.0, 0.0) - np.where(has_high, 1.0, 0.0)

    @cached_property
    def centre(self) -> Array:
        """The middle of each range, the only bound, or 0 (nu,)."""
        low = np.where(np.isfinite(self.low), self.low, 0.0)
        high = np.where(np.isfinite(self.high), self.high, 0.0)
        return np.where(self.has_range, 0.5 * (low + high), low + high)

    @cached_property
    def width(self) -> Array:
        """Half of each range, the softness of the only bound, or 1 (nu,)."""
        # 1 keeps infinity out of divisions.
        low = np.where(self.has_range, self.low, -1.0)
        high = np.where(self.has_range, self.high, 1.0)
        return np.where(self.side == 0.0, 0.5 * (high - low), self.softness)

    @cached_property
    def _has_side(self) -> bool:
        """Whether a control has one bound alone."""
        return bool((self.side != 0.0).any())

    def clip(self, v: Array) -> Array:
        """Return controls (..., nu, N) within the bounds."""
        return np.clip(v, self.low[:, None], self.high[:, None])

    def apply(self, command: Array) -> Array:
        """Return the controls of commands (..., nu, N)."""
        z = self._relative(command)
        bend = np.tanh(z)
        if self._has_side:
            side = self.side[:, None]
            # log(1 + e^z) without overflow
            softplus = np.logaddexp(0.0, side * z)
            bend = np.where(side == 0.0, bend, side * softplus)
        return np.where(self.is_limited[:, None], self._absolute(bend), command)

    def slope(self, command: Array) -> Array:
        """Return the derivative of `apply` (..., nu, N).

        It is 1 - ((u - m) / h)^2 with both bounds, and 1 - exp(-|u - bound| / s) with
        one: the derivative of softplus by its value.
        """
        relative = self._relative(self.apply(command))
        slope = 1.0 - relative**2
        if self._has_side:
            of_one = -np.expm1(-np.abs(relative))
            slope = np.where(self.side[:, None] == 0.0, slope, of_one)
        return np.where(self.is_limited[:, None], slope, 1.0)

    def commands_of(self, v: Array) -> Array:
        """Return the commands (..., nu, N) of controls v, the inverse of `apply`.

        A saturated control counts as being at `SATURATED`.
        """
        relative = self._relative(v)
        z = np.arctanh(np.clip(relative, -SATURATED, SATURATED))
        if self._has_side:
            side = self.side[:, None]
            distance = np.maximum(side * relative, 1.0 - SATURATED)
            # the inverse of softplus
            inverse = distance + np.log(-np.expm1(-distance))
            z = np.where(side == 0.0, z, side * inverse)
        return np.where(self.is_limited[:, None], self._absolute(z), v)

    def _relative(self, values: Array) -> Array:
        """Return values (..., nu, N) as distances from the centre, in widths."""
        return (values - self.centre[:, None]) / self.width[:, None]

    def _absolute(self, relative: Array) -> Array:
        """Return the inverse of `_relative` (..., nu, N)."""
        return self.centre[:, None] + self.width[:, None] * relative

    def is_saturated(self, v: Array) -> Array:
        """Which controls (..., nu, N) are at a bound, to within `SATURATED`."""
        relative = self._relative(v)
        by_range = self.has_range[:, None] & (np.abs(relative) >= SATURATED)
        distance = self.side[:, None] * relative
        has_side = self.side[:, None] != 0.0
        return by_range | (has_side & (distance <= 1.0 - SATURATED))

    def shrink(self, part: float) -> "ControlLimits":
        """Return limits in `part` of each range; a single bound moves likewise."""
        margin = (1.0 - part) * self.width
        low = np.where(
            self.has_range, self.centre - part * self.width, self.low + margin
        )
        high = np.where(
            self.has_range, self.centre + part * self.width, self.high - margin
        )
        return ControlLimits(low, high, self.softness)


def rest_within(bounds: Array | None, typical: Array) -> Array:
    """Return the control at rest (nu,) within bounds (2, nu), where none is given.

    It is zero, or where the bounds exclude it the middle of the range, or a typical
    size (nu,) away from the only bound.
    """
    zero = np.zeros_like(typical)
    if bounds is None:
        return zero
    low, high = bounds
    limits = ControlLimits(low, high, typical)
    inside = limits.centre + limits.side * typical
    is_allowed = (limits.low <= 0) & (limits.high >= 0)
    return np.where(is_allowed, zero, inside)


def read_bounds(value: Any, count: int) -> Array:
    """Return the bounds (2, count) that a value describes, infinite for none.

    A value is an entry for all controls, or a sequence with one for each. An entry is a
    number L above zero for +-L, a pair (lower, upper), or None. Raises ValueError for
    anything else; its text begins with a verb.
    """
    value = _without_array(value)
    entries = list(value) if isinstance(value, tuple | list) else [value] * count
    if len(entries) != count:
        hint = ""
        if count == 1 and len(entries) == 2:
            hint = f"; as a range, write ({value[0]}, {value[1]}) in another pair of "
            hint += "brackets and a comma"
        raise ValueError(
            f"holds {len(entries)} entries; give one for all, or one for each of "
            f"{count}{hint}"
        )
    return np.array([_read_pair(entry) for entry in entries], dtype=float).T


def _read_pair(entry: Any) -> tuple[float, float]:
    """Return the lower and upper bound of an entry."""
    entry = _without_array(entry)
    if entry is None:
        return -np.inf, np.inf
    if _is_number(entry) and entry > 0:
        return -float(entry), float(entry)
    is_pair = isinstance(entry, tuple | list) and len(entry) == 2
    if not is_pair or not all(side is None or _is_number(side) for side in entry):
        raise ValueError(
            "must hold numbers above zero, pairs (lower, upper) with None for no "
            "bound, or None"
        )
    low = -np.inf if entry[0] is None else float(entry[0])
    high = np.inf if entry[1] is None else float(entry[1])
    if not low < high or low == np.inf or high == -np.inf:
        raise ValueError(
            f"must hold pairs of a lower and a larger upper bound, not {entry}"
        )
    return low, high


def _without_array(value: Any) -> Any:
    """Return an array as lists or, without an axis, as a number; others as they are."""
    return value.tolist() if isinstance(value, np.ndarray) else value


def _is_number(value: Any) -> bool:
    """Whether a value is a number; NaN counts, and fails all comparisons."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
