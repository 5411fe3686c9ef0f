"""Steps of a plant by other routes than the code under test.

The routes are complex arithmetic, and one compiled step at a time.
"""

import cmath
from types import FunctionType

import numpy as np

from hfcontrol.kernels import compile_plant

COMPLEX_STEP = 1e-30


def params_of(plant, trials):
    """The plant's own parameters, the same for every trial (n_params, N)."""
    values = np.array(list(plant.params.values()))
    return np.repeat(values.reshape(-1, 1), trials, axis=1)


def complex_version(function):
    """The function of a plant file with complex arithmetic.

    Derivatives by the complex step have no rounding error.
    """
    return FunctionType(function.__code__, {**function.__globals__, "math": cmath})


def complex_jacobian(f, v):
    """df/dv by the complex step; f is a function of a list of numbers."""
    columns = []
    for j in range(len(v)):
        shifted = [z + 1j * COMPLEX_STEP * (i == j) for i, z in enumerate(v)]
        columns.append(np.imag(f(shifted)) / COMPLEX_STEP)
    return np.array(columns).T


def step_without_control(plant, x, steps):
    """The state after a number of compiled steps, one at a time, without control."""
    kernels = compile_plant(plant)
    p = params_of(plant, 1)
    u = np.zeros((plant.nu, 1))
    x = np.array(x, dtype=float)[:, None]
    for _ in range(steps):
        x = kernels.step(x, u, p)
    return x[:, 0]
