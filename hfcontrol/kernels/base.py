"""The kernels of a plant: what they do, whoever computes them.

Trajectories are float64 arrays [time, unit, trial], with K times (or T steps) and N
trials. Parameters are (np, N).
"""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np

from hfcontrol.arrays.device import to_device_of
from hfcontrol.arrays.types import Array
from hfcontrol.errors import PlantError
from hfcontrol.kernels.structure import DENSE, Colouring, Structure
from hfcontrol.plant.contract import Plant

# Step of central differences, in typical sizes: it balances truncation, of order h^2,
# and rounding, of order eps / h.
STEP = np.cbrt(np.finfo(float).eps)


class LinearLaw(NamedTuple):
    """Controls about a reference trajectory.

        v[t] + gains[t] (x[t] - reference[t]), clipped to its bounds

    Shapes: v (T, nu, N), gains (T, N, nu, nx), reference (T+1, nx, N),
    bounds (2, nu): the lower ones, then the upper ones.
    """

    v: Array
    gains: Array
    reference: Array
    bounds: Array


class Perturbations(NamedTuple):
    """What chance adds: u = v (1 + gain) + noise, and `disturbance` to the state.

    Shapes: gain and noise (T, nu, N), disturbance (T, nx, N).
    """

    gain: Array
    noise: Array
    disturbance: Array


class Regulated(NamedTuple):
    """A trajectory x (T+1, nx, N), and clipped controls v and controls u (T, nu, N)."""

    x: Array
    v: Array
    u: Array


class Trajectory(NamedTuple):
    """Arrays of a simulation as kernels take them; of x only x[0] is filled.

    Shapes: x (T+1, nx, N), parameters p (np, N), disturbance (T, nx, N), taper (nx,).
    """

    x: Array
    p: Array
    disturbance: Array
    taper: Array


def by_trial(p: Array) -> Array:
    """Return parameters (np, N) as (N, np): each trial's are contiguous."""
    return p.T.copy()


def own_array(a: Any) -> Array:
    """Return the array as compiled code takes it: float64, C-contiguous, writable."""
    # Numba would compile again for any other memory order, or for read-only arrays.
    return np.require(a, np.float64, ["C", "W"])


def taper_slope(after: Array, taper: Array) -> Array:
    """Return the derivative of the taper (nx,) at states (..., nx, N) after it.

    Beyond the taper |after| = taper + tanh(|raw| - taper), and the derivative of tanh
    is 1 - tanh^2.
    """
    # A state that has run away is infinite, as is the taper of a plant without one.
    with np.errstate(invalid="ignore", over="ignore"):
        beyond = np.abs(after) - taper[:, None]
        return 1.0 - np.maximum(beyond, 0.0) ** 2


def taper_value(raw: Array, taper: Array) -> Array:
    """Return raw states (nx, N) with those beyond +-taper (nx,) compressed.

    Beyond the taper |value| = taper + tanh(|raw| - taper), with the sign of raw.
    """
    limit = taper[:, None]
    size = np.abs(raw)
    compressed = np.copysign(limit + np.tanh(size - limit), raw)
    return np.where(size > limit, compressed, raw)


def actuator_factors(plant: Plant) -> tuple[float, float]:
    """Return two factors of the distance between a drive and a held command.

    The first is what is left of the distance after a control step, the second its mean
    over the step. a' = (u - a) / lag has the solution
    a(t) - u = (a(0) - u) exp(-t / lag); lag > 0.
    """
    decay = np.exp(-plant.dt / plant.actuator_lag)
    mean = (1 - decay) * plant.actuator_lag / plant.dt
    return float(decay), float(mean)


def _tapered(
    jacobians: tuple[Array, Array], x: Array, taper: Array
) -> tuple[Array, Array]:
    """Return A and B of a step and the taper after it; x (T+1, nx, N) are tapered."""
    A, B = jacobians
    slope = taper_slope(x[1:], taper)
    # Most plants have no taper: then the products cost nothing.
    if (slope != 1.0).any():
        A *= slope[:, :, None]
        B *= slope[:, :, None]
    return A, B


class Kernels(ABC):
    """Steps, trajectories, maps and Jacobians of one plant, at all times and trials.

    A map is the step, `observe`, `output` or a residual function. A subclass computes
    `simulate`, `_values` and `_slopes`: the values and derivatives of a map. Arrays of
    a wrong shape raise PlantError.
    """

    device = "cpu"

    def __init__(self, plant: Plant) -> None:
        self.plant = plant
        # of the Jacobians of the step; None for those without known zeros
        self.structure: Structure | None = None

    @property
    def step_operations(self) -> int | None:
        """Estimated floating-point operations of one step; None if unknown."""
        return None

    @abstractmethod
    def simulate(
        self, x0: Array, u: Array, p: Array, disturbance: Array, taper: Array
    ) -> Array:
        """Return the trajectory x (T+1, nx, N) from x0 (nx, N).

            x[t+1] = taper(step(x[t], u[t]) + disturbance[t])

        Shapes: u (T, nu, N), disturbance (T, nx, N), taper (nx,).
        """

    @abstractmethod
    def _values(
        self, name: str, x: Array, u: Array, target: Array, p: Array, size: int
    ) -> Array:
        """Return the values (K, size, N) of a map."""

    @abstractmethod
    def _slopes(
        self, name: str, x: Array, u: Array, target: Array, p: Array, size: int
    ) -> tuple[Array, Array]:
        """Return the derivatives of a map: (K, size, nx, N) and (K, size, nu, N)."""

    def step(self, x: Array, u: Array, p: Array) -> Array:
        """Return the state (nx, N) after one step from x (nx, N), u (nu, N).

        The taper is left out.
        """
        x, u, p = self._check_point(x, u, p)
        nothing = self._empty(x[None])
        return self._values("step", x[None], u[None], nothing, p, self.plant.nx)[0]

    def jacobians(self, x: Array, u: Array, p: Array) -> tuple[Array, Array]:
        """Return A (T, nx, nx, N) and B (T, nx, nu, N), the derivatives of the step.

        They are central differences by state and control at x (T, nx, N), u (T, nu, N),
        without taper.
        """
        x, u, p = self._check_point(x, u, p)
        nx = self.plant.nx
        if self.structure:
            return self._grouped_slopes(x, u, p, self.structure.whole, nx)
        return self._slopes("step", x, u, self._empty(x), p, nx)

    def jacobians_along(
        self, x: Array, u: Array, p: Array, taper: Array
    ) -> tuple[Array, Array]:
        """Return the derivatives of x[t+1] by x[t] and by u[t] along a trajectory.

        x (T+1, nx, N) is what `simulate` returned; the slope of the taper (nx,) is
        exact.
        """
        jacobians = self.jacobians(x[:-1], u, p)
        return _tapered(jacobians, x, taper)

    def packed_jacobians_along(
        self, x: Array, u: Array, p: Array, taper: Array
    ) -> tuple[Array, Array, Array]:
        """Return A (T, nx, K, N) and B as `jacobians_along`, and the table of A.

        A has no zeros that the structure knows. Row i of A[t] has the columns
        table[i] (nx, K). Without a structure A is whole, and the table is `DENSE`.
        """
        if self.structure is None:
            return (*self.jacobians_along(x, u, p, taper), DENSE)
        before, u, p = self._check_point(x[:-1], u, p)
        packed, table = self.structure.packed, self.structure.table
        jacobians = self._grouped_slopes(before, u, p, packed, table.shape[1])
        return (*_tapered(jacobians, x, taper), table)

    def packed_observe_jacobian(self, x: Array, p: Array) -> tuple[Array, Array]:
        """Return `observe_jacobian` and its table.

        An observation that is a state has one entry, if the structure is known.
        """
        if self.structure is None or "observe" in self.plant.functions:
            return self.observe_jacobian(x, p), DENSE
        states = self.plant.state_indices("observe")
        shape = (len(x), len(states), 1, x.shape[2])
        return np.ones(shape), np.array(states, dtype=np.int64)[:, None]

    @property
    def step_groups(self) -> int:
        """Number of groups of columns that a Jacobian of the step takes."""
        if self.structure is None:
            return self.plant.nx + self.plant.nu
        return len(self.structure.groups)

    @property
    def stored_entries(self) -> int:
        """Number of entries of A, B and C that are stored for each trial and step."""
        plant = self.plant
        by_state, by_observation = plant.nx, plant.nx
        if self.structure:
            by_state = self.structure.table.shape[1]
            if "observe" not in plant.functions:
                by_observation = 1
        return plant.nx * (by_state + plant.nu) + plant.ny * by_observation

    def _grouped_slopes(
        self, x: Array, u: Array, p: Array, colouring: Colouring, width: int
    ) -> tuple[Array, Array]:
        """Return A (K, nx, width, N) and B (K, nx, nu, N) of the step, by groups."""
        raise NotImplementedError

    def regulate(
        self,
        x0: Array,
        law: LinearLaw,
        p: Array,
        perturbations: Perturbations,
        taper: Array,
    ) -> Regulated:
        """Return the trajectory from x0 (nx, N) under a linear law."""
        # A copy: the law's own controls stay as they are, unclipped.
        v = law.v.copy()
        u = np.empty_like(v)
        x = np.empty((len(v) + 1, *x0.shape))
        x[0] = x0
        low, high = law.bounds[:, :, None]
        gain, noise, disturbance = perturbations
        for t in range(len(v)):
            behind = x[t] - law.reference[t]
            v[t] += np.einsum("nij,jn->in", law.gains[t], behind)
            v[t] = np.clip(v[t], low, high)
            u[t] = v[t] * (1.0 + gain[t]) + noise[t]
            # One step at a time: the next control depends on where it leads.
            now = slice(t, t + 1)
            moved = self.simulate(x[t], u[now], p, disturbance[now], taper)
            x[t + 1] = moved[1]
        return Regulated(x, v, u)

    def observe(self, x: Array, p: Array) -> Array:
        """Return the observations (K, ny, N) of states x (K, nx, N)."""
        return self._map("observe", x, p, self.plant.ny)

    def observe_jacobian(self, x: Array, p: Array) -> Array:
        """Return the derivatives (K, ny, nx, N) of the observations by the state."""
        return self._map_jacobian("observe", x, p, self.plant.ny)

    def output(self, x: Array, p: Array) -> Array:
        """Return the outputs (K, nz, N) of states x (K, nx, N)."""
        return self._map("output", x, p, self.plant.nz)

    def output_jacobian(self, x: Array, p: Array) -> Array:
        """Return the derivatives (K, nz, nx, N) of the outputs by the state."""
        return self._map_jacobian("output", x, p, self.plant.nz)

    def residual(self, name: str, x: Array, u: Array, target: Array, p: Array) -> Array:
        """Return the residuals (K, nr, N) of a task's own function.

        Shapes: x (K, nx, N), u (K, nu, N), target (K, nt, N).
        """
        x, u, p = self._check_point(x, u, p)
        size = self._residual_size(name)
        return self._values(name, x, u, self._own(target), p, size)

    def residual_jacobian(
        self, name: str, x: Array, u: Array, target: Array, p: Array
    ) -> tuple[Array, Array]:
        """Return the derivatives of `residual`: (K, nr, nx, N) and (K, nr, nu, N)."""
        x, u, p = self._check_point(x, u, p)
        size = self._residual_size(name)
        return self._slopes(name, x, u, self._own(target), p, size)

    def _residual_size(self, name: str) -> int:
        """Return the number of residuals; raise PlantError for an unknown function."""
        if name not in self.plant.residuals:
            known = ", ".join(self.plant.residuals) or "none"
            raise PlantError(
                f"{self.plant.name} has no residual function {name!r}; "
                f"its tasks use: {known}"
            )
        return len(self.plant.residuals[name])

    def _map(self, name: str, x: Array, p: Array, size: int) -> Array:
        """Return the values (K, size, N) of `observe` or `output`."""
        x, p = self._check_states(x, p)
        if name not in self.plant.functions:
            indices = to_device_of(self.plant.state_indices(name), x)
            return x[:, indices].copy()
        nothing = self._empty(x)
        return self._values(name, x, nothing, nothing, p, size)

    def _map_jacobian(self, name: str, x: Array, p: Array, size: int) -> Array:
        """Return the derivatives (K, size, nx, N) of `observe` or `output`."""
        x, p = self._check_states(x, p)
        if name in self.plant.functions:
            nothing = self._empty(x)
            return self._slopes(name, x, nothing, nothing, p, size)[0]
        shape = (len(x), size, self.plant.nx, x.shape[2])
        # Without a function the map selects states: each row has one 1.
        J = np.zeros_like(x, shape=shape)
        rows = to_device_of(np.arange(size), x)
        columns = to_device_of(self.plant.state_indices(name), x)
        J[:, rows, columns] = 1.0
        return J

    def _prepare(
        self, x0: Array, p: Array, disturbance: Array, taper: Array, **controls: Array
    ) -> tuple[Trajectory, list[Array]]:
        """Return the arrays of `simulate`, and `controls` as the kernels take them."""
        plant = self.plant
        disturbance, *owned, p = self._check(
            disturbance=(disturbance, plant.nx),
            **{name: (a, plant.nu) for name, a in controls.items()},
            p=(p, plant.n_params),
        )
        T, nx, N = disturbance.shape
        x = np.empty_like(disturbance, shape=(T + 1, nx, N))
        x[0] = self._own(x0)
        return Trajectory(x, p, disturbance, self._own(taper)), owned

    def _prepare_law(
        self,
        x0: Array,
        law: LinearLaw,
        p: Array,
        perturbations: Perturbations,
        taper: Array,
    ) -> tuple[Trajectory, LinearLaw, Perturbations]:
        """Return the arrays of `regulate` as the kernels take them."""
        gain, noise, disturbance = perturbations
        controls = {"v": law.v, "gain": gain, "noise": noise}
        trajectory, owned = self._prepare(x0, p, disturbance, taper, **controls)
        v, gain, noise = owned
        # A copy, because kernels clip it in place.
        parts = (v.copy(), law.gains, law.reference, law.bounds)
        own_law = LinearLaw(*map(self._own, parts))
        own_perturbations = Perturbations(gain, noise, trajectory.disturbance)
        return trajectory, own_law, own_perturbations

    @staticmethod
    def _own(a: Any) -> Array:
        """Return an array as the kernels take it."""
        return own_array(a)

    @staticmethod
    def _empty(x: Array) -> Array:
        """Return a trajectory without units, for functions that take no target."""
        return np.zeros_like(x, shape=(len(x), 0, x.shape[-1]))

    def _check_point(self, x: Array, u: Array, p: Array) -> list[Array]:
        """Return x, u and p as the kernels take them."""
        plant = self.plant
        return self._check(x=(x, plant.nx), u=(u, plant.nu), p=(p, plant.n_params))

    def _check_states(self, x: Array, p: Array) -> list[Array]:
        """Return x and p as the kernels take them."""
        return self._check(x=(x, self.plant.nx), p=(p, self.plant.n_params))

    def _check(self, **arrays: tuple[Array, int]) -> list[Array]:
        """Return arrays as the kernels take them, each given with its number of units.

        The first one decides the times and trials of all. Compiled code would read
        beyond the ends of arrays of a wrong shape; they raise PlantError.
        """
        # All arrays are converted first: the check needs their shapes.
        owned = [self._own(a) for a, _ in arrays.values()]
        *times, _, trials = owned[0].shape
        for a, (name, (_, size)) in zip(owned, arrays.items(), strict=True):
            expected = (size, trials) if name == "p" else (*times, size, trials)
            if a.shape != expected:
                raise PlantError(
                    f"{self.plant.name}: {name} has the shape {a.shape}; "
                    f"it must be {expected}"
                )
        return owned
