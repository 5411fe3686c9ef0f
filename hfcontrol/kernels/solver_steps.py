"""Runge-Kutta steps of given lengths, their exact adjoint, and residuals along them.

A step of length h from z_k has stages z_i = z_k + h sum_j a_ij F(z_j), and
z_{k+1} = z_k + h sum_i b_i F(z_i); the cost is the sum of h b_i W(z_i). Backward, with
lam of z_{k+1},

    lam_i = h b_i lam + h sum_{j>i} a_ji m_j
    m_i = F_z' lam_i + h b_i W_z
    lam <- lam + sum_i m_i

and the cotangent of the weights is the sum of F_theta' lam_i (the transpose of the
step, stage by stage).
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
    push,
)
from hfcontrol.kernels.jit import kernel
from hfcontrol.kernels.matrices import add, add_times, put, put_times
from hfcontrol.kernels.network_step import add_weight_cotangents
from hfcontrol.kernels.solver import BackwardWork, SolverPath, combine


class StepTableau(NamedTuple):
    """A method of steps of given lengths: a (s, s), b and c (s,) of s stages."""

    a: Array
    b: Array
    c: Array


class Linearisation(NamedTuple):
    """Derivatives at Q points, see `linearise`.

    Shapes: J (Q, rows, nx + nu, w), slopes (Q, nu, w), activations befores and nows
    (Q, unit, w).
    """

    J: Array
    slopes: Array
    befores: Array
    nows: Array


class FrozenGrid(NamedTuple):
    """Steps of given lengths (K,) and the derivatives at their stages.

    `stages` (K, s) are the points of the stages in `points`.
    """

    lengths: Array
    stages: Array
    tableau: StepTableau
    points: Linearisation


@kernel
def march(
    problem: FieldProblem,
    z0: Array,
    times: Array,
    tableau: StepTableau,
    work: FieldWork,
) -> tuple[Array, Array, Array]:
    """Return the results of the steps between times (K + 1,) from z0 (nz, w).

    These are states (K + 1, nz, w), rates of the stages (K, s, nz, w) and the cost
    (w,).
    """
    a, b, c = tableau
    nz, w, s = z0.shape[0], z0.shape[1], b.size
    Z, S = np.empty((times.size, nz, w)), np.empty((times.size - 1, s, nz, w))
    cost, F, z = np.zeros(w), np.empty((nz + 1, w)), np.empty((nz, w))
    put(Z[0], z0)
    for k in range(times.size - 1):
        h = times[k + 1] - times[k]
        for i in range(s):
            combine(Z[k], S[k], a[i], i, h, z)
            field(times[k] + c[i] * h, z, problem, work, F)
            put(S[k, i], F[:nz])
            for n in range(w):
                cost[n] += h * b[i] * F[nz, n]
        combine(Z[k], S[k], b, s, h, Z[k + 1])
    return Z, S, cost


@kernel
def steps_adjoint(
    problem: FieldProblem,
    lam: Array,
    path: SolverPath,
    tableau: StepTableau,
    work: FieldWork,
    room: BackwardWork,
    theta_bar: Array,
) -> None:
    """Replace the cotangent lam (nz, w) of the last state by that of the first.

    The cotangent of the weights is added to theta_bar.
    """
    a, b, c = tableau
    times, s, weights, r = path.times, b.size, problem.weights, work.r
    product = np.empty(work.before.shape[0] * work.scratch.shape[0])
    lam_i, m = np.empty_like(lam), np.empty((s, lam.shape[0], lam.shape[1]))
    point = (room.J, room.slope, work.before, work.now)
    delta = room.deltas[0]
    for k in range(times.size - 2, -1, -1):
        h = times[k + 1] - times[k]
        for i in range(s - 1, -1, -1):
            put_times(lam_i, h * b[i], lam)
            for j in range(i + 1, s):
                add_times(lam_i, h * a[j, i], m[j])
            combine(path.states[k], path.stages[k], a[i], i, h, room.z)
            t = times[k] + c[i] * h
            linearise(t, room.z, problem, work, room.J, room.slope)
            for q in range(r.shape[0]):
                for n in range(r.shape[1]):
                    room.r_bar[q, n] = h * b[i] * weights[q, n] * r[q, n]
            pull(
                point,
                problem,
                lam_i,
                room.r_bar,
                delta,
                room.before_bar,
                work.scratch,
                m[i],
            )
            add_weight_cotangents(
                theta_bar,
                problem.theta,
                problem.network,
                work.before,
                work.now,
                delta,
                work.scratch,
                product,
            )
        for i in range(s):
            add(lam, m[i])


@kernel
def linearise_points(
    problem: FieldProblem,
    times: Array,
    states: Array,
    work: FieldWork,
    points: Linearisation,
) -> None:
    """Fill `points` with the derivatives at times (Q,) and states (Q, nz, w)."""
    for q in range(times.size):
        linearise(times[q], states[q], problem, work, points.J[q], points.slopes[q])
        put(points.befores[q], work.before)
        put(points.nows[q], work.now)


@kernel
def residuals_tangent(
    problem: FieldProblem,
    v: Array,
    dz: Array,
    grid: FrozenGrid,
    work: FieldWork,
    dr: Array,
) -> None:
    """Fill dr (K, s, m, w) with the tangents of the residuals at all stages.

    Each is times the root of its weight in the cost. They are those of weights v (P,)
    and of the first state, dz (nz, w), which becomes the tangent of the last one.
    """
    a, b, _ = grid.tableau
    points, weights, s = grid.points, problem.weights, b.size
    stages = np.empty((s, dz.shape[0], dz.shape[1]))
    stage, product = np.empty_like(dz), np.empty_like(work.before)
    d_before, d_now = np.zeros_like(work.before), np.zeros_like(work.before)
    for k in range(grid.lengths.size):
        h = grid.lengths[k]
        for i in range(s):
            q = grid.stages[k, i]
            combine(dz, stages, a[i], i, h, stage)
            push(
                v,
                (points.J[q], points.slopes[q], points.befores[q], points.nows[q]),
                problem,
                stage,
                d_before,
                d_now,
                work.scratch,
                product,
                stages[i],
                dr[k, i],
            )
            for r in range(weights.shape[0]):
                for n in range(weights.shape[1]):
                    dr[k, i, r, n] *= np.sqrt(h * b[i] * weights[r, n])
        combine(dz, stages, b, s, h, stage)
        put(dz, stage)


@kernel
def residuals_adjoint(
    problem: FieldProblem,
    lam: Array,
    grid: FrozenGrid,
    work: FieldWork,
    r_bars: Array,
    theta_bar: Array,
) -> None:
    """Compute the transpose of `residuals_tangent`.

    From cotangents r_bars (K, s, m, w) and lam (nz, w) of the last state, which becomes
    that of the first; the cotangent of the weights is added to theta_bar.
    """
    a, b, _ = grid.tableau
    points, weights, s = grid.points, problem.weights, b.size
    product = np.empty(work.before.shape[0] * work.scratch.shape[0])
    lam_i, m = np.empty_like(lam), np.empty((s, lam.shape[0], lam.shape[1]))
    now_bar, before_bar = np.zeros_like(work.before), np.zeros_like(work.before)
    r_bar = np.empty_like(weights)
    for k in range(grid.lengths.size - 1, -1, -1):
        h = grid.lengths[k]
        for i in range(s - 1, -1, -1):
            q = grid.stages[k, i]
            put_times(lam_i, h * b[i], lam)
            for j in range(i + 1, s):
                add_times(lam_i, h * a[j, i], m[j])
            for r in range(weights.shape[0]):
                for n in range(weights.shape[1]):
                    root = np.sqrt(h * b[i] * weights[r, n])
                    r_bar[r, n] = root * r_bars[k, i, r, n]
            before, now = points.befores[q], points.nows[q]
            pull(
                (points.J[q], points.slopes[q], before, now),
                problem,
                lam_i,
                r_bar,
                now_bar,
                before_bar,
                work.scratch,
                m[i],
            )
            add_weight_cotangents(
                theta_bar,
                problem.theta,
                problem.network,
                before,
                now,
                now_bar,
                work.scratch,
                product,
            )
        for i in range(s):
            add(lam, m[i])
