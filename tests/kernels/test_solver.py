"""The compiled solver in continuous time at its smallest size."""

import signal
from dataclasses import replace

import numpy as np
import pytest
from helpers import plant_of

from hfcontrol.closed_loop.continuous import ContinuousLoop, Estimator, compiled
from hfcontrol.closed_loop.wiring import Wiring
from hfcontrol.kernels import compile_plant
from hfcontrol.network.architecture import Architecture
from hfcontrol.network.network import Network
from hfcontrol.plant.limits import ControlLimits
from hfcontrol.plant.registry import load_plant
from hfcontrol.tasks.task import Task, TaskOptions


def loop_of(
    estimator,
    plant="linear",
    limit=np.inf,
    shape=((1,), "linear", (), ()),
    trials=3,
    steps=2,
):
    """A loop over a few steps, in blocks of at most two trials."""
    # Another plant of the tests is called linear, too.
    plant = plant_of(plant) if plant == "swing" else load_plant(plant)
    kernels = compile_plant(plant)
    task = Task(plant, kernels, None, TaskOptions(trials=trials, steps=steps))
    network = Network(Architecture(*shape), task.n_target + plant.ny, plant.nu)
    scenario = task.draw(np.random.default_rng(3))
    limits = ControlLimits.symmetric(np.full(plant.nu, limit))
    wiring = Wiring(0, 0, limits, plant.taper)
    estimator = replace(estimator, block_size=2)
    return ContinuousLoop(plant, kernels, network, scenario, wiring, estimator)


# Cells in continuous time with a limit, and a plant file that defines `jacobian`.
LOOPS = {
    "ctpg": {"estimator": Estimator("ctpg", 1e-8, 1e-8)},
    "backsolve": {"estimator": Estimator("backsolve", 1e-8, 1e-8)},
    "ctpg, jacobian": {
        "estimator": Estimator("ctpg", 1e-8, 1e-8),
        "plant": "diffdrive",
    },
    "rk4, cells": {
        "estimator": Estimator("rk4"),
        "plant": "swing",
        "limit": 0.8,
        "shape": ((2, 1), "ctrnn", (2,), (1,)),
    },
}
loops = pytest.mark.parametrize("options", LOOPS.values(), ids=LOOPS.keys())


@loops
def test_gradient_agrees_with_differences(options):
    loop = loop_of(**options)
    theta = loop.network.initial(np.random.default_rng(1)) + 0.3
    v = np.random.default_rng(2).standard_normal(theta.size)
    gradient = loop.linearise(loop.rollout(theta)).gradient
    h = 1e-5
    change = loop.rollout(theta + h * v).loss - loop.rollout(theta - h * v).loss
    np.testing.assert_allclose(gradient @ v, change / (2 * h), rtol=1e-4)


@loops
def test_tangent_and_adjoint_are_transposed(options):
    loop = loop_of(**options)
    theta = loop.network.initial(np.random.default_rng(1)) + 0.3
    linear = loop.linearise(loop.rollout(theta))
    assert linear.trials == 3 and linear.subset(2).trials == 2
    v = np.random.default_rng(2).standard_normal(theta.size)
    tangent = linear.jvp(v)
    w = np.random.default_rng(4).standard_normal(tangent.size)
    np.testing.assert_allclose(tangent @ w, v @ linear.vjp(w), rtol=1e-11)


def test_a_path_is_the_same_whatever_room_it_has_at_first(monkeypatch):
    """It is made longer as often as needed, and the integration goes on."""
    paths = []
    for room in (1, 3, 1000):
        monkeypatch.setattr(compiled, "FIRST_ROOM", room)
        loop = loop_of(Estimator("ctpg", 1e-12, 1e-12))
        rollout = loop.rollout(loop.network.initial(np.random.default_rng(1)) + 0.3)
        paths.append(rollout.paths[0])
    assert 10 < len(paths[0].times) < 1000
    for path in paths[1:]:
        for one, other in zip(paths[0], path, strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_end_cuts_the_last_step_and_makes_none_longer():
    """Over twice the time the solver takes the same steps, and one across that end."""
    paths = []
    for steps in (2, 4):
        loop = loop_of(Estimator("ctpg", 1e-12, 1e-12), trials=1, steps=steps)
        rollout = loop.rollout(loop.network.initial(np.random.default_rng(1)) + 0.3)
        paths.append(rollout.paths[0].times)
    short, long = paths
    last = len(short) - 1
    assert last > 5 and short[last] == pytest.approx(2 * loop.plant.dt)
    np.testing.assert_array_equal(short[:last], long[:last])
    assert long[last] > short[last]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers of signals")
@pytest.mark.parametrize("name", ["ctpg", "rk4"])
def test_an_interrupt_in_compiled_code_is_one(name):
    """It is raised as what it is, once the kernel has returned."""
    # A single block runs in this thread.
    loop = loop_of(Estimator(name, 1e-13, 1e-13, step=1e-5), trials=1)
    theta = loop.network.initial(np.random.default_rng(1)) + 0.3
    before = signal.signal(signal.SIGVTALRM, signal.default_int_handler)
    try:
        for _ in range(5):
            with pytest.raises(KeyboardInterrupt):
                signal.setitimer(signal.ITIMER_VIRTUAL, 0.002)
                while True:
                    loop.rollout(theta)
    finally:
        signal.signal(signal.SIGVTALRM, before)
