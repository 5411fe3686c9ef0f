"""The plants of "Faster Policy Learning with Continuous-Time Gradients" against mechanics, closed forms, exact solutions."""

import math

import numpy as np
import pytest
from helpers import plant_of
from scipy.integrate import solve_ivp

from hfcontrol.kernels import compile_plant
from hfcontrol.tasks.task import Task

TASKS = [
    (name, task)
    for name in ("cartpole", "diffdrive", "electric", "quadrotor")
    for task in plant_of(name).tasks
]


def parameters(name, **changed):
    """The plant's parameters as a list, some of them changed."""
    return list({**plant_of(name).params, **changed}.values())


def rates(name, x, u, p=None):
    """The plant's dynamics as plain Python: dx (nx,)."""
    dx = [None] * plant_of(name).nx
    plant_of(name).functions["dynamics"](x, u, p or parameters(name), dx)
    return np.array(dx)


def along(f, x, dx):
    """Derivative of f at x along dx by the complex step: f of a complex array."""
    return np.imag(f(x + 1e-30j * dx)) / 1e-30


def simulated(name, x0, u, p=None):
    """States (T+1, nx) of one trial from x0 (nx,) under the controls u (T, nu)."""
    plant = plant_of(name)
    p, nothing = (
        np.array(p or parameters(name))[:, None],
        np.zeros((len(u), plant.nx, 1)),
    )
    return compile_plant(plant).simulate(
        x0[:, None], u[:, :, None], p, nothing, plant.taper
    )[:, :, 0]


def drawn(name, task, trials=200):
    """A scenario of a task."""
    plant = plant_of(name)
    return Task(plant, compile_plant(plant), task).draw(
        np.random.default_rng(0), trials=trials
    )


# Cartpole: energy and horizontal momentum of cart and pole, from the motion of the pole's centre of mass.


def cartpole_motion(x, p):
    """Energy and horizontal momentum at a state (4,), which may be complex."""
    cart, pole, length, inertia, gravity = p[:5]
    velocity = np.array(
        [x[2] + length * np.cos(x[1]) * x[3], -length * np.sin(x[1]) * x[3]]
    )
    own = inertia - pole * length**2
    kinetic = 0.5 * (cart * x[2] ** 2 + pole * (velocity**2).sum() + own * x[3] ** 2)
    return np.array(
        [
            kinetic + pole * gravity * length * np.cos(x[1]),
            cart * x[2] + pole * velocity[0],
        ]
    )


def test_energy_of_cartpole_grows_by_the_power_and_momentum_by_the_force(rng):
    p = parameters("cartpole", cart_damping=0.7, pole_damping=0.03)
    for x, u in zip(rng.standard_normal((20, 4)), rng.uniform(-1, 1, (20, 1))):
        force = p[5] * u[0] - p[6] * x[2]
        grown = along(lambda v: cartpole_motion(v, p), x, rates("cartpole", x, u, p))
        assert grown == pytest.approx(
            [force * x[2] - p[7] * x[3] ** 2, force], rel=1e-10, abs=1e-10
        )


def test_cartpole_solves_its_mass_matrix(rng):
    p = parameters("cartpole")
    for x, u in zip(rng.standard_normal((20, 4)), rng.uniform(-1, 1, (20, 1))):
        moment = p[1] * p[2]
        mass = np.array(
            [[p[0] + p[1], moment * np.cos(x[1])], [moment * np.cos(x[1]), p[3]]]
        )
        forces = np.array(
            [
                p[5] * u[0] - p[6] * x[2] + moment * np.sin(x[1]) * x[3] ** 2,
                moment * p[4] * np.sin(x[1]) - p[7] * x[3],
            ]
        )
        expected = [*x[2:], *np.linalg.solve(mass, forces)]
        np.testing.assert_allclose(rates("cartpole", x, u), expected, rtol=1e-10)


def test_the_pole_is_a_capsule():
    """Moment of inertia about the hinge of a cylinder 1 m long with a half ball at either end, disc by disc."""
    radius, p = 0.045, plant_of("cartpole").params
    nodes, weights = np.polynomial.legendre.leggauss(20)

    def slices(low, high):
        return (low + high) / 2 + (high - low) / 2 * nodes, (high - low) / 2 * weights

    volume = moment = 0.0
    for low, high in ((-radius, 0.0), (0.0, 1.0), (1.0, 1.0 + radius)):
        height, width = slices(low, high)
        outside = np.maximum(-height, 0.0) + np.maximum(height - 1.0, 0.0)
        squared = radius**2 - outside**2
        volume += np.sum(width * squared)
        moment += np.sum(width * squared * (squared / 4 + height**2))
    assert p["pole_inertia"] == pytest.approx(
        p["pole_mass"] * moment / volume, rel=1e-8
    )
    assert p["pole_centre"] == pytest.approx(0.5)


def test_cartpole_in_a_mirror_is_a_cartpole(rng):
    for x, u in zip(
        rng.standard_normal((10, 4)) * (5, 1, 1, 1), rng.uniform(-1, 1, (10, 1))
    ):
        np.testing.assert_allclose(
            rates("cartpole", -x, -u), -rates("cartpole", x, u), rtol=1e-12
        )


@pytest.mark.parametrize("speed", [1.0, 3.0, 9.0])
def test_the_wall_stops_the_cart_and_takes_energy(speed):
    p = parameters(
        "cartpole",
        pole_mass=1e-9,
        pole_inertia=1e-9,
        cart_damping=0.0,
        pole_damping=0.0,
    )
    path = simulated("cartpole", np.array([4.7, 0.0, speed, 0.0]), np.zeros((50, 1)), p)
    rail, stiffness, damping = p[8:]
    assert (
        rail < path[:, 0].max() < rail + speed / math.sqrt(stiffness)
    )  # no deeper than without damping
    assert 0 < -path[-1, 2] < min(speed, 1 / damping)


def test_the_wall_begins_softly():
    rail = plant_of("cartpole").params["rail"]
    sides = [
        rates("cartpole", np.array([rail + h, 0.3, 5.0, 0.1]), [0.4])
        for h in (-1e-9, 1e-9)
    ]
    np.testing.assert_allclose(*sides, rtol=1e-5)


# Differential drive: at constant wheel speeds it drives round a circle.


@pytest.mark.parametrize(
    "left, right", [(1.0, 3.0), (4.0, -1.0), (-2.0, 2.0), (2.0, 2.0)]
)
def test_diffdrive_drives_round_a_circle(left, right):
    base, radius = parameters("diffdrive")
    start, steps = np.array([1.0, -2.0, 0.7, left, right]), 60
    speed, turn = radius * (left + right) / 2, radius * (right - left) / base
    time = plant_of("diffdrive").dt * np.arange(steps + 1)
    heading = start[2] + turn * time
    chord = (
        speed * time * np.sinc(turn * time / 2 / np.pi)
    )  # sine of half the angle over half the angle
    middle = start[2] + turn * time / 2
    expected = np.stack(
        [start[0] + chord * np.cos(middle), start[1] + chord * np.sin(middle), heading],
        axis=1,
    )
    path = simulated("diffdrive", start, np.zeros((steps, 2)))
    np.testing.assert_allclose(path[:, :3], expected, atol=1e-5)
    np.testing.assert_array_equal(
        path[:, 3:], np.broadcast_to(start[3:], (steps + 1, 2))
    )


def test_wheels_of_diffdrive_roll_without_slipping(rng):
    base, radius = 0.8, 0.3

    def ground(x):
        """Where the wheels stand, the left one first (2, 2)."""
        left = base / 2 * np.array([-np.sin(x[2]), np.cos(x[2])])
        return np.array([x[:2] + left, x[:2] - left])

    for x in rng.standard_normal((10, 5)):
        dx, ahead = (
            rates("diffdrive", x, [0.3, -0.2], [base, radius]),
            np.array([np.cos(x[2]), np.sin(x[2])]),
        )
        np.testing.assert_allclose(
            along(ground, x, dx), np.outer(radius * x[3:], ahead), atol=1e-12
        )
        np.testing.assert_allclose(dx[3:], [0.3, -0.2])


# Electric: the field of held charges has a potential, inside the electrodes' cores too.


def electric_energy(x, u, p):
    """Energy of the particle at a state (4,), which may be complex, under held charges (8,)."""
    strength, _, core = p
    potential = 0.0
    for charge, place in zip(u, electrodes()):
        squared = ((x[:2] - place) ** 2).sum()
        inside = squared.real < core**2
        potential += charge * (
            1.5 / core - squared / (2 * core**3) if inside else 1 / np.sqrt(squared)
        )
    return strength * potential + 0.5 * (x[2:] ** 2).sum()


def electrodes():
    """The corners and the middles of the sides of a square (8, 2) [m]."""
    places = [0.1, 0.5, 0.9]
    return np.array([(a, b) for a in places for b in places if (a, b) != (0.5, 0.5)])


def in_order(u):
    """Charges given in the order of `electrodes`, in that of the plant's controls."""
    wanted = [
        (0.1, 0.1),
        (0.1, 0.9),
        (0.9, 0.9),
        (0.9, 0.1),
        (0.5, 0.9),
        (0.5, 0.1),
        (0.1, 0.5),
        (0.9, 0.5),
    ]
    listed = [tuple(place) for place in electrodes()]
    return np.array([u[listed.index(place)] for place in wanted])


def test_energy_of_the_charge_is_lost_to_drag_alone(rng):
    p = parameters("electric")
    places = np.concatenate(
        [rng.uniform(0, 1, (40, 2)), electrodes() + rng.uniform(-0.06, 0.06, (8, 2))]
    )
    for place, velocity, u in zip(
        places, rng.standard_normal((48, 2)), rng.uniform(-1, 1, (48, 8))
    ):
        x = np.concatenate([place, velocity])
        grown = along(
            lambda v: electric_energy(v, u, p), x, rates("electric", x, in_order(u))
        )
        assert grown == pytest.approx(-p[1] * velocity @ velocity, rel=1e-8, abs=1e-12)


def test_the_charge_is_pushed_as_the_sum_over_electrodes_says(rng):
    strength, drag, core = p = [0.02, 0.3, 0.15]
    x, u = (
        np.concatenate([rng.uniform(0, 1, 2), rng.standard_normal(2)]),
        rng.uniform(-1, 1, 8),
    )
    away = x[:2] - electrodes()
    distance = np.maximum(np.linalg.norm(away, axis=1), core)
    push = strength * (u / distance**3) @ away - drag * x[2:]
    np.testing.assert_allclose(
        rates("electric", x, in_order(u), p), [*x[2:], *push], rtol=1e-12
    )


def test_the_drag_of_the_source_and_of_difftaichi():
    """A step of 0.03 s keeps a part exp(-0.006); the source divides what is lost by 0.2 where it should by 0.03."""
    lost = 1 - math.exp(-0.2 * 0.03)
    drag = plant_of("electric").params["drag"]
    assert drag == pytest.approx(lost / 0.2, rel=1e-12)
    assert lost / 0.03 == pytest.approx(
        0.1994, rel=1e-4
    ) and lost / 0.03 / drag == pytest.approx(6.7, rel=0.01)


def test_electric_marks_are_the_charges(rng):
    u = rng.uniform(-1, 1, 8)
    marks = plant_of("electric").functions["marks"](
        np.zeros(4), in_order(u), parameters("electric")
    )
    np.testing.assert_array_equal(
        sorted(map(tuple, marks)),
        sorted((*place, v) for place, v in zip(electrodes(), u)),
    )


def test_goals_of_electric_run_along_straight_lines():
    goal, x0, dt = (
        drawn("electric", "follow").goal,
        drawn("electric", "follow").x0,
        plant_of("electric").dt,
    )
    half = (len(goal) - 1) // 2
    assert half * dt == pytest.approx(7.68)
    np.testing.assert_array_equal(
        x0, np.concatenate([goal[0, :2], np.zeros_like(goal[0, :2])])
    )
    for part in (goal[: half + 1], goal[half:]):
        np.testing.assert_allclose(np.diff(part[:, :2], 2, axis=0), 0.0, atol=1e-12)
        velocity = (part[-1, :2] - part[0, :2]) / (half * dt)
        np.testing.assert_allclose(
            part[1:, 2:], np.broadcast_to(velocity, part[1:, 2:].shape), atol=1e-10
        )
    knots = goal[[0, half, -1], :2]
    assert (
        (knots >= 0.2).all()
        and (knots <= 0.8).all()
        and (np.ptp(knots, axis=(0, 2)) > 0.5).all()
    )


# Quadrotor: a rigid body whose attitude is three elementary rotations.


def rotation(x):
    """From the body to the world (3, 3) at a state (12,), which may be complex: about z, then y, then x."""
    (c3, c2, c1), (s3, s2, s1) = np.cos(x[3:6]), np.sin(x[3:6])
    about_z = np.array([[c3, -s3, 0], [s3, c3, 0], [0, 0, 1]])
    about_y = np.array([[c2, 0, s2], [0, 1, 0], [-s2, 0, c2]])
    about_x = np.array([[1, 0, 0], [0, c1, -s1], [0, s1, c1]])
    return about_z @ about_y @ about_x


def quadrotor_cases(rng):
    """Random states within a quarter turn, controls, and a body whose inertias differ."""
    p = parameters("quadrotor", inertia_x=0.7, inertia_y=1.3, inertia_z=1.9)
    return [
        (x, u, p)
        for x, u in zip(
            rng.uniform(-1.2, 1.2, (20, 12)),
            rng.standard_normal((20, 4)) * (10, 1, 1, 1),
        )
    ]


def test_quadrotor_falls_and_is_lifted_along_its_own_axis(rng):
    for x, u, p in quadrotor_cases(rng):
        expected = np.array([0, 0, p[1]]) - u[0] / p[0] * rotation(x)[:, 2]
        np.testing.assert_allclose(
            rates("quadrotor", x, u, p)[6:9], expected, atol=1e-12
        )


def test_attitude_of_quadrotor_turns_with_its_spin(rng):
    for x, u, p in quadrotor_cases(rng):
        skew = rotation(x).T @ along(rotation, x, rates("quadrotor", x, u, p))
        np.testing.assert_allclose(skew, np.cross(np.eye(3), x[9:]), atol=1e-12)


def test_spin_of_quadrotor_obeys_euler(rng):
    for x, u, p in quadrotor_cases(rng):
        inertia = np.array(p[2:])
        expected = (u[1:] - np.cross(x[9:], inertia * x[9:])) / inertia
        np.testing.assert_allclose(
            rates("quadrotor", x, u, p)[9:], expected, atol=1e-12
        )


def test_quadrotor_hovers_and_falls_freely():
    p, start = (
        plant_of("quadrotor").params,
        np.array([1.0, -2.0, 0.5, 0.4, 0, 0, 0, 0, 0, 0, 0, 0]),
    )
    hover = np.tile([p["mass"] * p["gravity"], 0, 0, 0], (20, 1))
    np.testing.assert_allclose(
        simulated("quadrotor", start, hover)[-1], start, atol=1e-12
    )
    time = plant_of("quadrotor").dt * np.arange(21)
    falling = simulated("quadrotor", start, 0 * hover)
    np.testing.assert_allclose(
        falling[:, 2], start[2] + p["gravity"] * time**2 / 2, rtol=1e-12
    )
    np.testing.assert_allclose(falling[:, 8], p["gravity"] * time, rtol=1e-12)


def test_quadrotor_is_drawn_as_it_stands(rng):
    """Arms along the body's axes, in a frame turned half round so that z is up."""
    turned, links = np.diag([1.0, -1.0, -1.0]), plant_of("quadrotor").functions["links"]
    for x, _, p in quadrotor_cases(rng):
        back, front, _, left, right, middle = links(x, p)
        np.testing.assert_allclose(middle, turned @ x[:3])
        for ends, axis in (((back, front), 0), ((left, right), 1)):
            along_axis = turned @ rotation(x)[:, axis]
            np.testing.assert_allclose(
                (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0]),
                along_axis,
                atol=1e-12,
            )


# All of them: exactness of the step, what the network sees, starts and costs of the tasks.


def exactly(name, x0, u):
    """States (T+1, nx) under held controls u (T, nu), by an adaptive method of high order."""
    path, dt = [x0], plant_of(name).dt
    for control in u:
        path.append(
            solve_ivp(
                lambda t, x: rates(name, x, control),
                (0, dt),
                path[-1],
                method="DOP853",
                rtol=1e-11,
                atol=1e-12,
            ).y[:, -1]
        )
    return np.array(path)


@pytest.mark.parametrize(
    "name, task, size, about, exact",
    [
        ("cartpole", "swing_up", 0.5, 0.0, 1e-4),
        ("diffdrive", "stabilise", 5.0, 0.0, 1e-6),
        ("electric", "follow", 1.0, 0.0, 1e-3),
        ("quadrotor", "stabilise", (5.0, 0.5, 0.5, 0.5), (29.4, 0.0, 0.0, 0.0), 1e-4),
    ],
)
def test_steps_are_as_exact_as_the_file_says(name, task, size, about, exact, rng):
    plant, scenario = plant_of(name), drawn(name, task, 2)
    u = np.array(about) + size * rng.uniform(-1, 1, (scenario.steps, plant.nu))
    difference = simulated(name, scenario.x0[:, 0], u) - exactly(
        name, scenario.x0[:, 0], u
    )
    assert (np.abs(difference).max(axis=0) < exact * plant.typical_state).all()


@pytest.mark.parametrize("name", ["cartpole", "diffdrive", "electric", "quadrotor"])
def test_the_network_sees_the_same_after_a_full_turn(name, rng):
    plant = plant_of(name)
    angles = [i for i, unit in enumerate(plant.units["state"]) if unit == "rad"]
    x, p = (
        rng.standard_normal((1, plant.nx, 5)),
        np.tile(np.array(parameters(name))[:, None], 5),
    )
    turned = x.copy()
    turned[:, angles] += 2 * np.pi
    kernels = compile_plant(plant)
    np.testing.assert_allclose(
        kernels.observe(x, p), kernels.observe(turned, p), atol=1e-12
    )
    moved = np.linalg.matrix_rank(kernels.observe_jacobian(x, p)[0, :, :, 0])
    assert moved == plant.nx  # and nothing is hidden


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
def test_starts_are_even_over_their_range_and_zero_elsewhere(name, task):
    x0, drawn_from = drawn(name, task, 4000).x0, STARTS[name, task]
    for i, values in enumerate(x0):
        low, high = drawn_from.get(i, (0.0, 0.0))
        np.testing.assert_allclose(
            np.quantile(values, [0, 0.25, 0.5, 1]),
            np.interp([0, 0.25, 0.5, 1], [0, 1], [low, high]),
            atol=0.04 * (high - low),
        )


@pytest.mark.parametrize("task", ["stabilise", "poster"])
def test_starts_of_quadrotor(task):
    x0 = drawn("quadrotor", task, 4000).x0
    assert (np.abs(x0[:3]) <= 2.5).all() and not x0[6:9].any()
    np.testing.assert_allclose(x0[:3].std(axis=1), 5 / math.sqrt(12), rtol=0.05)
    np.testing.assert_allclose(x0[[3, 4, 5, 9, 10, 11]].std(axis=1), 0.1, rtol=0.05)


def swing(x, u, goal):
    """Running cost of the cartpole's tasks but the poster's."""
    return 1 - np.cos(x[1]) + 0.1 * x[0] ** 2 + 0.01 * x[2] ** 2 + 0.01 * x[
        3
    ] ** 2, 0.1 * u[0] ** 2


def flight(x, u, goal):
    """Running cost of position and velocity of the quadrotor, and of its controls about nothing."""
    return (x[:3] ** 2).sum(axis=0) + (x[6:9] ** 2).sum(axis=0), 0.01 * (u**2).sum(
        axis=0
    )


RUNNING = {  # (of the state, of the control)
    ("cartpole", "swing_up"): swing,
    ("cartpole", "balance"): swing,
    ("cartpole", "poster"): lambda x, u, goal: (
        1 - np.cos(x[1]) + 0.01 * x[0] ** 2,
        0 * u[0],
    ),
    ("diffdrive", "stabilise"): lambda x, u, goal: (
        x[0] ** 2 + x[1] ** 2 + 0.1 * (x[3] ** 2 + x[4] ** 2),
        0.1 * (u[0] ** 2 + u[1] ** 2),
    ),
    ("electric", "follow"): lambda x, u, goal: (
        ((x[:2] - goal[:2]) ** 2).sum(axis=0),
        0 * u[0],
    ),
    ("quadrotor", "stabilise"): lambda x, u, goal: flight(
        x, u - np.array([29.4, 0, 0, 0])[:, None], goal
    ),
    ("quadrotor", "poster"): flight,
}


@pytest.mark.parametrize("name, task", TASKS)
def test_costs_are_the_integrals_that_the_file_says(name, task, rng):
    plant, scenario = plant_of(name), drawn(name, task, 3)
    x = rng.standard_normal((scenario.steps + 1, plant.nx, 3))
    x[0] = (
        scenario.goal[0] if name == "electric" else x[0]
    )  # whose cost starts with the first step
    u = rng.standard_normal((scenario.steps, plant.nu, 3))
    state = sum(RUNNING[name, task](a, u[0], b)[0] for a, b in zip(x, scenario.goal))
    control = sum(RUNNING[name, task](x[0], a, scenario.goal[0])[1] for a in u)
    np.testing.assert_allclose(
        scenario.cost.losses(x, u), plant.dt * (state + control), rtol=1e-10
    )


@pytest.mark.parametrize("name, task", TASKS)
def test_gauss_newton_curvature_of_costs_is_never_negative(name, task, rng):
    plant, scenario = plant_of(name), drawn(name, task, 2)
    x = 3 * rng.standard_normal((scenario.steps + 1, plant.nx, 2))
    by_x, by_u, _ = scenario.cost.linearise(
        x, rng.standard_normal((scenario.steps, plant.nu, 2))
    ).hessian()
    for hessian in (by_x, by_u):
        assert np.linalg.eigvalsh(hessian.transpose(0, 3, 1, 2)).min() >= -1e-12


@pytest.mark.parametrize("turns", [-1, 0, 1])
def test_a_pole_that_came_up_either_way_stands(turns):
    plant, up = (
        plant_of("cartpole"),
        np.array([[0.1], [2 * math.pi * turns + 0.05], [0.1], [0.1]]),
    )
    for name, task in plant.tasks.items():
        assert task["success"](up, 0 * up).all()
        assert not task["success"](
            up + np.array([[0.0], [math.pi], [0.0], [0.0]]), 0 * up
        ).any(), name
