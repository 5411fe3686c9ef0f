"""What the kernels of every plant can do, whoever computes them.

Trajectories are float64 arrays [time, unit, trial]: K times (or T steps) and N trials. Parameters are (np, N).
"""

import numpy as np

from hfcontrol.arrays.device import to_device_of
from hfcontrol.errors import PlantError

STEP = np.cbrt(
    np.finfo(float).eps
)  # of central differences, in typical sizes: balances truncation and rounding


def own_array(a):
    """The array as compiled code takes it: float64, C-contiguous, writable."""
    return np.require(a, np.float64, ["C", "W"])


def taper_slope(after, taper):
    """Derivative of the taper from the states that it left: after (..., nx, N), taper (nx,).

    Beyond the taper |after| = taper + tanh(|raw| - taper), and the derivative of tanh is 1 - tanh^2.
    """
    return 1.0 - np.maximum(np.abs(after) - taper[:, None], 0.0) ** 2


def taper_value(raw, taper):
    """raw (nx, N) within +-taper (nx,); beyond, taper + tanh(|raw| - taper) with its sign."""
    limit = taper[:, None]
    beyond = np.abs(raw) > limit
    return np.where(beyond, np.copysign(limit + np.tanh(np.abs(raw) - limit), raw), raw)


def actuator_factors(plant):
    """What is left after a control step of how far a drive is behind a held command, and its mean over the step.

    a' = (u - a) / lag has the solution a(t) - u = (a(0) - u) exp(-t / lag); lag > 0.
    """
    decay = np.exp(-plant.dt / plant.actuator_lag)
    return float(decay), float((1 - decay) * plant.actuator_lag / plant.dt)


class Kernels:
    """Step, trajectories, maps and Jacobians of one plant, at every time and trial.

    A subclass computes `simulate`, `_values` and `_slopes`: a map's values and derivatives. Arrays of a wrong shape
    raise PlantError.
    """

    device = "cpu"
    step_operations = None  # estimated floating-point operations of one step; None where they cannot be counted

    def __init__(self, plant):
        self.plant = plant

    def step(self, x, u, p):
        """The state (nx, N) after one step from x (nx, N) under u (nu, N), without taper."""
        x, u, p = self._arrays(
            (x, u, p),
            ("x", "u", "p"),
            (self.plant.nx, self.plant.nu, self.plant.n_params),
        )
        return self._values(
            "step", x[None], u[None], self._nothing(x[None]), p, self.plant.nx
        )[0]

    def jacobians(self, x, u, p):
        """A (T, nx, nx, N) and B (T, nx, nu, N), the derivatives of the step at x (T, nx, N), u (T, nu, N) by state and
        control, by central differences and without taper."""
        plant = self.plant
        x, u, p = self._arrays(
            (x, u, p), ("x", "u", "p"), (plant.nx, plant.nu, plant.n_params)
        )
        return self._slopes("step", x, u, self._nothing(x), p, plant.nx)

    def jacobians_along(self, x, u, p, taper):
        """The same along a trajectory x (T+1, nx, N) that `simulate` made: dx[t+1]/dx[t] and dx[t+1]/du[t], with the exact
        slope of the taper (nx,)."""
        A, B = self.jacobians(x[:-1], u, p)
        slope = taper_slope(x[1:], taper)
        if (slope != 1.0).any():
            A *= slope[:, :, None]
            B *= slope[:, :, None]
        return A, B

    def regulate(
        self, x0, v, gains, reference, p, limit, gain, noise, disturbance, taper
    ):
        """Trajectory x (T+1, nx, N), arriving controls v and controls u (T, nu, N) of a plant that a linear law regulates:

            v[t] = v[t] + gains[t] (x[t] - reference[t]) within +-limit,   u[t] = v[t] (1 + gain[t]) + noise[t]

        from x0 (nx, N), with gains (T, N, nu, nx), reference (T+1, nx, N), limit (nu,); the rest is as in `simulate`.
        """
        x, v, u = np.empty((len(v) + 1, *x0.shape)), v.copy(), np.empty_like(v)
        x[0] = x0
        for t in range(len(v)):
            v[t] += np.einsum("nij,jn->in", gains[t], x[t] - reference[t])
            v[t] = np.clip(v[t], -limit[:, None], limit[:, None])
            u[t] = v[t] * (1.0 + gain[t]) + noise[t]
            x[t + 1] = self.simulate(x[t], u[t][None], p, disturbance[t][None], taper)[
                1
            ]
        return x, v, u

    def observe(self, x, p):
        """Observations (K, ny, N) of the states x (K, nx, N)."""
        return self._map("observe", x, p, self.plant.ny)

    def observe_jacobian(self, x, p):
        """Derivatives (K, ny, nx, N) of the observations by the state."""
        return self._map_jacobian("observe", x, p, self.plant.ny)

    def output(self, x, p):
        """Outputs (K, nz, N) of the states x (K, nx, N)."""
        return self._map("output", x, p, self.plant.nz)

    def output_jacobian(self, x, p):
        """Derivatives (K, nz, nx, N) of the outputs by the state."""
        return self._map_jacobian("output", x, p, self.plant.nz)

    def residual(self, name, x, u, target, p):
        """Residuals (K, nr, N) by a task's own function, of x (K, nx, N), u (K, nu, N) and target (K, nt, N)."""
        x, u, p = self._arrays(
            (x, u, p),
            ("x", "u", "p"),
            (self.plant.nx, self.plant.nu, self.plant.n_params),
        )
        return self._values(name, x, u, self._own(target), p, self._residual_size(name))

    def residual_jacobian(self, name, x, u, target, p):
        """Derivatives of the residuals by state (K, nr, nx, N) and by control (K, nr, nu, N)."""
        x, u, p = self._arrays(
            (x, u, p),
            ("x", "u", "p"),
            (self.plant.nx, self.plant.nu, self.plant.n_params),
        )
        return self._slopes(name, x, u, self._own(target), p, self._residual_size(name))

    def _residual_size(self, name):
        if name not in self.plant.residuals:
            known = ", ".join(self.plant.residuals) or "none"
            raise PlantError(
                f"{self.plant.name} has no residual function {name!r}; its tasks bring: {known}"
            )
        return len(self.plant.residuals[name])

    def _map(self, name, x, p, size):
        x, p = self._arrays((x, p), ("x", "p"), (self.plant.nx, self.plant.n_params))
        if name not in self.plant.functions:
            return x[:, to_device_of(self.plant.state_indices(name), x)].copy()
        return self._values(name, x, self._nothing(x), self._nothing(x), p, size)

    def _map_jacobian(self, name, x, p, size):
        x, p = self._arrays((x, p), ("x", "p"), (self.plant.nx, self.plant.n_params))
        if name not in self.plant.functions:
            J = np.zeros_like(x, shape=(len(x), size, self.plant.nx, x.shape[2]))
            J[
                :,
                to_device_of(np.arange(size), x),
                to_device_of(self.plant.state_indices(name), x),
            ] = 1.0
            return J
        return self._slopes(name, x, self._nothing(x), self._nothing(x), p, size)[0]

    @staticmethod
    def _own(a):
        """An array as the kernels take it."""
        return own_array(a)

    @staticmethod
    def _nothing(x):
        return np.zeros_like(x, shape=(len(x), 0, x.shape[-1]))

    def _arrays(self, arrays, names, units):
        """The arrays as compiled code takes them; wrong shapes would read beyond their ends there."""
        arrays = [self._own(a) for a in arrays]
        trials = arrays[0].shape[-1]
        for name, a, size in zip(names, arrays, units):
            expected = (
                (size, trials) if name == "p" else (*arrays[0].shape[:-2], size, trials)
            )
            if a.shape != expected:
                raise PlantError(
                    f"{self.plant.name}: {name} has the shape {a.shape}; it must be {expected}"
                )
        return arrays
