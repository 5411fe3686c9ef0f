"""What comes before a training proper: growing horizons and races, their results and what they cost."""

from dataclasses import replace

import numpy as np
import pytest

import hfcontrol as hf
from hfcontrol import warmup
from hfcontrol.building import SCENARIOS, WEIGHTS, build, stream
from hfcontrol.errors import TaskError, UsageError
from hfcontrol.plant import load_plant, read_plant
from hfcontrol.settings import Settings, settings_for

SMALL = {"plant": "arm2", "trials": 8, "steps": 16, "hidden": (6, 5)}


def test_weights_grow_with_the_horizon():
    """The same by hand: so many updates over an eighth, a quarter and a half of the horizon, one after the other."""
    settings = Settings(**SMALL, grow=3)
    trainer, rollouts = build(settings), 0
    theta = trainer.network.initial(stream(settings, WEIGHTS))
    for steps in (2, 4, 8):
        short = build(settings.changed(steps=steps, batches=3))
        for event in short.run(short.init(theta, stream(settings, SCENARIOS))):
            if event.state.updates >= 3:
                break
        theta, rollouts = event.state.theta, rollouts + event.state.rollouts
    grown = warmup.warm_up(trainer, settings)
    np.testing.assert_array_equal(grown.theta, theta)
    assert grown.rollouts == rollouts and grown.seconds > 0 and grown.updates == 0


def test_what_growing_cost_is_counted_once(tmp_path):
    run = hf.train(**SMALL, grow=2, rollouts=30, out=tmp_path)
    settings = run.settings
    before = warmup.warm_up(build(settings), settings)
    first = run.state.curve[0]
    assert first.updates == 0 and first.rollouts == before.rollouts + 1 and first.seconds > 0
    assert run.state.first == first.loss and run.state.rollouts >= 30


def test_grown_weights_win_races():
    settings = Settings(**SMALL, grow=2, race=2)
    best, alone = (warmup.warm_up(build(s), s) for s in (settings, replace(settings, race=1)))
    assert best.updates >= warmup.RACE_UPDATES and best.rollouts > 2 * alone.rollouts


@pytest.mark.parametrize("given, grow", [({}, 12), ({"grow": 3}, 3)])
def test_a_task_has_its_own_way_of_training(given, grow):
    settings = settings_for(plant="quadrotor", task="stabilise", **given)
    assert settings.grow == grow and settings.batches == Settings().batches


def test_a_task_that_asks_for_what_is_no_setting(tmp_path):
    path = tmp_path / "mine.py"
    source = load_plant("arm1").source
    path.write_text(source.replace('"trials": 16,', '"trials": 16, "train": {"colour": 3},'))
    with pytest.raises(TaskError, match="its train entry has 'colour', which is no setting") as caught:
        settings_for(plant=str(path))
    assert "\n" not in str(caught.value)


def test_negative_growth_is_told():
    with pytest.raises(UsageError, match="--grow -1: 0 or above is needed"):
        Settings(grow=-1)


def test_an_untrained_network_gives_the_trim():
    settings = Settings(plant="quadrotor", trials=4, steps=4)
    trainer = build(settings)
    theta = trainer.network.initial(stream(settings, WEIGHTS))
    np.testing.assert_array_equal(trainer.network.views(theta)["b_out"], trainer.plant.trim)
    assert trainer.plant.trim[0] == pytest.approx(3.0 * 9.8)


@pytest.mark.parametrize("trim", ["(1.0, 2.0)", "float('nan')", "'up'"])
def test_a_wrong_trim_is_told(trim, tmp_path):
    source = load_plant("arm1").source + f"\nTRIM = {trim}\n"
    with pytest.raises(hf.HFControlError, match="TRIM is .*give the control at rest") as caught:
        read_plant(source, tmp_path / "arm1.py")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("more, rollouts", [({"grow": 50}, 20), ({"guide": 50}, 0)])
def test_the_limit_of_seconds_ends_the_warm_up_too(more, rollouts):
    """After the first update of growing; with guidance, whose seconds count, before any."""
    settings = Settings(**SMALL, effort=1e-3, **more)
    whole, cut = (warmup.warm_up(build(s), s) for s in (settings, replace(settings, max_seconds=1e-6)))
    assert whole.rollouts > 50 and cut.rollouts <= rollouts and cut.seconds > 1e-6


def test_what_is_done_is_told():
    told = []
    settings = Settings(**SMALL, effort=1e-3, grow=1, guide=1)
    warmup.warm_up(build(settings), settings, tell=told.append)
    assert told[0] == "iLQR looks for trajectories to follow" and told[-1].startswith("following, 16 steps: update ")
    assert [text.split(":")[0] for text in told if "growing" in text and "update 1" in text] == [
        f"growing, {steps} steps" for steps in (2, 4, 8)]
