"""A plant as compiled code takes it: addresses of block functions, and numbers.

A block function (plant_module.py, blocks.py) computes w trials at once, because a call
by pointer for each trial costs 30 % more time.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from hfcontrol.errors import PlantError
from hfcontrol.kernels.base import actuator_factors
from hfcontrol.kernels.callbacks import rates_address
from hfcontrol.kernels.integrators import load_step
from hfcontrol.kernels.plant_module import (
    block_name,
    block_signature,
    load_plant_module,
)
from hfcontrol.kernels.plant_types import INTEGRATORS, PlantDerivatives, PlantFunctions
from hfcontrol.plant.contract import Plant


def load_plant_functions(
    plant: Plant, output: bool = False, residual: str | None = None
) -> PlantFunctions:
    """Return the functions of a compiled plant, or of a simulator that has rates.

    `output` is whether the output is needed, `residual` the name of the residual
    function that is; the others are not compiled. Raises PlantError if the plant's
    functions cannot be compiled.
    """
    if "rates_batch" in plant.functions:
        rates = rates_address(plant)
    else:
        # A discrete plant gives its step instead of rates.
        name = "step" if "step" in plant.functions else "dynamics"
        rates = block_function(plant, name)
    decay, mean = actuator_factors(plant) if plant.actuator_lag else (0.0, 0.0)
    observed = np.array(plant.observation_indices or (), dtype=np.int64)
    return PlantFunctions(
        step=load_step(),
        rates=rates,
        observe=block_function(plant, "observe"),
        output=block_function(plant, "output") if output else 0,
        residual=block_function(plant, residual) if residual else 0,
        integrator=INTEGRATORS[plant.integrator],
        substeps=plant.substeps,
        substep=plant.dt / plant.substeps,
        n_body=plant.n_body,
        irregular=plant.irregular,
        n_observable=plant.n_observable or plant.ny,
        # Floats always: another type would compile all kernels again.
        lag=float(plant.actuator_lag),
        decay=decay,
        mean=mean,
        observed=observed,
    )


def load_plant_derivatives(plant: Plant) -> PlantDerivatives:
    """Return the derivatives that the plant file defines and that hold for the plant.

    Neither holds if the plant has states of modifiers, and `observe_jacobian` does not
    if some observations are left out.
    """
    jacobian: Any = 0
    observe_jacobian: Any = 0
    if "dynamics" in plant.functions and plant.n_body == plant.nx:
        jacobian = block_function(plant, "jacobian")
        if plant.observation_indices is None:
            observe_jacobian = block_function(plant, "observe_jacobian")
    return PlantDerivatives(jacobian, observe_jacobian)


def block_function(plant: Plant, name: str) -> Any:
    """Return the address of the block function around a function of the plant file.

    It is 0 if the file does not define the function, and a Python function where Numba
    is switched off. Raises PlantError if the function cannot be compiled.
    """
    from numba.core.errors import NumbaError

    if name not in plant.functions:
        return 0
    function = getattr(load_plant_module(plant), block_name(name))
    try:
        return _compile(function, name)
    except NumbaError as error:
        reason = " ".join(str(error).split())
        raise PlantError(
            f"{plant.path.name}: the function {name} cannot be compiled; "
            "keep each variable a number, or a tuple of one length. "
            f"Numba says: {reason[:300]}"
        ) from error


def _compile(function: Callable[..., None], name: str) -> Any:
    """Return a block function as kernels take it."""
    from hfcontrol.kernels.jit import DISABLED

    return function if DISABLED else _compiled(function, name).address


# The cache keeps the machine code alive, as long as the plant's module.
@cache
def _compiled(function: Callable[..., None], name: str) -> Any:
    """Return a block function as C function, compiled now or loaded from the cache."""
    from numba import types

    from hfcontrol.kernels.jit import pointed_to

    inputs, outputs = block_signature(name)
    pointers = [types.CPointer(types.float64)] * (len(inputs) + len(outputs))
    sizes = [types.int64] * (2 if "target" in inputs else 1)
    signature = types.void(*pointers, *sizes)
    return pointed_to(signature)(function)
