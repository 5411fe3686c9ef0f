"""Source piece: the fused tangent and adjoint passes of the closed loop about a rollout; they need Jacobians, no plant.

`lines` holds the linearisation: A (T, nx, nx, N), B (T, nx, nu, N), C (T, ny, nx, N), the slope of control against
command (T, nu, N), the feedback and the command delay [steps], and whether the observations were replayed (then the
feedback path carries no derivative). Rows come as the segments of `stored` (segment_piece.py). The plain passes in
plain.py are the definition.
"""

import numpy as np
from numba import njit


@njit(error_model="numpy", inline="always")
def add_product(J, d, out, n0, n1):
    """out[i] += sum_j J[i, j, n0:n1] d[j]: the Jacobians of the trials n0 to n1, each times its column of d."""
    for i in range(J.shape[0]):
        for j in range(J.shape[1]):
            for n in range(n0, n1):
                out[i, n - n0] += J[i, j, n] * d[j, n - n0]


@njit(error_model="numpy", inline="always")
def add_transposed(J, d, out, n0, n1):
    """out[j] += sum_i J[i, j, n0:n1] d[i]: the transposed Jacobians, each times its column of d."""
    for i in range(J.shape[0]):
        for j in range(J.shape[1]):
            for n in range(n0, n1):
                out[j, n - n0] += J[i, j, n] * d[i, n - n0]


@njit(error_model="numpy", inline="always")
def scaled(slope, d, out, n0, n1):
    """out[k] = slope[k, n0:n1] d[k]: the slopes of the trials n0 to n1, each times its column of d."""
    for k in range(slope.shape[0]):
        for n in range(n0, n1):
            out[k, n - n0] = slope[k, n] * d[k, n - n0]


@njit(error_model="numpy", inline="always")
def tangent_block(n0, n1, theta, v, layers, sources, hidden, start, lines, stored, rows, dx, du, d_rows):
    """Tangent of trials n0 to n1 in the direction v of the weights."""
    A, B, C, slope, delay, command_delay, replay = lines
    T, nx, nu = du.shape[0], dx.shape[1], du.shape[1]
    width, w = rows.shape[2], n1 - n0
    n_target, first_output = layers[0, 0] - C.shape[1], layers[-1, 0]
    scratch, product = np.empty((rows.shape[1] + 1, width), rows.dtype), np.empty((rows.shape[1], width), rows.dtype)
    dxs, dcs, dus = np.zeros((T + 1, nx, w)), np.empty((T, nu, w)), np.zeros((nu, w))
    clear(d_rows[0])
    if start >= 0:
        for i in range(hidden[0], hidden[1]):
            for n in range(width):
                d_rows[0, i, n] = v[start + i - hidden[0]]
    keep, segment = d_rows.shape[0] == T + 1, segment_room(stored, rows)
    steps = segment.shape[0] - 1
    for t in range(T):
        place = t % steps
        if RECALLS and place == 0:
            recall(t, n0, n1, theta, layers, sources, stored, rows, segment, scratch)
        d_before, d_now = (d_rows[t], d_rows[t + 1]) if keep else (d_rows[t % 2], d_rows[(t + 1) % 2])
        clear(d_now[:layers[0, 0]])
        s = t - delay
        if s > 0 and not replay:
            add_product(C[s], dxs[s], d_now[n_target:layers[0, 0]], n0, n1)
        network_jvp(theta, v, layers, sources, segment[place], segment[place + 1], d_before, d_now, scratch, product)
        put(dcs[t], d_now[first_output:first_output + nu, :w])
        if t >= command_delay:
            scaled(slope[t], dcs[t - command_delay], dus, n0, n1)
            add_product(B[t], dus, dxs[t + 1], n0, n1)
            put(du[t, :, n0:n1], dus)
        else:
            clear(du[t, :, n0:n1])
        add_product(A[t], dxs[t], dxs[t + 1], n0, n1)
    for t in range(T + 1):
        put(dx[t, :, n0:n1], dxs[t])


@njit(cache=True, error_model="numpy", nogil=True)
def tangent(first, end, theta, v, layers, sources, hidden, start, lines, stored, rows, dx, du, d_rows):
    """Fills, for the blocks first to end, dx (T + 1, nx, N), du (T, nu, N) and d_rows, which holds all steps (T + 1) or only the
    last two (2)."""
    N, width = dx.shape[2], rows.shape[3]
    for b in range(first, end):
        tangent_block(b * width, min((b + 1) * width, N), theta, v, layers, sources, hidden, start, lines, stored,
                      rows[b], dx, du, d_rows[b])


@njit(error_model="numpy", inline="always")
def by_trial(rows, out):
    """out (trial, time, row) = rows (time, row, trial), a time at a time so that reads stay in the cache."""
    for t in range(out.shape[1]):
        for i in range(out.shape[0]):
            for r in range(rows.shape[1]):
                out[i, t, r] = rows[t, r, i]


@njit(error_model="numpy", inline="always")
def add_trial_rows(theta, layers, sources, segment, deltas, steps, fresh, J):
    """Adds so many steps of a segment to the rows J (trial, P) of a block, which are `fresh` at the first segment."""
    w, n_rows = J.shape[0], segment.shape[1]
    activity, delta = np.empty((w, steps + 1, n_rows), segment.dtype), np.empty((w, steps, n_rows), segment.dtype)
    by_trial(segment, activity)
    by_trial(deltas, delta)
    for i in range(w):
        add_trial_row(theta, layers, sources, activity[i], delta[i], fresh, J[i])


@njit(error_model="numpy", inline="always")
def keep_start(start, start_bar, theta_bar, J):
    """The cotangents of the learned start (unit, trial): summed into theta_bar or, where J has rows, by trial in these."""
    for i in range(start_bar.shape[0]):
        if J.shape[0]:
            for n in range(J.shape[0]):
                J[n, start + i] = start_bar[i, n]
        else:
            theta_bar[start + i] += np.sum(start_bar[i])


@njit(error_model="numpy", inline="always")
def adjoint_block(n0, n1, theta, layers, sources, hidden, start, lines, stored, rows, x_bar, u_bar, rows_bar, theta_bar,
                  J):
    """Adjoint of trials n0 to n1: the cotangent of the weights is summed into theta_bar, or, where J (trial, P) has a row
    for each of them, is left there trial by trial instead."""
    A, B, C, slope, delay, command_delay, replay = lines
    T, nu = u_bar.shape[0], u_bar.shape[1]
    n_rows, width, w = rows.shape[1], rows.shape[2], n1 - n0
    n_target, first_output = layers[0, 0] - C.shape[1], layers[-1, 0]
    split, hidden_bar, segment = J.shape[0] > 0, rows_bar.shape[0] == T + 1, segment_room(stored, rows)
    steps = segment.shape[0] - 1
    deltas = np.empty((steps if split else 0, n_rows, width), rows.dtype)
    scratch, product = np.empty((n_rows + 1, width), rows.dtype), np.empty(n_rows * (n_rows + 1), rows.dtype)
    now_bar, before_bar = np.zeros((n_rows, width), rows.dtype), np.zeros((n_rows, width), rows.dtype)
    xs, us, cs = x_bar[:, :, n0:n1].copy(), np.empty((nu, w)), np.zeros((T, nu, w))
    for t in range(T - 1, -1, -1):
        place = t % steps
        if RECALLS and (place == steps - 1 or t == T - 1):
            recall(t - place, n0, n1, theta, layers, sources, stored, rows, segment, scratch)
        put(us, u_bar[t, :, n0:n1])
        add_transposed(B[t], xs[t + 1], us, n0, n1)
        if t >= command_delay:
            scaled(slope[t], us, cs[t - command_delay], n0, n1)
        now_bar, before_bar = before_bar, now_bar
        if hidden_bar:
            add(now_bar, rows_bar[t + 1])
        add(now_bar[first_output:first_output + nu, :w], cs[t])
        clear(before_bar)
        network_vjp(theta, layers, sources, segment[place], segment[place + 1], now_bar, before_bar, scratch)
        s = t - delay
        if s > 0 and not replay:
            add_transposed(C[s], now_bar[n_target:layers[0, 0]], xs[s], n0, n1)
        add_transposed(A[t], xs[t + 1], xs[t], n0, n1)
        if not split:
            add_weight_cotangents(theta_bar, theta, layers, sources, segment[place], segment[place + 1], now_bar, scratch,
                                  product)
        else:
            put(deltas[place], now_bar)
            if place == 0:
                add_trial_rows(theta, layers, sources, segment, deltas, min(steps, T - t), t + steps >= T, J)
    if start >= 0:
        keep_start(start, before_bar[hidden[0]:hidden[1]], theta_bar, J)


@njit(cache=True, error_model="numpy", nogil=True)
def adjoint(first, end, theta, layers, sources, hidden, start, lines, stored, rows, x_bar, u_bar, rows_bar, theta_bars, J):
    """The jobs first to end, of K x blocks, of the adjoint of K cotangents x_bar (K, T + 1, nx, N), u_bar (K, T, nu, N).

    theta_bars (K, block, P) receives each block's sum, or J (K, N or 0, P) each trial's row instead.
    """
    N, width, blocks = x_bar.shape[3], rows.shape[3], rows.shape[0]
    for place in range(first, end):
        k, b = place // blocks, place % blocks
        n0, n1 = b * width, min((b + 1) * width, N)
        adjoint_block(n0, n1, theta, layers, sources, hidden, start, lines, stored, rows[b], x_bar[k], u_bar[k],
                      rows_bar[b], theta_bars[k, b], J[k, n0:n1])


@njit(cache=True, error_model="numpy", nogil=True)
def gram(first, end, J, chunk, out):
    """The square chunks first to end of out (m, m) = J J' for J (m, P), those of its lower triangle counted row by row; the upper
    triangle mirrors the lower."""
    m = J.shape[0]
    for job in range(first, end):
        i = int((np.sqrt(8.0 * job + 1.0) - 1.0) / 2.0)
        j = job - i * (i + 1) // 2
        i0, i1, j0, j1 = i * chunk, min((i + 1) * chunk, m), j * chunk, min((j + 1) * chunk, m)
        part = np.dot(J[i0:i1], J[j0:j1].T)
        put(out[i0:i1, j0:j1], part)
        put(out[j0:j1, i0:i1], part.T)
