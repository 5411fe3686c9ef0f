"""Factorisations on whichever device the matrices are."""

import numpy as np

from hfcontrol.arrays.device import to_host


def cholesky_solver(M):
    """b -> x with M x = b, by Cholesky's factorisation of a symmetric positive definite M (m, m), which is used up.

    Raises numpy.linalg.LinAlgError where M is not positive definite.
    """
    if isinstance(M, np.ndarray):
        from scipy.linalg import cho_factor, cho_solve

        factored = cho_factor(M, lower=True, overwrite_a=True, check_finite=False)
        return lambda b: cho_solve(factored, b, check_finite=False)
    from cupyx.scipy.linalg import solve_triangular

    L = np.linalg.cholesky(M)
    if not np.isfinite(L).all():  # CuPy's does not say so
        raise np.linalg.LinAlgError("not positive definite")
    return lambda b: solve_triangular(
        L, solve_triangular(L, b, lower=True), trans=1, lower=True
    )


def invert_cholesky_factors(M):
    """Inverses (S, m, m) of the Cholesky factors L of symmetric positive definite matrices M (S, m, m), M^-1 = L^-T L^-1, and which
    of M (S,), as one of NumPy's arrays, have one; those of the others mean nothing.

    CuPy factorises and inverts many matrices at once; of solves with a triangle it knows only one at a time.
    """
    unit = np.zeros_like(M, shape=M.shape[1:])
    unit.ravel()[:: len(unit) + 1] = 1.0
    finite = np.isfinite(M).all(axis=(1, 2))
    L = np.linalg.cholesky(np.where(finite[:, None, None], M, unit))
    definite = finite & np.isfinite(L).all(axis=(1, 2))  # CuPy's does not say so
    return np.linalg.inv(np.where(definite[:, None, None], L, unit)), to_host(definite)
