"""Source piece: connections with a gate of their own; it follows cell_piece.

W (4 k, columns) holds the numbers behind weights, slopes, centres and reversals, one below the other. The equations are
those of `Synapses` in cells/connections.py, which is their definition and the oracle of their test.
"""

import numpy as np
from numba import njit


@njit(error_model="numpy", inline="always")
def gates(W, i, k, X, s):
    """Gates of all synapses of unit i (columns, N); W holds four matrices, one below the other."""
    for c in range(s.shape[0]):
        slope, centre = W[k + i, c], W[2 * k + i, c]
        for n in range(s.shape[1]):
            s[c, n] = 0.5 * slope * (X[c, n] - centre)
    tanh_in_place(s.reshape(s.size))
    for c in range(s.shape[0]):
        for n in range(s.shape[1]):
            s[c, n] = 0.5 * (1.0 + s[c, n])


@njit(cache=True, error_model="numpy", nogil=True)
def synapse_sums(W, k, X, f):
    """Fills f (2 k, N): what flows in, then the conductances."""
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


@njit(cache=True, error_model="numpy", nogil=True)
def synapse_sums_jvp(W, dW, k, X, dX, df):
    """Fills df (2 k, N), the tangent of `synapse_sums`."""
    s = np.empty((W.shape[1], X.shape[1]))
    clear(df)
    for i in range(k):
        gates(W, i, k, X, s)
        for c in range(s.shape[0]):
            w, by = softplus(W[i, c])
            dw, slope, centre, E = by * dW[i, c], W[k + i, c], W[2 * k + i, c], W[3 * k + i, c]
            d_slope, d_centre, dE = dW[k + i, c], dW[2 * k + i, c], dW[3 * k + i, c]
            for n in range(s.shape[1]):
                inside = d_slope * (X[c, n] - centre) + slope * (dX[c, n] - d_centre)
                ds = s[c, n] * (1.0 - s[c, n]) * inside
                df[i, n] += (dw * E + w * dE) * s[c, n] + w * E * ds
                df[k + i, n] += dw * s[c, n] + w * ds


@njit(cache=True, error_model="numpy", nogil=True)
def synapse_sums_vjp(W, k, X, delta, back):
    """Fills back (columns, N) with the cotangent of X; its last row, that of the bias, with zeros."""
    s = np.empty((W.shape[1], X.shape[1]))
    clear(back)
    for i in range(k):
        gates(W, i, k, X, s)
        for c in range(s.shape[0]):
            w, _ = softplus(W[i, c])
            slope, E = W[k + i, c], W[3 * k + i, c]
            for n in range(s.shape[1]):
                back[c, n] += slope * w * (delta[i, n] * E + delta[k + i, n]) * s[c, n] * (1.0 - s[c, n])


@njit(cache=True, error_model="numpy", nogil=True)
def synapse_cotangents(W, k, X, delta, bars):
    """Adds to bars (4 k, columns) the cotangents of the synapses' numbers, summed over trials."""
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
