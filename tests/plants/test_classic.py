"""The linear system, the pendulum and the acrobot.

They are compared with closed forms and the equations of their sources, and balanced.
"""

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

A = np.array([[0.3, -1.1], [0.7, -0.4]])
B = np.array([[1.2, 0.5], [-0.3, 0.8]])
COEFFICIENTS = {
    f"{name}{i + 1}{j + 1}": float(matrix[i, j])
    for name, matrix in (("a", A), ("b", B))
    for i in range(2)
    for j in range(2)
}
COSTS = {"q1": 1.5, "q2": 0.5, "r1": 0.3, "r2": 2.0}


def test_linear_system_converges_to_its_matrix_exponential_with_order_four():
    plant = with_params(load_plant("linear"), COEFFICIENTS)
    x0 = np.array([0.8, -0.5])
    u = np.array([0.4, -1.0])
    generator = np.block([[A, B], [np.zeros((2, 4))]])
    exact = (expm(2.0 * generator) @ [*x0, *u])[:2]
    errors = []
    for steps in (20, 40):
        kernels = compile_plant(replace(plant, dt=2.0 / steps))
        held = np.tile(u[:, None], (steps, 1, 1))
        still = np.zeros((steps, 2, 1))
        x = kernels.simulate(x0[:, None], held, params_of(plant, 1), still, plant.taper)
        errors.append(np.linalg.norm(x[-1, :, 0] - exact))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.2)


def test_cost_of_linear_system_equals_the_geometric_series_of_its_regulator(rng):
    plant = with_params(load_plant("linear"), COSTS)
    kernels = compile_plant(plant)
    shrink = 1 - plant.dt  # of one step under u = -x
    scenario = Task(plant, kernels, "stabilise", TaskOptions(trials=5)).draw(rng)
    x = scenario.x0 * shrink ** np.arange(scenario.steps + 1)[:, None, None]
    u = -x[:-1]
    still = np.zeros((scenario.steps, 2, 5))
    simulated = kernels.simulate(x[0], u, scenario.params, still, plant.taper)
    np.testing.assert_allclose(simulated, x, rtol=1e-12)

    q = np.array([[COSTS["q1"]], [COSTS["q2"]]])
    r = np.array([[COSTS["r1"]], [COSTS["r2"]]])
    end = shrink ** (2 * scenario.steps)
    series = plant.dt * ((q + r) * (1 - end) / (1 - shrink**2) + q * end)
    expected = (series * scenario.x0**2).sum(axis=0)
    np.testing.assert_allclose(scenario.cost.losses(x, u), expected, rtol=1e-12)


def test_cost_of_linear_system_converges_to_the_integral(rng):
    plant = load_plant("linear")
    kernels = compile_plant(plant)
    x0 = Task(plant, kernels, "stabilise", TaskOptions(trials=5)).draw(rng).x0
    # Of |x|^2 + |u|^2 over 5 s, with x = x0 exp(-t) and u = -x.
    integral = (x0**2).sum(axis=0) * (1 - math.exp(-10.0))
    errors = []
    for refined in (1, 2):
        options = TaskOptions(trials=5, steps=100 * refined)
        scenario = Task(plant, kernels, "stabilise", options).draw(rng)
        times = plant.dt / refined * np.arange(scenario.steps + 1)
        x = x0 * np.exp(-times)[:, None, None]
        cost = scenario.cost.losses(x, -x[:-1]) / refined
        errors.append(np.abs(cost / integral - 1).max())
    assert np.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.1)
    assert errors[0] < 0.1


def test_linear_system_has_new_starts_in_every_scenario(rng):
    plant = load_plant("linear")
    task = Task(plant, compile_plant(plant))
    first = task.draw(rng).x0
    second = task.draw(rng).x0
    assert task.random and not np.isclose(first, second).any()


# Energy and period.


def rods(plant):
    """Mass, length, distance of the centre, and inertia about it, by link."""
    p = plant.params
    if plant.nx == 2:
        return [(p["mass"], p["length"], p["length"], 0.0)]
    numbers = ("mass", "length", "centre", "inertia")
    upper = tuple(p[f"upper_{number}"] for number in numbers)
    lower = tuple(p[f"lower_{number}"] for number in numbers)
    return [upper, lower]


def energy(plant, x):
    """Energy of the plant, from the motion of its links; x may be complex."""
    n = len(x) // 2
    gravity = plant.params["gravity"]
    joint = np.zeros(2)
    joint_rate = np.zeros(2)
    total = 0.0
    links = zip(np.cumsum(x[:n]), np.cumsum(x[n:]), rods(plant), strict=True)
    for angle, rate, (mass, length, centre, inertia) in links:
        along = np.array([np.sin(angle), -np.cos(angle)])
        across = np.array([np.cos(angle), np.sin(angle)])
        velocity = joint_rate + centre * rate * across
        height = (joint + centre * along)[1]
        kinetic = 0.5 * mass * (velocity**2).sum() + 0.5 * inertia * rate**2
        total = total + kinetic + mass * gravity * height
        joint = joint + length * along
        joint_rate = joint_rate + length * rate * across
    return total


@pytest.mark.parametrize(
    "name, params",
    [
        ("pendulum", {"friction": 0.3, "mass": 1.7, "length": 0.6}),
        ("acrobot", {"lower_mass": 1.7, "upper_length": 0.6, "lower_centre": 0.3}),
    ],
)
def test_energy_changes_by_motor_power_less_friction(name, params, rng):
    plant = with_params(load_plant(name), params)
    friction = params.get("friction", 0.0)
    states = rng.standard_normal((20, plant.nx))
    for x, u in zip(states, rng.standard_normal((20, 1)), strict=True):
        gradient = complex_jacobian(lambda v: np.array([energy(plant, v)]), x)[0]
        power = u[0] * x[-1] - friction * x[-1] ** 2  # the motor turns the last joint
        change = gradient @ rates_of(plant, x, u)
        assert change == pytest.approx(power, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize(
    "name, start", [("pendulum", (2.0, 1.0)), ("acrobot", (1.5, -1.0, 0.5, 2.0))]
)
def test_drift_of_free_energy_has_the_order_of_the_integrator(name, start):
    plant = load_plant(name)
    start = np.array(start)
    steps = np.array([40, 80, 160])
    ends = [step_without_control(replace(plant, dt=1.0 / n), start, n) for n in steps]
    drift = np.abs([energy(plant, x) - energy(plant, start) for x in ends])
    slope = np.polyfit(np.log(1 / steps), np.log(drift), 1)[0]
    assert slope == pytest.approx(4, abs=0.3)


@pytest.mark.parametrize("height", [0.05, 1.0, 2.5])
def test_pendulum_returns_after_its_period(height):
    plant = load_plant("pendulum")
    start = np.array([height, 0.0])
    natural = math.sqrt(plant.params["length"] / plant.params["gravity"])
    period = 4 * natural * ellipk(math.sin(height / 2) ** 2)
    errors = []
    for steps in (400, 800):
        end = step_without_control(replace(plant, dt=period / steps), start, steps)
        errors.append(np.linalg.norm(end - start))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.3)
    assert errors[1] < 1e-5


# The acrobot.


def sutton_and_barto(x, torque, p):
    """Accelerations of the acrobot as the book writes them; `p` is a dict."""
    m1 = p["upper_mass"]
    m2 = p["lower_mass"]
    l1 = p["upper_length"]
    c1 = p["upper_centre"]
    c2 = p["lower_centre"]
    i1 = p["upper_inertia"]
    i2 = p["lower_inertia"]
    g = p["gravity"]
    d1 = m1 * c1**2 + m2 * (l1**2 + c2**2 + 2 * l1 * c2 * math.cos(x[1])) + i1 + i2
    d2 = m2 * (c2**2 + l1 * c2 * math.cos(x[1])) + i2
    phi2 = m2 * c2 * g * math.cos(x[0] + x[1] - math.pi / 2)
    coriolis = -m2 * l1 * c2 * math.sin(x[1]) * (x[3] ** 2 + 2 * x[3] * x[2])
    weight = (m1 * c1 + m2 * l1) * g * math.cos(x[0] - math.pi / 2)
    phi1 = coriolis + phi2 + weight
    centrifugal = m2 * l1 * c2 * x[2] ** 2 * math.sin(x[1])
    force = torque + d2 / d1 * phi1 - centrifugal - phi2
    lower = force / (m2 * c2**2 + i2 - d2**2 / d1)
    return -(d2 * lower + phi1) / d1, lower


def test_acrobot_follows_the_equations_of_its_source(rng):
    plant = load_plant("acrobot")
    states = rng.standard_normal((20, 4))
    for x, u in zip(states, rng.standard_normal((20, 1)), strict=True):
        found = rates_of(plant, x, u)[2:]
        expected = sutton_and_barto(x, u[0], plant.params)
        np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_acrobot_of_two_rods_without_gravity_equals_arm2(rng):
    arm = load_plant("arm2")
    params = {"gravity": 0.0}
    for name in ("upper", "lower"):
        mass = arm.params[f"{name}_mass"]
        length = arm.params[f"{name}_length"]
        params |= {
            f"{name}_mass": mass,
            f"{name}_length": length,
            f"{name}_centre": length / 2,
            f"{name}_inertia": mass * length**2 / 12,
        }
    plant = with_params(load_plant("acrobot"), params)
    states = rng.standard_normal((20, 4))
    for x, u in zip(states, rng.standard_normal((20, 1)), strict=True):
        expected = rates_of(arm, x, [0.0, u[0]])
        np.testing.assert_allclose(rates_of(plant, x, u), expected, rtol=1e-10)


# Tasks.


@pytest.mark.parametrize("name", SWINGS)
def test_swing_up_costs_the_squared_distance_from_upright_after_any_turn(name, rng):
    plant = load_plant(name)
    task = plant.tasks["swing_up"]
    n = plant.nx // 2

    def squares(x):
        r = [None] * len(task["residuals"])
        task["residual"](x, [0.0], None, list(plant.params.values()), r)
        return np.square(r)

    for x in 3 * rng.standard_normal((10, plant.nx)):
        leans = 2 * (1 + np.cos(np.cumsum(x[:n])))
        expected = leans.sum() + (x[n:] ** 2).sum()
        np.testing.assert_allclose(squares(x).sum(), expected, rtol=1e-12)
        turned = x + 2 * math.pi * np.eye(plant.nx)[0]
        np.testing.assert_allclose(squares(turned), squares(x), atol=1e-12)
    assert squares(np.array(task["target"])) == pytest.approx(0.0, abs=1e-30)


@pytest.mark.parametrize("name", SWINGS)
def test_swing_up_succeeds_only_upright_and_at_rest_after_any_turn(name):
    task = load_plant(name).tasks["swing_up"]
    up = np.array(task["target"])[:, None]
    first = np.eye(len(up))[:, :1]
    last = np.eye(len(up))[:, -1:]
    for good in (up, up - 2 * math.pi * first, up + 4 * math.pi * first):
        assert task["success"](good, up).all()
    for bad in (0 * up, up + first, up + last):
        assert not task["success"](bad, up).any()


def test_motor_of_pendulum_holds_half_the_torque_of_a_level_rod():
    plant = load_plant("pendulum")
    p = plant.params
    assert plant.limit[1] == pytest.approx(p["mass"] * p["gravity"] * p["length"] / 2)
    level = rates_of(plant, [math.pi / 2, 0.0], plant.limit[1])
    lower = rates_of(plant, [math.pi / 6.1, 0.0], plant.limit[1])
    assert level[1] < 0 < lower[1]


@pytest.mark.parametrize("name", SWINGS)
def test_linear_regulator_balances_every_start_within_the_limit_of_the_motor(name, rng):
    plant = load_plant(name)
    kernels = compile_plant(plant)
    task = Task(plant, kernels, "balance")
    scenario = task.draw(rng)
    top = np.array(task.numbers["target"])[:, None]
    u = np.zeros((1, 1, 1))
    F, G = (J[0, :, :, 0] for J in kernels.jacobians(top[None], u, params_of(plant, 1)))
    P = solve_discrete_are(F, G, np.eye(plant.nx), 0.1 * np.eye(1))
    gain = np.linalg.solve(0.1 + G.T @ P @ G, G.T @ P @ F)
    x = scenario.x0
    for _ in range(scenario.steps):
        u = plant.limit[1] * np.tanh(-gain @ (x - top) / plant.limit[1])
        x = kernels.step(x, u, scenario.params)
    np.testing.assert_allclose(x, np.broadcast_to(top, x.shape), atol=0.1)
