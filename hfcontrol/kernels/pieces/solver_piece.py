"""Source piece: the adaptive solver, forward for state and cost and backward for their adjoint, of a block of w trials.

Forward it integrates [z; c], c' = W, and keeps every accepted step with its stages, whose interpolant is z(t) at any time.
Backward, in the time left, tau = T - t, it integrates

    dlam/dtau = F_z' lam + W_z           g = integral of F_theta' lam dtau, by the solver's own quadrature of every step

with z from the interpolant, or integrated along, dz/dtau = -F, for which nothing need be kept. Steps are chosen by the
worst trial's rms error, by a PI controller and Hairer's first step (Hairer, Norsett and Wanner, Solving Ordinary
Differential Equations I, II.4), with the constants that Tsit5 has in OrdinaryDiffEq.jl.
"""
# ruff: noqa: F821

import numpy as np
from numba import njit

FORWARD, STORED, BACKSOLVE, CHECKPOINTED = 0, 1, 2, 3
DONE, TOO_MANY, TOO_SMALL = 0, 1, 2
FIRST, SECOND = np.int64(0), np.int64(1)  # stages: Numba compiles a function anew for every number that a plain 0 or 1 is
BETA1, BETA2, SAFETY, FASTEST, SLOWEST, LEAST_ERROR = 7 / 50, 2 / 25, 0.9, 0.1, 5.0, 1e-4
TINY = 1e-14  # of the horizon: a step as short as that cannot be told from none


@njit(cache=True, error_model="numpy", nogil=True)
def combined(z, S, part, count, h, out):
    """out = z + h sum over the first `count` stages of part[j] S[j]."""
    for i in range(out.shape[0]):
        for n in range(out.shape[1]):
            total = 0.0
            for j in range(count):
                total += part[j] * S[j, i, n]
            out[i, n] = z[i, n] + h * total


@njit(error_model="numpy", inline="always")
def interpolated(t, path, dense, out):
    """out (nz, w) = the state at time t on the interpolant of the accepted steps: z + h sum_j b_j(part) S[j]."""
    times, Z, S = path
    k = min(max(np.searchsorted(times, t, side="right") - 1, 0), times.size - 2)
    h = times[k + 1] - times[k]
    part, b = (t - times[k]) / h, np.empty(dense.shape[0])
    for j in range(b.size):
        b[j] = part * (dense[j, 0] + part * (dense[j, 1] + part * (dense[j, 2] + part * dense[j, 3])))
    combined(Z[k], S[k], b, b.size, h, out)


@njit(cache=True, error_model="numpy", nogil=True)
def error_norm(z, other, change, rtol, atol):
    """The largest over trials of the rms of `change` in units of the tolerance; z and other (m, w) say how large it may be."""
    worst = 0.0
    for n in range(z.shape[1]):
        total = 0.0
        for i in range(z.shape[0]):
            part = change[i, n] / (atol + rtol * max(abs(z[i, n]), abs(other[i, n])))
            total += part * part
        norm = np.sqrt(total / z.shape[0])
        if not norm <= worst:  # NaN too
            worst = norm
    return worst


@njit(cache=True, error_model="numpy", nogil=True)
def rate(mode, T, tau, Y, problem, work, path, dense, room, stage, dY):
    """dY = the rate of Y at tau; backward, it leaves what the weights' cotangents are made of in `room` at `stage`."""
    if mode == FORWARD:
        field(tau, Y[:Y.shape[0] - 1], problem, work, dY)
        return
    z, F, J, slope, r_bar, before_bar, befores, nows, deltas = room
    nz, weights = z.shape[0], problem[12]
    if mode == STORED:
        interpolated(T - tau, path, dense, z)
    else:
        put(z, Y[nz:])
    before, now, scratch, r = befores[stage], nows[stage], work[2], work[5]
    linearise(T - tau, z, problem, (before, now, scratch, work[3], work[4], r), J, slope)
    for k in range(r.shape[0]):
        for n in range(r.shape[1]):
            r_bar[k, n] = weights[k, n] * r[k, n]
    pull(problem[0], J, slope, before, now, problem, Y[:nz], r_bar, deltas[stage], before_bar, scratch, dY[:nz])
    if mode != STORED:
        field(T - tau, z, problem, work, F)
        put_times(dY[nz:], -1.0, F[:nz])


@njit(error_model="numpy", inline="always")
def first_step(mode, T, Y, S, problem, work, path, dense, room, rtol, atol):
    """Hairer's guess of the first step, from Y and its rate S[0]; it uses S[1] and the room of the stage 1."""
    nothing, trial = np.zeros_like(Y), np.empty_like(Y)
    d0, d1 = error_norm(Y, Y, Y, rtol, atol), error_norm(Y, Y, S[0], rtol, atol)
    h = 1e-6 if d0 < 1e-5 or d1 < 1e-5 else 0.01 * d0 / d1
    h = min(h, T)
    both = np.ones(2)
    combined(Y, S, both, SECOND, h, trial)
    rate(mode, T, h, trial, problem, work, path, dense, room, SECOND, S[1])
    both[1] = -1.0
    combined(nothing, S, both, both.size, 1.0, trial)
    steepest = max(d1, error_norm(Y, Y, trial, rtol, atol) / h)
    other = max(1e-6, 1e-3 * h) if steepest <= 1e-15 else (0.01 / steepest) ** 0.2
    return min(100 * h, other, T) if np.isfinite(other) else 1e-3 * h


@njit(error_model="numpy", inline="always")
def collect(theta_bar, problem, room, b, h, scratch, product):
    """theta_bar += h sum of b_i times the weights' cotangents of stage i."""
    befores, nows, deltas = room[6], room[7], room[8]
    for i in range(b.size):
        if b[i] != 0.0:
            for k in range(deltas.shape[1]):
                for n in range(deltas.shape[2]):
                    deltas[i, k, n] *= h * b[i]
            add_weight_cotangents(theta_bar, problem[0], problem[1], problem[2], befores[i], nows[i], deltas[i], scratch, product)


@njit(cache=True, error_model="numpy", nogil=True)
def longer(a):
    """Twice the room of `a` along its first axis."""
    more = np.empty((2 * a.shape[0], *a.shape[1:]))
    flat = more.reshape(more.size)
    for i in range(a.size):
        flat[i] = a.flat[i]
    return more


@njit(cache=True, error_model="numpy", nogil=True)
def adaptive(mode, T, Y, stops, problem, work, path, tableau, room, rtol, atol, most, theta_bar):
    """Integrates Y (m, w), in place, over T with a forced end of step at every one of `stops`, the last of them T.

    Returns how it ended, the time it got to, its last step, accepted steps, rates computed, and the path forward: times
    (K+1,), states (K+1, nz, w), stages (K, 7, nz, w). Backward theta_bar (P,) is added to. One loop with a dozen things that pass from
    step to step, and so one function.
    """
    a, b, c, e, dense = tableau
    nz, w, stages = Y.shape[0] - 1, Y.shape[1], b.size
    room_for = 64 if mode == FORWARD else 1
    times, Z, kept = np.zeros(room_for + 1), np.empty((room_for + 1, nz, w)), np.empty((room_for, stages, nz, w))
    put(Z[0], Y[:nz])
    S, new, change, nothing = np.empty((stages, *Y.shape)), np.empty_like(Y), np.empty_like(Y), np.zeros_like(Y)
    product = np.empty(work[0].shape[0] * work[2].shape[0])
    rate(mode, T, 0.0, Y, problem, work, path, dense, room, FIRST, S[0])
    h = first_step(mode, T, Y, S, problem, work, path, dense, room, rtol, atol)
    tau, taken, rates, tried, error_before, stop, ended = 0.0, 0, 1, 0, LEAST_ERROR, 0, DONE
    while stop < stops.size:
        at_stop = tau + h * (1 + 1e-10) >= stops[stop]
        step = stops[stop] - tau if at_stop else h
        if tried == most or not step > TINY * T:
            ended = TOO_MANY if tried == most else TOO_SMALL
            break
        for i in range(1, stages):
            combined(Y, S, a[i], i, step, new)
            rate(mode, T, tau + c[i] * step, new, problem, work, path, dense, room, i, S[i])
        combined(nothing, S, e, stages, step, change)
        error, rates, tried = error_norm(Y, new, change, rtol, atol), rates + stages - 1, tried + 1
        if not error <= 1.0:
            h = step / (min(SLOWEST, error**BETA1 / SAFETY) if np.isfinite(error) else SLOWEST)
            continue
        if mode == FORWARD:
            if taken == kept.shape[0]:
                times, Z, kept = longer(times), longer(Z), longer(kept)
            for i in range(stages):
                put(kept[taken, i], S[i, :nz])
        else:
            collect(theta_bar, problem, room, b, step, work[2], product)
            for part in room[6:]:
                put(part[0], part[stages - 1])
        tau, taken = stops[stop] if at_stop else tau + step, taken + 1
        put(Y, new)
        put(S[0], S[stages - 1])
        if mode == FORWARD:
            times[taken] = tau
            put(Z[taken], Y[:nz])
        q = min(max(error**BETA1 / error_before**BETA2 / SAFETY, FASTEST), SLOWEST)
        h, error_before = (max(h, step / q) if at_stop and q < 1.0 else step / q), max(error, LEAST_ERROR)
        if at_stop:
            stop += 1
            if mode == CHECKPOINTED and stop < stops.size:
                put(Y[room[0].shape[0]:], path[1][stops.size - stop])
                rate(mode, T, tau, Y, problem, work, path, dense, room, FIRST, S[0])
                rates += 1
    return ended, tau, h, taken, rates, times[:taken + 1].copy(), Z[:taken + 1].copy(), kept[:taken].copy()
