"""Parameters and activation functions of cells with a state.

The functions of the cells themselves are compiled by cell_module.py.
"""

import math

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.kernels.jit import helper
from hfcontrol.kernels.tanh import tanh_in_place
from hfcontrol.network.tables import (
    ACTIVATION,
    LINEAR,
    LOGISTIC,
    N_PARAMETERS,
    N_SUMS,
    PARAMETERS,
    POSITIVE,
)


@helper
def softplus(raw: float) -> tuple[float, float]:
    """Return log(1 + exp(raw)) and its derivative."""
    # log(1 + e^x) = max(x, 0) + log(1 + e^-|x|), which never overflows.
    value = max(raw, 0.0) + math.log1p(math.exp(-abs(raw)))
    return value, 0.5 * (1.0 + math.tanh(0.5 * raw))


@helper
def cell_values(theta: Array, layer: Array, k: int) -> tuple[Array, Array]:
    """Return the parameters (n_p, k) and their derivatives by the trained numbers.

    Positive parameters are the softplus of their number.
    """
    n_p = layer[N_PARAMETERS]
    p = np.zeros((n_p, k))
    slope = np.ones((n_p, k))
    for number in range(n_p):
        positive = (layer[POSITIVE] >> number) & 1
        for i in range(k):
            raw = theta[layer[PARAMETERS] + number * k + i]
            p[number, i] = raw
            if positive:
                p[number, i], slope[number, i] = softplus(raw)
    return p, slope


@helper
def activation_kind(layer: Array, q: int) -> int:
    """Return the index in KINDS of the activation function of sum q."""
    return (layer[ACTIVATION] >> (2 * q)) & 3


@helper
def activate(layer: Array, f: Array) -> None:
    """Apply the activation functions to summed inputs f (sums k, trial), in place."""
    flat = f.reshape(f.size)
    size = flat.size // layer[N_SUMS]
    for q in range(layer[N_SUMS]):
        kind = activation_kind(layer, q)
        part = flat[q * size : (q + 1) * size]
        if kind == LINEAR:
            continue
        # logistic(z) = (1 + tanh(z / 2)) / 2
        if kind == LOGISTIC:
            for i in range(size):
                part[i] *= 0.5
        tanh_in_place(part)
        if kind == LOGISTIC:
            for i in range(size):
                part[i] = 0.5 * (1.0 + part[i])


@helper
def steepness(kind: int, f: float) -> float:
    """Return the slope of an activation function from its value f."""
    if kind == LINEAR:
        return 1.0
    return f * (1.0 - f) if kind == LOGISTIC else 1.0 - f * f


@helper
def apply_slope(layer: Array, f: Array, delta: Array) -> None:
    """Multiply delta (sums k, trial) by the slopes of the activations f, in place."""
    k = f.shape[0] // layer[N_SUMS]
    for q in range(layer[N_SUMS]):
        kind = activation_kind(layer, q)
        if kind == LINEAR:
            continue
        for i in range(q * k, (q + 1) * k):
            for n in range(f.shape[1]):
                delta[i, n] = steepness(kind, f[i, n]) * delta[i, n]


@helper
def put_slopes(layer: Array, f: Array, slopes: Array) -> None:
    """Fill `slopes` (sums k, trial) with those of the activations f."""
    k = f.shape[0] // layer[N_SUMS]
    for q in range(layer[N_SUMS]):
        kind = activation_kind(layer, q)
        for i in range(q * k, (q + 1) * k):
            for n in range(f.shape[1]):
                slopes[i, n] = steepness(kind, f[i, n])
