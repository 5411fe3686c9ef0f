"""A plant as compiled code takes it: addresses of block functions, and numbers.

A block function (plant_module.py, blocks.py) computes w trials at once, because a call
by pointer for each trial costs 30 % more time.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.errors import PlantError
from hfcontrol.kernels.base import actuator_factors
from hfcontrol.kernels.plant_module import (
    block_name,
    block_signature,
    load_plant_module,
)
from hfcontrol.plant.contract import Plant

# `PlantFunctions.integrator`, by the plant file's INTEGRATOR.
EULER, SEMI_IMPLICIT, RK4, DISCRETE = range(4)
INTEGRATORS = {
    "euler": EULER,
    "semi_implicit": SEMI_IMPLICIT,
    "rk4": RK4,
    "none": DISCRETE,
}


class PlantFunctions(NamedTuple):
    """The functions of a plant and how it is stepped; one type for all plants.

    The functions are addresses, 0 for those that the plant file does not define or that
    were not requested; without a function, `observe` and `output` copy the state.

    step: `fill_step` of integrators.py, the same for all plants
    rates: (x, u, p, dx) of the body; of a discrete plant its step
    observe: (x, p, y), all observations of the body
    output: (x, p, z)
    residual: (x, u, target, p, r)
    integrator: EULER, SEMI_IMPLICIT, RK4 or DISCRETE
    substeps, substep: steps of the integrator per control step, and their length [s]
    n_body: number of states of the body; the drives of actuators follow them
    n_observable: number of observations before the selection
    lag: time constant [s] of first-order actuators before the body; 0 without
    decay, mean: `actuator_factors`
    observed: indices of the observations that the network gets (int64); empty for all
    """

    step: Any
    rates: Any
    observe: Any
    output: Any
    residual: Any
    integrator: int
    substeps: int
    substep: float
    n_body: int
    n_observable: int
    lag: float
    decay: float
    mean: float
    observed: Array


class PlantDerivatives(NamedTuple):
    """Addresses of derivatives that the plant file defines; 0 for the others.

    jacobian: (x, u, p, A, B), A (nx, nx, w), B (nx, nu, w)
    observe_jacobian: (x, p, C), C (ny, nx, w)
    """

    jacobian: Any
    observe_jacobian: Any


def load_plant_functions(
    plant: Plant, output: bool = False, residual: str | None = None
) -> PlantFunctions:
    """Return the functions of a compiled plant.

    `output` is whether the output is needed, `residual` the name of the residual
    function that is; the others are not compiled. Raises PlantError if the plant's
    functions cannot be compiled.
    """
    # Imported here: integrators.py needs the types of this module.
    from hfcontrol.kernels.integrators import load_step

    defined = plant.functions
    decay, mean = actuator_factors(plant) if plant.actuator_lag else (0.0, 0.0)
    return PlantFunctions(
        load_step(),
        block_function(plant, "step" if "step" in defined else "dynamics"),
        block_function(plant, "observe"),
        block_function(plant, "output") if output else 0,
        block_function(plant, residual) if residual else 0,
        INTEGRATORS[plant.integrator],
        plant.substeps,
        plant.dt / plant.substeps,
        plant.n_body,
        plant.n_observable or plant.ny,
        float(plant.actuator_lag),
        decay,
        mean,
        np.array(plant.observation_indices or (), dtype=np.int64),
    )


# In place of a plant that is not compiled: kernels of its linear model need none.
NO_PLANT = PlantFunctions(
    step=0,
    rates=0,
    observe=0,
    output=0,
    residual=0,
    integrator=DISCRETE,
    substeps=0,
    substep=0.0,
    n_body=0,
    n_observable=0,
    lag=0.0,
    decay=0.0,
    mean=0.0,
    observed=np.zeros(0, dtype=np.int64),
)


def load_plant_derivatives(plant: Plant) -> PlantDerivatives:
    """Return the derivatives that the plant file defines and that hold for the plant.

    Neither holds if actuators come before the body, and `observe_jacobian` does not if
    some observations are left out.
    """
    jacobian: Any = 0
    observe_jacobian: Any = 0
    if "dynamics" in plant.functions and not plant.actuator_lag:
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
    from numba import cfunc, types

    inputs, outputs = block_signature(name)
    pointers = [types.CPointer(types.float64)] * (len(inputs) + len(outputs))
    sizes = [types.int64] * (2 if "target" in inputs else 1)
    signature = types.void(*pointers, *sizes)
    return cfunc(signature, error_model="numpy", cache=True)(function)
