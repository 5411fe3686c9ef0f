"""Curvature operators against dense matrices from differences of rollouts."""

import numpy as np
import pytest
from helpers import (
    dense_jacobian,
    flat,
    hold_of,
    loop_of,
    relative,
    residuals_of,
    weights_of,
)

from hfcontrol.closed_loop.loop import ClosedLoop, PassOptions
from hfcontrol.network.architecture import Architecture
from hfcontrol.optim.curvature import (
    GaussNewton,
    Identity,
    Operator,
    ResidualJacobian,
    Structural,
)
from hfcontrol.tasks.scenario import select_trials

CASES = {
    "arm2": {"plant": "arm2", "running": 0.1, "effort": 1e-3},
    "arm2, two blocks": {"plant": "arm2", "trials": 35, "effort": 0.0},
    "arm2, by component": {
        "plant": "arm2",
        "running": (0.1, 0.2, 0.03, 0.04),
        "final": (3.0, 2.0, 0.5, 0.7),
        "effort": (1e-3, 5e-3),
    },
    "swing, late": {
        "delays": (2, 1),
        "sensory_noise": 0.1,
        "motor_fraction": 0.2,
        "disturbed": True,
    },
    "swing, own residual": {
        "task": "worth",
        "architecture": Architecture((3,), skip=(), recurrent=(1,), learn_start=True),
    },
    "swing, hand": {"space": "hand", "delays": (0, 1)},
}
KINDS = ("scenario", "model", "inputs")

cases = pytest.mark.parametrize("options", CASES.values(), ids=CASES.keys())


def setting(options, kind="scenario"):
    """A hold and its linearised loop at weights other than those of its start."""
    loop = loop_of(**{"hidden": (3, 2), **options})
    theta = weights_of(loop)
    hold = hold_of(kind, loop, theta)
    rollout = hold.rollout(theta + weights_of(loop, seed=1, size=0.03))
    return hold, rollout, hold.linearise(rollout)


def dense(operator, size):
    """The matrix of an operator (P, P), column by column."""
    return np.array([operator @ e for e in np.eye(size)]).T


def changes_of(hold):
    """Return the map from weights to hidden states, states and controls."""

    def function(theta):
        rollout = hold.rollout(theta)
        return np.concatenate(
            [
                a.ravel()
                for a in (rollout.hidden(hold.loop.network), rollout.x, rollout.u)
            ]
        )

    return function


@cases
@pytest.mark.parametrize("kind", KINDS)
def test_gauss_newton_equals_dense_matrix(options, kind):
    hold, rollout, linear = setting(options, kind)
    J = dense_jacobian(residuals_of(hold), rollout.theta)
    W = flat(linear.cost.weights)
    G = dense(GaussNewton(linear), rollout.theta.size)
    assert relative(G, J.T @ (W[:, None] * J) / hold.loop.trials) < 1e-6
    assert relative(G, G.T) < 1e-13
    eigenvalues = np.linalg.eigvalsh((G + G.T) / 2)
    assert eigenvalues[0] > -1e-13 * eigenvalues[-1]


@cases
@pytest.mark.parametrize("kind", KINDS)
def test_structural_damping_equals_dense_matrix(options, kind):
    hold, rollout, linear = setting(options, kind)
    J = dense_jacobian(changes_of(hold), rollout.theta)
    assert (
        relative(
            dense(Structural(linear), rollout.theta.size), J.T @ J / hold.loop.trials
        )
        < 1e-6
    )


@cases
def test_residual_rows_equal_dense_jacobian(options):
    hold, rollout, linear = setting(options)
    channels = hold.loop.scenario.cost.active_residuals()
    rows = ResidualJacobian(linear, channels)
    J, N = dense_jacobian(residuals_of(hold), rollout.theta), hold.loop.trials
    W, r = flat(linear.cost.weights), flat(linear.cost.residuals)
    weighted = [np.sqrt(W)[:, None] * J, np.sqrt(W) * r]
    # the same rows in another order: what does not depend on the order is compared
    assert rows.matrix.shape == (len(channels) * N, rollout.theta.size)
    assert relative(rows.matrix.T @ rows.matrix, weighted[0].T @ weighted[0]) < 1e-6
    assert relative(rows.matrix.T @ rows.residuals, weighted[0].T @ weighted[1]) < 1e-6
    np.testing.assert_allclose(
        rows.gram, rows.matrix @ rows.matrix.T, rtol=1e-12, atol=1e-14
    )


def test_each_jacobian_row_is_one_residual_of_one_trial():
    hold, rollout, linear = setting(CASES["swing, own residual"])
    channels = hold.loop.scenario.cost.active_residuals()[::7]
    rows = linear.rows(channels)

    cost = hold.loop.scenario.cost

    def channel_values(theta):
        new = hold.rollout(theta)
        residuals = cost.residuals(new.x, new.u)
        return np.array(
            [
                np.sqrt(cost.weights[part][t, i]) * residuals[part][t, i]
                for part, t, i in channels
            ]
        ).ravel()

    J = dense_jacobian(channel_values, rollout.theta)
    assert relative(rows.reshape(J.shape), J) < 1e-6


# Curvature of a subset of the trials.

PART, CHOSEN = 3, {7: (0, 2, 4), 35: (0, 11, 23)}  # of so many trials, spread evenly


@cases
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("every", [1, 5])
def test_subset_is_derivative_of_its_trials_alone(
    options, kind, every, rng, monkeypatch
):
    """Compared with a closed loop that has no other trials.

    Finite differences make 1e-11 of the rounding error of a rollout.
    """
    loop = loop_of(**{"hidden": (3, 2), **options})
    loop = ClosedLoop(
        loop.plant,
        loop.kernels,
        loop.network,
        loop.scenario,
        loop.wiring,
        PassOptions(store_every=every),
    )
    theta = weights_of(loop)
    alone = ClosedLoop(
        loop.plant,
        loop.kernels,
        loop.network,
        select_trials(loop.scenario, np.array(CHOSEN[loop.trials])),
        loop.wiring,
        PassOptions(fused=False),
    )
    part, whole = (
        hold.linearise(hold.rollout(theta + weights_of(loop, seed=1, size=0.03)))
        for hold in (hold_of(kind, each, theta) for each in (loop, alone))
    )
    part = part.subset(PART)
    monkeypatch.setattr(loop, "rollout", None)
    v, channels = (
        rng.standard_normal(theta.size),
        alone.scenario.cost.active_residuals(),
    )
    assert relative(GaussNewton(part) @ v, GaussNewton(whole) @ v) < 1e-9
    assert relative(Structural(part) @ v, Structural(whole) @ v) < 1e-9
    assert relative(part.rows(channels), whole.rows(channels)) < 1e-9
    assert relative(part.gradient, whole.gradient) < 1e-9
    assert part.counts.rollouts == 0


def test_subset_of_all_trials_is_the_whole():
    _, _, linear = setting(CASES["arm2"])
    assert linear.subset(linear.loop.trials) is linear and linear.subset(99) is linear


@pytest.mark.parametrize(
    "effort, generator", [(1e-5, "reach"), (1e-3, "reach_and_back")]
)
def test_few_trials_give_mean_curvature_of_targets_on_a_circle(effort, generator, rng):
    """The trapezoidal rule converges faster than any power on periodic functions."""
    task = {"reach": "reach", "reach_and_back": "out_and_back"}[generator]
    loop = loop_of("arm2", task, trials=64, effort=effort)
    linear = loop.linearise(loop.rollout(weights_of(loop)))
    v = rng.standard_normal(loop.network.size)
    errors = [
        relative(GaussNewton(linear.subset(n)) @ v, GaussNewton(linear) @ v)
        for n in (4, 8, 16, 32)
    ]
    assert errors[0] > 1e-5 > errors[1] > 1e-9 > max(errors[2:])


def test_products_repeat_bit_for_bit(rng):
    _, rollout, linear = setting(CASES["swing, late"])
    G, S = GaussNewton(linear), Structural(linear)
    v, w = rng.standard_normal((2, rollout.theta.size))
    before = [v.copy(), linear.rollout.x.copy(), linear.rollout.activations.copy()]
    first = [G @ v, S @ v]
    assert (G @ w != first[0]).any() and (S @ w != first[1]).any()
    np.testing.assert_array_equal([G @ v, S @ v], first)
    for a, b in zip(
        before, (v, linear.rollout.x, linear.rollout.activations), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    assert G.products == 3


def test_operators_add_and_scale(rng):
    A, B, v = *rng.standard_normal((2, 5, 5)), rng.standard_normal(5)
    a, b = Operator(lambda v: A @ v), Operator(lambda v: B @ v)
    np.testing.assert_allclose(
        (a + 2.0 * b + 0.5 * Identity()) @ v,
        (A + 2 * B + 0.5 * np.eye(5)) @ v,
        rtol=1e-13,
    )
    np.testing.assert_allclose((3.0 * (a + b)) @ v, 3 * (A + B) @ v, rtol=1e-13)
    np.testing.assert_array_equal(dense(Identity(), 5), np.eye(5))
