"""The judges of tools/optima: L-BFGS-B on the adjoint, and IPOPT on symbols."""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from helpers import central_difference, dense_jacobian, loop_of

from hfcontrol.optim.ilqr import OpenLoop
from hfcontrol.optim.yardstick import optimum

TOOLS = Path(__file__).parents[2] / "tools"

CASES = {
    "swing": {"plant": "swing", "task": "worth", "trials": 2},
    "quadrotor": {"plant": "quadrotor", "steps": 6, "trials": 2},
    "arm2": {"plant": "arm2", "effort": 1e-3, "running": 0.05, "trials": 2},
    "arm2, hand": {"plant": "arm2", "effort": 1e-3, "space": "hand", "trials": 2},
    "linear": {"plant": "linear", "trials": 2},
}

needs_casadi = pytest.mark.skipif(not find_spec("casadi"), reason="needs casadi")


@pytest.fixture(autouse=True)
def tools_are_importable(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(TOOLS), *sys.path])


def system_of(options):
    loop = loop_of(**options)
    return loop, OpenLoop(loop.kernels, loop.scenario, loop.wiring)


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_gradient_of_shooting_is_that_of_differences(options, rng):
    from benchmarks.shooting import loss_and_gradient

    loop, system = system_of(options)
    alone = system.subset([1])
    limit = loop.wiring.limits.high
    v = np.clip(0.1 * rng.standard_normal((loop.scenario.steps, len(limit))), -0.5, 0.5)
    direction = rng.standard_normal(v.shape)
    slope = central_difference(
        lambda v: loss_and_gradient(alone, v)[0], v, direction, 1e-5
    )
    _, gradient = loss_and_gradient(alone, v)
    assert gradient @ direction.ravel() == pytest.approx(slope, rel=1e-5, abs=1e-9)


def test_shooting_finds_the_optimum_of_a_linear_plant():
    from benchmarks.shooting import Shooting

    loop, system = system_of(CASES["linear"])
    best = optimum(loop.kernels, loop.scenario, loop.wiring).losses
    v = np.zeros(loop.scenario.motor_noise.shape[:2])
    found = Shooting(system).solve(1, None, v)
    loss = system.subset([1]).simulate(found[:, :, None].copy()).losses[0]
    assert loss == pytest.approx(best[1], rel=1e-6)


@needs_casadi
@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_symbolic_cost_and_step_are_those_of_the_rollout(options, rng):
    from benchmarks.symbolic import cost_function, step_function, trial_data

    loop, system = system_of(options)
    s, plant = loop.scenario, loop.plant
    v = np.clip(rng.standard_normal(s.motor_noise.shape), -0.5, 0.5)
    found = system.simulate(v)
    step, (cost, _) = step_function(plant), cost_function(plant, s)
    data, p = trial_data(s, 1), s.params[:, 1]
    x, u = found.x[..., 1], np.vstack([found.u[..., 1], np.zeros((1, plant.nu))])
    after = np.array(step(x[3], u[3], p)).ravel() + s.disturbance[3, :, 1]
    np.testing.assert_allclose(after, x[4], rtol=1e-9, atol=1e-12)
    losses = [float(cost(x[t], u[t], p, data[:, t])) for t in range(len(x))]
    assert sum(losses) == pytest.approx(found.losses[1], rel=1e-9)


@needs_casadi
def test_ipopt_finds_the_optimum_of_a_linear_plant():
    from benchmarks.symbolic import Ipopt

    loop, system = system_of(CASES["linear"])
    best = optimum(loop.kernels, loop.scenario, loop.wiring).losses
    v = np.zeros(loop.scenario.motor_noise.shape[:2])
    x = np.zeros((len(v) + 1, loop.plant.nx))
    judge = Ipopt(loop.kernels, loop.scenario, loop.wiring)
    loss = system.subset([1]).simulate(judge.solve(1, x, v)[:, :, None].copy()).losses
    assert loss[0] == pytest.approx(best[1], rel=1e-6)


@needs_casadi
@pytest.mark.parametrize("name", ["linear", "arm2", "arm2, hand"])
def test_ipopt_finds_the_same_optimum_through_a_black_box(name, monkeypatch):
    from benchmarks import symbolic

    def refuse(plant):
        raise TypeError("a table has no symbols")

    loop, system = system_of(CASES[name])
    v = np.zeros(loop.scenario.motor_noise.shape[:2])
    x = np.repeat(loop.scenario.x0[:, 1][None], len(v) + 1, axis=0)
    losses = {}
    for trace in (symbolic.step_function, refuse):
        monkeypatch.setattr(symbolic, "step_function", trace)
        judge = symbolic.Ipopt(loop.kernels, loop.scenario, loop.wiring)
        controls = judge.solve(1, x, v)[:, :, None].copy()
        losses[judge.name] = system.subset([1]).simulate(controls).losses[0]
    traced, black_box = losses["IPOPT"], losses["IPOPT, black box"]
    assert black_box == pytest.approx(traced, rel=1e-6)


@needs_casadi
@pytest.mark.parametrize("taper", [np.inf, 0.2])
def test_jacobian_of_a_black_box_is_that_of_differences(taper, rng):
    from benchmarks.black_box import Steps

    loop, _ = system_of(CASES["arm2"])
    T, nx, nu = 3, loop.plant.nx, loop.plant.nu
    steps = Steps(loop.kernels, np.full(nx, taper), T)
    x, u = rng.standard_normal((nx, T)), rng.standard_normal((nu, T))
    p = loop.scenario.params[:, :T]
    p = np.repeat(p[:, :1], T, axis=1)
    by_x, by_u, _ = steps.jacobian()(x, u, p, steps(x, u, p))
    for J, at, values in ((by_x, x, (u,)), (by_u, u, (x,))):

        def after(d, values=values, at=at):
            moved = d.reshape(at.shape, order="F")
            pair = (moved, *values) if at is x else (*values, moved)
            return np.array(steps(*pair, p)).ravel("F")

        dense = dense_jacobian(after, at.ravel("F"))
        np.testing.assert_allclose(np.array(J), dense, rtol=1e-6, atol=1e-7)
