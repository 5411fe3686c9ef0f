"""Compiled code, and the kernels of the plant alone for all times and trials at once.

* base.py: `Kernels`, what the kernels of every plant do
* batch.py, cpu.py, cuda/: plants in NumPy, compiled for the CPU, and for a GPU
* plant_module.py, plant_types.py, plant_functions.py, callbacks.py, blocks.py: the
  functions of a plant or a simulator, how kernels take them, and how kernels call them
* integrators.py, maps.py, trajectories.py: steps, Jacobians and trajectories
* structure.py, products.py: Jacobians without their zeros
* network_step.py, plain_layers.py, stages.py, stage_layout.py, cells.py, synapses.py,
  tanh.py: the network's step and its derivatives
* rollout.py, derivatives.py, segments.py, sequences.py: the loops over time
* fields.py, solver.py, solver_steps.py: plant and network in continuous time
* riccati.py: the backward pass of iLQR
* jit.py, stored_code.py, cache.py, matrices.py: how kernels are compiled and kept on
  disk, and small loops
* scalar_steps.py: what a thread of a GPU computes at one step of one trial
* operations.py: an estimate of the operations of a step
"""

from hfcontrol.errors import DeviceError
from hfcontrol.kernels.base import (
    STEP,
    Kernels,
    LinearLaw,
    Perturbations,
    Regulated,
)
from hfcontrol.kernels.plant_module import plant_source
from hfcontrol.plant.contract import Plant

__all__ = [
    "STEP",
    "Kernels",
    "LinearLaw",
    "Perturbations",
    "Regulated",
    "compile_plant",
]

# Kernels by what they depend on: plants that differ in tasks alone share them.
_compiled: dict[tuple[object, ...], Kernels] = {}


def compile_plant(plant: Plant, device: str = "cpu") -> Kernels:
    """Return the kernels of a plant on a device, "cpu" or "gpu".

    Numba compiles each kernel at its first call. That call raises PlantError if the
    plant's functions cannot be compiled or return arrays of a wrong shape. Raises
    DeviceError for a plant that cannot be compiled for a GPU.
    """
    if device == "gpu":
        return _compile_for_gpu(plant)
    if not plant.compiled:
        from hfcontrol.kernels.batch import BatchKernels

        return BatchKernels(plant)

    key = _key(plant)
    if key not in _compiled:
        from hfcontrol.kernels.cpu import CompiledKernels

        _compiled[key] = CompiledKernels(plant)
    return _compiled[key]


def _key(plant: Plant) -> tuple[object, ...]:
    """Return what the kernels of a plant depend on."""
    return (
        plant.name,
        # With the constants in it, which a file may take from elsewhere.
        plant_source(plant),
        plant.dt,
        plant.integrator,
        plant.substeps,
        plant.actuator_lag,
        plant.irregular,
        plant.observation_indices,
        # The typical sizes set the steps of difference quotients.
        *plant.typical_state,
        *plant.typical_control,
    )


def _compile_for_gpu(plant: Plant) -> Kernels:
    if plant.irregular:
        raise DeviceError("`device` gpu with `jitter`: use `device` cpu")
    if not plant.compiled:
        raise DeviceError(
            f"`device` gpu: plant {plant.name} is stepped by Python, not compiled, and "
            "stays on the CPU; use `device` cpu, or write its dynamics as in "
            "`hfcontrol check --help`"
        )
    key = ("gpu", *_key(plant))
    if key not in _compiled:
        from hfcontrol.kernels.cuda.kernels import CudaKernels

        _compiled[key] = CudaKernels(plant)
    return _compiled[key]
