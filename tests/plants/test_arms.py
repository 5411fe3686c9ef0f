"""The arms with friction, load and curl field against Lagrange's equations, energy and momentum, and against each other."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import plant_of
from plant_steps import complex_jacobian, complex_version, stepped

from hfcontrol.plant.modifiers import with_params

ARMS = ("arm2", "arm2_todorov", "arm3")
HAND = {"curl": 13.0, "load": 0.7}
FRICTION = {"arm2_todorov": {"shoulder_friction": 0.6, "elbow_friction": 0.6}}
QUARTER_TURN = np.array([[0.0, -1.0], [1.0, 0.0]])


def loaded(name, **params):
    """An arm with a load, a curl field, and the same friction of 0.6 N m s at every joint, or what else is given."""
    return with_params(
        plant_of(name), {**HAND, **FRICTION.get(name, {"friction": 0.6}), **params}
    )


def accelerations(plant, x, u):
    """Accelerations of the joints (n,) by the plant's own dynamics."""
    dx = [None] * plant.nx
    plant.functions["dynamics"](x, u, list(plant.params.values()), dx)
    return np.array(dx[plant.nx // 2 :])


def rigid_links(plant):
    """Length, mass, distance of the centre of mass, and inertia about it, of every link."""
    p = plant.params
    if plant.name == "arm2_todorov":
        mass, centre = p["lower_mass"], p["lower_centre"]
        upper = (p["upper_length"], 0.0, 0.0, p["upper_inertia"])
        return [
            upper,
            (p["lower_length"], mass, centre, p["lower_inertia"] - mass * centre**2),
        ]
    names = ("upper", "lower", "hand")[: plant.nu]
    rods = [(p[f"{name}_mass"], p[f"{name}_length"]) for name in names]
    return [(length, mass, length / 2, mass * length**2 / 12) for mass, length in rods]


def motion(plant, q, q_rate):
    """Kinetic energy and angular momentum about the shoulder, link by link; q and q_rate may be complex."""
    joint, joint_rate, energy, momentum = np.zeros(2), np.zeros(2), 0.0, 0.0

    def add(mass, place, velocity):
        return 0.5 * mass * (velocity**2).sum(), mass * (
            place[0] * velocity[1] - place[1] * velocity[0]
        )

    for angle, rate, (length, mass, centre, inertia) in zip(
        np.cumsum(q), np.cumsum(q_rate), rigid_links(plant)
    ):
        along, across = (
            np.array([np.cos(angle), np.sin(angle)]),
            np.array([-np.sin(angle), np.cos(angle)]),
        )
        moved = add(mass, joint + centre * along, joint_rate + centre * rate * across)
        energy, momentum = (
            energy + moved[0] + 0.5 * inertia * rate**2,
            momentum + moved[1] + inertia * rate,
        )
        joint, joint_rate = joint + length * along, joint_rate + length * rate * across
    moved = add(plant.params["load"], joint, joint_rate)
    return np.array([energy + moved[0], momentum + moved[1]])


def hand(plant, x):
    """Position and velocity of the hand (4,) by the plant's own output; x may be complex."""
    z = [None] * 4
    complex_version(plant.functions["output"])(x, list(plant.params.values()), z)
    return np.array(z)


def generalised_momentum(plant, x):
    """dT/dq' (n,), exactly: the energy T is quadratic in the rates."""
    q, rates = x[: plant.nu], x[plant.nu :]
    energies = [
        motion(plant, q, rates + e)[0] - motion(plant, q, e)[0]
        for e in np.eye(plant.nu)
    ]
    return np.array(energies) - motion(plant, q, rates)[0]


def states(plant, rng, count=10):
    """Pairs of random states (nx,) and torques (nu,)."""
    return zip(
        rng.standard_normal((count, plant.nx)), rng.standard_normal((count, plant.nu))
    )


@pytest.mark.parametrize("name", ARMS)
def test_lagrange_equations_hold_with_friction_load_and_curl_field(name, rng):
    plant = loaded(name)
    for x, u in states(plant, rng):
        rates = x[plant.nu :]
        J = complex_jacobian(lambda v: hand(plant, v)[:2], x)[:, : plant.nu]
        force = plant.params["curl"] * QUARTER_TURN @ np.real(hand(plant, x)[2:])
        change = np.concatenate([rates, accelerations(plant, x, u)])
        momentum_rate = (
            complex_jacobian(lambda v: generalised_momentum(plant, np.array(v)), x)
            @ change
        )
        by_state = complex_jacobian(
            lambda v: motion(plant, np.array(v[: plant.nu]), np.array(v[plant.nu :]))[
                :1
            ],
            x,
        )[0]
        expected = u - 0.6 * rates + J.T @ force
        np.testing.assert_allclose(
            momentum_rate - by_state[: plant.nu], expected, rtol=1e-9, atol=1e-9
        )


@pytest.mark.parametrize("name", ARMS)
def test_energy_grows_by_torques_less_friction_and_the_curl_field_does_no_work(
    name, rng
):
    plant = loaded(name)
    for x, u in states(plant, rng):
        rates, place, velocity = x[plant.nu :], *np.real(hand(plant, x)).reshape(2, 2)
        change = np.concatenate([rates, accelerations(plant, x, u)])
        J = complex_jacobian(
            lambda v: motion(plant, np.array(v[: plant.nu]), np.array(v[plant.nu :])), x
        )
        torque = (
            u[0] - 0.6 * rates[0] + plant.params["curl"] * place @ velocity
        )  # of the field about the shoulder
        assert J @ change == pytest.approx(
            [(u - 0.6 * rates) @ rates, torque], rel=1e-9, abs=1e-9
        )


def test_drift_of_energy_and_momentum_of_arm3_vanishes_with_the_step():
    plant, start = (
        with_params(plant_of("arm3"), {"load": 0.7}),
        np.array([0.4, 1.2, 0.3, 1.5, -2.0, 1.0]),
    )
    steps = np.array([400, 800, 1600])
    ends = [stepped(replace(plant, dt=0.5 / n), start, n) for n in steps]
    drift = np.abs(
        [
            motion(plant, *x.reshape(2, 3)) - motion(plant, *start.reshape(2, 3))
            for x in ends
        ]
    )
    slopes = np.polyfit(np.log(1 / steps), np.log(drift), 1)[0]
    assert slopes == pytest.approx([1.0, 1.0], abs=0.1)


def test_arm3_with_a_hand_of_no_mass_is_arm2(rng):
    arm2 = with_params(plant_of("arm2"), {"friction": 0.6})
    names = ("upper_mass", "lower_mass", "upper_length", "lower_length", "friction")
    arm3 = with_params(
        plant_of("arm3"),
        {**{name: arm2.params[name] for name in names}, "hand_mass": 1e-10},
    )
    for x, u in states(arm2, rng):
        found = accelerations(
            arm3, [*x[:2], 0.4, *x[2:], 0.0], [*u, 0.0]
        )  # a still wrist has no friction either
        np.testing.assert_allclose(found[:2], accelerations(arm2, x, u), rtol=1e-7)


def test_a_load_is_a_heavier_lower_link(rng):
    bare, load = plant_of("arm2_todorov"), 0.7
    mass, centre, length, inertia = (
        bare.params[f"lower_{name}"] for name in ("mass", "centre", "length", "inertia")
    )
    heavier = with_params(
        bare,
        {
            "lower_mass": mass + load,
            "lower_inertia": inertia + load * length**2,
            "lower_centre": (mass * centre + load * length) / (mass + load),
        },
    )
    for x, u in states(bare, rng):
        found = accelerations(with_params(bare, {"load": load}), x, u)
        np.testing.assert_allclose(found, accelerations(heavier, x, u), rtol=1e-12)


def test_arm2_todorov_with_uniform_rods_is_arm2(rng):
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
        np.testing.assert_allclose(
            accelerations(other, x, u), accelerations(rods, x, u), rtol=1e-11
        )
