"""The kernels of a compiled plant on the CPU, over all cores, by Numba."""

from functools import cached_property

import numpy as np

from hfcontrol.arrays.threads import run_in_parallel
from hfcontrol.errors import PlantError
from hfcontrol.kernels.base import STEP, Kernels
from hfcontrol.kernels.generate import INLINED, load_module, plant_pieces, read_piece
from hfcontrol.kernels.operations import step_operations

LEAST_JOBS = 8  # so few trials, or times, are not worth another core
MAPS = {
    "step": "plant_step(x, u, p, r)",
    "observe": "plant_observe(x, p, r)",
    "output": "plant_output(x, p, r)",
}


def map_pieces(plant, name):
    """Source pieces of one of a plant's maps, one of MAPS or a residual function, and, of its step, of whole trajectories too."""
    body = MAPS.get(name, f"own_{name}(x, u, target, p, r)")
    plant_map = f"{INLINED}\ndef plant_map(x, u, target, p, r):\n    {body}\n"
    return [
        *plant_pieces(plant),
        plant_map,
        read_piece("map"),
        *([read_piece("simulate")] if name == "step" else []),
    ]


class CompiledKernels(Kernels):
    """Kernels of a plant whose functions compile; each kernel is compiled, or loaded, when first called."""

    def __init__(self, plant):
        super().__init__(plant)
        self._modules = {}

    @cached_property
    def step_operations(self):
        """Estimated floating-point operations of one step."""
        return step_operations(self.plant)

    def simulate(self, x0, u, p, disturbance, taper):
        """Trajectory x (T+1, nx, N) from x0 (nx, N): x[t+1] = taper(step(x[t], u[t]) + disturbance[t]), taper (nx,)."""
        plant = self.plant
        disturbance, u, p = self._arrays(
            (disturbance, u, p),
            ("disturbance", "u", "p"),
            (plant.nx, plant.nu, plant.n_params),
        )
        x = np.empty_like(u, shape=(len(u) + 1, plant.nx, u.shape[2]))
        x[0] = self._own(x0)
        self._run("step", "simulate", u, _rows(p), disturbance, self._own(taper), x)
        return x

    def regulate(
        self, x0, v, gains, reference, p, limit, gain, noise, disturbance, taper
    ):
        """See `Kernels.regulate`; compiled, trials shared out over the cores."""
        plant = self.plant
        disturbance, v, gain, noise, p = self._arrays(
            (disturbance, v, gain, noise, p),
            ("disturbance", "v", "gain", "noise", "p"),
            (plant.nx, plant.nu, plant.nu, plant.nu, plant.n_params),
        )
        x, v, u = (
            np.empty_like(v, shape=(len(v) + 1, plant.nx, v.shape[2])),
            v.copy(),
            np.empty_like(v),
        )
        x[0] = self._own(x0)
        self._run(
            "step",
            "regulate",
            v,
            self._own(gains),
            self._own(reference),
            _rows(p),
            self._own(limit),
            gain,
            noise,
            disturbance,
            self._own(taper),
            x,
            u,
        )
        return x, v, u

    def _module(self, name):
        if name not in self._modules:
            self._modules[name] = load_module(
                f"{self.plant.name}_{name}", map_pieces(self.plant, name)
            )
        return self._modules[name]

    def _run(self, name, kernel, *arguments):
        """A kernel of the module of that name, its jobs shared out over the cores."""
        from numba.core.errors import NumbaError

        out, module = arguments[-1], self._module(name)
        jobs = {
            "map_values": len(out),
            "map_slopes": len(out) * -(-out.shape[-1] // module.MAP_WIDTH),
        }.get(kernel, out.shape[-1])
        try:
            run_in_parallel(jobs, getattr(module, kernel), *arguments, least=LEAST_JOBS)
        except NumbaError as error:
            reason = " ".join(str(error).split())
            raise PlantError(
                f"{self.plant.path.name}: the functions for {name} cannot be compiled; keep each variable a "
                f"number, or a tuple of one length. Numba says: {reason[:300]}"
            ) from error

    def _values(self, name, x, u, target, p, size):
        out = np.empty_like(x, shape=(len(x), size, x.shape[2]))
        self._run(name, "map_values", x, u, target, _rows(p), out)
        return out

    def _slopes(self, name, x, u, target, p, size):
        (K, nx, N), nu = x.shape, u.shape[1]
        A, B = (
            np.empty_like(x, shape=(K, size, nx, N)),
            np.empty_like(x, shape=(K, size, nu, N)),
        )
        hx, hu = (
            self._own(STEP * self.plant.typical_state),
            self._own(STEP * self.plant.typical_control),
        )
        self._run(name, "map_slopes", x, u, target, _rows(p), hx, hu, A, B)
        return A, B


def _rows(p):
    return p.T.copy()
