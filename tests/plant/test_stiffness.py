"""Substeps against the exact decay of linear plants."""

from pathlib import Path

import numpy as np
import pytest

from hfcontrol.plant.reader import read_plant
from hfcontrol.plant.stiffness import rate_jacobian, stable_substeps

# A mode that decays at RATE [1/s], and one that does not move.
DECAY = """
STATE, CONTROL = ("fast", "slow"), ("push",)
DT, INTEGRATOR = 0.1, "{integrator}"


def dynamics(x, u, p, dx):
    dx[0] = -{rate} * x[0] + u[0]
    dx[1] = x[0]


TASKS = {{"stay": {{"generator": "around", "start": (0.0, 0.0), "spread": (1.0, 1.0),
                    "target": (0.0, 0.0), "trials": 2, "steps": 5, "effort": 1.0}}}}
"""

# A damped oscillator: w is its frequency [rad/s], d its damping [1/s].
OSCILLATOR = """
STATE, CONTROL = ("place", "place_rate"), ("push",)
DT, INTEGRATOR = 0.1, "semi_implicit"


def dynamics(x, u, p, dx):
    dx[0] = x[1]
    dx[1] = -{square} * x[0] - {damping} * x[1] + u[0]


TASKS = {{"stay": {{"generator": "around", "start": (0.0, 0.0), "spread": (1.0, 1.0),
                    "target": (0.0, 0.0), "trials": 2, "steps": 5, "effort": 1.0}}}}
"""


# Friction that opposes the motion: at rest it jumps by 2, or rises by 2 within `width`.
FRICTION = """
import math
STATE, CONTROL = ("place", "place_rate"), ("push",)
DT, INTEGRATOR = 0.1, "rk4"


def sign(v):
    if v > 0:
        return 1.0
    if v < 0:
        return -1.0
    return 0.0


def dynamics(x, u, p, dx):
    dx[0] = x[1]
    dx[1] = u[0] - {friction}


TASKS = {{"stay": {{"generator": "around", "start": (0.0, 0.0), "spread": (1.0, 1.0),
                    "target": (0.0, 0.0), "trials": 2, "steps": 5, "effort": 1.0}}}}
"""


def plant_from(text, **numbers):
    return read_plant(text.format(**numbers), Path("mine.py"))


def substeps_of(plant):
    x, u = np.zeros((2, 1)), np.zeros((1, 1))
    return stable_substeps(plant, x, u, np.zeros((0, 1)))


@pytest.mark.parametrize("integrator", ["euler", "rk4"])
@pytest.mark.parametrize("rate", [1.0, 9.0, 60.0, 1000.0])
def test_fast_modes_decay_with_the_substeps_that_are_found(integrator, rate):
    plant = plant_from(DECAY, integrator=integrator, rate=rate)
    substeps = substeps_of(plant)

    def factor(count):
        z = -rate * plant.dt / count
        R = 1 + z
        if integrator == "rk4":
            R += z**2 / 2 + z**3 / 6 + z**4 / 24
        return abs(R)

    assert factor(substeps) < 1
    if rate * plant.dt <= 1:
        assert substeps == 1, "the mode is slow"
    if substeps > 1:
        assert factor(substeps - 1) > 0.9, "fewer would have been too few"


def test_an_oscillator_needs_substeps_only_where_its_step_is_unstable():
    # semi-implicit steps of an undamped oscillator are stable for w dt < 2
    slow = plant_from(OSCILLATOR, square=15.0**2, damping=0.01)
    fast = plant_from(OSCILLATOR, square=45.0**2, damping=0.01)
    assert substeps_of(slow) == 1
    assert substeps_of(fast) == 3


def test_plants_without_rates_keep_their_step():
    text = """
STATE, CONTROL = ("x",), ("u",)
DT = 1.0


def step(x, u, p, dt, x_next):
    x_next[0] = -5.0 * x[0] + u[0]


TASKS = {"stay": {"generator": "around", "start": (0.0,), "spread": (1.0,),
                  "target": (0.0,), "trials": 2, "steps": 5, "effort": 1.0}}
"""
    plant = read_plant(text, Path("mine.py"))
    assert (
        stable_substeps(plant, np.zeros((1, 1)), np.zeros((1, 1)), np.zeros((0, 1)))
        == 1
    )


def test_jacobian_is_that_of_a_linear_plant():
    plant = plant_from(OSCILLATOR, square=4.0, damping=0.5)
    F = rate_jacobian(plant, np.array([0.3, -1.0]), np.zeros(1), np.zeros(0))
    np.testing.assert_allclose(F, [[0, 1], [-4, -0.5]], atol=1e-8)


def test_a_jump_is_no_mode():
    """No substep follows dry friction at rest; friction that rises within 0.02 has."""
    assert substeps_of(plant_from(FRICTION, friction="sign(x[1])")) == 1
    smooth = plant_from(FRICTION, friction="math.tanh(x[1] / 0.02)")
    steep = plant_from(DECAY, integrator="rk4", rate=50.0)
    assert substeps_of(smooth) == substeps_of(steep) > 1
