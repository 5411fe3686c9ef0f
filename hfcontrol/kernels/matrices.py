"""Loops over matrices. Numba compiles them faster than assignments of slices.

Indices of columns from n0 on are unsigned. An int64 may be negative for all that the
compiler knows; it would compile every loop once for each sign, or not vectorise it.
"""

import numpy as np

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
def count_common(block: Array, matrix: Array, n0: int) -> np.uint64:
    """Return the number of columns of a block at n0 that lie within a matrix."""
    return np.uint64(max(0, min(block.shape[1], matrix.shape[1] - n0)))


@helper
def take_block(block: Array, matrix: Array, n0: int) -> None:
    """Copy the columns of a matrix from n0 on to a block of columns.

    Columns of the block beyond the last one of the matrix stay as they are.
    """
    first = np.uint64(n0)
    count = count_common(block, matrix, n0)
    for i in range(block.shape[0]):
        for n in range(count):
            block[i, n] = matrix[i, first + n]


@helper
def add_block(block: Array, factor: float, matrix: Array, n0: int) -> None:
    """Add `factor` times the columns of a matrix from n0 on to a block of columns."""
    first = np.uint64(n0)
    count = count_common(block, matrix, n0)
    for i in range(block.shape[0]):
        for n in range(count):
            block[i, n] += factor * matrix[i, first + n]


@helper
def put_block(matrix: Array, block: Array, n0: int) -> None:
    """Copy a block of columns to the columns of a matrix from n0 on.

    Columns of the block beyond the last one of the matrix are left out.
    """
    first = np.uint64(n0)
    count = count_common(block, matrix, n0)
    for i in range(block.shape[0]):
        for n in range(count):
            matrix[i, first + n] = block[i, n]


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
