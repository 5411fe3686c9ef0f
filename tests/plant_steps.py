"""Steps of a plant by other routes than the code under test: complex arithmetic, one compiled step at a time."""

import cmath
from types import FunctionType

import numpy as np

from hfcontrol.kernels import load_module, plant_pieces


def params_of(plant, trials):
    """The plant's own parameters for every trial (np, N)."""
    return np.repeat(
        np.array(list(plant.params.values())).reshape(-1, 1), trials, axis=1
    )


def complex_version(function):
    """The function of a plant file with complex arithmetic, for derivatives without rounding error."""
    return FunctionType(function.__code__, {**function.__globals__, "math": cmath})


def complex_jacobian(f, v):
    """df/dv by the complex step: f of a list of numbers."""
    columns = [
        np.imag(f([z + 1e-30j * (i == j) for i, z in enumerate(v)])) / 1e-30
        for j in range(len(v))
    ]
    return np.array(columns).T


def stepped(plant, x, steps):
    """The state after some steps without control, by the compiled step alone."""
    step = load_module(plant.name, plant_pieces(plant)).plant_step
    p, u, x_next = (
        np.array(list(plant.params.values())),
        np.zeros(plant.nu),
        np.empty(plant.nx),
    )
    for _ in range(steps):
        step(x, u, p, x_next)
        x = x_next.copy()
    return x
