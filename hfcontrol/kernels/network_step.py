"""The network's time step, its tangent and its adjoint.

The same formulas stand as plain NumPy in hfcontrol/network/network.py, which is their
definition and the reference of their test. `before` and `now` are the activations
(unit, trial) of a block of trials at one time step and the next; tangents start with
`d_` and cotangents end with `_bar`.

Layers of time-continuous cells are computed by the functions of stages.py, which a
network of other cells never compiles: they are called by their addresses.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import types

from hfcontrol.arrays.types import Array
from hfcontrol.kernels.jit import function_at, helper
from hfcontrol.kernels.matrices import add, put
from hfcontrol.kernels.tanh import tanh_in_place
from hfcontrol.network.tables import (
    CODE,
    END,
    END_SOURCE,
    FIRST,
    FIRST_SOURCE,
    SOURCE_END,
    SOURCE_FIRST,
    SOURCE_LAG,
    STAGES,
    WEIGHTS,
)

# `CODE` of the cell tanh; the cell linear has another one.
TANH = 1


class StageAddresses(NamedTuple):
    """Addresses of the functions in stages.py; 0 for a network that needs none."""

    step: Any
    jvp: Any
    vjp: Any
    weight_cotangents: Any
    trial_row: Any


NO_STAGES = StageAddresses(0, 0, 0, 0, 0)


class NetworkTables(NamedTuple):
    """A network's architecture as compiled code takes it.

    layers (layer, column) and sources (source, column) are those of `Network.tables`.
    The hidden units are hidden_first to hidden_end; their learned start begins at the
    index `start` of theta, or has none if that is -1.
    """

    layers: Array
    sources: Array
    hidden_first: int
    hidden_end: int
    start: int
    stages: StageAddresses


def step_signature(real: Any) -> Any:
    """Return the signature of `stages.staged_step` for a dtype."""
    vector, matrix, integers = real[::1], real[:, ::1], types.int64[:, ::1]
    layer = types.int64[::1]
    return types.void(vector, layer, integers, matrix, matrix, matrix)


def jvp_signature(real: Any) -> Any:
    """Return the signature of `stages.staged_jvp`."""
    vector, matrix, integers = real[::1], real[:, ::1], types.int64[:, ::1]
    layer = types.int64[::1]
    return types.void(vector, vector, layer, integers, *[matrix] * 6)


def vjp_signature(real: Any) -> Any:
    """Return the signature of `stages.staged_vjp`."""
    vector, matrix, integers = real[::1], real[:, ::1], types.int64[:, ::1]
    layer = types.int64[::1]
    return types.void(vector, layer, integers, *[matrix] * 5)


def weight_cotangents_signature(real: Any) -> Any:
    """Return the signature of `stages.staged_weight_cotangents`."""
    vector, matrix, integers = real[::1], real[:, ::1], types.int64[:, ::1]
    layer, sums = types.int64[::1], types.float64[::1]
    return types.void(sums, vector, layer, integers, *[matrix] * 4, vector)


def trial_row_signature(real: Any) -> Any:
    """Return the signature of `stages.staged_trial_row`."""
    vector, matrix, integers = real[::1], real[:, ::1], types.int64[:, ::1]
    layer = types.int64[::1]
    return types.void(vector, layer, integers, matrix, matrix, types.boolean, vector)


step_at = function_at(step_signature)
jvp_at = function_at(jvp_signature)
vjp_at = function_at(vjp_signature)
weight_cotangents_at = function_at(weight_cotangents_signature)
trial_row_at = function_at(trial_row_signature)


@helper
def matrix_of(theta: Array, first: int, n: int, m: int) -> Array:
    """Return the matrix (n, m) that begins at an index of theta, as a view."""
    return theta[first : first + n * m].reshape(n, m)


@helper
def count_columns(layer: Array, sources: Array) -> int:
    """Return the columns of a layer's matrix: the units it reads, and the bias."""
    m = 1
    for k in range(layer[FIRST_SOURCE], layer[END_SOURCE]):
        m += sources[k, SOURCE_END] - sources[k, SOURCE_FIRST]
    return m


@helper
def gather(
    layer: Array, sources: Array, before: Array, now: Array, last: float, X: Array
) -> None:
    """Fill X (column, trial) with what a layer reads, and its last row with `last`."""
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
def network_step(
    theta: Array, network: NetworkTables, before: Array, now: Array, scratch: Array
) -> None:
    """Fill the units of the layers in `now`; its inputs are given.

    scratch is (unit + 1, trial).
    """
    layers, sources = network.layers, network.sources
    for number in range(layers.shape[0]):
        layer = layers[number]
        if layer[STAGES]:
            step = step_at(network.stages.step, theta)
            step(theta, layer, sources, before, now, scratch)
            continue
        k, m = layer[END] - layer[FIRST], count_columns(layer, sources)
        a, X = now[layer[FIRST] : layer[END]], scratch[:m]
        gather(layer, sources, before, now, 1.0, X)
        np.dot(matrix_of(theta, layer[WEIGHTS], k, m), X, a)
        if layer[CODE] == TANH:
            tanh_in_place(a.reshape(a.size))


@helper
def network_jvp(
    theta: Array,
    v: Array,
    network: NetworkTables,
    before: Array,
    now: Array,
    d_before: Array,
    d_now: Array,
    scratch: Array,
    product: Array,
) -> None:
    """Fill the units of the layers in the tangent `d_now`; its inputs are given.

    v is the tangent of theta, scratch (unit + 1, trial), product (unit, trial).
    """
    layers, sources = network.layers, network.sources
    for number in range(layers.shape[0]):
        layer = layers[number]
        if layer[STAGES]:
            jvp = jvp_at(network.stages.jvp, theta)
            jvp(
                theta,
                v,
                layer,
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
        h, da = now[layer[FIRST] : layer[END]], d_now[layer[FIRST] : layer[END]]
        X, Wdx = scratch[:m], product[:k]
        gather(layer, sources, before, now, 1.0, X)
        np.dot(matrix_of(v, layer[WEIGHTS], k, m), X, da)
        gather(layer, sources, d_before, d_now, 0.0, X)
        np.dot(matrix_of(theta, layer[WEIGHTS], k, m), X, Wdx)
        is_tanh = layer[CODE] == TANH
        for i in range(k):
            for n in range(h.shape[1]):
                slope = 1.0 - h[i, n] * h[i, n] if is_tanh else 1.0
                da[i, n] = slope * (da[i, n] + Wdx[i, n])


@helper
def network_vjp(
    theta: Array,
    network: NetworkTables,
    before: Array,
    now: Array,
    now_bar: Array,
    before_bar: Array,
    scratch: Array,
) -> None:
    """Turn the cotangent of the activations `now` into that of their summed inputs.

    `now_bar` holds both, and then the cotangent of the inputs; `before_bar` is added
    to.
    """
    layers, sources = network.layers, network.sources
    for number in range(layers.shape[0] - 1, -1, -1):
        layer = layers[number]
        if layer[STAGES]:
            vjp = vjp_at(network.stages.vjp, theta)
            vjp(theta, layer, sources, before, now, now_bar, before_bar, scratch)
            continue
        k, m = layer[END] - layer[FIRST], count_columns(layer, sources)
        h, delta = now[layer[FIRST] : layer[END]], now_bar[layer[FIRST] : layer[END]]
        if layer[CODE] == TANH:
            for i in range(k):
                for n in range(h.shape[1]):
                    delta[i, n] *= 1.0 - h[i, n] * h[i, n]
        back = scratch[:m]
        np.dot(matrix_of(theta, layer[WEIGHTS], k, m).T, delta, back)
        column = 0
        for s in range(layer[FIRST_SOURCE], layer[END_SOURCE]):
            first, end = sources[s, SOURCE_FIRST], sources[s, SOURCE_END]
            units = before_bar if sources[s, SOURCE_LAG] else now_bar
            add(units[first:end], back[column : column + end - first])
            column += end - first


@helper
def add_weight_cotangents(
    theta_bar: Array,
    theta: Array,
    network: NetworkTables,
    before: Array,
    now: Array,
    delta: Array,
    scratch: Array,
    product: Array,
) -> None:
    """Add the cotangents of the weights, summed over the trials of the block.

    They are outer products of delta (unit, trial), the cotangents of the summed inputs,
    and of what the layers read. product is (unit (unit + 1),).
    """
    layers, sources = network.layers, network.sources
    for number in range(layers.shape[0]):
        layer = layers[number]
        if layer[STAGES]:
            add_all = weight_cotangents_at(network.stages.weight_cotangents, theta)
            add_all(
                theta_bar, theta, layer, sources, before, now, delta, scratch, product
            )
            continue
        k, m = layer[END] - layer[FIRST], count_columns(layer, sources)
        X, outer = scratch[:m], matrix_of(product, 0, k, m)
        gather(layer, sources, before, now, 1.0, X)
        np.dot(delta[layer[FIRST] : layer[END]], X.T, outer)
        add(matrix_of(theta_bar, layer[WEIGHTS], k, m), outer)


@helper
def gather_over_time(
    layer: Array, sources: Array, activity: Array, steps: int
) -> Array:
    """Return what a layer reads (steps, column) in one trial's activity."""
    X = np.ones((steps, count_columns(layer, sources)), activity.dtype)
    column = 0
    for k in range(layer[FIRST_SOURCE], layer[END_SOURCE]):
        first, end = sources[k, SOURCE_FIRST], sources[k, SOURCE_END]
        lag = sources[k, SOURCE_LAG]
        read = activity[1 - lag : steps + 1 - lag, first:end]
        put(X[:, column : column + end - first], read)
        column += end - first
    return X


@helper
def add_trial_row(
    theta: Array,
    network: NetworkTables,
    activity: Array,
    delta: Array,
    fresh: bool,
    J: Array,
) -> None:
    """Add one segment of time to a row J (P,) of the Jacobian, or set it if `fresh`.

    It is the sum over time of outer products of one trial's delta (steps, unit) and of
    what the layers read in its activity (steps + 1, unit).
    """
    layers, sources = network.layers, network.sources
    for number in range(layers.shape[0]):
        layer = layers[number]
        if layer[STAGES]:
            add_row = trial_row_at(network.stages.trial_row, theta)
            add_row(theta, layer, sources, activity, delta, fresh, J)
            continue
        k = layer[END] - layer[FIRST]
        X = gather_over_time(layer, sources, activity, delta.shape[0])
        W = matrix_of(J, layer[WEIGHTS], k, X.shape[1])
        own = np.ascontiguousarray(delta[:, layer[FIRST] : layer[END]]).T
        if fresh:
            np.dot(own, X, W)
        else:
            add(W, np.dot(own, X))
