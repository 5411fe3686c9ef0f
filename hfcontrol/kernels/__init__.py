"""The plant alone, for all times and trials at once: steps, trajectories and finite-difference Jacobians."""

from hfcontrol.errors import DeviceError
from hfcontrol.kernels.base import STEP
from hfcontrol.kernels.generate import load_module, plant_pieces

__all__ = ["STEP", "compile_plant", "load_module", "plant_pieces"]

_compiled = {}


def compile_plant(plant, device="cpu"):
    """The kernels of a plant on a device, "cpu" or "gpu", see `kernels.base.Kernels`; what Numba makes is made at the first call of
    each.

    Raises PlantError where the plant's functions cannot be compiled or give arrays of a wrong shape, at that call, and DeviceError
    for a plant that is not compiled on a GPU.
    """
    if device == "gpu":
        return _on_gpu(plant)
    if not plant.compiled:
        from hfcontrol.kernels.batch import BatchKernels

        return BatchKernels(plant)
    if _key(plant) not in _compiled:
        from hfcontrol.kernels.cpu import CompiledKernels

        _compiled[_key(plant)] = CompiledKernels(plant)
    return _compiled[_key(plant)]


def _key(plant):
    return (
        plant.name,
        plant.source_hash,
        plant.dt,
        plant.integrator,
        plant.substeps,
        plant.actuator_lag,
        plant.observation_indices,
        *plant.typical_state,
        *plant.typical_control,
    )


def _on_gpu(plant):
    if not plant.compiled:
        raise DeviceError(
            f"--device gpu: plant {plant.name} is stepped by Python, not compiled, and stays on the CPU; give --device "
            "cpu, or write its dynamics as in `hfcontrol check --help`"
        )
    key = ("gpu", *_key(plant))
    if key not in _compiled:
        from hfcontrol.kernels.cuda import CudaKernels

        _compiled[key] = CudaKernels(plant)
    return _compiled[key]
