"""Source piece of every sweep module: the network's time step, its tangent and its adjoint, compiled by Numba.

Arrays are (row, trial) for one time step of one block of trials; the tables are those of `Network.tables`. The same
formulas stand as plain NumPy in network.py, which is their definition and the oracle of their test.
"""

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

TANH = 1
MAGIC = 6755399441055744.0  # 1.5 * 2^52: adding it leaves the rounded integer in the low bits of the sum


@intrinsic
def as_float(typing_context, bits):
    """The float64 with these bits."""
    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], context.get_value_type(types.float64))
    return types.float64(types.int64), codegen


@intrinsic
def as_bits(typing_context, value):
    """The bits of a float64, as an int64."""
    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], context.get_value_type(types.int64))
    return types.int64(types.float64), codegen


@njit(cache=True, error_model="numpy", nogil=True, fastmath={"contract"})
def tanh_in_place(values):
    """tanh of every entry of a 1-D array, to about 3e-16 relative, in a form that the compiler vectorises.

    tanh z = e / (e + 2), e = expm1(2 |z|) = 2^k p + (2^k - 1), p = expm1(r), r = 2 |z| - k ln 2, |r| <= ln 2 / 2; the
    Taylor polynomial of degree 13 leaves 4e-18. Beyond |z| = 20 the result is 1 in float64. NaN stays NaN.
    """
    for i in range(values.size):
        z = 2.0 * abs(values[i])
        z = 40.0 if z > 40.0 else z
        shifted = z * 1.4426950408889634 + MAGIC
        k = shifted - MAGIC
        r = (z - k * 0.6931471803691238) - k * 1.9082149292705877e-10
        p = 1.0 / 6227020800.0
        p = p * r + 1.0 / 479001600.0
        p = p * r + 1.0 / 39916800.0
        p = p * r + 1.0 / 3628800.0
        p = p * r + 1.0 / 362880.0
        p = p * r + 1.0 / 40320.0
        p = p * r + 1.0 / 5040.0
        p = p * r + 1.0 / 720.0
        p = p * r + 1.0 / 120.0
        p = p * r + 1.0 / 24.0
        p = p * r + 1.0 / 6.0
        p = p * r + 0.5
        p = (p * r) * r + r
        power = as_float((as_bits(shifted) + 1023) << 52)
        e = power * p + (power - 1.0)
        t = e / (e + 2.0)
        values[i] = t if values[i] >= 0.0 else -t


@njit(error_model="numpy", inline="always")
def add(values, more):
    """values += more, for two matrices of one shape."""
    for i in range(values.shape[0]):
        for n in range(values.shape[1]):
            values[i, n] += more[i, n]


@njit(error_model="numpy", inline="always")
def put(values, others):
    """values = others, for two matrices of one shape: a slice that is assigned takes seconds to compile."""
    for i in range(values.shape[0]):
        for n in range(values.shape[1]):
            values[i, n] = others[i, n]


@njit(error_model="numpy", inline="always")
def clear(values):
    """values = 0, for a matrix."""
    for i in range(values.shape[0]):
        for n in range(values.shape[1]):
            values[i, n] = 0.0


@njit(error_model="numpy", inline="always")
def put_times(values, factor, others):
    """values = factor others, for two matrices of one shape."""
    for i in range(values.shape[0]):
        for n in range(values.shape[1]):
            values[i, n] = factor * others[i, n]


@njit(error_model="numpy", inline="always")
def add_times(values, factor, more):
    """values += factor more, for two matrices of one shape."""
    for i in range(values.shape[0]):
        for n in range(values.shape[1]):
            values[i, n] += factor * more[i, n]


@njit(error_model="numpy", inline="always")
def matrix_of(theta, place, n, m):
    """The matrix (n, m) that stands in theta from `place` on."""
    return theta[place:place + n * m].reshape(n, m)


@njit(error_model="numpy", inline="always")
def columns_of(sources, first, end):
    """Columns of a layer's matrix: its source rows, and one for the bias."""
    m = 1
    for k in range(first, end):
        m += sources[k, 1] - sources[k, 0]
    return m


@njit(error_model="numpy", inline="always")
def gather(sources, first, end, before, now, last, X):
    """Fills X (columns, trial) with the source rows of a layer, and its last row with the number `last`."""
    place = 0
    for k in range(first, end):
        s0, s1, lag = sources[k]
        rows = before if lag else now
        for i in range(s1 - s0):
            for n in range(X.shape[1]):
                X[place + i, n] = rows[s0 + i, n]
        place += s1 - s0
    for n in range(X.shape[1]):
        X[place, n] = last


@njit(error_model="numpy", inline="always")
def network_step(theta, layers, sources, before, now, scratch):
    """Fills the rows of the layers of `now`; its input rows are given."""
    for r0, r1, code, place, first, end in layers[:, :6]:
        m, a = columns_of(sources, first, end), now[r0:r1]
        X = scratch[:m]
        gather(sources, first, end, before, now, 1.0, X)
        np.dot(matrix_of(theta, place, r1 - r0, m), X, a)
        if code == TANH:
            tanh_in_place(a.reshape(a.size))


@njit(error_model="numpy", inline="always")
def network_jvp(theta, v, layers, sources, before, now, d_before, d_now, scratch, product):
    """Fills the rows of the layers of the tangent `d_now`; its input rows are given."""
    for r0, r1, code, place, first, end in layers[:, :6]:
        m, da, h = columns_of(sources, first, end), d_now[r0:r1], now[r0:r1]
        X, Wdx = scratch[:m], product[:r1 - r0]
        gather(sources, first, end, before, now, 1.0, X)
        np.dot(matrix_of(v, place, r1 - r0, m), X, da)
        gather(sources, first, end, d_before, d_now, 0.0, X)
        np.dot(matrix_of(theta, place, r1 - r0, m), X, Wdx)
        for i in range(r1 - r0):
            for n in range(h.shape[1]):
                slope = 1.0 - h[i, n] * h[i, n] if code == TANH else 1.0
                da[i, n] = slope * (da[i, n] + Wdx[i, n])


@njit(error_model="numpy", inline="always")
def network_vjp(theta, layers, sources, before, now, now_bar, before_bar, scratch):
    """Turns the cotangent of the rows, `now_bar`, into that of summed inputs and input; adds to `before_bar`."""
    for number in range(layers.shape[0] - 1, -1, -1):
        r0, r1, code, place, first, end = layers[number, :6]
        delta, h, m = now_bar[r0:r1], now[r0:r1], columns_of(sources, first, end)
        if code == TANH:
            for i in range(r1 - r0):
                for n in range(h.shape[1]):
                    delta[i, n] *= 1.0 - h[i, n] * h[i, n]
        back = scratch[:m]
        np.dot(matrix_of(theta, place, r1 - r0, m).T, delta, back)
        column = 0
        for k in range(first, end):
            s0, s1, lag = sources[k]
            add(before_bar[s0:s1] if lag else now_bar[s0:s1], back[column:column + s1 - s0])
            column += s1 - s0


@njit(error_model="numpy", inline="always")
def add_weight_cotangents(theta_bar, theta, layers, sources, before, now, delta, scratch, product):
    """theta_bar += the outer products of delta (row, trial) and gathered rows, summed over the trials of the block."""
    for r0, r1, code, place, first, end in layers[:, :6]:
        m = columns_of(sources, first, end)
        X, outer = scratch[:m], matrix_of(product, 0, r1 - r0, m)
        gather(sources, first, end, before, now, 1.0, X)
        np.dot(delta[r0:r1], X.T, outer)
        add(matrix_of(theta_bar, place, r1 - r0, m), outer)


@njit(error_model="numpy", inline="always")
def gathered(layer, sources, activity, steps):
    """The columns of a layer's matrix, and over time what it multiplies (steps, columns), of one trial's activity."""
    m, column = columns_of(sources, layer[4], layer[5]), 0
    X = np.ones((steps, m), activity.dtype)
    for k in range(layer[4], layer[5]):
        s0, s1, lag = sources[k]
        put(X[:, column:column + s1 - s0], activity[1 - lag:steps + 1 - lag, s0:s1])
        column += s1 - s0
    return m, X


@njit(error_model="numpy", inline="always")
def add_trial_row(theta, layers, sources, activity, delta, fresh, J):
    """One row J (P,) of the Jacobian: outer products over time of one trial's activity (steps + 1, row) and delta
    (steps, row), added to those of other segments unless J is fresh."""
    for number in range(layers.shape[0]):
        r0, r1, code, place, first, end = layers[number, :6]
        m, X = gathered(layers[number], sources, activity, delta.shape[0])
        W, outer = matrix_of(J, place, r1 - r0, m), np.ascontiguousarray(delta[:, r0:r1]).T
        if fresh:
            np.dot(outer, X, W)
        else:
            add(W, np.dot(outer, X))
