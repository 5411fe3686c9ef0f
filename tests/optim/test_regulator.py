"""The regulator about a goal against Riccati equations."""

import numpy as np
import pytest
from helpers import loop_of
from scipy.linalg import solve_discrete_are

from hfcontrol.optim.ilqr import OpenLoop
from hfcontrol.optim.regulator import find_rest, regulate_goal
from hfcontrol.optim.yardstick import optimum


def system_of(loop):
    return OpenLoop(loop.kernels, loop.scenario, loop.wiring)


def law_of(system):
    return regulate_goal(system, find_rest(system).goal)


@pytest.mark.parametrize("delays", [(0, 0), (2, 3)])
def test_law_is_optimal_for_a_linear_plant(delays):
    loop = loop_of("linear", delays=delays)
    system = system_of(loop)
    law = law_of(system)
    found = system.simulate(law.v, law.gains, law.reference)
    best = optimum(loop.kernels, loop.scenario, loop.wiring).losses
    np.testing.assert_allclose(found.losses, best, rtol=1e-9)
    assert not found.v[: delays[1]].any()


def test_first_gain_over_a_long_horizon_solves_the_algebraic_equation():
    loop = loop_of("linear", steps=300, effort=0.2, running=1.0)
    A, B = loop.kernels.jacobians(
        np.zeros((1, 2, 1)),
        np.zeros((1, loop.plant.nu, 1)),
        loop.scenario.params[:, :1],
    )
    A, B = A[0, :, :, 0], B[0, :, :, 0]
    weights = loop.scenario.cost.weights
    Q = np.diag(weights.state[1, :, 0])
    R = np.diag(weights.control[0, :, 0])
    P = solve_discrete_are(A, B, Q, R)
    K = -np.linalg.solve(R + B.T @ P @ B, B.T @ P @ A)
    law = law_of(system_of(loop))
    np.testing.assert_allclose(law.gains[0, 0], K, rtol=1e-4, atol=1e-6)


def test_law_balances_a_pendulum_at_the_trim_of_its_goal():
    """Without control the pendulum falls; about the goal the trim is no torque."""
    loop = loop_of("pendulum", "balance", trials=5, steps=100)
    system = system_of(loop)
    rest = find_rest(system)
    law = regulate_goal(system, rest.goal)
    found = system.simulate(law.v, law.gains, law.reference)
    falling = system.simulate(np.zeros_like(found.v))
    np.testing.assert_allclose(rest.goal.u, 0.0, atol=1e-9)
    assert (found.losses < 1e-2 * falling.losses).all()
    assert np.abs(found.x[-1] - loop.scenario.goal[-1]).max() < 0.1


def test_goals_that_are_free_are_those_of_the_trim():
    loop = loop_of("diffdrive", "stabilise", trials=3, steps=20)
    system = system_of(loop)
    rest = find_rest(system)
    law = regulate_goal(system, rest.goal)
    free = np.isnan(loop.scenario.goal)
    assert free.any()
    assert np.isfinite(law.reference).all() and np.isfinite(law.gains).all()
    np.testing.assert_array_equal(law.reference[~free], loop.scenario.goal[~free])
