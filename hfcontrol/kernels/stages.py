"""Step, tangent and adjoint of networks with layers of time-continuous cells.

The equations are those of hfcontrol/network/stages.py, which is their definition and
the reference of their test; the arguments are those of network_step.py, which compiles
`step`, `jvp`, `vjp`, `weight_cotangents` and `trial_row`. Layers without stages, such
as the outputs, are those of plain_layers.py; stage_layout.py says where stages are.

Stage j has the state x_j and the activities f_j = phi(W X_j + b). A step fills the
states and activities of all stages, because tangent and adjoint need them again.
"""

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.kernels import plain_layers
from hfcontrol.kernels.cell_module import advance_at, pull_back_at, tangent_at
from hfcontrol.kernels.cells import activate, apply_slope, cell_values, put_slopes
from hfcontrol.kernels.jit import helper
from hfcontrol.kernels.matrices import add, clear, put
from hfcontrol.kernels.outputs import read_outputs, scale_by_slopes
from hfcontrol.kernels.plain_layers import (
    copy_columns,
    count_columns,
    gather,
    gather_over_time,
    gather_tangent,
    matrix_of,
)
from hfcontrol.kernels.stage_layout import (
    FUSED,
    activity_of,
    add_outer,
    count_states,
    count_sums,
    first_state_unit,
    merged_weights,
    next_state_fields,
    put_state,
    put_state_tangent,
    state_of,
    weights_of,
)
from hfcontrol.kernels.synapses import (
    synapse_cotangents,
    synapse_sums,
    synapse_sums_jvp,
    synapse_sums_vjp,
)
from hfcontrol.network.tables import (
    ADVANCE,
    CLOCK,
    END,
    END_SOURCE,
    FIRST,
    FIRST_SOURCE,
    N_PARAMETERS,
    OUTPUT,
    PARAMETERS,
    PULL_BACK,
    SCHEME,
    SOURCE_END,
    SOURCE_FIRST,
    SOURCE_LAG,
    SOURCE_OUTPUT,
    STAGES,
    STATE,
    STATE_END_COLUMN,
    STATE_FIRST_COLUMN,
    STATE_LAG,
    SYNAPSES,
    TANGENT,
    UNFOLD,
    WORK,
)

# By name, not by address: the types are known here, and calls can be inlined.
plain_step = helper(plain_layers.step)
plain_jvp = helper(plain_layers.jvp)
plain_vjp = helper(plain_layers.vjp)
plain_weight_cotangents = helper(plain_layers.weight_cotangents)
plain_trial_row = helper(plain_layers.trial_row)


@helper
def stage_lengths(layer: Array, now: Array) -> Array:
    """Return the length (trial,) of a solver step, in control steps."""
    h = np.full(now.shape[1], 1.0 / layer[UNFOLD])
    if layer[CLOCK] >= 0:
        h *= now[layer[CLOCK]]
    return h


@helper
def advance(
    j: int, layer: Array, p: Array, h: Array, before: Array, now: Array
) -> None:
    """Fill the state after stage j."""
    scheme = layer[SCHEME]
    y = state_of(j + 1, layer, before, now)
    move = advance_at(layer[ADVANCE], y)
    # A fused step sets y; a field is added to it.
    if scheme == FUSED:
        x = state_of(j, layer, before, now)
        f = activity_of(j, layer, now)
        move(x, f, p, h, 1.0, y)
        return
    base, parts = next_state_fields(j, scheme)
    put(y, state_of(base, layer, before, now))
    for q, part in enumerate(parts):
        if part > 0.0:
            x = state_of(base + q, layer, before, now)
            f = activity_of(base + q, layer, now)
            move(x, f, p, h, part, y)


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
        k = layer[END] - layer[FIRST]
        m = count_columns(layer, sources)
        X = scratch[:m]
        W = merged_weights(theta, layer, m)
        p, _ = cell_values(theta, layer, k)
        h = stage_lengths(layer, now)
        gather(layer, sources, before, now, X)
        # Between stages X changes only where the layer reads itself.
        for j in range(layer[STAGES]):
            f = activity_of(j, layer, now)
            put_state(layer, state_of(j, layer, before, now), X)
            if layer[SYNAPSES]:
                synapse_sums(W, k, X, f)
            else:
                np.dot(W, X, f)
                activate(layer, f)
            advance(j, layer, p, h, before, now)


@helper
def advance_tangent(
    j: int,
    layer: Array,
    parameters: tuple[Array, Array],
    h: Array,
    units: tuple[Array, Array],
    d_units: tuple[Array, Array],
) -> None:
    """Fill the tangent of the state after stage j.

    `parameters` are p and dp (n_p, k), h the lengths (trial,), `units` the activations
    before and now, and `d_units` their tangents.
    """
    scheme = layer[SCHEME]
    p, dp = parameters
    before, now = units
    d_before, d_now = d_units
    dy = state_of(j + 1, layer, d_before, d_now)
    move = tangent_at(layer[TANGENT], dy)
    is_fused = scheme == FUSED
    base, parts = next_state_fields(j, scheme)
    # The tangent of a fused step is all of dy; that of a field is added to dx.
    if is_fused:
        clear(dy)
    else:
        put(dy, state_of(base, layer, d_before, d_now))
    for q, part in enumerate(parts):
        if part > 0.0:
            x = state_of(base + q, layer, before, now)
            f = activity_of(base + q, layer, now)
            dx = state_of(base + q, layer, d_before, d_now)
            df = activity_of(base + q, layer, d_now)
            move(x, f, p, dx, df, dp, h, part, dy)


@helper
def parameter_tangents(v: Array, layer: Array, slope: Array) -> Array:
    """Return the tangents (n_p, k) of a cell's parameters in the direction v."""
    dp = np.zeros(slope.shape)
    k = slope.shape[1]
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
    units = (before, now)
    d_units = (d_before, d_now)
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
        k = layer[END] - layer[FIRST]
        m = count_columns(layer, sources)
        W = merged_weights(theta, layer, m)
        dW = merged_weights(v, layer, m)
        X = scratch[:m]
        dX = np.empty((m, now.shape[1]))
        p, slope = cell_values(theta, layer, k)
        parameters = (p, parameter_tangents(v, layer, slope))
        h = stage_lengths(layer, now)
        Wdx = product[: count_sums(layer)]
        gather(layer, sources, before, now, X)
        gather_tangent(layer, sources, units, d_units, dX)
        for j in range(layer[STAGES]):
            f = activity_of(j, layer, now)
            df = activity_of(j, layer, d_now)
            x = state_of(j, layer, before, now)
            put_state(layer, x, X)
            put_state_tangent(layer, x, state_of(j, layer, d_before, d_now), dX)
            if layer[SYNAPSES]:
                synapse_sums_jvp(W, dW, k, X, dX, df)
            else:
                np.dot(dW, X, df)
                np.dot(W, dX, Wdx)
                add(df, Wdx)
                apply_slope(layer, f, df)
            advance_tangent(j, layer, parameters, h, units, d_units)


@helper
def add_part(F_bar: Array, h: Array, part: float, bar: Array) -> None:
    """Add h part bar (states, trial) to the cotangent of a stage's field."""
    for i in range(bar.shape[0]):
        for n in range(bar.shape[1]):
            F_bar[i, n] += h[n] * part * bar[i, n]


@helper
def pull_back(
    j: int,
    layer: Array,
    parameters: tuple[Array, Array],
    h: Array,
    units: tuple[Array, Array],
    bar: Array,
    x_bar: Array,
    bars: tuple[Array, Array],
) -> None:
    """Add to the cotangents of stage j's state and of the parameters.

    bar (states, trial) is the cotangent of its field or of its semi-implicit step,
    `parameters` are p and its slope, h the lengths (trial,). `bars` are delta, which
    becomes the cotangent of the summed inputs, and that of the parameters
    (n_p k, trial).
    """
    p, slope = parameters
    delta, p_bar = bars
    before, now = units
    x = state_of(j, layer, before, now)
    f = activity_of(j, layer, now)
    pull = pull_back_at(layer[PULL_BACK], bar)
    put_slopes(layer, f, delta)
    pull(x, f, p, slope, bar, h, x_bar, delta, p_bar)


@helper
def spread(
    layer: Array,
    sources: Array,
    back: Array,
    states: tuple[Array, Array],
    units: tuple[Array, Array],
    bars: tuple[Array, Array],
) -> None:
    """Add what goes back through the matrix to the stage's state and other sources.

    `states` are the state of the stage and its cotangent, `units` the activations
    before and now, and `bars` their cotangents.
    """
    x, x_bar = states
    before, now = units
    before_bar, now_bar = bars
    column = 0
    own = layer[STATE_FIRST_COLUMN]
    reads_itself = layer[STATE_END_COLUMN] > own
    for s in range(layer[FIRST_SOURCE], layer[END_SOURCE]):
        first = sources[s, SOURCE_FIRST]
        end = sources[s, SOURCE_END]
        size = end - first
        part = back[column : column + size]
        lag = sources[s, SOURCE_LAG]
        kind = sources[s, SOURCE_OUTPUT]
        # What the layer reads of itself is the state of the stage, not of a step.
        if column == own and reads_itself:
            scale_by_slopes(kind, x, part)
            add(x_bar[:size], part)
        else:
            read = before if lag else now
            bar = before_bar if lag else now_bar
            scale_by_slopes(kind, read[first:end], part)
            add(bar[first:end], part)
        column += size


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
    units = (before, now)
    N = now.shape[1]
    for number in range(layers.shape[0] - 1, -1, -1):
        layer = layers[number]
        if layer[STAGES] == 0:
            one = layers[number : number + 1]
            plain_vjp(theta, one, sources, before, now, now_bar, before_bar, scratch)
            continue
        k = layer[END] - layer[FIRST]
        m = count_columns(layer, sources)
        S = layer[STAGES]
        scheme = layer[SCHEME]
        h = stage_lengths(layer, now)
        W = merged_weights(theta, layer, m)
        back = scratch[:m]
        X = np.empty((m, N))
        parameters = cell_values(theta, layer, k)
        gather(layer, sources, before, now, X)
        first = first_state_unit(S, layer)
        p_bar = now_bar[first : first + layer[N_PARAMETERS] * k]
        clear(p_bar)
        states = count_states(layer)
        # Cotangents of the states and fields of all stages: with rk4, later stages add
        # to those of earlier ones.
        x_bar = np.zeros((S + 1, states, N))
        F_bar = np.zeros((S, states, N))
        put(x_bar[S], now_bar[layer[FIRST] : layer[FIRST] + states])
        for j in range(S - 1, -1, -1):
            bar = x_bar[j + 1]
            if scheme != FUSED:
                base, parts = next_state_fields(j, scheme)
                add(x_bar[base], x_bar[j + 1])
                for q, part in enumerate(parts):
                    if part > 0.0:
                        add_part(F_bar[base + q], h, part, x_bar[j + 1])
                bar = F_bar[j]
            delta = activity_of(j, layer, now_bar)
            pull_back(j, layer, parameters, h, units, bar, x_bar[j], (delta, p_bar))
            if layer[SYNAPSES]:
                put_state(layer, state_of(j, layer, before, now), X)
                synapse_sums_vjp(W, k, X, delta, back)
            else:
                np.dot(W.T, delta, back)
            own = (state_of(j, layer, before, now), x_bar[j])
            spread(layer, sources, back, own, units, (before_bar, now_bar))
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
        k = layer[END] - layer[FIRST]
        m = count_columns(layer, sources)
        X = scratch[:m]
        outer = matrix_of(product, 0, count_sums(layer), m)
        gather(layer, sources, before, now, X)
        W_bar = weights_of(theta_bar, layer, m)
        for j in range(layer[STAGES]):
            own = activity_of(j, layer, delta)
            put_state(layer, state_of(j, layer, before, now), X)
            if layer[SYNAPSES]:
                W = weights_of(theta, layer, m)
                synapse_cotangents(W, k, X, own, W_bar)
            else:
                np.dot(own, X.T, outer)
                add_outer(layer, W_bar, outer)
        first = first_state_unit(layer[STAGES], layer)
        for i in range(layer[N_PARAMETERS] * k):
            place = layer[PARAMETERS] + i
            theta_bar[place] += np.sum(delta[first + i])


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
        k = layer[END] - layer[FIRST]
        sums = count_sums(layer)
        X = gather_over_time(layer, sources, activity, delta.shape[0])
        m = X.shape[1]
        W_bar = weights_of(J, layer, m)
        if fresh:
            clear(W_bar)
        for j in range(layer[STAGES]):
            if j > 0:
                # X (time, column) keeps the state that the layer reads at stage j.
                first = first_state_unit(j, layer)
                column = layer[STATE_FIRST_COLUMN]
                end = layer[STATE_END_COLUMN]
                for i in range(end - column):
                    for t in range(X.shape[0]):
                        X[t, column + i] = activity[t + 1, first + i]
                read_outputs(layer[OUTPUT], X[:, column:end])
            first = layer[WORK] + j * sums
            own = copy_columns(delta, first, first + sums).T
            if layer[SYNAPSES]:
                W = weights_of(theta, layer, m)
                # Synapses loop over times as over trials: their last axis.
                columns = np.ascontiguousarray(X.T)
                synapse_cotangents(W, k, columns, np.ascontiguousarray(own), W_bar)
            else:
                add_outer(layer, W_bar, np.dot(own, X))
        first = first_state_unit(layer[STAGES], layer)
        for i in range(layer[N_PARAMETERS] * k):
            total = np.sum(delta[:, first + i])
            place = layer[PARAMETERS] + i
            J[place] = total if fresh else total + J[place]
