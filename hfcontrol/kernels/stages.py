"""Step, tangent and adjoint of networks with layers of time-continuous cells.

The equations are those of hfcontrol/network/stages.py, which is their definition and
the reference of their test; the arguments are those of network_step.py, which compiles
`step`, `jvp`, `vjp`, `weight_cotangents` and `trial_row`. Layers without stages, such
as the outputs, are those of plain_layers.py.

Stages are kept in work units of the activations: those of the activities of stage 0, 1,
..., then those of the states x_1, x_2, ... of all but the last stage, which are the
layer's own units.
"""

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.kernels import plain_layers
from hfcontrol.kernels.cell_module import advance_at, pull_back_at, tangent_at
from hfcontrol.kernels.cells import activate, apply_slope, cell_values
from hfcontrol.kernels.jit import helper
from hfcontrol.kernels.matrices import add, add_times, clear, put
from hfcontrol.kernels.plain_layers import (
    copy_columns,
    count_columns,
    gather,
    gather_over_time,
    matrix_of,
)
from hfcontrol.kernels.synapses import (
    synapse_cotangents,
    synapse_sums,
    synapse_sums_jvp,
    synapse_sums_vjp,
)
from hfcontrol.network.tables import (
    ADVANCE,
    END,
    END_SOURCE,
    FIRST,
    FIRST_SOURCE,
    N_MATRICES,
    N_PARAMETERS,
    N_STATES,
    N_SUMS,
    N_TERMS,
    PARAMETERS,
    PULL_BACK,
    SCHEME,
    SOURCE_END,
    SOURCE_FIRST,
    SOURCE_LAG,
    STAGES,
    STATE,
    STATE_END_COLUMN,
    STATE_FIRST_COLUMN,
    STATE_LAG,
    SYNAPSES,
    TANGENT,
    TERMS,
    UNFOLD,
    WEIGHTS,
    WORK,
)

# Indices in SCHEMES of hfcontrol/network/stages.py; the third is euler.
FUSED = 0
RK4 = 2

plain_step = helper(plain_layers.step)
plain_jvp = helper(plain_layers.jvp)
plain_vjp = helper(plain_layers.vjp)
plain_weight_cotangents = helper(plain_layers.weight_cotangents)
plain_trial_row = helper(plain_layers.trial_row)


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
    """Put a stage's state x where the layer reads itself, in the rows of X."""
    first = layer[STATE_FIRST_COLUMN]
    for i in range(layer[STATE_END_COLUMN] - first):
        for n in range(X.shape[1]):
            X[first + i, n] = x[i, n]


@helper
def field_weights(q: int) -> tuple[float, float, float, float]:
    """Return the weights of the four fields of rk4 in the state after its stage q."""
    if q == 3:
        return 1.0 / 6.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 6.0
    return 0.5 * (q == 0), 0.5 * (q == 1), 1.0 * (q == 2), 0.0


@helper
def advance(j: int, layer: Array, p: Array, before: Array, now: Array) -> None:
    """Fill the state after stage j."""
    scheme, h = layer[SCHEME], 1.0 / layer[UNFOLD]
    y = state_of(j + 1, layer, before, now)
    move = advance_at(layer[ADVANCE], y)
    if scheme == FUSED:
        x = state_of(j, layer, before, now)
        move(x, activity_of(j, layer, now), p, h, 1.0, y)
        return
    # The first stage whose field the new state uses.
    base = j - j % 4 if scheme == RK4 else j
    parts = field_weights(j % 4) if scheme == RK4 else (1.0, 0.0, 0.0, 0.0)
    put(y, state_of(base, layer, before, now))
    for q, part in enumerate(parts):
        if part > 0.0:
            x = state_of(base + q, layer, before, now)
            move(x, activity_of(base + q, layer, now), p, h, h * part, y)


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
    """Return the matrices of the sums (sums k, m): parts of `weights_of` added up."""
    W, k = weights_of(theta, layer, m), layer[END] - layer[FIRST]
    if layer[SYNAPSES] or layer[N_MATRICES] == 1:
        return W
    merged = np.zeros((layer[N_SUMS] * k, m))
    for number in range(layer[N_TERMS]):
        term = TERMS + 4 * number
        row, total = layer[term] * k, layer[term + 1] * k
        first, end = layer[term + 2], layer[term + 3]
        add(merged[total : total + k, first:end], W[row : row + k, first:end])
    return merged


@helper
def add_outer(layer: Array, W_bar: Array, outer: Array) -> None:
    """Add the cotangent of the merged weights to that of the weights."""
    k = layer[END] - layer[FIRST]
    for number in range(layer[N_TERMS]):
        term = TERMS + 4 * number
        row, total = layer[term] * k, layer[term + 1] * k
        first, end = layer[term + 2], layer[term + 3]
        add(W_bar[row : row + k, first:end], outer[total : total + k, first:end])


def step(
    theta: Array,
    layers: Array,
    sources: Array,
    before: Array,
    now: Array,
    scratch: Array,
) -> None:
    """Fill the units of the layers in `now`."""
    for number in range(layers.shape[0]):
        layer = layers[number]
        if layer[STAGES] == 0:
            one = layers[number : number + 1]
            plain_step(theta, one, sources, before, now, scratch)
            continue
        k, m = layer[END] - layer[FIRST], count_columns(layer, sources)
        X, W = scratch[:m], merged_weights(theta, layer, m)
        p, _ = cell_values(theta, layer, k)
        gather(layer, sources, before, now, 1.0, X)
        for j in range(layer[STAGES]):
            f = activity_of(j, layer, now)
            put_state(layer, state_of(j, layer, before, now), X)
            if layer[SYNAPSES]:
                synapse_sums(W, k, X, f)
            else:
                np.dot(W, X, f)
                activate(layer, f)
            advance(j, layer, p, before, now)


@helper
def advance_tangent(
    j: int,
    layer: Array,
    parameters: tuple[Array, Array],
    units: tuple[Array, Array],
    d_units: tuple[Array, Array],
) -> None:
    """Fill the tangent of the state after stage j."""
    scheme, h = layer[SCHEME], 1.0 / layer[UNFOLD]
    dy = state_of(j + 1, layer, d_units[0], d_units[1])
    move = tangent_at(layer[TANGENT], dy)
    p, dp = parameters
    is_fused = scheme == FUSED
    base = j - j % 4 if scheme == RK4 else j
    parts = field_weights(j % 4) if scheme == RK4 else (1.0, 0.0, 0.0, 0.0)
    if is_fused:
        clear(dy)
    else:
        put(dy, state_of(base, layer, d_units[0], d_units[1]))
    for q, part in enumerate(parts):
        if part > 0.0:
            x = state_of(base + q, layer, units[0], units[1])
            f = activity_of(base + q, layer, units[1])
            dx = state_of(base + q, layer, d_units[0], d_units[1])
            df = activity_of(base + q, layer, d_units[1])
            weight = 1.0 if is_fused else h * part
            move(x, f, p, dx, df, dp, h, weight, dy)


@helper
def parameter_tangents(v: Array, layer: Array, slope: Array) -> Array:
    """Return the tangents (n_p, k) of a cell's parameters in the direction v."""
    dp, k = np.zeros(slope.shape), slope.shape[1]
    for number in range(layer[N_PARAMETERS]):
        for i in range(k):
            raw = v[layer[PARAMETERS] + number * k + i]
            dp[number, i] = slope[number, i] * raw
    return dp


def jvp(
    theta: Array,
    v: Array,
    layers: Array,
    sources: Array,
    before: Array,
    now: Array,
    d_before: Array,
    d_now: Array,
    scratch: Array,
    product: Array,
) -> None:
    """Fill the units of the layers in the tangent `d_now`."""
    units, d_units = (before, now), (d_before, d_now)
    for number in range(layers.shape[0]):
        layer = layers[number]
        if layer[STAGES] == 0:
            plain_jvp(
                theta,
                v,
                layers[number : number + 1],
                sources,
                before,
                now,
                d_before,
                d_now,
                scratch,
                product,
            )
            continue
        k, m = layer[END] - layer[FIRST], count_columns(layer, sources)
        W, dW = merged_weights(theta, layer, m), merged_weights(v, layer, m)
        X, dX = scratch[:m], np.empty((m, now.shape[1]))
        p, slope = cell_values(theta, layer, k)
        parameters = (p, parameter_tangents(v, layer, slope))
        Wdx = product[: count_sums(layer)]
        gather(layer, sources, before, now, 1.0, X)
        gather(layer, sources, d_before, d_now, 0.0, dX)
        for j in range(layer[STAGES]):
            f, df = activity_of(j, layer, now), activity_of(j, layer, d_now)
            put_state(layer, state_of(j, layer, before, now), X)
            put_state(layer, state_of(j, layer, d_before, d_now), dX)
            if layer[SYNAPSES]:
                synapse_sums_jvp(W, dW, k, X, dX, df)
            else:
                np.dot(dW, X, df)
                np.dot(W, dX, Wdx)
                add(df, Wdx)
                apply_slope(layer, f, df)
            advance_tangent(j, layer, parameters, units, d_units)


@helper
def pull_back(
    j: int,
    layer: Array,
    parameters: tuple[Array, Array],
    units: tuple[Array, Array],
    bar: Array,
    x_bar: Array,
    bars: tuple[Array, Array],
) -> None:
    """Add to the cotangents of stage j's state and of the parameters.

    bar (states, trial) is the cotangent of its field or of its semi-implicit step,
    `parameters` are p and its slope. `bars` are delta, which becomes the cotangent of
    the summed inputs, and that of the parameters (n_p k, trial).
    """
    (p, slope), (delta, p_bar) = parameters, bars
    x, f = state_of(j, layer, units[0], units[1]), activity_of(j, layer, units[1])
    pull = pull_back_at(layer[PULL_BACK], bar)
    pull(x, f, p, slope, bar, 1.0 / layer[UNFOLD], x_bar, delta, p_bar)
    apply_slope(layer, f, delta)


@helper
def spread(
    layer: Array,
    sources: Array,
    back: Array,
    x_bar: Array,
    now_bar: Array,
    before_bar: Array,
) -> None:
    """Add what goes back through the matrix to the stage's state and other sources."""
    column, own = 0, layer[STATE_FIRST_COLUMN]
    reads_itself = layer[STATE_END_COLUMN] > own
    for s in range(layer[FIRST_SOURCE], layer[END_SOURCE]):
        first, end = sources[s, SOURCE_FIRST], sources[s, SOURCE_END]
        part = back[column : column + end - first]
        units = before_bar if sources[s, SOURCE_LAG] else now_bar
        if column == own and reads_itself:
            add(x_bar[: end - first], part)
        else:
            add(units[first:end], part)
        column += end - first


def vjp(
    theta: Array,
    layers: Array,
    sources: Array,
    before: Array,
    now: Array,
    now_bar: Array,
    before_bar: Array,
    scratch: Array,
) -> None:
    """Turn the cotangent of activations into that of summed inputs, from the last.

    Those of the stages' summed inputs and of the parameters go to the work units.
    """
    units, N = (before, now), now.shape[1]
    for number in range(layers.shape[0] - 1, -1, -1):
        layer = layers[number]
        if layer[STAGES] == 0:
            one = layers[number : number + 1]
            plain_vjp(theta, one, sources, before, now, now_bar, before_bar, scratch)
            continue
        k, m = layer[END] - layer[FIRST], count_columns(layer, sources)
        S, scheme, h = layer[STAGES], layer[SCHEME], 1.0 / layer[UNFOLD]
        W, back, X = merged_weights(theta, layer, m), scratch[:m], np.empty((m, N))
        parameters = cell_values(theta, layer, k)
        gather(layer, sources, before, now, 1.0, X)
        first = first_state_unit(S, layer)
        p_bar = now_bar[first : first + layer[N_PARAMETERS] * k]
        clear(p_bar)
        states = count_states(layer)
        x_bar, F_bar = np.zeros((S + 1, states, N)), np.zeros((S, states, N))
        put(x_bar[S], now_bar[layer[FIRST] : layer[FIRST] + states])
        for j in range(S - 1, -1, -1):
            bar = x_bar[j + 1]
            if scheme != FUSED:
                base = j - j % 4 if scheme == RK4 else j
                parts = field_weights(j % 4) if scheme == RK4 else (1.0, 0.0, 0.0, 0.0)
                add(x_bar[base], x_bar[j + 1])
                for q, part in enumerate(parts):
                    if part > 0.0:
                        add_times(F_bar[base + q], h * part, x_bar[j + 1])
                bar = F_bar[j]
            delta = activity_of(j, layer, now_bar)
            pull_back(j, layer, parameters, units, bar, x_bar[j], (delta, p_bar))
            if layer[SYNAPSES]:
                put_state(layer, state_of(j, layer, before, now), X)
                synapse_sums_vjp(W, k, X, delta, back)
            else:
                np.dot(W.T, delta, back)
            spread(layer, sources, back, x_bar[j], now_bar, before_bar)
        start_bar = before_bar if layer[STATE_LAG] else now_bar
        add(start_bar[layer[STATE] : layer[STATE] + states], x_bar[0])


def weight_cotangents(
    theta_bar: Array,
    theta: Array,
    layers: Array,
    sources: Array,
    before: Array,
    now: Array,
    delta: Array,
    scratch: Array,
    product: Array,
) -> None:
    """Add the cotangents of the weights and parameters, summed over trials."""
    for number in range(layers.shape[0]):
        layer = layers[number]
        if layer[STAGES] == 0:
            plain_weight_cotangents(
                theta_bar,
                theta,
                layers[number : number + 1],
                sources,
                before,
                now,
                delta,
                scratch,
                product,
            )
            continue
        k, m = layer[END] - layer[FIRST], count_columns(layer, sources)
        X, outer = scratch[:m], matrix_of(product, 0, count_sums(layer), m)
        gather(layer, sources, before, now, 1.0, X)
        W_bar = weights_of(theta_bar, layer, m)
        for j in range(layer[STAGES]):
            own = activity_of(j, layer, delta)
            put_state(layer, state_of(j, layer, before, now), X)
            if layer[SYNAPSES]:
                synapse_cotangents(weights_of(theta, layer, m), k, X, own, W_bar)
            else:
                np.dot(own, X.T, outer)
                add_outer(layer, W_bar, outer)
        first = first_state_unit(layer[STAGES], layer)
        for i in range(layer[N_PARAMETERS] * k):
            theta_bar[layer[PARAMETERS] + i] += np.sum(delta[first + i])


def trial_row(
    theta: Array,
    layers: Array,
    sources: Array,
    activity: Array,
    delta: Array,
    fresh: bool,
    J: Array,
) -> None:
    """Add one trial's cotangents of weights and parameters, over time and stages."""
    for number in range(layers.shape[0]):
        layer = layers[number]
        if layer[STAGES] == 0:
            one = layers[number : number + 1]
            plain_trial_row(theta, one, sources, activity, delta, fresh, J)
            continue
        k, sums = layer[END] - layer[FIRST], count_sums(layer)
        X = gather_over_time(layer, sources, activity, delta.shape[0])
        m = X.shape[1]
        W_bar = weights_of(J, layer, m)
        if fresh:
            clear(W_bar)
        for j in range(layer[STAGES]):
            if j > 0:
                # X (time, column) keeps the state that the layer reads at stage j.
                first = first_state_unit(j, layer)
                for i in range(layer[STATE_END_COLUMN] - layer[STATE_FIRST_COLUMN]):
                    for t in range(X.shape[0]):
                        X[t, layer[STATE_FIRST_COLUMN] + i] = activity[t + 1, first + i]
            first = layer[WORK] + j * sums
            own = copy_columns(delta, first, first + sums).T
            if layer[SYNAPSES]:
                W = weights_of(theta, layer, m)
                columns = np.ascontiguousarray(X.T)
                synapse_cotangents(W, k, columns, np.ascontiguousarray(own), W_bar)
            else:
                add_outer(layer, W_bar, np.dot(own, X))
        first = first_state_unit(layer[STAGES], layer)
        for i in range(layer[N_PARAMETERS] * k):
            total = np.sum(delta[:, first + i])
            place = layer[PARAMETERS] + i
            J[place] = total if fresh else total + J[place]
