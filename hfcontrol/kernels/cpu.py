"""Kernels of a compiled plant on the CPU, over all cores, by Numba."""

from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np

from hfcontrol.arrays.threads import run_in_parallel
from hfcontrol.arrays.types import Array
from hfcontrol.errors import PlantError
from hfcontrol.kernels.base import (
    STEP,
    Kernels,
    LinearLaw,
    Perturbations,
    Regulated,
)
from hfcontrol.kernels.generate import INLINED, load_module, plant_pieces, read_piece
from hfcontrol.kernels.operations import step_operations
from hfcontrol.plant.contract import Plant

# Fewer trials, or times, are not worth another core.
LEAST_JOBS = 8

# What the generated `plant_map` calls; other maps are residual functions.
MAPS = {
    "step": "plant_step(x, u, p, r)",
    "observe": "plant_observe(x, p, r)",
    "output": "plant_output(x, p, r)",
}


def map_pieces(plant: Plant, name: str) -> list[str]:
    """Return the source pieces of one map: one of MAPS, or a residual function.

    Those of the step simulate trajectories too.
    """
    body = MAPS.get(name, f"own_{name}(x, u, target, p, r)")
    plant_map = f"{INLINED}\ndef plant_map(x, u, target, p, r):\n    {body}\n"
    pieces = [*plant_pieces(plant), plant_map, read_piece("map")]
    if name == "step":
        pieces.append(read_piece("simulate"))
    return pieces


class CompiledKernels(Kernels):
    """Kernels of a compiled plant; each is compiled, or loaded, at its first call."""

    def __init__(self, plant: Plant) -> None:
        super().__init__(plant)
        self._modules: dict[Any, ModuleType] = {}

    @cached_property
    def step_operations(self) -> int:
        """Estimated floating-point operations of one step."""
        return step_operations(self.plant)

    def simulate(
        self, x0: Array, u: Array, p: Array, disturbance: Array, taper: Array
    ) -> Array:
        """Return the trajectory, see `Kernels.simulate`."""
        plant = self.plant
        disturbance, u, p = self._check(
            disturbance=(disturbance, plant.nx),
            u=(u, plant.nu),
            p=(p, plant.n_params),
        )
        x = np.empty_like(u, shape=(len(u) + 1, plant.nx, u.shape[2]))
        x[0] = self._own(x0)
        taper = self._own(taper)
        self._run("step", "simulate", u, _by_trial(p), disturbance, taper, x)
        return x

    def regulate(
        self,
        x0: Array,
        law: LinearLaw,
        p: Array,
        perturbations: Perturbations,
        taper: Array,
    ) -> Regulated:
        """Return the trajectory under a linear law, with trials shared over cores."""
        plant = self.plant
        gain, noise, disturbance = perturbations
        controls = {"v": law.v, "gain": gain, "noise": noise}
        disturbance, v, gain, noise, p = self._check(
            disturbance=(disturbance, plant.nx),
            **{name: (a, plant.nu) for name, a in controls.items()},
            p=(p, plant.n_params),
        )
        x = np.empty_like(v, shape=(len(v) + 1, plant.nx, v.shape[2]))
        x[0] = self._own(x0)
        v = v.copy()
        u = np.empty_like(v)
        gains = self._own(law.gains)
        reference = self._own(law.reference)
        limit = self._own(law.limit)
        taper = self._own(taper)
        # In the order of the compiled `regulate`.
        inputs = (v, gains, reference, _by_trial(p), limit)
        added = (gain, noise, disturbance)
        self._run("step", "regulate", *inputs, *added, taper, x, u)
        return Regulated(x, v, u)

    def _module(self, name: str) -> ModuleType:
        """Return the generated module of a map."""
        if name not in self._modules:
            stem = f"{self.plant.name}_{name}"
            self._modules[name] = load_module(stem, map_pieces(self.plant, name))
        return self._modules[name]

    def _run(self, name: str, kernel: str, *arguments: Array) -> None:
        """Run a kernel of a map's module, with its jobs shared over the cores.

        The last argument is the array that the kernel fills.
        """
        # Imported late: a controller that only acts needs no Numba, which loads slowly.
        from numba.core.errors import NumbaError

        out = arguments[-1]
        module = self._module(name)
        if kernel == "map_values":
            jobs = len(out)
        elif kernel == "map_slopes":
            # A job is one time and as many trials as the kernel takes at once.
            jobs = len(out) * -(-out.shape[-1] // module.MAP_WIDTH)
        else:
            jobs = out.shape[-1]
        # The first call compiles: faults of the plant's functions show here.
        try:
            run_in_parallel(jobs, getattr(module, kernel), *arguments, least=LEAST_JOBS)
        except NumbaError as error:
            reason = " ".join(str(error).split())
            raise PlantError(
                f"{self.plant.path.name}: the functions for {name} cannot be compiled; "
                "keep each variable a number, or a tuple of one length. "
                f"Numba says: {reason[:300]}"
            ) from error

    def _values(
        self, name: str, x: Array, u: Array, target: Array, p: Array, size: int
    ) -> Array:
        out = np.empty_like(x, shape=(len(x), size, x.shape[2]))
        self._run(name, "map_values", x, u, target, _by_trial(p), out)
        return out

    def _slopes(
        self, name: str, x: Array, u: Array, target: Array, p: Array, size: int
    ) -> tuple[Array, Array]:
        K, nx, N = x.shape
        A = np.empty_like(x, shape=(K, size, nx, N))
        B = np.empty_like(x, shape=(K, size, u.shape[1], N))
        hx = self._own(STEP * self.plant.typical_state)
        hu = self._own(STEP * self.plant.typical_control)
        self._run(name, "map_slopes", x, u, target, _by_trial(p), hx, hu, A, B)
        return A, B


def _by_trial(p: Array) -> Array:
    """Return parameters (np, N) as (N, np): each trial's are contiguous."""
    return p.T.copy()
