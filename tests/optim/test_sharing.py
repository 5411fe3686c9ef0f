"""Trials learn from each other: on a linear plant, one law is optimal for all."""

import numpy as np
import pytest
from helpers import loop_of

from hfcontrol.optim.ilqr import OpenLoop, improve
from hfcontrol.optim.sharing import share_laws, take_better_laws


@pytest.fixture
def system():
    """A linear plant without limits or delays."""
    loop = loop_of("linear", trials=4, steps=10, running=1.0, effort=0.1)
    return OpenLoop(loop.kernels, loop.scenario, loop.wiring)


@pytest.fixture
def optimal(system):
    """The optimal trajectories of all trials, each by itself."""
    return improve(system, np.zeros_like(system.scenario.motor_noise))


def still(system):
    """The trajectories without control."""
    return system.simulate(np.zeros_like(system.scenario.motor_noise))


def test_trials_take_over_what_the_law_of_a_leader_does_better(system, optimal):
    """One that is optimal already keeps what it has, to the bit."""
    own = still(system)
    own.put(np.array([1]), optimal.select(np.array([1])))
    leader = optimal.select(np.array([0]))
    found = take_better_laws(system, system.subset([0]), leader, own)
    assert found is own
    np.testing.assert_allclose(own.losses, optimal.losses, rtol=1e-9)
    np.testing.assert_allclose(own.x, optimal.x, atol=1e-6)
    np.testing.assert_array_equal(own.v[..., 1], optimal.v[..., 1])


def test_one_good_trial_is_enough_for_all(system, optimal):
    found = still(system)
    found.put(np.array([2]), optimal.select(np.array([2])))
    assert (found.losses[[0, 1, 3]] > 1.1 * optimal.losses[[0, 1, 3]]).all()
    np.testing.assert_allclose(
        share_laws(system, found).losses, optimal.losses, rtol=1e-9
    )
