"""Small linear problems, and the distance of a solution from the exact one."""

import numpy as np


def close(d, exact, tolerance):
    """Whether d differs from the exact solution by less than a relative tolerance."""
    return np.linalg.norm(d - exact) < tolerance * np.linalg.norm(exact)


def spd(rng, size=30, condition=1e3):
    """A random symmetric positive definite matrix of known condition, and a vector."""
    Q, _ = np.linalg.qr(rng.standard_normal((size, size)))
    matrix = Q @ np.diag(np.geomspace(1, condition, size)) @ Q.T
    return matrix, rng.standard_normal(size)
