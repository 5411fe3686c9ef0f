"""Factorisations on the device of the matrices."""

from collections.abc import Callable
from typing import Any

import numpy as np

from hfcontrol.arrays.device import is_on_host, to_host
from hfcontrol.arrays.types import Array


def cholesky_solver(M: Array) -> Callable[[Array], Array]:
    """Return the function b -> x with M x = b, by Cholesky factorisation.

    M (m, m) is symmetric and positive definite, and is overwritten. Raises
    numpy.linalg.LinAlgError if M is not positive definite.
    """
    if is_on_host(M):
        from scipy.linalg import cho_factor, cho_solve

        factored = cho_factor(M, lower=True, overwrite_a=True, check_finite=False)
        return lambda b: cho_solve(factored, b, check_finite=False)

    from cupyx.scipy.linalg import solve_triangular

    L = np.linalg.cholesky(M)
    # CuPy does not raise for an indefinite matrix: it returns NaN.
    if not np.isfinite(L).all():
        raise np.linalg.LinAlgError("not positive definite")

    def solve(b: Array) -> Array:
        y = solve_triangular(L, b, lower=True)
        return solve_triangular(L, y, trans=1, lower=True)

    return solve


def invert_cholesky_factors(M: Array) -> tuple[Array, Array]:
    """Return inverse Cholesky factors L^-1 (S, m, m), and which of M have them (S,).

    M (S, m, m) is symmetric and M^-1 = L^-T L^-1. The flags are a NumPy array; factors
    of matrices that are not positive definite have no meaning.
    """
    # Inverses rather than solves: CuPy factorises and inverts many matrices in one
    # call, but solves with one triangular matrix at a time.
    unit = np.zeros_like(M, shape=M.shape[1:])
    unit.ravel()[:: len(unit) + 1] = 1.0

    # NumPy raises for an indefinite matrix, CuPy returns NaN: both are filtered here.
    finite: Any = np.isfinite(M).all(axis=(1, 2))
    L = np.linalg.cholesky(np.where(finite[:, None, None], M, unit))
    definite: Array = finite & np.isfinite(L).all(axis=(1, 2))
    usable = np.where(definite[:, None, None], L, unit)
    return np.linalg.inv(usable), to_host(definite)
