"""Factorisations on the device of the matrices."""

from collections.abc import Callable

import numpy as np

from hfcontrol.arrays.device import is_on_host
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
