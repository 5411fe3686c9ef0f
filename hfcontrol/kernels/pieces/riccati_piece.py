"""Source piece: the backward pass of iLQR; the equations stand in optimal.py.

On one core: its part of the time is small.

Arrays are [time, trial, ...]: A (T, N, nx, nx), B (T, N, nx, nu), l_xx (T + 1, N, nx, nx), l_uu (T, N, nu, nu),
l_ux (T, N, nu, nx), l_x (T + 1, N, nx), l_u (T, N, nu); low and high (T, N, nu) bound the change of the control.
"""

import math

import numpy as np
from numba import njit


@njit(error_model="numpy", inline="always")
def solve_definite(M, R):
    """R (n, m) becomes the solution X of M X = R by Cholesky, M (n, n) its factor; not a number where M is not definite."""
    n, m = R.shape
    for j in range(n):
        for i in range(j, n):
            total = M[i, j]
            for k in range(j):
                total -= M[i, k] * M[j, k]
            M[i, j] = math.sqrt(total) if i == j else total / M[j, j]
    for c in range(m):
        for i in range(n):
            total = R[i, c]
            for k in range(i):
                total -= M[i, k] * R[k, c]
            R[i, c] = total / M[i, i]
        for i in range(n - 1, -1, -1):
            total = R[i, c]
            for k in range(i + 1, n):
                total -= M[k, i] * R[k, c]
            R[i, c] = total / M[i, i]


@njit(error_model="numpy", inline="always")
def fill(M, value):
    """Every entry of a matrix becomes the value."""
    for i in range(M.shape[0]):
        for j in range(M.shape[1]):
            M[i, j] = value


@njit(error_model="numpy", inline="always")
def copy(M, out):
    """The entries of M, into the first columns of out."""
    for i in range(M.shape[0]):
        for j in range(M.shape[1]):
            out[i, j] = M[i, j]


@njit(error_model="numpy", inline="always")
def beside(M, v, out):
    """out = [M | v]."""
    copy(M, out)
    for i in range(M.shape[0]):
        out[i, M.shape[1]] = v[i]


@njit(cache=True, error_model="numpy", nogil=True)
def add_transposed_times(M, n, V, out):
    """out += M' V with the first n columns of M."""
    for i in range(n):
        for j in range(V.shape[1]):
            for k in range(M.shape[0]):
                out[i, j] += M[k, i] * V[k, j]


@njit(cache=True, error_model="numpy", nogil=True)
def add_times(M, n, V, out):
    """out += M V with the first n columns of M."""
    for i in range(M.shape[0]):
        for j in range(V.shape[1]):
            for k in range(n):
                out[i, j] += M[i, k] * V[k, j]


@njit(error_model="numpy", inline="always")
def solve_free(H, G, held, factor, S):
    """S (nu, m) = -H^-1 G in the rows that are not held, with the held rows of S as they are."""
    nu, m = G.shape
    for i in range(nu):
        for j in range(nu):
            factor[i, j] = (1.0 if i == j else 0.0) if held[i] or held[j] else H[i, j]
        for c in range(m):
            total = -G[i, c]
            for j in range(nu):
                if held[j]:
                    total -= H[i, j] * S[j, c]
            S[i, c] = S[i, c] if held[i] else total
    solve_definite(factor, S)


@njit(error_model="numpy", inline="always")
def bounded(H, G, low, high, held, factor, S):
    """S = [K | k]: k minimises k'H k / 2 + k'g, g the last column of G, within low and high, and K = dk/dx by the others.

    Active sets: a control that would leave its bounds is held there; one that is held is let go where the slope draws it
    inside. After as many changes as controls, squared, it is as good as it gets.
    """
    nu, m = G.shape
    for i in range(nu):
        held[i] = False
    for change in range(1 + nu * nu):
        for i in range(nu):
            if held[i]:
                for c in range(m - 1):
                    S[i, c] = 0.0
        solve_free(H, G, held, factor, S)
        changed = False
        for i in range(nu):
            if not held[i] and not low[i] <= S[i, m - 1] <= high[i]:
                held[i] = changed = True
                S[i, m - 1] = min(max(S[i, m - 1], low[i]), high[i])
        if changed:
            continue
        for i in range(nu):
            slope = G[i, m - 1]
            for j in range(nu):
                slope += H[i, j] * S[j, m - 1]
            if held[i] and (slope < 0.0 and S[i, m - 1] < high[i] or slope > 0.0 and S[i, m - 1] > low[i]):
                held[i], changed = False, True
                break
        if not changed:
            break


@njit(error_model="numpy", inline="always")
def backward_trial(n, A, B, l_xx, l_uu, l_ux, l_x, l_u, low, high, mu, k, K):
    """Feed-forward k (T, n, nu) and gains K (T, n, nu, nx) of one trial; mu damps the control's curvature.

    Matrices and vectors go side by side in nx + 1 columns: V = [V_xx | V_x], Q = [Q_xx | Q_x], G = [Q_ux | Q_u],
    S = [K | k]. Then S = -(Q_uu + mu I)^-1 G within the bounds, and V = Q + K'(Q_uu S + G) + Q_ux' S.
    """
    T, nx, nu = B.shape[0], B.shape[2], B.shape[3]
    V, W, symmetric = np.empty((nx, nx + 1)), np.empty((nx, nx + 1)), np.empty((nx, nx))
    G, S, BV = np.empty((nu, nx + 1)), np.empty((nu, nx + 1)), np.empty((nu, nx + 1))
    Q_uu, damped, factor, held = np.empty((nu, nu)), np.empty((nu, nu)), np.empty((nu, nu)), np.empty(nu, dtype=np.bool_)
    beside(l_xx[T, n], l_x[T, n], V)
    for t in range(T - 1, -1, -1):
        fill(W, 0.0)
        fill(BV, 0.0)
        copy(l_uu[t, n], Q_uu)
        add_transposed_times(A[t, n], nx, V, W)
        add_transposed_times(B[t, n], nu, V, BV)
        add_times(BV, nx, B[t, n], Q_uu)
        beside(l_ux[t, n], l_u[t, n], G)
        add_times(BV, nx, A[t, n], G)
        beside(l_xx[t, n], l_x[t, n], V)
        add_times(W, nx, A[t, n], V)
        for i in range(nu):
            G[i, nx] += BV[i, nx]
        for i in range(nx):
            V[i, nx] += W[i, nx]
        copy(Q_uu, damped)
        for i in range(nu):
            damped[i, i] += mu
        bounded(damped, G, low[t, n], high[t, n], held, factor, S)
        for i in range(nu):
            k[t, n, i] = S[i, nx]
            for j in range(nx):
                K[t, n, i, j] = S[i, j]
        add_transposed_times(G, nx, S, V)
        add_times(Q_uu, nu, S, G)
        add_transposed_times(S, nx, G, V)
        for i in range(nx):
            for j in range(nx):
                symmetric[i, j] = 0.5 * (V[i, j] + V[j, i])
        copy(symmetric, V)


@njit(cache=True, error_model="numpy", nogil=True)
def backward(A, B, l_xx, l_uu, l_ux, l_x, l_u, low, high, mu, k, K):
    """k (T, N, nu) and K (T, N, nu, nx) of all trials, with damping mu (N,); on CUDA a thread does what the loop does for a trial."""
    for n in range(B.shape[1]):
        backward_trial(n, A, B, l_xx, l_uu, l_ux, l_x, l_u, low, high, mu[n], k, K)
