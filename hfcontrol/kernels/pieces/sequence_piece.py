"""Source piece: the network along recorded inputs, with starts in the middle of sequences, and the adjoint of its outputs.

    before_t = start where starts[t], else rows_{t-1}          rows_t = network(before_t, inputs_t; theta)

`starts` (T, N) says at which steps a trial begins anew, the first among them: its memory is the start of the hidden units
then, in the adjoint too. It follows the pieces of the network's step; the trials stand in blocks.
"""
# ruff: noqa: F821

import numpy as np
from numba import njit


@njit(cache=True, error_model="numpy", nogil=True)
def begin(theta, hidden, start, starts, n0, n1, rows, before):
    """before (row, trial) = rows, but the start of the hidden units for trials n0 to n1 that begin anew."""
    for i in range(rows.shape[0]):
        for n in range(n0, n1):
            before[i, n - n0] = 0.0 if starts[n] else rows[i, n - n0]
    if start >= 0:
        for i in range(hidden[0], hidden[1]):
            for n in range(n0, n1):
                if starts[n]:
                    before[i, n - n0] = theta[start + i - hidden[0]]


@njit(cache=True, error_model="numpy", nogil=True)
def activity(first, end, theta, layers, sources, hidden, start, inputs, starts, rows):
    """Fills the blocks first to end of rows (block, T + 1, row, trial) along inputs (T, n_input, N); the first of each block are zero."""
    T, n_input, N = inputs.shape
    width = rows.shape[3]
    for b in range(first, end):
        n0, n1 = b * width, min((b + 1) * width, N)
        before, scratch = np.zeros((rows.shape[2], width)), np.empty((rows.shape[2] + 1, width))
        rows[b, 0] = 0.0
        for t in range(T):
            now = rows[b, t + 1]
            begin(theta, hidden, start, starts[t], n0, n1, rows[b, t], before)
            now[:n_input] = 0.0
            for i in range(n_input):
                for n in range(n0, n1):
                    now[i, n - n0] = inputs[t, i, n]
            network_step(theta, layers, sources, before, now, scratch)


@njit(error_model="numpy", inline="always")
def cotangent_block(n0, n1, theta, layers, sources, hidden, start, starts, rows, out_bar, theta_bar):
    """Adds to theta_bar (P,) what the cotangents out_bar (T, n_output, N) of the outputs of trials n0 to n1 give."""
    T, n_rows, width = out_bar.shape[0], rows.shape[1], rows.shape[2]
    first = layers[-1, 0]
    before, scratch, product = np.zeros((n_rows, width)), np.empty((n_rows + 1, width)), np.empty(n_rows * (n_rows + 1))
    now_bar, before_bar = np.zeros((n_rows, width)), np.zeros((n_rows, width))
    for t in range(T - 1, -1, -1):
        now_bar, before_bar = before_bar, now_bar
        for k in range(out_bar.shape[1]):
            for n in range(n0, n1):
                now_bar[first + k, n - n0] += out_bar[t, k, n]
        begin(theta, hidden, start, starts[t], n0, n1, rows[t], before)
        clear(before_bar)
        network_vjp(theta, layers, sources, before, rows[t + 1], now_bar, before_bar, scratch)
        add_weight_cotangents(theta_bar, theta, layers, sources, before, rows[t + 1], now_bar, scratch, product)
        for n in range(n0, n1):
            if starts[t, n]:
                for i in range(n_rows):
                    if start >= 0 and hidden[0] <= i < hidden[1]:
                        theta_bar[start + i - hidden[0]] += before_bar[i, n - n0]
                    before_bar[i, n - n0] = 0.0


@njit(cache=True, error_model="numpy", nogil=True)
def cotangent(first, end, theta, layers, sources, hidden, start, starts, rows, out_bar, theta_bars):
    """Fills the blocks first to end of theta_bars (block, P) from the cotangents out_bar (T, n_output, N) of the outputs."""
    N, width = out_bar.shape[2], rows.shape[3]
    for b in range(first, end):
        cotangent_block(b * width, min((b + 1) * width, N), theta, layers, sources, hidden, start, starts, rows[b], out_bar,
                        theta_bars[b])
