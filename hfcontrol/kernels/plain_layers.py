"""Step, tangent and adjoint of layers without a state of their own: tanh and linear.

The same formulas stand as plain NumPy in hfcontrol/network/network.py, which is their
definition and the reference of their test. The arguments are those of network_step.py,
which compiles `step`, `jvp`, `vjp`, `weight_cotangents` and `trial_row`.

A layer computes its activations (k, trial) from X (m, trial): the units that it reads,
gathered from its sources, and a row of ones for the bias. Its matrix W is (k, m).
"""

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.kernels.jit import helper
from hfcontrol.kernels.matrices import add, take_block
from hfcontrol.kernels.outputs import read_outputs, scale_by_slopes
from hfcontrol.kernels.tanh import tanh_in_place
from hfcontrol.network.tables import (
    ACTIVATION,
    END,
    END_SOURCE,
    FIRST,
    FIRST_SOURCE,
    SOURCE_END,
    SOURCE_FIRST,
    SOURCE_LAG,
    SOURCE_OUTPUT,
    TANH,
    WEIGHTS,
)


@helper
def matrix_of(theta: Array, first: int, n: int, m: int) -> Array:
    """Return the matrix (n, m) that begins at an index of theta, as a view."""
    return theta[first : first + n * m].reshape(n, m)


@helper
def count_columns(layer: Array, sources: Array) -> int:
    """Return the columns of a layer's matrix: the units it reads, and the bias."""
    # The bias.
    m = 1
    for k in range(layer[FIRST_SOURCE], layer[END_SOURCE]):
        m += sources[k, SOURCE_END] - sources[k, SOURCE_FIRST]
    return m


@helper
def gather_units(
    layer: Array, sources: Array, before: Array, now: Array, last: float, X: Array
) -> None:
    """Fill X (column, trial) with a layer's sources, and its last row with `last`."""
    # A copy: sources lie apart, and BLAS takes one matrix.
    column = 0
    for k in range(layer[FIRST_SOURCE], layer[END_SOURCE]):
        units = before if sources[k, SOURCE_LAG] else now
        for i in range(sources[k, SOURCE_FIRST], sources[k, SOURCE_END]):
            for n in range(X.shape[1]):
                X[column, n] = units[i, n]
            column += 1
    for n in range(X.shape[1]):
        X[column, n] = last


@helper
def gather(layer: Array, sources: Array, before: Array, now: Array, X: Array) -> None:
    """Fill X (column, trial) with what a layer reads, and its last row with ones."""
    gather_units(layer, sources, before, now, 1.0, X)
    column = 0
    for k in range(layer[FIRST_SOURCE], layer[END_SOURCE]):
        end = column + sources[k, SOURCE_END] - sources[k, SOURCE_FIRST]
        read_outputs(sources[k, SOURCE_OUTPUT], X[column:end])
        column = end


@helper
def gather_tangent(
    layer: Array,
    sources: Array,
    units: tuple[Array, Array],
    d_units: tuple[Array, Array],
    X: Array,
) -> None:
    """Fill X (column, trial) with the tangent of what a layer reads.

    `units` are the activations before and now, `d_units` their tangents. That of the
    row of ones is 0.
    """
    before, now = units
    d_before, d_now = d_units
    gather_units(layer, sources, d_before, d_now, 0.0, X)
    column = 0
    for k in range(layer[FIRST_SOURCE], layer[END_SOURCE]):
        read = before if sources[k, SOURCE_LAG] else now
        first = sources[k, SOURCE_FIRST]
        last = sources[k, SOURCE_END]
        end = column + last - first
        scale_by_slopes(sources[k, SOURCE_OUTPUT], read[first:last], X[column:end])
        column = end


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
        first = layer[FIRST]
        end = layer[END]
        m = count_columns(layer, sources)
        W = matrix_of(theta, layer[WEIGHTS], end - first, m)
        a = now[first:end]
        X = scratch[:m]
        gather(layer, sources, before, now, X)
        np.dot(W, X, a)
        if layer[ACTIVATION] == TANH:
            tanh_in_place(a.reshape(a.size))


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
    """Fill the units of the layers in the tangent `d_now`: h' (dW X + W dX)."""
    for number in range(layers.shape[0]):
        layer = layers[number]
        first = layer[FIRST]
        end = layer[END]
        k = end - first
        m = count_columns(layer, sources)
        W = matrix_of(theta, layer[WEIGHTS], k, m)
        dW = matrix_of(v, layer[WEIGHTS], k, m)
        h = now[first:end]
        da = d_now[first:end]
        X = scratch[:m]
        Wdx = product[:k]
        gather(layer, sources, before, now, X)
        np.dot(dW, X, da)
        gather_tangent(layer, sources, (before, now), (d_before, d_now), X)
        np.dot(W, X, Wdx)
        is_tanh = layer[ACTIVATION] == TANH
        for i in range(k):
            for n in range(h.shape[1]):
                slope = 1.0 - h[i, n] * h[i, n] if is_tanh else 1.0
                total = da[i, n] + Wdx[i, n]
                da[i, n] = slope * total


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
    """Turn the cotangent of activations into that of summed inputs, from the last."""
    # Backward: a layer's cotangent is complete when all layers that read it are done.
    for number in range(layers.shape[0] - 1, -1, -1):
        layer = layers[number]
        k = layer[END] - layer[FIRST]
        m = count_columns(layer, sources)
        W = matrix_of(theta, layer[WEIGHTS], k, m)
        h = now[layer[FIRST] : layer[END]]
        delta = now_bar[layer[FIRST] : layer[END]]
        if layer[ACTIVATION] == TANH:
            for i in range(k):
                for n in range(h.shape[1]):
                    slope = 1.0 - h[i, n] * h[i, n]
                    delta[i, n] *= slope
        # The last row, that of the bias, goes nowhere.
        back = scratch[:m]
        np.dot(W.T, delta, back)
        column = 0
        for s in range(layer[FIRST_SOURCE], layer[END_SOURCE]):
            first = sources[s, SOURCE_FIRST]
            end = sources[s, SOURCE_END]
            size = end - first
            lag = sources[s, SOURCE_LAG]
            read = before if lag else now
            bar = before_bar if lag else now_bar
            part = back[column : column + size]
            scale_by_slopes(sources[s, SOURCE_OUTPUT], read[first:end], part)
            add(bar[first:end], part)
            column += size


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
    """Add outer products of delta and of what the layers read, summed over trials."""
    for number in range(layers.shape[0]):
        layer = layers[number]
        first = layer[FIRST]
        end = layer[END]
        k = end - first
        m = count_columns(layer, sources)
        X = scratch[:m]
        outer = matrix_of(product, 0, k, m)
        gather(layer, sources, before, now, X)
        # The product has the network's dtype; the sum over steps is float64.
        np.dot(delta[first:end], X.T, outer)
        W_bar = matrix_of(theta_bar, layer[WEIGHTS], k, m)
        add(W_bar, outer)


@helper
def gather_over_time(
    layer: Array, sources: Array, activity: Array, steps: int
) -> Array:
    """Return what a layer reads (steps, column) in one trial's activity.

    activity is (steps + 1, unit), from the step before the first one.
    """
    m = count_columns(layer, sources)
    X = np.empty((steps, m), activity.dtype)
    column = 0
    for k in range(layer[FIRST_SOURCE], layer[END_SOURCE]):
        first = sources[k, SOURCE_FIRST]
        end = sources[k, SOURCE_END]
        lag = sources[k, SOURCE_LAG]
        for t in range(steps):
            row = X[t, column:]
            # Step t is entry t + 1; a lagged source is read one entry before.
            units = activity[t + 1 - lag, first:end]
            for i in range(units.size):
                row[i] = units[i]
        read_outputs(sources[k, SOURCE_OUTPUT], X[:, column : column + end - first])
        column += end - first
    for t in range(steps):
        X[t, column] = 1.0
    return X


@helper
def copy_columns(values: Array, first: int, end: int) -> Array:
    """Return some columns of a matrix as a matrix of their own."""
    # BLAS takes no slice of columns: Numba would copy it in every call, and warn.
    out = np.empty((values.shape[0], end - first), values.dtype)
    take_block(out, values, first)
    return out


def trial_row(
    theta: Array,
    layers: Array,
    sources: Array,
    activity: Array,
    delta: Array,
    fresh: bool,
    J: Array,
) -> None:
    """Add outer products over time of one trial's delta and of what the layers read."""
    for number in range(layers.shape[0]):
        layer = layers[number]
        X = gather_over_time(layer, sources, activity, delta.shape[0])
        k = layer[END] - layer[FIRST]
        m = X.shape[1]
        W = matrix_of(J, layer[WEIGHTS], k, m)
        own = copy_columns(delta, layer[FIRST], layer[END]).T
        # A fresh row gets the product itself: J need not be cleared before.
        outer = W if fresh else np.empty((k, m), J.dtype)
        np.dot(own, X, outer)
        if not fresh:
            add(W, outer)
