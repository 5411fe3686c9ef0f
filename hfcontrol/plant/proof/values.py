"""What is known of a value before the code runs: the values of the interpreter.

An integer is known by its interval. Everything else that is a number is NUMBER: it may
be used in arithmetic, but not as an index.
"""

import ast
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

# Integers beyond this are not followed: compiled ones are 64 bits wide.
LARGEST = 2**31


class Interval(NamedTuple):
    """An integer from `low` to `high`, both included."""

    low: int
    high: int

    @property
    def is_constant(self) -> bool:
        """Whether the integer is known."""
        return self.low == self.high


class Number(NamedTuple):
    """A number of which nothing is known, or a variable that may be unset."""


class Items(NamedTuple):
    """A tuple of values."""

    values: tuple["Value", ...]


class Array(NamedTuple):
    """An array that compiled code gets by its address.

    name: of the argument of the plant's function that it comes from
    grows: whether it may be longer than `shape`, with the drives of actuators
    """

    name: str
    shape: tuple[int, ...]
    writable: bool = False
    grows: bool = False


Value: TypeAlias = Interval | Number | Items | Array
NUMBER = Number()


def make_interval(low: int, high: int) -> Value:
    """Return the integers from low to high, or NUMBER if they may be too large."""
    return Interval(low, high) if -LARGEST <= low <= high <= LARGEST else NUMBER


def value_of(constant: Any) -> Value:
    """Return a constant of a plant file, a number or nested tuples of numbers."""
    if isinstance(constant, tuple):
        return Items(tuple(map(value_of, constant)))
    # True and False are integers of Python, and select in NumPy.
    if isinstance(constant, int) and not isinstance(constant, bool):
        return make_interval(constant, constant)
    return NUMBER


def join(first: Value, second: Value) -> Value:
    """Return a value that covers both."""
    if first == second:
        return first
    if isinstance(first, Interval) and isinstance(second, Interval):
        return Interval(min(first.low, second.low), max(first.high, second.high))
    if not isinstance(first, Items) or not isinstance(second, Items):
        return NUMBER
    if len(first.values) != len(second.values):
        return NUMBER
    pairs = zip(first.values, second.values, strict=True)
    return Items(tuple(join(a, b) for a, b in pairs))


def join_all(values: Iterable[Value]) -> Value:
    """Return a value that covers all, NUMBER for none."""
    joined: Value | None = None
    for value in values:
        joined = value if joined is None else join(joined, value)
    return NUMBER if joined is None else joined


def _add(a: Interval, b: Interval) -> Value:
    return make_interval(a.low + b.low, a.high + b.high)


def _subtract(a: Interval, b: Interval) -> Value:
    return make_interval(a.low - b.high, a.high - b.low)


def _multiply(a: Interval, b: Interval) -> Value:
    corners = [i * j for i in a for j in b]
    return make_interval(min(corners), max(corners))


def _floor_divide(a: Interval, b: Interval) -> Value:
    if not b.is_constant or b.low <= 0:
        return NUMBER
    return make_interval(a.low // b.low, a.high // b.low)


def _remainder(a: Interval, b: Interval) -> Value:
    if not b.is_constant or b.low <= 0:
        return NUMBER
    # Within one multiple of the divisor the remainder rises with the integer.
    if a.low // b.low == a.high // b.low:
        return make_interval(a.low % b.low, a.high % b.low)
    return make_interval(0, b.low - 1)


_OPERATIONS: dict[type[ast.operator], Callable[[Interval, Interval], Value]] = {
    ast.Add: _add,
    ast.Sub: _subtract,
    ast.Mult: _multiply,
    ast.FloorDiv: _floor_divide,
    ast.Mod: _remainder,
}


def calculate(operation: ast.operator, a: Value, b: Value) -> Value:
    """Return a + b, a - b, a * b, a // b or a % b, NUMBER for other operators."""
    if not isinstance(a, Interval) or not isinstance(b, Interval):
        return NUMBER
    compute = _OPERATIONS.get(type(operation))
    return NUMBER if compute is None else compute(a, b)


def negate(a: Value) -> Value:
    """Return -a."""
    return Interval(-a.high, -a.low) if isinstance(a, Interval) else NUMBER


def smallest_or_largest(name: str, values: list[Value]) -> Value:
    """Return `min` or `max` of values."""
    choose: Callable[..., int] = min if name == "min" else max
    intervals = [value for value in values if isinstance(value, Interval)]
    # One argument would be a tuple.
    if len(intervals) < len(values) or len(values) < 2:
        return NUMBER
    low = choose(value.low for value in intervals)
    return Interval(low, choose(value.high for value in intervals))


def magnitude(a: Value) -> Value:
    """Return abs(a)."""
    if not isinstance(a, Interval):
        return NUMBER
    ends = sorted(map(abs, a))
    return Interval(0 if a.low <= 0 <= a.high else ends[0], ends[1])
