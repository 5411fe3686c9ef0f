"""The plant alone, for all times and trials at once: steps, trajectories and finite-difference Jacobians."""

from hfcontrol.kernels.base import STEP
from hfcontrol.kernels.generate import load_module, plant_pieces

__all__ = ["STEP", "compile_plant", "load_module", "plant_pieces"]

_compiled = {}


def compile_plant(plant):
    """The kernels of a plant, see `kernels.base.Kernels`; what Numba makes is made at the first call of each.

    Raises PlantError where the plant's functions cannot be compiled or give arrays of a wrong shape, at that call.
    """
    if not plant.compiled:
        from hfcontrol.kernels.batch import BatchKernels
        return BatchKernels(plant)
    key = (plant.name, plant.source_hash, plant.dt, plant.integrator, plant.substeps, plant.actuator_lag,
           plant.seen, *plant.typical_state, *plant.typical_control)
    if key not in _compiled:
        from hfcontrol.kernels.cpu import CompiledKernels
        _compiled[key] = CompiledKernels(plant)
    return _compiled[key]
