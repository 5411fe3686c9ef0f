"""Products of the plant's Jacobians with vectors, trial by trial."""

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.kernels.jit import helper


@helper
def add_product(J: Array, d: Array, out: Array, n0: int) -> None:
    """Compute out[i] += sum_j J[i, j] d[j] for the trials n0, n0 + 1, ... of J."""
    first = np.uint64(n0)
    width = np.uint64(d.shape[1])
    for i in range(J.shape[0]):
        for j in range(J.shape[1]):
            # Trials are the innermost loop everywhere: they are contiguous, and
            # independent, so that the compiler vectorises it.
            for n in range(width):
                out[i, n] += J[i, j, first + n] * d[j, n]


@helper
def add_transposed(J: Array, d: Array, out: Array, n0: int) -> None:
    """Compute out[j] += sum_i J[i, j] d[i] for the trials n0, n0 + 1, ... of J."""
    first = np.uint64(n0)
    width = np.uint64(out.shape[1])
    for i in range(J.shape[0]):
        for j in range(J.shape[1]):
            for n in range(width):
                out[j, n] += J[i, j, first + n] * d[i, n]


@helper
def add_packed(J: Array, table: Array, d: Array, out: Array, n0: int) -> None:
    """Compute `add_product` of a matrix whose rows have the columns of a table."""
    if table.shape[0] == 0:
        add_product(J, d, out, n0)
        return
    first = np.uint64(n0)
    width = np.uint64(d.shape[1])
    for i in range(J.shape[0]):
        for k in range(J.shape[1]):
            j = table[i, k]
            for n in range(width):
                out[i, n] += J[i, k, first + n] * d[j, n]


@helper
def add_packed_transposed(
    J: Array, table: Array, d: Array, out: Array, n0: int
) -> None:
    """Compute `add_transposed` of a matrix whose rows have the columns of a table."""
    if table.shape[0] == 0:
        add_transposed(J, d, out, n0)
        return
    first = np.uint64(n0)
    width = np.uint64(d.shape[1])
    for i in range(J.shape[0]):
        for k in range(J.shape[1]):
            j = table[i, k]
            for n in range(width):
                out[j, n] += J[i, k, first + n] * d[i, n]
