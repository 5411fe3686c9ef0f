"""The excess cost of a controller over the optimum, to second order.

About an optimal trajectory x*, u* with the law u = u* + K (x - x*), controls u along
any trajectory x cost more than the law by

    sum over t of  1/2 e' Q_uu e      e = u_t - u*_t - K_t (x_t - x*_t)

This is exact for a linear plant with a quadratic cost (Kakade and Langford 2002 have
the same identity for rewards). Q_uu is the curvature of the cost to go by the control:

    Q_uu = l_uu + B'V B      Q_ux = l_ux + B'V A      Q_xx = l_xx + A'V A

with V of the next step, and V = Q_xx + K'Q_uu K + K'Q_ux + Q_ux'K.
"""

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.optim.ilqr import Expansion


def control_curvature(expansion: Expansion, gains: Array) -> Array:
    """Return Q_uu (T, N, nu, nu) of the law with gains (T, N, nu, nx)."""
    A, B = expansion.A, expansion.B
    curvature = np.zeros_like(expansion.l_uu)
    V = expansion.l_xx[-1]
    for t in reversed(range(len(gains))):
        K = gains[t]
        next_A, next_B = V @ A[t], V @ B[t]
        Q_xx = expansion.l_xx[t] + _transpose(A[t]) @ next_A
        Q_ux = expansion.l_ux[t] + _transpose(B[t]) @ next_A
        Q_uu = expansion.l_uu[t] + _transpose(B[t]) @ next_B
        crossed = _transpose(K) @ Q_ux
        V = Q_xx + _transpose(K) @ Q_uu @ K + crossed + _transpose(crossed)
        curvature[t] = Q_uu
    return curvature


def matrix_root(M: Array) -> Array:
    """Return R (..., n, n) with R'R = M for positive semi-definite M (..., n, n)."""
    values, vectors = np.linalg.eigh(M)
    # rounding may leave eigenvalues slightly below zero
    roots = np.sqrt(np.maximum(values, 0.0))
    return roots[..., None] * _transpose(vectors)


def _transpose(M: Array) -> Array:
    """Return the transposes of matrices (..., m, n)."""
    return np.swapaxes(M, -1, -2)
