"""Continuous time: rollouts, gradients and Gauss-Newton products.

They are compared with closed forms of the linear-quadratic regulator, with SciPy's
solver, with differences through new solutions, and with integrals of tangents.
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from helpers import bits, dense_jacobian, plant_of, relative, training_of
from scipy.integrate import solve_ivp
from scipy.optimize import minimize_scalar

from hfcontrol.arrays.threads import limited_threads
from hfcontrol.closed_loop.continuous import (
    ESTIMATORS,
    FIXED,
    ContinuousLoop,
    Estimator,
    Evaluations,
)
from hfcontrol.closed_loop.continuous.tableaus import (
    EULER,
    MIDPOINT,
    RK4,
    STEP5,
    TSIT5,
)
from hfcontrol.closed_loop.wiring import Wiring
from hfcontrol.errors import TrainingError, UsageError
from hfcontrol.kernels import compile_plant
from hfcontrol.network.architecture import Architecture
from hfcontrol.network.network import Network
from hfcontrol.optim.curvature import GaussNewton
from hfcontrol.plant.limits import ControlLimits
from hfcontrol.plant.registry import load_plant
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.settings import Settings
from hfcontrol.tasks.task import Task, TaskOptions

TIGHT = Estimator("ctpg", 1e-13, 1e-13, slack=1.0)

# Horizon of the linear plant [s].
T = 2.0

CELLS = (
    "tanh",
    "ctrnn",
    "ctrnn_rates",
    "ltc",
    "ltc_tanh",
    "ltc_conductance",
    "rnn_ode",
    "neural_ode",
)


def linear_loop(estimator, trials=3, hidden=(2,), cell="linear", **weights):
    """The regulator's plant under u = W2 (W1 [target, x] + b1) + b2, over 2 s."""
    plant = load_plant("linear")
    kernels = compile_plant(plant)
    task = Task(
        plant,
        kernels,
        None,
        TaskOptions(trials=trials, steps=round(T / plant.dt), **weights),
    )
    network = Network(
        Architecture(hidden, cell, (), ()), task.n_target + plant.ny, plant.nu
    )
    wiring = Wiring(0, 0, ControlLimits.symmetric(np.full(2, np.inf)), plant.taper)
    return ContinuousLoop(
        plant, kernels, network, task.draw(np.random.default_rng(3)), wiring, estimator
    )


def regulator(loop):
    """Weights (P,) of u = -x, with hidden units that copy the state."""
    theta = np.zeros(loop.network.size)
    views = loop.network.views(theta)
    views["W_in_1"][:, 2:] = np.eye(2)
    views["W_1_out"][:] = -np.eye(2)
    return theta


def swing_loop(
    estimator=TIGHT, cell="ctrnn", task="worth", trials=3, space="joint", **architecture
):
    """A plant that uses all of the contract, under one kind of cells."""
    plant = plant_of("swing")
    kernels = compile_plant(plant)
    task = Task(plant, kernels, task, TaskOptions(trials=trials, space=space))
    recurrent = () if cell == "tanh" else (1, 2)
    shape = Architecture((4, 3), cell, (2,), recurrent, **architecture)
    network = Network(shape, task.n_target + plant.ny, plant.nu)
    wiring = Wiring(0, 0, ControlLimits.symmetric(np.array([0.8, np.inf])), plant.taper)
    return ContinuousLoop(
        plant, kernels, network, task.draw(np.random.default_rng(3)), wiring, estimator
    )


def test_weights_by_component_integrate_in_closed_form():
    """x = x0 e^-t under u = -x: integrals of squares are x0^2 (1 - e^-2T) / 2."""
    running, control, final = (0.2, 0.03), (0.01, 0.4), (1.0, 5.0)
    weights = {"running": running, "effort": control, "final": final}
    losses = []
    for options in ({"effort": 0.0, "final": 0.0}, weights):
        loop = linear_loop(TIGHT, **options)
        losses.append(loop.rollout(regulator(loop)).losses)
    # Weights of a step are spread over its dt.
    integral = (np.array(running) + control) / loop.plant.dt * (1 - np.exp(-2 * T)) / 2
    factors = 0.5 * (integral + np.array(final) * np.exp(-2 * T))
    expected = factors @ loop.scenario.x0**2
    np.testing.assert_allclose(losses[1] - losses[0], expected, rtol=1e-10)


def start_of(loop):
    """Random weights (P,), all of them non-zero."""
    theta = loop.network.initial(np.random.default_rng(0))
    return theta + 0.2 * np.random.default_rng(1).standard_normal(theta.size)


@pytest.mark.parametrize(
    "tableau, order",
    [(EULER, 1), (MIDPOINT, 2), (RK4, 4), (STEP5, 5)],
    ids=["euler", "midpoint", "rk4", "step5"],
)
def test_a_step_of_exponential_growth_is_exact_up_to_the_order(tableau, order):
    """Of x' = x, b A^(k-1) 1 = 1 / k!; stage i is at c_i, the sum of its row."""
    a, b, c = tableau
    np.testing.assert_allclose(a.sum(axis=1), c, atol=1e-14)
    powers = [b @ np.linalg.matrix_power(a, k).sum(axis=1) for k in range(order)]
    factorials = np.cumprod(np.arange(1.0, order + 1))
    np.testing.assert_allclose(powers, 1 / factorials, rtol=1e-12)


def test_tableaus_have_their_orders():
    """b . c^k = 1 / (k + 1) up to the order.

    The interpolant ends at the step's end, and the error estimate has order 4.
    """
    a, b, c, e, dense = TSIT5
    np.testing.assert_allclose(a.sum(axis=1), c, atol=1e-14)
    np.testing.assert_allclose(
        [b @ c**k for k in range(5)], 1 / np.arange(1, 6), rtol=1e-13
    )
    np.testing.assert_allclose([e @ c**k for k in range(4)], 0, atol=1e-13)
    np.testing.assert_allclose(dense.sum(axis=1), b, atol=1e-13)
    p = 0.3
    weights = dense @ p ** np.arange(1, 5)
    np.testing.assert_allclose(
        [weights @ c**k for k in range(4)],
        p ** np.arange(1, 5) / np.arange(1, 5),
        rtol=1e-12,
    )
    np.testing.assert_allclose(
        [RK4[1] @ RK4[2] ** k for k in range(4)], 1 / np.arange(1, 5), rtol=1e-14
    )


@pytest.mark.parametrize(
    "name", ["ctpg", "backsolve", "backsolve_checkpoints", "discrete", "rk4"]
)
def test_gradient_of_the_regulator_has_its_closed_form(name):
    """For u = -x the loss is L = |x0|^2 (1 - e^-2T).

    dL/dx0 = 2 x0 (1 - e^-2T), dL/dW = -2 T e^-2T x0 x0', dL/db = -2 x0 (e^-T - e^-2T).
    """
    loop = linear_loop(
        Estimator(name, 1e-13, 1e-13)
        if name not in FIXED
        else Estimator(name, step=0.002)
    )
    theta, x0 = regulator(loop), loop.scenario.x0
    rollout = loop.rollout(theta)
    g, by_start, back, _ = loop.gradient(rollout)
    np.testing.assert_allclose(
        rollout.losses, (x0**2).sum(axis=0) * (1 - np.exp(-2 * T)), rtol=1e-10
    )
    np.testing.assert_allclose(by_start, 2 * x0 * (1 - np.exp(-2 * T)), atol=1e-10)
    assert (back is None) == (not name.startswith("back")) and (
        back is None or relative(back, x0) < 1e-10
    )
    views = loop.network.views(g)
    np.testing.assert_allclose(
        views["W_1_out"], -2 * T * np.exp(-2 * T) * x0 @ x0.T / 3, atol=1e-10
    )
    np.testing.assert_allclose(
        views["b_out"], -2 * x0.mean(axis=1) * (np.exp(-T) - np.exp(-2 * T)), atol=1e-10
    )


def test_derivatives_of_the_plant_file_replace_differences():
    """The robot's file has derivatives of motion and of observation.

    Without that of motion the gradient is nearly the same.
    """
    given, found = load_plant("diffdrive"), []
    for left_out in ((), ("jacobian",)):
        functions = {
            name: f for name, f in given.functions.items() if name not in left_out
        }
        plant = replace(given, functions=functions)
        task = Task(plant, compile_plant(plant), None, TaskOptions(trials=3, steps=40))
        network = Network(
            Architecture((4, 3), "tanh", (2,), ()), task.n_target + plant.ny, plant.nu
        )
        loop = ContinuousLoop(
            plant,
            task.kernels,
            network,
            task.draw(np.random.default_rng(3)),
            Wiring(0, 0, ControlLimits.symmetric(np.full(2, np.inf)), plant.taper),
            TIGHT,
        )
        found.append(loop.gradient(loop.rollout(start_of(loop))).theta)
    assert 0 < relative(*found) < 1e-9


def test_error_of_the_gradient_falls_with_the_tolerance():
    exact = linear_loop(TIGHT)
    theta = regulator(exact)
    theta += 0.3 * np.random.default_rng(5).standard_normal(theta.size)
    g = exact.gradient(exact.rollout(theta)).theta
    errors = []
    for tolerance in (1e-3, 1e-6, 1e-9, 1e-12):
        loop = linear_loop(Estimator("ctpg", tolerance, tolerance, slack=1.0))
        errors.append(np.linalg.norm(loop.gradient(loop.rollout(theta)).theta - g))
    assert errors[0] < 1e-2 and all(
        later < 0.1 * earlier for earlier, later in pairwise(errors[:-1])
    )
    assert errors[-1] < 1e-11 * np.linalg.norm(g)


def test_fixed_steps_converge_with_their_order():
    exact = linear_loop(TIGHT)
    theta = regulator(exact)
    theta += 0.3 * np.random.default_rng(5).standard_normal(theta.size)
    g = exact.gradient(exact.rollout(theta)).theta
    for name, order in (("euler", 1), ("rk4", 4)):
        errors = []
        for step in (0.1, 0.05):
            loop = linear_loop(Estimator(name, step=step))
            errors.append(np.linalg.norm(loop.gradient(loop.rollout(theta)).theta - g))
        assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.25)


def test_trajectory_agrees_with_scipy():
    """DOP853 on the plant's formulas and on those of the network."""
    loop = swing_loop(cell="ctrnn")
    theta, net, plant, s = start_of(loop), loop.network, loop.plant, loop.scenario
    rollout = loop.rollout(theta)
    dynamics, observe = plant.functions["dynamics"], plant.functions["observe"]
    raw = [p[0, :, 0] for p in net.parameters(theta)[:2]]

    def field(t, z):
        x, states, y = z[:3], np.split(z[3:], [4]), np.zeros(4)
        observe(x, s.params[:, 0], y)
        seen = np.concatenate([s.target[0, :, 0], y])
        W1, W2, W3 = net.matrices(theta)
        f1 = np.tanh(W1 @ np.concatenate([seen, states[0], [1]]))
        f2 = np.tanh(W2 @ np.concatenate([states[0], seen, states[1], [1]]))
        c = W3 @ np.append(states[1], 1)
        u, dx = np.array([0.8 * np.tanh(c[0] / 0.8), c[1]]), np.zeros(3)
        dynamics(x, u, s.params[:, 0], dx)
        rates = [np.logaddexp(0, r) / plant.dt for r in raw]
        return np.concatenate(
            [dx, rates[0] * (f1 - states[0]), rates[1] * (f2 - states[1])]
        )

    times = np.linspace(0, loop.horizon, 29)
    z0 = np.concatenate([s.x0[:, 0], np.zeros(7)])
    other = solve_ivp(
        field, (0, loop.horizon), z0, "DOP853", times, rtol=1e-12, atol=1e-12
    ).y.T
    np.testing.assert_allclose(rollout.at(times)[..., 0], other, atol=2e-9)
    np.testing.assert_allclose(
        rollout.at(times[[0, -1]])[..., 0], other[[0, -1]], atol=1e-11
    )


@pytest.mark.parametrize(
    "settings",
    [
        *({"cell": cell, "learn_start": True} for cell in CELLS),
        {"task": "go", "space": "hand"},
    ],
    ids=[*CELLS, "cost in the hand's space"],
)
def test_gradient_and_adjoint(settings):
    """Of every cell, by differences through new solutions and by the dot product."""
    loop = swing_loop(**settings)
    theta = start_of(loop)
    rollout, v = (
        loop.rollout(theta),
        np.random.default_rng(2).standard_normal(theta.size),
    )
    linear = loop.linearise(rollout)
    moved = [loop.rollout(theta + step * v).loss for step in (2e-4, -2e-4, 1e-4, -1e-4)]
    difference = (4 * (moved[2] - moved[3]) / 2e-4 - (moved[0] - moved[1]) / 4e-4) / 3
    assert linear.gradient @ v == pytest.approx(difference, rel=1e-7)
    dr = linear.jvp(v)
    w = np.random.default_rng(4).standard_normal(dr.size)
    assert w @ dr == pytest.approx(linear.vjp(w) @ v, rel=1e-11)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_agree(name):
    loop = swing_loop(
        Estimator(name, 1e-10, 1e-10)
        if name not in FIXED
        else Estimator(name, step=0.0005)
    )
    exact, theta = swing_loop(), start_of(loop)
    g, found = (
        exact.gradient(exact.rollout(theta)).theta,
        loop.gradient(loop.rollout(theta)).theta,
    )
    assert relative(found, g) < (2e-3 if name == "euler" else 1e-7)


@pytest.mark.parametrize("name", ["ctpg", "ctpg by the midpoint rule", "euler", "rk4"])
def test_products_equal_those_of_the_dense_matrix(name):
    """G is symmetric to 1e-10, positive semi-definite, and J'J / N to 1e-8.

    No eigenvalue is below -1e-12 of the largest entry.
    """
    adaptive = Estimator(
        "ctpg", 1e-8, 1e-8, products="midpoint" if "midpoint" in name else "rk4"
    )
    loop = linear_loop(
        adaptive if "ctpg" in name else Estimator(name, step=0.05), cell="tanh"
    )
    theta = start_of(loop)
    linear = loop.linearise(loop.rollout(theta))
    G, J = GaussNewton(linear), np.array([linear.jvp(e) for e in np.eye(theta.size)]).T
    dense = np.array([G @ e for e in np.eye(theta.size)])
    assert relative(dense, dense.T) < 1e-10
    assert (
        np.linalg.eigvalsh((dense + dense.T) / 2).min() > -1e-12 * np.abs(dense).max()
    )
    assert relative(dense, J.T @ J / loop.trials) < 1e-8


def test_products_are_integrals_of_squared_tangents():
    """G = 1/N sum over trials of the integral of dr' W dr, by Gauss's rule.

    dr are differences of solutions with tight tolerances.
    """
    loop = linear_loop(Estimator("ctpg", 1e-10, 1e-10), cell="tanh")
    exact, theta = linear_loop(TIGHT, cell="tanh"), start_of(loop)
    points, weights = np.polynomial.legendre.leggauss(24)
    times = T / 2 * (points + 1)

    def residuals(at):
        x = exact.rollout(at).at(times)
        views = exact.network.views(at)
        hidden = np.tanh(
            np.einsum("ij,kjn->kin", views["W_in_1"][:, 2:], x) + views["b_1"][:, None]
        )
        u = np.einsum("ij,kjn->kin", views["W_1_out"], hidden) + views["b_out"][:, None]
        return (
            np.concatenate([x, u], axis=1) * np.sqrt(2 * T / 2 * weights)[:, None, None]
        ).ravel()

    J = dense_jacobian(residuals, theta, 1e-4)
    G = GaussNewton(loop.linearise(loop.rollout(theta)))
    dense = np.array([G @ e for e in np.eye(theta.size)])
    assert relative(dense, J.T @ J / loop.trials) < 1e-6


def test_evaluations_are_counted_as_in_the_source():
    """Tsit5 takes 1 + 6 (accepted + rejected) evaluations, Euler one per step."""
    loop = linear_loop(Estimator("euler", step=0.1))
    rollout = loop.rollout(regulator(loop))
    spent = rollout.evaluations + loop.gradient(rollout).evaluations
    assert spent == Evaluations(60, 60, 60)
    assert spent.total == 180 and spent.passes == 120
    loop = linear_loop(Estimator("ctpg", 1e-3, 1e-3))
    rollout = loop.rollout(regulator(loop))
    spent = rollout.evaluations
    assert spent.f >= 3 * (1 + 6 * (len(rollout.paths[0].times) - 1))
    assert spent.f % 3 == 0 and spent.dx == 0
    back = linear_loop(Estimator("backsolve", 1e-3, 1e-3))
    rollout = back.rollout(regulator(back))
    spent = back.gradient(rollout).evaluations
    assert spent.f == spent.dx == spent.dtheta > 0 == rollout.evaluations.dx


def test_gradient_does_not_depend_on_blocks_and_threads():
    found = []
    for threads in (1, 2):
        with limited_threads(threads):
            loop = linear_loop(Estimator("ctpg", 1e-6, 1e-6, block_size=2), trials=7)
            theta = regulator(loop) + 0.1
            found.append(loop.gradient(loop.rollout(theta)).theta)
    assert found[0].tobytes() == found[1].tobytes()
    one = linear_loop(Estimator("ctpg", 1e-11, 1e-11, block_size=7), trials=7)
    assert relative(found[0], one.gradient(one.rollout(theta)).theta) < 1e-4


def test_hessian_free_finds_the_optimal_gain():
    """u = -k x costs |x0|^2 (1 + k^2) (1 - e^-2kT) / 2k.

    A law with a gain in each direction, and a constant, can be slightly better on 8
    initial states.
    """
    trainer = make_trainer(
        Settings(
            plant="linear",
            estimator="ctpg",
            trials=8,
            steps=40,
            hidden=(2,),
            cell="linear",
            recurrent=(),
            rollouts=25,
        )
    )
    theta = trainer.network.initial(np.random.default_rng(0))
    *_, last = trainer.run(trainer.init(theta, np.random.default_rng(1)))
    best = minimize_scalar(
        lambda k: (1 + k * k) * (1 - np.exp(-2 * k * T)) / (2 * k), (0.5, 1.0)
    ).fun
    x0 = last.loop.scenario.x0
    assert 0.98 < last.state.loss / (best * np.mean((x0**2).sum(axis=0))) <= 1 + 1e-6


def test_resumed_training_equals_the_uninterrupted_one():
    settings = {
        "task": "go",
        "estimator": "ctpg",
        "cell": "ctrnn",
        "batches": 3,
        "solver": "cg",
    }
    trainer, state = training_of(**settings, rollouts=40)
    whole = list(trainer.run(state))[-1].state
    trainer, state = training_of(**settings, rollouts=12)
    half = list(trainer.run(state))[-1].state
    trainer, _ = training_of(**settings, rollouts=40)
    assert bits(list(trainer.run(half))[-1].state) == bits(whole)


def test_failure_of_the_solver_says_where_it_gave_up():
    loop = linear_loop(Estimator("ctpg", 1e-9, 1e-9, max_steps=5))
    rollout = loop.rollout(regulator(loop))
    assert rollout.loss == np.inf
    assert (
        "took 5 steps and gave up at" in rollout.failure
        and "state first" in rollout.failure
        and "step" in rollout.failure
    )
    trainer = make_trainer(
        Settings(
            plant="linear",
            estimator="ctpg",
            steps=40,
            hidden=(2,),
            cell="linear",
            recurrent=(),
        )
    )
    trainer.estimator = replace(trainer.estimator, max_steps=3)
    with pytest.raises(TrainingError, match=r"gave up at .* of 2 s, state first"):
        list(
            trainer.run(
                trainer.init(
                    np.zeros(trainer.network.size) + 0.1, np.random.default_rng(0)
                )
            )
        )


@pytest.mark.parametrize(
    "plant, settings, message",
    [
        ("cart", {}, "plant cart is known by its control steps alone"),
        ("swing", {"feedback_delay": 1}, "delays are of whole control steps"),
        ("swing", {"sensory_noise": 0.1}, "drawn for every control step"),
        (
            "swing",
            {"recurrent": "all"},
            "`cell` tanh with recurrent connections has no meaning between",
        ),
        (
            "swing",
            {"cell": "cfc"},
            "`estimator` with `cell` cfc: it has no differential equation",
        ),
        ("swing", {"task": "follow"}, "weighs differently at different times"),
        (
            "swing",
            {"estimator": "euler", "cell": "ctrnn", "time_constants": "20ms..1s"},
            "euler in steps of 100 ms is unstable there",
        ),
    ],
)
def test_what_has_no_meaning_in_continuous_time_is_refused(plant, settings, message):
    with pytest.raises(UsageError, match=message):
        trainer, state = training_of(
            plant, **{"estimator": "ctpg", "recurrent": (), **settings}
        )
        next(iter(trainer.run(state)))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"estimator": "magic"}, "`estimator` magic: must be ctpg"),
        ({"rtol": 1e-3}, "`rtol` 0.001: applies only with an `estimator`"),
        (
            {"estimator": "ctpg", "rtol": -1.0},
            "`rtol` -1.0: must be a finite number above 0",
        ),
        (
            {"estimator": "ctpg", "solver_step": 0.01},
            "applies only with `estimator` euler or rk4",
        ),
        (
            {"estimator": "rk4", "solver_step": "soon"},
            "`solver_step` soon: must be seconds such as",
        ),
        ({"estimator": "ctpg", "hold": "model"}, "`hold` model with `estimator`"),
        ({"estimator": "ctpg", "guide": 3}, "`guide` 3 with `estimator`"),
        (
            {"estimator": "ctpg", "solver": "residual"},
            "`solver` residual with `estimator`",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        Settings(**settings)
