"""A plant's own functions as kernels take them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import SWING, plant_of
from numba import njit, typeof

from hfcontrol.errors import PlantError
from hfcontrol.kernels import plant_module
from hfcontrol.kernels.blocks import call_map, call_rates, call_residual
from hfcontrol.kernels.jit import DISABLED
from hfcontrol.kernels.plant_functions import (
    load_plant_derivatives,
    load_plant_functions,
)
from hfcontrol.kernels.plant_module import plant_source
from hfcontrol.kernels.plant_types import NO_PLANT
from hfcontrol.plant.reader import read_plant
from hfcontrol.plant.registry import load_plant
from hfcontrol.plant.source import PlantSource

WIDTH = 5


@njit
def rates(plant, x, u, p, dx):
    call_rates(plant.rates, x, u, p, dx)


@njit
def output(plant, x, p, z):
    call_map(plant.output, x, p, z)


@njit
def residual(plant, x, u, target, p, r):
    call_residual(plant.residual, x, u, target, p, r)


@pytest.fixture
def plant():
    return plant_of("swing")


def columns(rng, *sizes):
    return [rng.standard_normal((n, WIDTH)) for n in sizes]


def test_block_functions_compute_what_the_plant_file_says(plant, rng):
    functions = load_plant_functions(plant, output=True, residual="worth")
    x, u, target = columns(rng, 3, 2, 3)
    p = np.abs(rng.standard_normal((WIDTH, 2)))
    dx, z, r = np.empty((3, WIDTH)), np.empty((2, WIDTH)), np.empty((3, WIDTH))
    rates(functions, x, u, p, dx)
    output(functions, x, p, z)
    residual(functions, x, u, target, p, r)
    expected = np.empty(3)
    for n in range(WIDTH):
        plant.functions["dynamics"](x[:, n], u[:, n], p[n], expected)
        np.testing.assert_allclose(dx[:, n], expected, rtol=1e-14)
        plant.functions["output"](x[:, n], p[n], expected)
        np.testing.assert_allclose(z[:, n], expected[:2], rtol=1e-14)
        plant.functions["worth"](x[:, n], u[:, n], target[:, n], p[n], expected)
        np.testing.assert_allclose(r[:, n], expected, rtol=1e-14)


def test_functions_that_are_not_requested_are_not_compiled(plant):
    functions = load_plant_functions(plant)
    assert functions.rates and functions.observe
    assert not functions.output and not functions.residual
    assert not any(load_plant_derivatives(plant))


@pytest.mark.skipif(DISABLED, reason="Python functions have no type")
def test_all_plants_have_one_type():
    names = ("arm2", "pendulum", "linear")
    types = {typeof(load_plant_functions(load_plant(name))) for name in names}
    assert types == {typeof(NO_PLANT)}


def test_module_of_a_plant_depends_on_its_functions_alone():
    plant = load_plant("pendulum")
    assert plant_source(plant) == plant_source(load_plant("pendulum"))
    assert "own_dynamics" in plant_source(plant)
    assert "step_block" not in plant_source(plant)


def test_a_file_is_read_once_for_all_sizes_of_its_signals(monkeypatch):
    """Training and diagnosis make many plants that differ in numbers alone."""
    reads = []
    monkeypatch.setattr(
        plant_module, "PlantSource", lambda *args: reads.append(1) or PlantSource(*args)
    )
    plant = load_plant("pendulum")
    wide = [replace(plant, typical_state=k * plant.typical_state) for k in (2, 3, 4)]
    assert len({plant_source(each) for each in wide}) == 1
    assert sum(reads) == 1


@pytest.mark.skipif(DISABLED, reason="Python accepts what Numba does not")
def test_a_function_that_cannot_be_compiled_is_named():
    mixed = "    a = 1\n    if x[0] > 99:\n        a = (1, 2)\n    dx[2] = a\n"
    changed = SWING.replace("    dx[0] = x[1]\n", "    dx[0] = x[1]\n" + mixed)
    with pytest.raises(PlantError, match="the function dynamics cannot be compiled"):
        load_plant_functions(read_plant(changed, Path("swing.py")))
