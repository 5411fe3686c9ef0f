"""Trajectories and maps of blocks of trials, compared with single steps."""

import numpy as np
from helpers import plant_of

from hfcontrol.kernels import Kernels, LinearLaw, Perturbations, compile_plant
from hfcontrol.kernels.base import taper_value
from hfcontrol.kernels.jit import DISABLED

STEPS = 3

# More than a block, and a part of another one.
TRIALS = 5 if DISABLED else 70


def draws(plant, rng):
    x = rng.standard_normal((STEPS, plant.nx, TRIALS))
    u = rng.standard_normal((STEPS, plant.nu, TRIALS))
    p = 1.0 + rng.random((plant.n_params, TRIALS))
    return x, u, p, 0.1 * rng.standard_normal(x.shape)


def test_trajectory_is_made_of_steps(rng):
    plant = plant_of("swing")
    kernels = compile_plant(plant)
    x, u, p, disturbance = draws(plant, rng)
    found = kernels.simulate(x[0], u, p, disturbance, plant.taper)
    state = x[0]
    for t in range(STEPS):
        state = taper_value(kernels.step(state, u[t], p) + disturbance[t], plant.taper)
        np.testing.assert_allclose(found[t + 1], state, rtol=1e-13, atol=1e-15)


def test_linear_law_equals_that_of_single_steps(rng):
    plant = plant_of("swing")
    kernels = compile_plant(plant)
    x, u, p, disturbance = draws(plant, rng)
    law = LinearLaw(
        u,
        rng.standard_normal((STEPS, TRIALS, plant.nu, plant.nx)),
        rng.standard_normal((STEPS + 1, plant.nx, TRIALS)),
        np.array([[-0.3, -np.inf], [0.8, np.inf]]),
    )
    noise = Perturbations(0.1 * u, 0.2 * u, disturbance)
    found = kernels.regulate(x[0], law, p, noise, plant.taper)
    expected = Kernels.regulate(kernels, x[0], law, p, noise, plant.taper)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)


def test_trials_do_not_depend_on_their_block(rng):
    plant = plant_of("swing")
    kernels = compile_plant(plant)
    x, u, p, _ = draws(plant, rng)
    target = x.copy()
    together = [
        *kernels.jacobians(x, u, p),
        kernels.observe(x, p),
        kernels.observe_jacobian(x, p),
        kernels.output(x, p),
        kernels.residual("worth", x, u, target, p),
        *kernels.residual_jacobian("worth", x, u, target, p),
    ]
    # The last trial alone.
    x, u, p, target = (np.ascontiguousarray(a[..., -1:]) for a in (x, u, p, target))
    alone = [
        *kernels.jacobians(x, u, p),
        kernels.observe(x, p),
        kernels.observe_jacobian(x, p),
        kernels.output(x, p),
        kernels.residual("worth", x, u, target, p),
        *kernels.residual_jacobian("worth", x, u, target, p),
    ]
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_array_equal(a[..., -1:], b)
