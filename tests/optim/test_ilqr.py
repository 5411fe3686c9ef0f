"""iLQR: what its backward pass promises, and when it stops."""

from types import SimpleNamespace

import numpy as np
import pytest
from helpers import loop_of

from hfcontrol.optim import ilqr
from hfcontrol.optim.ilqr import (
    DAMPING_START,
    OpenLoop,
    improve,
    solve_backward,
)
from hfcontrol.optim.yardstick import optimum
from hfcontrol.plant.contract import Plant

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
    np.testing.assert_allclose(again.losses, best.losses, rtol=1e-14)


@pytest.mark.parametrize("fails", [True, False])
def test_damping_grows_and_shrinks_tenfold_within_its_range(fails, monkeypatch):
    """A search that fails in trial 0 always, or never; the loss of trial 1 is zero."""
    monkeypatch.setattr(ilqr, "DAMPING_MOST", 1e-4)
    monkeypatch.setattr(ilqr, "DAMPING_LEAST", 1e-8)
    used, losses = [], np.array([1.0, 0.0])

    def solve_backward(expansion, damping):
        used.append(damping[0])
        return np.zeros((3, 2, 1)), None, np.array([1.0, 0.0])

    def search(system, k, K, found, waiting):
        if not fails:
            losses[0] *= 0.5
        return np.array([0]) if fails else np.array([], dtype=int)

    monkeypatch.setattr(ilqr, "solve_backward", solve_backward)
    monkeypatch.setattr(ilqr, "search", search)
    found = SimpleNamespace(x=None, v=None, u=None, losses=losses)
    system = SimpleNamespace(simulate=lambda v: found, expand=lambda x, v, u: None)
    monkeypatch.setattr(ilqr, "FEW", 0.4)
    ilqr._improve_block(system, None, 6, 1e-11)
    factor = ilqr.DAMPING_FACTOR if fails else 1 / ilqr.DAMPING_FACTOR
    powers = ilqr.DAMPING_START * factor ** np.arange(6.0)
    np.testing.assert_allclose(used, np.clip(powers, 1e-8, 1e-4), rtol=1e-12)


def test_lengths_tried_together_find_what_lengths_one_by_one_find(rng, monkeypatch):
    """What NumPy steps together is simulated less often, with the same result."""
    system = system_of({"plant": "arm2", "effort": 1e-5, "trials": 4})
    # so far away that whole steps overshoot
    v = 300 * controls_of(system, rng)
    simulate, counts = OpenLoop.simulate, []

    def counted(self, *arguments):
        counts[-1] += 1
        return simulate(self, *arguments)

    monkeypatch.setattr(OpenLoop, "simulate", counted)
    found = []
    for together in (False, True):
        monkeypatch.setattr(Plant, "steps_together", together)
        counts.append(0)
        found.append(improve(system, v, 20))
    for before, after in zip(*found, strict=True):
        np.testing.assert_array_equal(before, after)
    assert counts[1] < counts[0]


def test_less_is_gained_where_less_is_asked_for(rng):
    system = system_of({"plant": "arm2", "effort": 1e-3, "running": 0.05, "trials": 4})
    v = controls_of(system, rng)
    exact = improve(system, v)
    rough = improve(system, v, promise=1e-2)
    excess = rough.losses / exact.losses - 1
    assert (excess > 1e-9).any()
    assert (excess < 0.1).all()
    assert (improve(system, rough.v).losses <= rough.losses).all()


@pytest.mark.parametrize("mu", [1e-6, 1e-2, 10.0])
def test_damping_means_the_same_in_all_units_of_the_controls(mu, rng):
    options = {"plant": "arm2", "effort": 1e-4, "running": 0.05, "limit": 0.3}
    system = system_of({**options, "trials": 3})
    found = system.simulate(controls_of(system, rng))
    e = system.expand(found.x, found.v, found.u)
    damping = np.full(3, mu)
    k, K, promise = solve_backward(e, damping)

    # u = unit w: the same problem in w
    unit = np.array([1e6, 1e-3])
    scaled = e._replace(
        B=e.B * unit,
        l_u=e.l_u * unit,
        l_ux=e.l_ux * unit[:, None],
        l_uu=e.l_uu * unit * unit[:, None],
        low=e.low / unit,
        high=e.high / unit,
    )
    k_scaled, K_scaled, promise_scaled = solve_backward(scaled, damping)
    np.testing.assert_allclose(k_scaled * unit, k, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(K_scaled * unit[:, None], K, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(promise_scaled, promise, rtol=1e-9)


def test_a_control_without_effect_and_cost_stays():
    """Delayed commands cannot do anything at first; no number becomes infinite."""
    system = system_of({**LINEAR["linear, acts late"]})
    found = system.simulate(np.zeros_like(system.scenario.motor_noise))
    expansion = system.expand(found.x, found.v, found.u)
    k, K, _ = solve_backward(expansion, np.full(3, DAMPING_START))
    nothing = expansion._replace(
        l_uu=np.zeros_like(expansion.l_uu),
        l_u=np.zeros_like(expansion.l_u),
        B=np.zeros_like(expansion.B),
    )
    still = solve_backward(nothing, np.full(3, DAMPING_START))
    assert np.isfinite(k).all() and np.isfinite(K).all()
    assert not still.k.any() and not still.K.any() and not still.promise.any()


MASS = """
STATE, CONTROL, DT, INTEGRATOR = ("x", "x_rate"), ("u",), 0.1, "rk4"
METRE, NEWTON = {metre}, {newton}

def dynamics(x, u, p, dx):
    dx[0] = x[1]
    dx[1] = METRE * u[0] / NEWTON - x[0]

TASKS = {{
    "stop": {{"generator": "around", "start": (0.0, 0.0), "spread": (METRE, METRE),
             "target": (0.0, 0.0), "steps": 40, "trials": 3, "final": METRE**-2,
             "running": 0.1 * METRE**-2, "effort": 0.05 * NEWTON**-2}}
}}
"""


@pytest.mark.parametrize("metre, newton", [(1e6, 1e6), (1.0, 1e6), (1e-6, 1e-6)])
def test_optimum_is_the_same_in_all_units(metre, newton, tmp_path):
    losses = []
    for name, units in {"si": (1.0, 1.0), "other": (metre, newton)}.items():
        path = tmp_path / f"{name}.py"
        path.write_text(MASS.format(metre=units[0], newton=units[1]))
        loop = loop_of(str(path))
        found = optimum(loop.kernels, loop.scenario, loop.wiring)
        losses.append(found.losses)
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-6)
