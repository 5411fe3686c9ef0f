"""Control steps of a block of trials, by formulas written here."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import plant_of

from hfcontrol.kernels import compile_plant
from hfcontrol.plant.modifiers import with_actuators
from hfcontrol.plant.registry import load_plant

TRIALS = 4


def rates_of(plant, x, u, p):
    dx = np.empty_like(x)
    for n in range(x.shape[1]):
        plant.functions["dynamics"](x[:, n], u[:, n], p[:, n], dx[:, n])
    return dx


def euler(plant, x, u, p, h):
    return x + h * rates_of(plant, x, u, p)


def semi_implicit(plant, x, u, p, h):
    half = len(x) // 2
    rates = x[half:] + h * rates_of(plant, x, u, p)[half:]
    return np.concatenate([x[:half] + h * rates, rates])


def runge_kutta(plant, x, u, p, h):
    first = rates_of(plant, x, u, p)
    second = rates_of(plant, x + h / 2 * first, u, p)
    third = rates_of(plant, x + h / 2 * second, u, p)
    last = rates_of(plant, x + h * third, u, p)
    return x + h / 6 * (first + 2 * second + 2 * third + last)


INTEGRATORS = {"euler": euler, "semi_implicit": semi_implicit, "rk4": runge_kutta}


def point(plant, rng):
    x = rng.standard_normal((plant.nx, TRIALS))
    u = rng.standard_normal((plant.nu, TRIALS))
    p = np.array(list(plant.params.values())).reshape(-1, 1)
    return x, u, np.repeat(p, TRIALS, axis=1)


@pytest.mark.parametrize("integrator", INTEGRATORS)
@pytest.mark.parametrize("substeps", [1, 3])
def test_step_is_that_of_the_integrator(integrator, substeps, rng):
    plant = replace(load_plant("pendulum"), integrator=integrator, substeps=substeps)
    x, u, p = point(plant, rng)
    expected = x
    for _ in range(substeps):
        h = plant.dt / substeps
        expected = INTEGRATORS[integrator](plant, expected, u, p, h)
    np.testing.assert_allclose(compile_plant(plant).step(x, u, p), expected, rtol=1e-13)


def test_step_of_a_discrete_plant_is_its_own(rng):
    plant = plant_of("linear")
    x, u, p = point(plant, rng)
    expected = np.array([[0.9, 0.3], [-0.2, 1.05]]) @ x + np.array([[0.0], [0.5]]) * u
    np.testing.assert_allclose(compile_plant(plant).step(x, u, p), expected, rtol=1e-14)


def test_actuators_are_of_first_order(rng):
    body = plant_of("swing")
    plant = with_actuators(body, 0.05)
    x, u, p = point(plant, rng)
    moved = compile_plant(plant).step(x, u, p)
    decay = np.exp(-plant.dt / 0.05)
    behind = x[3:] - u
    np.testing.assert_allclose(moved[3:], u + decay * behind, rtol=1e-13)
    drive = u + (1 - decay) * 0.05 / plant.dt * behind
    expected = compile_plant(body).step(x[:3], drive, p)
    np.testing.assert_allclose(moved[:3], expected, rtol=1e-12)
