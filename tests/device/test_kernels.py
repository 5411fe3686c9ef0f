"""A plant's kernels on a GPU compute the same bits as those on the CPU.

Both are made from the same source.
"""

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
    """Check equality up to `ulps` units in the last place of the largest number.

    The sine of a GPU differs in the last place, and a finite difference amplifies that.
    """
    b, ulps = to_host(b), ulps if SIMULATED else 4e5
    assert a.shape == b.shape
    assert np.abs(a - b).max() <= ulps * np.spacing(np.abs(a).max())


@pytest.mark.parametrize("name", COMPILED)
def test_plants_compute_the_same_bits(name):
    """Except for powers and exponentials, which come from two libraries.

    The simulator takes them from C, compiled code from LLVM. A difference over 6e-6
    turns one unit in the last place into 1e5.
    """
    plant = load_plant(name)
    (cpu, gpu), (x, u, p) = both(plant), point(plant)
    for a, b in zip(cpu.jacobians(x, u, p), gpu.jacobians(x, u, p), strict=True):
        same(a, b, 4e5)
    same(cpu.step(x[0], u[0], p), gpu.step(x[0], u[0], p), 2)
    same(cpu.observe(x, p), gpu.observe(x, p))
    same(cpu.output(x, p), gpu.output(x, p), 2)
    same(cpu.output_jacobian(x, p), gpu.output_jacobian(x, p), 4e5)


def test_an_arm_computes_exactly_the_same():
    plant = load_plant("arm2")
    (cpu, gpu), (x, u, p) = both(plant), point(plant)
    for a, b in zip(cpu.jacobians(x, u, p), gpu.jacobians(x, u, p), strict=True):
        same(a, b)


@pytest.mark.parametrize(
    "variant",
    [
        lambda plant: with_actuators(plant, 0.04),
        lambda plant: with_observations(plant, ("positions",)),
    ],
    ids=["actuators", "positions"],
)
def test_modified_plants_compute_the_same(variant):
    plant = variant(load_plant("arm2"))
    (cpu, gpu), (x, u, p) = both(plant), point(plant)
    for a, b in zip(
        [*cpu.jacobians(x, u, p), cpu.observe(x, p)],
        [*gpu.jacobians(x, u, p), gpu.observe(x, p)],
        strict=True,
    ):
        same(a, b)


def test_trajectories_are_equal():
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
        np.array([[-0.3, -np.inf], [0.5, np.inf]]),
    )
    perturbations = Perturbations(
        0.1 * rng.standard_normal(u.shape),
        0.1 * rng.standard_normal(u.shape),
        disturbance,
    )
    arguments = (x[0], law, p, perturbations, plant.taper)
    for a, b in zip(cpu.regulate(*arguments), gpu.regulate(*arguments), strict=True):
        same(a, b)


def test_residual_functions_compute_the_same():
    plant = load_plant("cartpole")
    name = next(iter(plant.residuals))
    (cpu, gpu), (x, u, p) = both(plant), point(plant)
    target = np.random.default_rng(2).standard_normal((STEPS, plant.nx, TRIALS))
    same(cpu.residual(name, x, u, target, p), gpu.residual(name, x, u, target, p), 2)
    for a, b in zip(
        cpu.residual_jacobian(name, x, u, target, p),
        gpu.residual_jacobian(name, x, u, target, p),
        strict=True,
    ):
        same(a, b, 4e5)
