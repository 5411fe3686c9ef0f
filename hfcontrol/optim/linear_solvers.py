"""Solvers of the damped system (G + lam I) d = -g.

Preconditioned conjugate gradients for any operator, and the exact solution in residual
space.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from typing import Protocol

import numpy as np

from hfcontrol.arrays.linear_algebra import cholesky_solver
from hfcontrol.arrays.types import Array
from hfcontrol.optim.curvature import Operator

# Martens (2010) keeps the iterates 5, 5 x 1.3, 5 x 1.3^2, ... for backtracking.
FIRST_KEPT = 5.0
KEPT_RATIO = 1.3

LinearMap = Callable[[Array], Array]


class JacobianRows(Protocol):
    """The Jacobian of m weighted residuals of N trials, see `ResidualJacobian`."""

    trials: int
    matrix: Array
    residuals: Array
    gram: Array


@dataclass
class Solution:
    """Candidate directions, the most trusted last, each with the value of the model.

    `stop` says why the solver stopped.
    """

    directions: list[Array] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    iterations: int = 0
    stop: str = ""

    def keep(self, direction: Array, value: float) -> None:
        """Add a candidate."""
        self.directions.append(direction)
        self.values.append(value)


def identity(v: Array) -> Array:
    """Return v: the preconditioner that does nothing."""
    return v


def has_stalled(values: list[float], window: int, tolerance: float) -> bool:
    """Whether the model's value has stopped falling.

    It has if its relative progress over the last `window` iterations is less than
    window x tolerance (Martens 2010, section 4.4).
    """
    if len(values) <= window:
        return False
    now = values[-1]
    progress = now - values[-1 - window]
    return now < 0 and progress > window * tolerance * now


def conjugate_gradients(
    A: Operator,
    b: Array,
    start: Array,
    precondition: LinearMap = identity,
    cap: int = 250,
    tolerance: float = 5e-4,
    floor: int = 10,
) -> Solution:
    """Minimise q(d) = 1/2 d'A d - b'd from `start` (P,) as Martens (2010) does.

    Stops at iteration i if the relative progress over the last k = max(floor, i / 10)
    iterations is less than k x tolerance, at `cap`, or at a direction without positive
    curvature. Keeps the iterates 5 x 1.3^j, for backtracking on the true loss.
    """
    d = start.copy()
    solution = Solution()
    # a start at zero saves a product with A
    r = b - A @ d if d.any() else b.copy()
    z = precondition(r)
    p = z.copy()
    rz = float(r @ z)
    # q(d) = -d'(r + b) / 2, since A d = b - r
    values = [-0.5 * float(d @ (r + b))]
    keep_at = FIRST_KEPT

    for i in range(1, cap + 1):
        Ap = A @ p
        curvature = float(p @ Ap)
        if not curvature > 0 or not np.isfinite(curvature):
            solution.stop = "curvature"
            break

        alpha = rz / curvature
        d += alpha * p
        r -= alpha * Ap
        # p'r = r'z, so the model's value needs no product of vectors: on a GPU each of
        # those waits for a number
        values.append(values[-1] - 0.5 * alpha * rz)
        solution.iterations = i
        if i >= ceil(keep_at):
            solution.keep(d.copy(), values[-1])
            keep_at *= KEPT_RATIO
        if has_stalled(values, max(floor, i // 10), tolerance):
            solution.stop = "progress"
            break

        z = precondition(r)
        rz_before = rz
        rz = float(r @ z)
        # no residual is left, or rounding errors are all of it
        if rz <= 0:
            solution.stop = "exact"
            break
        p = z + (rz / rz_before) * p
    else:
        solution.stop = "cap"

    if solution.iterations and not _is_last(solution, d):
        solution.keep(d, values[-1])
    return solution


def _is_last(solution: Solution, d: Array) -> bool:
    """Whether d is the last candidate already."""
    kept = solution.directions
    return bool(kept) and np.array_equal(kept[-1], d)


def residual_space(
    rows: JacobianRows, lam: float, gradient: Array | None = None
) -> tuple[Array, Array]:
    """Minimise the damped model exactly; return d (P,) and J d (m,).

    d = -J'(J J' + N lam I)^-1 r: the push-through identity turns the system of size P,
    (J'J / N + lam I) d = -J'r / N, into one of size m. With a gradient g other than
    J'r / N, that of more trials than J has, d = -(J'J / N + lam I)^-1 g by Woodbury's
    identity. Raises numpy.linalg.LinAlgError if J is not finite.
    """
    if gradient is not None:
        d = -woodbury(rows, lam)(gradient)
        return d, rows.matrix @ d
    solve = shifted_solver(rows.gram, rows.trials * lam)
    y = solve(rows.residuals)
    return -(y @ rows.matrix), -(rows.gram @ y)


def woodbury(rows: JacobianRows, shift: float) -> LinearMap:
    """Return the map v -> (J'J / N + shift I)^-1 v, by Woodbury's identity.

    Raises numpy.linalg.LinAlgError if J is not finite.
    """
    J = rows.matrix
    solve = shifted_solver(rows.gram, rows.trials * shift)
    return lambda v: (v - solve(J @ v) @ J) / shift


def shifted_solver(gram: Array, shift: float) -> LinearMap:
    """Return the map b -> (gram + shift I)^-1 b, by Cholesky factorisation."""
    shifted = gram.copy()
    # a smaller shift than the rounding errors of gram could leave it indefinite
    rounding = len(gram) * np.finfo(float).eps * float(gram.diagonal().max())
    shifted.ravel()[:: len(gram) + 1] += max(shift, rounding)
    return cholesky_solver(shifted)
