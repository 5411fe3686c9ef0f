"""The cost: residuals, their Jacobians and the expansion of the loss, in joint space, hand space and a file's own."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import central_difference, dense_jacobian, flat, like, loop_of, relative

from hfcontrol.errors import TaskError, UsageError
from hfcontrol.tasks.cost import Residuals
from hfcontrol.tasks.disturbances import Disturbances
from hfcontrol.tasks.task import TaskOptions

CASES = {
    "joint": {},
    "arm2, final": {"plant": "arm2"},
    "hand": {"space": "hand"},
    "arm2, hand": {"plant": "arm2", "space": "hand", "running": 0.2},
    "moving, masked": {"task": "follow"},
    "own residual": {"task": "worth"},
    "own residual, hand": {"task": "worth", "space": "hand"},
}

cases = pytest.mark.parametrize("options", CASES.values(), ids=CASES.keys())


def setting(options, rng, trials=3):
    """A cost and a random trajectory x (T+1, nx, N), u (T, nu, N)."""
    loop = loop_of(**options, trials=trials)
    s = loop.scenario
    return (
        s.cost,
        0.5 * rng.standard_normal((s.steps + 1, *s.x0.shape)),
        rng.standard_normal(s.motor_noise.shape),
    )


@cases
def test_tangent_equals_differences(options, rng):
    cost, x, u = setting(options, rng)
    dx, du = rng.standard_normal(x.shape), rng.standard_normal(u.shape)
    slope = central_difference(
        lambda s: flat(cost.residuals(x + s * dx, u + s * du)), 0.0, 1.0
    )
    assert relative(flat(cost.linearise(x, u).jvp(dx, du)), slope) < 1e-8


@cases
def test_adjoint_is_the_transpose_of_the_tangent(options, rng):
    cost, x, u = setting(options, rng)
    dx, du = rng.standard_normal(x.shape), rng.standard_normal(u.shape)
    linear = cost.linearise(x, u)
    w, Jd = like(linear.residuals, rng), linear.jvp(dx, du)
    x_bar, u_bar = linear.vjp(w)
    assert abs(np.vdot(x_bar, dx) + np.vdot(u_bar, du) - w.dot(Jd)) < 1e-13 * np.sqrt(
        w.dot(w) * Jd.dot(Jd)
    )


@cases
def test_losses_come_about_step_by_step(options, rng):
    cost, x, u = setting(options, rng)
    found = cost.losses_over_time(x, u)
    np.testing.assert_allclose(found.sum(axis=0), cost.losses(x, u), rtol=1e-12)
    for t, both in enumerate(zip(x, [*u, None])):
        np.testing.assert_array_equal(cost.losses_at(t, *both), found[t])
    own, each = rng.integers(0, len(u), x.shape[2]), np.arange(x.shape[2])
    np.testing.assert_array_equal(
        cost.losses_at(own, x[own, :, each].T, u[own, :, each].T), found[own, each]
    )
    later = x.copy()
    later[-1] += 1.0
    np.testing.assert_array_equal(cost.losses_over_time(later, u)[:-1], found[:-1])


@cases
def test_losses_are_half_the_weighted_squares_of_each_trial(options, rng):
    cost, x, u = setting(options, rng)
    expected = [
        0.5
        * sum(
            (w[..., n] * r[..., n] ** 2).sum()
            for w, r in zip(cost.weights, cost.residuals(x, u))
            if r is not None
        )
        for n in range(3)
    ]
    np.testing.assert_allclose(cost.losses(x, u), expected, rtol=1e-13)


@cases
def test_gradient_equals_differences_of_the_loss(options, rng):
    cost, x, u = setting(options, rng)
    x_bar, u_bar = cost.linearise(x, u).gradient()
    for _ in range(3):
        dx, du = rng.standard_normal(x.shape), rng.standard_normal(u.shape)
        slope = central_difference(
            lambda s: cost.losses(x + s * dx, u + s * du).sum(), 0.0, 1.0
        )
        assert np.vdot(x_bar, dx) + np.vdot(u_bar, du) == pytest.approx(
            slope, rel=1e-7, abs=1e-7
        )


@cases
def test_hessian_is_that_of_the_dense_jacobian(options, rng):
    """The whole J'WJ of one trial, which must be block-diagonal in time and hold the blocks that `hessian` gives."""
    cost, x, u = setting({**options}, rng, trials=1)
    split = x.size

    def residuals(d):
        return flat(
            cost.residuals(d[:split].reshape(x.shape), d[split:].reshape(u.shape))
        )

    J = dense_jacobian(residuals, np.concatenate([x.ravel(), u.ravel()]))
    H = J.T @ (flat(cost.weights)[:, None] * J)
    expected = np.zeros_like(H)
    (steps, nx, _), nu = x.shape, u.shape[1]
    xx, uu, ux = cost.linearise(x, u).hessian()
    for t in range(steps):
        at_x, at_u = (
            slice(nx * t, nx * (t + 1)),
            slice(split + nu * t, split + nu * (t + 1)),
        )
        expected[at_x, at_x] = xx[t, :, :, 0]
        if t < steps - 1:
            expected[at_u, at_u], expected[at_u, at_x] = uu[t, :, :, 0], ux[t, :, :, 0]
            expected[at_x, at_u] = ux[t, :, :, 0].T
    assert relative(expected, H) < 1e-7


@cases
def test_channels_are_the_residuals_that_weigh(options, rng):
    """Each is a row of the Jacobian; together they give the whole gradient and every weight."""
    cost, x, u = setting(options, rng)
    linear, channels = cost.linearise(x, u), cost.active_residuals()
    assert len(set(channels)) == len(channels)
    weighing = sum(
        int(np.any(w != 0, axis=2).sum()) for w in cost.weights if w is not None
    )
    assert len(channels) == weighing > 0
    x_bar, u_bar = linear.residual_cotangents(channels)
    values = linear.scaled_residuals(channels)
    for bar, expected in zip((x_bar, u_bar), linear.gradient()):
        assert (
            relative(np.einsum("ktin,kn->tin", bar, values) + 1, expected + 1) < 1e-12
        )
    for k in rng.choice(len(channels), 5):
        part, t, i = channels[k]
        w = Residuals(
            *(None if a is None else np.zeros_like(a) for a in linear.residuals)
        )
        w[part][t, i] = np.sqrt(cost.weights[part][t, i])
        for bar, expected in zip((x_bar[k], u_bar[k]), linear.vjp(w)):
            np.testing.assert_allclose(bar, expected, rtol=1e-13, atol=1e-15)


def test_what_nobody_asks_for_costs_nothing(rng):
    cost, x, u = setting(CASES["moving, masked"], rng)
    assert (cost.weights.state[1:, 1] == 0).all() and (
        cost.weights.state[4, 0] == 0
    ).all()
    assert (cost.weights.state[-1, [0, 2]] > 0).all() and (
        cost.weights.state[3, 0] > 0
    ).all()
    other = x.copy()
    other[:, 1], other[4, 0] = 1e6, -1e6
    np.testing.assert_array_equal(cost.losses(x, u), cost.losses(other, u))
    assert np.isfinite(flat(cost.residuals(x, u))).all()


def test_one_trial_may_be_masked_alone(rng):
    cost, x, u = setting(CASES["joint"], rng)
    state = cost.references.state.copy()
    state[-1, 0, 1] = np.nan
    masked = replace(cost, references=cost.references._replace(state=state))
    other = x.copy()
    other[-1, 0] += 1
    changed = masked.losses(other, u) != masked.losses(x, u)
    assert (
        changed.tolist() == [True, False, True]
        and masked.active_residuals() == cost.active_residuals()
    )


def test_the_own_residual_sees_the_target_and_no_control_after_the_last(rng):
    loop = loop_of(task="worth")
    s, cost = loop.scenario, loop.scenario.cost
    x, u = rng.standard_normal((13, 3, 7)), rng.standard_normal((12, 2, 7))
    own = cost.residuals(x, u).custom
    np.testing.assert_allclose(
        own[1:, 0], np.sin(x[1:, 0]) - s.target[:, 0], rtol=1e-14
    )
    np.testing.assert_allclose(own[:-1, 2], u[:, 0] * u[:, 1], rtol=1e-14)
    np.testing.assert_array_equal(own[-1, 1:], 0)


def test_a_trajectory_without_finite_numbers_has_no_finite_loss(rng):
    cost, x, u = setting(CASES["own residual"], rng)
    for bad in (np.nan, np.inf, 1e200):
        x[3, 0, 1] = bad
        losses = cost.losses(x, u)
        assert np.isfinite(losses[[0, 2]]).all() and not np.isfinite(losses[1])


@pytest.mark.parametrize(
    "options, kind, told",
    [
        ({"task": "fly"}, TaskError, "no task 'fly'; it has: go, fresh, follow, worth"),
        (
            {"plant": "linear", "space": "hand"},
            TaskError,
            "--space hand: plant linear has no hand",
        ),
    ],
)
def test_a_wrong_task_is_told_in_one_line(options, kind, told):
    with pytest.raises(kind, match=told):
        loop_of(**options)


@pytest.mark.parametrize(
    "options, told",
    [
        ({"trials": 0}, "--trials 0: at least 1"),
        ({"steps": -3}, "--steps -3: at least 1"),
        ({"effort": -1.0}, "--effort -1.0: a finite number"),
        ({"running": float("nan")}, "--running nan: a finite number"),
        ({"space": "foot"}, "--space foot: joint or hand"),
    ],
)
def test_a_wrong_number_is_told_in_one_line(options, told):
    with pytest.raises(UsageError) as caught:
        TaskOptions(**options)
    assert str(caught.value).startswith(told) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options, told",
    [
        ({"sensory_noise": float("inf")}, "--sensory-noise inf: a finite number"),
        ({"motor_fraction": -0.1}, "--motor-noise -0.1: a finite number"),
        ({"push": float("nan")}, "--push nan: a finite number"),
    ],
)
def test_a_wrong_disturbance_is_told_in_one_line(options, told):
    with pytest.raises(UsageError) as caught:
        Disturbances(**options)
    assert str(caught.value).startswith(told) and "\n" not in str(caught.value)
