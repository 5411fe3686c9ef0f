"""Kernels of a plant with `step_batch(x, u, p, dt)`: NumPy, all trials at once.

`observe`, `output` and residual functions of such a plant work with NumPy on arrays
with one number for each trial, where compiled ones work on single numbers.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NoReturn

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.errors import FOREIGN_FAULTS, HFControlError, PlantError
from hfcontrol.kernels.base import STEP, Kernels, actuator_factors, taper_value
from hfcontrol.kernels.structure import Colouring
from hfcontrol.plant.calls import (
    describe_exception,
    describe_value,
    format_place,
    line_of,
    read_array,
)
from hfcontrol.plant.probe import line_in_file


class BatchKernels(Kernels):
    """Kernels of a plant that steps by its own NumPy function."""

    def simulate(
        self, x0: Array, u: Array, p: Array, disturbance: Array, taper: Array
    ) -> Array:
        """Return the trajectory, see `Kernels.simulate`."""
        trajectory, (u,) = self._prepare(x0, p, disturbance, taper, u=u)
        x, p, disturbance, limits = trajectory
        nx = self.plant.nx
        for t in range(len(u)):
            moved = self._call("step", x[t], u[t], disturbance[t], p, nx)
            x[t + 1] = taper_value(moved, limits)
        return x

    def _values(
        self, name: str, x: Array, u: Array, target: Array, p: Array, size: int
    ) -> Array:
        K, _, N = x.shape
        # One call for all times: each time and trial is a column.
        columns = (_columns(x), _columns(u), _columns(target))
        flat = self._call(name, *columns, np.tile(p, K), size)
        return np.ascontiguousarray(flat.reshape(size, K, N).transpose(1, 0, 2))

    def _slopes(
        self, name: str, x: Array, u: Array, target: Array, p: Array, size: int
    ) -> tuple[Array, Array]:
        def values_at_x(moved: Array) -> Array:
            return self._values(name, moved, u, target, p, size)

        def values_at_u(moved: Array) -> Array:
            return self._values(name, x, moved, target, p, size)

        by_x = _differences(values_at_x, x, self.plant.typical_state, size)
        by_u = _differences(values_at_u, u, self.plant.typical_control, size)
        return by_x, by_u

    def _grouped_slopes(
        self, x: Array, u: Array, p: Array, colouring: Colouring, width: int
    ) -> tuple[Array, Array]:
        nothing = self._empty(x)
        nx = self.plant.nx
        K, _, N = x.shape
        A = np.zeros((K, nx, width, N))
        B = np.zeros((K, nx, self.plant.nu, N))
        typical = (self.plant.typical_state, self.plant.typical_control)
        h = STEP * np.concatenate(typical)[:, None]
        xu = np.concatenate([x, u], axis=1)

        def step(moved: Array) -> Array:
            controls = np.ascontiguousarray(moved[:, nx:])
            return self._values("step", moved[:, :nx], controls, nothing, p, nx)

        starts, row_starts = colouring.starts, colouring.row_starts
        for begin, end in pairwise(starts):
            group = colouring.columns[begin:end]
            above, below = xu.copy(), xu.copy()
            above[:, group] += h[group]
            below[:, group] -= h[group]
            change = step(above) - step(below)
            for j in group:
                entries = slice(row_starts[j], row_starts[j + 1])
                rows, slots = colouring.rows[entries], colouring.slots[entries]
                out = A if j < nx else B
                exact = above[:, None, j] - below[:, None, j]
                out[:, rows, slots] = change[:, rows] / exact
        return A, B

    def _call(
        self, name: str, x: Array, u: Array, target: Array, p: Array, size: int
    ) -> Array:
        """Return the value (size, N) of a function of the plant on arrays (unit, N).

        `target` is what the function takes besides, or the disturbance of a step.
        Raises PlantError if the function fails or returns a wrong shape.
        """
        plant = self.plant
        partial = name == "observe" and plant.observation_indices is not None
        rows = plant.n_observable if partial else size
        if not x.shape[1]:
            # The functions are the user's: they are never called for no trial.
            return np.empty((size, 0))
        try:
            out = self._evaluate(name, x, u, target, p, rows)
        except HFControlError:
            raise
        except FOREIGN_FAULTS as error:
            # The function is the user's: whatever it raises is about the plant's file.
            place = format_place(plant, line_in_file(error, str(plant.path)))
            raise PlantError(
                f"{place}: {_name_in_file(name)} fails on {x.shape[1]} trials: "
                f"{describe_exception(error)}; it gets arrays (unit, trial) and uses "
                "NumPy functions"
            ) from error

        if partial:
            return out[list(plant.observation_indices or ())]
        return out + target if name == "step" and len(target) else out

    def _evaluate(
        self, name: str, x: Array, u: Array, target: Array, p: Array, rows: int
    ) -> Array:
        """Call a function of the plant on copies, which it may change."""
        functions = self.plant.functions
        if name == "step":
            return self._step(x.copy(), u.copy(), p)
        # NaN shows entries that the function does not write.
        out = np.full((rows, x.shape[1]), np.nan)
        if name in ("observe", "output"):
            functions[name](x.copy(), p, out)
        else:
            functions[name](x.copy(), u.copy(), target, p, out)
        return out

    def _refuse(self, value: Any, expected: tuple[int, ...]) -> NoReturn:
        """Raise PlantError about what `step_batch` has returned."""
        plant = self.plant
        place = format_place(plant, line_of(plant, plant.functions["step_batch"]))
        raise PlantError(
            f"{place}: step_batch gives {describe_value(value)} for {expected[1]} "
            f"trials; it must give an array {expected} of numbers"
        )

    def _step(self, x: Array, u: Array, p: Array) -> Array:
        """Return the state after a step of the body.

        The body gets the command or, through actuators, their mean drives.
        """
        plant = self.plant
        n = plant.n_body
        if not plant.actuator_lag:
            return self._step_body(x, u, p)
        decay, mean = actuator_factors(plant)
        behind = x[n:] - u
        body = self._step_body(x[:n], u + mean * behind, p)
        return np.concatenate([body, u + decay * behind])

    def _step_body(self, x: Array, u: Array, p: Array) -> Array:
        """Return what `step_batch` gives; it must be numbers, and real ones."""
        value = self.plant.functions["step_batch"](x, u, p, self.plant.dt)
        array = read_array(value)
        if array is None or array.shape != x.shape:
            self._refuse(value, x.shape)
        return array


def _differences(
    function: Callable[[Array], Array], at: Array, typical: Array, size: int
) -> Array:
    """Return central differences (K, size, n, N) by the entries of `at` (K, n, N)."""
    K, n, N = at.shape
    J = np.empty((K, size, n, N))
    for j in range(n):
        h = STEP * typical[j]
        above = at.copy()
        above[:, j] += h
        below = at.copy()
        below[:, j] += -h
        change = function(above) - function(below)
        # The difference of the rounded points, not 2 h: it is the exact step.
        J[:, :, j] = change / (above[:, None, j] - below[:, None, j])
    return J


def _columns(a: Array) -> Array:
    """Return an array (K, n, N) as (n, K N)."""
    return a.transpose(1, 0, 2).reshape(a.shape[1], a.shape[0] * a.shape[2])


def _name_in_file(name: str) -> str:
    return "step_batch" if name == "step" else name
