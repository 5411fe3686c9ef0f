"""Trim: the constant controls that keep a plant at rest in a state.

Trim solves step(x, u) = x by least squares, in typical sizes:

    r = (step(x, u) - x) / size of x,    minimise r'r over u and the free entries of x

The method is Levenberg and Marquardt's, for all trials in one batch. A control that the
slope holds at its limit leaves the problem. A clock, a state whose change depends on
nothing, cannot rest: its row does not count.
"""

from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.device import to_device_of, to_host
from hfcontrol.arrays.types import Array
from hfcontrol.kernels.base import Kernels
from hfcontrol.plant.limits import ControlLimits

# Most iterations; a smooth problem needs about five.
ITERATIONS = 30

# The search ends when no trial moves by more than this, in typical sizes.
SMALL_STEP = 1e-10

# Derivatives below this, in typical sizes, are rounding errors of differences.
ROUNDING = 1e-8

# Damping, as a part of the largest diagonal entry of J'J, and its change.
DAMPING_START = 1e-6
DAMPING_LEAST = 1e-10
DAMPING_FACTOR = 10


class Trim(NamedTuple):
    """Points of rest: states x (nx, N), controls u (nu, N), and distances (N,).

    A distance is the rms change of the state in one step, in typical sizes and without
    clocks; it is zero if the point is an equilibrium.
    """

    x: Array
    u: Array
    distances: Array


def find_trim(
    kernels: Kernels, x: Array, guess: Array, params: Array, limits: ControlLimits
) -> Trim:
    """Return the trim of N trials at states x (nx, N).

    NaN in x marks an entry that is free: it is chosen too, from its value in `guess`
    (nx, N). Parameters are (np, N); controls stay within their limits.
    """
    return _TrimProblem(kernels, x, guess, params, limits).solve()


class _TrimProblem:
    """The least-squares problem of all trials, in z = [x; u] / typical sizes."""

    def __init__(
        self,
        kernels: Kernels,
        x: Array,
        guess: Array,
        params: Array,
        limits: ControlLimits,
    ) -> None:
        plant = kernels.plant
        self.kernels = kernels
        self.params = params
        self.nx = plant.nx
        self.size_x = to_device_of(np.array(plant.typical_state)[:, None], params)
        size_u = to_device_of(np.array(plant.typical_control)[:, None], params)
        self.sizes = np.concatenate([self.size_x, size_u])

        shape = (plant.nu, x.shape[1])
        trim = np.broadcast_to(np.reshape(plant.trim, (-1, 1)), shape)
        u = limits.clip(to_device_of(trim.copy(), params))
        self.lowest = limits.low[:, None] / size_u
        self.highest = limits.high[:, None] / size_u

        is_free = np.isnan(x)
        start = np.where(is_free, guess, x)
        self.z = np.concatenate([start, u]) / self.sizes
        J = self._jacobian(self.z)
        # a clock: nothing changes its change
        self.counts = np.abs(J).max(axis=1) > ROUNDING
        self.is_free = np.concatenate([is_free & self.counts, np.isfinite(u)])

    def solve(self) -> Trim:
        """Return the solution."""
        z = self.z
        r = self._residuals(z)
        damping = np.full_like(z[0], DAMPING_START)
        for _ in range(ITERATIONS):
            change = self._step(z, r, damping)
            moved = self._bound(z + change)
            after = self._residuals(moved)
            # not `>=`: a residual that is not a number is no progress
            better = (after**2).sum(axis=0) < (r**2).sum(axis=0)
            z = np.where(better, moved, z)
            r = np.where(better, after, r)
            factor = np.where(better, 1 / DAMPING_FACTOR, DAMPING_FACTOR)
            damping = np.maximum(damping * factor, DAMPING_LEAST)
            if not (np.abs(change) > SMALL_STEP).any():
                break
        distances = to_host(np.sqrt((r**2).mean(axis=0)))
        point = z * self.sizes
        return Trim(point[: self.nx], point[self.nx :], distances)

    def _residuals(self, z: Array) -> Array:
        """Return r (nx, N)."""
        x, u = self._split(z)
        after = self.kernels.step(x, u, self.params)
        return np.where(self.counts, (after - x) / self.size_x, 0.0)

    def _jacobian(self, z: Array) -> Array:
        """Return dr/dz (nx, nx+nu, N)."""
        x, u = self._split(z)
        A, B = self.kernels.jacobians(x[None], u[None], self.params)
        identity = to_device_of(np.eye(self.nx)[:, :, None], x)
        by_z = np.concatenate([A[0] - identity, B[0]], axis=1)
        return by_z * self.sizes / self.size_x[:, None]

    def _split(self, z: Array) -> tuple[Array, Array]:
        """Return states (nx, N) and controls (nu, N)."""
        point = z * self.sizes
        return point[: self.nx].copy(), point[self.nx :].copy()

    def _bound(self, z: Array) -> Array:
        """Return z with its controls within their limits."""
        u = np.clip(z[self.nx :], self.lowest, self.highest)
        return np.concatenate([z[: self.nx], u])

    def _step(self, z: Array, r: Array, damping: Array) -> Array:
        """Return the damped Gauss-Newton step dz (nx+nu, N)."""
        J = self._jacobian(z) * self.counts[:, None]
        slope = np.einsum("ijn,in->jn", J, r)
        u, slope_u = z[self.nx :], slope[self.nx :]
        outward = np.where(slope_u < 0, u >= self.highest, u <= self.lowest)
        is_free = self.is_free.copy()
        is_free[self.nx :] &= ~outward

        J = J * is_free
        H = np.einsum("kin,kjn->nij", J, J)
        scale = np.einsum("nii->ni", H).max(axis=1)
        added = np.maximum(damping * scale, np.finfo(float).tiny)
        H = H + added[:, None, None] * to_device_of(np.eye(len(z)), H)
        slope = (slope * is_free).T[:, :, None]
        return -np.linalg.solve(H, slope)[:, :, 0].T
