"""Sparse Jacobians: the pattern that is found, and Jacobians by groups of columns."""

from types import SimpleNamespace

import numpy as np
import pytest
from helpers import relative

from hfcontrol.arrays.random import Stream, stream
from hfcontrol.closed_loop import structure as probing
from hfcontrol.closed_loop.structure import (
    _sample_points,
    find_pattern,
    learn_structure,
)
from hfcontrol.kernels import compile_plant
from hfcontrol.kernels.structure import DENSE, group_columns, make_structure, unpack
from hfcontrol.optim.curvature import GaussNewton
from hfcontrol.plant.registry import load_plant
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.settings import settings_for

MASSES = 12
CHAIN = f'''"""{MASSES} masses in a row, with springs between; forces at both ends."""
N = {MASSES}
STATE = tuple(f"q{{i}}" for i in range(N)) + tuple(f"q{{i}}_rate" for i in range(N))
CONTROL = ("first", "last")
PARAMS = {{"k": 1.0}}
DT, INTEGRATOR = 0.1, "euler"
TASKS = {{"calm": {{"generator": "around", "start": (0.0,) * {2 * MASSES},
    "spread": (1.0,) * {2 * MASSES}, "target": (0.0,) * {2 * MASSES}, "trials": 5,
    "steps": 6, "final": 1.0, "running": 0.2, "effort": 0.1}}}}
'''
COMPILED = """
def dynamics(x, u, p, dx):
    for i in range(N):
        left = x[i - 1] if i > 0 else 0.0
        right = x[i + 1] if i < N - 1 else 0.0
        dx[i] = x[N + i]
        dx[N + i] = p[0] * (left - 2.0 * x[i] + right)
    dx[N] = dx[N] + u[0]
    dx[2 * N - 1] = dx[2 * N - 1] + u[1]
"""
IN_PYTHON = """
import numpy as np

def step_batch(X, U, P, dt):
    q, rate = X[:N], X[N:]
    wall = np.zeros((1, X.shape[1]))
    left, right = np.vstack([wall, q[:-1]]), np.vstack([q[1:], wall])
    force = P[0] * (left - 2.0 * q + right)
    force[0] += U[0]
    force[-1] += U[1]
    return np.vstack([q + dt * rate, rate + dt * force])
"""
KINDS = {"compiled": COMPILED, "in Python": IN_PYTHON}


@pytest.fixture(params=KINDS)
def path(request, tmp_path):
    return write(tmp_path, KINDS[request.param])


def write(folder, functions):
    """Write a plant file; of a plant in Python without an integrator."""
    text = CHAIN + functions
    if "step_batch" in functions:
        text = text.replace('"euler"', '"none"')
    path = folder / "chain.py"
    path.write_text(text, encoding="utf-8")
    return path


def trainer_of(path, **settings):
    options = {"hidden": (3,), "strategy": "plain", "hold": "model", **settings}
    return make_trainer(settings_for(plant=str(path), **options))


def true_pattern():
    """Euler's x + dt f: a state, its rate, and the neighbours in the rates' rows."""
    n = MASSES
    pattern = np.zeros((2 * n, 2 * n + 2), dtype=bool)
    pattern[:, : 2 * n] = np.eye(2 * n)
    pattern[:n, n : 2 * n] |= np.eye(n, dtype=bool)
    band = np.abs(np.subtract.outer(np.arange(n), np.arange(n))) <= 1
    pattern[n:, :n] = band
    pattern[n, 2 * n] = pattern[2 * n - 1, 2 * n + 1] = True
    return pattern


def test_the_pattern_of_a_linear_plant_is_found(path):
    structure = trainer_of(path).kernels.structure
    np.testing.assert_array_equal(structure.pattern, true_pattern())
    # a mass, its neighbours and its rate; both controls are moved together
    assert len(structure.groups) < 8
    assert structure.table.shape == (2 * MASSES, 4)


def test_the_number_of_groups_does_not_grow_with_the_chain():
    def groups(n):
        band = np.abs(np.subtract.outer(np.arange(n), np.arange(n))) <= 1
        return group_columns(band)

    assert len(groups(10)) == len(groups(1000)) == 3


def test_columns_of_a_group_share_no_row(rng):
    pattern = rng.random((30, 40)) < 0.1
    groups = group_columns(pattern)
    assert sorted(np.concatenate(groups)) == list(range(40))
    for group in groups:
        assert pattern[:, group].sum(axis=1).max() <= 1


def test_jacobians_by_groups_equal_those_column_by_column(path, rng):
    """Exactly: what does not depend on a column does not move with it."""
    kernels = trainer_of(path).kernels
    structure, plant = kernels.structure, kernels.plant
    x = rng.standard_normal((4, plant.nx, 3))
    u = rng.standard_normal((3, plant.nu, 3))
    p, taper = np.ones((1, 3)), plant.taper
    whole = kernels.jacobians_along(x, u, p, taper)
    packed, B, table = kernels.packed_jacobians_along(x, u, p, taper)
    C, C_table = kernels.packed_observe_jacobian(x, p)
    kernels.structure = None
    dense = kernels.jacobians_along(x, u, p, taper)
    assert kernels.packed_jacobians_along(x, u, p, taper)[2] is DENSE
    for one, other in zip(whole, dense, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(B, dense[1])
    for t in range(3):
        np.testing.assert_array_equal(unpack(packed[t], table, plant.nx), dense[0][t])
    seen = kernels.observe_jacobian(x, p)
    np.testing.assert_array_equal(unpack(C[0], C_table, plant.nx), seen[0])
    assert structure.table is table


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
@pytest.mark.parametrize("hold", ["scenario", "model"])
def test_passes_with_packed_jacobians_equal_dense_ones(path, rng, fused, hold):
    trainer = trainer_of(path)
    loop = trainer.loop(stream(0, Stream.SCENARIOS))
    if not fused:
        loop.options = type(loop.options)(fused=False)
        loop.passes = loop._choose_passes()
    theta = 0.3 * rng.standard_normal(trainer.network.size)
    v = rng.standard_normal(theta.size)

    def results():
        rollout = loop.rollout(theta)
        if hold == "model":
            rollout = loop.rollout(theta + 0.1 * v, loop.linear_model(rollout))
        linear = loop.linearise(rollout)
        few = GaussNewton(linear.subset(2)) @ v
        found = [rollout.x, linear.gradient, GaussNewton(linear) @ v, few]
        return [*found, linear.rows(loop.active_residuals()[-2:])]

    packed = results()
    loop.kernels.structure = None
    for one, other in zip(packed, results(), strict=True):
        assert relative(one, other) < 1e-12


def test_a_rollout_counts_the_steps_of_its_groups(path):
    trainer = trainer_of(path)
    loop = trainer.loop(stream(0, Stream.SCENARIOS))
    rollout = loop.rollout(np.zeros(trainer.network.size))
    groups = len(trainer.kernels.structure.groups)
    steps = loop.scenario.steps * loop.trials
    assert loop.jacobian_counts(rollout).jacobian_steps == 2 * groups * steps


def test_dependencies_that_show_later_are_noticed(path, monkeypatch):
    """The pattern of the first half of the points misses a column: no structure."""

    def missing(kernels, x, u, p):
        pattern = find_pattern(kernels, x, u, p)
        pattern[:, 3] = False
        pattern[3, 3] = True
        return pattern

    monkeypatch.setattr(probing, "find_pattern", missing)
    assert trainer_of(path).kernels.structure is None


def test_a_dependency_beyond_a_threshold_is_found(tmp_path):
    """Each mass pushes the second next one, once it is further out than 0.9."""
    contact = COMPILED.replace(
        "        dx[N + i] =",
        "        far = x[i - 2] - 0.9 if i > 1 else 0.0\n"
        "        dx[N + i] = 10.0 * max(far, 0.0) +",
    )
    pattern = trainer_of(write(tmp_path, contact)).kernels.structure.pattern
    n = MASSES
    pushed = true_pattern()
    pushed[n:, :n] |= np.eye(n, k=-2, dtype=bool)
    np.testing.assert_array_equal(pattern, pushed)


def test_a_dense_plant_keeps_no_structure(tmp_path):
    rate = "dx[i] = x[N + i]\n"
    loop = "        for j in range(N):\n            dx[i] += x[j] * x[N + j]\n"
    dense = COMPILED.replace(rate, rate + loop)
    assert trainer_of(write(tmp_path, dense)).kernels.structure is None


def test_small_plants_are_not_probed(monkeypatch):
    def probe(*arguments):
        raise AssertionError

    monkeypatch.setattr(probing, "find_pattern", probe)
    plant = load_plant("arm2")
    kernels = compile_plant(plant)
    learn_structure(kernels, None, None)
    assert kernels.structure is None


def test_rows_with_few_entries_are_filled_up():
    """Row 0 has both columns, row 1 the last alone."""
    structure = make_structure(np.array([[True, True, True], [False, True, False]]), 2)
    np.testing.assert_array_equal(structure.table, [[0, 1], [1, 0]])
    J = np.array([[[1.0], [2.0]], [[3.0], [0.0]]])
    np.testing.assert_array_equal(
        unpack(J, structure.table, 2)[..., 0], [[1.0, 2.0], [0.0, 3.0]]
    )


def test_points_that_are_not_finite_show_nothing():
    """Neither states of trials that diverged, nor states from which a step diverges."""
    steps, trials = 5, 4

    def simulate(x0, u, params, disturbance, taper):
        x = np.zeros((steps + 1, 2, trials))
        x[:, 0] = np.arange(trials)
        x[2:, 1, 1] = np.inf
        return x

    def step(states, controls, params):
        # Trial 2 diverges at its next step.
        return np.where(params == 2.0, np.nan, states)

    plant = SimpleNamespace(
        nu=1, trim=0.0, typical_control=(1.0,), typical_state=(1, 1)
    )
    kernels = SimpleNamespace(plant=plant, simulate=simulate, step=step)
    scenario = SimpleNamespace(
        steps=steps,
        trials=trials,
        x0=np.zeros((2, trials)),
        params=np.arange(trials, dtype=float)[None],
        motor_noise=np.zeros((steps, 1, trials)),
        disturbance=None,
    )
    wiring = SimpleNamespace(limits=SimpleNamespace(clip=lambda u: u), taper=None)
    states, controls, params = _sample_points(kernels, scenario, wiring)
    assert np.isfinite(states).all() and set(params[0]) == {0.0, 1.0, 3.0}
    assert states.shape[1] == controls.shape[1] == params.shape[1]
