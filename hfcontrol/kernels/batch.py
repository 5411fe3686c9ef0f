"""The kernels of a plant that gives `step_batch(x, u, p, dt)`: NumPy, all trials at once.

`observe`, `output` and residual functions of such a plant get rows of numbers, one for each trial, where compiled ones
get single numbers, and are written with NumPy's functions.
"""

import numpy as np

from hfcontrol.errors import PlantError
from hfcontrol.kernels.base import STEP, Kernels, actuator_factors, taper_value


class BatchKernels(Kernels):
    """Kernels of a plant that is stepped by its own NumPy function."""

    def simulate(self, x0, u, p, disturbance, taper):
        """Trajectory x (T+1, nx, N) from x0 (nx, N): x[t+1] = taper(step(x[t], u[t]) + disturbance[t]), taper (nx,)."""
        plant = self.plant
        disturbance, u, p = self._arrays(
            (disturbance, u, p),
            ("disturbance", "u", "p"),
            (plant.nx, plant.nu, plant.n_params),
        )
        x = np.empty((len(u) + 1, plant.nx, u.shape[2]))
        x[0] = x0
        for t in range(len(u)):
            x[t + 1] = taper_value(
                self._call("step", x[t], u[t], disturbance[t], p, plant.nx),
                np.asarray(taper),
            )
        return x

    def _values(self, name, x, u, target, p, size):
        K, _, N = x.shape
        flat = self._call(
            name, *(_columns(a) for a in (x, u, target)), np.tile(p, K), size
        )
        return np.ascontiguousarray(flat.reshape(size, K, N).transpose(1, 0, 2))

    def _slopes(self, name, x, u, target, p, size):
        return (
            self._derivative(
                name, (x, u, target, p), 0, self.plant.typical_state, size
            ),
            self._derivative(
                name, (x, u, target, p), 1, self.plant.typical_control, size
            ),
        )

    def _derivative(self, name, arguments, place, typical, size):
        """Central differences (K, size, n, N) by the entries of arguments[place], which is x or u."""
        K, n, N = arguments[place].shape
        J = np.empty((K, size, n, N))
        for j in range(n):
            values, steps = [], []
            for h in (STEP * typical[j], -STEP * typical[j]):
                moved = list(arguments)
                moved[place] = moved[place].copy()
                moved[place][:, j] += h
                values.append(self._values(name, *moved, size))
                steps.append(moved[place][:, None, j])
            J[:, :, j] = (values[0] - values[1]) / (steps[0] - steps[1])
        return J

    def _call(self, name, x, u, target, p, size):
        """One call of a function of the plant on columns (unit, trial)."""
        plant = self.plant
        if name == "observe" and plant.observation_indices is not None:
            size = plant.n_observable
        out = np.full((size, x.shape[1]), np.nan)
        try:
            if name == "step":
                out = self._step(x.copy(), u.copy(), p)
            elif name in ("observe", "output"):
                plant.functions[name](x.copy(), p, out)
            else:
                plant.functions[name](x.copy(), u.copy(), target, p, out)
        except Exception as error:
            raise PlantError(
                f"{plant.name}: {self._written(name)} fails on {x.shape[1]} trials: {error}; "
                f"it gets arrays (unit, trial) and is written with NumPy's functions"
            ) from error
        if out.shape != (size, x.shape[1]):
            raise PlantError(
                f"{plant.name}: {self._written(name)} gives an array {out.shape} for {x.shape[1]} trials; "
                f"it must give {(size, x.shape[1])}"
            )
        if name == "observe" and plant.observation_indices is not None:
            return out[list(plant.observation_indices)]
        return out + target if name == "step" and len(target) else out

    def _step(self, x, u, p):
        """The file's own step of the body, driven by the command or, through actuators, by their mean drives."""
        plant = self.plant
        step, n = plant.functions["step_batch"], plant.n_body
        if not plant.actuator_lag:
            return np.asarray(step(x, u, p, plant.dt), dtype=float)
        decay, mean = actuator_factors(plant)
        behind = x[n:] - u
        body = np.asarray(step(x[:n], u + mean * behind, p, plant.dt), dtype=float)
        return np.concatenate([body, u + decay * behind])

    @staticmethod
    def _written(name):
        return "step_batch" if name == "step" else name


def _columns(a):
    """(K, n, N) as (n, K N)."""
    return a.transpose(1, 0, 2).reshape(a.shape[1], a.shape[0] * a.shape[2])
