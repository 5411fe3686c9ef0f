"""Loops over matrices. Numba compiles them faster than assignments of slices."""

from hfcontrol.arrays.types import Array
from hfcontrol.kernels.jit import helper


@helper
def add(values: Array, more: Array) -> None:
    """Add one matrix to another of the same shape."""
    for i in range(values.shape[0]):
        for n in range(values.shape[1]):
            values[i, n] += more[i, n]


@helper
def add_columns(values: Array, more: Array, first: int, end: int) -> None:
    """Add the columns first to end of one matrix to those of another."""
    # Rows stay contiguous, so that the compiler vectorises the loop.
    for i in range(values.shape[0]):
        for c in range(first, end):
            values[i, c] += more[i, c]


@helper
def put(values: Array, others: Array) -> None:
    """Copy `others` to a matrix of the same shape."""
    for i in range(values.shape[0]):
        for n in range(values.shape[1]):
            values[i, n] = others[i, n]


@helper
def clear(values: Array) -> None:
    """Set all entries of a matrix to 0."""
    for i in range(values.shape[0]):
        for n in range(values.shape[1]):
            values[i, n] = 0.0


@helper
def put_times(values: Array, factor: float, others: Array) -> None:
    """Compute values = factor others, for two matrices of one shape."""
    for i in range(values.shape[0]):
        for n in range(values.shape[1]):
            values[i, n] = factor * others[i, n]


@helper
def add_times(values: Array, factor: float, more: Array) -> None:
    """Compute values += factor more, for two matrices of one shape."""
    for i in range(values.shape[0]):
        for n in range(values.shape[1]):
            values[i, n] += factor * more[i, n]
