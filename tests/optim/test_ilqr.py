"""iLQR: what its backward pass promises, and when it stops."""

import numpy as np
import pytest
from helpers import loop_of

from hfcontrol.optim.ilqr import (
    DAMPING_START,
    OpenLoop,
    improve,
    solve_backward,
)

LINEAR = {
    "linear": {"plant": "linear", "trials": 3},
    "linear, acts late": {"plant": "linear", "trials": 3, "delays": (0, 3)},
    "arm1": {"plant": "arm1", "task": "angle", "steps": 30, "effort": 1e-3},
}


def system_of(options):
    loop = loop_of(**options)
    return OpenLoop(loop.kernels, loop.scenario, loop.wiring)


def controls_of(system, rng):
    v = 0.3 * rng.standard_normal(system.scenario.motor_noise.shape)
    v[: system.wiring.command_delay] = 0.0
    return v


@pytest.mark.parametrize("options", LINEAR.values(), ids=LINEAR)
def test_a_quadratic_problem_keeps_the_promise_of_the_backward_pass(options, rng):
    system = system_of(options)
    found = system.simulate(controls_of(system, rng))
    expansion = system.expand(found.x, found.v, found.u)
    damping = np.full(found.losses.size, DAMPING_START)
    k, K, promise = solve_backward(expansion, damping)
    after = system.simulate(found.v + k.transpose(0, 2, 1), K, found.x)
    np.testing.assert_allclose(found.losses - after.losses, promise, rtol=1e-6)


@pytest.mark.parametrize("options", LINEAR.values(), ids=LINEAR)
def test_iteration_ends_when_nothing_is_promised(options, rng, monkeypatch):
    """At the optimum the controls are not simulated again."""
    system = system_of(options)
    # a trial that starts at its goal has nothing but rounding errors
    away = np.flatnonzero(np.abs(system.scenario.x0 - system.scenario.goal[0]).max(0))
    system = system.subset(away)
    best = improve(system, controls_of(system, rng))
    simulations = []
    simulate = OpenLoop.simulate

    def counted(self, *arguments):
        simulations.append(self.scenario.trials)
        return simulate(self, *arguments)

    monkeypatch.setattr(OpenLoop, "simulate", counted)
    again = improve(system, best.v)
    assert simulations == [system.scenario.trials]
    np.testing.assert_array_equal(again.losses, best.losses)


def test_less_is_gained_where_less_is_asked_for(rng):
    system = system_of({"plant": "arm2", "effort": 1e-3, "running": 0.05, "trials": 4})
    v = controls_of(system, rng)
    exact = improve(system, v)
    rough = improve(system, v, promise=1e-2)
    excess = rough.losses / exact.losses - 1
    assert (excess > 1e-9).any()
    assert (excess < 0.1).all()
    assert (improve(system, rough.v).losses <= rough.losses).all()
