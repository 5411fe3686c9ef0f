"""The starts of the yardstick, and how it chooses among them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import loop_of

from hfcontrol.closed_loop.wiring import Wiring
from hfcontrol.kernels import compile_plant
from hfcontrol.optim import starts, yardstick
from hfcontrol.optim.ilqr import OpenLoop, improve
from hfcontrol.optim.regulator import find_rest
from hfcontrol.optim.yardstick import STARTS, optimum
from hfcontrol.plant.limits import ControlLimits
from hfcontrol.plant.reader import read_plant
from hfcontrol.tasks.scenario import mix_trials, select_trials, shorten_scenario
from hfcontrol.tasks.task import Task, TaskOptions

# A place x with two valleys at 1 and -1. Without control the plant runs into the one at
# 1, and stays there whatever the control. The cost asks for the other one.
VALLEYS = """
STATE, CONTROL = ("x",), ("u",)
DT, INTEGRATOR = 0.1, "rk4"
LIMIT = 0.7


def dynamics(x, u, p, dx):
    dx[0] = 4.0 * x[0] * (1.0 - x[0] * x[0]) + 2.0 * u[0]


TASKS = {"choose": {"generator": "around", "start": (0.3,), "spread": (0.02,),
                    "target": (-1.0,), "trials": 4, "steps": 40, "effort": 1e-3}}
"""


def system_of(loop):
    return OpenLoop(loop.kernels, loop.scenario, loop.wiring)


def controls_of(system, start):
    return start(system, find_rest(system), np.random.default_rng(0))


@pytest.fixture(scope="module")
def valleys():
    plant = read_plant(VALLEYS, Path("valleys.py"))
    kernels = compile_plant(plant)
    scenario = Task(plant, kernels, "choose", TaskOptions()).draw(
        np.random.default_rng(0)
    )
    return OpenLoop(
        kernels,
        scenario,
        Wiring(0, 0, ControlLimits(*plant.limit, plant.typical_control), plant.taper),
    )


@pytest.mark.parametrize("start", STARTS)
def test_every_start_respects_limit_and_gives_finite_controls(start):
    loop = loop_of("quadrotor", "stabilise", trials=3, steps=20)
    system = system_of(loop)
    v = controls_of(system, start)
    assert v.shape == loop.scenario.motor_noise.shape
    assert np.isfinite(v).all()
    assert (np.abs(v) <= loop.wiring.limits.high[:, None]).all()


def test_noise_lies_about_the_trim():
    """The thrust of a quadrotor that hovers at start and goal, on average."""
    loop = loop_of("quadrotor", "stabilise", trials=50, steps=40)
    v = controls_of(system_of(loop), starts.noise_about_trim)
    rest = find_rest(system_of(loop))
    middle = 0.5 * (rest.start.u + rest.goal.u).mean(axis=1)
    size = starts.NOISE * np.array(loop.plant.typical_control)
    error = np.abs(v.mean(axis=(0, 2)) - middle)
    assert (error < 5 * size / np.sqrt(2000)).all()


def test_grown_horizon_begins_where_the_shorter_one_ends():
    """Over a part of the horizon it is as good as iLQR from nothing."""
    loop = loop_of("pendulum", "balance", trials=3, steps=60)
    system = system_of(loop)
    v = controls_of(system, starts.grown_horizon)
    best = optimum(loop.kernels, loop.scenario, loop.wiring).losses
    np.testing.assert_allclose(system.simulate(v).losses, best, rtol=1e-2)


def test_no_command_arrives_before_its_delay():
    loop = loop_of("arm2", effort=1e-3, delays=(0, 4), steps=30)
    v = controls_of(system_of(loop), starts.grown_horizon)
    assert not v[:4].any() and v[4:].any()


def test_zero_alone_finds_the_wrong_valley(valleys):
    """The optimum is in the other one, for every trial."""
    alone = improve(valleys, np.zeros_like(valleys.scenario.motor_noise))
    best = optimum(valleys.kernels, valleys.scenario, valleys.wiring)
    assert (alone.x[-1] > 0.5).all()
    assert (best.x[-1] < -0.5).all()
    assert (best.losses < 0.7 * alone.losses).all()


def test_optimum_is_never_above_that_of_any_start(valleys):
    best = optimum(valleys.kernels, valleys.scenario, valleys.wiring).losses
    for start in STARTS:
        found = improve(valleys, controls_of(valleys, start)).losses
        assert (best <= found * (1 + 1e-9)).all()


def test_a_loss_beyond_bounds_elsewhere_does_not_end_the_search():
    """One trial starts far away; the others are improved all the same."""
    loop = loop_of("pendulum", "balance", trials=5, steps=60)
    x0 = loop.scenario.x0.copy()
    x0[1, 0] = 1e9
    system = system_of(loop)
    far = OpenLoop(loop.kernels, replace(loop.scenario, x0=x0), loop.wiring)
    v = controls_of(system, starts.rolled_out_law)
    alone, together = improve(system, v).losses, improve(far, v).losses
    np.testing.assert_allclose(together[1:], alone[1:], rtol=1e-6)


def test_pendulum_balance_equals_the_optimum_from_good_controls():
    """From zero alone iLQR loses the pendulum: the loss is far too high."""
    loop = loop_of("pendulum", "balance", trials=16, steps=100)
    system = system_of(loop)
    law = improve(system, controls_of(system, starts.rolled_out_law))
    with np.errstate(all="ignore"):
        lost = improve(system, np.zeros_like(law.v), 50).losses
    best = optimum(loop.kernels, loop.scenario, loop.wiring).losses
    np.testing.assert_allclose(best, law.losses, rtol=1e-3)
    assert lost.mean() > 100 * best.mean()


def test_optimum_is_independent_of_the_number_of_trials():
    """Sixteen trials alone, and the same among 64, of a swing-up with many valleys."""
    loop = loop_of("pendulum", "swing_up", trials=64, steps=40)
    all_trials = optimum(loop.kernels, loop.scenario, loop.wiring).losses
    chosen = np.arange(0, 64, 4)
    few = select_trials(loop.scenario, chosen)
    alone = optimum(loop.kernels, few, loop.wiring).losses
    assert alone.mean() == pytest.approx(all_trials[chosen].mean(), rel=1e-3)


def test_same_problem_gives_the_same_bits(valleys):
    first, second = (
        optimum(valleys.kernels, valleys.scenario, valleys.wiring) for _ in range(2)
    )
    np.testing.assert_array_equal(first.u, second.u)


def test_easy_trials_need_one_start(monkeypatch):
    """All pilots agree, so that nobody explores."""
    monkeypatch.setattr(yardstick, "_explore", None)
    loop = loop_of("linear", trials=40)
    assert np.isfinite(optimum(loop.kernels, loop.scenario, loop.wiring).losses).all()


def test_trials_in_blocks_equal_all_at_once(monkeypatch):
    loop = loop_of("arm2", effort=1e-3, trials=7)
    system = system_of(loop)
    zero = np.zeros_like(loop.scenario.motor_noise)
    together = improve(system, zero)
    entries = 3 * loop.scenario.steps * (loop.plant.nx + loop.plant.nu) ** 2
    monkeypatch.setattr("hfcontrol.optim.ilqr.MOST_ENTRIES", entries)
    assert system.block == 3
    np.testing.assert_allclose(improve(system, zero).losses, together.losses, rtol=1e-9)


def test_mixed_trials_lie_between_two_others():
    loop = loop_of("linear", trials=3)
    mixed = mix_trials(loop.scenario, 20, np.random.default_rng(0))
    assert mixed.trials == 23
    np.testing.assert_array_equal(mixed.x0[:, :3], loop.scenario.x0)
    low = loop.scenario.x0.min(axis=1, keepdims=True)
    high = loop.scenario.x0.max(axis=1, keepdims=True)
    assert ((mixed.x0 >= low) & (mixed.x0 <= high)).all()
    # weights are the same in all trials, so in their mixtures too
    np.testing.assert_allclose(
        mixed.cost.weights.state[:, :, 3], mixed.cost.weights.state[:, :, 0]
    )


def test_shortened_scenario_costs_what_the_first_steps_cost(rng):
    loop = loop_of(task="worth")
    scenario = loop.scenario
    short = shorten_scenario(scenario, 5)
    u = rng.standard_normal((12, 2, 7))
    x = loop.kernels.simulate(
        scenario.x0, u, scenario.params, scenario.disturbance, loop.wiring.taper
    )
    assert short.steps == 5
    # the last state has no control, so its residuals differ from those of the step
    before = scenario.cost.losses_over_time(x, u)[:5].sum(axis=0)
    last = short.cost.losses_at(5, x[5], None)
    np.testing.assert_allclose(short.cost.losses(x[:6], u[:5]), before + last)
