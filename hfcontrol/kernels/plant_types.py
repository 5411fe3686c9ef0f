"""The structures in which a plant reaches compiled code, see plant_functions.py."""

from typing import Any, NamedTuple

import numpy as np

from hfcontrol.arrays.types import Array

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
    irregular: whether the last state says how much longer a step is than dt
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
    irregular: bool
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
    irregular=False,
    n_observable=0,
    lag=0.0,
    decay=0.0,
    mean=0.0,
    observed=np.zeros(0, dtype=np.int64),
)
