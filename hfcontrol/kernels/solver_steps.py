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


# Not `SolverTableau`: these methods have no error estimate and no interpolant.
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
    Z: Array,
    S: Array,
    cost: Array,
) -> None:
    """Fill the results of the steps between times (K + 1,) from z0 (nz, w).

    These are states Z (K + 1, nz, w), rates of the stages S (K, s, nz, w) and the cost
    (w,).
    """
    a, b, c = tableau
    nz, w = z0.shape
    s = b.size
    cost[:] = 0.0
    F = np.empty((nz + 1, w))
    z = np.empty((nz, w))
    put(Z[0], z0)
    for k in range(times.size - 1):
        h = times[k + 1] - times[k]
        for i in range(s):
            combine(Z[k], S[k], a[i], i, h, z)
            t = times[k] + c[i] * h
            field(t, z, problem, work, F)
            put(S[k, i], F[:nz])
            # The last row of the field is the rate W of the cost.
            part = h * b[i]
            for n in range(w):
                cost[n] += part * F[nz, n]
        combine(Z[k], S[k], b, s, h, Z[k + 1])


@kernel
def steps_adjoint(
    problem: FieldProblem,
    lam: Array,
    path: SolverPath,
    tableau: StepTableau,
    work: FieldWork,
    backward: BackwardWork,
    theta_bar: Array,
) -> None:
    """Replace the cotangent lam (nz, w) of the last state by that of the first.

    The cotangent of the weights is added to theta_bar (P,).
    """
    a, b, c = tableau
    times = path.times
    s = b.size
    weights = problem.weights
    r = work.r
    product = np.empty(work.before.shape[0] * work.scratch.shape[0])
    lam_i = np.empty_like(lam)
    m = np.empty((s, lam.shape[0], lam.shape[1]))
    # Arrays that `linearise` fills again at every stage.
    point = (backward.J, backward.slope, work.before, work.now)
    delta = backward.deltas[0]
    for k in range(times.size - 2, -1, -1):
        h = times[k + 1] - times[k]
        for i in range(s - 1, -1, -1):
            part = h * b[i]
            put_times(lam_i, part, lam)
            for j in range(i + 1, s):
                add_times(lam_i, h * a[j, i], m[j])
            # The stage's state is computed again: a path keeps the stages' rates alone.
            combine(path.states[k], path.stages[k], a[i], i, h, backward.z)
            t = times[k] + c[i] * h
            linearise(t, backward.z, problem, work, backward.J, backward.slope)
            # h b_i W_z = r_z' r_bar, with W the sum of w r^2 / 2.
            for q in range(r.shape[0]):
                for n in range(r.shape[1]):
                    weight = part * weights[q, n]
                    backward.r_bar[q, n] = weight * r[q, n]
            pull(
                point,
                problem,
                lam_i,
                backward.r_bar,
                delta,
                backward.before_bar,
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
        # After all stages: each of them uses the lam of the step's end.
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
        J = points.J[q]
        slope = points.slopes[q]
        linearise(times[q], states[q], problem, work, J, slope)
        # Copies: the next point fills the arrays of `work` again.
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

    Each is multiplied by the square root of its weight in the cost, so that the
    Gauss-Newton product is the transpose times this. v (P,) is the tangent of the
    weights, dz (nz, w) that of the first state; it becomes that of the last one.
    """
    # The times of the stages, c, are those of the points.
    a, b, _ = grid.tableau
    points = grid.points
    weights = problem.weights
    s = b.size
    stages = np.empty((s, dz.shape[0], dz.shape[1]))
    stage = np.empty_like(dz)
    product = np.empty_like(work.before)
    d_before = np.zeros_like(work.before)
    d_now = np.zeros_like(work.before)
    for k in range(grid.lengths.size):
        h = grid.lengths[k]
        for i in range(s):
            q = grid.stages[k, i]
            before = points.befores[q]
            now = points.nows[q]
            combine(dz, stages, a[i], i, h, stage)
            push(
                v,
                (points.J[q], points.slopes[q], before, now),
                problem,
                stage,
                d_before,
                d_now,
                work.scratch,
                product,
                stages[i],
                dr[k, i],
            )
            part = h * b[i]
            for r in range(weights.shape[0]):
                for n in range(weights.shape[1]):
                    root = np.sqrt(part * weights[r, n])
                    dr[k, i, r, n] *= root
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

    r_bars (K, s, m, w) are cotangents of its dr, and lam (nz, w) is that of the last
    state; it becomes that of the first. The cotangent of the weights is added to
    theta_bar (P,).
    """
    a, b, _ = grid.tableau
    points = grid.points
    weights = problem.weights
    s = b.size
    product = np.empty(work.before.shape[0] * work.scratch.shape[0])
    lam_i = np.empty_like(lam)
    m = np.empty((s, lam.shape[0], lam.shape[1]))
    now_bar = np.zeros_like(work.before)
    before_bar = np.zeros_like(work.before)
    r_bar = np.empty_like(weights)
    for k in range(grid.lengths.size - 1, -1, -1):
        h = grid.lengths[k]
        for i in range(s - 1, -1, -1):
            q = grid.stages[k, i]
            part = h * b[i]
            put_times(lam_i, part, lam)
            for j in range(i + 1, s):
                add_times(lam_i, h * a[j, i], m[j])
            for r in range(weights.shape[0]):
                for n in range(weights.shape[1]):
                    root = np.sqrt(part * weights[r, n])
                    r_bar[r, n] = root * r_bars[k, i, r, n]
            before = points.befores[q]
            now = points.nows[q]
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
        # After all stages: each of them uses the lam of the step's end.
        for i in range(s):
            add(lam, m[i])
