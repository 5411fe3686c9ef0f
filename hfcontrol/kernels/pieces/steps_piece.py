"""Source piece: Runge-Kutta steps of given lengths, their exact adjoint, and tangent and adjoint of residuals along them.

A step of length h from z_k has stages z_i = z_k + h sum_j a_ij F(z_j), and z_{k+1} = z_k + h sum_i b_i F(z_i); the cost is
sum of h b_i W(z_i). Backward, with lam of z_{k+1},

    lam_i = h b_i lam + h sum_{j>i} a_ji m_j      m_i = F_z' lam_i + h b_i W_z      lam <- lam + sum_i m_i

and the weights' cotangent is the sum of F_theta' lam_i (the transpose of the step, stage by stage).
"""
# ruff: noqa: F821

import numpy as np
from numba import njit


@njit(cache=True, error_model="numpy", nogil=True)
def march(problem, z0, times, tableau, work):
    """States Z (K+1, nz, w), stages' rates S (K, s, nz, w) and the cost (w,) of the steps between times (K+1,)."""
    a, b, c = tableau
    nz, w, s = z0.shape[0], z0.shape[1], b.size
    Z, S, cost = np.empty((times.size, nz, w)), np.empty((times.size - 1, s, nz, w)), np.zeros(w)
    F, z = np.empty((nz + 1, w)), np.empty((nz, w))
    put(Z[0], z0)
    for k in range(times.size - 1):
        h = times[k + 1] - times[k]
        for i in range(s):
            combined(Z[k], S[k], a[i], i, h, z)
            field(times[k] + c[i] * h, z, problem, work, F)
            put(S[k, i], F[:nz])
            for n in range(w):
                cost[n] += h * b[i] * F[nz, n]
        combined(Z[k], S[k], b, s, h, Z[k + 1])
    return Z, S, cost


@njit(cache=True, error_model="numpy", nogil=True)
def steps_adjoint(problem, lam, times, Z, S, tableau, work, room, theta_bar):
    """The cotangent lam (nz, w) of the last state becomes that of the first; that of the weights is added to theta_bar."""
    a, b, c = tableau
    s, weights, product = b.size, problem[12], np.empty(work[0].shape[0] * work[2].shape[0])
    z, _, J, slope, r_bar, before_bar, _, _, deltas = room
    lam_i, m = np.empty_like(lam), np.empty((s, *lam.shape))
    before, now, scratch, r = work[0], work[1], work[2], work[5]
    for k in range(times.size - 2, -1, -1):
        h = times[k + 1] - times[k]
        for i in range(s - 1, -1, -1):
            put_times(lam_i, h * b[i], lam)
            for j in range(i + 1, s):
                add_times(lam_i, h * a[j, i], m[j])
            combined(Z[k], S[k], a[i], i, h, z)
            linearise(times[k] + c[i] * h, z, problem, work, J, slope)
            for q in range(r.shape[0]):
                for n in range(r.shape[1]):
                    r_bar[q, n] = h * b[i] * weights[q, n] * r[q, n]
            pull(problem[0], J, slope, before, now, problem, lam_i, r_bar, deltas[0], before_bar, scratch, m[i])
            add_weight_cotangents(theta_bar, problem[0], problem[1], problem[2], before, now, deltas[0], scratch, product)
        for i in range(s):
            add(lam, m[i])


@njit(cache=True, error_model="numpy", nogil=True)
def linearised(problem, times, Z, work, J, slopes, befores, nows):
    """The derivatives at points (times[q], Z[q]), one after the other."""
    for q in range(times.size):
        linearise(times[q], Z[q], problem, work, J[q], slopes[q])
        put(befores[q], work[0])
        put(nows[q], work[1])


@njit(cache=True, error_model="numpy", nogil=True)
def along(problem, v, dz, lengths, at, tableau, points, work, dr):
    """Tangents dr (K, s, m, w) of the residuals at all stages, each times the root of its weight in the cost, for weights v
    (P,); dz (nz, w), that of the first state, becomes that of the last. at (K, s) is the point of a stage."""
    a, b, _ = tableau
    J, slopes, befores, nows = points
    s, weights = b.size, problem[12]
    stages, stage = np.empty((s, *dz.shape)), np.empty_like(dz)
    d_before, d_now = np.zeros_like(work[0]), np.zeros_like(work[0])
    product = np.empty_like(work[0])
    for k in range(lengths.size):
        for i in range(s):
            q = at[k, i]
            combined(dz, stages, a[i], i, lengths[k], stage)
            push(problem[0], v, J[q], slopes[q], befores[q], nows[q], problem, stage, d_before, d_now, work[2], product,
                 stages[i], dr[k, i])
            for r in range(weights.shape[0]):
                for n in range(weights.shape[1]):
                    dr[k, i, r, n] *= np.sqrt(lengths[k] * b[i] * weights[r, n])
        combined(dz, stages, b, s, lengths[k], stage)
        put(dz, stage)


@njit(cache=True, error_model="numpy", nogil=True)
def along_transposed(problem, lam, lengths, at, tableau, points, work, r_bars, theta_bar):
    """The transpose of `along`: from cotangents r_bars (K, s, m, w) and lam (nz, w) of the last state, which becomes that of
    the first; the weights' own is added to theta_bar."""
    a, b, _ = tableau
    J, slopes, befores, nows = points
    s, weights, product = b.size, problem[12], np.empty(work[0].shape[0] * work[2].shape[0])
    lam_i, m = np.empty_like(lam), np.empty((s, *lam.shape))
    now_bar, before_bar = np.zeros_like(work[0]), np.zeros_like(work[0])
    for k in range(lengths.size - 1, -1, -1):
        for i in range(s - 1, -1, -1):
            q = at[k, i]
            put_times(lam_i, lengths[k] * b[i], lam)
            for j in range(i + 1, s):
                add_times(lam_i, lengths[k] * a[j, i], m[j])
            r_bar = np.sqrt(lengths[k] * b[i] * weights) * r_bars[k, i]
            pull(problem[0], J[q], slopes[q], befores[q], nows[q], problem, lam_i, r_bar, now_bar, before_bar, work[2], m[i])
            add_weight_cotangents(theta_bar, problem[0], problem[1], problem[2], befores[q], nows[q], now_bar, work[2], product)
        for i in range(s):
            add(lam, m[i])
