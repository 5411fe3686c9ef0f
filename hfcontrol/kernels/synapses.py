"""Connections with a gate of their own.

W (4 k, column) holds the numbers behind weights, slopes, centres and reversals E, one
below the other. With gates s = logistic(slope (x - centre)) and w = softplus(weight),
unit i sums w E s, what flows in, and w s, the conductance, over its columns c. The
equations are those of `Synapses` in hfcontrol/network/connections.py, which is their
definition and the reference of their test.

Gates are computed again in every pass: one for each connection and trial would take
k times the memory of the activations.
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
        slope = W[k + i, c]
        centre = W[2 * k + i, c]
        # logistic(z) = (1 + tanh(z / 2)) / 2
        half = 0.5 * slope
        for n in range(s.shape[1]):
            s[c, n] = half * (X[c, n] - centre)
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
            wE = w * E
            for n in range(s.shape[1]):
                f[i, n] += wE * s[c, n]
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
            slope = W[k + i, c]
            d_slope = dW[k + i, c]
            centre = W[2 * k + i, c]
            d_centre = dW[2 * k + i, c]
            E = W[3 * k + i, c]
            dE = dW[3 * k + i, c]
            wE = w * E
            d_wE = dw * E + w * dE
            for n in range(s.shape[1]):
                gate = s[c, n]
                distance = X[c, n] - centre
                d_distance = dX[c, n] - d_centre
                # ds = s (1 - s) d(slope (x - centre))
                inside = d_slope * distance + slope * d_distance
                ds = gate * (1.0 - gate) * inside
                df[i, n] += d_wE * gate + wE * ds
                df[k + i, n] += dw * gate + w * ds


@helper
def synapse_sums_vjp(W: Array, k: int, X: Array, delta: Array, back: Array) -> None:
    """Fill back (column, trial) with the cotangent of X; its last row is zero."""
    s = np.empty((W.shape[1], X.shape[1]))
    clear(back)
    for i in range(k):
        gates(W, i, k, X, s)
        for c in range(s.shape[0]):
            w, _ = softplus(W[i, c])
            slope = W[k + i, c]
            E = W[3 * k + i, c]
            factor = slope * w
            for n in range(s.shape[1]):
                gate = s[c, n]
                # Both sums of the unit contain this gate.
                strength = delta[i, n] * E + delta[k + i, n]
                bar = factor * strength
                back[c, n] += bar * gate * (1.0 - gate)


@helper
def synapse_cotangents(W: Array, k: int, X: Array, delta: Array, bars: Array) -> None:
    """Add the cotangents of W, summed over trials, to bars (4 k, column)."""
    s = np.empty((W.shape[1], X.shape[1]))
    for i in range(k):
        gates(W, i, k, X, s)
        for c in range(s.shape[0]):
            w, by = softplus(W[i, c])
            slope = W[k + i, c]
            centre = W[2 * k + i, c]
            E = W[3 * k + i, c]
            # Trials are added one by one: the sum has the order of the block.
            for n in range(s.shape[1]):
                gate = s[c, n]
                inflow = delta[i, n]
                strength = inflow * E + delta[k + i, n]
                inside = w * strength * gate * (1.0 - gate)
                distance = X[c, n] - centre
                bars[i, c] += by * strength * gate
                bars[k + i, c] += inside * distance
                bars[2 * k + i, c] -= inside * slope
                bars[3 * k + i, c] += inflow * w * gate
