"""One trial at one time step: plant step, observation, control, as plain functions.

They are the formulas of CUDA kernels, where a thread computes one trial; cuda/device.py
compiles them. (Kernels of the CPU compute blocks of trials.) Nothing is allocated,
because a GPU has no `np.empty`: functions get their scratch, `work` (4, m), with at
least as many columns as there are states, controls and observations.

Functions of the plant come as arguments: `rates(x, u, p, dx)`, or `step(x, u, p, h,
x_next)` of a discrete plant, and `observe(x, p, y)`, with x (nx,), u (nu,), p (np,).
"""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

from hfcontrol.arrays.types import Array

Function: TypeAlias = Callable[..., Any]


def euler(
    rates: Function, x: Array, u: Array, p: Array, h: float, work: Array, x_next: Array
) -> None:
    """Compute x_next = x + h dx(x, u)."""
    rates(x, u, p, x_next)
    for i in range(x_next.shape[0]):
        x_next[i] = x[i] + h * x_next[i]


def semi_implicit(
    rates: Function, x: Array, u: Array, p: Array, h: float, work: Array, x_next: Array
) -> None:
    """Move the rates, the second half, by their slopes at x, and the positions by them.

    The positions, the first half of the state, move by the new rates.
    """
    rates(x, u, p, x_next)
    half = x_next.shape[0] // 2
    # A pair at a time: the new rate is needed, the old slope of the position is not.
    for i in range(half):
        rate = x[half + i] + h * x_next[half + i]
        x_next[half + i] = rate
        x_next[i] = x[i] + h * rate


def rk4(
    rates: Function, x: Array, u: Array, p: Array, h: float, work: Array, x_next: Array
) -> None:
    """Take a step of the classical Runge-Kutta method of order 4, with constant u."""
    n = x_next.shape[0]
    stage = work[0, :n]
    slope = work[1, :n]
    half = h / 2
    third = h / 3
    sixth = h / 6
    # x_next collects x + h / 6 (k1 + 2 k2 + 2 k3 + k4) as the slopes come.
    rates(x, u, p, slope)
    for i in range(n):
        x_next[i] = x[i] + sixth * slope[i]
        stage[i] = x[i] + half * slope[i]
    rates(stage, u, p, slope)
    for i in range(n):
        x_next[i] += third * slope[i]
        stage[i] = x[i] + half * slope[i]
    rates(stage, u, p, slope)
    for i in range(n):
        x_next[i] += third * slope[i]
        stage[i] = x[i] + h * slope[i]
    rates(stage, u, p, slope)
    for i in range(n):
        x_next[i] += sixth * slope[i]


def discrete(
    step: Function, x: Array, u: Array, p: Array, h: float, work: Array, x_next: Array
) -> None:
    """Take a step of a plant that gives its step itself."""
    step(x, u, p, h, x_next)


# By the plant file's INTEGRATOR.
INTEGRATORS = {
    "euler": euler,
    "semi_implicit": semi_implicit,
    "rk4": rk4,
    "none": discrete,
}


def step_body(
    integrate: Function,
    substeps: int,
    h: float,
    x: Array,
    u: Array,
    p: Array,
    work: Array,
    x_next: Array,
) -> None:
    """Take a control step of the body: some steps of h [s] of the integrator.

    `integrate` is (x, u, p, h, work, x_next), an integrator with the plant's rates.
    """
    if substeps == 1:
        integrate(x, u, p, h, work, x_next)
        return
    n = x_next.shape[0]
    # Not x: that is the caller's, and the integrator writes only x_next.
    now = work[2, :n]
    for i in range(n):
        now[i] = x[i]
    for _ in range(substeps):
        integrate(now, u, p, h, work, x_next)
        for i in range(n):
            now[i] = x_next[i]


def drive_actuators(
    decay: float, mean: float, x: Array, u: Array, drive: Array, x_next: Array
) -> None:
    """Fill the mean drives (nu,) over a control step, and the drives after it.

    Actuators are of first order, a' = (u - a) / lag, and their drives a are the last
    states. The held command leaves `decay` of what a drive is behind it; `mean` of
    that is the mean over the step.
    """
    first = x.shape[0] - drive.shape[0]
    for i in range(drive.shape[0]):
        behind = x[first + i] - u[i]
        drive[i] = u[i] + mean * behind
        x_next[first + i] = u[i] + decay * behind


def copy_state(x: Array, y: Array) -> None:
    """Fill the observation or output of a plant that defines none."""
    for i in range(y.shape[0]):
        y[i] = x[i]


def select_entries(values: Array, indices: Any, selected: Array) -> None:
    """Fill the entries with these indices (a tuple)."""
    for i in range(len(indices)):
        selected[i] = values[indices[i]]


def taper_value(x: float, limit: float) -> float:
    """Return x within +-limit; beyond, limit + tanh(|x| - limit) with the sign of x."""
    # Also of states without a taper, whose limit is infinite.
    if abs(x) <= limit:
        return x
    return math.copysign(limit + math.tanh(abs(x) - limit), x)


def limit_command(c: float, low: float, high: float, softness: float) -> float:
    """Return the control of a command, see `ControlLimits` in plant/limits.py."""
    if math.isfinite(low) and math.isfinite(high):
        centre = 0.5 * (low + high)
        width = 0.5 * (high - low)
        return centre + width * math.tanh((c - centre) / width)
    if math.isfinite(low):
        bound, side = low, 1.0
    elif math.isfinite(high):
        bound, side = high, -1.0
    else:
        return c
    z = side * (c - bound) / softness
    # log(1 + e^z) without overflow
    softplus = max(z, 0.0) + math.log1p(math.exp(-abs(z)))
    return bound + side * softness * softplus


def limit_slope(u: float, low: float, high: float, softness: float) -> float:
    """Return the derivative of `limit_command`, by its value u."""
    if math.isfinite(low) and math.isfinite(high):
        part = (u - 0.5 * (low + high)) / (0.5 * (high - low))
        return 1.0 - part**2
    if math.isfinite(low):
        return -math.expm1((low - u) / softness)
    if math.isfinite(high):
        return -math.expm1((u - high) / softness)
    return 1.0


def gather(a: Array, t: int, n: int, column: Array) -> None:
    """Copy a[t, :, n] to a column."""
    for i in range(a.shape[1]):
        column[i] = a[t, i, n]


def subtract_gathered(a: Array, b: Array, t: int, n: int, column: Array) -> None:
    """Fill a column with a[t, :, n] - b[t, :, n]."""
    for i in range(a.shape[1]):
        column[i] = a[t, i, n] - b[t, i, n]


def multiply_matrix(J: Array, n: int, d: Array, out: Array) -> None:
    """Compute out = J[:, :, n] d, the Jacobian of one trial times a vector."""
    for i in range(J.shape[0]):
        total = 0.0
        for j in range(J.shape[1]):
            total += J[i, j, n] * d[j]
        out[i] = total


def see(
    observe: Function, t: int, n: int, loop: Any, model: Any, x: Array, scratch: Any
) -> None:
    """Fill scratch.y with the observation that trial n sees at step t.

    `loop` has the fields of `LoopArrays`, `scratch` those of `TrialScratch`, both of
    cuda/arguments.py, and `model` those of `LinearModel`, which may replace the plant
    or replay recorded observations. x (T+1, nx, N).
    """
    xs = scratch.x
    ys = scratch.y
    # Before the first observation arrives, the network sees the start.
    s = max(t - loop.feedback_delay, 0)
    # The recorded observations contain their noise.
    if model.replays_inputs:
        gather(model.recorded, t, n, ys)
        return
    if model.replaces_plant:
        subtract_gathered(x, model.x, s, n, xs)
        multiply_matrix(model.C[s], n, xs, ys)
        for k in range(loop.sensory_noise.shape[1]):
            noise = loop.sensory_noise[t, k, n]
            ys[k] += model.observed[s, k, n] + noise
        return
    gather(x, s, n, xs)
    observe(xs, loop.params[n], scratch.work, ys)
    for k in range(loop.sensory_noise.shape[1]):
        ys[k] += loop.sensory_noise[t, k, n]


def control(t: int, n: int, loop: Any, command: Array, u: Array) -> None:
    """Fill u[t, :, n] from the command of `command_delay` steps before.

    The control limit comes first, then gain and motor noise.
    """
    delay = loop.command_delay
    for k in range(u.shape[1]):
        low = loop.limits[0, k]
        high = loop.limits[1, k]
        # Nothing arrives before the first command.
        c = min(max(0.0, low), high)
        if t >= delay:
            sent = command[t - delay, k, n]
            c = limit_command(sent, low, high, loop.limits[2, k])
        factor = 1.0 + loop.motor_gain[t, k, n]
        noise = loop.motor_noise[t, k, n]
        u[t, k, n] = c * factor + noise


def move(
    step: Function,
    t: int,
    n: int,
    loop: Any,
    model: Any,
    x: Array,
    u: Array,
    scratch: Any,
) -> None:
    """Fill x[t+1, :, n] from state and control of step t; arguments as of `see`."""
    xs = scratch.x
    us = scratch.u
    moved = scratch.x_next
    nx = x.shape[1]
    if model.replaces_plant:
        subtract_gathered(x, model.x, t, n, xs)
        subtract_gathered(u, model.u, t, n, us)
        multiply_matrix(model.A[t], n, xs, moved)
        # One product after the other: they share the scratch `moved`.
        for k in range(nx):
            reference = model.x[t + 1, k, n]
            x[t + 1, k, n] = reference + moved[k]
        multiply_matrix(model.B[t], n, us, moved)
        for k in range(nx):
            x[t + 1, k, n] += moved[k]
        return
    gather(x, t, n, xs)
    gather(u, t, n, us)
    # The plant's functions take small contiguous arrays.
    step(xs, us, loop.params[n], scratch.work, moved)
    for k in range(nx):
        raw = moved[k] + loop.disturbance[t, k, n]
        x[t + 1, k, n] = taper_value(raw, loop.taper[k])
