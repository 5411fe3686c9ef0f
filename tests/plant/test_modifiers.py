"""Modified plants against closed forms, and against the plants that they modify."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import plant_of
from scipy.integrate import solve_ivp

from hfcontrol.errors import UsageError
from hfcontrol.kernels import compile_plant
from hfcontrol.plant.modifiers import (
    with_actuators,
    with_jitter,
    with_observations,
    with_params,
)

LAG = 0.04  # [s]
PLANTS = ("arm2", "swing", "cart")


def draw(plant, rng, steps=6, trials=5):
    """Random starts (nx, N), controls (T, nu, N), and no disturbance (T, nx, N).

    The third of the four arrays are the plant's parameters (n_params, N).
    """
    params = np.tile(np.array(list(plant.params.values()))[:, None], trials)
    x0 = 0.3 * rng.standard_normal((plant.nx, trials))
    u = rng.standard_normal((steps, plant.nu, trials))
    return x0, u, params, np.zeros((steps, plant.nx, trials))


@pytest.mark.parametrize("name", PLANTS)
def test_drives_follow_constant_commands_in_closed_form(name):
    plant = with_actuators(plant_of(name), LAG)
    x0, u, p, still = draw(plant, np.random.default_rng(0))
    x = compile_plant(plant).simulate(x0, u, p, still, np.full(plant.nx, np.inf))
    a = x0[plant.n_body :]
    for t, command in enumerate(u):
        a = command + (a - command) * np.exp(-plant.dt / LAG)
        np.testing.assert_allclose(x[t + 1, plant.n_body :], a, rtol=1e-12)


@pytest.mark.parametrize("name", PLANTS)
def test_body_is_driven_by_the_mean_drive(name):
    plain = plant_of(name)
    plant = with_actuators(plain, LAG)
    x0, u, p, _ = draw(plant, np.random.default_rng(1), steps=1)
    times = np.linspace(0, plant.dt, 2001)
    decay = np.exp(-times / LAG)[:, None, None]
    drives = u[0] + (x0[plant.n_body :] - u[0]) * decay
    mean = np.trapezoid(drives, times, axis=0) / plant.dt
    x = compile_plant(plant).step(x0, u[0], p)
    expected = compile_plant(plain).step(x0[: plant.n_body], mean, p)
    np.testing.assert_allclose(x[: plant.n_body], expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["arm2", "swing", "quadrotor"])
@pytest.mark.parametrize("lag", [0.0, LAG], ids=["no actuators", "actuators"])
def test_a_longer_step_is_one_of_a_longer_dt(name, lag):
    """Every trial's step has its own length, and the disturbance sets the next one."""
    usual = with_actuators(plant_of(name), lag)
    plant = with_jitter(usual, 0.4)
    x0, u, p, changes = draw(plant, np.random.default_rng(1), steps=2, trials=2)
    excesses = np.array([-0.3, 0.4])
    x0[-1] = excesses
    changes[:, -1] = excesses[::-1]
    x = compile_plant(plant).simulate(x0, u, p, changes, np.full(plant.nx, np.inf))
    for n, excess in enumerate(excesses):
        other = compile_plant(replace(usual, dt=usual.dt * (1 + excess)))
        trial = slice(n, n + 1)
        expected = other.step(x0[:-1, trial], u[0][:, trial], p[:, trial])
        np.testing.assert_allclose(x[1, :-1, trial], expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(x[1, -1], excesses[::-1])


@pytest.mark.parametrize("name", ["linear", "cart"])
def test_steps_of_one_length_cannot_vary(name):
    with pytest.raises(UsageError, match=r"`jitter` 0.3: plant \w+ is known by steps"):
        with_jitter(plant_of(name), 0.3)


def test_arm_with_actuators_converges_to_its_differential_equation():
    """SciPy solves body and drives together; the error is proportional to the step."""
    arm = plant_of("arm2")
    start = np.array([0.5, 1.2, 0.8, -0.5, 0.2, -0.1])
    command = np.array([0.7, -0.4])
    p = list(arm.params.values())

    def rates(t, x):
        dx = [0.0] * 4
        arm.functions["dynamics"](x[:4], x[4:], p, dx)
        return [*dx, *((command - x[4:]) / LAG)]

    solution = solve_ivp(
        rates, (0, 0.2), start, method="DOP853", rtol=1e-12, atol=1e-12
    )
    steps = np.array([50, 100, 200])
    errors = []
    for count in steps:
        plant = with_actuators(replace(arm, dt=0.2 / count), LAG)
        u = np.tile(command[:, None], (count, 1, 1))
        still = np.zeros((count, 6, 1))
        no_taper = np.full(6, np.inf)
        x = compile_plant(plant).simulate(
            start[:, None], u, np.array(p)[:, None], still, no_taper
        )
        errors.append(np.abs(x[-1, :, 0] - solution.y[:, -1]).max())
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert slope == pytest.approx(-1, abs=0.1)


@pytest.mark.parametrize("name", PLANTS)
def test_fewer_observations_are_entries_of_all(name):
    rng = np.random.default_rng(3)
    plain = plant_of(name)
    names = plain.observation[::-2]
    indices = [plain.observation.index(name) for name in names]
    whole = compile_plant(plain)
    for base in (plain, with_actuators(plain, LAG)):
        modified = with_observations(base, names)
        x0, _, p, _ = draw(modified, rng)
        x = x0[None]
        body = np.ascontiguousarray(x[:, : plain.nx])
        kernels = compile_plant(modified)
        np.testing.assert_array_equal(
            kernels.observe(x, p), whole.observe(body, p)[:, indices]
        )
        C = kernels.observe_jacobian(x, p)
        np.testing.assert_array_equal(
            C[:, :, : plain.nx], whole.observe_jacobian(body, p)[:, indices]
        )
        assert not C[:, :, plain.nx :].any()


def test_observed_positions_are_all_but_the_rates():
    plant = with_observations(plant_of("arm2"), ("positions",))
    assert plant.observation == ("shoulder", "elbow")


def test_params_replace_those_of_the_plant():
    plant = with_params(plant_of("arm2"), {"upper_mass": 3.0})
    assert plant.params["upper_mass"] == 3.0
    assert plant_of("arm2").params["upper_mass"] != 3.0


@pytest.mark.parametrize(
    "change, message",
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
def test_wrong_modification_is_reported_in_one_line(change, message):
    with pytest.raises(UsageError) as caught:
        change(plant_of("arm2"))
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)
