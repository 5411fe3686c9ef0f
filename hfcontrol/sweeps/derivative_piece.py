"""Source piece: the fused tangent and adjoint passes of the closed loop about a rollout; they need Jacobians, no plant.

`lines` holds the linearisation: A (T, nx, nx, N), B (T, nx, nu, N), C (T, ny, nx, N), the slope of control against
command (T, nu, N), the feedback and the command delay [steps], and whether the observations were replayed (then the
feedback path carries no derivative). The plain passes in closed_loop.py are the definition.
"""

import numpy as np
from numba import njit, prange


@njit(cache=True, error_model="numpy", nogil=True)
def add_product(J, d, out, n0, n1):
    """out[i] += sum_j J[i, j, n0:n1] d[j]: the Jacobians of the trials n0 to n1, each times its column of d."""
    for i in range(J.shape[0]):
        for j in range(J.shape[1]):
            for n in range(n0, n1):
                out[i, n - n0] += J[i, j, n] * d[j, n - n0]


@njit(cache=True, error_model="numpy", nogil=True)
def add_transposed(J, d, out, n0, n1):
    """out[j] += sum_i J[i, j, n0:n1] d[i]: the transposed Jacobians, each times its column of d."""
    for i in range(J.shape[0]):
        for j in range(J.shape[1]):
            for n in range(n0, n1):
                out[j, n - n0] += J[i, j, n] * d[i, n - n0]


@njit(cache=True, error_model="numpy", nogil=True)
def tangent_block(n0, n1, theta, v, layers, sources, hidden, start, lines, rows, dx, du, d_rows):
    """Tangent of trials n0 to n1 in the direction v of the weights."""
    A, B, C, slope, delay, command_delay, replay = lines
    T, nx, nu = du.shape[0], dx.shape[1], du.shape[1]
    width, w = rows.shape[2], n1 - n0
    n_target, first_output = layers[0, 0] - C.shape[1], layers[-1, 0]
    scratch, product = np.empty((rows.shape[1] + 1, width)), np.empty((rows.shape[1], width))
    dxs, dcs, dus = np.zeros((T + 1, nx, w)), np.empty((T, nu, w)), np.zeros((nu, w))
    d_rows[0] = 0.0
    if start >= 0:
        for i in range(hidden[0], hidden[1]):
            d_rows[0, i, :] = v[start + i - hidden[0]]
    keep = d_rows.shape[0] == T + 1
    for t in range(T):
        d_before, d_now = (d_rows[t], d_rows[t + 1]) if keep else (d_rows[t % 2], d_rows[(t + 1) % 2])
        d_now[:layers[0, 0]] = 0.0
        s = t - delay
        if s > 0 and not replay:
            add_product(C[s], dxs[s], d_now[n_target:layers[0, 0]], n0, n1)
        network_jvp(theta, v, layers, sources, rows[t], rows[t + 1], d_before, d_now, scratch, product)
        dcs[t] = d_now[first_output:, :w]
        if t >= command_delay:
            for k in range(nu):
                for n in range(w):
                    dus[k, n] = slope[t, k, n0 + n] * dcs[t - command_delay, k, n]
            add_product(B[t], dus, dxs[t + 1], n0, n1)
            du[t, :, n0:n1] = dus
        else:
            du[t, :, n0:n1] = 0.0
        add_product(A[t], dxs[t], dxs[t + 1], n0, n1)
    dx[:, :, n0:n1] = dxs


@njit(cache=True, error_model="numpy", nogil=True, parallel=True)
def tangent(theta, v, layers, sources, hidden, start, lines, rows, dx, du, d_rows):
    """Fills dx (T + 1, nx, N), du (T, nu, N) and d_rows, which holds all steps (T + 1) or only the last two (2)."""
    N, width = dx.shape[2], rows.shape[3]
    for b in prange(rows.shape[0]):
        tangent_block(b * width, min((b + 1) * width, N), theta, v, layers, sources, hidden, start, lines, rows[b],
                      dx, du, d_rows[b])


@njit(cache=True, error_model="numpy", nogil=True)
def adjoint_block(n0, n1, theta, layers, sources, hidden, start, lines, rows, x_bar, u_bar, rows_bar, deltas,
                  theta_bar):
    """Adjoint of trials n0 to n1: the cotangent of the weights is summed into theta_bar, or, where `deltas` has room for
    all steps, the cotangents of the summed inputs are left there instead."""
    A, B, C, slope, delay, command_delay, replay = lines
    T, nx, nu = u_bar.shape[0], x_bar.shape[1], u_bar.shape[1]
    n_rows, width, w = rows.shape[1], rows.shape[2], n1 - n0
    n_target, first_output = layers[0, 0] - C.shape[1], layers[-1, 0]
    keep, hidden_bar = deltas.shape[0] == T + 1, rows_bar.shape[0] == T + 1
    scratch, product = np.empty((n_rows + 1, width)), np.empty(n_rows * (n_rows + 1))
    now_bar, before_bar = np.zeros((n_rows, width)), np.zeros((n_rows, width))
    xs, us, cs = x_bar[:, :, n0:n1].copy(), np.empty((nu, w)), np.zeros((T, nu, w))
    for t in range(T - 1, -1, -1):
        us[:] = u_bar[t, :, n0:n1]
        add_transposed(B[t], xs[t + 1], us, n0, n1)
        if t >= command_delay:
            for k in range(nu):
                for n in range(w):
                    cs[t - command_delay, k, n] = slope[t, k, n0 + n] * us[k, n]
        now_bar, before_bar = before_bar, now_bar
        if hidden_bar:
            add(now_bar, rows_bar[t + 1])
        for k in range(nu):
            for n in range(w):
                now_bar[first_output + k, n] += cs[t, k, n]
        network_vjp(theta, layers, sources, rows[t + 1], now_bar, before_bar, scratch)
        s = t - delay
        if s > 0 and not replay:
            add_transposed(C[s], now_bar[n_target:layers[0, 0]], xs[s], n0, n1)
        add_transposed(A[t], xs[t + 1], xs[t], n0, n1)
        if keep:
            deltas[t + 1] = now_bar
        else:
            add_weight_cotangents(theta_bar, layers, sources, rows[t], rows[t + 1], now_bar, scratch, product)
    if keep:
        deltas[0] = before_bar
    elif start >= 0:
        for i in range(hidden[0], hidden[1]):
            theta_bar[start + i - hidden[0]] += np.sum(before_bar[i])


@njit(cache=True, error_model="numpy", nogil=True, parallel=True)
def adjoint(theta, layers, sources, hidden, start, lines, rows, x_bar, u_bar, rows_bar, deltas, theta_bars):
    """The adjoint of K cotangents x_bar (K, T + 1, nx, N), u_bar (K, T, nu, N) at once, K x blocks over the cores.

    theta_bars (K, block, P) receives each block's sum; deltas (K, block, T + 1 or 0, row, trial) each trial's instead.
    """
    N, width, blocks = x_bar.shape[3], rows.shape[3], rows.shape[0]
    for place in prange(x_bar.shape[0] * blocks):
        k, b = place // blocks, place % blocks
        adjoint_block(b * width, min((b + 1) * width, N), theta, layers, sources, hidden, start, lines, rows[b],
                      x_bar[k], u_bar[k], rows_bar[b], deltas[k, b], theta_bars[k, b])


@njit(cache=True, error_model="numpy", nogil=True)
def by_trial(rows, out):
    """out (trial, time, row) = rows (time, row, trial), a time at a time so that reads stay in the cache."""
    for t in range(rows.shape[0]):
        for i in range(out.shape[0]):
            for r in range(rows.shape[1]):
                out[i, t, r] = rows[t, r, i]


@njit(cache=True, error_model="numpy", nogil=True)
def trial_rows(layers, sources, hidden, start, activity, delta, J):
    """One row J (P,) of the Jacobian: outer products over time of one trial's delta and activity (T + 1, row)."""
    T = activity.shape[0] - 1
    for r0, r1, code, place, first, end in layers:
        m, column = columns_of(sources, first, end), 0
        X = np.ones((T, m))
        for k in range(first, end):
            s0, s1, lag = sources[k]
            X[:, column:column + s1 - s0] = activity[1 - lag:T + 1 - lag, s0:s1]
            column += s1 - s0
        np.dot(np.ascontiguousarray(delta[1:, r0:r1]).T, X, matrix_of(J, place, r1 - r0, m))
    if start >= 0:
        J[start:start + hidden[1] - hidden[0]] = delta[0, hidden[0]:hidden[1]]


@njit(cache=True, error_model="numpy", nogil=True, parallel=True)
def weight_rows(layers, sources, hidden, start, rows, deltas, J):
    """The rows J (K, N, P) of the Jacobian, one for every cotangent and trial, from the deltas of `adjoint`."""
    K, N, width, blocks = J.shape[0], J.shape[1], rows.shape[3], rows.shape[0]
    for job in prange(K * blocks):
        k, b = job // blocks, job % blocks
        w = min(width, N - b * width)
        activity, delta = np.empty((w, *rows.shape[1:3])), np.empty((w, *rows.shape[1:3]))
        by_trial(rows[b], activity)
        by_trial(deltas[k, b], delta)
        for i in range(w):
            trial_rows(layers, sources, hidden, start, activity[i], delta[i], J[k, b * width + i])


@njit(cache=True, error_model="numpy", nogil=True, parallel=True)
def gram(J, chunk, out):
    """out (m, m) = J J' for J (m, P), in square chunks over the cores; the upper triangle mirrors the lower."""
    m = J.shape[0]
    chunks = (m + chunk - 1) // chunk
    for job in prange(chunks * (chunks + 1) // 2):
        i = int((np.sqrt(8.0 * job + 1.0) - 1.0) / 2.0)
        j = job - i * (i + 1) // 2
        i0, i1, j0, j1 = i * chunk, min((i + 1) * chunk, m), j * chunk, min((j + 1) * chunk, m)
        part = np.dot(J[i0:i1], J[j0:j1].T)
        out[i0:i1, j0:j1] = part
        out[j0:j1, i0:i1] = part.T
