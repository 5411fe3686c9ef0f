"""A plant as compiled code takes it: pointers to block functions, and numbers.

The pointers are C functions by Numba (`cfunc`), whose type is their signature. So a
`PlantFunctions` has the same type for every plant, and a kernel that takes one is
compiled once, whatever the plant.

A block function computes w trials at once, because a call by pointer for each trial
costs 30 % more time. Its arrays are float64, C-contiguous: x (nx, w), u (nu, w),
p (w, np) and so on, see `PlantFunctions`.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.errors import PlantError
from hfcontrol.kernels.base import actuator_factors
from hfcontrol.kernels.plant_module import (
    RESIDUAL,
    SIGNATURES,
    Signature,
    block_name,
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
    """The functions of a plant and how it is stepped.

    rates: block function (x, u, p, dx) of the body; of a discrete plant its step
    observe: block function (x, p, y) of all `n_observable` observations of the body
    output: block function (x, p, z)
    residual: block function (x, u, target, p, r)
    integrator: EULER, SEMI_IMPLICIT, RK4 or DISCRETE
    substeps, substep: steps of the integrator per control step, and their length [s]
    n_body: number of states of the body; the drives of actuators follow them
    n_observable: number of observations before the selection
    has_actuators: whether first-order actuators come before the body
    lag, decay, mean: their time constant [s] and `actuator_factors`
    observed: indices of the observations that the network gets (int64); empty for all

    Functions that were not requested are placeholders, which compute nothing.
    """

    rates: Any
    observe: Any
    output: Any
    residual: Any
    integrator: int
    substeps: int
    substep: float
    n_body: int
    n_observable: int
    has_actuators: bool
    lag: float
    decay: float
    mean: float
    observed: Array


class PlantDerivatives(NamedTuple):
    """Derivatives that the plant file defines; differences replace the others.

    has_jacobian, has_observe_jacobian: whether the plant file defines them
    jacobian: block function (x, u, p, A, B), A (nx, nx, w), B (nx, nu, w)
    observe_jacobian: block function (x, p, C), C (ny, nx, w)
    """

    has_jacobian: bool
    has_observe_jacobian: bool
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
    defined = plant.functions
    rates = block_function(plant, "step" if "step" in defined else "dynamics")
    decay, mean = actuator_factors(plant) if plant.actuator_lag else (0.0, 0.0)
    return PlantFunctions(
        rates,
        _function_or_copy(plant, "observe"),
        _function_or_copy(plant, "output" if output else ""),
        block_function(plant, residual) if residual else placeholder(no_residual),
        INTEGRATORS[plant.integrator],
        plant.substeps,
        plant.dt / plant.substeps,
        plant.n_body,
        plant.n_observable if "observe" in defined else plant.n_body,
        plant.actuator_lag > 0.0,
        float(plant.actuator_lag),
        decay,
        mean,
        np.array(plant.observation_indices or (), dtype=np.int64),
    )


def load_plant_derivatives(plant: Plant) -> PlantDerivatives:
    """Return the derivatives that the plant file defines and that hold for the plant.

    Neither holds if actuators come before the body, and `observe_jacobian` does not if
    some observations are left out.
    """
    continuous = "dynamics" in plant.functions and not plant.actuator_lag
    jacobian = continuous and "jacobian" in plant.functions
    observe_jacobian = (
        continuous
        and "observe_jacobian" in plant.functions
        and plant.observation_indices is None
    )
    return PlantDerivatives(
        jacobian,
        observe_jacobian,
        block_function(plant, "jacobian") if jacobian else placeholder(no_jacobian),
        block_function(plant, "observe_jacobian")
        if observe_jacobian
        else placeholder(no_observe_jacobian),
    )


def block_function(plant: Plant, name: str) -> Any:
    """Return the pointer to the block function around a function of the plant file.

    It is a plain Python function where Numba is switched off. Raises PlantError if it
    cannot be compiled.
    """
    from numba.core.errors import NumbaError

    function = getattr(load_plant_module(plant), block_name(name))
    try:
        return compile_block_function(function, SIGNATURES.get(name, RESIDUAL))
    except NumbaError as error:
        reason = " ".join(str(error).split())
        raise PlantError(
            f"{plant.path.name}: the function {name} cannot be compiled; "
            "keep each variable a number, or a tuple of one length. "
            f"Numba says: {reason[:300]}"
        ) from error


# Functions of plant modules stay alive with their modules, so that the cache may too.
@cache
def compile_block_function(function: Callable[..., None], signature: Signature) -> Any:
    """Return a block function as C function, compiled now or loaded from the cache."""
    from numba import cfunc, config, types

    # Kernels are Python functions then, which cannot call C functions of Numba.
    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return function
    matrix = types.float64[:, ::1]
    # Any layout: derivatives are written into parts of larger arrays.
    derivatives = types.float64[:, :, :]
    inputs, outputs = signature
    arguments = [matrix] * len(inputs)
    arguments += [derivatives if name in "ABC" else matrix for name in outputs]
    return cfunc(types.void(*arguments), error_model="numpy", cache=True)(function)


def _function_or_copy(plant: Plant, name: str) -> Any:
    """Return `observe` or `output`, or the function that copies the state for it."""
    if name in plant.functions:
        return block_function(plant, name)
    return placeholder(copy_state)


def placeholder(function: Callable[..., None]) -> Any:
    """Return one of the functions below as C function."""
    return compile_block_function(function, PLACEHOLDERS[function])


def copy_state(x: Array, p: Array, y: Array) -> None:
    """Fill y (n, w), the observation or output of a plant that defines none."""
    for i in range(y.shape[0]):
        for n in range(y.shape[1]):
            y[i, n] = x[i, n]


def no_residual(x: Array, u: Array, target: Array, p: Array, r: Array) -> None:
    """Stand for the residual function of a task without one."""


def no_jacobian(x: Array, u: Array, p: Array, A: Array, B: Array) -> None:
    """Stand for a `jacobian` that the plant file does not define."""


def no_observe_jacobian(x: Array, p: Array, C: Array) -> None:
    """Stand for an `observe_jacobian` that the plant file does not define."""


PLACEHOLDERS = {
    copy_state: SIGNATURES["observe"],
    no_residual: RESIDUAL,
    no_jacobian: SIGNATURES["jacobian"],
    no_observe_jacobian: SIGNATURES["observe_jacobian"],
}
