"""Source piece: the fused rollout, plant and network in one compiled loop over time, some blocks of trials.

It follows pieces that define the network's step and, in loop_piece.py, what a trial sees and does. `exploration` (T, nu, N), or
(0, nu, N) for none, is added to the commands. The plain pass in plain.py is the definition.
"""

import numpy as np
from numba import njit


@njit(error_model="numpy", inline="always")
def rollout_block(n0, n1, theta, layers, sources, hidden, start, scenario, limit, taper, model, replay, reference, exploration,
                  x, u, command, y, every, rows):
    """The rollout of trials n0 to n1; rows (stored step, row, trial of the block) begins with the start of the hidden
    units and keeps the steps `every`, 2 `every`, ..."""
    T, nx, nu, ny, nt = u.shape[0], x.shape[1], u.shape[1], y.shape[1], scenario[1].shape[1]
    xs, moved, us, ys = np.empty(nx), np.empty(nx), np.empty(nu), np.empty(ny)
    scratch = np.empty((rows.shape[1] + 1, rows.shape[2]), rows.dtype)
    pair, first_output = np.empty((2, rows.shape[1], rows.shape[2]), rows.dtype), layers[-1, 0]
    clear(rows[0])
    if start >= 0:
        for i in range(hidden[0], hidden[1]):
            for n in range(rows.shape[2]):
                rows[0, i, n] = theta[start + i - hidden[0]]
    put(x[0, :, n0:n1], scenario[0][:, n0:n1])
    put(pair[0], rows[0])
    for t in range(T):
        before, now = (rows[t], rows[t + 1]) if every == 1 else (pair[t % 2], pair[(t + 1) % 2])
        clear(now[:layers[0, 0]])
        for n in range(n0, n1):
            see(t, n, scenario, model, replay, reference, x, y, xs, ys)
            for k in range(nt):
                now[k, n - n0] = scenario[1][t, k, n]
            for k in range(ny):
                now[nt + k, n - n0] = ys[k]
        network_step(theta, layers, sources, before, now, scratch)
        if every > 1 and (t + 1) % every == 0:
            put(rows[(t + 1) // every], now)
        for n in range(n0, n1):
            for k in range(nu):
                command[t, k, n] = now[first_output + k, n - n0]
                if exploration.shape[0]:
                    command[t, k, n] += exploration[t, k, n]
            move(t, n, scenario, limit, taper, model, reference, x, u, command, xs, us, moved)


@njit(cache=True, error_model="numpy", nogil=True)
def rollout(first, end, theta, layers, sources, hidden, start, scenario, limit, taper, model, replay, reference, exploration,
            x, u, command, y, every, rows):
    """The rollout of the blocks first to end of trials: fills x, u, command, y and rows (block, T // every + 1, row, trial)."""
    N, width = x.shape[2], rows.shape[3]
    for b in range(first, end):
        rollout_block(b * width, min((b + 1) * width, N), theta, layers, sources, hidden, start, scenario, limit,
                      taper, model, replay, reference, exploration, x, u, command, y, every, rows[b])
