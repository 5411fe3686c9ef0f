"""Source piece: the fused rollout, plant and network in one compiled loop over time, trials in blocks over the cores.

It follows pieces that define the network's step and the plant's `plant_step`, `plant_observe` and `taper_value`. With
`model` the plant is its linear time-varying model about a reference (hold `model`); with `replay` the network sees
recorded observations (hold `inputs`). `exploration` (T, nu, N), or (0, nu, N) for none, is added to the commands. The plain pass in plain.py is the definition.
"""

import math

import numpy as np
from numba import njit, prange


@njit(cache=True, error_model="numpy", nogil=True)
def linear_map(J, d, n, out):
    """out[i] = sum_j J[i, j, n] d[j]: one trial's Jacobian times a vector."""
    for i in range(J.shape[0]):
        total = 0.0
        for j in range(J.shape[1]):
            total += J[i, j, n] * d[j]
        out[i] = total


@njit(cache=True, error_model="numpy", nogil=True)
def see(t, n, now, i, scenario, model, replay, reference, x, y, xs, ys):
    """Observation of trial n (place i in its block) at step t into y and the input rows: target, then observation."""
    x0, target, params, sensory, motor, gain, disturbance, delay, command_delay = scenario
    A, B, C, xr, ur, observed, recorded = reference
    ny, nt = y.shape[1], target.shape[1]
    s = max(t - delay, 0)
    if replay:
        for k in range(ny):
            ys[k] = recorded[t, k, n]
    elif model:
        for k in range(xs.size):
            xs[k] = x[s, k, n] - xr[s, k, n]
        linear_map(C[s], xs, n, ys)
        for k in range(ny):
            ys[k] += observed[s, k, n] + sensory[t, k, n]
    else:
        for k in range(xs.size):
            xs[k] = x[s, k, n]
        plant_observe(xs, params[n], ys)
        for k in range(ny):
            ys[k] += sensory[t, k, n]
    for k in range(nt):
        now[k, i] = target[t, k, n]
    for k in range(ny):
        y[t, k, n] = ys[k]
        now[nt + k, i] = ys[k]


@njit(cache=True, error_model="numpy", nogil=True)
def move(t, n, scenario, limit, taper, model, reference, x, u, command, xs, us, moved):
    """Control of trial n at step t from the command of `command_delay` steps ago, and the plant's next state."""
    x0, target, params, sensory, motor, gain, disturbance, delay, command_delay = scenario
    A, B, C, xr, ur, observed, recorded = reference
    for k in range(us.size):
        c = command[t - command_delay, k, n] if t >= command_delay else 0.0
        if math.isfinite(limit[k]):
            c = limit[k] * math.tanh(c / limit[k])
        u[t, k, n] = c * (1.0 + gain[t, k, n]) + motor[t, k, n]
    if model:
        for k in range(xs.size):
            xs[k] = x[t, k, n] - xr[t, k, n]
        for k in range(us.size):
            us[k] = u[t, k, n] - ur[t, k, n]
        linear_map(A[t], xs, n, moved)
        for k in range(xs.size):
            x[t + 1, k, n] = xr[t + 1, k, n] + moved[k]
        linear_map(B[t], us, n, moved)
        for k in range(xs.size):
            x[t + 1, k, n] += moved[k]
    else:
        for k in range(xs.size):
            xs[k] = x[t, k, n]
        for k in range(us.size):
            us[k] = u[t, k, n]
        plant_step(xs, us, params[n], moved)
        for k in range(xs.size):
            x[t + 1, k, n] = taper_value(moved[k] + disturbance[t, k, n], taper[k])


@njit(cache=True, error_model="numpy", nogil=True)
def rollout_block(n0, n1, theta, layers, sources, hidden, start, scenario, limit, taper, model, replay, reference, exploration,
                  x, u, command, y, every, rows):
    """The rollout of trials n0 to n1; rows (stored step, row, trial of the block) begins with the start of the hidden
    units and keeps the steps `every`, 2 `every`, ..."""
    T, nx, nu, ny = u.shape[0], x.shape[1], u.shape[1], y.shape[1]
    xs, moved, us, ys = np.empty(nx), np.empty(nx), np.empty(nu), np.empty(ny)
    scratch = np.empty((rows.shape[1] + 1, rows.shape[2]))
    pair, first_output = np.empty((2, rows.shape[1], rows.shape[2])), layers[-1, 0]
    rows[0] = 0.0
    if start >= 0:
        for i in range(hidden[0], hidden[1]):
            rows[0, i, :] = theta[start + i - hidden[0]]
    for n in range(n0, n1):
        x[0, :, n] = scenario[0][:, n]
    pair[0] = rows[0]
    for t in range(T):
        before, now = (rows[t], rows[t + 1]) if every == 1 else (pair[t % 2], pair[(t + 1) % 2])
        now[:layers[0, 0]] = 0.0
        for n in range(n0, n1):
            see(t, n, now, n - n0, scenario, model, replay, reference, x, y, xs, ys)
        network_step(theta, layers, sources, before, now, scratch)
        if every > 1 and (t + 1) % every == 0:
            rows[(t + 1) // every] = now
        for n in range(n0, n1):
            for k in range(nu):
                command[t, k, n] = now[first_output + k, n - n0]
                if exploration.shape[0]:
                    command[t, k, n] += exploration[t, k, n]
            move(t, n, scenario, limit, taper, model, reference, x, u, command, xs, us, moved)


@njit(cache=True, error_model="numpy", nogil=True, parallel=True)
def rollout(theta, layers, sources, hidden, start, scenario, limit, taper, model, replay, reference, exploration,
            x, u, command, y, every, rows):
    """The rollout of all trials, block by block: fills x, u, command, y and rows (block, T // every + 1, row, trial)."""
    N, width = x.shape[2], rows.shape[3]
    for b in prange(rows.shape[0]):
        rollout_block(b * width, min((b + 1) * width, N), theta, layers, sources, hidden, start, scenario, limit,
                      taper, model, replay, reference, exploration, x, u, command, y, every, rows[b])
