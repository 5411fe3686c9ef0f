"""Samplers: rewards on a plant, episodes of an environment, and the use of memory."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import bits

from hfcontrol.errors import CheckpointError
from hfcontrol.network.architecture import Architecture
from hfcontrol.network.constraints import Constraint
from hfcontrol.network.network import Network
from hfcontrol.optim.yardstick import optimum
from hfcontrol.plant.environment import Environment
from hfcontrol.policy_gradient.learner import Learner
from hfcontrol.policy_gradient.options import PolicyGradient
from hfcontrol.policy_gradient.policy import Categorical, Gaussian
from hfcontrol.policy_gradient.samplers import (
    EnvironmentSampler,
    Episodes,
    episode_returns,
)
from hfcontrol.policy_gradient.trainer import PolicyTrainer
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.settings import settings_for
from hfcontrol.runs.state_tree import state_from_tree, state_to_tree
from hfcontrol.training.curriculum import run_curriculum
from hfcontrol.training.state import Limits, Stop


class Counting:
    """Shows and rewards its step, with the number of its episode.

    It terminates after `end` steps and is truncated after `limit` steps.
    """

    def __init__(self, end=99, limit=99):
        self.end, self.limit, self.episode = end, limit, 0

    def reset(self, seed=None):
        self.step_now, self.episode = 0, self.episode + 1
        return np.array([0.0, self.episode]), {}

    def step(self, action):
        self.step_now += 1
        return (
            np.array([self.step_now, self.episode]),
            float(self.step_now),
            self.step_now == self.end,
            self.step_now == self.limit,
            {},
        )

    def close(self):
        pass


class Recall:
    """Shows +1 or -1 at the first of four steps, then zero; rewards its recall.

    The reward is 1 if the last action is the index of what was shown.
    """

    def reset(self, seed=None):
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.shown, self.t = self.rng.integers(2), 0
        return np.array([2.0 * self.shown - 1]), {}

    def step(self, action):
        self.t += 1
        is_last = self.t == 4
        reward = float(is_last and action == self.shown)
        return np.zeros(1), reward, is_last, False, {}

    def close(self):
        pass


class Walk:
    """A random walk that its seed and its actions decide, of ten steps."""

    def reset(self, seed=None):
        self.rng, self.x, self.t = np.random.default_rng(seed), np.zeros(2), 0
        return self.x, {}

    def step(self, action):
        self.t += 1
        self.x = self.x + 0.5 * self.rng.standard_normal(2) + 0.3 * float(action)
        return self.x, -float(self.x @ self.x), abs(self.x[0]) > 3, self.t == 10, {}

    def close(self):
        pass


def environment(make, n_observation, n_control, discrete=True, low=None, high=None):
    return Environment(
        "Toy-v0", make, n_observation, n_control, discrete, low, high, 0, None
    )


def make_sampler(make, steps, copies=2, recurrent=(1,), n_observation=2):
    env = environment(make, n_observation, 2)
    network = Network(Architecture((8,), "tanh", (), recurrent), n_observation, 2)
    return EnvironmentSampler(env, network, np.arange(n_observation), copies, steps)


def collect(sampler):
    rng = np.random.default_rng(0)
    theta = sampler.network.initial(rng)
    return sampler.collect(theta, sampler.policy, np.zeros(0), rng)


def test_terminated_episode_restarts_without_memory():
    e = collect(make_sampler(lambda: Counting(end=3), 7))
    np.testing.assert_array_equal(e.context[:, 0, 0], [0, 1, 2, 0, 1, 2, 0])
    np.testing.assert_array_equal(e.context[:, 1, 0], [1, 1, 1, 2, 2, 2, 3])
    np.testing.assert_array_equal(np.flatnonzero(e.starts[:, 0]), [0, 3, 6])
    np.testing.assert_array_equal(np.flatnonzero(e.done[:, 0]), [2, 5, 6])
    np.testing.assert_array_equal(np.flatnonzero(e.terminated[:, 0]), [2, 5])
    np.testing.assert_array_equal(e.rewards[:, 0], [1, 2, 3, 1, 2, 3, 1])
    # The rollout truncates the last episode: what it had reached is recorded.
    t, n, context = e.truncations
    assert list(t) == [6, 6] and list(n) == [0, 1]
    np.testing.assert_array_equal(context, [[1, 1], [3, 3]])
    assert e.loss == -6


def test_time_limit_truncates_and_records_what_old_episode_reached():
    e = collect(make_sampler(lambda: Counting(limit=3), 5))
    assert not e.terminated.any() and list(e.truncations.steps) == [2, 2, 4, 4]
    np.testing.assert_array_equal(e.truncations.context[:, 0], [3, 1])
    np.testing.assert_array_equal(e.starts[:, 0], [True, False, False, True, False])


def test_episodes_go_on_in_the_next_rollout():
    """Two rollouts of some steps are one of as many, for a network with memory."""
    parts = make_sampler(lambda: Walk(), 4)
    network = parts.network
    theta = network.initial(np.random.default_rng(1))
    weights, likely = network.weights(theta), MostLikely(2)

    def record(sampler, count):
        rng = np.random.default_rng(0)
        with sampler.open() as workers:
            return [
                sampler.collect(theta, likely, np.zeros(0), rng, workers)
                for _ in range(count)
            ]

    (whole,) = record(make_sampler(lambda: Walk(), 12), 1)
    three = record(parts, 3)
    for name in ("inputs", "starts", "actions", "rewards", "terminated"):
        joined = np.concatenate([getattr(e, name) for e in three])
        np.testing.assert_array_equal(joined, getattr(whole, name))
    assert sum((e.finished for e in three), ()) == whole.finished
    assert not three[1].starts[0].all() and whole.starts[1:].any()
    # The first step of a later rollout has the memory of the one before.
    activations = np.zeros((network.n_activations, 2))
    activations[network.hidden] = three[1].memory
    begun = np.where(three[1].starts[0], 0.0, activations)
    outputs = network.step(weights, begun, three[1].inputs[0])[network.outputs]
    np.testing.assert_array_equal(outputs.argmax(axis=0), three[1].actions[0, 0])


def test_copies_are_brought_where_they_were_or_begin_again():
    """Counting counts its episodes whatever its seed: it does not repeat itself."""
    for make, restarted in ((Walk, 0), (lambda: Counting(end=3), 2)):
        sampler, rng = make_sampler(make, 7), np.random.default_rng(0)
        theta = sampler.network.initial(np.random.default_rng(1))

        def collect(workers, sampler=sampler, theta=theta, rng=rng):
            return sampler.collect(theta, Categorical(2), np.zeros(0), rng, workers)

        with sampler.open() as workers:
            collect(workers)
            saved, generator = workers.saved(), rng.bit_generator.state
            going_on = collect(workers)
        rng.bit_generator.state = generator
        with sampler.open(saved) as workers:
            assert workers.restarted == restarted
            again = collect(workers)
        same = np.array_equal(again.inputs, going_on.inputs)
        assert same == (not restarted)
        assert restarted == 0 or again.starts[0].all()


def test_workers_of_another_run_are_refused():
    sampler = make_sampler(Walk, 3)
    with sampler.open() as workers:
        saved = workers.saved()
    with (
        pytest.raises(CheckpointError, match="not those of 3 copies of Toy-v0"),
        make_sampler(Walk, 3, copies=3).open(saved),
    ):
        pass


@pytest.mark.parametrize(
    "name, value",
    [("seeds", np.nan), ("seeds", -1), ("seeds", 2**40), ("lengths", 1.5)]
    + [(name, np.inf) for name in ("lengths", "actions", "memory", "returns")],
)
def test_numbers_that_no_worker_has_saved_are_refused(name, value):
    sampler = make_sampler(Walk, 3)
    with sampler.open() as workers:
        workers.begin(np.random.default_rng(0))
        workers.step(np.zeros((1, sampler.copies)))
        saved = workers.saved()
    array = getattr(saved, name)
    forged = replace(saved, **{name: np.full_like(array, value)})
    with (
        pytest.raises(CheckpointError, match=f"the {name} of its workers"),
        sampler.open(forged),
    ):
        pass


def test_sampler_acts_with_constrained_weights():
    """Under a constraint theta differs from the weights; the sampler uses these."""
    sampler = make_sampler(lambda: Counting(end=3), 5)
    network = sampler.network
    network.weight_map = Constraint(network, np.random.default_rng(3), 0.5, (), 0.5)
    rng = np.random.default_rng(0)
    learner = Learner(PolicyGradient(), network, sampler.policy, sampler.n_context)
    state = learner.init(network.initial(rng), rng)
    e = sampler.collect(state.theta, MostLikely(2), np.zeros(0), rng)
    weights = network.weights(state.theta)
    sequences = learner.network_sequences
    activations = sequences.activations(weights, e.inputs, e.starts)
    m = sequences.merge_blocks(activations, network.outputs, 2)[1:]
    np.testing.assert_array_equal(e.actions[:, 0], m.argmax(axis=1))
    assert not np.array_equal(weights, state.theta)


class MostLikely(Categorical):
    """Draws the most likely action."""

    def draw(self, m, log_std, rng):
        return self.most_likely(m)


def test_loss_is_that_of_whole_episodes_if_any():
    """Their returns are sums of 1, 2, ...; the last step of an episode counts too."""
    for steps, finished in ((7, (6.0, 6.0)), (3, (6.0,)), (2, ())):
        e = collect(make_sampler(lambda: Counting(end=3), steps, copies=1))
        assert e.finished == finished
        assert e.loss == -np.mean(finished or [3.0])


@pytest.mark.parametrize("terminates", [True, False])
def test_buffer_of_the_environment_is_copied(terminates):
    """One that shows its own buffer, and one that shows copies, record the same."""

    class Buffered(Counting):
        buffer = np.zeros(2)

        def reset(self, seed=None):
            self.buffer[:] = super().reset(seed)[0]
            return self.buffer, {}

        def step(self, action):
            seen, *others = super().step(action)
            self.buffer[:] = seen
            return self.buffer, *others

    ends = {"end" if terminates else "limit": 3}
    own, copied = (
        collect(make_sampler(lambda kind=kind: kind(**ends), 5, copies=1))
        for kind in (Buffered, Counting)
    )
    np.testing.assert_array_equal(own.context, copied.context)
    np.testing.assert_array_equal(own.truncations.context, copied.truncations.context)


@pytest.mark.slow
def test_only_recurrent_network_learns_to_recall():
    """Fails if an episode keeps the memory of the last, in rollout or update."""
    success = {}
    for recurrent in ((1,), ()):
        sampler = make_sampler(
            Recall, 16, copies=16, recurrent=recurrent, n_observation=1
        )
        trainer = PolicyTrainer(
            SimpleNamespace(),
            None,
            None,
            sampler.network,
            None,
            PolicyGradient(learning_rate=3e-3, discount=0.9),
            sampler,
            Limits(rollouts=60),
        )
        theta = sampler.network.initial(np.random.default_rng(1))
        state = trainer.init(theta, np.random.default_rng(0))
        *_, done = trainer.run(state)
        returns = episode_returns(sampler, done.state.theta, 200, 10**6)
        success[bool(recurrent)] = returns.mean()
    assert success[True] > 0.99 and success[False] < 0.65


def make_small_trainer(plant="arm2", **options):
    settings = settings_for(
        plant=plant, optimizer="ppo", trials=8, steps=12, hidden=(6, 4), **options
    )
    trainer = make_trainer(settings)
    return trainer, run_curriculum(trainer, settings)


def test_rewards_of_a_plant_sum_to_minus_its_losses():
    """With delays and noise too; the network sees what the plant's loop showed it."""
    trainer, state = make_small_trainer(
        feedback_delay=2,
        motor_noise="5%",
        sensory_noise=0.01,
        running=(0.1, 0.2, 0.03, 0.04),
        effort=(1e-3, 5e-3),
    )
    e = trainer._collect(state.optimizer, np.random.default_rng(0))
    np.testing.assert_allclose(-e.rewards.sum(axis=0), e.rollout.losses, rtol=1e-12)

    sequences = trainer.learner.network_sequences
    activations = sequences.activations(state.theta, e.inputs, e.starts)
    m = sequences.merge_blocks(activations, trainer.network.outputs, 8)[1:]
    std = trainer.sampler.policy.std(trainer.learner.log_std(state.optimizer))
    normal = (e.actions - m) / std
    assert np.abs(normal).max() < 5 and 0.8 < normal.std() < 1.2

    limited = trainer.wiring.limits.apply(e.actions)
    np.testing.assert_allclose(
        limited * (1 + e.loop.scenario.motor_gain), e.rollout.u, atol=1e-12
    )


def test_loss_without_exploration_is_that_of_the_controller():
    trainer, state = make_small_trainer()
    still = Gaussian(np.zeros(2) + 1e-300)
    rng = np.random.default_rng(0)
    e = trainer.sampler.collect(state.theta, still, np.zeros(2), rng)
    assert e.loss == e.loop.rollout(state.theta).loss


class Diverging(Gaussian):
    """Explores far beyond all bounds in one trial."""

    def draw_noise(self, log_std, steps, trials, rng):
        noise = super().draw_noise(log_std, steps, trials, rng)
        return noise + np.where(np.arange(trials) == 2, 1e8, 0.0)


def test_trials_that_run_away_end_where_they_are_lost_and_cost_more():
    """The numbers after a loss are zero, and each lost trial is charged its bound."""
    trainer, state = make_small_trainer("linear")
    rng = np.random.default_rng(0)
    e = trainer.sampler.collect(state.theta, Diverging(np.ones(2)), np.zeros(2), rng)
    arrays = (e.inputs, e.actions, e.rewards, e.context)
    assert all(np.isfinite(a).all() for a in arrays) and e.lost == 1
    assert np.isfinite(e.loss)

    others = np.delete(np.arange(8), 2)
    assert e.is_kept[:, others].all() and not e.done[:-1, others].any()
    np.testing.assert_allclose(-e.rewards[:, others].sum(0), e.rollout.losses[others])
    end = np.flatnonzero(e.done[:, 2])[0]
    assert e.is_kept[: end + 1, 2].all() and not e.is_kept[end + 1 :, 2].any()
    assert not any(a[end + 1 :, ..., 2].any() for a in arrays)
    assert -e.rewards[:, 2].sum() > 10 * np.median(e.rollout.losses[others])


def test_training_goes_on_when_all_trials_run_away():
    trainer, state = make_small_trainer("linear")
    far = Gaussian(np.full(2, 1e9))
    rng = np.random.default_rng(0)
    e = trainer.sampler.collect(state.theta, far, np.zeros(2), rng)
    assert e.lost == 8 and np.isfinite(e.loss)
    # A trial that is lost later costs less.
    ends = e.is_kept.sum(axis=0)
    totals = -e.rewards.sum(axis=0)
    assert (np.diff(totals[np.argsort(ends)]) <= 1e-9 * totals.max()).all()


@pytest.mark.parametrize("optimizer", ["ppo", "a2c"])
def test_resumed_training_equals_uninterrupted(optimizer):
    def train(rollouts, state=None):
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

    whole, resumed = train(6), train(6, train(3))
    assert bits(whole.optimizer) == bits(resumed.optimizer)
    assert whole.rollouts == resumed.rollouts == 6
    assert [m.loss for m in whole.history] == [m.loss for m in resumed.history]


@pytest.mark.parametrize("optimizer", ["ppo", "a2c", "reinforce"])
def test_resumed_episodes_equal_uninterrupted(optimizer):
    """In an environment, through the tree of a checkpoint, in the midst of episodes."""

    def train(rollouts, state=None):
        sampler = make_sampler(Walk, 4)
        trainer = PolicyTrainer(
            Episodes(2, 8),
            None,
            None,
            sampler.network,
            None,
            PolicyGradient.for_method(optimizer),
            sampler,
            Limits(rollouts=rollouts),
            rounds=2,
        )
        theta = sampler.network.initial(np.random.default_rng(1))
        state = state or trainer.init(theta, np.random.default_rng(0))
        *_, done = trainer.run(state)
        return done.state

    whole = train(5)
    resumed = train(5, state_from_tree(state_to_tree(train(3))))
    assert bits(whole.optimizer) == bits(resumed.optimizer)
    assert [m.loss for m in whole.curve] == [m.loss for m in resumed.curve]
    assert optimizer == "reinforce" or (whole.optimizer.workers.lengths > 0).any()


def test_learning_rate_falls_over_rollouts_not_over_rounds_of_updates():
    """A rollout has five rounds here; at its end, half of two are over."""
    sampler = make_sampler(Walk, 2)
    options = PolicyGradient.for_method("a2c", anneal=2)
    trainer = PolicyTrainer(
        Episodes(2, 10),
        None,
        None,
        sampler.network,
        None,
        options,
        sampler,
        Limits(rollouts=2),
        rounds=5,
    )
    theta = sampler.network.initial(np.random.default_rng(1))
    *_, done = trainer.run(trainer.init(theta, np.random.default_rng(0)))
    rule = trainer.learner.options.rule(done.state.optimizer.rollouts)
    assert done.state.updates == 5
    assert rule.rate == 0.5 * options.learning_rate


@pytest.mark.slow
def test_ppo_learns_an_easy_plant():
    settings = settings_for(
        plant="linear", optimizer="ppo", rollouts=40, hidden=(8,), steps=20
    )
    trainer = make_trainer(settings)
    events = list(trainer.run(run_curriculum(trainer, settings)))
    loop = trainer.sampler.loop(np.random.default_rng(5))
    first, last = (loop.rollout(e.state.theta).loss for e in (events[0], events[-1]))
    best = optimum(trainer.kernels, loop.scenario, loop.wiring).losses.mean()
    assert 0 < last - best < 0.3 * (first - best)


def test_categorical_actions_are_indices():
    likely = Categorical(3).most_likely(np.array([[0.0, 2], [1, 1], [0, 0]]))
    assert likely.tolist() == [[1.0, 0.0]]
