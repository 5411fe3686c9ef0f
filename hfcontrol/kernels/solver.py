"""The adaptive solver, for a block of w trials.

Forward it integrates [z; c], c' = W, and keeps every accepted step with its stages,
whose interpolant is z(t) at any time. Backward, in the time left, tau = T - t, it
integrates

    dlam/dtau = F_z' lam + W_z
    g = integral of F_theta' lam dtau, by the solver's own quadrature of every step

with z from the interpolant, or integrated along, dz/dtau = -F, which needs nothing
stored. The worst trial's rms error chooses the steps, by a PI controller and Hairer's
first step (Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I,
II.4), with the constants that Tsit5 has in OrdinaryDiffEq.jl.
"""

from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.kernels.fields import (
    FieldProblem,
    FieldWork,
    field,
    linearise,
    pull,
)
from hfcontrol.kernels.jit import helper, kernel
from hfcontrol.kernels.matrices import put, put_times
from hfcontrol.kernels.network_step import add_weight_cotangents

# Modes: forward; backward along the stored path, with the state integrated backward,
# or with that and the stored states at the ends of steps.
FORWARD, STORED, BACKSOLVE, CHECKPOINTED = range(4)

# How an integration ended: at T, after too many steps, at too short a step, or where
# its path has no room for another step.
DONE, TOO_MANY, TOO_SMALL, FULL = range(4)

# The PI controller: exponents of this error and of the last one, safety factor, limits
# of the ratio of steps, old by new, and the least error that counts.
BETA1 = 7 / 50
BETA2 = 2 / 25
SAFETY = 0.9
FASTEST = 0.1
SLOWEST = 5.0
LEAST_ERROR = 1e-4

# Of the horizon: a step as short as that cannot be told from none.
TINY = 1e-14

# Stages as integers of a type: Numba may compile a helper again for every plain 0 or 1.
FIRST_STAGE = np.int64(0)
SECOND_STAGE = np.int64(1)


class SolverTableau(NamedTuple):
    """A method of adaptive steps, see closed_loop/continuous/tableaus.py.

    Shapes for s stages: a (s, s), b and c (s,), weights of the error e (s,), and
    coefficients of the interpolant (s, 4).
    """

    a: Array
    b: Array
    c: Array
    e: Array
    dense: Array


class SolverPath(NamedTuple):
    """Times (K + 1,), states (K + 1, nz, w) and stages (K, s, nz, w) of K steps."""

    times: Array
    states: Array
    stages: Array


class SolverLimits(NamedTuple):
    """Relative and absolute tolerance, and most steps."""

    rtol: float
    atol: float
    max_steps: int


class BackwardWork(NamedTuple):
    """Scratch arrays of a backward pass.

    Shapes: states z (nz, w), field F (nz + 1, w), derivatives J and slope, see
    `linearise`, cotangents r_bar (m, w) and before_bar (unit, w), and of every stage
    the activations befores and nows and the cotangents of sums deltas (s, unit, w).
    """

    z: Array
    F: Array
    J: Array
    slope: Array
    r_bar: Array
    before_bar: Array
    befores: Array
    nows: Array
    deltas: Array


class Run(NamedTuple):
    """What does not change during an integration over T [s].

    mode: FORWARD, STORED, BACKSOLVE or CHECKPOINTED
    path: the path forward, which a backward integration reads
    """

    mode: int
    T: float
    problem: FieldProblem
    work: FieldWork
    path: SolverPath
    tableau: SolverTableau
    backward: BackwardWork
    limits: SolverLimits


class Progress(NamedTuple):
    """How far an integration is, which another call continues.

    numbers (3,): the time it reached, its next step [s], the error of the last one
    counts (5,): how it ended, evaluations of the rate, steps taken and tried, stops
        reached
    rates: those of the stages (s, m, w), the first of them at Y
    path: room for the path of a forward integration
    """

    numbers: Array
    counts: Array
    rates: Array
    path: SolverPath


@helper
def combine(z: Array, S: Array, part: Array, count: int, h: float, out: Array) -> None:
    """Compute out = z + h sum of part[j] S[j] over the first `count` stages."""
    for i in range(out.shape[0]):
        for n in range(out.shape[1]):
            total = 0.0
            for j in range(count):
                total += part[j] * S[j, i, n]
            out[i, n] = z[i, n] + h * total


@helper
def interpolate(t: float, path: SolverPath, dense: Array, out: Array) -> None:
    """Fill out (nz, w) with the state at time t on the path's interpolant.

    It is z + h sum of b_j(part) S[j], with polynomials b_j.
    """
    times = path.times
    after = np.searchsorted(times, t, side="right")
    k = min(max(after - 1, 0), times.size - 2)
    h = times[k + 1] - times[k]
    part = (t - times[k]) / h
    b = np.empty(dense.shape[0])
    for j in range(b.size):
        # Horner's scheme of the polynomial of degree 4 that is 0 at the step's start.
        value = dense[j, 2] + part * dense[j, 3]
        value = dense[j, 1] + part * value
        value = dense[j, 0] + part * value
        b[j] = part * value
    combine(path.states[k], path.stages[k], b, b.size, h, out)


@helper
def error_norm(z: Array, other: Array, change: Array, limits: SolverLimits) -> float:
    """Return the largest rms of `change` over the trials, in units of the tolerance.

    The tolerance depends on the sizes of z and other (m, w).
    """
    worst = 0.0
    for n in range(z.shape[1]):
        total = 0.0
        for i in range(z.shape[0]):
            size = max(abs(z[i, n]), abs(other[i, n]))
            part = change[i, n] / (limits.atol + limits.rtol * size)
            total += part * part
        norm = np.sqrt(total / z.shape[0])
        # Not `norm > worst`: NaN has to be returned too.
        if not norm <= worst:
            worst = norm
    return worst


@helper
def rate(run: Run, tau: float, Y: Array, stage: int, dY: Array) -> None:
    """Fill dY with the rate of Y at tau.

    Backward, it leaves what the cotangents of the weights are made of at `stage`.
    """
    problem = run.problem
    work = run.work
    backward = run.backward
    if run.mode == FORWARD:
        field(tau, Y[: Y.shape[0] - 1], problem, work, dY)
        return
    z = backward.z
    nz = backward.z.shape[0]
    t = run.T - tau
    if run.mode == STORED:
        interpolate(t, run.path, run.tableau.dense, z)
    else:
        put(z, Y[nz:])
    own = work_of_stage(work, backward, stage)
    linearise(t, z, problem, own, backward.J, backward.slope)
    # W_z = r_z' w r
    for k in range(backward.r_bar.shape[0]):
        for n in range(backward.r_bar.shape[1]):
            backward.r_bar[k, n] = problem.weights[k, n] * work.r[k, n]
    point = (backward.J, backward.slope, own.before, own.now)
    delta = backward.deltas[stage]
    pull(
        point,
        problem,
        Y[:nz],
        backward.r_bar,
        delta,
        backward.before_bar,
        work.scratch,
        dY[:nz],
    )
    if run.mode != STORED:
        field(t, z, problem, work, backward.F)
        put_times(dY[nz:], -1.0, backward.F[:nz])


@helper
def work_of_stage(work: FieldWork, backward: BackwardWork, stage: int) -> FieldWork:
    """Return `work` with the activations of one stage."""
    # Every stage keeps its own: `collect` needs them once the step is accepted. All
    # fields are named, because Numba knows no `_replace`.
    return FieldWork(
        backward.befores[stage],
        backward.nows[stage],
        work.scratch,
        work.y,
        work.u,
        work.r,
        work.target,
        work.all_observations,
        work.z,
        work.x,
        work.moved_u,
        work.values,
        work.A,
        work.B,
        work.C,
    )


@helper
def first_step(run: Run, Y: Array, S: Array) -> float:
    """Return Hairer's guess of the first step, from Y and its rate S[0].

    It uses S[1] and the backward arrays of stage 1.
    """
    limits = run.limits
    nothing = np.zeros_like(Y)
    trial = np.empty_like(Y)
    d0 = error_norm(Y, Y, Y, limits)
    d1 = error_norm(Y, Y, S[0], limits)
    # A step that changes Y by about 1 % of its size.
    h = 1e-6 if d0 < 1e-5 or d1 < 1e-5 else 0.01 * d0 / d1
    h = min(h, run.T)
    both = np.ones(2)
    combine(Y, S, both, SECOND_STAGE, h, trial)
    rate(run, h, trial, SECOND_STAGE, S[1])
    # The change of the rate over h estimates the second derivative.
    both[1] = -1.0
    combine(nothing, S, both, both.size, 1.0, trial)
    steepest = max(d1, error_norm(Y, Y, trial, limits) / h)
    other = max(1e-6, 1e-3 * h) if steepest <= 1e-15 else (0.01 / steepest) ** 0.2
    return min(100 * h, other, run.T) if np.isfinite(other) else 1e-3 * h


@helper
def collect(theta_bar: Array, run: Run, h: float, product: Array) -> None:
    """Add the cotangents of the weights over one step of length h to theta_bar."""
    b = run.tableau.b
    backward = run.backward
    problem = run.problem
    for i in range(b.size):
        if b[i] == 0.0:
            continue
        delta = backward.deltas[i]
        part = h * b[i]
        for k in range(delta.shape[0]):
            for n in range(delta.shape[1]):
                delta[k, n] *= part
        add_weight_cotangents(
            theta_bar,
            problem.theta,
            problem.network,
            backward.befores[i],
            backward.nows[i],
            delta,
            run.work.scratch,
            product,
        )


@kernel
def integrate(
    run: Run, Y: Array, stops: Array, theta_bar: Array, progress: Progress
) -> None:
    """Integrate Y (m, w), in place, over `run.T`, or until the path is full.

    A step ends at every one of `stops`; the last of them is T. Backward, the cotangent
    of the weights is added to theta_bar (P,). A dozen variables pass from step to step,
    so that this is one function.
    """
    a = run.tableau.a
    b = run.tableau.b
    c = run.tableau.c
    e = run.tableau.e
    # Forward, the last row of Y is the cost; the path keeps the states alone.
    nz = Y.shape[0] - 1
    n_stages = b.size
    forward = run.mode == FORWARD
    path = progress.path
    S = progress.rates
    new = np.empty_like(Y)
    change = np.empty_like(Y)
    nothing = np.zeros_like(Y)
    product = np.empty(run.work.before.shape[0] * run.work.scratch.shape[0])

    tau = progress.numbers[0]
    h = progress.numbers[1]
    error_before = progress.numbers[2]
    evaluations = progress.counts[1]
    taken = progress.counts[2]
    tried = progress.counts[3]
    stop = progress.counts[4]
    if evaluations == 0:
        put(path.states[0], Y[:nz])
        rate(run, 0.0, Y, FIRST_STAGE, S[0])
        h = first_step(run, Y, S)
        error_before = LEAST_ERROR
        evaluations = 1
    ended = DONE
    while stop < stops.size:
        if forward and taken == path.stages.shape[0]:
            ended = FULL
            break
        # A step that ends just before a stop would leave one too short to count.
        at_stop = tau + h * (1 + 1e-10) >= stops[stop]
        step = stops[stop] - tau if at_stop else h
        if tried == run.limits.max_steps or not step > TINY * run.T:
            ended = TOO_MANY if tried == run.limits.max_steps else TOO_SMALL
            break
        for i in range(1, n_stages):
            combine(Y, S, a[i], i, step, new)
            rate(run, tau + c[i] * step, new, i, S[i])
        combine(nothing, S, e, n_stages, step, change)
        error = error_norm(Y, new, change, run.limits)
        evaluations += n_stages - 1
        tried += 1
        # Not `error > 1`: a step to NaN is rejected too.
        if not error <= 1.0:
            ratio = SLOWEST
            if np.isfinite(error):
                ratio = min(SLOWEST, error**BETA1 / SAFETY)
            h = step / ratio
            continue

        if forward:
            for i in range(n_stages):
                put(path.stages[taken, i], S[i, :nz])
        else:
            collect(theta_bar, run, step, product)
            # The last stage is the first one of the next step.
            put(run.backward.befores[0], run.backward.befores[n_stages - 1])
            put(run.backward.nows[0], run.backward.nows[n_stages - 1])
            put(run.backward.deltas[0], run.backward.deltas[n_stages - 1])
        tau = stops[stop] if at_stop else tau + step
        taken += 1
        put(Y, new)
        put(S[0], S[n_stages - 1])
        if forward:
            path.times[taken] = tau
            put(path.states[taken], Y[:nz])
        # The PI controller: this error and the last one.
        ratio = error**BETA1 / error_before**BETA2 / SAFETY
        ratio = min(max(ratio, FASTEST), SLOWEST)
        # A step that was cut at a stop says little about the next one.
        h = max(h, step / ratio) if at_stop and ratio < 1.0 else step / ratio
        error_before = max(error, LEAST_ERROR)
        if at_stop:
            stop += 1
            if run.mode == CHECKPOINTED and stop < stops.size:
                stored = run.path.states[stops.size - stop]
                put(Y[run.backward.z.shape[0] :], stored)
                rate(run, tau, Y, FIRST_STAGE, S[0])
                evaluations += 1

    progress.numbers[0] = tau
    progress.numbers[1] = h
    progress.numbers[2] = error_before
    progress.counts[0] = ended
    progress.counts[1] = evaluations
    progress.counts[2] = taken
    progress.counts[3] = tried
    progress.counts[4] = stop
