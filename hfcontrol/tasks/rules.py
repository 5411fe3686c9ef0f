"""Rules for the entries of a task: which values are allowed, and in which words.

`entries.py` says which entry follows which rule.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
from pydantic import ValidationInfo

from hfcontrol.plant.contract import Plant
from hfcontrol.schema import join_words
from hfcontrol.tasks.weights import describe_bad_weight, is_finite, is_number

# Norms that a task's `success` may limit.
SUCCESS = ("hand", "rates", "state")


class Entries(NamedTuple):
    """A task's entries and its plant, from which sizes follow."""

    plant: Plant
    values: Mapping[str, Any]


# Names of the components that an entry has one number for.
Components: TypeAlias = Callable[[Entries], tuple[str, ...]]


def name_positions(task: Entries) -> tuple[str, ...]:
    """Return the names of the plant's positions."""
    return tuple(task.plant.state[i] for i in task.plant.positions)


def name_states(task: Entries) -> tuple[str, ...]:
    """Return the names of the body's states."""
    return task.plant.state[: task.plant.n_body]


def name_controls(task: Entries) -> tuple[str, ...]:
    """Return the names of the plant's controls."""
    return task.plant.control


def name_residuals(task: Entries) -> tuple[str, ...]:
    """Return the names of the task's own residuals."""
    names = task.values.get("residuals", ())
    return names if isinstance(names, tuple) else ()


def read_sequence(value: Any) -> tuple[Any, ...] | None:
    """Return the items of a tuple, list or array with an axis; None for others."""
    if isinstance(value, np.ndarray) and value.ndim:
        return tuple(value.tolist())
    return tuple(value) if isinstance(value, (tuple, list)) else None


class Rule:
    """Which values an entry may have."""

    def allowed(self, task: Entries) -> str:
        """Return in words which values are allowed: "a function"."""
        raise NotImplementedError

    def accepts(self, value: Any, task: Entries) -> bool:
        """Whether a value, which may be any object, is allowed."""
        raise NotImplementedError

    def find_fault(self, value: Any, task: Entries) -> str | None:
        """Return what is wrong with a value, or None."""
        if self.accepts(value, task):
            return None
        return f"must be {self.allowed(task)}"

    def __call__(self, value: Any, info: ValidationInfo) -> Any:
        """Return a value unchanged; ValueError if it is not allowed."""
        fault = self.find_fault(value, cast(Entries, info.context))
        if fault:
            raise ValueError(fault)
        return value


@dataclass(frozen=True)
class Kind(Rule):
    """Values of a kind that no size of the plant plays a part in."""

    words: str
    test: Callable[[Any], bool]

    def allowed(self, task: Entries) -> str:
        """Return the words of the rule."""
        return self.words

    def accepts(self, value: Any, task: Entries) -> bool:
        """Whether the value passes the test."""
        return self.test(value)


def is_count(value: Any) -> bool:
    """Whether a value is a whole number of at least 1."""
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    return is_whole and bool(value >= 1)


def _are_fractions(value: Any) -> bool:
    parts = read_sequence(value)
    if not parts or not all(is_finite(part) and 0 < part <= 1 for part in parts):
        return False
    return sorted(set(parts)) == list(parts)


def _are_times(value: Any) -> bool:
    times = read_sequence(value)
    return times is not None and all(is_finite(time) and time >= 0 for time in times)


def _is_point(value: Any) -> bool:
    coordinates = read_sequence(value)
    if coordinates is None or len(coordinates) != 2:
        return False
    return all(map(is_finite, coordinates))


def _are_names(value: Any) -> bool:
    is_tuple = isinstance(value, tuple) and bool(value)
    return is_tuple and all(isinstance(name, str) for name in value)


def _are_settings(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(name, str) for name in value)


COUNT = Kind("a whole number of at least 1", is_count)
FLAG = Kind("True or False", lambda value: isinstance(value, bool))
FUNCTION = Kind("a function", callable)
LENGTH = Kind(
    "a finite number above zero [m]", lambda value: is_finite(value) and value > 0
)
SIZE = Kind(
    "a finite number, zero or above", lambda value: is_finite(value) and value >= 0
)
FRACTIONS = Kind(
    "fractions of the horizon above 0 and at most 1, in rising order, such as "
    "(0.5, 1.0)",
    _are_fractions,
)
TIMES = Kind("times ahead, zero or above, such as (0.05, 0.1) [s]", _are_times)
POINT = Kind("two finite coordinates x, y [m]", _is_point)
NAMES = Kind("a tuple of names", _are_names)
SETTINGS = Kind(
    'a dictionary of settings of a training such as {"grow": 4}', _are_settings
)


@dataclass(frozen=True)
class Numbers(Rule):
    """One number for each component.

    `single` also allows one number for all. `lowest` bounds all of them. With `free`,
    NaN means that a component may have any value, but one of them must have a number.
    """

    noun: str
    names: Components
    single: bool = False
    lowest: float = -math.inf
    free: bool = False

    def allowed(self, task: Entries) -> str:
        """Return how many numbers are allowed, and which."""
        names = self.names(task)
        kind = "finite"
        if self.lowest == 0:
            kind = "finite, zero or above"
        if self.free:
            kind = "finite, or NaN for a state that is free"
        single = f"one number for all {self.noun}s, or " if self.single else ""
        return f"{single}one number for each {self.noun} ({', '.join(names)}), {kind}"

    def accepts(self, value: Any, task: Entries) -> bool:
        """Whether number and range of the entries fit."""
        if self.single and is_number(value):
            return self._has_range(value)
        numbers = read_sequence(value)
        if numbers is None or len(numbers) != len(self.names(task)):
            return False
        if self.free and all(is_number(number) for number in numbers):
            numbers = tuple(number for number in numbers if not math.isnan(number))
            return bool(numbers) and all(map(self._has_range, numbers))
        return all(map(self._has_range, numbers))

    def _has_range(self, number: Any) -> bool:
        return is_finite(number) and bool(number >= self.lowest)


@dataclass(frozen=True)
class Start(Rule):
    """A start at rest, one number for each position, or a whole state of the body."""

    positions = Numbers("position", name_positions)
    states = Numbers("state", name_states)

    def allowed(self, task: Entries) -> str:
        """Return how many numbers are allowed, and which."""
        positions = ", ".join(name_positions(task))
        return f"one number for each position ({positions}) or each state, finite"

    def accepts(self, value: Any, task: Entries) -> bool:
        """Whether the numbers are positions or a state."""
        rules = (self.positions, self.states)
        return any(rule.accepts(value, task) for rule in rules)


@dataclass(frozen=True)
class Ranges(Rule):
    """A lowest and a highest number for each position."""

    def allowed(self, task: Entries) -> str:
        """Return how many pairs are allowed."""
        names = ", ".join(name_positions(task))
        return (
            f"a pair (low, high) of finite numbers, low not above high, for each "
            f"position ({names})"
        )

    def accepts(self, value: Any, task: Entries) -> bool:
        """Whether there is a pair in rising order for each position."""
        pairs = read_sequence(value)
        if pairs is None or len(pairs) != len(name_positions(task)):
            return False
        return all(map(self._is_pair, pairs))

    def _is_pair(self, value: Any) -> bool:
        pair = read_sequence(value)
        if pair is None or len(pair) != 2 or not all(map(is_finite, pair)):
            return False
        return bool(pair[0] <= pair[1])


@dataclass(frozen=True)
class Postures(Rule):
    """A first and a last posture, each one number or one for each position."""

    posture = Numbers("position", name_positions, single=True)

    def allowed(self, task: Entries) -> str:
        """Return what the two postures may be."""
        return f"two postures (first, last), each {self.posture.allowed(task)}"

    def accepts(self, value: Any, task: Entries) -> bool:
        """Whether there are two postures."""
        postures = read_sequence(value)
        if postures is None or len(postures) != 2:
            return False
        return all(self.posture.accepts(posture, task) for posture in postures)


@dataclass(frozen=True)
class Weight(Rule):
    """A weight of the cost, one number or one by component (weights.py)."""

    name: str

    def find_fault(self, value: Any, task: Entries) -> str | None:
        """Return what is wrong with a weight, or None."""
        if is_number(value) or read_sequence(value) is not None:
            return describe_bad_weight(task.plant, self.name, value)
        # An array without axes, a dict or a text has no entries to name.
        return "must be a finite number, zero or above, or a sequence of them"


@dataclass(frozen=True)
class Choice(Rule):
    """One of some names."""

    names: tuple[str, ...]

    def allowed(self, task: Entries) -> str:
        """Return all names."""
        return join_words(self.names)

    def accepts(self, value: Any, task: Entries) -> bool:
        """Whether the value is one of the names."""
        return isinstance(value, str) and value in self.names


@dataclass(frozen=True)
class Success(Rule):
    """A function, or limits of norms of the final error."""

    def allowed(self, task: Entries) -> str:
        """Return which norms may have a limit."""
        norms = join_words(self._norms(task))
        needs = ""
        if task.plant.hand is None:
            needs = " (hand needs hand_x and hand_y among the OUTPUT names)"
        return (
            f"a function, or a dictionary of limits above zero of {norms}{needs}, "
            'such as {"state": 0.1}'
        )

    def accepts(self, value: Any, task: Entries) -> bool:
        """Whether the value is a function or a dictionary of limits."""
        if callable(value):
            return True
        if not isinstance(value, dict) or not value:
            return False
        if not all(name in self._norms(task) for name in value):
            return False
        return all(is_number(limit) and limit > 0 for limit in value.values())

    def _norms(self, task: Entries) -> tuple[str, ...]:
        return SUCCESS if task.plant.hand is not None else SUCCESS[1:]
