"""Variants of a plant against closed forms, and against the plant they vary."""

import numpy as np
import pytest
from helpers import plant_of
from scipy.integrate import solve_ivp

from hfcontrol.errors import UsageError
from hfcontrol.kernels import compile_plant
from hfcontrol.plant.modifiers import with_actuators, with_observations, with_params

LAG = 0.04  # [s]


def drawn(plant, rng, steps=6, trials=5):
    """Random starts (nx, N), controls (T, nu, N), parameters (np, N) and no disturbance (T, nx, N)."""
    params = np.tile(np.array(list(plant.params.values()))[:, None], trials)
    return (
        0.3 * rng.standard_normal((plant.nx, trials)),
        rng.standard_normal((steps, plant.nu, trials)),
        params,
        np.zeros((steps, plant.nx, trials)),
    )


@pytest.mark.parametrize("name", ["arm2", "swing", "cart"])
def test_drives_follow_held_commands_in_closed_form(name, rng=np.random.default_rng(0)):
    plant = with_actuators(plant_of(name), LAG)
    x0, u, p, still = drawn(plant, rng)
    x = compile_plant(plant).simulate(x0, u, p, still, np.full(plant.nx, np.inf))
    a = x0[plant.n_body :]
    for t, command in enumerate(u):
        a = command + (a - command) * np.exp(-plant.dt / LAG)
        np.testing.assert_allclose(x[t + 1, plant.n_body :], a, rtol=1e-12)


@pytest.mark.parametrize("name", ["arm2", "swing", "cart"])
def test_the_body_gets_the_mean_drive(name, rng=np.random.default_rng(1)):
    plain, plant = plant_of(name), with_actuators(plant_of(name), LAG)
    x0, u, p, still = drawn(plant, rng, steps=1)
    fine = np.linspace(0, plant.dt, 2001)[:, None, None]
    drive = (
        np.trapezoid(
            u[0] + (x0[plant.n_body :] - u[0]) * np.exp(-fine / LAG),
            fine[:, 0, 0],
            axis=0,
        )
        / plant.dt
    )
    x = compile_plant(plant).step(x0, u[0], p)
    np.testing.assert_allclose(
        x[: plant.n_body],
        compile_plant(plain).step(x0[: plant.n_body], drive, p),
        rtol=1e-6,
    )


def test_lagging_arm_tends_to_its_differential_equation(rng=np.random.default_rng(2)):
    """Body and drives as one differential equation, solved by SciPy: the difference falls with the step to first order."""
    from dataclasses import replace

    arm, differences = plant_of("arm2"), []
    start, command, p = (
        np.array([0.5, 1.2, 0.8, -0.5, 0.2, -0.1]),
        np.array([0.7, -0.4]),
        list(arm.params.values()),
    )

    def rates(t, x):
        dx = [0.0] * 4
        arm.functions["dynamics"](x[:4], x[4:], p, dx)
        return [*dx, *((command - x[4:]) / LAG)]

    exact = solve_ivp(
        rates, (0, 0.2), start, method="DOP853", rtol=1e-12, atol=1e-12
    ).y[:, -1]
    for steps in (50, 100, 200):
        plant = with_actuators(replace(arm, dt=0.2 / steps), LAG)
        u = np.tile(command[:, None], (steps, 1, 1))
        x = compile_plant(plant).simulate(
            start[:, None],
            u,
            np.array(p)[:, None],
            np.zeros((steps, 6, 1)),
            np.full(6, np.inf),
        )
        differences.append(np.abs(x[-1, :, 0] - exact).max())
    assert np.polyfit(np.log([50, 100, 200]), np.log(differences), 1)[
        0
    ] == pytest.approx(-1, abs=0.1)


@pytest.mark.parametrize("name", ["arm2", "swing", "cart"])
def test_fewer_observations_are_entries_of_all(name, rng=np.random.default_rng(3)):
    plain = plant_of(name)
    names = plain.observation[::-2]
    for variant in (
        with_observations(plain, names),
        with_observations(with_actuators(plain, LAG), names),
    ):
        x0, _, p, _ = drawn(variant, rng)
        x, seen = x0[None], [plain.observation.index(name) for name in names]
        kernels, whole = compile_plant(variant), compile_plant(plain)
        body = np.ascontiguousarray(x[:, : plain.nx])
        np.testing.assert_array_equal(
            kernels.observe(x, p), whole.observe(body, p)[:, seen]
        )
        C = kernels.observe_jacobian(x, p)
        np.testing.assert_array_equal(
            C[:, :, : plain.nx], whole.observe_jacobian(body, p)[:, seen]
        )
        assert not C[:, :, plain.nx :].any()


def test_positions_are_what_is_no_rate():
    assert with_observations(plant_of("arm2"), ("positions",)).observation == (
        "shoulder",
        "elbow",
    )


def test_parameters_replace_the_plants_own():
    plant = with_params(plant_of("arm2"), {"upper_mass": 3.0})
    assert (
        plant.params["upper_mass"] == 3.0
        and plant_of("arm2").params["upper_mass"] != 3.0
    )


@pytest.mark.parametrize(
    "change, told",
    [
        (
            lambda plant: with_params(plant, {"colour": 1.0}),
            "`param` colour: plant arm2 has no such parameter; it has: upper_mass",
        ),
        (
            lambda plant: with_actuators(plant, -1.0),
            "`actuators` -1.0: the time constant must be above zero",
        ),
        (
            lambda plant: with_observations(plant, ("wrist",)),
            "`observe` wrist: the observations of plant arm2 are shoulder, elbow",
        ),
    ],
)
def test_a_wrong_variant_is_told_in_one_line(change, told):
    with pytest.raises(UsageError) as caught:
        change(plant_of("arm2"))
    assert str(caught.value).startswith(told) and "\n" not in str(caught.value)
