"""The arms with friction, load and curl field obey mechanics.

They are compared with Lagrange's equations, energy and momentum, and with each other.
"""

from dataclasses import replace

import numpy as np
import pytest
from helpers import plant_of
from plant_steps import complex_jacobian, complex_version, step_without_control

from hfcontrol.kernels import compile_plant
from hfcontrol.optim.yardstick import optimum
from hfcontrol.plant.modifiers import with_params
from hfcontrol.runs.factory import make_wiring
from hfcontrol.runs.settings import Settings
from hfcontrol.tasks.task import Task

ARMS = ("arm2", "arm2_todorov", "arm3")
FRICTION = 0.6  # [N m s], at every joint
HAND = {"curl": 13.0, "load": 0.7}
TODOROV_FRICTION = {"shoulder_friction": FRICTION, "elbow_friction": FRICTION}
QUARTER_TURN = np.array([[0.0, -1.0], [1.0, 0.0]])


def loaded(name, **params):
    """An arm with load, curl field and friction; `params` replaces their values."""
    friction = {"friction": FRICTION}
    if name == "arm2_todorov":
        friction = TODOROV_FRICTION
    return with_params(plant_of(name), {**HAND, **friction, **params})


def accelerations(plant, x, u):
    """Accelerations of the joints (n,) by the plant's own dynamics."""
    dx = [None] * plant.nx
    plant.functions["dynamics"](x, u, list(plant.params.values()), dx)
    return np.array(dx[plant.nx // 2 :])


def rigid_links(plant):
    """Length, mass, distance of the centre of mass, and inertia about it, by link."""
    p = plant.params
    if plant.name == "arm2_todorov":
        mass = p["lower_mass"]
        centre = p["lower_centre"]
        inertia = p["lower_inertia"] - mass * centre**2
        upper = (p["upper_length"], 0.0, 0.0, p["upper_inertia"])
        return [upper, (p["lower_length"], mass, centre, inertia)]
    names = ("upper", "lower", "hand")[: plant.nu]
    rods = [(p[f"{name}_mass"], p[f"{name}_length"]) for name in names]
    return [(length, mass, length / 2, mass * length**2 / 12) for mass, length in rods]


def point_motion(mass, place, velocity):
    """Kinetic energy and angular momentum about the origin of a point mass."""
    spin = place[0] * velocity[1] - place[1] * velocity[0]
    return 0.5 * mass * (velocity**2).sum(), mass * spin


def motion(plant, q, q_rate):
    """Kinetic energy and angular momentum about the shoulder, summed over the links.

    The angles q and their rates may be complex.
    """
    joint = np.zeros(2)
    joint_rate = np.zeros(2)
    energy = 0.0
    momentum = 0.0
    links = zip(np.cumsum(q), np.cumsum(q_rate), rigid_links(plant), strict=True)
    for angle, rate, (length, mass, centre, inertia) in links:
        along = np.array([np.cos(angle), np.sin(angle)])
        across = np.array([-np.sin(angle), np.cos(angle)])
        place = joint + centre * along
        velocity = joint_rate + centre * rate * across
        point = point_motion(mass, place, velocity)
        energy = energy + point[0] + 0.5 * inertia * rate**2
        momentum = momentum + point[1] + inertia * rate
        joint = joint + length * along
        joint_rate = joint_rate + length * rate * across
    load = point_motion(plant.params["load"], joint, joint_rate)
    return np.array([energy + load[0], momentum + load[1]])


def hand(plant, x):
    """Position and velocity of the hand (4,); the state x may be complex."""
    z = [None] * 4
    complex_version(plant.functions["output"])(x, list(plant.params.values()), z)
    return np.array(z)


def generalised_momentum(plant, x):
    """dT/dq' (n,), exactly: the energy T is quadratic in the rates."""
    q = x[: plant.nu]
    rates = x[plant.nu :]
    energies = []
    for e in np.eye(plant.nu):
        energies.append(motion(plant, q, rates + e)[0] - motion(plant, q, e)[0])
    return np.array(energies) - motion(plant, q, rates)[0]


def states(plant, rng, count=10):
    """Pairs of random states (nx,) and torques (nu,)."""
    x = rng.standard_normal((count, plant.nx))
    u = rng.standard_normal((count, plant.nu))
    return zip(x, u, strict=True)


@pytest.mark.parametrize("name", ARMS)
def test_lagrange_equations_hold_with_friction_load_and_curl_field(name, rng):
    plant = loaded(name)
    n = plant.nu

    def place(v):
        return hand(plant, v)[:2]

    def momentum(v):
        return generalised_momentum(plant, np.array(v))

    def energy(v):
        return motion(plant, np.array(v[:n]), np.array(v[n:]))[:1]

    for x, u in states(plant, rng):
        rates = x[n:]
        J = complex_jacobian(place, x)[:, :n]
        force = plant.params["curl"] * QUARTER_TURN @ np.real(hand(plant, x)[2:])
        change = np.concatenate([rates, accelerations(plant, x, u)])
        momentum_rate = complex_jacobian(momentum, x) @ change
        by_state = complex_jacobian(energy, x)[0]
        expected = u - FRICTION * rates + J.T @ force
        found = momentum_rate - by_state[:n]
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ARMS)
def test_curl_field_does_no_work_and_energy_changes_by_torques_less_friction(name, rng):
    plant = loaded(name)
    n = plant.nu

    def motion_at(v):
        return motion(plant, np.array(v[:n]), np.array(v[n:]))

    for x, u in states(plant, rng):
        rates = x[n:]
        place, velocity = np.real(hand(plant, x)).reshape(2, 2)
        change = np.concatenate([rates, accelerations(plant, x, u)])
        J = complex_jacobian(motion_at, x)
        power = (u - FRICTION * rates) @ rates
        field_torque = plant.params["curl"] * place @ velocity  # about the shoulder
        torque = u[0] - FRICTION * rates[0] + field_torque
        assert J @ change == pytest.approx([power, torque], rel=1e-9, abs=1e-9)


def test_drift_of_energy_and_momentum_of_arm3_is_of_first_order_in_the_step():
    plant = with_params(plant_of("arm3"), {"load": 0.7})
    start = np.array([0.4, 1.2, 0.3, 1.5, -2.0, 1.0])
    steps = np.array([400, 800, 1600])
    before = motion(plant, *start.reshape(2, 3))
    drift = []
    for n in steps:
        end = step_without_control(replace(plant, dt=0.5 / n), start, n)
        drift.append(np.abs(motion(plant, *end.reshape(2, 3)) - before))
    slopes = np.polyfit(np.log(1 / steps), np.log(np.array(drift)), 1)[0]
    assert slopes == pytest.approx([1.0, 1.0], abs=0.1)


def test_arm3_with_a_massless_hand_equals_arm2(rng):
    arm2 = with_params(plant_of("arm2"), {"friction": FRICTION})
    names = ("upper_mass", "lower_mass", "upper_length", "lower_length", "friction")
    same = {name: arm2.params[name] for name in names}
    arm3 = with_params(plant_of("arm3"), {**same, "hand_mass": 1e-10})
    for x, u in states(arm2, rng):
        # The wrist does not move, so it has no friction.
        x3 = [*x[:2], 0.4, *x[2:], 0.0]
        found = accelerations(arm3, x3, [*u, 0.0])
        np.testing.assert_allclose(found[:2], accelerations(arm2, x, u), rtol=1e-7)


def test_load_equals_a_heavier_lower_link(rng):
    bare = plant_of("arm2_todorov")
    load = 0.7
    mass = bare.params["lower_mass"]
    centre = bare.params["lower_centre"]
    length = bare.params["lower_length"]
    heavier = with_params(
        bare,
        {
            "lower_mass": mass + load,
            "lower_inertia": bare.params["lower_inertia"] + load * length**2,
            "lower_centre": (mass * centre + load * length) / (mass + load),
        },
    )
    with_load = with_params(bare, {"load": load})
    for x, u in states(bare, rng):
        found = accelerations(with_load, x, u)
        np.testing.assert_allclose(found, accelerations(heavier, x, u), rtol=1e-12)


def test_arm2_todorov_with_uniform_rods_equals_arm2(rng):
    rods = loaded("arm2")
    upper, lower, upper_length, length = list(rods.params.values())[:4]
    other = loaded(
        "arm2_todorov",
        lower_mass=lower,
        upper_length=upper_length,
        lower_length=length,
        lower_centre=length / 2,
        upper_inertia=upper * upper_length**2 / 3,
        lower_inertia=lower * length**2 / 3,
    )
    for x, u in states(rods, rng):
        found = accelerations(other, x, u)
        np.testing.assert_allclose(found, accelerations(rods, x, u), rtol=1e-11)


def test_optimal_reaches_of_arm3_do_not_spin_the_hand():
    """Joints turn about as far as to their targets, and stay far from the taper."""
    plant = plant_of("arm3")
    kernels = compile_plant(plant)
    scenario = Task(plant, kernels, "reach").draw(np.random.default_rng(0), trials=8)
    wiring = make_wiring(Settings(plant="arm3"), plant)
    best = optimum(kernels, scenario, wiring)

    turned = np.abs(best.x - best.x[0]).max(axis=(0, 2))[:3]
    asked = np.abs(scenario.goal[-1] - scenario.x0).max(axis=1)[:3]
    assert np.all(turned < 3 * asked)
    assert np.all(np.abs(best.x).max(axis=(0, 2)) < 0.5 * plant.taper)


@pytest.mark.parametrize(
    "task", ["angle", "out_and_back", "anywhere", "follow", "posture"]
)
def test_optimal_movements_of_arm1_succeed(task):
    """So that a controller near the optimum does too."""
    plant = plant_of("arm1")
    kernels = compile_plant(plant)
    task = Task(plant, kernels, task)
    scenario = task.draw(np.random.default_rng(0), "held_out", trials=16)
    wiring = make_wiring(Settings(plant="arm1"), plant)
    best = optimum(kernels, scenario, wiring)
    assert task.success(best, scenario).all()
