"""What settings make of a training: networks and options."""

import numpy as np
import pytest

from hfcontrol.errors import UsageError
from hfcontrol.plant.registry import load_plant
from hfcontrol.runs.factory import (
    GENTLE,
    make_network,
    make_policy_gradient,
    make_trainer,
)
from hfcontrol.runs.settings import Settings


def initial_matrices(settings):
    """Return the initial matrices of the network that the settings describe."""
    plant = load_plant(settings.plant)
    network = make_network(settings, plant.ny + 2, plant)
    return network.matrices(network.initial(np.random.default_rng(0)))


@pytest.mark.parametrize("name", ["ppo", "a2c", "reinforce"])
def test_policy_gradients_start_with_gentle_outputs_and_the_same_hidden_units(name):
    usual = initial_matrices(Settings(plant="cartpole"))
    gentle = initial_matrices(Settings(plant="cartpole", optimizer=name))
    for ours, theirs in zip(gentle[:-1], usual[:-1], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # The last column are biases, which are the plant's trim.
    expected = GENTLE * usual[-1][:, :-1]
    np.testing.assert_allclose(gentle[-1][:, :-1], expected, rtol=1e-15)
    np.testing.assert_array_equal(gentle[-1][:, -1], usual[-1][:, -1])


@pytest.mark.parametrize(("given", "expected"), [(None, 1.0), (0.9, 0.9)])
def test_a_plant_is_not_discounted_unless_asked_for(given, expected):
    settings = Settings(plant="arm2", optimizer="ppo", discount=given)
    assert make_policy_gradient(settings, load_plant("arm2")).discount == expected


def test_an_environment_is_discounted():
    pytest.importorskip("gymnasium")
    plant = load_plant("gym:CartPole-v1")
    settings = Settings(plant="gym:CartPole-v1", optimizer="ppo")
    assert make_policy_gradient(settings, plant).discount == 0.99


def test_an_environment_has_no_target_loss():
    """Its loss is minus the return: every positive target is reached at once."""
    pytest.importorskip("gymnasium")
    name = "gym:CartPole-v1"
    settings = Settings(plant=name, optimizer="ppo", target_loss=1.0)
    with pytest.raises(UsageError, match=r"`target_loss` 1\.0 with `plant` gym"):
        make_trainer(settings, load_plant(name))
