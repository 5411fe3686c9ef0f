"""A plant's kernels on a GPU are the CPU's: made from the same source, they give the same numbers bit for bit."""

import os

import numpy as np
import pytest

from hfcontrol.arrays.device import to_host
from hfcontrol.kernels import LinearLaw, Perturbations, compile_plant
from hfcontrol.plant.modifiers import with_actuators, with_observations
from hfcontrol.plant.registry import load_plant, plant_names

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
STEPS, TRIALS = 2, 3
COMPILED = [name for name in plant_names() if load_plant(name).compiled]


def point(plant, seed=0):
    """States, controls and parameters of a few times and trials, of typical sizes."""
    rng = np.random.default_rng(seed)
    x = (
        0.3
        * np.array(plant.typical_state)[:, None]
        * rng.standard_normal((STEPS, plant.nx, TRIALS))
    )
    u = (
        0.3
        * np.array(plant.typical_control)[:, None]
        * rng.standard_normal((STEPS, plant.nu, TRIALS))
    )
    return (
        x,
        u,
        np.repeat(
            np.array(list(plant.params.values()), dtype=float)[:, None], TRIALS, axis=1
        ).reshape(-1, TRIALS),
    )


def both(plant):
    return compile_plant(plant), compile_plant(plant, "gpu")


def same(a, b, ulps=0):
    """Equal, or to so many units in the last place of the largest number; on a GPU, whose sine is another, at least as those that a
    difference makes of one."""
    b, ulps = to_host(b), ulps if SIMULATED else 4e5
    assert a.shape == b.shape
    assert np.abs(a - b).max() <= ulps * np.spacing(np.abs(a).max())


@pytest.mark.parametrize("name", COMPILED)
def test_plants_are_the_same_bit_for_bit(name):
    """But for a power or an exponential, which the simulator takes from C's library and compiled code from LLVM's; a difference
    over 6e-6 makes 1e5 units of one."""
    plant = load_plant(name)
    (cpu, gpu), (x, u, p) = both(plant), point(plant)
    for a, b in zip(cpu.jacobians(x, u, p), gpu.jacobians(x, u, p)):
        same(a, b, 4e5)
    same(cpu.step(x[0], u[0], p), gpu.step(x[0], u[0], p), 2)
    same(cpu.observe(x, p), gpu.observe(x, p))
    same(cpu.output(x, p), gpu.output(x, p), 2)
    same(cpu.output_jacobian(x, p), gpu.output_jacobian(x, p), 4e5)


def test_arms_are_exactly_the_same():
    plant = load_plant("arm2")
    (cpu, gpu), (x, u, p) = both(plant), point(plant)
    for a, b in zip(cpu.jacobians(x, u, p), gpu.jacobians(x, u, p)):
        same(a, b)


@pytest.mark.parametrize(
    "variant",
    [
        lambda plant: with_actuators(plant, 0.04),
        lambda plant: with_observations(plant, ("positions",)),
    ],
    ids=["actuators", "positions"],
)
def test_variants_of_a_plant_are_the_same(variant):
    plant = variant(load_plant("arm2"))
    (cpu, gpu), (x, u, p) = both(plant), point(plant)
    for a, b in zip(
        [*cpu.jacobians(x, u, p), cpu.observe(x, p)],
        [*gpu.jacobians(x, u, p), gpu.observe(x, p)],
    ):
        same(a, b)


def test_trajectories_are_the_same():
    plant = load_plant("arm2")
    (cpu, gpu), (x, u, p) = both(plant), point(plant)
    rng = np.random.default_rng(1)
    disturbance = 1e-3 * rng.standard_normal((STEPS, plant.nx, TRIALS))
    same(
        cpu.simulate(x[0], u, p, disturbance, plant.taper),
        gpu.simulate(x[0], u, p, disturbance, plant.taper),
    )
    law = LinearLaw(
        u,
        rng.standard_normal((STEPS, TRIALS, plant.nu, plant.nx)),
        rng.standard_normal((STEPS + 1, plant.nx, TRIALS)),
        np.array([0.5, np.inf]),
    )
    perturbations = Perturbations(
        0.1 * rng.standard_normal(u.shape),
        0.1 * rng.standard_normal(u.shape),
        disturbance,
    )
    arguments = (x[0], law, p, perturbations, plant.taper)
    for a, b in zip(cpu.regulate(*arguments), gpu.regulate(*arguments)):
        same(a, b)


def test_residual_functions_are_the_same():
    plant = load_plant("cartpole")
    name, names = next(iter(plant.residuals.items()))
    (cpu, gpu), (x, u, p) = both(plant), point(plant)
    target = np.random.default_rng(2).standard_normal((STEPS, plant.nx, TRIALS))
    same(cpu.residual(name, x, u, target, p), gpu.residual(name, x, u, target, p), 2)
    for a, b in zip(
        cpu.residual_jacobian(name, x, u, target, p),
        gpu.residual_jacobian(name, x, u, target, p),
    ):
        same(a, b, 4e5)
