"""Worlds that a policy explores: what a plant's rollout is worth, where an environment's episodes end, and what memory is for."""

from types import SimpleNamespace

import numpy as np
import pytest
from helpers import bits

from hfcontrol.errors import TrainingError
from hfcontrol.network.architecture import Architecture
from hfcontrol.network.constraints import Constraint
from hfcontrol.network.network import Network
from hfcontrol.optim.yardstick import optimum
from hfcontrol.plant.simulators.environment import Environment
from hfcontrol.policy_gradient.learner import Learner, PolicyGradient
from hfcontrol.policy_gradient.policy import Categorical, Gaussian
from hfcontrol.policy_gradient.trainer import PolicyTrainer
from hfcontrol.policy_gradient.worlds import (
    EnvironmentWorld,
    episode_returns,
    mean_return,
)
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.settings import settings_for
from hfcontrol.training.curriculum import run_curriculum
from hfcontrol.training.state import Limits, Stop


class Counting:
    """Shows its step and a number of its episode, rewards with its step, ends after `end` steps or is cut after `cut`."""

    def __init__(self, end=99, cut=99):
        self.end, self.cut, self.episode = end, cut, 0

    def reset(self, seed=None):
        self.step_now, self.episode = 0, self.episode + 1
        return np.array([0.0, self.episode]), {}

    def step(self, action):
        self.step_now += 1
        return (
            np.array([self.step_now, self.episode]),
            float(self.step_now),
            self.step_now == self.end,
            self.step_now == self.cut,
            {},
        )

    def close(self):
        pass


class Recall:
    """Shows +1 or -1 at the first of four steps and zero afterwards; the last action is to be the number of what was shown."""

    def reset(self, seed=None):
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.shown, self.t = self.rng.integers(2), 0
        return np.array([2.0 * self.shown - 1]), {}

    def step(self, action):
        self.t += 1
        return (
            np.zeros(1),
            float(self.t == 4 and action == self.shown),
            self.t == 4,
            False,
            {},
        )

    def close(self):
        pass


def environment(make, n_observation, n_control, discrete=True, low=None, high=None):
    return Environment(
        "Toy-v0", make, n_observation, n_control, discrete, low, high, 0, None
    )


def world_of(make, steps, copies=2, recurrent=(1,), n_observation=2):
    env = environment(make, n_observation, 2)
    network = Network(Architecture((8,), "tanh", (), recurrent), n_observation, 2)
    return EnvironmentWorld(env, network, np.arange(n_observation), copies, steps)


def explored(world):
    rng = np.random.default_rng(0)
    return world.explore(world.network.initial(rng), world.policy, np.zeros(0), rng)


def test_an_episode_that_ends_begins_anew_with_no_memory():
    e = explored(world_of(lambda: Counting(end=3), 7))
    np.testing.assert_array_equal(e.context[:, 0, 0], [0, 1, 2, 0, 1, 2, 0])
    np.testing.assert_array_equal(e.context[:, 1, 0], [1, 1, 1, 2, 2, 2, 3])
    np.testing.assert_array_equal(np.flatnonzero(e.starts[:, 0]), [0, 3, 6])
    np.testing.assert_array_equal(np.flatnonzero(e.over[:, 0]), [2, 5, 6])
    np.testing.assert_array_equal(np.flatnonzero(e.ended[:, 0]), [2, 5])
    np.testing.assert_array_equal(e.rewards[:, 0], [1, 2, 3, 1, 2, 3, 1])
    t, n, context = (
        e.cut
    )  # the rollout is over, not the episode: what was reached is told
    assert list(t) == [6, 6] and list(n) == [0, 1]
    np.testing.assert_array_equal(context, [[1, 1], [3, 3]])
    assert e.loss == -6


def test_a_time_limit_cuts_and_what_was_reached_is_that_of_the_old_episode():
    e = explored(world_of(lambda: Counting(cut=3), 5))
    assert not e.ended.any() and list(e.cut[0]) == [2, 2, 4, 4]
    np.testing.assert_array_equal(e.cut[2][:, 0], [3, 1])
    np.testing.assert_array_equal(e.starts[:, 0], [True, False, False, True, False])


def test_weights_under_a_constraint_are_those_that_act():
    """What is trained is not what acts then: the network explores with the latter, as the learner takes it."""
    world = world_of(lambda: Counting(end=3), 5)
    world.network.constraint = Constraint(
        world.network, np.random.default_rng(3), 0.5, (), 0.5
    )
    rng = np.random.default_rng(0)
    learner = Learner(PolicyGradient(), world.network, world.policy, world.n_context)
    state = learner.init(world.network.initial(rng), rng)
    e = world.explore(state.theta, Likely(2), np.zeros(0), rng)
    weights = world.network.weights(state.theta)
    rows = learner.sequences.activations(weights, e.inputs, e.starts)
    m = learner.sequences.merge_blocks(rows, world.network.outputs, 2)[1:]
    np.testing.assert_array_equal(e.actions[:, 0], m.argmax(axis=1))
    assert not np.array_equal(weights, state.theta)


class Likely(Categorical):
    """Draws the most likely action."""

    def draw(self, m, log_spread, rng):
        return self.likely(m)


def test_the_mean_return_is_of_whole_episodes_where_there_are_any():
    starts = np.array([[1, 1], [0, 0], [1, 0]], dtype=bool)
    over = np.array([[0, 0], [1, 0], [0, 0]], dtype=bool)
    rewards = np.array([[1.0, 5], [2, 5], [4, 5]])
    assert mean_return(rewards, starts, over) == 3
    assert mean_return(rewards[:, 1:], starts[:, 1:], over[:, 1:]) == 15
    over[-1] = True, True  # by themselves, and so as whole as any other
    assert mean_return(rewards, starts, over) == np.mean([3, 4, 15])


@pytest.mark.parametrize(
    "discrete, numbers, expected",
    [
        (True, [1.0], 1),
        (False, [0.5, -3.0, 4.0], [3.0, -2.0, 4.0]),
    ],
)
def test_actions_are_in_units_of_half_their_range(discrete, numbers, expected):
    low, high = np.array([0.0, -2.0, -np.inf]), np.array([4.0, 2.0, np.inf])
    env = environment(None, 1, 3, discrete, low, high)
    np.testing.assert_array_equal(env.action(np.array(numbers)), expected)


def test_only_a_network_that_remembers_recalls():
    """A start in the middle that kept the memory, or an update that did not begin anew, would fail here."""
    right = {}
    for recurrent in ((1,), ()):
        world = world_of(Recall, 16, copies=16, recurrent=recurrent, n_observation=1)
        trainer = PolicyTrainer(
            SimpleNamespace(),
            None,
            None,
            world.network,
            None,
            PolicyGradient(rate=3e-3, discount=0.9),
            world,
            Limits(rollouts=60),
        )
        *_, done = trainer.run(
            trainer.init(
                world.network.initial(np.random.default_rng(1)),
                np.random.default_rng(0),
            )
        )
        returns = episode_returns(world, done.state.theta, 200, 10**6)
        right[bool(recurrent)] = returns.mean()
    assert right[True] > 0.99 and right[False] < 0.65


def trainer_of(**options):
    settings = settings_for(
        plant="arm2", optimizer="ppo", trials=8, steps=12, hidden=(6, 4), **options
    )
    trainer = make_trainer(settings)
    return trainer, run_curriculum(trainer, settings)


def test_the_rewards_of_a_plant_add_up_to_its_losses():
    """Through delays and noise too; the network sees what the plant's own loop showed it."""
    trainer, state = trainer_of(
        feedback_delay=2, motor_noise="5%", sensory_noise=0.01, running=0.1
    )
    e = trainer._explored(state, np.random.default_rng(0))
    np.testing.assert_allclose(-e.rewards.sum(axis=0), e.rollout.losses, rtol=1e-12)
    rows = trainer.learner.sequences.activations(state.theta, e.inputs, e.starts)
    m = trainer.learner.sequences.merge_blocks(rows, trainer.network.outputs, 8)[1:]
    spread = trainer.world.policy.spread(trainer.learner.log_spread(state.optimizer))
    assert (
        np.abs((e.actions - m) / spread).max() < 5
        and 0.8 < ((e.actions - m) / spread).std() < 1.2
    )
    np.testing.assert_allclose(
        trainer.wiring.apply_limit(e.actions) * (1 + e.loop.scenario.motor_gain),
        e.rollout.u,
        atol=1e-12,
    )


def test_without_exploration_the_loss_is_the_controllers_own():
    trainer, state = trainer_of()
    e = trainer.world.explore(
        state.theta,
        Gaussian(np.zeros(2) + 1e-300),
        np.zeros(2),
        np.random.default_rng(0),
    )
    assert e.loss == e.loop.rollout(state.theta).loss


class Wild(Gaussian):
    """Explores beyond all numbers in one trial."""

    def noise(self, log_spread, steps, trials, rng):
        return super().noise(log_spread, steps, trials, rng) + np.where(
            np.arange(trials) == 2, 1e300, 0.0
        )


def test_trials_that_leave_the_finite_numbers_are_left_out():
    trainer, state = trainer_of()
    e = trainer.world.explore(
        state.theta, Wild(np.ones(2)), np.zeros(2), np.random.default_rng(0)
    )
    assert {
        a.shape[-1] for a in (e.inputs, e.starts, e.actions, e.rewards, e.context)
    } == {7}
    assert all(
        np.isfinite(a).all() for a in (e.inputs, e.actions, e.rewards, e.context)
    )
    wild = trainer.world.policy.scale.copy()
    wild[:] = 1e200
    with pytest.raises(TrainingError, match="--log-spread"):
        trainer.world.explore(
            state.theta, Gaussian(wild), np.zeros(2), np.random.default_rng(0)
        )


@pytest.mark.parametrize("optimizer", ["ppo", "a2c"])
def test_a_training_that_goes_on_is_one_that_had_not_stopped(optimizer):
    def trained(rollouts, state=None):
        settings = settings_for(
            plant="arm2",
            task="anywhere",
            optimizer=optimizer,
            trials=8,
            steps=12,
            hidden=(6, 4),
            rollouts=rollouts,
        )
        trainer = make_trainer(settings)
        *_, done = trainer.run(state or run_curriculum(trainer, settings))
        assert done.stop is Stop.ROLLOUTS
        return done.state

    whole, parted = trained(6), trained(6, trained(3))
    assert (
        bits(whole.optimizer) == bits(parted.optimizer)
        and whole.rollouts == parted.rollouts == 6
    )
    assert [m.loss for m in whole.history] == [m.loss for m in parted.history]


def test_ppo_learns_an_easy_plant():
    settings = settings_for(
        plant="linear", optimizer="ppo", rollouts=40, hidden=(8,), steps=20
    )
    trainer = make_trainer(settings)
    events = list(trainer.run(run_curriculum(trainer, settings)))
    loop = trainer.world.loop(np.random.default_rng(5))
    first, last = (loop.rollout(e.state.theta).loss for e in (events[0], events[-1]))
    best = optimum(
        trainer.kernels, trainer.plant, loop.scenario, loop.wiring
    ).losses.mean()
    assert 0 < last - best < 0.3 * (first - best)


def test_choices_are_told_by_their_numbers():
    assert Categorical(3).likely(np.array([[0.0, 2], [1, 1], [0, 0]])).tolist() == [
        [1.0, 0.0]
    ]
