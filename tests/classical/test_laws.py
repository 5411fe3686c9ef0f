"""Classical laws against closed forms, and why some do not apply."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hfcontrol.classical import tuning
from hfcontrol.classical.controller import ClassicalController, simulate
from hfcontrol.classical.joint_pd import JointPD, settling_gains
from hfcontrol.classical.laws import LAWS
from hfcontrol.classical.lqr import Regulator, settling_weights
from hfcontrol.classical.mechanics import Mechanics
from hfcontrol.classical.observer import Observer
from hfcontrol.classical.operational_space import OperationalSpace
from hfcontrol.classical.problem import Problem, UnsuitableError, make_nominal
from hfcontrol.classical.tracking import Tracking
from hfcontrol.classical.tuning import Plan, plan_search, tune
from hfcontrol.cli.benchmark import describe_unfinished
from hfcontrol.closed_loop.wiring import Wiring
from hfcontrol.evaluation.evaluation import path_deviation
from hfcontrol.kernels import compile_plant
from hfcontrol.optim.yardstick import optimum
from hfcontrol.plant.limits import ControlLimits
from hfcontrol.plant.modifiers import with_actuators, with_observations
from hfcontrol.plant.reader import read_plant
from hfcontrol.plant.registry import load_plant
from hfcontrol.tasks.task import Task, TaskOptions

# Two carts: one of mass 2, one of mass 1/2 that gravity pulls down.
CARTS = """
import numpy as np
STATE, CONTROL = ("a", "b", "a_rate", "b_rate"), ("push_a", "push_b")
DT, INTEGRATOR = 0.01, "semi_implicit"
PARAMS = {"mass": 2.0}


def dynamics(x, u, p, dx):
    dx[0] = x[2]
    dx[1] = x[3]
    dx[2] = u[0] / p[0]
    dx[3] = 2 * u[1] - 9.81


def draw(rng, trials, split):
    return np.zeros((4, trials)), np.array([[1.0], [2.0], [0.0], [0.0]]) @ np.ones(
        (1, trials)
    )


TASKS = {"move": {"draw": draw, "trials": 3, "steps": 100, "effort": 1e-3}}
"""

# A plant whose states are no positions with rates, and one of which the control does
# not move the unstable half.
STEPS = """
import numpy as np
STATE, CONTROL = ("first", "second"), ("push",)
DT = 0.1


def step(x, u, p, dt, x_next):
    x_next[0] = 0.9 * x[0] + 0.3 * x[1]
    x_next[1] = -0.2 * x[0] + 1.05 * x[1] + 0.5 * u[0]


def draw(rng, trials, split):
    return rng.standard_normal((2, trials)), np.zeros((2, trials))


TASKS = {"home": {"draw": draw, "trials": 7, "steps": 400, "running": 1.0,
                  "effort": 0.05}}
"""
STUCK = STEPS.replace("0.9 * x[0] + 0.3 * x[1]", "1.1 * x[0]")


def make_problem(plant, task=None, wiring=None, **options):
    """The nominal problem of a plant, given by its name, its source or itself."""
    if isinstance(plant, str):
        is_source = "\n" in plant
        plant = read_plant(plant, Path("p.py")) if is_source else load_plant(plant)
    kernels = compile_plant(plant)
    chosen = Task(plant, kernels, task, TaskOptions(**options))
    scenario = make_nominal(chosen.draw(np.random.default_rng(0)), plant)
    free = np.full(plant.nu, np.inf)
    wiring = wiring or Wiring(
        0, 0, ControlLimits.symmetric(free), np.full(plant.nx, np.inf)
    )
    return Problem(plant, kernels, scenario, wiring)


def move(problem, law):
    """The movement of a law on the nominal plant."""
    controller = ClassicalController(problem, law)
    return simulate(controller, problem.kernels, problem.scenario, problem.wiring)


def refusal(name, problem):
    """Why a law does not apply to a problem."""
    with pytest.raises(UnsuitableError) as caught:
        LAWS[name].make(problem, (1.0, 1.0))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_mass_matrix_and_drift_equal_those_of_the_equations(rng):
    """Of arm2, from the equations of motion in its docstring."""
    problem = make_problem("arm2", trials=5)
    x = rng.standard_normal((4, 5))
    M, W, a = Mechanics(problem).at(x)
    k3 = 1.32 * 0.27**2 / 3
    k1 = (1.98 / 3 + 1.32) * 0.31**2 + k3
    k2 = 1.32 * 0.31 * 0.27
    cosine, sine = np.cos(x[1]), np.sin(x[1])
    np.testing.assert_allclose(M[:, 0, 0], k1 + k2 * cosine)
    np.testing.assert_allclose(M[:, 0, 1], k3 + k2 / 2 * cosine)
    np.testing.assert_allclose(M[:, 1, 0], k3 + k2 / 2 * cosine)
    np.testing.assert_allclose(M[:, 1, 1], k3)
    np.testing.assert_allclose(M @ W, np.tile(np.eye(2), (5, 1, 1)), atol=1e-12)
    h = np.stack([-k2 * sine * x[2] * x[3] - k2 / 2 * sine * x[3] ** 2,
                  k2 / 2 * sine * x[2] ** 2])  # fmt: skip
    np.testing.assert_allclose(-np.einsum("nij,nj->in", M, a), h, atol=1e-10)


def test_pd_settles_as_a_critically_damped_oscillator():
    """e(t) = (1 + omega t) exp(-omega t) for every mass, and gravity is gone.

    The plant's own steps of 10 ms are (e, v) -> S (e, v), in closed form too.
    """
    problem = make_problem(CARTS)
    omega, zeta = settling_gains(problem)
    assert (omega, zeta) == (pytest.approx(5.83), 1.0)
    x = move(problem, JointPD(problem, (omega, zeta))).x
    t = 0.01 * np.arange(101)
    left = (1 + omega * t) * np.exp(-omega * t)
    np.testing.assert_allclose(1 - x[:, 0, 0], left, atol=0.02)
    rate = np.array([-(omega**2) * 0.01, 1 - 2 * omega * 0.01])
    S = np.stack([np.array([1.0, 0.0]) + 0.01 * rate, rate])
    exact = [np.linalg.matrix_power(S, k)[0, 0] for k in range(101)]
    np.testing.assert_allclose(1 - x[:, 0, 0], exact, atol=1e-10)
    np.testing.assert_allclose(1 - x[:, 1, 0] / 2, exact, atol=1e-10)


def test_the_hand_moves_on_straight_lines():
    """To 1e-3 of the distance, as the point mass that the law makes of it.

    What is left is due to the plant's steps: it halves with them.
    """
    deviations = []
    for dt in (0.01, 0.005):
        arm = replace(load_plant("arm2"), dt=dt)
        problem = make_problem(arm, trials=8, steps=round(1 / dt))
        movement = move(problem, OperationalSpace(problem, (5.83, 1.0)))
        z = problem.kernels.output(movement.x, problem.params)[:, :2]
        goal = problem.scenario.goal_output[-1, :2]
        deviations.append(path_deviation(z, goal).max())
    assert deviations[1] < 1e-3
    assert 1.8 < deviations[0] / deviations[1] < 2.2
    left = np.linalg.norm(z[-1] - goal, axis=0) / 0.0725
    np.testing.assert_allclose(left, 6.83 * np.exp(-5.83), atol=2e-3)


def test_a_redundant_arm_reaches_its_posture_too():
    problem = make_problem("arm3", trials=8, steps=100)
    x = move(problem, OperationalSpace(problem, (10.0, 1.0))).x
    np.testing.assert_allclose(x[-1], problem.goal[-1], atol=5e-3)


def test_the_regulator_costs_what_riccati_says():
    """The sum over a long time is x'Px / 2 on a linear plant."""
    problem = make_problem(STEPS)
    law = Regulator(problem, (2.0, 1.0))
    movement = move(problem, law)
    x, u = movement.x[:-1], movement.u
    cost = 0.5 * np.einsum("tin,ij,tjn->n", x, law.Q, x)
    cost += 0.5 * np.einsum("tin,ij,tjn->n", u, law.R, u)
    x0 = problem.scenario.x0
    riccati = 0.5 * np.einsum("in,nij,jn->n", x0, law.P[0], x0)
    np.testing.assert_allclose(cost, riccati, rtol=1e-9)


def test_the_regulator_holds_a_goal_that_needs_force():
    """A cart under gravity stays at its goal: the trim is its weight."""
    problem = make_problem(CARTS)
    law = Regulator(problem, settling_weights(problem))
    np.testing.assert_allclose(law.trims[0, 1], 9.81 / 2, rtol=1e-9)
    final = move(problem, law).x[-1, :, 0]
    np.testing.assert_allclose(final, [1, 2, 0, 0], atol=0.05)


def test_the_regulator_lets_a_free_state_follow():
    """By the equations of STEPS, first = 3 and push = 1.1 hold second = 1."""
    problem = make_problem(STEPS)
    goal = np.full_like(problem.scenario.goal, 1.0)
    goal[:, 0] = np.nan
    free = replace(problem, scenario=replace(problem.scenario, goal=goal))
    law = Regulator(free, (2.0, 1.0))
    np.testing.assert_allclose(law.goals[0, 0], 3.0, rtol=1e-6)
    np.testing.assert_allclose(law.trims[0, 0], 1.1, rtol=1e-6)
    np.testing.assert_allclose(move(free, law).x[-1, 1], 1.0, rtol=1e-6)


@pytest.mark.parametrize("delays", [(0, 0), (3, 2)])
def test_tracking_reproduces_the_optimum_without_disturbance(delays):
    arm = load_plant("arm2")
    free = np.full(arm.nx, np.inf)
    wiring = Wiring(*delays, ControlLimits.symmetric(np.full(2, 1.2)), free)
    problem = make_problem("arm2", trials=4, wiring=wiring)
    best = optimum(problem.kernels, problem.scenario, wiring)
    law = Tracking(problem, (1.0, 1.0))
    movement = move(problem, law)
    np.testing.assert_allclose(movement.x, law.x, atol=1e-9)
    np.testing.assert_allclose(movement.losses, best.losses, rtol=1e-6)
    assert np.abs(movement.u).max() <= 1.2


def test_tuning_lowers_the_cost_and_finds_the_best_gains():
    """Of a grid around the tuned gains, none is better by more than 1 %."""
    problem = make_problem("arm2", trials=4)
    gains = tune(LAWS["pd"], problem)
    assert gains.loss < gains.rule_loss
    assert gains.is_converged and gains.simulations < tuning.SIMULATIONS
    for factors in [(0.9, 1.0), (1.1, 1.0), (1.0, 0.9), (1.0, 1.1)]:
        other = tuple(np.multiply(gains.chosen, factors))
        loss = move(problem, JointPD(problem, other)).losses.mean()
        assert loss > 0.99 * gains.loss
    assert tune(LAWS["ilqr"], problem) is None


def test_a_search_for_gains_says_when_it_ends_at_its_bound(monkeypatch):
    monkeypatch.setattr(tuning, "SIMULATIONS", 5)
    monkeypatch.setattr(tuning, "LEAST_SIMULATIONS", 1)
    gains = tune(LAWS["pd"], make_problem("arm2", trials=4))
    assert not gains.is_converged and gains.loss <= gains.rule_loss
    assert "bound of 5 simulations of 4 trials" in describe_unfinished(gains._asdict())


@pytest.mark.parametrize("steps", [10, 1000, 100_000])
@pytest.mark.parametrize("nx", [2, 30, 300, 3000])
def test_a_search_for_gains_keeps_to_its_budget(nx, steps):
    """Or it is as short as it may be."""
    plan = plan_search(nx, steps, 64)
    of_trial = tuning.RICCATI_OPERATIONS * nx**3
    spent = plan.simulations * (tuning.STEP_OPERATIONS * steps + plan.trials * of_trial)
    assert spent <= tuning.BUDGET or plan == Plan(1, tuning.LEAST_SIMULATIONS)
    if nx == 2 and steps == 10:
        assert plan == Plan(tuning.TRIALS, tuning.SIMULATIONS)
    assert plan_search(nx, steps, 1).trials == 1


def test_controls_stay_within_the_limits():
    arm = load_plant("arm2")
    wiring = Wiring(
        0, 0, ControlLimits.symmetric(np.array([0.3, 0.1])), np.full(arm.nx, np.inf)
    )
    problem = make_problem("arm2", trials=4, wiring=wiring)
    u = move(problem, JointPD(problem, (20.0, 1.0))).u
    np.testing.assert_allclose(np.abs(u).max(axis=(0, 2)), [0.3, 0.1])


def test_a_diverging_law_loses_and_stays_finite():
    problem = make_problem("arm2", trials=4)
    movement = move(problem, JointPD(problem, (1e4, 1.0)))
    assert np.isinf(movement.losses).all() and np.isfinite(movement.x).all()


def test_rates_that_are_not_observed_are_differences():
    arm = with_observations(load_plant("arm2"), ("positions",))
    problem = make_problem(arm, trials=2)
    observer = Observer(problem)
    q = problem.scenario.x0[:2]
    np.testing.assert_array_equal(observer(q), problem.scenario.x0)
    np.testing.assert_allclose(observer(q + 0.02)[2:], 2.0)


def test_an_observation_of_another_form_is_inverted(rng):
    """The pendulum shows sine and cosine; its angle is found beyond a whole turn."""
    problem = make_problem("pendulum", trials=3)
    observer = Observer(problem)
    x = problem.scenario.x0.copy()
    for _ in range(40):
        x = x + np.array([[0.3], [0.1]])
        y = problem.kernels.observe(x[None], problem.params)[0]
        np.testing.assert_allclose(observer(y), x, atol=1e-9)


@pytest.mark.parametrize(
    "name, plant, words",
    [
        ("pd", STEPS, "not positions and their rates"),
        ("pd", "cartpole", "1 controls for 2 positions"),
        ("pd", "electric", "8 controls for 2 positions"),
        ("operational_space", CARTS, "no hand"),
        ("operational_space", "arm1", "fewer positions than its hand"),
        ("lqr", STUCK, "cannot be stabilised"),
    ],
)
def test_a_law_says_why_it_does_not_apply(name, plant, words):
    problem = make_problem(plant, trials=2)
    assert words in refusal(name, problem)


def test_a_regulator_needs_a_goal_that_stays():
    assert "goal moves" in refusal("lqr", make_problem("arm2", "follow", trials=2))


def test_a_position_without_a_goal_is_named():
    problem = make_problem(CARTS)
    goal = problem.scenario.goal.copy()
    goal[:, 1] = np.nan
    free = replace(problem, scenario=replace(problem.scenario, goal=goal))
    assert refusal("pd", free) == "the task gives no goal for b"


def test_states_that_nothing_observes_are_named():
    arm = with_actuators(load_plant("arm2"), 0.04)
    problem = make_problem(arm, trials=2)
    with pytest.raises(UnsuitableError, match=r"^nothing observes ") as caught:
        Observer(problem)
    assert all(name in str(caught.value) for name in arm.state[4:])
    assert "actuators come between" in refusal("pd", problem)
