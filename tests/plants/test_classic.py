"""The linear system, the pendulum and the acrobot against closed forms, against the sources' equations, and in balance."""

import math
from dataclasses import replace

import numpy as np
import pytest
from plant_steps import complex_jacobian, params_of, step_without_control
from scipy.linalg import expm, solve_discrete_are
from scipy.special import ellipk

from hfcontrol.kernels import compile_plant
from hfcontrol.plant.modifiers import with_params
from hfcontrol.plant.registry import load_plant
from hfcontrol.tasks.task import Task, TaskOptions

SWINGS = ("pendulum", "acrobot")


def rates_of(plant, x, u):
    """dx/dt (nx,) by the plant's own dynamics."""
    dx = [None] * plant.nx
    plant.functions["dynamics"](x, u, list(plant.params.values()), dx)
    return np.array(dx)


# The linear system.

A, B = np.array([[0.3, -1.1], [0.7, -0.4]]), np.array([[1.2, 0.5], [-0.3, 0.8]])
COEFFICIENTS = {
    f"{name}{i + 1}{j + 1}": float(matrix[i, j])
    for name, matrix in (("a", A), ("b", B))
    for i in range(2)
    for j in range(2)
}
COSTS = {"q1": 1.5, "q2": 0.5, "r1": 0.3, "r2": 2.0}


def test_the_linear_system_converges_to_its_matrix_exponential_with_order_four():
    plant, x0, u = (
        with_params(load_plant("linear"), COEFFICIENTS),
        np.array([0.8, -0.5]),
        np.array([0.4, -1.0]),
    )
    exact = (expm(2.0 * np.block([[A, B], [np.zeros((2, 4))]])) @ [*x0, *u])[:2]
    errors = []
    for steps in (20, 40):
        kernels = compile_plant(replace(plant, dt=2.0 / steps))
        held, still = np.tile(u[:, None], (steps, 1, 1)), np.zeros((steps, 2, 1))
        x = kernels.simulate(x0[:, None], held, params_of(plant, 1), still, plant.taper)
        errors.append(np.linalg.norm(x[-1, :, 0] - exact))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.2)


def test_the_cost_of_the_linear_system_is_the_geometric_series_of_its_regulator(rng):
    plant = with_params(load_plant("linear"), COSTS)
    kernels, shrink = compile_plant(plant), 1 - plant.dt  # of one step under u = -x
    scenario = Task(plant, kernels, "stabilise", TaskOptions(trials=5)).draw(rng)
    x = scenario.x0 * shrink ** np.arange(scenario.steps + 1)[:, None, None]
    still = np.zeros((scenario.steps, 2, 5))
    np.testing.assert_allclose(
        kernels.simulate(x[0], -x[:-1], scenario.params, still, plant.taper),
        x,
        rtol=1e-12,
    )
    q, r = (
        np.array([[COSTS["q1"]], [COSTS["q2"]]]),
        np.array([[COSTS["r1"]], [COSTS["r2"]]]),
    )
    end = shrink ** (2 * scenario.steps)
    series = plant.dt * ((q + r) * (1 - end) / (1 - shrink**2) + q * end)
    np.testing.assert_allclose(
        scenario.cost.losses(x, -x[:-1]),
        (series * scenario.x0**2).sum(axis=0),
        rtol=1e-12,
    )


def test_the_cost_of_the_linear_system_tends_to_the_integral(rng):
    errors, plant = [], load_plant("linear")
    x0 = (
        Task(plant, compile_plant(plant), "stabilise", TaskOptions(trials=5))
        .draw(rng)
        .x0
    )
    integral = (x0**2).sum(axis=0) * (
        1 - math.exp(-10.0)
    )  # of |x|^2 + |u|^2 over 5 s, x = x0 exp(-t), u = -x
    for refined in (1, 2):
        scenario = Task(
            plant,
            compile_plant(plant),
            "stabilise",
            TaskOptions(trials=5, steps=100 * refined),
        ).draw(rng)
        x = (
            x0
            * np.exp(-plant.dt / refined * np.arange(scenario.steps + 1))[:, None, None]
        )
        errors.append(
            np.abs(scenario.cost.losses(x, -x[:-1]) / refined / integral - 1).max()
        )
    assert (
        np.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.1) and errors[0] < 0.1
    )


def test_the_linear_system_starts_anew_in_every_scenario(rng):
    plant = load_plant("linear")
    task = Task(plant, compile_plant(plant))
    first, second = (task.draw(rng).x0 for _ in range(2))
    assert task.random and not np.isclose(first, second).any()


# Energy and period.


def energy(plant, x):
    """Energy of the pendulum or the acrobot, from the motion of its links; x may be complex."""
    p, n = plant.params, len(x) // 2
    if n == 1:
        links = [(p["mass"], p["length"], p["length"], 0.0)]
    else:
        numbers = ("mass", "length", "centre", "inertia")
        links = [
            tuple(p[f"{name}_{number}"] for number in numbers)
            for name in ("upper", "lower")
        ]
    joint, joint_rate, total = np.zeros(2), np.zeros(2), 0.0
    for angle, rate, (mass, length, centre, inertia) in zip(
        np.cumsum(x[:n]), np.cumsum(x[n:]), links
    ):
        along, across = (
            np.array([np.sin(angle), -np.cos(angle)]),
            np.array([np.cos(angle), np.sin(angle)]),
        )
        velocity = joint_rate + centre * rate * across
        height = (joint + centre * along)[1]
        total = (
            total
            + 0.5 * mass * (velocity**2).sum()
            + 0.5 * inertia * rate**2
            + mass * p["gravity"] * height
        )
        joint, joint_rate = joint + length * along, joint_rate + length * rate * across
    return total


@pytest.mark.parametrize(
    "name, params",
    [
        ("pendulum", {"friction": 0.3, "mass": 1.7, "length": 0.6}),
        ("acrobot", {"lower_mass": 1.7, "upper_length": 0.6, "lower_centre": 0.3}),
    ],
)
def test_energy_grows_by_the_motors_power_less_friction(name, params, rng):
    plant = with_params(load_plant(name), params)
    for x, u in zip(rng.standard_normal((20, plant.nx)), rng.standard_normal((20, 1))):
        gradient = complex_jacobian(lambda v: np.array([energy(plant, v)]), x)[0]
        power = (
            u[0] * x[-1] - params.get("friction", 0.0) * x[-1] ** 2
        )  # the motor turns the last joint
        assert gradient @ rates_of(plant, x, u) == pytest.approx(
            power, rel=1e-10, abs=1e-10
        )


@pytest.mark.parametrize(
    "name, start", [("pendulum", (2.0, 1.0)), ("acrobot", (1.5, -1.0, 0.5, 2.0))]
)
def test_energy_left_alone_drifts_with_the_order_of_the_integrator(name, start):
    plant, start, steps = load_plant(name), np.array(start), np.array([40, 80, 160])
    ends = [step_without_control(replace(plant, dt=1.0 / n), start, n) for n in steps]
    drift = np.abs([energy(plant, x) - energy(plant, start) for x in ends])
    assert np.polyfit(np.log(1 / steps), np.log(drift), 1)[0] == pytest.approx(
        4, abs=0.3
    )


@pytest.mark.parametrize("height", [0.05, 1.0, 2.5])
def test_the_pendulum_returns_after_its_period(height):
    plant, start, errors = load_plant("pendulum"), np.array([height, 0.0]), []
    period = (
        4
        * math.sqrt(plant.params["length"] / plant.params["gravity"])
        * ellipk(math.sin(height / 2) ** 2)
    )
    for steps in (400, 800):
        errors.append(
            np.linalg.norm(
                step_without_control(replace(plant, dt=period / steps), start, steps) - start
            )
        )
    assert (
        np.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.3) and errors[1] < 1e-5
    )


# The acrobot.


def sutton_and_barto(x, torque, p):
    """Accelerations of the acrobot as the book writes them, from `p`, a dict."""
    m2, l1, c2 = p["lower_mass"], p["upper_length"], p["lower_centre"]
    d1 = (
        p["upper_mass"] * p["upper_centre"] ** 2
        + m2 * (l1**2 + c2**2 + 2 * l1 * c2 * math.cos(x[1]))
        + p["upper_inertia"]
        + p["lower_inertia"]
    )
    d2 = m2 * (c2**2 + l1 * c2 * math.cos(x[1])) + p["lower_inertia"]
    phi2 = m2 * c2 * p["gravity"] * math.cos(x[0] + x[1] - math.pi / 2)
    phi1 = (
        -m2 * l1 * c2 * math.sin(x[1]) * (x[3] ** 2 + 2 * x[3] * x[2])
        + phi2
        + (p["upper_mass"] * p["upper_centre"] + m2 * l1)
        * p["gravity"]
        * math.cos(x[0] - math.pi / 2)
    )
    lower = (
        torque + d2 / d1 * phi1 - m2 * l1 * c2 * x[2] ** 2 * math.sin(x[1]) - phi2
    ) / (m2 * c2**2 + p["lower_inertia"] - d2**2 / d1)
    return -(d2 * lower + phi1) / d1, lower


def test_the_acrobot_follows_the_equations_of_its_source(rng):
    plant = load_plant("acrobot")
    for x, u in zip(rng.standard_normal((20, 4)), rng.standard_normal((20, 1))):
        np.testing.assert_allclose(
            rates_of(plant, x, u)[2:],
            sutton_and_barto(x, u[0], plant.params),
            rtol=1e-10,
        )


def test_the_acrobot_of_two_rods_without_gravity_is_arm2(rng):
    arm, rods = load_plant("arm2"), {"gravity": 0.0}
    for name in ("upper", "lower"):
        mass, length = arm.params[f"{name}_mass"], arm.params[f"{name}_length"]
        rods |= {
            f"{name}_mass": mass,
            f"{name}_length": length,
            f"{name}_centre": length / 2,
            f"{name}_inertia": mass * length**2 / 12,
        }
    plant = with_params(load_plant("acrobot"), rods)
    for x, u in zip(rng.standard_normal((20, 4)), rng.standard_normal((20, 1))):
        np.testing.assert_allclose(
            rates_of(plant, x, u), rates_of(arm, x, [0.0, u[0]]), rtol=1e-10
        )


# Tasks.


@pytest.mark.parametrize("name", SWINGS)
def test_a_swing_costs_the_squared_distance_from_upright_whichever_way_it_came_up(
    name, rng
):
    plant = load_plant(name)
    task = plant.tasks["swing_up"]
    n = plant.nx // 2

    def squares(x):
        r = [None] * len(task["residuals"])
        task["residual"](x, [0.0], None, list(plant.params.values()), r)
        return np.square(r)

    for x in 3 * rng.standard_normal((10, plant.nx)):
        leans = 2 * (1 + np.cos(np.cumsum(x[:n])))
        np.testing.assert_allclose(
            squares(x).sum(), leans.sum() + (x[n:] ** 2).sum(), rtol=1e-12
        )
        turned = x + 2 * math.pi * np.eye(plant.nx)[0]
        np.testing.assert_allclose(squares(turned), squares(x), atol=1e-12)
    assert squares(np.array(task["target"])) == pytest.approx(0.0, abs=1e-30)


@pytest.mark.parametrize("name", SWINGS)
def test_swings_succeed_upright_after_any_turn_and_at_rest_alone(name):
    task = load_plant(name).tasks["swing_up"]
    up, first = np.array(task["target"])[:, None], np.eye(len(task["target"]))[:, :1]
    for good in (up, up - 2 * math.pi * first, up + 4 * math.pi * first):
        assert task["success"](good, up).all()
    for bad in (0 * up, up + first, up + np.eye(len(up))[:, -1:]):
        assert not task["success"](bad, up).any()


def test_the_pendulums_motor_holds_half_of_what_a_level_rod_weighs():
    plant = load_plant("pendulum")
    p = plant.params
    assert plant.limit == pytest.approx(p["mass"] * p["gravity"] * p["length"] / 2)
    assert (
        rates_of(plant, [math.pi / 2, 0.0], plant.limit)[1]
        < 0
        < rates_of(plant, [math.pi / 6.1, 0.0], plant.limit)[1]
    )


@pytest.mark.parametrize("name", SWINGS)
def test_a_linear_regulator_balances_from_every_start_within_the_motors_limit(
    name, rng
):
    plant = load_plant(name)
    kernels = compile_plant(plant)
    task = Task(plant, kernels, "balance")
    scenario, top = task.draw(rng), np.array(task.numbers["target"])[:, None]
    u = np.zeros((1, 1, 1))
    F, G = (J[0, :, :, 0] for J in kernels.jacobians(top[None], u, params_of(plant, 1)))
    P = solve_discrete_are(F, G, np.eye(plant.nx), 0.1 * np.eye(1))
    gain, x = np.linalg.solve(0.1 + G.T @ P @ G, G.T @ P @ F), scenario.x0
    for _ in range(scenario.steps):
        x = kernels.step(
            x, plant.limit * np.tanh(-gain @ (x - top) / plant.limit), scenario.params
        )
    np.testing.assert_allclose(x, np.broadcast_to(top, x.shape), atol=0.1)
