"""Source piece: the network's time step, tangent and adjoint with layers of time-continuous cells; it follows network_piece.

Layers without stages go on as there. The equations are those of cells/stages.py and of the cells' own files, which are
their definition and the oracle of their test. A table's line is a layer; its columns are told in `Network.tables`. It is
compiled for networks that have such layers alone.
"""

import math

import numpy as np
from numba import njit

CTRNN, LTC, LTC_TANH, FUSED, RK4 = 2, 3, 4, 0, 2
STAGES, SCHEME, UNFOLD, WORK, PARAMETERS, N_PARAMETERS, OWN, OWN_LAG, OWN_FIRST, OWN_END = range(6, 16)

plain_step, plain_jvp, plain_vjp = network_step, network_jvp, layers_vjp
plain_weight_cotangents, plain_trial_row = add_weight_cotangents, add_trial_row


@njit(cache=True, error_model="numpy", nogil=True)
def field_of(code, x, f, a, A):
    """dx/dt of one unit with rate a and reversal A."""
    if code == CTRNN:
        return a * (f - x)
    if code == LTC:
        return -(a + f) * x + f * A
    if code == LTC_TANH:
        return -(a + abs(f)) * x + f * A
    return f


@njit(cache=True, error_model="numpy", nogil=True)
def fused_of(code, x, f, a, A, h):
    """The state of one unit after a semi-implicit step h."""
    if code == CTRNN:
        return (x + h * a * f) / (1.0 + h * a)
    if code == LTC:
        return (x + h * f * A) / (1.0 + h * (a + f))
    if code == LTC_TANH:
        return (x + h * f * A) / (1.0 + h * (a + abs(f)))
    return x + h * f


@njit(cache=True, error_model="numpy", nogil=True)
def slopes_of(code, fused, x, f, a, A, h):
    """Derivatives of the field or, if `fused`, of the semi-implicit step, by x, f, a and A."""
    if code == CTRNN:
        d = 1.0 + h * a if fused else 1.0
        return (1.0 / d, h * a / d, h * (f - x) / (d * d), 0.0) if fused else (-a, a, f - x, 0.0)
    if code == LTC or code == LTC_TANH:
        gate = f if code == LTC else abs(f)
        sign = 1.0 if code == LTC else np.sign(f)
        if fused:
            d = 1.0 + h * (a + gate)
            y = (x + h * f * A) / d
            return 1.0 / d, h * (A - sign * y) / d, -h * y / d, h * f / d
        return -(a + gate), A - sign * x, -x, f
    return (1.0, h, 0.0, 0.0) if fused else (0.0, 1.0, 0.0, 0.0)


@njit(cache=True, error_model="numpy", nogil=True)
def cell_values(theta, layer, k):
    """Values (2, k) of rate and reversal, and their derivatives by the trained numbers; the rate is a softplus."""
    p, slope = np.zeros((2, k)), np.ones((2, k))
    for i in range(k):
        if layer[N_PARAMETERS] > 0:
            raw = theta[layer[PARAMETERS] + i]
            p[0, i] = max(raw, 0.0) + math.log1p(math.exp(-abs(raw)))
            slope[0, i] = 0.5 * (1.0 + math.tanh(0.5 * raw))
        if layer[N_PARAMETERS] > 1:
            p[1, i] = theta[layer[PARAMETERS] + k + i]
    return p, slope


@njit(cache=True, error_model="numpy", nogil=True)
def state_of(j, layer, before, now):
    """The rows of the state at stage j; those of stage S are the layer's own."""
    k, S = layer[1] - layer[0], layer[STAGES]
    if j == S:
        return now[layer[0]:layer[1]]
    if j > 0:
        first = layer[WORK] + (S + j - 1) * k
        return now[first:first + k]
    return (before if layer[OWN_LAG] else now)[layer[OWN]:layer[OWN] + k]


@njit(cache=True, error_model="numpy", nogil=True)
def activity_of(j, layer, now):
    """The rows of the activity at stage j."""
    k = layer[1] - layer[0]
    first = layer[WORK] + j * k
    return now[first:first + k]


@njit(cache=True, error_model="numpy", nogil=True)
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
        x, f = state_of(j, layer, before, now), activity_of(j, layer, now)
        for i in range(y.shape[0]):
            for n in range(y.shape[1]):
                if scheme == FUSED:
                    y[i, n] = fused_of(code, x[i, n], f[i, n], p[0, i], p[1, i], h)
                else:
                    y[i, n] = x[i, n] + h * field_of(code, x[i, n], f[i, n], p[0, i], p[1, i])
        return
    first = j - j % 4
    y[:] = state_of(first, layer, before, now)
    for q, c in enumerate(weights_of_stages(j % 4)):
        if c > 0.0:
            x, f = state_of(first + q, layer, before, now), activity_of(first + q, layer, now)
            for i in range(y.shape[0]):
                for n in range(y.shape[1]):
                    y[i, n] += h * c * field_of(code, x[i, n], f[i, n], p[0, i], p[1, i])


@njit(cache=True, error_model="numpy", nogil=True)
def activate(code, f):
    """f = phi(f), in place: logistic for the ltc cell, tanh for the others."""
    flat = f.reshape(f.size)
    if code == LTC:
        for i in range(flat.size):
            flat[i] *= 0.5
    tanh_in_place(flat)
    if code == LTC:
        for i in range(flat.size):
            flat[i] = 0.5 * (1.0 + flat[i])


@njit(cache=True, error_model="numpy", nogil=True)
def steepness(code, f):
    """phi'(z) from f = phi(z)."""
    return f * (1.0 - f) if code == LTC else 1.0 - f * f


@njit(cache=True, error_model="numpy", nogil=True)
def staged_step(theta, layer, sources, before, now, scratch):
    """Fills the rows of one layer of time-continuous cells."""
    k, m = layer[1] - layer[0], columns_of(sources, layer[4], layer[5])
    X, W, (p, _) = scratch[:m], matrix_of(theta, layer[3], k, m), cell_values(theta, layer, k)
    gather(sources, layer[4], layer[5], before, now, 1.0, X)
    for j in range(layer[STAGES]):
        f = activity_of(j, layer, now)
        put_own(layer, state_of(j, layer, before, now), X)
        np.dot(W, X, f)
        activate(layer[2], f)
        advance(j, layer, p, before, now)


@njit(cache=True, error_model="numpy", nogil=True)
def network_step(theta, layers, sources, before, now, scratch):
    """Fills the rows of the layers of `now`; its input rows are given."""
    for number in range(layers.shape[0]):
        if layers[number, STAGES]:
            staged_step(theta, layers[number], sources, before, now, scratch)
        else:
            plain_step(theta, layers[number:number + 1], sources, before, now, scratch)


@njit(cache=True, error_model="numpy", nogil=True)
def add_along(j, layer, p, dp, c, fused, h, before, now, d_before, d_now, dy):
    """dy += c times the tangent of the field, or of the fused step, at stage j."""
    x, f = state_of(j, layer, before, now), activity_of(j, layer, now)
    dx, df = state_of(j, layer, d_before, d_now), activity_of(j, layer, d_now)
    for i in range(dy.shape[0]):
        for n in range(dy.shape[1]):
            by_x, by_f, by_a, by_A = slopes_of(layer[2], fused, x[i, n], f[i, n], p[0, i], p[1, i], h)
            dy[i, n] += c * (by_x * dx[i, n] + by_f * df[i, n] + by_a * dp[0, i] + by_A * dp[1, i])


@njit(cache=True, error_model="numpy", nogil=True)
def advance_along(j, layer, p, dp, before, now, d_before, d_now):
    """The tangent of `advance`."""
    scheme, h = layer[SCHEME], 1.0 / layer[UNFOLD]
    dy = state_of(j + 1, layer, d_before, d_now)
    if scheme == FUSED:
        dy[:] = 0.0
        add_along(j, layer, p, dp, 1.0, True, h, before, now, d_before, d_now, dy)
    elif scheme != RK4:
        dy[:] = state_of(j, layer, d_before, d_now)
        add_along(j, layer, p, dp, h, False, h, before, now, d_before, d_now, dy)
    else:
        first = j - j % 4
        dy[:] = state_of(first, layer, d_before, d_now)
        for q, c in enumerate(weights_of_stages(j % 4)):
            if c > 0.0:
                add_along(first + q, layer, p, dp, h * c, False, h, before, now, d_before, d_now, dy)


@njit(cache=True, error_model="numpy", nogil=True)
def staged_jvp(theta, v, layer, sources, before, now, d_before, d_now, scratch, product):
    """Fills the rows of one layer of time-continuous cells of the tangent `d_now`."""
    k, m = layer[1] - layer[0], columns_of(sources, layer[4], layer[5])
    W, dW, X, dX = matrix_of(theta, layer[3], k, m), matrix_of(v, layer[3], k, m), scratch[:m], np.empty((m, now.shape[1]))
    p, slope = cell_values(theta, layer, k)
    dp, Wdx = np.zeros((2, k)), product[:k]
    for i in range(layer[N_PARAMETERS]):
        dp[i] = slope[i] * v[layer[PARAMETERS] + i * k:layer[PARAMETERS] + (i + 1) * k]
    gather(sources, layer[4], layer[5], before, now, 1.0, X)
    gather(sources, layer[4], layer[5], d_before, d_now, 0.0, dX)
    for j in range(layer[STAGES]):
        f, df = activity_of(j, layer, now), activity_of(j, layer, d_now)
        put_own(layer, state_of(j, layer, before, now), X)
        put_own(layer, state_of(j, layer, d_before, d_now), dX)
        np.dot(dW, X, df)
        np.dot(W, dX, Wdx)
        for i in range(k):
            for n in range(f.shape[1]):
                df[i, n] = steepness(layer[2], f[i, n]) * (df[i, n] + Wdx[i, n])
        advance_along(j, layer, p, dp, before, now, d_before, d_now)


@njit(cache=True, error_model="numpy", nogil=True)
def network_jvp(theta, v, layers, sources, before, now, d_before, d_now, scratch, product):
    """Fills the rows of the layers of the tangent `d_now`; its input rows are given."""
    for number in range(layers.shape[0]):
        if layers[number, STAGES]:
            staged_jvp(theta, v, layers[number], sources, before, now, d_before, d_now, scratch, product)
        else:
            plain_jvp(theta, v, layers[number:number + 1], sources, before, now, d_before, d_now, scratch, product)


@njit(cache=True, error_model="numpy", nogil=True)
def pull_back(j, layer, p, slope, before, now, bar, fused, h, x_bar, delta, p_bar):
    """Adds to the cotangents of stage j's state and of the parameters; delta becomes that of its summed input."""
    x, f = state_of(j, layer, before, now), activity_of(j, layer, now)
    for i in range(delta.shape[0]):
        for n in range(delta.shape[1]):
            by_x, by_f, by_a, by_A = slopes_of(layer[2], fused, x[i, n], f[i, n], p[0, i], p[1, i], h)
            b = bar[i, n]
            x_bar[i, n] += by_x * b
            delta[i, n] = steepness(layer[2], f[i, n]) * by_f * b
            if p_bar.shape[0] > 0:
                p_bar[i, n] += slope[0, i] * by_a * b
            if p_bar.shape[0] > delta.shape[0]:
                p_bar[delta.shape[0] + i, n] += by_A * b


@njit(cache=True, error_model="numpy", nogil=True)
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
    W, back, (p, slope) = matrix_of(theta, layer[3], k, m), scratch[:m], cell_values(theta, layer, k)
    first_p = layer[WORK] + (2 * S - 1) * k
    p_bar = now_bar[first_p:first_p + layer[N_PARAMETERS] * k]
    p_bar[:] = 0.0
    x_bar, F_bar = np.zeros((S + 1, k, N)), np.zeros((S, k, N))
    x_bar[S] = now_bar[layer[0]:layer[1]]
    for j in range(S - 1, -1, -1):
        if scheme == FUSED:
            bar = x_bar[j + 1]
        else:
            base = j - j % 4 if scheme == RK4 else j
            add(x_bar[base], x_bar[j + 1])
            parts = weights_of_stages(j % 4) if scheme == RK4 else (1.0, 0.0, 0.0, 0.0)
            for q, c in enumerate(parts):
                if c > 0.0:
                    F_bar[base + q] += h * c * x_bar[j + 1]
            bar = F_bar[j]
        delta = activity_of(j, layer, now_bar)
        pull_back(j, layer, p, slope, before, now, bar, scheme == FUSED, h, x_bar[j], delta, p_bar)
        np.dot(W.T, delta, back)
        spread(layer, sources, back, x_bar[j], now_bar, before_bar)
    add((before_bar if layer[OWN_LAG] else now_bar)[layer[OWN]:layer[OWN] + k], x_bar[0])


@njit(cache=True, error_model="numpy", nogil=True)
def layers_vjp(theta, layers, sources, before, now, now_bar, before_bar, scratch):
    """Turns the cotangent of the rows, `now_bar`, into those of summed inputs and input; adds to `before_bar`."""
    for number in range(layers.shape[0] - 1, -1, -1):
        if layers[number, STAGES]:
            staged_vjp(theta, layers[number], sources, before, now, now_bar, before_bar, scratch)
        else:
            plain_vjp(theta, layers[number:number + 1], sources, before, now, now_bar, before_bar, scratch)


@njit(cache=True, error_model="numpy", nogil=True)
def network_vjp(theta, layers, sources, before, now, now_bar, before_bar, scratch):
    """`layers_vjp` from nothing in `before_bar`."""
    before_bar[:] = 0.0
    layers_vjp(theta, layers, sources, before, now, now_bar, before_bar, scratch)


@njit(cache=True, error_model="numpy", nogil=True)
def add_weight_cotangents(theta_bar, layers, sources, before, now, delta, scratch, product):
    """theta_bar += the outer products of delta (row, trial) and gathered rows, summed over the trials of the block."""
    for number in range(layers.shape[0]):
        layer = layers[number]
        if not layer[STAGES]:
            plain_weight_cotangents(theta_bar, layers[number:number + 1], sources, before, now, delta, scratch, product)
            continue
        k, m, S = layer[1] - layer[0], columns_of(sources, layer[4], layer[5]), layer[STAGES]
        X, outer = scratch[:m], matrix_of(product, 0, k, m)
        gather(sources, layer[4], layer[5], before, now, 1.0, X)
        for j in range(S):
            put_own(layer, state_of(j, layer, before, now), X)
            np.dot(activity_of(j, layer, delta), X.T, outer)
            add(matrix_of(theta_bar, layer[3], k, m), outer)
        first_p = layer[WORK] + (2 * S - 1) * k
        for i in range(layer[N_PARAMETERS] * k):
            theta_bar[layer[PARAMETERS] + i] += np.sum(delta[first_p + i])


@njit(cache=True, error_model="numpy", nogil=True)
def add_trial_row(layers, sources, activity, delta, fresh, J):
    """One row J (P,) of the Jacobian, as in network_piece: over the stages too."""
    steps = delta.shape[0]
    for number in range(layers.shape[0]):
        layer = layers[number]
        if not layer[STAGES]:
            plain_trial_row(layers[number:number + 1], sources, activity, delta, fresh, J)
            continue
        k, S, c0, c1 = layer[1] - layer[0], layer[STAGES], layer[OWN_FIRST], layer[OWN_END]
        m, X = gathered(layer, sources, activity, steps)
        W = matrix_of(J, layer[3], k, m)
        for j in range(S):
            if c1 > c0 and j > 0:
                first = layer[WORK] + (S + j - 1) * k
                X[:, c0:c1] = activity[1:, first:first + k]
            first = layer[WORK] + j * k
            outer = np.dot(np.ascontiguousarray(delta[:, first:first + k]).T, X)
            if fresh and j == 0:
                W[:] = outer
            else:
                add(W, outer)
        first_p = layer[WORK] + (2 * S - 1) * k
        for i in range(layer[N_PARAMETERS] * k):
            J[layer[PARAMETERS] + i] = np.sum(delta[:, first_p + i]) + (0.0 if fresh else J[layer[PARAMETERS] + i])
