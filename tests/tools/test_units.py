"""Unit systems: the same plant in other units begins, and trains, alike."""

from pathlib import Path

import numpy as np
import pytest

import hfcontrol as hf
from hfcontrol.plant.registry import load_plant
from hfcontrol.runs.settings import Settings
from hfcontrol.runs.training import start_training

TOOLS = Path(__file__).parents[2] / "tools"
SMALL = {"trials": 6, "hidden": (4,), "batches": 2, "rollouts": 4}
OTHERS = ("mixed", "offset of 350", "milli, controls in mega")


@pytest.fixture(scope="module")
def units():
    """The module that writes plants in other units."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOOLS))
        from benchmarks import units

        yield units


@pytest.fixture(scope="module")
def start_in(units, tmp_path_factory):
    """A function that starts a training in some units."""

    def start(system):
        folder = tmp_path_factory.mktemp("units")
        path = units.write_plant("pendulum", "balance", units.SYSTEMS[system], folder)
        return start_training(Settings(plant=str(path), **SMALL), folder)

    return start


@pytest.fixture(scope="module")
def si(start_in):
    """A training in SI units, at its start and at its end."""
    training = start_in("SI")
    start = training.state.theta
    for _ in training.events():
        pass
    return training, start


def test_a_plant_in_other_units_is_the_same_plant(units, tmp_path):
    system = units.Units((1e3, 1e-2), (10.0,), (5.0, 1.0, 2.0), offset=7.0)
    path = units.write_plant("pendulum", "balance", system, tmp_path)
    here, there = load_plant("pendulum"), load_plant(str(path))
    x, u, p = np.array([2.0, -1.5]), np.array([3.0]), [1.0, 1.1, 9.8, 0.2]
    dx, scaled_dx = np.zeros(2), np.zeros(2)
    here.functions["dynamics"](x, u, p, dx)
    there.functions["dynamics"](x * [1e3, 1e-2] + 7.0, 10.0 * u, p, scaled_dx)
    np.testing.assert_allclose(scaled_dx, dx * [1e3, 1e-2], rtol=1e-12)
    y, scaled_y = np.zeros(3), np.zeros(3)
    here.functions["observe"](x, p, y)
    there.functions["observe"](x * [1e3, 1e-2] + 7.0, p, scaled_y)
    np.testing.assert_allclose(scaled_y, y * [5.0, 1.0, 2.0] + 7.0, rtol=1e-12)
    np.testing.assert_allclose(there.limit, 10.0 * here.limit)


@pytest.mark.slow
@pytest.mark.parametrize("system", OTHERS)
def test_a_training_does_not_depend_on_units(start_in, si, system):
    """Its weights in typical sizes are the same, and so is what it reaches."""
    here, start = si
    there = start_in(system)
    np.testing.assert_allclose(there.state.theta, start, rtol=1e-3, atol=1e-4)
    for _ in there.events():
        pass
    assert there.state.updates == here.state.updates
    losses = [
        hf.evaluate(training.run)["sets"]["held_out"]["loss"]
        for training in (here, there)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0.01)
