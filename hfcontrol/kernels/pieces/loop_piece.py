"""Source piece: what one trial sees and does at one step of the closed loop; CUDA takes it too.

It follows a piece that defines the plant's `plant_step`, `plant_observe` and `taper_value`. With `model` the plant is its linear
time-varying model about a reference (hold `model`); with `replay` the network sees recorded observations (hold `inputs`). The
plain pass in plain.py is the definition.
"""
# ruff: noqa: F821

import math

from numba import njit


@njit(error_model="numpy", inline="always")
def linear_map(J, d, n, out):
    """out[i] = sum_j J[i, j, n] d[j]: one trial's Jacobian times a vector."""
    for i in range(J.shape[0]):
        total = 0.0
        for j in range(J.shape[1]):
            total += J[i, j, n] * d[j]
        out[i] = total


@njit(error_model="numpy", inline="always")
def see(t, n, scenario, model, replay, reference, x, y, xs, ys):
    """Observation of trial n at step t, into ys and y."""
    x0, target, params, sensory, motor, gain, disturbance, delay, command_delay = scenario
    A, B, C, xr, ur, observed, recorded = reference
    nx, ny = x.shape[1], y.shape[1]
    s = max(t - delay, 0)
    if replay:
        for k in range(ny):
            ys[k] = recorded[t, k, n]
    elif model:
        for k in range(nx):
            xs[k] = x[s, k, n] - xr[s, k, n]
        linear_map(C[s], xs, n, ys)
        for k in range(ny):
            ys[k] += observed[s, k, n] + sensory[t, k, n]
    else:
        for k in range(nx):
            xs[k] = x[s, k, n]
        plant_observe(xs, params[n], ys)
        for k in range(ny):
            ys[k] += sensory[t, k, n]
    for k in range(ny):
        y[t, k, n] = ys[k]


@njit(error_model="numpy", inline="always")
def move(t, n, scenario, limit, taper, model, reference, x, u, command, xs, us, moved):
    """Control of trial n at step t from the command of `command_delay` steps ago, and the plant's next state."""
    x0, target, params, sensory, motor, gain, disturbance, delay, command_delay = scenario
    A, B, C, xr, ur, observed, recorded = reference
    nx, nu = x.shape[1], u.shape[1]
    for k in range(nu):
        c = command[t - command_delay, k, n] if t >= command_delay else 0.0
        if math.isfinite(limit[k]):
            c = limit[k] * math.tanh(c / limit[k])
        u[t, k, n] = c * (1.0 + gain[t, k, n]) + motor[t, k, n]
    if model:
        for k in range(nx):
            xs[k] = x[t, k, n] - xr[t, k, n]
        for k in range(nu):
            us[k] = u[t, k, n] - ur[t, k, n]
        linear_map(A[t], xs, n, moved)
        for k in range(nx):
            x[t + 1, k, n] = xr[t + 1, k, n] + moved[k]
        linear_map(B[t], us, n, moved)
        for k in range(nx):
            x[t + 1, k, n] += moved[k]
    else:
        for k in range(nx):
            xs[k] = x[t, k, n]
        for k in range(nu):
            us[k] = u[t, k, n]
        plant_step(xs, us, params[n], moved)
        for k in range(nx):
            x[t + 1, k, n] = taper_value(moved[k] + disturbance[t, k, n], taper[k])
