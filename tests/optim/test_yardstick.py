"""The yardstick: iLQR against the Riccati recursion and against small changes."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from helpers import central_difference, dense_jacobian, flat, loop_of
from numba import njit

from hfcontrol.closed_loop.wiring import Wiring
from hfcontrol.kernels import LinearLaw, Perturbations
from hfcontrol.kernels.riccati import solve_within
from hfcontrol.optim.ilqr import OpenLoop
from hfcontrol.optim.yardstick import optimum
from hfcontrol.plant.limits import ControlLimits


@njit
def solve(H, G, bounds, is_held, factor, S):
    """The helper of the kernels as a function that Python calls."""
    solve_within(H, G, bounds, is_held, factor, S)


LINEAR = {
    "arm1": {"plant": "arm1", "task": "angle", "steps": 50, "effort": 1e-3},
    "linear": {"plant": "linear"},
    "linear, acts late": {"plant": "linear", "delays": (2, 3)},
    "linear, sees late": {"plant": "linear", "delays": (3, 0)},
    "arm1, by component": {
        "plant": "arm1",
        "task": "angle",
        "running": (0.05, 0.002),
        "final": (2.0, 0.3),
        "effort": (1e-3,),
    },
}
NONLINEAR = {
    "arm2": {"plant": "arm2", "effort": 1e-3, "running": 0.05},
    "arm2, by component": {
        "plant": "arm2",
        "running": (0.1, 0.2, 0.01, 0.02),
        "final": (3.0, 2.0, 0.5, 0.7),
        "effort": (1e-3, 5e-3),
    },
    "arm2, limited, late": {
        "plant": "arm2",
        "effort": 1e-4,
        "limit": 0.3,
        "delays": (0, 2),
    },
    "arm2, hand": {"plant": "arm2", "effort": 1e-3, "space": "hand"},
    "swing, one-sided, late": {"limit": ((-0.05, 0.2), (0.02, None)), "delays": (0, 2)},
    "swing": {"disturbed": True, "motor_fraction": 0.2},
    "swing, own residual": {"task": "worth"},
}


def optimum_of(loop, **more):
    return optimum(loop.kernels, loop.scenario, loop.wiring, **more)


def matrices(loop):
    """Return A and B of a linear plant, from steps on unit vectors."""
    plant, p = loop.plant, loop.scenario.params[:, :1]
    basis = np.eye(plant.nx + plant.nu)
    columns = [
        loop.kernels.step(e[: plant.nx, None], e[plant.nx :, None], p)[:, 0]
        for e in basis
    ]
    return np.split(np.array(columns).T, [plant.nx], axis=1)


def riccati_losses(loop):
    """Return the optimal loss of every trial, about a target at which the plant rests.

    Commands are zero until the delay is over.
    """
    (A, B), cost, s = matrices(loop), loop.scenario.cost, loop.scenario
    P = np.diag(cost.weights.state[-1, :, 0])
    for t in reversed(range(s.steps)):
        move = A
        if t >= loop.wiring.command_delay:
            R = np.diag(cost.weights.control[t, :, 0])
            K = np.linalg.solve(R + B.T @ P @ B, B.T @ P @ A)
            move = A - B @ K
        P = A.T @ P @ move + np.diag(cost.weights.state[t, :, 0])
    error = s.x0 - s.goal[0]
    return 0.5 * np.einsum("in,ij,jn->n", error, P, error)


@pytest.mark.parametrize("options", LINEAR.values(), ids=LINEAR.keys())
def test_optimum_of_linear_plant_is_riccati_cost(options):
    loop = loop_of(**options)
    expected = riccati_losses(loop)
    np.testing.assert_allclose(
        optimum_of(loop).losses, expected, rtol=1e-9, atol=1e-9 * expected.max()
    )


def test_expansion_is_by_arriving_control(rng):
    """Gain and delay are included: the expansion has the blocks of a dense J'WJ."""
    loop = loop_of(task="worth", trials=1, delays=(0, 2), motor_fraction=0.3)
    s, system = loop.scenario, OpenLoop(loop.kernels, loop.scenario, loop.wiring)
    v = rng.standard_normal((12, 2, 1))

    def control(t, command):
        return command * (1.0 + s.motor_gain[t]) + s.motor_noise[t]

    def controls(v):
        return np.array([control(t, v[t]) for t in range(s.steps)])

    x = loop.kernels.simulate(
        0.5 * rng.standard_normal((3, 1)),
        controls(v),
        s.params,
        s.disturbance,
        loop.wiring.taper,
    )

    def residuals(d):
        return flat(
            s.cost.residuals(
                d[: x.size].reshape(x.shape), controls(d[x.size :].reshape(v.shape))
            )
        )

    at, W = np.concatenate([x.ravel(), v.ravel()]), flat(s.cost.weights)
    J = dense_jacobian(residuals, at)
    g, H = J.T @ (W * residuals(at)), J.T @ (W[:, None] * J)
    _, B, l_xx, l_uu, l_ux, l_x, l_u, low, high = system.expand(x, v, controls(v))
    for bound, side in ((low, -1), (high, 1)):
        np.testing.assert_array_equal(
            bound, (side * loop.wiring.limits.high[:, None] - v).transpose(0, 2, 1)
        )
    assert not any(free[:2].any() for free in (B, l_uu, l_ux, l_u))

    def next_state(t, command):
        u = control(t, command[:, None])[None]
        return loop.kernels.simulate(
            x[t], u, s.params, s.disturbance[t][None], loop.wiring.taper
        )[1, :, 0]

    for t in range(2, s.steps):
        at_x, at_v = slice(3 * t, 3 * t + 3), slice(x.size + 2 * t, x.size + 2 * t + 2)
        pairs = [
            (l_x[t, 0], g[at_x]),
            (l_u[t, 0], g[at_v]),
            (l_xx[t, 0], H[at_x, at_x]),
            (l_uu[t, 0], H[at_v, at_v]),
            (l_ux[t, 0], H[at_v, at_x]),
            (B[t, 0], dense_jacobian(partial(next_state, t), v[t, :, 0])),
        ]
        for found, expected in pairs:
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("options", NONLINEAR.values(), ids=NONLINEAR.keys())
def test_no_small_change_of_controls_improves_optimum(options, rng):
    """Slopes of the loss by the arriving controls are zero, at a limit they are uphill.

    They are compared with slopes at controls that are not optimal.
    """
    loop = loop_of(**options)
    system = OpenLoop(loop.kernels, loop.scenario, loop.wiring)
    commands = np.zeros((loop.scenario.steps, loop.plant.nu, loop.trials))
    best = optimum_of(loop)
    v = best.u / (1 + loop.scenario.motor_gain)
    low, high = loop.wiring.limits.bounds[:, :, None]
    np.testing.assert_allclose(system.simulate(v).losses, best.losses, rtol=1e-7)
    late = loop.wiring.command_delay
    for _ in range(5):
        direction = rng.standard_normal(v.shape)
        direction[:late] = 0
        is_inside = (low + 1e-3 < v) & (v < high - 1e-3)
        inside = np.where(is_inside, direction, 0)
        slopes = [
            central_difference(lambda v: system.simulate(v).losses, *at, 1e-4)
            for at in ((v, inside), (commands, direction))
        ]
        assert np.abs(slopes[0]).max() < 1e-3 * np.abs(slopes[1]).max()
    inward = np.where(v == low, 1.0, 0.0) - np.where(v == high, 1.0, 0.0)
    assert (
        system.simulate(v + 1e-5 * inward).losses >= best.losses * (1 - 1e-12)
    ).all()


@pytest.mark.parametrize("size", [1, 2, 4])
def test_bounded_quadratic_problem_is_solved(size, rng):
    """The conditions of Karush, Kuhn and Tucker hold.

    There is no slope where a control is free, and none that points inside at a limit.
    """
    for _ in range(50):
        half = rng.standard_normal((size, size))
        H, G, low, high = (
            half @ half.T + 0.1 * np.eye(size),
            2 * rng.standard_normal((size, 4)),
            -rng.random(size),
            rng.random(size),
        )
        S = np.zeros_like(G)
        is_held, factor = np.zeros(size, dtype=bool), np.empty((size, size))
        solve(H, G, (low, high), is_held, factor, S)
        k, slope = S[:, 3], H @ S[:, 3] + G[:, 3]
        at_low, at_high = k <= low, k >= high
        free = ~at_low & ~at_high
        assert (
            (k >= low).all()
            and (k <= high).all()
            and np.abs(slope[free]).max(initial=0) < 1e-9
        )
        assert (slope[at_low] > -1e-9).all() and (slope[at_high] < 1e-9).all()
        K = np.zeros((size, 3))
        K[free] = -np.linalg.solve(H[np.ix_(free, free)], G[free, :3])
        np.testing.assert_allclose(S[:, :3], K, atol=1e-9)


@pytest.mark.parametrize("options", NONLINEAR.values(), ids=NONLINEAR.keys())
def test_optimum_is_a_trajectory_within_limit_and_delay(options):
    loop = loop_of(**options)
    best, s, w = optimum_of(loop), loop.scenario, loop.wiring
    x = loop.kernels.simulate(s.x0, best.u, s.params, s.disturbance, w.taper)
    np.testing.assert_array_equal(x, best.x)
    np.testing.assert_allclose(
        s.cost.losses(best.x, best.u), best.losses, rtol=1e-13
    )  # summed in another order
    idle = w.limits.clip(np.zeros_like(best.u))
    np.testing.assert_array_equal(best.u[: w.command_delay], idle[: w.command_delay])
    v = best.u / (1 + s.motor_gain)
    assert (v[w.command_delay :] != 0).any()
    np.testing.assert_allclose(w.limits.clip(v), v, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", NONLINEAR.values(), ids=NONLINEAR.keys())
def test_no_start_is_better_than_optimum(options, rng):
    """Neither zero nor the controller's commands."""
    loop = loop_of(**options)
    system = OpenLoop(loop.kernels, loop.scenario, loop.wiring)
    shape = (loop.scenario.steps, loop.plant.nu, loop.trials)
    commands = 0.5 * rng.standard_normal(shape)
    commands[: loop.wiring.command_delay] = 0
    best = optimum_of(loop, controls=loop.wiring.limits.apply(commands)).losses
    for start in (np.zeros(shape), commands):
        assert (best <= system.simulate(start).losses).all()


def test_longer_delay_and_tighter_limit_cost_more():
    loop = loop_of("arm2", effort=1e-4)
    wirings = [
        Wiring(0, delay, ControlLimits.symmetric(np.full(2, limit)), loop.wiring.taper)
        for delay, limit in ((0, np.inf), (2, np.inf), (4, np.inf), (4, 0.5), (4, 0.2))
    ]
    losses = [
        optimum(loop.kernels, loop.scenario, wiring).losses.mean() for wiring in wirings
    ]
    assert np.all(np.diff(losses) > 0)


def test_optimum_of_a_trial_is_independent_of_others():
    loop = loop_of("arm2", effort=1e-3, trials=7)
    few = loop_of("arm2", effort=1e-3, trials=1)
    alone = replace(
        few.scenario,
        target=loop.scenario.target[:, :, 3:4],
        cost=replace(
            few.scenario.cost,
            references=type(few.scenario.cost.references)(
                *(
                    None if a is None else a[..., 3:4]
                    for a in loop.scenario.cost.references
                )
            ),
        ),
    )
    found = optimum(few.kernels, alone, few.wiring).losses[0]
    assert found == pytest.approx(optimum_of(loop).losses[3], rel=1e-6)


@pytest.mark.parametrize("plant", ["swing", "cart"])
def test_regulated_plant_equals_its_steps(plant, rng):
    loop = loop_of(plant, disturbed=True, motor_fraction=0.2, motor_noise=0.1)
    s, w, nx, nu = loop.scenario, loop.wiring, loop.plant.nx, loop.plant.nu
    v, gains = (
        rng.standard_normal((s.steps, nu, s.trials)),
        0.1 * rng.standard_normal((s.steps, s.trials, nu, nx)),
    )
    reference = 0.3 * rng.standard_normal((s.steps + 1, nx, s.trials))
    linear_law = LinearLaw(v, gains, reference, w.limits.bounds)
    perturbations = Perturbations(s.motor_gain, s.motor_noise, s.disturbance)
    x, arriving, u = loop.kernels.regulate(
        s.x0, linear_law, s.params, perturbations, w.taper
    )
    law = np.clip(
        v + np.einsum("tnij,tjn->tin", gains, (x - reference)[:-1]),
        w.limits.low[:, None],
        w.limits.high[:, None],
    )
    np.testing.assert_allclose(arriving, law, rtol=1e-12)
    np.testing.assert_allclose(u, law * (1 + s.motor_gain) + s.motor_noise, rtol=1e-12)
    np.testing.assert_allclose(
        x, loop.kernels.simulate(s.x0, u, s.params, s.disturbance, w.taper), rtol=1e-12
    )
