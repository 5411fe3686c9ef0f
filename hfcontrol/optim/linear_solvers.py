"""Damped solves of (G + lam I) d = -g: preconditioned conjugate gradients on any operator, and the exact solve in
residual space."""

from dataclasses import dataclass, field
from math import ceil

import numpy as np

from hfcontrol.arrays.linear_algebra import cholesky_solver


@dataclass
class Solution:
    """What a solve leaves: candidate directions, the most trusted last, each with the model's value; and its cost."""

    directions: list = field(default_factory=list)
    values: list = field(default_factory=list)
    iterations: int = 0
    stop: str = ""


def conjugate_gradients(
    A, b, start, precondition=lambda r: r, cap=250, tolerance=5e-4, floor=10
):
    """Minimise q(d) = 1/2 d'A d - b'd from `start` (P,), with Martens' (2010) stopping rule and kept iterates.

    Stops at iteration i when the relative progress over the last k = max(floor, i / 10) iterations falls below
    k x tolerance, at `cap`, or where the curvature is not positive. Iterates are kept at i = 5 x 1.3^j, as he does, for
    backtracking on the true loss.
    """
    d, solution = start.copy(), Solution()
    r = b - A @ d if d.any() else b.copy()
    z = precondition(r)
    p, rz = z.copy(), float(r @ z)
    values, keep_at = [-0.5 * float(d @ (r + b))], 5.0
    for i in range(1, cap + 1):
        Ap = A @ p
        curvature = float(p @ Ap)
        if not curvature > 0 or not np.isfinite(curvature):
            solution.stop = "curvature"
            break
        alpha = rz / curvature
        d += alpha * p
        r -= alpha * Ap
        # p'r = r'z, so the model's value needs no product of vectors: on a GPU each is a wait for a number
        values.append(values[-1] - 0.5 * alpha * rz)
        solution.iterations = i
        if i >= ceil(keep_at):
            solution.directions.append(d.copy())
            solution.values.append(values[-1])
            keep_at *= 1.3
        k = max(floor, i // 10)
        if (
            i >= k
            and values[-1] < 0
            and values[-1] - values[i - k] > k * tolerance * values[-1]
        ):
            solution.stop = "progress"
            break
        z = precondition(r)
        rz, rz_before = float(r @ z), rz
        if rz <= 0:
            solution.stop = "exact"
            break
        p = z + (rz / rz_before) * p
    else:
        solution.stop = "cap"
    if solution.iterations and (
        not solution.directions or not np.array_equal(solution.directions[-1], d)
    ):
        solution.directions.append(d)
        solution.values.append(values[-1])
    return solution


def residual_space(rows, lam, gradient=None):
    """The exact minimiser d = -J'(J J' + N lam I)^-1 r of the damped model (P,), and J d (m,), from `ResidualJacobian` of all
    residuals. The push-through identity turns (J'J / N + lam I)^-1 J'r / N of size P into a system of size m.

    With a gradient g other than J'r / N, that of more trials than the rows are of, it is -(J'J / N + lam I)^-1 g by
    Woodbury's identity. Raises numpy.linalg.LinAlgError where J is not finite.
    """
    if gradient is not None:
        d = -woodbury(rows, lam)(gradient)
        return d, rows.matrix @ d
    y = shifted_solver(rows.gram, rows.trials * lam)(rows.residuals)
    return -(y @ rows.matrix), -(rows.gram @ y)


def woodbury(rows, shift):
    """The preconditioner v -> (J'J / N + shift I)^-1 v of some residuals' Jacobian J (Woodbury's identity).

    Raises numpy.linalg.LinAlgError where J is not finite.
    """
    J, solve = rows.matrix, shifted_solver(rows.gram, rows.trials * shift)
    return lambda v: (v - solve(J @ v) @ J) / shift


def shifted_solver(gram, shift):
    """b -> (gram + shift I)^-1 b by Cholesky; the shift is at least what rounding makes of the gram."""
    shifted = gram.copy()
    shifted.ravel()[:: len(gram) + 1] += max(
        shift, len(gram) * np.finfo(float).eps * float(gram.diagonal().max())
    )
    return cholesky_solver(shifted)
