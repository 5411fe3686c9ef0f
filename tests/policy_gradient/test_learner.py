"""Policy gradients: the loss by differences, advantages by their double sum, A2C written separately, and what must not matter."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import relative

from hfcontrol.network.architecture import Architecture
from hfcontrol.network.cells import CELLS
from hfcontrol.network.input_scaling import Moments, fold, fold_vjp, unfold
from hfcontrol.network.network import Network
from hfcontrol.policy_gradient.learner import Batch, Experience, Learner, PolicyGradient
from hfcontrol.policy_gradient.objectives import advantages, discounted
from hfcontrol.policy_gradient.policy import Categorical, Gaussian

T, N, N_INPUT, N_CONTEXT = 6, 4, 3, 2
POLICIES = {"gaussian": Gaussian(np.array([0.5, 2.0])), "categorical": Categorical(3)}
policies = pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())


def learner_of(policy, cell="ltc", **options):
    network = Network(
        Architecture((4, 3), cell, (2,), (1, 2), learn_start=True),
        N_INPUT,
        policy.size or policy.actions,
    )
    return Learner(PolicyGradient(**options), network, policy, N_CONTEXT)


def explored(learner, state, rng):
    """An `Experience` of nobody's world: random inputs and rewards, episodes that end and are cut in the middle."""
    inputs, starts = (
        3 + 2 * rng.standard_normal((T, N_INPUT, N)),
        np.zeros((T, N), dtype=bool),
    )
    starts[0] = starts[2, 1] = starts[4, 2] = starts[3, 3] = True
    over = np.concatenate([starts[1:], np.ones((1, N), dtype=bool)])
    ended = over.copy()
    ended[1, 1] = ended[-1, :2] = False
    raw, spread, _ = learner.parts(state.trained.theta)
    rows = learner.sequences.activations(
        learner.weights(raw, state.inputs), inputs, starts
    )
    m = learner.sequences.merge_blocks(rows, learner.network.outputs, N)[1:]
    actions = np.array([learner.policy.draw(means, spread, rng) for means in m])
    t, n = np.nonzero(over & ~ended)
    return Experience(
        inputs,
        starts,
        actions,
        rng.standard_normal((T, N)),
        over,
        ended,
        rng.standard_normal((T, N_CONTEXT, N)),
        (t, n, rng.standard_normal((N_CONTEXT, len(t)))),
        0.0,
    )


def started(learner, rng):
    """A state with weights, moments and spreads that are nothing in particular."""
    state = learner.init(learner.network.initial(rng), rng)
    trained = state.trained.theta + 0.2 * rng.standard_normal(state.trained.theta.size)
    moments = Moments.empty(N_INPUT).update(3 + 2 * rng.standard_normal((N_INPUT, 50)))
    return replace(state, trained=replace(state.trained, theta=trained), inputs=moments)


@policies
@pytest.mark.parametrize("cell", ["tanh", "ltc", "ltc_conductance", "cfc"])
def test_the_gradient_of_the_whole_loss_equals_differences(policy, cell, rng):
    """With starts in the middle, clipped samples, an entropy and clipped values; away from the first weights."""
    learner = learner_of(policy, cell, entropy=0.1, value_clip=0.3)
    state = started(learner, rng)
    batch, state = learner.prepared(state, explored(learner, state, rng))
    trained = state.trained.theta + 0.3 * rng.standard_normal(state.trained.theta.size)
    _, g, (_, clipped, _) = learner.loss_and_gradient(trained, state.inputs, batch)
    assert 0 < clipped < 1
    for _ in range(3):
        v = rng.standard_normal(g.size)
        ends = [
            learner.loss_and_gradient(trained + s * v, state.inputs, batch)[0]
            for s in (1e-6, -1e-6)
        ]
        assert g @ v == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6)


@policies
def test_before_the_first_update_the_ratio_is_one(policy, rng):
    learner = learner_of(policy)
    state = started(learner, rng)
    batch, state = learner.prepared(state, explored(learner, state, rng))
    _, _, (divergence, clipped, _) = learner.loss_and_gradient(
        state.trained.theta, state.inputs, batch
    )
    assert abs(divergence) < 1e-14 and clipped == 0


@pytest.mark.parametrize("gae_lambda", [0.0, 0.7, 1.0])
def test_advantages_are_their_double_sum(gae_lambda, rng):
    """sum over l of (gamma lambda)^l delta_{t+l} to the end of the episode; after an end nothing comes, after a cut its value."""
    gamma, rewards, values = (
        0.9,
        rng.standard_normal((T, N)),
        rng.standard_normal((T, N)),
    )
    over = rng.random((T, N)) < 0.3
    over[-1] = True
    after = np.where(
        over,
        np.where(rng.random((T, N)) < 0.5, 0.0, rng.standard_normal((T, N))),
        np.concatenate([values[1:], values[:1]]),
    )
    found = advantages(rewards, values, after, over, gamma, gae_lambda)
    for t in range(T):
        for n in range(N):
            last = t + int(np.argmax(over[t:, n]))
            deltas = (rewards + gamma * after - values)[t : last + 1, n]
            assert found[t, n] == pytest.approx(
                (gamma * gae_lambda) ** np.arange(len(deltas)) @ deltas, abs=1e-12
            )
            if gae_lambda == 1:
                returns = (
                    gamma ** np.arange(len(deltas)) @ rewards[t : last + 1, n]
                    + gamma ** len(deltas) * after[last, n]
                )
                assert found[t, n] == pytest.approx(returns - values[t, n], abs=1e-12)


def test_an_end_is_worth_nothing_and_a_cut_what_the_critic_says(rng):
    learner = learner_of(POLICIES["gaussian"])
    state = started(learner, rng)
    experience = explored(learner, state, rng)
    batch, _ = learner.prepared(state, experience)
    other = (*experience.cut[:2], experience.cut[2] + 1.0)
    changed, _ = learner.prepared(state, experience._replace(cut=other))
    moved = np.any(batch.advantages != changed.advantages, axis=0)
    assert (
        moved[:2].all() and not moved[2:].any()
    )  # the last two columns have ends alone


def test_a2c_is_the_loss_written_for_it(rng):
    """-mean A log p + 1/4 mean (V - R)^2 by differences, for advantages that stand still and are not normalised."""
    policy = POLICIES["gaussian"]
    learner = learner_of(policy, name="a2c")
    state = started(learner, rng)
    batch, state = learner.prepared(state, explored(learner, state, rng))
    returns = batch.advantages + batch.values

    def loss(trained):
        raw, spread, critic = learner.parts(trained)
        rows = learner.sequences.activations(
            learner.weights(raw, state.inputs), batch.inputs, batch.starts
        )
        m = learner.sequences.merge_blocks(rows, learner.network.outputs, N)[1:]
        s = policy.scale[:, None] * np.exp(spread)[:, None]
        log_p = np.log(
            np.exp(-0.5 * ((batch.actions - m) / s) ** 2) / (s * np.sqrt(2 * np.pi))
        ).sum(axis=1)
        values = np.array([learner.values(critic, f)[0] for f in batch.features])
        return (
            -(batch.advantages * log_p).mean() + 0.25 * ((values - returns) ** 2).mean()
        )

    trained, g = (
        state.trained.theta,
        learner.loss_and_gradient(state.trained.theta, state.inputs, batch)[1],
    )
    for _ in range(3):
        v = rng.standard_normal(g.size)
        assert g @ v == pytest.approx(
            (loss(trained + 1e-6 * v) - loss(trained - 1e-6 * v)) / 2e-6, rel=1e-6
        )


def test_the_order_of_the_trials_does_not_matter(rng):
    learner = learner_of(POLICIES["gaussian"])
    state = started(learner, rng)
    batch, state = learner.prepared(state, explored(learner, state, rng))
    trained = state.trained.theta + 0.02
    pair = [
        learner.loss_and_gradient(trained, state.inputs, batch.of(order))[1]
        for order in (np.arange(N), [2, 0, 3, 1])
    ]
    assert relative(*pair) < 1e-13


@pytest.mark.parametrize("cell", list(CELLS))
def test_a_network_takes_the_scales_of_its_input_into_its_weights(cell, rng):
    network = Network(Architecture((4, 3), cell, (2,), (1, 2)), N_INPUT, 2)
    weights, moments = (
        network.initial(rng),
        Moments.empty(N_INPUT).update(5 + 3 * rng.standard_normal((N_INPUT, 40))),
    )
    x = 5 + 3 * rng.standard_normal((N_INPUT, N))
    rows = [np.zeros((network.n_activations, N)), np.zeros((network.n_activations, N))]
    for _ in range(3):
        rows = [
            network.step(w, before, seen)
            for w, before, seen in zip(
                (weights, fold(network, weights, moments)),
                rows,
                ((x - moments.mean[:, None]) / moments.deviation[:, None], x),
            )
        ]
    np.testing.assert_allclose(
        rows[1][network.outputs], rows[0][network.outputs], atol=1e-12
    )
    np.testing.assert_allclose(
        unfold(network, fold(network, weights, moments), moments),
        weights,
        atol=1e-13,
    )
    v, bar = rng.standard_normal((2, network.size))
    tangent = fold(network, weights + v, moments) - fold(network, weights, moments)
    assert tangent @ bar == pytest.approx(
        v @ fold_vjp(network, bar, moments), rel=1e-10
    )


def test_moments_are_those_of_all_values(rng):
    values = rng.standard_normal((3, 100)) * [[1], [5], [0]] + [[0], [7], [2]]
    moments = Moments.empty(3)
    for part in np.array_split(values, 7, axis=1):
        moments = moments.update(part)
    np.testing.assert_allclose(moments.mean, values.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(moments.variance, values.var(axis=1), atol=1e-12)
    assert (
        moments.deviation[2] == 1.0
        and np.abs(moments.normalise(100 * values, 10.0)).max() == 10.0
    )


def test_discounted_rewards_begin_anew_with_the_episode():
    starts = np.array([[True], [False], [True], [False]])
    np.testing.assert_allclose(
        discounted(np.ones((4, 1)), starts, 0.5)[:, 0], [1, 1.5, 1, 1.5]
    )


@policies
def test_what_is_drawn_is_distributed_as_log_prob_says(policy, rng):
    """The mean of -log p over many draws is the entropy, and p sums to one over the actions."""
    m, spread = (
        rng.standard_normal((1, policy.size or policy.actions, 1)),
        np.full(policy.size, -0.3),
    )
    many = np.repeat(m, 40_000, axis=2)
    actions = policy.draw(many[0], spread, rng)[None]
    log_p = policy.log_prob(many, spread, actions)
    assert -log_p.mean() == pytest.approx(
        policy.entropy(m, spread)[0, 0], abs=5 * log_p.std() / 200
    )
    if policy.size == 0:
        total = sum(
            np.exp(policy.log_prob(m, spread, np.full((1, 1, 1), a)))[0, 0]
            for a in range(policy.actions)
        )
        assert total == pytest.approx(1.0, abs=1e-14)


def test_batches_hold_whole_trials(rng):
    learner = learner_of(POLICIES["gaussian"], epochs=2, minibatches=3)
    parts = list(learner._parts(7, rng))
    assert [len(p) for p in parts] == [3, 2, 2] * 2
    assert (
        sorted(np.concatenate(parts[:3]))
        == sorted(np.concatenate(parts[3:]))
        == list(range(7))
    )
    whole = Batch(*(rng.standard_normal((2, 3, 7)) for _ in Batch._fields))
    assert all(
        np.array_equal(part, a[..., [1, 5]]) for part, a in zip(whole.of([1, 5]), whole)
    )
