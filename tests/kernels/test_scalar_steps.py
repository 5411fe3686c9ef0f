"""The formulas of one trial, which CUDA kernels use, equal the CPU's kernels.

Here they run as plain Python; tests/device runs them within kernels.
"""

import numpy as np
import pytest

from hfcontrol.kernels import compile_plant, scalar_steps
from hfcontrol.kernels.base import actuator_factors, taper_value
from hfcontrol.plant.modifiers import with_actuators
from hfcontrol.plant.registry import load_plant, plant_names

TRIALS = 3


def one_of_each_integrator():
    """A compiled plant for each integrator that shipped plants use."""
    plants = [load_plant(name) for name in plant_names()]
    return {plant.integrator: plant for plant in plants if plant.compiled}


def point(plant, rng):
    x = 0.3 * plant.typical_state[:, None] * rng.standard_normal((plant.nx, TRIALS))
    u = 0.3 * plant.typical_control[:, None] * rng.standard_normal((plant.nu, TRIALS))
    p = np.array(list(plant.params.values()), dtype=float).reshape(-1, 1)
    return x, u, np.repeat(p, TRIALS, axis=1)


def step_of(plant, x, u, p):
    """The state after a control step of one trial."""
    integrator = scalar_steps.INTEGRATORS[plant.integrator]
    rates = plant.functions["step" if "step" in plant.functions else "dynamics"]
    work = np.empty((4, max(plant.nx, plant.nu)))

    def integrate(*arguments):
        integrator(rates, *arguments)

    x_next, n = np.empty(plant.nx), plant.n_body
    drive = u
    if plant.actuator_lag:
        drive = np.empty(plant.nu)
        scalar_steps.drive_actuators(*actuator_factors(plant), x, u, drive, x_next)
    h = plant.dt / plant.substeps
    scalar_steps.step_body(
        integrate, plant.substeps, h, x[:n], drive, p, work, x_next[:n]
    )
    return x_next


@pytest.mark.parametrize("integrator", sorted(one_of_each_integrator()))
@pytest.mark.parametrize("lag", [0.0, 0.04])
def test_step_of_a_trial_equals_that_of_a_block(integrator, lag, rng):
    plant = one_of_each_integrator()[integrator]
    if lag:
        plant = with_actuators(plant, lag)
    x, u, p = point(plant, rng)
    expected = compile_plant(plant).step(x, u, p)
    for n in range(TRIALS):
        # Contiguous, as the rows and columns that kernels gather.
        arguments = (a[:, n].copy() for a in (x, u, p))
        found = step_of(plant, *arguments)
        np.testing.assert_allclose(found, expected[:, n], rtol=1e-13, atol=1e-15)


def test_taper_of_a_number_equals_that_of_an_array():
    values = np.linspace(-3.0, 3.0, 13)
    expected = taper_value(values[None], np.array([1.0]))[0]
    found = [scalar_steps.taper_value(float(v), 1.0) for v in values]
    np.testing.assert_allclose(found, expected, rtol=1e-15)
