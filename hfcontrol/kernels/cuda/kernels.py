"""The kernels of a compiled plant on a GPU."""

from functools import cached_property
from typing import Any

import numpy as np

from hfcontrol.arrays.device import to_device
from hfcontrol.arrays.types import Array
from hfcontrol.kernels.base import (
    STEP,
    Kernels,
    LinearLaw,
    Perturbations,
    Regulated,
    by_trial,
)
from hfcontrol.kernels.cuda import device as gpu
from hfcontrol.kernels.cuda.maps import MapKernels, MapSizes, make_map, make_maps
from hfcontrol.kernels.cuda.plant import device_plant
from hfcontrol.kernels.cuda.simulate import Law, Noise, make_simulation
from hfcontrol.kernels.operations import step_operations
from hfcontrol.plant.contract import Plant


class CudaKernels(Kernels):
    """Kernels of a plant on a GPU; their arguments and results are there."""

    device = "gpu"

    def __init__(self, plant: Plant) -> None:
        gpu.require_compiler()
        super().__init__(plant)
        self._plant = device_plant(plant)
        self._simulation = make_simulation(self._plant.step, self._plant.sizes)
        # Device functions of the maps, by name. They are kept, because `make_maps`
        # recognises a kernel by its device function.
        self._maps: dict[str, Any] = {}

    @cached_property
    def step_operations(self) -> int:
        """Estimated floating-point operations of one step."""
        return step_operations(self.plant)

    def simulate(
        self, x0: Array, u: Array, p: Array, disturbance: Array, taper: Array
    ) -> Array:
        """Return the trajectory, see `Kernels.simulate`."""
        trajectory, (u,) = self._prepare(x0, p, disturbance, taper, u=u)
        x, p, disturbance, taper = trajectory
        arguments = (u, by_trial(p), disturbance, taper, x)
        gpu.launch(self._simulation.simulate, x.shape[2], *arguments)
        return x

    def regulate(
        self,
        x0: Array,
        law: LinearLaw,
        p: Array,
        perturbations: Perturbations,
        taper: Array,
    ) -> Regulated:
        """Return the trajectory under a linear law, see `Kernels.regulate`."""
        prepared = self._prepare_law(x0, law, p, perturbations, taper)
        trajectory, (v, *law_parts), own_perturbations = prepared
        x = trajectory.x
        u = np.empty_like(v)
        noise = Noise(*own_perturbations)
        inputs = (Law(*law_parts), by_trial(trajectory.p), noise, trajectory.taper)
        gpu.launch(self._simulation.regulate, x.shape[2], *inputs, v, x, u)
        return Regulated(x, v, u)

    def _kernels_of(self, name: str, targets: int, values: int) -> MapKernels:
        """Return the kernels of a map for targets with that number of entries."""
        if name not in self._maps:
            self._maps[name] = make_map(self._plant, name)
        sizes = MapSizes(self._plant.sizes, targets, values)
        return make_maps(self._maps[name], sizes)

    def _values(
        self, name: str, x: Array, u: Array, target: Array, p: Array, size: int
    ) -> Array:
        K, _, N = x.shape
        out = np.empty_like(x, shape=(K, size, N))
        kernels = self._kernels_of(name, target.shape[1], size)
        gpu.launch(kernels.values, K * N, x, u, target, by_trial(p), out)
        return out

    def _slopes(
        self, name: str, x: Array, u: Array, target: Array, p: Array, size: int
    ) -> tuple[Array, Array]:
        K, nx, N = x.shape
        nu = u.shape[1]
        A = np.empty_like(x, shape=(K, size, nx, N))
        B = np.empty_like(x, shape=(K, size, nu, N))
        hx = self._own(STEP * self.plant.typical_state)
        hu = self._own(STEP * self.plant.typical_control)
        kernels = self._kernels_of(name, target.shape[1], size)
        steps = (hx, hu)
        threads = K * (nx + nu) * N
        inputs = (x, u, target, by_trial(p))
        gpu.launch(kernels.slopes, threads, *inputs, *steps, A, B)
        return A, B

    @staticmethod
    def _own(a: Any) -> Array:
        return to_device(a)
