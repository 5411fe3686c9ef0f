"""A trained network on its own: the same commands as in the closed loop, shapes, steps, and what it does not import."""

import subprocess
import sys

import numpy as np
import pytest

import hfcontrol as hf
from hfcontrol.errors import UsageError

CELLS = pytest.mark.parametrize("settings", [{}, {"learn_start": True, "skip": "none"}, {"cell": "ctrnn"}],
                                ids=["tanh", "learned start", "ctrnn"])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A small run of each kind, made when asked for."""
    made = {}

    def run(**settings):
        key = tuple(sorted(settings.items()))
        if key not in made:
            made[key] = hf.train("arm2", hidden=(5, 4), trials=4, steps=8, batches=2, rollouts=6, control_limit=2.0,
                                 out=tmp_path_factory.mktemp("runs"), **settings)
        return made[key]
    return run


@CELLS
def test_commands_are_those_of_the_closed_loop(runs, settings):
    run = runs(**settings)
    loop = run.closed_loop()
    rollout, target = loop.rollout(run.theta), loop.scenario.target
    together, alone = hf.Controller.load(run), hf.Controller.load(run)
    for t in range(loop.scenario.steps):
        u = together.act(target[t], rollout.y[t])
        np.testing.assert_allclose(u, rollout.u[t], rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(alone.act(target[t, :, 1], rollout.y[t, :, 1]), u[:, 1], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(together.hidden, rollout.hidden(run.network)[-1], rtol=1e-11, atol=1e-13)
    first = rollout.u[0]
    together.reset()
    np.testing.assert_allclose(together.act(target[0], rollout.y[0]), first, rtol=1e-11, atol=1e-13)


def test_what_it_tells(runs):
    controller = hf.Controller.load(runs())
    assert controller.dt == 0.01 and controller.n_target == 4 and len(controller.observes) == 4
    assert controller.controls == ("shoulder_torque", "elbow_torque")


@pytest.mark.parametrize("target, observation, words", [
    ((3,), (4,), r"act\(target \(3,\), observation \(4,\)\): needed are \(4,\) and \(4,\)"),
    ((4, 2), (4, 3), "needed are"), ((4,), (4, 1), "needed are"), ((4, 1, 1), (4, 1, 1), "needed are")])
def test_wrong_shapes(runs, target, observation, words):
    with pytest.raises(UsageError, match=words):
        hf.Controller.load(runs()).act(np.zeros(target), np.zeros(observation))


def test_another_number_of_trials_needs_a_reset(runs):
    controller = hf.Controller.load(runs())
    controller.act(np.zeros((4, 2)), np.zeros((4, 2)))
    with pytest.raises(UsageError, match=r"call reset\(\)"):
        controller.act(np.zeros((4, 3)), np.zeros((4, 3)))
    controller.reset()
    assert controller.act(np.zeros(4), np.zeros(4)).shape == (2,)


def test_another_control_step(runs):
    assert hf.Controller.load(runs(), dt=0.01).dt == 0.01
    with pytest.raises(UsageError, match="steps of 0.02 s: .* was trained for 0.01 s"):
        hf.Controller.load(runs(), dt=0.02)


def test_it_compiles_nothing():
    code = ("import sys, numpy as np, hfcontrol as hf; c = hf.Controller.load('weights/arm2-reach'); "
            "c.act(np.zeros(4), np.zeros(4)); print('numba' in sys.modules, 'matplotlib' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
