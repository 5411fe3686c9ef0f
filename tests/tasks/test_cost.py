"""The cost: residuals, their Jacobians and the expansion of the loss.

In joint space, in hand space, and with a plant file's custom residuals.
"""

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
    "arm2, by component": {
        "plant": "arm2",
        "running": (0.1, 0.2, 0.03, 0.04),
        "effort": (0.1, 0.5),
        "final": (3.0, 2.0, 0.5, 0.7),
    },
    "hand, by component": {"space": "hand", "running": (0.1, 0.2, 0.3)},
    "moving, masked": {"task": "follow"},
    "custom residual": {"task": "worth"},
    "custom residual, hand": {"task": "worth", "space": "hand"},
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
def test_losses_are_the_sum_of_those_of_every_time_index(options, rng):
    cost, x, u = setting(options, rng)
    found = cost.losses_over_time(x, u)
    np.testing.assert_allclose(found.sum(axis=0), cost.losses(x, u), rtol=1e-12)
    for t, both in enumerate(zip(x, [*u, None], strict=True)):
        np.testing.assert_array_equal(cost.losses_at(t, *both), found[t])
    each = np.arange(x.shape[2])
    times = rng.integers(0, len(u), x.shape[2])
    np.testing.assert_array_equal(
        cost.losses_at(times, x[times, :, each].T, u[times, :, each].T),
        found[times, each],
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
            for w, r in zip(cost.weights, cost.residuals(x, u), strict=True)
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
            lambda s, dx=dx, du=du: cost.losses(x + s * dx, u + s * du).sum(), 0.0, 1.0
        )
        assert np.vdot(x_bar, dx) + np.vdot(u_bar, du) == pytest.approx(
            slope, rel=1e-7, abs=1e-7
        )


@cases
def test_hessian_is_that_of_the_dense_jacobian(options, rng):
    """The whole J'WJ of one trial is block-diagonal in time.

    Its blocks are those that `hessian` returns.
    """
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
def test_active_residuals_are_those_with_a_weight(options, rng):
    """Each is a row of the Jacobian; together they give the whole gradient."""
    cost, x, u = setting(options, rng)
    linear, indices = cost.linearise(x, u), cost.active_residuals()
    assert len(set(indices)) == len(indices)
    active = sum(
        int(np.any(w != 0, axis=2).sum()) for w in cost.weights if w is not None
    )
    assert len(indices) == active > 0
    x_bar, u_bar = linear.residual_cotangents(indices)
    values = linear.scaled_residuals(indices)
    for bar, expected in zip((x_bar, u_bar), linear.gradient(), strict=True):
        assert (
            relative(np.einsum("ktin,kn->tin", bar, values) + 1, expected + 1) < 1e-12
        )
    for k in rng.choice(len(indices), 5):
        part, t, i = indices[k]
        w = Residuals(
            *(None if a is None else np.zeros_like(a) for a in linear.residuals)
        )
        w[part][t, i] = np.sqrt(cost.weights[part][t, i])
        for bar, expected in zip((x_bar[k], u_bar[k]), linear.vjp(w), strict=True):
            np.testing.assert_allclose(bar, expected, rtol=1e-13, atol=1e-15)


def test_states_without_a_goal_cost_nothing(rng):
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


def test_a_single_trial_can_be_masked(rng):
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


def test_custom_residual_gets_the_target_and_zero_control_at_the_end(rng):
    loop = loop_of(task="worth")
    s, cost = loop.scenario, loop.scenario.cost
    x, u = rng.standard_normal((13, 3, 7)), rng.standard_normal((12, 2, 7))
    custom = cost.residuals(x, u).custom
    np.testing.assert_allclose(
        custom[1:, 0], np.sin(x[1:, 0]) - s.target[:, 0], rtol=1e-14
    )
    np.testing.assert_allclose(custom[:-1, 2], u[:, 0] * u[:, 1], rtol=1e-14)
    np.testing.assert_array_equal(custom[-1, 1:], 0)


def test_loss_of_a_trajectory_that_is_not_finite_is_not_finite(rng):
    cost, x, u = setting(CASES["custom residual"], rng)
    for bad in (np.nan, np.inf, 1e200):
        x[3, 0, 1] = bad
        losses = cost.losses(x, u)
        assert np.isfinite(losses[[0, 2]]).all() and not np.isfinite(losses[1])


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"task": "fly"}, TaskError, "no task 'fly'; it has: go, fresh, follow, worth"),
        (
            {"plant": "linear", "space": "hand"},
            TaskError,
            "`space` hand: plant linear has no hand",
        ),
    ],
)
def test_unsuitable_tasks_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        loop_of(**options)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"trials": 0}, "`trials` 0: must be at least 1"),
        ({"steps": -3}, "`steps` -3: must be at least 1"),
        ({"effort": -1.0}, "`effort` -1.0: must be a finite number"),
        ({"running": float("nan")}, "`running` nan: must be a finite number"),
        ({"space": "foot"}, "`space` foot: must be joint or hand"),
    ],
)
def test_task_options_out_of_range_are_refused_in_one_line(options, message):
    with pytest.raises(UsageError) as caught:
        TaskOptions(**options)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"sensory_noise": float("inf")},
            "`sensory_noise` inf: must be a finite number",
        ),
        ({"motor_fraction": -0.1}, "`motor_noise` -0.1: must be a finite number"),
        ({"push": float("nan")}, "`push` nan: must be a finite number"),
    ],
)
def test_disturbances_out_of_range_are_refused_in_one_line(options, message):
    with pytest.raises(UsageError) as caught:
        Disturbances(**options)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)
