"""What connections read of units: a function of each, such as a firing rate.

`kind` is the index of the function in KINDS of network/tables.py. Arrays have a row for
each unit and a column for each trial.
"""

import math

from hfcontrol.arrays.types import Array
from hfcontrol.kernels.cells import steepness
from hfcontrol.kernels.jit import helper
from hfcontrol.network.tables import LINEAR, LOGISTIC


@helper
def output_of(kind: int, x: float) -> float:
    """Return what connections read of a unit x; the kind is tanh or logistic."""
    return 0.5 * (1.0 + math.tanh(0.5 * x)) if kind == LOGISTIC else math.tanh(x)


@helper
def read_outputs(kind: int, values: Array) -> None:
    """Turn units into what connections read of them, in place."""
    if kind != LINEAR:
        for i in range(values.shape[0]):
            for n in range(values.shape[1]):
                values[i, n] = output_of(kind, values[i, n])


@helper
def scale_by_slopes(kind: int, units: Array, values: Array) -> None:
    """Multiply tangents or cotangents by the slopes of what is read of the units."""
    if kind != LINEAR:
        for i in range(values.shape[0]):
            for n in range(values.shape[1]):
                values[i, n] *= steepness(kind, output_of(kind, units[i, n]))
