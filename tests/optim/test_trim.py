"""Trim controls against closed forms: gravity, an inflow, hover, and clocks."""

import math
from pathlib import Path

import numpy as np
import pytest
from helpers import plant_of

from hfcontrol.kernels import compile_plant
from hfcontrol.optim.trim import find_trim
from hfcontrol.plant.limits import ControlLimits
from hfcontrol.plant.reader import read_plant

GRAVITY, MASS, LENGTH = 9.8, 1.0, 1.0

# Two tanks: the first flows into the second, whose outflow follows Torricelli's law.
# The leak grows with a clock that no control can stop.
TANKS = """
import math

STATE, CONTROL = ("upper", "lower", "time"), ("inflow",)
DT, INTEGRATOR = 0.5, "rk4"


def dynamics(x, u, p, dx):
    dx[0] = u[0] - 2.0 * math.sqrt(x[0])
    dx[1] = 2.0 * math.sqrt(x[0]) - 3.0 * math.sqrt(x[1]) - 0.1 * x[2]
    dx[2] = 1.0


TASKS = {"hold": {"generator": "around", "start": (1.0, 1.0, 0.0),
                  "spread": (0.1, 0.1, 0.0), "target": (1.0, 1.0, 0.0),
                  "trials": 3, "steps": 5}}
"""


def trim_of(plant, x, guess=None, limit=np.inf):
    """The trim of states x (nx, N) with the plant's own parameters."""
    x = np.array(x, dtype=float)
    params = np.repeat(np.array([*plant.params.values()])[:, None], x.shape[1], axis=1)
    guess = x if guess is None else np.array(guess, dtype=float)
    limits = ControlLimits.symmetric(np.full(plant.nu, limit))
    return find_trim(compile_plant(plant), x, guess, params, limits)


def test_trim_of_pendulum_is_the_torque_of_gravity():
    angles = np.array([0.0, 0.3, 1.0, math.pi])
    found = trim_of(plant_of("pendulum"), [angles, np.zeros(4)])
    expected = MASS * GRAVITY * LENGTH * np.sin(angles)
    np.testing.assert_allclose(found.u[0], expected, atol=1e-8)
    assert found.distances.max() < 1e-9


def test_trim_stays_within_the_limit():
    """The torque of gravity is 9.8 N m on a level rod; the motor has half of it."""
    found = trim_of(plant_of("pendulum"), [[math.pi / 2], [0.0]], limit=4.9)
    assert found.u[0, 0] == 4.9
    assert found.distances[0] > 0.01


def test_trim_of_quadrotor_is_hover_thrust():
    plant = plant_of("quadrotor")
    found = trim_of(plant, np.zeros((plant.nx, 2)))
    np.testing.assert_allclose(
        found.u.T, np.tile(plant.trim, (2, 1)), rtol=1e-8, atol=1e-9
    )


def test_trim_of_tanks_is_the_inflow_and_the_free_level():
    """The upper level is free, and the clock does not count."""
    plant = read_plant(TANKS, Path("tanks.py"))
    levels = np.array([1.0, 4.0])
    time = 5.0
    goal = [[np.nan, np.nan], levels, [time, time]]
    found = trim_of(plant, goal, guess=np.full((3, 2), 2.0))
    outflow = 3.0 * np.sqrt(levels) + 0.1 * time
    # the lower tank sees the clock move on within a step
    np.testing.assert_allclose(found.u[0], outflow, rtol=0.01)
    np.testing.assert_allclose(2.0 * np.sqrt(found.x[0]), found.u[0], rtol=0.01)
    np.testing.assert_array_equal(found.x[1:], goal[1:])
    assert found.distances.max() < 1e-9


def test_free_clock_keeps_its_guess():
    """A demand that grows with time is not met by turning back the clock."""
    plant = read_plant(TANKS, Path("tanks.py"))
    goal = [[np.nan], [1.0], [np.nan]]
    found = trim_of(plant, goal, guess=[[2.0], [1.0], [7.0]])
    assert found.x[2, 0] == 7.0
    assert found.u[0, 0] == pytest.approx(3.0 + 0.7, rel=0.01)


def test_without_equilibrium_trim_is_the_least_squares_solution(rng):
    """No small change of the controls brings the next state nearer."""
    plant = plant_of("acrobot")
    x = 0.5 * rng.standard_normal((plant.nx, 3))
    found = trim_of(plant, x)
    kernels = compile_plant(plant)
    params = np.repeat(np.array([*plant.params.values()])[:, None], 3, axis=1)
    sizes = np.array(plant.typical_state)[:, None]

    def distances(u):
        change = (kernels.step(x, u, params) - x) / sizes
        return np.sqrt((change**2).mean(axis=0))

    np.testing.assert_allclose(distances(found.u), found.distances, rtol=1e-12)
    assert found.distances.min() > 1e-4
    for _ in range(5):
        change = 0.01 * rng.standard_normal(found.u.shape)
        assert (distances(found.u + change) > found.distances).all()
