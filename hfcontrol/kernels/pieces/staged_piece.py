"""Source piece: the network's time step, tangent and adjoint with layers of time-continuous cells.

It follows network_piece, whose functions do the layers without stages, and cell_piece and synapse_piece. The equations are
those of cells/stages.py, which is their definition and the oracle of their test. A table's line is a layer; its columns are
told in `Network.tables`. It is compiled for networks that have such layers alone. Longer than other modules: Numba compiles
it as one file with the pieces before, and step, tangent and adjoint share what they are made of.
"""

import numpy as np
from numba import njit

FUSED, RK4 = 0, 2
STAGES, SCHEME, UNFOLD, WORK, PARAMETERS, N_PARAMETERS, OWN, OWN_LAG, OWN_FIRST, OWN_END = range(6, 16)

# What the pieces before define is kept under another name.
plain_step, plain_jvp, plain_vjp = network_step, network_jvp, network_vjp
plain_weight_cotangents, plain_trial_row = add_weight_cotangents, add_trial_row


@njit(cache=True, error_model="numpy", nogil=True)
def sums_of(layer):
    """How many rows of activities a stage has."""
    k = layer[1] - layer[0]
    return 2 * k if layer[2] == CONDUCTANCE else 3 * k if layer[2] == CFC else k


@njit(error_model="numpy", inline="always")
def first_state(j, layer):
    """The first of the work rows that hold the state at stage j > 0."""
    return layer[WORK] + layer[STAGES] * sums_of(layer) + (j - 1) * (layer[1] - layer[0])


@njit(cache=True, error_model="numpy", nogil=True)
def state_of(j, layer, before, now):
    """The rows of the state at stage j; those of stage S are the layer's own."""
    k = layer[1] - layer[0]
    if j == layer[STAGES]:
        return now[layer[0]:layer[1]]
    if j > 0:
        return now[first_state(j, layer):first_state(j, layer) + k]
    return (before if layer[OWN_LAG] else now)[layer[OWN]:layer[OWN] + k]


@njit(error_model="numpy", inline="always")
def activity_of(j, layer, now):
    """The rows of the activities at stage j."""
    first = layer[WORK] + j * sums_of(layer)
    return now[first:first + sums_of(layer)]


@njit(error_model="numpy", inline="always")
def second_of(f, k):
    """The rows of the last activities, or of the first ones again where there is one alone."""
    return f[f.shape[0] - k:]


@njit(error_model="numpy", inline="always")
def driving(j, layer, before, now):
    """The rows of state, activities and second activities at stage j, or all three activities of cfc."""
    k, f = layer[1] - layer[0], activity_of(j, layer, now)
    return (f[:k], f[k:], second_of(f, k)) if layer[2] == CFC else (state_of(j, layer, before, now), f, second_of(f, k))


@njit(error_model="numpy", inline="always")
def put_own(layer, x, X):
    """Puts a stage's state where the layer reads itself."""
    for i in range(layer[OWN_END] - layer[OWN_FIRST]):
        for n in range(X.shape[1]):
            X[layer[OWN_FIRST] + i, n] = x[i, n]


@njit(cache=True, error_model="numpy", nogil=True)
def weights_of_stages(q):
    """What the four fields of a step of rk4 weigh in the state after its stage q."""
    if q == 3:
        return 1.0 / 6.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 6.0
    return 0.5 * (q == 0), 0.5 * (q == 1), 1.0 * (q == 2), 0.0


@njit(cache=True, error_model="numpy", nogil=True)
def advance(j, layer, p, before, now):
    """The state after stage j."""
    code, scheme, h = layer[2], layer[SCHEME], 1.0 / layer[UNFOLD]
    y = state_of(j + 1, layer, before, now)
    if scheme != RK4:
        x, f, g = driving(j, layer, before, now)
        for i in range(y.shape[0]):
            for n in range(y.shape[1]):
                if scheme == FUSED:
                    y[i, n] = fused_of(code, x[i, n], f[i, n], g[i, n], p[0, i], p[1, i], p[2, i], h)
                else:
                    y[i, n] = x[i, n] + h * field_of(code, x[i, n], f[i, n], g[i, n], p[0, i], p[1, i], p[2, i])
        return
    first = j - j % 4
    put(y, state_of(first, layer, before, now))
    for q, c in enumerate(weights_of_stages(j % 4)):
        if c > 0.0:
            x, f = state_of(first + q, layer, before, now), activity_of(first + q, layer, now)
            g = second_of(f, y.shape[0])
            for i in range(y.shape[0]):
                for n in range(y.shape[1]):
                    y[i, n] += h * c * field_of(code, x[i, n], f[i, n], g[i, n], p[0, i], p[1, i], p[2, i])


@njit(cache=True, error_model="numpy", nogil=True)
def weights_of(theta, layer, m):
    """The matrix of a layer (k, m), or the four of cfc (4 k, m) or of its synapses (4 k, m - 1), one below the other."""
    k = layer[1] - layer[0]
    if layer[2] == CONDUCTANCE:
        return matrix_of(theta, layer[3], 4 * k, m - 1)
    return matrix_of(theta, layer[3], 4 * k if layer[2] == CFC else k, m)


@njit(cache=True, error_model="numpy", nogil=True)
def merged_weights(theta, layer, m):
    """`weights_of`, with the last two of cfc's added up (3 k, m)."""
    W, sums = weights_of(theta, layer, m), sums_of(layer)
    if layer[2] != CFC:
        return W
    merged = W[:sums].copy()
    add(merged[2 * (sums // 3):], W[sums:])
    return merged


@njit(cache=True, error_model="numpy", nogil=True)
def add_outer(layer, W, outer):
    """W += the cotangent of the merged weights."""
    sums = sums_of(layer)
    add(W[:sums], outer)
    if layer[2] == CFC:
        add(W[sums:], outer[2 * (sums // 3):])


@njit(cache=True, error_model="numpy", nogil=True)
def staged_step(theta, layer, sources, before, now, scratch):
    """Fills the rows of one layer of time-continuous cells."""
    k, m = layer[1] - layer[0], columns_of(sources, layer[4], layer[5])
    X, W, (p, _) = scratch[:m], merged_weights(theta, layer, m), cell_values(theta, layer, k)
    gather(sources, layer[4], layer[5], before, now, 1.0, X)
    for j in range(layer[STAGES]):
        f = activity_of(j, layer, now)
        put_own(layer, state_of(j, layer, before, now), X)
        if layer[2] == CONDUCTANCE:
            synapse_sums(W, k, X, f)
        else:
            np.dot(W, X, f)
            activate(layer[2], f)
        advance(j, layer, p, before, now)


@njit(error_model="numpy", inline="always")
def network_step(theta, layers, sources, before, now, scratch):
    """Fills the rows of the layers of `now`; its input rows are given."""
    for number in range(layers.shape[0]):
        if layers[number, STAGES]:
            staged_step(theta, layers[number], sources, before, now, scratch)
        else:
            plain_step(theta, layers[number:number + 1], sources, before, now, scratch)


@njit(cache=True, error_model="numpy", nogil=True)
def add_along(j, layer, p, dp, weight, fused, h, before, now, d_before, d_now, dy):
    """dy += weight times the tangent of the field, or of the fused step, at stage j."""
    x, f, g = driving(j, layer, before, now)
    dx, df, dg = driving(j, layer, d_before, d_now)
    for i in range(dy.shape[0]):
        a, b, c = p[0, i], p[1, i], p[2, i]
        for n in range(dy.shape[1]):
            if fused:
                by_x, by_f, by_g, by_a, by_b, by_c = fused_slopes_of(layer[2], x[i, n], f[i, n], g[i, n], a, b, c, h)
            else:
                by_x, by_f, by_g, by_a, by_b, by_c = field_slopes_of(layer[2], x[i, n], f[i, n], g[i, n], a, b, c)
            dy[i, n] += weight * (by_x * dx[i, n] + by_f * df[i, n] + by_g * dg[i, n]
                                  + by_a * dp[0, i] + by_b * dp[1, i] + by_c * dp[2, i])


@njit(error_model="numpy", inline="always")
def advance_along(j, layer, p, dp, before, now, d_before, d_now):
    """The tangent of `advance`."""
    scheme, h = layer[SCHEME], 1.0 / layer[UNFOLD]
    dy = state_of(j + 1, layer, d_before, d_now)
    if scheme == FUSED:
        dy[:] = 0.0
        add_along(j, layer, p, dp, 1.0, True, h, before, now, d_before, d_now, dy)
    elif scheme != RK4:
        put(dy, state_of(j, layer, d_before, d_now))
        add_along(j, layer, p, dp, h, False, h, before, now, d_before, d_now, dy)
    else:
        first = j - j % 4
        put(dy, state_of(first, layer, d_before, d_now))
        for q, c in enumerate(weights_of_stages(j % 4)):
            if c > 0.0:
                add_along(first + q, layer, p, dp, h * c, False, h, before, now, d_before, d_now, dy)


@njit(cache=True, error_model="numpy", nogil=True)
def staged_jvp(theta, v, layer, sources, before, now, d_before, d_now, scratch, product):
    """Fills the rows of one layer of time-continuous cells of the tangent `d_now`."""
    k, m = layer[1] - layer[0], columns_of(sources, layer[4], layer[5])
    W, dW, X, dX = merged_weights(theta, layer, m), merged_weights(v, layer, m), scratch[:m], np.empty((m, now.shape[1]))
    p, slope = cell_values(theta, layer, k)
    dp, Wdx = np.zeros((3, k)), product[:sums_of(layer)]
    for i in range(layer[N_PARAMETERS]):
        for n in range(k):
            dp[i, n] = slope[i, n] * v[layer[PARAMETERS] + i * k + n]
    gather(sources, layer[4], layer[5], before, now, 1.0, X)
    gather(sources, layer[4], layer[5], d_before, d_now, 0.0, dX)
    for j in range(layer[STAGES]):
        f, df = activity_of(j, layer, now), activity_of(j, layer, d_now)
        put_own(layer, state_of(j, layer, before, now), X)
        put_own(layer, state_of(j, layer, d_before, d_now), dX)
        if layer[2] == CONDUCTANCE:
            synapse_sums_jvp(W, dW, k, X, dX, df)
        else:
            np.dot(dW, X, df)
            np.dot(W, dX, Wdx)
            for i in range(f.shape[0]):
                logistic = layer[2] == LTC or i >= 2 * k
                for n in range(f.shape[1]):
                    df[i, n] = steepness(logistic, f[i, n]) * (df[i, n] + Wdx[i, n])
        advance_along(j, layer, p, dp, before, now, d_before, d_now)


@njit(error_model="numpy", inline="always")
def network_jvp(theta, v, layers, sources, before, now, d_before, d_now, scratch, product):
    """Fills the rows of the layers of the tangent `d_now`; its input rows are given."""
    for number in range(layers.shape[0]):
        if layers[number, STAGES]:
            staged_jvp(theta, v, layers[number], sources, before, now, d_before, d_now, scratch, product)
        else:
            plain_jvp(theta, v, layers[number:number + 1], sources, before, now, d_before, d_now, scratch, product)


@njit(cache=True, error_model="numpy", nogil=True)
def pull_back(j, layer, p, slope, before, now, bar, fused, h, x_bar, delta, p_bar):
    """Adds to the cotangents of stage j's state and of the parameters (n_p k, N); delta becomes that of its sums."""
    x, f, g = driving(j, layer, before, now)
    k, n_p = x_bar.shape[0], layer[N_PARAMETERS]
    for i in range(k):
        a, b, c = p[0, i], p[1, i], p[2, i]
        for n in range(x_bar.shape[1]):
            if fused:
                by_x, by_f, by_g, by_a, by_b, by_c = fused_slopes_of(layer[2], x[i, n], f[i, n], g[i, n], a, b, c, h)
            else:
                by_x, by_f, by_g, by_a, by_b, by_c = field_slopes_of(layer[2], x[i, n], f[i, n], g[i, n], a, b, c)
            if layer[2] == CFC:
                delta[i, n] = steepness(False, x[i, n]) * by_x * bar[i, n]
                delta[k + i, n] = steepness(False, f[i, n]) * by_f * bar[i, n]
                delta[2 * k + i, n] = steepness(True, g[i, n]) * by_g * bar[i, n]
                continue
            x_bar[i, n] += by_x * bar[i, n]
            if layer[2] == CONDUCTANCE:
                delta[i, n], delta[k + i, n] = by_f * bar[i, n], by_g * bar[i, n]
            else:
                delta[i, n] = steepness(layer[2] == LTC, f[i, n]) * by_f * bar[i, n]
            if n_p > 0:
                p_bar[i, n] += slope[0, i] * by_a * bar[i, n]
            if n_p > 1:
                p_bar[k + i, n] += slope[1, i] * by_b * bar[i, n]
            if n_p > 2:
                p_bar[2 * k + i, n] += slope[2, i] * by_c * bar[i, n]


@njit(error_model="numpy", inline="always")
def spread(layer, sources, back, x_bar, now_bar, before_bar):
    """Adds what goes back through the matrix (columns, N) to the stage's state and to the other sources."""
    column = 0
    for s in range(layer[4], layer[5]):
        s0, s1, lag = sources[s]
        part = back[column:column + s1 - s0]
        if column == layer[OWN_FIRST] and layer[OWN_END] > layer[OWN_FIRST]:
            add(x_bar, part)
        else:
            add(before_bar[s0:s1] if lag else now_bar[s0:s1], part)
        column += s1 - s0


@njit(cache=True, error_model="numpy", nogil=True)
def staged_vjp(theta, layer, sources, before, now, now_bar, before_bar, scratch):
    """Cotangents of one layer of time-continuous cells: those of its summed inputs and parameters go to its work rows."""
    k, m, S = layer[1] - layer[0], columns_of(sources, layer[4], layer[5]), layer[STAGES]
    scheme, h, N = layer[SCHEME], 1.0 / layer[UNFOLD], now.shape[1]
    W, back, (p, slope) = merged_weights(theta, layer, m), scratch[:m], cell_values(theta, layer, k)
    first_p, X = first_state(S, layer), np.empty((m, N))
    gather(sources, layer[4], layer[5], before, now, 1.0, X)
    p_bar = now_bar[first_p:first_p + layer[N_PARAMETERS] * k]
    clear(p_bar)
    x_bar, F_bar = np.zeros((S + 1, k, N)), np.zeros((S, k, N))
    put(x_bar[S], now_bar[layer[0]:layer[1]])
    for j in range(S - 1, -1, -1):
        if scheme == FUSED:
            bar = x_bar[j + 1]
        else:
            base = j - j % 4 if scheme == RK4 else j
            add(x_bar[base], x_bar[j + 1])
            parts = weights_of_stages(j % 4) if scheme == RK4 else (1.0, 0.0, 0.0, 0.0)
            for q, c in enumerate(parts):
                if c > 0.0:
                    add_times(F_bar[base + q], h * c, x_bar[j + 1])
            bar = F_bar[j]
        delta = activity_of(j, layer, now_bar)
        pull_back(j, layer, p, slope, before, now, bar, scheme == FUSED, h, x_bar[j], delta, p_bar)
        if layer[2] == CONDUCTANCE:
            put_own(layer, state_of(j, layer, before, now), X)
            synapse_sums_vjp(W, k, X, delta, back)
        else:
            np.dot(W.T, delta, back)
        spread(layer, sources, back, x_bar[j], now_bar, before_bar)
    add((before_bar if layer[OWN_LAG] else now_bar)[layer[OWN]:layer[OWN] + k], x_bar[0])


@njit(error_model="numpy", inline="always")
def network_vjp(theta, layers, sources, before, now, now_bar, before_bar, scratch):
    """Turns the cotangent of the rows, `now_bar`, into those of summed inputs and input; adds to `before_bar`."""
    for number in range(layers.shape[0] - 1, -1, -1):
        if layers[number, STAGES]:
            staged_vjp(theta, layers[number], sources, before, now, now_bar, before_bar, scratch)
        else:
            plain_vjp(theta, layers[number:number + 1], sources, before, now, now_bar, before_bar, scratch)


@njit(error_model="numpy", inline="always")
def add_weight_cotangents(theta_bar, theta, layers, sources, before, now, delta, scratch, product):
    """theta_bar += the cotangents of the weights from delta (row, trial), summed over the trials of the block."""
    for number in range(layers.shape[0]):
        layer = layers[number]
        if not layer[STAGES]:
            plain_weight_cotangents(theta_bar, theta, layers[number:number + 1], sources, before, now, delta, scratch, product)
            continue
        k, m, S = layer[1] - layer[0], columns_of(sources, layer[4], layer[5]), layer[STAGES]
        X, outer = scratch[:m], matrix_of(product, 0, sums_of(layer), m)
        gather(sources, layer[4], layer[5], before, now, 1.0, X)
        for j in range(S):
            put_own(layer, state_of(j, layer, before, now), X)
            if layer[2] == CONDUCTANCE:
                synapse_cotangents(weights_of(theta, layer, m), k, X, activity_of(j, layer, delta),
                                   weights_of(theta_bar, layer, m))
            else:
                np.dot(activity_of(j, layer, delta), X.T, outer)
                add_outer(layer, weights_of(theta_bar, layer, m), outer)
        first_p = first_state(S, layer)
        for i in range(layer[N_PARAMETERS] * k):
            theta_bar[layer[PARAMETERS] + i] += np.sum(delta[first_p + i])


@njit(cache=True, error_model="numpy", nogil=True)
def add_trial_row(theta, layers, sources, activity, delta, fresh, J):
    """One row J (P,) of the Jacobian, as in network_piece: over the stages too."""
    steps = delta.shape[0]
    for number in range(layers.shape[0]):
        layer = layers[number]
        if not layer[STAGES]:
            plain_trial_row(theta, layers[number:number + 1], sources, activity, delta, fresh, J)
            continue
        k, S, c0, c1 = layer[1] - layer[0], layer[STAGES], layer[OWN_FIRST], layer[OWN_END]
        m, X = gathered(layer, sources, activity, steps)
        W, sums = weights_of(J, layer, m), sums_of(layer)
        if fresh:
            W[:] = 0.0
        for j in range(S):
            if c1 > c0 and j > 0:
                first = first_state(j, layer)
                put(X[:, c0:c1], activity[1:, first:first + k])
            first = layer[WORK] + j * sums
            if layer[2] == CONDUCTANCE:
                synapse_cotangents(weights_of(theta, layer, m), k, np.ascontiguousarray(X.T),
                                   np.ascontiguousarray(delta[:, first:first + sums].T), W)
            else:
                add_outer(layer, W, np.dot(np.ascontiguousarray(delta[:, first:first + sums]).T, X))
        first_p = first_state(S, layer)
        for i in range(layer[N_PARAMETERS] * k):
            J[layer[PARAMETERS] + i] = np.sum(delta[:, first_p + i]) + (0.0 if fresh else J[layer[PARAMETERS] + i])
