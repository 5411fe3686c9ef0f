"""Policy gradients against finite differences, double sums and a separate A2C loss."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import relative

from hfcontrol.errors import NumberError, UsageError
from hfcontrol.network.architecture import Architecture
from hfcontrol.network.cells import CELLS, is_continuous, is_staged
from hfcontrol.network.constraints import Constraint
from hfcontrol.network.input_scaling import Moments, fold, fold_vjp, unfold
from hfcontrol.network.network import Network
from hfcontrol.policy_gradient.learner import Learner
from hfcontrol.policy_gradient.objectives import (
    generalised_advantages,
    running_returns,
)
from hfcontrol.policy_gradient.options import PolicyGradient
from hfcontrol.policy_gradient.policy import Categorical, Gaussian
from hfcontrol.policy_gradient.state import Batch
from hfcontrol.policy_gradient.trajectories import Trajectories, Truncations

T, N, N_INPUT, N_CONTEXT = 6, 4, 3, 2
POLICIES = {"gaussian": Gaussian(np.array([0.5, 2.0])), "categorical": Categorical(3)}
CLOSED_FORMS = [c for c in CELLS if is_staged(c) and not is_continuous(c)]
policies = pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())


def make_learner(policy, cell="ltc", method="ppo", **options):
    architecture = Architecture((4, 3), cell, (2,), (1, 2), learn_start=True)
    network = Network(architecture, N_INPUT, policy.size or policy.actions)
    options = PolicyGradient.for_method(method, **options)
    return Learner(options, network, policy, N_CONTEXT)


def make_trajectories(learner, state, rng):
    """Random inputs and rewards; some episodes terminate or are truncated early.

    The first trial goes on from an earlier rollout.
    """
    inputs = 3 + 2 * rng.standard_normal((T, N_INPUT, N))
    starts = np.zeros((T, N), dtype=bool)
    starts[0, 1:] = starts[2, 1] = starts[4, 2] = starts[3, 3] = True
    done = np.concatenate([starts[1:], np.ones((1, N), dtype=bool)])
    terminated = done.copy()
    terminated[1, 1] = terminated[-1, :2] = False

    theta, log_std, _ = learner.split(state.trained.theta)
    weights = learner.network_weights(theta, state.inputs)
    hidden = learner.network.hidden
    memory = rng.standard_normal((hidden.stop - hidden.start, N))
    activations = learner.network_sequences.activations(weights, inputs, starts, memory)
    m = learner._outputs(activations, N)
    actions = np.array([learner.policy.draw(means, log_std, rng) for means in m])
    t, n = np.nonzero(done & ~terminated)
    return Trajectories(
        inputs,
        starts,
        actions,
        rng.standard_normal((T, N)),
        done,
        terminated,
        rng.standard_normal((T, N_CONTEXT, N)),
        Truncations(t, n, rng.standard_normal((N_CONTEXT, len(t)))),
        np.ones((T, N), dtype=bool),
        0.0,
        memory,
        done[-1] & ~terminated[-1],
    )


def make_state(learner, rng):
    """A state with arbitrary weights, moments and standard deviations."""
    state = learner.init(learner.network.initial(rng), rng)
    trained = state.trained.theta + 0.2 * rng.standard_normal(state.trained.theta.size)
    moments = Moments.empty(N_INPUT).update(3 + 2 * rng.standard_normal((N_INPUT, 50)))
    return replace(state, trained=replace(state.trained, theta=trained), inputs=moments)


@policies
@pytest.mark.parametrize("cell", ["tanh", "ltc", "ltc_conductance", *CLOSED_FORMS])
def test_gradient_of_whole_loss_equals_finite_differences(policy, cell, rng):
    """With early starts, clipped samples, entropy and clipped values."""
    learner = make_learner(policy, cell, entropy=0.1, value_clip=0.3)
    state = make_state(learner, rng)
    trajectories = make_trajectories(learner, state, rng)
    batch, state = learner.prepare_batch(state, trajectories)
    # Away from the old policy, so that some ratios are clipped.
    trained = state.trained.theta + 0.3 * rng.standard_normal(state.trained.theta.size)
    _, g, diagnostics = learner.loss_and_gradient(trained, state.inputs, batch)
    assert 0 < diagnostics.clip_fraction < 1
    for _ in range(3):
        v = rng.standard_normal(g.size)
        ends = [
            learner.loss_and_gradient(trained + s * v, state.inputs, batch)[0]
            for s in (1e-6, -1e-6)
        ]
        assert g @ v == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6)


@policies
def test_ratio_is_one_before_first_update(policy, rng):
    learner = make_learner(policy)
    state = make_state(learner, rng)
    trajectories = make_trajectories(learner, state, rng)
    batch, state = learner.prepare_batch(state, trajectories)
    _, _, diagnostics = learner.loss_and_gradient(
        state.trained.theta, state.inputs, batch
    )
    assert abs(diagnostics.divergence) < 1e-14 and diagnostics.clip_fraction == 0


@pytest.mark.parametrize("gae_lambda", [0.0, 0.7, 1.0])
def test_advantages_equal_their_double_sum(gae_lambda, rng):
    """sum over l of (gamma lambda)^l delta_{t+l} to the end of the episode.

    Rewards after a terminated episode are zero; a truncated one has its value.
    """
    gamma = 0.9
    rewards = rng.standard_normal((T, N))
    values = rng.standard_normal((T, N))
    done = rng.random((T, N)) < 0.3
    done[-1] = True
    next_values = np.where(
        done,
        np.where(rng.random((T, N)) < 0.5, 0.0, rng.standard_normal((T, N))),
        np.concatenate([values[1:], values[:1]]),
    )
    advantages = generalised_advantages(
        rewards, values, next_values, done, gamma, gae_lambda
    )
    for t in range(T):
        for n in range(N):
            last = t + int(np.argmax(done[t:, n]))
            deltas = (rewards + gamma * next_values - values)[t : last + 1, n]
            powers = np.arange(len(deltas))
            expected = (gamma * gae_lambda) ** powers @ deltas
            assert advantages[t, n] == pytest.approx(expected, abs=1e-12)
            if gae_lambda == 1:
                returns = (
                    gamma**powers @ rewards[t : last + 1, n]
                    + gamma ** len(deltas) * next_values[last, n]
                )
                expected = returns - values[t, n]
                assert advantages[t, n] == pytest.approx(expected, abs=1e-12)


def test_only_truncated_episodes_are_bootstrapped(rng):
    learner = make_learner(POLICIES["gaussian"])
    state = make_state(learner, rng)
    trajectories = make_trajectories(learner, state, rng)
    batch, _ = learner.prepare_batch(state, trajectories)
    truncations = trajectories.truncations
    other = truncations._replace(context=truncations.context + 1.0)
    changed, _ = learner.prepare_batch(state, trajectories._replace(truncations=other))
    differs = np.any(batch.advantages != changed.advantages, axis=0)
    # The last two trials only have terminated episodes.
    assert differs[:2].all() and not differs[2:].any()


def test_a2c_equals_its_loss_written_separately(rng):
    """-mean A log p + 1/4 mean (V - R)^2, with constant advantages as they are."""
    policy = POLICIES["gaussian"]
    learner = make_learner(policy, method="a2c")
    state = make_state(learner, rng)
    trajectories = make_trajectories(learner, state, rng)
    batch, state = learner.prepare_batch(state, trajectories)
    returns = batch.advantages + batch.values

    def loss(trained):
        theta, log_std, critic = learner.split(trained)
        weights = learner.network_weights(theta, state.inputs)
        activations = learner.network_sequences.activations(
            weights, batch.inputs, batch.starts, batch.memory
        )
        m = learner._outputs(activations, N)
        s = policy.scale[:, None] * np.exp(log_std)[:, None]
        log_p = np.log(
            np.exp(-0.5 * ((batch.actions - m) / s) ** 2) / (s * np.sqrt(2 * np.pi))
        ).sum(axis=1)
        values = np.array(
            [learner.predict_values(critic, f).values for f in batch.features]
        )
        policy_loss = -(batch.advantages * log_p).mean()
        return policy_loss + 0.25 * ((values - returns) ** 2).mean()

    trained = state.trained.theta
    _, g, _ = learner.loss_and_gradient(trained, state.inputs, batch)
    for _ in range(3):
        v = rng.standard_normal(g.size)
        difference = loss(trained + 1e-6 * v) - loss(trained - 1e-6 * v)
        assert g @ v == pytest.approx(difference / 2e-6, rel=1e-6)


def test_reinforce_equals_its_loss_written_separately(rng):
    """-mean G log p with normalised rewards to go G, over episodes that are whole."""
    policy = POLICIES["gaussian"]
    learner = make_learner(policy, method="reinforce", normalise=False)
    state = make_state(learner, rng)
    e = make_trajectories(learner, state, rng)
    batch, state = learner.prepare_batch(state, e)
    scale, to_go, kept = state.returns.deviation[0], np.zeros((T, N)), e.is_kept.copy()
    for n in range(N):
        for t in range(T):
            end = t + int(np.argmax(e.done[t:, n]))
            powers = learner.options.discount ** np.arange(end + 1 - t)
            to_go[t, n] = powers @ e.rewards[t : end + 1, n] / scale
            kept[t, n] = not (e.is_cut[n] and end == T - 1)
    assert 0 < kept.sum() < kept.size
    np.testing.assert_array_equal(batch.is_kept, kept)
    np.testing.assert_allclose(batch.advantages[kept], to_go[kept], rtol=1e-12)

    G = (to_go - to_go[kept].mean()) / (to_go[kept].std() + 1e-8)
    _, g, _ = learner.loss_and_gradient(state.trained.theta, state.inputs, batch)

    def loss(trained):
        theta, log_std, _ = learner.split(trained)
        activations = learner.network_sequences.activations(
            theta, batch.inputs, batch.starts, batch.memory
        )
        m = learner._outputs(activations, N)
        return -(G * policy.log_prob(m, log_std, batch.actions))[kept].mean()

    trained = state.trained.theta
    for _ in range(3):
        v = rng.standard_normal(g.size)
        difference = loss(trained + 1e-6 * v) - loss(trained - 1e-6 * v)
        assert g @ v == pytest.approx(difference / 2e-6, rel=1e-6)
    assert not learner.split(g).critic.any()


def test_gradient_does_not_depend_on_order_of_trials(rng):
    learner = make_learner(POLICIES["gaussian"])
    state = make_state(learner, rng)
    trajectories = make_trajectories(learner, state, rng)
    batch, state = learner.prepare_batch(state, trajectories)
    trained = state.trained.theta + 0.02
    pair = [
        learner.loss_and_gradient(trained, state.inputs, batch.select(order))[1]
        for order in (np.arange(N), [2, 0, 3, 1])
    ]
    assert relative(*pair) < 1e-13


@pytest.mark.parametrize("asked", [True, False])
def test_inputs_of_a_network_with_a_constraint_are_not_normalised(asked):
    """Nor are those of others, if the user does not want it."""
    network = Network(Architecture((4,), "tanh", (), ()), N_INPUT, 2)
    options = PolicyGradient.for_method("ppo", normalise=asked)
    gaussian = POLICIES["gaussian"]
    assert Learner(options, network, gaussian, N_CONTEXT).normalise is asked
    network.weight_map = Constraint(network, np.random.default_rng(0), dale=0.5)
    assert not Learner(options, network, gaussian, N_CONTEXT).normalise


@pytest.mark.parametrize("cell", list(CELLS))
def test_folded_weights_act_on_inputs_as_weights_on_normalised_inputs(cell, rng):
    network = Network(Architecture((4, 3), cell, (2,), (1, 2)), N_INPUT, 2)
    weights = network.initial(rng)
    moments = Moments.empty(N_INPUT).update(5 + 3 * rng.standard_normal((N_INPUT, 40)))
    x = 5 + 3 * rng.standard_normal((N_INPUT, N))
    normalised = (x - moments.mean[:, None]) / moments.deviation[:, None]
    folded = fold(network, weights, moments.typical)
    on_normalised = np.zeros((network.n_activations, N))
    on_inputs = np.zeros((network.n_activations, N))
    for _ in range(3):
        on_normalised = network.step(weights, on_normalised, normalised)
        on_inputs = network.step(folded, on_inputs, x)
    np.testing.assert_allclose(
        on_inputs[network.outputs], on_normalised[network.outputs], atol=1e-12
    )
    np.testing.assert_allclose(
        unfold(network, folded, moments.typical), weights, atol=1e-13
    )
    v, bar = rng.standard_normal((2, network.size))
    tangent = fold(network, weights + v, moments.typical) - folded
    pulled_back = fold_vjp(network, bar, moments.typical)
    assert tangent @ bar == pytest.approx(v @ pulled_back, rel=1e-10)


def test_running_moments_equal_moments_of_all_values(rng):
    values = rng.standard_normal((3, 100)) * [[1], [5], [0]] + [[0], [7], [2]]
    moments = Moments.empty(3)
    for part in np.array_split(values, 7, axis=1):
        moments = moments.update(part)
    np.testing.assert_allclose(moments.mean, values.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(moments.variance, values.var(axis=1), atol=1e-12)
    assert moments.deviation[2] == 1.0
    assert np.abs(moments.normalise(100 * values, 10.0)).max() == 10.0


def test_earlier_values_fade_from_moments():
    """Each of ten updates with as many values as remembered halves what was before."""
    moments = Moments.empty(1).update(np.array([[-1.0, 1.0] * 500]), 100)
    for _ in range(10):
        moments = moments.update(np.full((1, 100), 5.0), 100)
    before = 0.5**10
    assert moments.count == 200
    assert moments.mean[0] == pytest.approx(5 * (1 - before), rel=1e-12)
    # The second moment fades likewise: it was 1 and becomes 25.
    second = before + 25 * (1 - before)
    assert moments.variance[0] + moments.mean[0] ** 2 == pytest.approx(second)


def test_values_stay_the_same_when_the_scale_of_returns_changes(rng):
    learner = make_learner(POLICIES["gaussian"])
    state = make_state(learner, rng)
    trajectories = make_trajectories(learner, state, rng)
    _, first = learner.prepare_batch(state, trajectories)
    louder = trajectories._replace(rewards=50 * trajectories.rewards)
    _, second = learner.prepare_batch(first, louder)
    scales = [s.returns.deviation[0] for s in (first, second)]
    assert scales[1] > 10 * scales[0]
    features = rng.standard_normal((learner.critic.n_input, 5))
    values = [
        scale
        * learner.predict_values(learner.split(s.trained.theta).critic, features)[0]
        for scale, s in zip(scales, (first, second), strict=True)
    ]
    assert relative(*values) < 1e-13 and np.abs(values[0]).min() > 1e-6


def test_running_returns_restart_with_each_episode():
    starts = np.array([[True], [False], [True], [False]])
    none = np.zeros(0)
    np.testing.assert_allclose(
        running_returns(np.ones((4, 1)), starts, 0.5, none)[:, 0], [1, 1.5, 1, 1.5]
    )
    before = np.array([8.0])
    assert running_returns(np.ones((1, 1)), starts[1:2], 0.5, before) == 5.0


@policies
def test_drawn_actions_follow_log_prob(policy, rng):
    """The mean of -log p over many draws is the entropy; probabilities sum to one."""
    m = rng.standard_normal((1, policy.size or policy.actions, 1))
    log_std = np.full(policy.size, -0.3)
    many = np.repeat(m, 40_000, axis=2)
    actions = policy.draw(many[0], log_std, rng)[None]
    log_p = policy.log_prob(many, log_std, actions)
    entropy = policy.entropy(m, log_std)[0, 0]
    assert -log_p.mean() == pytest.approx(entropy, abs=5 * log_p.std() / 200)
    if policy.size == 0:
        total = sum(
            np.exp(policy.log_prob(m, log_std, np.full((1, 1, 1), a)))[0, 0]
            for a in range(policy.actions)
        )
        assert total == pytest.approx(1.0, abs=1e-14)


def test_minibatches_hold_whole_trials(rng):
    learner = make_learner(POLICIES["gaussian"], epochs=2, minibatches=3)
    parts = list(learner._minibatches(7, rng))
    assert [len(p) for p in parts] == [3, 2, 2] * 2
    for epoch in (parts[:3], parts[3:]):
        assert sorted(np.concatenate(epoch)) == list(range(7))
    whole = Batch(*(rng.standard_normal((2, 3, 7)) for _ in Batch._fields))
    for part, array in zip(whole.select([1, 5]), whole, strict=True):
        np.testing.assert_array_equal(part, array[..., [1, 5]])


@pytest.mark.parametrize(
    "options, words",
    [
        ({"discount": 2.0}, "`discount` 2.0: must be a number from 0 to 1"),
        ({"log_spread": -9.0}, "`log_spread` -9.0: must be a number from -5 to 1"),
        ({"epochs": 0}, "`epochs` 0: must be a whole number of at least 1"),
        ({"learning_rate": 0.0}, "`learning_rate` 0.0: must be a number above 0"),
    ],
)
def test_options_have_the_bounds_of_the_settings(options, words):
    with pytest.raises(UsageError, match=words):
        PolicyGradient(**options)


@pytest.mark.parametrize("method", ["ppo", "a2c"])
def test_update_learns_only_from_steps_that_are_kept(method, rng):
    """Whatever stands in the steps after a loss, the update is the same."""
    learner = make_learner(POLICIES["gaussian"], method=method, entropy=0.01)
    state = make_state(learner, rng)
    whole = make_trajectories(learner, state, rng)
    # The first trial is lost at step 2, the last one at step 0; none is bootstrapped.
    is_kept = np.arange(T)[:, None] <= np.array([2, *[T] * (N - 2), 0])
    is_last = np.diff(is_kept, axis=0, append=False)
    results = []
    for value in (0.0, 0.7):
        kept = {
            name: np.where(is_kept[:, None], getattr(whole, name), value)
            for name in ("inputs", "actions", "context")
        }
        data = whole._replace(
            **kept,
            rewards=np.where(is_kept, whole.rewards, value),
            starts=whole.starts | ~is_kept,
            done=whole.done | is_last | ~is_kept,
            truncations=Truncations.none(N_CONTEXT),
            is_kept=is_kept,
            lost=2,
        )
        results.append(learner.update(state, data, np.random.default_rng(1)))
    (one, report), (same, _) = results
    assert report.lost == 2 and not np.array_equal(one.theta, state.theta)
    np.testing.assert_allclose(one.trained.theta, same.trained.theta, atol=1e-14)
    for name in ("inputs", "features", "returns"):
        first, second = (getattr(result, name) for result in (one, same))
        np.testing.assert_array_equal(first.variance, second.variance)


@pytest.mark.parametrize("name", ["rewards", "context"])
def test_numbers_that_overflow_stop_the_update(name, rng):
    learner = make_learner(POLICIES["gaussian"])
    state = make_state(learner, rng)
    data = make_trajectories(learner, state, rng)
    huge = data._replace(**{name: 1e300 * getattr(data, name)})
    with pytest.raises(NumberError, match=r"variance of ppo is not finite.*e\+300"):
        learner.update(state, huge, rng)
