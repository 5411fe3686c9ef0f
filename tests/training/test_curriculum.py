"""The curriculum: growing horizons and races, their results and costs."""

from functools import cache

import numpy as np
import pytest
from helpers import bits

import hfcontrol as hf
from hfcontrol.arrays.random import Stream, stream
from hfcontrol.errors import TaskError, UsageError
from hfcontrol.plant.reader import read_plant
from hfcontrol.plant.registry import load_plant
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.settings import Settings, settings_for
from hfcontrol.runs.state_tree import curriculum_from_tree, curriculum_to_tree
from hfcontrol.training import curriculum as curriculum_module
from hfcontrol.training.curriculum import Curriculum
from hfcontrol.training.state import Stop
from hfcontrol.training.stop import StopToken

SMALL = {"plant": "arm2", "trials": 8, "steps": 16, "hidden": (6, 5)}


def test_growing_horizon_equals_training_by_hand():
    """By hand: updates over an eighth, a quarter and a half of the horizon.

    Final weights shrink by the cube of the horizon.
    """
    settings = Settings(**SMALL, grow=3)
    trainer, rollouts = make_trainer(settings), 0
    theta = trainer.network.initial(stream(settings.seed, Stream.WEIGHTS))
    for steps in (2, 4, 8):
        short = make_trainer(settings.changed(steps=steps, batches=3))
        short.task.numbers["final"] *= (steps / 16) ** 3
        for event in short.run(
            short.init(theta, stream(settings.seed, Stream.SCENARIOS))
        ):
            if event.state.updates >= 3:
                break
        theta, rollouts = event.state.theta, rollouts + event.state.rollouts
    grown = curriculum_module.run_curriculum(trainer, settings)
    np.testing.assert_array_equal(grown.theta, theta)
    assert grown.rollouts == rollouts and grown.seconds > 0 and grown.updates == 0


@pytest.mark.parametrize(
    "name, final", [("arm2", 30.0), ("pendulum", 1.0), ("electric", 0.0)]
)
def test_final_weights_shrink_by_cube_of_horizon(name, final):
    trainer = make_trainer(
        settings_for(
            plant=name,
            task={"arm2": "anywhere", "pendulum": "balance", "electric": "follow"}[
                name
            ],
        )
    )
    task, rng = trainer.task, np.random.default_rng(0)
    before, short = (
        t.draw(rng, trials=2).cost.weights.state
        for t in (task, task.shrink(task.steps // 4, 2))
    )
    np.testing.assert_allclose(
        short[-1] - short[-2], final / 64 * np.ones_like(short[-1]), rtol=1e-12
    )
    np.testing.assert_array_equal(
        short[:-1], before[: len(short) - 1]
    )  # what runs along weighs what it did
    np.testing.assert_array_equal(task.draw(rng, trials=2).cost.weights.state, before)


def test_cost_of_growing_is_counted_once(tmp_path):
    run = hf.train(**SMALL, grow=2, rollouts=30, out=tmp_path)
    settings = run.settings
    before = curriculum_module.run_curriculum(make_trainer(settings), settings)
    first = run.state.curve[0]
    assert (
        first.updates == 0
        and first.rollouts == before.rollouts + 1
        and first.seconds > 0
    )
    assert run.state.first_loss == first.loss and run.state.rollouts >= 30


def test_growing_initialisations_race():
    settings = Settings(**SMALL, grow=2, race=2)
    best, alone = (
        curriculum_module.run_curriculum(make_trainer(s), s)
        for s in (settings, settings.changed(race=1))
    )
    assert (
        best.updates >= curriculum_module.RACE_UPDATES
        and best.rollouts > 2 * alone.rollouts
    )


def test_a_race_has_as_many_runners_as_it_was_asked_for(monkeypatch):
    """Weights are drawn for each, and none are drawn after the last."""
    monkeypatch.setattr(curriculum_module, "RACE_UPDATES", 1)
    settings = Settings(**SMALL, race=2)
    trainer, drawn = make_trainer(settings), []
    initial = trainer.network.initial
    monkeypatch.setattr(
        trainer.network, "initial", lambda rng: drawn.append(initial(rng)) or drawn[-1]
    )
    curriculum = Curriculum(trainer, settings)
    updates = [event.state.updates for event in curriculum.events()]
    assert len(drawn) == 2 and (drawn[0] != drawn[1]).any()
    assert curriculum.is_finished and updates.count(1) == 2


@pytest.mark.parametrize("given, grow", [({}, 12), ({"grow": 3}, 3)])
def test_task_sets_training_defaults(given, grow):
    settings = settings_for(plant="arm2", task="follow", **given)
    assert settings.grow == grow and settings.batches == Settings().batches


def test_train_entry_with_unknown_setting_is_refused(tmp_path):
    path = tmp_path / "mine.py"
    source = load_plant("arm1").source
    path.write_text(
        source.replace('"trials": 16,', '"trials": 16, "train": {"colour": 3},')
    )
    with pytest.raises(
        TaskError, match="its `train` entry has 'colour', which is not a setting"
    ) as caught:
        settings_for(plant=str(path))
    # the other tasks of the file extend this one, and have a line each
    assert all("'colour'" in line for line in str(caught.value).splitlines())


def test_negative_grow_is_refused():
    with pytest.raises(
        UsageError, match="`grow` -1: must be a whole number of at least 0"
    ):
        Settings(grow=-1)


def test_untrained_network_outputs_the_trim():
    settings = Settings(plant="quadrotor", trials=4, steps=4)
    trainer = make_trainer(settings)
    theta = trainer.network.initial(stream(settings.seed, Stream.WEIGHTS))
    np.testing.assert_array_equal(
        trainer.network.views(theta)["b_out"], trainer.plant.trim
    )
    assert trainer.plant.trim[0] == pytest.approx(3.0 * 9.8)


@pytest.mark.parametrize("trim", ["(1.0, 2.0)", "float('nan')", "'up'"])
def test_wrong_trim_is_refused(trim, tmp_path):
    source = load_plant("arm1").source + f"\nTRIM = {trim}\n"
    with pytest.raises(
        hf.HFControlError, match=r"TRIM is .*give the control at rest"
    ) as caught:
        read_plant(source, tmp_path / "arm1.py")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("more, rollouts", [({"grow": 50}, 20), ({"guide": 50}, 0)])
def test_time_limit_stops_curriculum(more, rollouts):
    """After the first update of growing; before any with guidance, which takes time."""
    settings = Settings(**SMALL, effort=1e-3, hold="scenario", **more)
    whole, cut = (
        curriculum_module.run_curriculum(make_trainer(s), s)
        for s in (settings, settings.changed(max_seconds=1e-6))
    )
    assert whole.rollouts > 50 and cut.rollouts <= rollouts and cut.seconds > 1e-6


def test_events_describe_activity():
    settings = Settings(**SMALL, effort=1e-3, grow=1, guide=1)
    told = [
        event.activity
        for event in Curriculum(make_trainer(settings), settings).events()
    ]
    parts = [text.split(":")[0] for text in told if "update 1" in text]
    assert parts == [f"growing, {steps} steps" for steps in (2, 4, 8)] + [
        f"following, {steps} steps" for steps in range(2, 17, 2)
    ]
    assert told.count("iLQR looks for trajectories to follow") == 1 and told[
        -1
    ].startswith("following, 16 steps: update 1, loss ")


TINY = {**SMALL, "trials": 4, "steps": 8, "effort": 1e-3, "batches": 5}
WAYS = {
    "imitate": {"imitate": 12},
    "grow": {"grow": 7},
    "guide": {"guide": 5},
    "race": {"race": 2},
    "all": {"imitate": 2, "grow": 2, "guide": 1, "race": 3},
}


@pytest.fixture
def found_once(monkeypatch):
    """Find the trajectories to follow only once per test: they are always the same."""
    guide, found = curriculum_module.Guide, []
    monkeypatch.setattr(
        curriculum_module,
        "Guide",
        lambda *arguments: (
            found[0] if found else found.append(guide(*arguments)) or found[0]
        ),
    )


def run_with_interruptions(settings, every, theta=None):
    """Return a curriculum and the number of its interruptions.

    It is interrupted after every `every` events and continues from its tree.
    """
    state, times = None, 0
    while True:
        trainer = make_trainer(settings)
        curriculum = Curriculum(trainer, settings, state, None if state else theta)
        token = StopToken()
        for count, event in enumerate(curriculum.events(token), 1):
            last = event
            if count >= every:
                token.stop()
        if curriculum.is_finished:
            return curriculum, times
        assert last.stop is curriculum.stop is Stop.INTERRUPTED
        state, times = (
            curriculum_from_tree(curriculum_to_tree(curriculum.state)),
            times + 1,
        )


@cache
def uninterrupted(way):
    """The result of a curriculum without interruptions."""
    settings = Settings(**TINY, **WAYS[way])
    return curriculum_module.run_curriculum(make_trainer(settings), settings)


@pytest.mark.parametrize("every", [pytest.param(2, marks=pytest.mark.slow), 7])
@pytest.mark.parametrize("way", WAYS)
def test_interrupted_curriculum_equals_uninterrupted(found_once, way, every):
    """In holds, between them, and between stages, in everything but seconds."""
    settings = Settings(**TINY, **WAYS[way])
    curriculum, times = run_with_interruptions(settings, every)
    assert times >= 2 and bits(curriculum.result) == bits(uninterrupted(way))


def test_given_weights_are_part_of_the_state():
    settings = Settings(**SMALL, grow=3)
    theta = make_trainer(settings).network.initial(
        stream(settings.seed, Stream.WEIGHTS, 5)
    )
    given, drawn = (
        curriculum_module.run_curriculum(make_trainer(settings), settings, weights)
        for weights in (theta, None)
    )
    curriculum, _ = run_with_interruptions(settings, 2, theta)
    assert bits(curriculum.result) == bits(given) != bits(drawn)


def test_seconds_of_finding_trajectories_are_counted_once(monkeypatch):
    """With a clock that advances by 1000 s whenever trajectories are found."""
    settings, clock = Settings(**TINY, guide=1, race=2), [0.0]

    def ticking():
        clock[0] += 1e-6
        return clock[0]

    class Slow(curriculum_module.Guide):
        def __init__(self, *arguments):
            clock[0] += 1000
            super().__init__(*arguments)

    monkeypatch.setattr(curriculum_module.time, "perf_counter", ticking)
    monkeypatch.setattr(curriculum_module, "Guide", Slow)
    curriculum, _ = run_with_interruptions(settings, 9)
    assert clock[0] > 3000 and curriculum.result.seconds == pytest.approx(1000, abs=1)


def test_interruption_precedes_finding_trajectories(monkeypatch):
    monkeypatch.setattr(curriculum_module, "Guide", None)
    settings = Settings(**TINY, guide=1)
    trainer = make_trainer(settings)
    curriculum = Curriculum(trainer, settings)
    token = StopToken()
    for event in curriculum.events(token):
        last = event
        token.stop()
    assert (
        last.stop is curriculum.stop is Stop.INTERRUPTED
        and not curriculum.state.guide_counted
    )


def test_time_limit_covers_all_initialisations():
    """Each alone would reach it; training continues from the best so far."""
    settings = Settings(**SMALL, race=1000)
    limited = settings.changed(max_seconds=0.2)
    curriculum = Curriculum(make_trainer(limited), limited)
    *_, last = curriculum.events()
    assert last.stop is curriculum.stop is Stop.TIME and not curriculum.is_finished
    assert 0.1 < curriculum.result.seconds < 5 and curriculum.state.initialisation < 100
    state = curriculum.state
    assert (
        curriculum.result.rollouts == state.earlier.rollouts + state.training.rollouts
    )
    assert curriculum.result.loss == min(
        s.loss for s in (state.best, state.training) if s
    )
