"""Where the stages and the matrices of a layer with a state are.

Stages are kept in work units of the activations: those of the activities of stage 0, 1,
..., then those of the states x_1, x_2, ... of all but the last stage, which are the
layer's own units. A layer is its row in the table of layers (network/tables.py).
"""

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.kernels.jit import helper
from hfcontrol.kernels.matrices import add_columns, clear, put
from hfcontrol.kernels.outputs import read_outputs, scale_by_slopes
from hfcontrol.kernels.plain_layers import matrix_of
from hfcontrol.network.tables import (
    END,
    FIRST,
    N_MATRICES,
    N_STATES,
    N_SUMS,
    N_TERMS,
    OUTPUT,
    STAGES,
    STATE,
    STATE_END_COLUMN,
    STATE_FIRST_COLUMN,
    STATE_LAG,
    SYNAPSES,
    TERMS,
    WEIGHTS,
    WORK,
)

# Indices in SCHEMES of hfcontrol/network/stages.py; the third is euler.
FUSED = 0
RK4 = 2

# Columns of a term in the table of layers: matrix, sum, first column and end column.
TERM_COLUMNS = 4


@helper
def next_state_fields(
    j: int, scheme: int
) -> tuple[int, tuple[float, float, float, float]]:
    """Return the stage that the state after stage j starts from, and its fields.

    The state is that of the stage plus h times the weighted fields of the stage and of
    the three after it, as in the tableau of the scheme.
    """
    if scheme != RK4:
        return j, (1.0, 0.0, 0.0, 0.0)
    q = j % 4
    if q == 3:
        return j - q, (1.0 / 6.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 6.0)
    return j - q, (0.5 * (q == 0), 0.5 * (q == 1), 1.0 * (q == 2), 0.0)


@helper
def count_sums(layer: Array) -> int:
    """Return how many activities a stage has."""
    return (layer[END] - layer[FIRST]) * layer[N_SUMS]


@helper
def count_states(layer: Array) -> int:
    """Return how many states a stage has; the first of them are the layer's outputs."""
    return (layer[END] - layer[FIRST]) * layer[N_STATES]


@helper
def first_state_unit(j: int, layer: Array) -> int:
    """Return the first work unit that holds the state at stage j > 0."""
    first = layer[WORK] + layer[STAGES] * count_sums(layer)
    return first + (j - 1) * count_states(layer)


@helper
def state_of(j: int, layer: Array, before: Array, now: Array) -> Array:
    """Return the units of the states at stage j."""
    size = count_states(layer)
    if j == layer[STAGES]:
        return now[layer[FIRST] : layer[FIRST] + size]
    if j > 0:
        first = first_state_unit(j, layer)
        return now[first : first + size]
    units = before if layer[STATE_LAG] else now
    return units[layer[STATE] : layer[STATE] + size]


@helper
def activity_of(j: int, layer: Array, now: Array) -> Array:
    """Return the units of the activities at stage j."""
    sums = count_sums(layer)
    first = layer[WORK] + j * sums
    return now[first : first + sums]


@helper
def put_state(layer: Array, x: Array, X: Array) -> None:
    """Put what the layer reads of a stage's own state x into the rows of X."""
    # There are no rows if the layer does not read itself.
    rows = X[layer[STATE_FIRST_COLUMN] : layer[STATE_END_COLUMN]]
    put(rows, x)
    read_outputs(layer[OUTPUT], rows)


@helper
def put_state_tangent(layer: Array, x: Array, dx: Array, dX: Array) -> None:
    """Put the tangent of what the layer reads of a stage's own state x into dX."""
    rows = dX[layer[STATE_FIRST_COLUMN] : layer[STATE_END_COLUMN]]
    put(rows, dx)
    scale_by_slopes(layer[OUTPUT], x, rows)


@helper
def weights_of(theta: Array, layer: Array, m: int) -> Array:
    """Return the matrix of a layer (k, m) as a view.

    Several matrices (matrices k, m), or those of synapses (4 k, m - 1), stand one below
    the other.
    """
    k = layer[END] - layer[FIRST]
    if layer[SYNAPSES]:
        return matrix_of(theta, layer[WEIGHTS], 4 * k, m - 1)
    return matrix_of(theta, layer[WEIGHTS], layer[N_MATRICES] * k, m)


@helper
def merged_weights(theta: Array, layer: Array, m: int) -> Array:
    """Return the matrices of the sums (sums k, m): parts of `weights_of` added up.

    The terms of a layer are in the order of their sums.
    """
    W = weights_of(theta, layer, m)
    k = layer[END] - layer[FIRST]
    # A view is enough where every sum has its own matrix.
    if layer[SYNAPSES] or layer[N_MATRICES] == 1:
        return W
    merged = np.empty((layer[N_SUMS] * k, m))
    previous = -1
    for number in range(layer[N_TERMS]):
        term = TERMS + TERM_COLUMNS * number
        row = layer[term] * k
        total = layer[term + 1] * k
        first = layer[term + 2]
        end = layer[term + 3]
        part = merged[total : total + k]
        is_first = total > previous
        previous = total
        # A copy takes half of the time of zeros and a sum.
        if is_first and end - first == m:
            put(part, W[row : row + k])
            continue
        if is_first:
            clear(part)
        add_columns(part, W[row : row + k], first, end)
    return merged


@helper
def add_outer(layer: Array, W_bar: Array, outer: Array) -> None:
    """Add the cotangent of the merged weights to that of the weights."""
    k = layer[END] - layer[FIRST]
    for number in range(layer[N_TERMS]):
        term = TERMS + TERM_COLUMNS * number
        row = layer[term] * k
        total = layer[term + 1] * k
        first = layer[term + 2]
        end = layer[term + 3]
        # The transpose of `merged_weights`: each matrix gets the cotangent of its sum.
        add_columns(W_bar[row : row + k], outer[total : total + k], first, end)
