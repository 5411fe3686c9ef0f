"""The harness of the studies: what it trains, scores and times."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from hfcontrol.optim.yardstick import optimum
from hfcontrol.plant.registry import load_plant
from hfcontrol.runs.settings import settings_for
from hfcontrol.studies.harness import Setup

GOOD = SimpleNamespace(loss=1.5)
SMALL = {"plant": "linear", "trials": 6, "hidden": (4,), "rollouts": 4}


@pytest.fixture(scope="module")
def setup():
    return Setup(settings_for(**SMALL))


def test_events_are_those_of_the_trainer(setup):
    states = [event.state for event, _ in setup.events(setup.initial_state())]
    plain = [event.state for event in setup.trainer.run(setup.initial_state())]
    assert [state.loss for state in states] == [state.loss for state in plain]


def test_the_clock_stands_still_while_an_event_is_scored(setup):
    """A clock that counts its own calls: two calls per event, one step apart."""
    ticks = itertools.count()
    seconds = []
    for _, now in setup.events(setup.initial_state(), lambda: float(next(ticks))):
        seconds.append(now)
        next(ticks)
    np.testing.assert_array_equal(np.diff(seconds), 1.0)


def test_held_out_ratio_is_a_rollout_over_the_optimum(setup):
    yardstick = setup.held_out(trials=3)
    theta = setup.initial_weights()
    rollout = yardstick.loop.rollout(theta)
    assert rollout.losses.size == 3
    loop = yardstick.loop
    best = optimum(loop.kernels, loop.scenario, loop.wiring)
    assert yardstick.optimal == best.losses.mean()
    assert yardstick.ratio(theta) == rollout.losses.mean() / yardstick.optimal
    # its own commands may lead to a better optimum, if it is a good controller
    found = replace(yardstick, optima=lambda loop, own=None: 1.0 if own else 2.0)
    great = replace(found, loop=SimpleNamespace(rollout=lambda theta: GOOD))
    assert great.ratio(theta) == 1.5


def test_training_grows_its_horizon_if_the_task_asks():
    task = load_plant("arm2").tasks["follow"]
    settings = settings_for(plant="arm2", task="follow", hidden=(2,), rollouts=1)
    assert settings.grow == task["train"]["grow"]
    setup = Setup(settings)
    assert setup.after_curriculum().rollouts > 0
