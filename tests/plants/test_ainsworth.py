"""The plants of Ainsworth et al. (L4DC 2021) obey mechanics and their files' claims.

The paper is "Faster Policy Learning with Continuous-Time Gradients". The plants are
compared with mechanics, closed forms and exact solutions.
"""

import math

import numpy as np
import pytest
from helpers import plant_of
from scipy.integrate import solve_ivp

from hfcontrol.kernels import compile_plant
from hfcontrol.tasks.task import Task

PLANTS = ("cartpole", "diffdrive", "electric", "quadrotor")
TASKS = [(name, task) for name in PLANTS for task in plant_of(name).tasks]
COMPLEX_STEP = 1e-30
HOVERING = (29.4, 0.0, 0.0, 0.0)  # thrust [N] and torques [N m]


def parameters(name, **changed):
    """The plant's parameters as a list, some of them changed."""
    return list({**plant_of(name).params, **changed}.values())


def rates(name, x, u, p=None):
    """The plant's dynamics as plain Python: dx (nx,)."""
    dx = [None] * plant_of(name).nx
    plant_of(name).functions["dynamics"](x, u, p or parameters(name), dx)
    return np.array(dx)


def derivative_along(f, x, dx):
    """Derivative of f at x along dx by the complex step; f takes a complex array."""
    return np.imag(f(x + 1j * COMPLEX_STEP * dx)) / COMPLEX_STEP


def simulate(name, x0, u, p=None):
    """States (T+1, nx) of one trial from x0 (nx,) under the controls u (T, nu)."""
    plant = plant_of(name)
    p = np.array(p or parameters(name))[:, None]
    nothing = np.zeros((len(u), plant.nx, 1))
    kernels = compile_plant(plant)
    x = kernels.simulate(x0[:, None], u[:, :, None], p, nothing, plant.taper)
    return x[:, :, 0]


def draw_scenario(name, task, trials=200):
    """A scenario of a task."""
    plant = plant_of(name)
    rng = np.random.default_rng(0)
    return Task(plant, compile_plant(plant), task).draw(rng, trials=trials)


# Cartpole: energy and horizontal momentum of cart and pole, from the motion of the
# pole's centre of mass.


def cartpole_motion(x, p):
    """Energy and horizontal momentum at a state (4,), which may be complex."""
    cart, pole, length, inertia, gravity = p[:5]
    sine = np.sin(x[1])
    cosine = np.cos(x[1])
    velocity = np.array([x[2] + length * cosine * x[3], -length * sine * x[3]])
    own = inertia - pole * length**2
    kinetic = 0.5 * (cart * x[2] ** 2 + pole * (velocity**2).sum() + own * x[3] ** 2)
    potential = pole * gravity * length * cosine
    return np.array([kinetic + potential, cart * x[2] + pole * velocity[0]])


def test_energy_of_cartpole_changes_by_power_and_momentum_by_force(rng):
    p = parameters("cartpole", cart_damping=0.7, pole_damping=0.03)
    states = rng.standard_normal((20, 4))
    for x, u in zip(states, rng.uniform(-1, 1, (20, 1)), strict=True):
        force = p[5] * u[0] - p[6] * x[2]
        power = force * x[2] - p[7] * x[3] ** 2
        dx = rates("cartpole", x, u, p)
        change = derivative_along(lambda v: cartpole_motion(v, p), x, dx)
        assert change == pytest.approx([power, force], rel=1e-10, abs=1e-10)


def test_cartpole_solves_its_mass_matrix(rng):
    p = parameters("cartpole")
    moment = p[1] * p[2]
    states = rng.standard_normal((20, 4))
    for x, u in zip(states, rng.uniform(-1, 1, (20, 1)), strict=True):
        coupling = moment * np.cos(x[1])
        mass = np.array([[p[0] + p[1], coupling], [coupling, p[3]]])
        force = p[5] * u[0] - p[6] * x[2] + moment * np.sin(x[1]) * x[3] ** 2
        torque = moment * p[4] * np.sin(x[1]) - p[7] * x[3]
        expected = [*x[2:], *np.linalg.solve(mass, [force, torque])]
        np.testing.assert_allclose(rates("cartpole", x, u), expected, rtol=1e-10)


def test_inertia_of_the_pole_is_that_of_a_capsule():
    """A cylinder 1 m long with a half ball at both ends, disc by disc, at the hinge."""
    radius = 0.045
    p = plant_of("cartpole").params
    nodes, weights = np.polynomial.legendre.leggauss(20)

    volume = 0.0
    moment = 0.0
    for low, high in ((-radius, 0.0), (0.0, 1.0), (1.0, 1.0 + radius)):
        height = (low + high) / 2 + (high - low) / 2 * nodes
        width = (high - low) / 2 * weights
        outside = np.maximum(-height, 0.0) + np.maximum(height - 1.0, 0.0)
        squared = radius**2 - outside**2
        volume += np.sum(width * squared)
        moment += np.sum(width * squared * (squared / 4 + height**2))
    expected = p["pole_mass"] * moment / volume
    assert p["pole_inertia"] == pytest.approx(expected, rel=1e-8)
    assert p["pole_centre"] == pytest.approx(0.5)


def test_mirror_image_of_cartpole_has_the_same_dynamics(rng):
    states = rng.standard_normal((10, 4)) * (5, 1, 1, 1)
    for x, u in zip(states, rng.uniform(-1, 1, (10, 1)), strict=True):
        mirrored = -rates("cartpole", -x, -u)
        np.testing.assert_allclose(mirrored, rates("cartpole", x, u), rtol=1e-12)


@pytest.mark.parametrize("speed", [1.0, 3.0, 9.0])
def test_wall_stops_the_cart_and_takes_energy(speed):
    p = parameters(
        "cartpole",
        pole_mass=1e-9,
        pole_inertia=1e-9,
        cart_damping=0.0,
        pole_damping=0.0,
    )
    start = np.array([4.7, 0.0, speed, 0.0])
    path = simulate("cartpole", start, np.zeros((50, 1)), p)
    rail, stiffness, damping = p[8:]
    # No deeper than without damping.
    assert rail < path[:, 0].max() < rail + speed / math.sqrt(stiffness)
    assert 0 < -path[-1, 2] < min(speed, 1 / damping)


def test_force_of_the_wall_starts_from_zero():
    rail = plant_of("cartpole").params["rail"]
    inside = rates("cartpole", np.array([rail - 1e-9, 0.3, 5.0, 0.1]), [0.4])
    outside = rates("cartpole", np.array([rail + 1e-9, 0.3, 5.0, 0.1]), [0.4])
    np.testing.assert_allclose(inside, outside, rtol=1e-5)


# Differential drive: at constant wheel speeds it drives in a circle.


@pytest.mark.parametrize(
    "left, right", [(1.0, 3.0), (4.0, -1.0), (-2.0, 2.0), (2.0, 2.0)]
)
def test_diffdrive_drives_in_a_circle(left, right):
    base, radius = parameters("diffdrive")
    start = np.array([1.0, -2.0, 0.7, left, right])
    steps = 60
    speed = radius * (left + right) / 2
    turn = radius * (right - left) / base
    time = plant_of("diffdrive").dt * np.arange(steps + 1)
    heading = start[2] + turn * time
    # The factor is the sine of half the angle, over half the angle.
    chord = speed * time * np.sinc(turn * time / 2 / np.pi)
    middle = start[2] + turn * time / 2
    x = start[0] + chord * np.cos(middle)
    y = start[1] + chord * np.sin(middle)

    path = simulate("diffdrive", start, np.zeros((steps, 2)))
    expected = np.stack([x, y, heading], axis=1)
    np.testing.assert_allclose(path[:, :3], expected, atol=1e-5)
    constant = np.broadcast_to(start[3:], (steps + 1, 2))
    np.testing.assert_array_equal(path[:, 3:], constant)


def test_wheels_of_diffdrive_roll_without_slipping(rng):
    base = 0.8
    radius = 0.3

    def wheels(x):
        """Positions of the left and the right wheel (2, 2)."""
        left = base / 2 * np.array([-np.sin(x[2]), np.cos(x[2])])
        return np.array([x[:2] + left, x[:2] - left])

    for x in rng.standard_normal((10, 5)):
        dx = rates("diffdrive", x, [0.3, -0.2], [base, radius])
        ahead = np.array([np.cos(x[2]), np.sin(x[2])])
        velocities = derivative_along(wheels, x, dx)
        expected = np.outer(radius * x[3:], ahead)
        np.testing.assert_allclose(velocities, expected, atol=1e-12)
        np.testing.assert_allclose(dx[3:], [0.3, -0.2])


# Electric: the field of constant charges has a potential, also inside the electrodes.

# The places of the electrodes in the order of the plant's controls.
CONTROL_ORDER = [
    (0.1, 0.1),
    (0.1, 0.9),
    (0.9, 0.9),
    (0.9, 0.1),
    (0.5, 0.9),
    (0.5, 0.1),
    (0.1, 0.5),
    (0.9, 0.5),
]


def electrodes():
    """The corners and the middles of the sides of a square (8, 2) [m]."""
    places = [0.1, 0.5, 0.9]
    return np.array([(a, b) for a in places for b in places if (a, b) != (0.5, 0.5)])


def in_control_order(u):
    """Sort charges from the order of `electrodes` into that of the plant's controls."""
    listed = [tuple(place) for place in electrodes()]
    return np.array([u[listed.index(place)] for place in CONTROL_ORDER])


def electric_energy(x, u, p):
    """Energy of the particle at a state (4,), maybe complex, for charges (8,)."""
    strength, _, core = p
    potential = 0.0
    for charge, place in zip(u, electrodes(), strict=True):
        squared = ((x[:2] - place) ** 2).sum()
        if squared.real < core**2:
            potential += charge * (1.5 / core - squared / (2 * core**3))
        else:
            potential += charge / np.sqrt(squared)
    return strength * potential + 0.5 * (x[2:] ** 2).sum()


def test_particle_of_electric_loses_energy_only_to_drag(rng):
    p = parameters("electric")
    anywhere = rng.uniform(0, 1, (40, 2))
    inside = electrodes() + rng.uniform(-0.06, 0.06, (8, 2))
    places = np.concatenate([anywhere, inside])
    velocities = rng.standard_normal((48, 2))
    charges = rng.uniform(-1, 1, (48, 8))
    for place, velocity, u in zip(places, velocities, charges, strict=True):
        x = np.concatenate([place, velocity])
        dx = rates("electric", x, in_control_order(u))
        change = derivative_along(lambda v, u=u: electric_energy(v, u, p), x, dx)
        loss = -p[1] * velocity @ velocity
        assert change == pytest.approx(loss, rel=1e-8, abs=1e-12)


def test_force_on_the_particle_is_the_sum_over_electrodes(rng):
    strength, drag, core = p = [0.02, 0.3, 0.15]
    x = np.concatenate([rng.uniform(0, 1, 2), rng.standard_normal(2)])
    u = rng.uniform(-1, 1, 8)
    away = x[:2] - electrodes()
    distance = np.maximum(np.linalg.norm(away, axis=1), core)
    push = strength * (u / distance**3) @ away - drag * x[2:]
    found = rates("electric", x, in_control_order(u), p)
    np.testing.assert_allclose(found, [*x[2:], *push], rtol=1e-12)


def test_drag_of_the_source_and_of_difftaichi():
    """A step of 0.03 s keeps the part exp(-0.006) of the velocity.

    The source divides the loss by 0.2, where it should divide by 0.03.
    """
    lost = 1 - math.exp(-0.2 * 0.03)
    drag = plant_of("electric").params["drag"]
    assert drag == pytest.approx(lost / 0.2, rel=1e-12)
    assert lost / 0.03 == pytest.approx(0.1994, rel=1e-4)
    assert lost / 0.03 / drag == pytest.approx(6.7, rel=0.01)


def test_marks_of_electric_are_the_charges(rng):
    u = rng.uniform(-1, 1, 8)
    marks = plant_of("electric").functions["marks"](
        np.zeros(4), in_control_order(u), parameters("electric")
    )
    expected = [(*place, charge) for place, charge in zip(electrodes(), u, strict=True)]
    np.testing.assert_array_equal(sorted(map(tuple, marks)), sorted(expected))


def test_goals_of_electric_move_in_straight_lines():
    goal = draw_scenario("electric", "follow").goal
    x0 = draw_scenario("electric", "follow").x0
    dt = plant_of("electric").dt
    half = (len(goal) - 1) // 2
    assert half * dt == pytest.approx(7.68)
    at_rest = np.concatenate([goal[0, :2], np.zeros_like(goal[0, :2])])
    np.testing.assert_array_equal(x0, at_rest)

    for part in (goal[: half + 1], goal[half:]):
        np.testing.assert_allclose(np.diff(part[:, :2], 2, axis=0), 0.0, atol=1e-12)
        velocity = (part[-1, :2] - part[0, :2]) / (half * dt)
        expected = np.broadcast_to(velocity, part[1:, 2:].shape)
        np.testing.assert_allclose(part[1:, 2:], expected, atol=1e-10)

    corners = goal[[0, half, -1], :2]
    assert (corners >= 0.2).all() and (corners <= 0.8).all()
    assert (np.ptp(corners, axis=(0, 2)) > 0.5).all()


# Quadrotor: a rigid body with an attitude of three elementary rotations.


def rotation(x):
    """Rotation from the body to the world (3, 3) at a state (12,): about z, y, then x.

    The state may be complex.
    """
    (c3, c2, c1), (s3, s2, s1) = np.cos(x[3:6]), np.sin(x[3:6])
    about_z = np.array([[c3, -s3, 0], [s3, c3, 0], [0, 0, 1]])
    about_y = np.array([[c2, 0, s2], [0, 1, 0], [-s2, 0, c2]])
    about_x = np.array([[1, 0, 0], [0, c1, -s1], [0, s1, c1]])
    return about_z @ about_y @ about_x


def quadrotor_cases(rng):
    """Triples of a random state, a random control and the parameters.

    The angles are within 1.2 rad, and the inertias differ.
    """
    p = parameters("quadrotor", inertia_x=0.7, inertia_y=1.3, inertia_z=1.9)
    states = rng.uniform(-1.2, 1.2, (20, 12))
    controls = rng.standard_normal((20, 4)) * (10, 1, 1, 1)
    return [(x, u, p) for x, u in zip(states, controls, strict=True)]


def test_quadrotor_falls_and_is_lifted_along_its_own_axis(rng):
    for x, u, p in quadrotor_cases(rng):
        expected = np.array([0, 0, p[1]]) - u[0] / p[0] * rotation(x)[:, 2]
        found = rates("quadrotor", x, u, p)[6:9]
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_attitude_of_quadrotor_turns_with_its_spin(rng):
    for x, u, p in quadrotor_cases(rng):
        dx = rates("quadrotor", x, u, p)
        skew = rotation(x).T @ derivative_along(rotation, x, dx)
        np.testing.assert_allclose(skew, np.cross(np.eye(3), x[9:]), atol=1e-12)


def test_spin_of_quadrotor_obeys_euler(rng):
    for x, u, p in quadrotor_cases(rng):
        inertia = np.array(p[2:])
        expected = (u[1:] - np.cross(x[9:], inertia * x[9:])) / inertia
        found = rates("quadrotor", x, u, p)[9:]
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_quadrotor_hovers_and_falls_freely():
    p = plant_of("quadrotor").params
    start = np.array([1.0, -2.0, 0.5, 0.4, 0, 0, 0, 0, 0, 0, 0, 0])
    hover = np.tile([p["mass"] * p["gravity"], 0, 0, 0], (20, 1))
    hovering = simulate("quadrotor", start, hover)
    np.testing.assert_allclose(hovering[-1], start, atol=1e-12)

    time = plant_of("quadrotor").dt * np.arange(21)
    falling = simulate("quadrotor", start, 0 * hover)
    height = start[2] + p["gravity"] * time**2 / 2
    np.testing.assert_allclose(falling[:, 2], height, rtol=1e-12)
    np.testing.assert_allclose(falling[:, 8], p["gravity"] * time, rtol=1e-12)


def test_drawing_of_quadrotor_shows_its_attitude(rng):
    """The arms are along the body's axes, in a frame turned half round: z is up."""
    turned = np.diag([1.0, -1.0, -1.0])
    links = plant_of("quadrotor").functions["links"]
    for x, _, p in quadrotor_cases(rng):
        back, front, _, left, right, middle = links(x, p)
        np.testing.assert_allclose(middle, turned @ x[:3])
        for (start, end), axis in (((back, front), 0), ((left, right), 1)):
            expected = turned @ rotation(x)[:, axis]
            direction = (end - start) / np.linalg.norm(end - start)
            np.testing.assert_allclose(direction, expected, atol=1e-12)


# All plants: accuracy of the step, what the network observes, starts and costs.


def solve_exactly(name, x0, u):
    """States (T+1, nx) under constant controls in each step, u (T, nu).

    The solver is an adaptive method of high order.
    """
    dt = plant_of(name).dt
    path = [x0]
    for control in u:
        solution = solve_ivp(
            lambda t, x, control=control: rates(name, x, control),
            (0, dt),
            path[-1],
            method="DOP853",
            rtol=1e-11,
            atol=1e-12,
        )
        path.append(solution.y[:, -1])
    return np.array(path)


@pytest.mark.parametrize(
    "name, task, size, about, exact",
    [
        ("cartpole", "swing_up", 0.5, 0.0, 1e-4),
        ("diffdrive", "stabilise", 5.0, 0.0, 1e-6),
        ("electric", "follow", 1.0, 0.0, 1e-3),
        ("quadrotor", "stabilise", (5.0, 0.5, 0.5, 0.5), HOVERING, 1e-4),
    ],
)
def test_steps_are_as_accurate_as_the_file_says(name, task, size, about, exact, rng):
    plant = plant_of(name)
    scenario = draw_scenario(name, task, 2)
    x0 = scenario.x0[:, 0]
    u = np.array(about) + size * rng.uniform(-1, 1, (scenario.steps, plant.nu))
    difference = simulate(name, x0, u) - solve_exactly(name, x0, u)
    assert (np.abs(difference).max(axis=0) < exact * plant.typical_state).all()


@pytest.mark.parametrize("name", PLANTS)
def test_observation_is_the_same_after_a_full_turn_and_hides_nothing(name, rng):
    plant = plant_of(name)
    angles = [i for i, unit in enumerate(plant.units["state"]) if unit == "rad"]
    x = rng.standard_normal((1, plant.nx, 5))
    p = np.tile(np.array(parameters(name))[:, None], 5)
    turned = x.copy()
    turned[:, angles] += 2 * np.pi
    kernels = compile_plant(plant)
    after = kernels.observe(turned, p)
    np.testing.assert_allclose(kernels.observe(x, p), after, atol=1e-12)
    rank = np.linalg.matrix_rank(kernels.observe_jacobian(x, p)[0, :, :, 0])
    assert rank == plant.nx


# Ranges of the start states, by the index of the state.
STARTS = {
    ("cartpole", "swing_up"): {0: (-0.5, 0.5), 1: (math.pi - 0.5, math.pi + 0.5)},
    ("cartpole", "balance"): {
        0: (-0.5, 0.5),
        1: (-0.3, 0.3),
        2: (-0.5, 0.5),
        3: (-0.5, 0.5),
    },
    ("cartpole", "poster"): {0: (-0.1, 0.1), 1: (math.pi - 0.1, math.pi + 0.1)},
    ("diffdrive", "stabilise"): {0: (-5, 5), 1: (-5, 5), 2: (0, 2 * math.pi)},
    ("electric", "follow"): {0: (0.2, 0.8), 1: (0.2, 0.8)},
}


@pytest.mark.parametrize("name, task", STARTS)
def test_starts_are_uniform_in_their_range_and_zero_elsewhere(name, task):
    x0 = draw_scenario(name, task, 4000).x0
    quantiles = [0, 0.25, 0.5, 1]
    for i, values in enumerate(x0):
        low, high = STARTS[name, task].get(i, (0.0, 0.0))
        np.testing.assert_allclose(
            np.quantile(values, quantiles),
            np.interp(quantiles, [0, 1], [low, high]),
            atol=0.04 * (high - low),
        )


@pytest.mark.parametrize("task", ["stabilise", "poster"])
def test_starts_of_quadrotor_are_near_the_origin_and_nearly_upright(task):
    x0 = draw_scenario("quadrotor", task, 4000).x0
    assert (np.abs(x0[:3]) <= 2.5).all() and not x0[6:9].any()
    np.testing.assert_allclose(x0[:3].std(axis=1), 5 / math.sqrt(12), rtol=0.05)
    np.testing.assert_allclose(x0[[3, 4, 5, 9, 10, 11]].std(axis=1), 0.1, rtol=0.05)


# Running costs as the plant files describe them: a part of the state, and one of the
# control.


def swing_cost(x, u, goal):
    """Of the cartpole's tasks except `poster`."""
    rates_cost = 0.01 * x[2] ** 2 + 0.01 * x[3] ** 2
    return 1 - np.cos(x[1]) + 0.1 * x[0] ** 2 + rates_cost, 0.1 * u[0] ** 2


def poster_cost(x, u, goal):
    """Of the cartpole's task `poster`."""
    return 1 - np.cos(x[1]) + 0.01 * x[0] ** 2, 0 * u[0]


def drive_cost(x, u, goal):
    """Of the differential drive."""
    wheels = 0.1 * (x[3] ** 2 + x[4] ** 2)
    return x[0] ** 2 + x[1] ** 2 + wheels, 0.1 * (u[0] ** 2 + u[1] ** 2)


def electric_cost(x, u, goal):
    """Of the charged particle."""
    return ((x[:2] - goal[:2]) ** 2).sum(axis=0), 0 * u[0]


def flight_cost(x, u, goal):
    """Of the quadrotor's task `poster`."""
    state = (x[:3] ** 2).sum(axis=0) + (x[6:9] ** 2).sum(axis=0)
    return state, 0.01 * (u**2).sum(axis=0)


def hovering_cost(x, u, goal):
    """Of the quadrotor's task `stabilise`."""
    return flight_cost(x, u - np.array(HOVERING)[:, None], goal)


RUNNING_COSTS = {
    ("cartpole", "swing_up"): swing_cost,
    ("cartpole", "balance"): swing_cost,
    ("cartpole", "poster"): poster_cost,
    ("diffdrive", "stabilise"): drive_cost,
    ("electric", "follow"): electric_cost,
    ("quadrotor", "stabilise"): hovering_cost,
    ("quadrotor", "poster"): flight_cost,
}


@pytest.mark.parametrize("name, task", TASKS)
def test_costs_are_the_integrals_that_the_file_describes(name, task, rng):
    plant = plant_of(name)
    scenario = draw_scenario(name, task, 3)
    running_cost = RUNNING_COSTS[name, task]
    x = rng.standard_normal((scenario.steps + 1, plant.nx, 3))
    if name == "electric":
        x[0] = scenario.goal[0]  # its cost begins with the first step
    u = rng.standard_normal((scenario.steps, plant.nu, 3))
    goals = scenario.goal
    state = sum(running_cost(a, u[0], b)[0] for a, b in zip(x, goals, strict=False))
    control = sum(running_cost(x[0], a, goals[0])[1] for a in u)
    losses = scenario.cost.losses(x, u)
    np.testing.assert_allclose(losses, plant.dt * (state + control), rtol=1e-10)


@pytest.mark.parametrize("name, task", TASKS)
def test_gauss_newton_curvature_of_costs_is_never_negative(name, task, rng):
    plant = plant_of(name)
    scenario = draw_scenario(name, task, 2)
    x = 3 * rng.standard_normal((scenario.steps + 1, plant.nx, 2))
    u = rng.standard_normal((scenario.steps, plant.nu, 2))
    by_x, by_u, _ = scenario.cost.linearise(x, u).hessian()
    for hessian in (by_x, by_u):
        assert np.linalg.eigvalsh(hessian.transpose(0, 3, 1, 2)).min() >= -1e-12


@pytest.mark.parametrize("turns", [-1, 0, 1])
def test_cartpole_succeeds_upright_after_any_turn(turns):
    up = np.array([[0.1], [2 * math.pi * turns + 0.05], [0.1], [0.1]])
    down = up + np.array([[0.0], [math.pi], [0.0], [0.0]])
    for name, task in plant_of("cartpole").tasks.items():
        assert task["success"](up, 0 * up).all(), name
        assert not task["success"](down, 0 * up).any(), name
