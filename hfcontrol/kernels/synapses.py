"""Connections with a gate of their own.

W (4 k, column) holds the numbers behind weights, slopes, centres and reversals, one
below the other. The equations are those of `Synapses` in
hfcontrol/network/connections.py, which is their definition and the reference of their
test.
"""

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.kernels.cells import softplus
from hfcontrol.kernels.jit import helper
from hfcontrol.kernels.matrices import clear
from hfcontrol.kernels.tanh import tanh_in_place


@helper
def gates(W: Array, i: int, k: int, X: Array, s: Array) -> None:
    """Fill s (column, trial) with the gates of all synapses of unit i."""
    for c in range(s.shape[0]):
        slope, centre = W[k + i, c], W[2 * k + i, c]
        for n in range(s.shape[1]):
            s[c, n] = 0.5 * slope * (X[c, n] - centre)
    tanh_in_place(s.reshape(s.size))
    for c in range(s.shape[0]):
        for n in range(s.shape[1]):
            s[c, n] = 0.5 * (1.0 + s[c, n])


@helper
def synapse_sums(W: Array, k: int, X: Array, f: Array) -> None:
    """Fill f (2 k, trial): what flows in, then the conductances."""
    s = np.empty((W.shape[1], X.shape[1]))
    clear(f)
    for i in range(k):
        gates(W, i, k, X, s)
        for c in range(s.shape[0]):
            w, _ = softplus(W[i, c])
            E = W[3 * k + i, c]
            for n in range(s.shape[1]):
                f[i, n] += w * E * s[c, n]
                f[k + i, n] += w * s[c, n]


@helper
def synapse_sums_jvp(
    W: Array, dW: Array, k: int, X: Array, dX: Array, df: Array
) -> None:
    """Fill df (2 k, trial), the tangent of `synapse_sums`."""
    s = np.empty((W.shape[1], X.shape[1]))
    clear(df)
    for i in range(k):
        gates(W, i, k, X, s)
        for c in range(s.shape[0]):
            w, by = softplus(W[i, c])
            dw = by * dW[i, c]
            slope, d_slope = W[k + i, c], dW[k + i, c]
            centre, d_centre = W[2 * k + i, c], dW[2 * k + i, c]
            E, dE = W[3 * k + i, c], dW[3 * k + i, c]
            for n in range(s.shape[1]):
                inside = d_slope * (X[c, n] - centre) + slope * (dX[c, n] - d_centre)
                ds = s[c, n] * (1.0 - s[c, n]) * inside
                df[i, n] += (dw * E + w * dE) * s[c, n] + w * E * ds
                df[k + i, n] += dw * s[c, n] + w * ds


@helper
def synapse_sums_vjp(W: Array, k: int, X: Array, delta: Array, back: Array) -> None:
    """Fill back (column, trial) with the cotangent of X; its last row is zero."""
    s = np.empty((W.shape[1], X.shape[1]))
    clear(back)
    for i in range(k):
        gates(W, i, k, X, s)
        for c in range(s.shape[0]):
            w, _ = softplus(W[i, c])
            slope, E = W[k + i, c], W[3 * k + i, c]
            for n in range(s.shape[1]):
                bar = slope * w * (delta[i, n] * E + delta[k + i, n])
                back[c, n] += bar * s[c, n] * (1.0 - s[c, n])


@helper
def synapse_cotangents(W: Array, k: int, X: Array, delta: Array, bars: Array) -> None:
    """Add the cotangents of W, summed over trials, to bars (4 k, column)."""
    s = np.empty((W.shape[1], X.shape[1]))
    for i in range(k):
        gates(W, i, k, X, s)
        for c in range(s.shape[0]):
            w, by = softplus(W[i, c])
            slope, centre, E = W[k + i, c], W[2 * k + i, c], W[3 * k + i, c]
            for n in range(s.shape[1]):
                strength = delta[i, n] * E + delta[k + i, n]
                inside = w * strength * s[c, n] * (1.0 - s[c, n])
                bars[i, c] += by * strength * s[c, n]
                bars[k + i, c] += inside * (X[c, n] - centre)
                bars[2 * k + i, c] -= inside * slope
                bars[3 * k + i, c] += delta[i, n] * w * s[c, n]
