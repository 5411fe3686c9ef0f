"""Kernels of a compiled plant on the CPU, over all cores, by Numba."""

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from hfcontrol.arrays.threads import run_in_parallel
from hfcontrol.arrays.types import Array
from hfcontrol.kernels.base import (
    STEP,
    Kernels,
    LinearLaw,
    Perturbations,
    Regulated,
    Trajectory,
    by_trial,
)
from hfcontrol.kernels.operations import step_operations
from hfcontrol.kernels.plant_types import PlantFunctions
from hfcontrol.kernels.structure import Colouring, whole_colouring
from hfcontrol.plant.contract import Plant

# Kernels are imported when they are first called: a controller that only acts needs no
# Numba, which loads slowly.
if TYPE_CHECKING:
    from hfcontrol.kernels.trajectories import Law

# Fewer trials, or times, are not worth another core.
LEAST_JOBS = 8


class CompiledKernels(Kernels):
    """Kernels of a compiled plant; its functions are compiled at their first use."""

    def __init__(self, plant: Plant) -> None:
        super().__init__(plant)
        self._functions: dict[str, PlantFunctions] = {}

    @cached_property
    def step_operations(self) -> int:
        """Estimated floating-point operations of one step."""
        return step_operations(self.plant)

    def simulate(
        self, x0: Array, u: Array, p: Array, disturbance: Array, taper: Array
    ) -> Array:
        """Return the trajectory, see `Kernels.simulate`."""
        from hfcontrol.kernels.trajectories import NO_LAW

        trajectory, (u,) = self._prepare(x0, p, disturbance, taper, u=u)
        self._simulate(trajectory, NO_LAW, u, u)
        return trajectory.x

    def regulate(
        self,
        x0: Array,
        law: LinearLaw,
        p: Array,
        perturbations: Perturbations,
        taper: Array,
    ) -> Regulated:
        """Return the trajectory under a linear law, with trials shared over cores."""
        from hfcontrol.kernels.trajectories import Law

        prepared = self._prepare_law(x0, law, p, perturbations, taper)
        trajectory, (v, gains, reference, bounds), (gain, noise, _) = prepared
        u = np.empty_like(v)
        self._simulate(trajectory, Law(gains, reference, bounds, gain, noise), v, u)
        return Regulated(trajectory.x, v, u)

    def _simulate(self, trajectory: Trajectory, law: "Law", v: Array, u: Array) -> None:
        """Run the compiled `simulate`, with trials shared over the cores."""
        from hfcontrol.kernels.trajectories import simulate

        functions = self._load("step")
        x, p, disturbance, taper = trajectory
        arguments = (functions, by_trial(p), law, v, disturbance, taper, u, x)
        run_in_parallel(x.shape[2], simulate, *arguments, least=LEAST_JOBS)

    def _load(self, name: str) -> PlantFunctions:
        """Return the plant's functions, compiled for one map."""
        if name not in self._functions:
            from hfcontrol.kernels.plant_functions import load_plant_functions

            residual = name if name in self.plant.residuals else None
            functions = load_plant_functions(self.plant, name == "output", residual)
            self._functions[name] = functions
        return self._functions[name]

    def _values(
        self, name: str, x: Array, u: Array, target: Array, p: Array, size: int
    ) -> Array:
        from hfcontrol.kernels.maps import MAPS, RESIDUAL, map_values

        out = np.empty_like(x, shape=(len(x), size, x.shape[2]))
        which = MAPS.get(name, RESIDUAL)
        arguments = (which, self._load(name), x, u, target, by_trial(p), out)
        run_in_parallel(len(x), map_values, *arguments, least=LEAST_JOBS)
        return out

    def _slopes(
        self, name: str, x: Array, u: Array, target: Array, p: Array, size: int
    ) -> tuple[Array, Array]:
        nx, nu = x.shape[1], u.shape[1]
        return self._differences(
            name, (x, u, target, p), size, nx, whole_colouring(size, nx, nu)
        )

    def _grouped_slopes(
        self, x: Array, u: Array, p: Array, colouring: Colouring, width: int
    ) -> tuple[Array, Array]:
        points = (x, u, self._empty(x), p)
        return self._differences("step", points, x.shape[1], width, colouring)

    def _differences(
        self,
        name: str,
        points: tuple[Array, Array, Array, Array],
        size: int,
        width: int,
        colouring: Colouring,
    ) -> tuple[Array, Array]:
        """Return A (K, size, width, N) and B (K, size, nu, N) of a map."""
        from hfcontrol.kernels.maps import (
            MAP_WIDTH,
            MAPS,
            RESIDUAL,
            Points,
            map_slopes,
        )

        x, u, target, p = points
        K, _, N = x.shape
        # entries outside of the pattern are zero
        A = np.zeros_like(x, shape=(K, size, width, N))
        B = np.zeros_like(x, shape=(K, size, u.shape[1], N))
        typical = (self.plant.typical_state, self.plant.typical_control)
        steps = STEP * np.concatenate(typical)
        which = MAPS.get(name, RESIDUAL)
        places = Points(x, u, target, by_trial(p))
        # A job is one time and as many trials as the kernel takes at once.
        jobs = K * -(-N // MAP_WIDTH)
        arguments = (which, self._load(name), places, steps, colouring, A, B)
        run_in_parallel(jobs, map_slopes, *arguments, least=LEAST_JOBS)
        return A, B
