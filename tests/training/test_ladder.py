"""The ladder: what is climbed, what is kept, and that it resumes bit for bit."""

import numpy as np
import pytest
from helpers import bits

from hfcontrol.errors import TrainingError
from hfcontrol.optim.yardstick import optimum
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.run import Run
from hfcontrol.runs.settings import Settings
from hfcontrol.runs.state_tree import (
    curriculum_from_tree,
    curriculum_to_tree,
    ladder_from_tree,
    ladder_to_tree,
    state_from_tree,
    state_to_tree,
)
from hfcontrol.runs.training import continue_training, start_training
from hfcontrol.training import ladder as ladder_module
from hfcontrol.training import rungs as rungs_module
from hfcontrol.training import trial_sets
from hfcontrol.training.ladder import Ladder
from hfcontrol.training.rungs import MORE_TRIALS, Rung, further_rungs
from hfcontrol.training.state import Stop
from hfcontrol.training.stop import StopToken

# Its trials are drawn at random: validation trials choose the weights.
TINY = {
    "plant": "linear",
    "trials": 4,
    "steps": 8,
    "hidden": (3, 2),
    "batches": 3,
    "strategy": "auto",
}
# The same trials in every hold.
FIXED = {**TINY, "plant": "arm2", "effort": 1e-3}
SHORT = (
    Rung("imitation", imitate=5),
    Rung("growth", grow=2),
    Rung("guidance", guide=1),
    Rung("race", race=2),
)


@pytest.fixture
def restless(monkeypatch):
    """A ladder that is never content, and short on every rung."""
    monkeypatch.setattr(ladder_module, "GOOD_RATIO", 0.0)
    monkeypatch.setattr(ladder_module, "BUDGET", 1e5)
    monkeypatch.setattr(ladder_module, "LEAST_UPDATES", 1)
    monkeypatch.setattr(ladder_module, "FALLEN", 0.1)
    monkeypatch.setattr(rungs_module, "RUNGS", SHORT)


def climb(settings, every=None):
    """Return a ladder at its end, its rungs, and how often it was interrupted.

    It is interrupted after every `every` events, and continues from its trees.
    """
    ladder = Ladder(make_trainer(settings), settings, climbs=True)
    lines, times = [], 0
    while True:
        token = StopToken()
        for count, event in enumerate(ladder.events(token), 1):
            if event.kind == "rung":
                lines.append(event.activity)
            if every and count >= every:
                token.stop()
        if event.stop is not Stop.INTERRUPTED:
            return ladder, lines, times
        times += 1
        trees = ladder_to_tree(ladder.state)
        curriculum = ladder.curriculum and curriculum_from_tree(
            curriculum_to_tree(ladder.curriculum.state)
        )
        training = ladder.training and state_from_tree(state_to_tree(ladder.training))
        ladder = Ladder(make_trainer(settings), settings)
        ladder.resume(ladder_from_tree(trees), curriculum, training)


def test_all_rungs_are_climbed_and_announced(restless):
    _, lines, _ = climb(Settings(**FIXED, rollouts=150))
    names = [line.split("; ")[0] for line in lines]
    expected = [*(rung.name for rung in SHORT), "the best weights to their normal end"]
    assert names == [f"next: {name}" for name in expected]
    assert all("times the optimum" in line for line in lines)


@pytest.fixture
def overfitting(restless, monkeypatch):
    """A ladder whose network overfits at once; its trials are doubled once."""
    monkeypatch.setattr(ladder_module, "overfits", lambda gap, ratio: True)
    monkeypatch.setattr(ladder_module, "LEAST_GAP", 0.0)
    monkeypatch.setattr(ladder_module, "MORE", 2)
    monkeypatch.setattr(trial_sets, "MORE", 2)
    monkeypatch.setattr(trial_sets, "FACTORS", (1, 2))


@pytest.mark.parametrize("plant", ["arm2", "linear"])
def test_overfitting_brings_more_trials(overfitting, plant):
    """Fixed and random ones; then the ladder goes on, and resumes bit for bit."""
    chosen = {name: value for name, value in FIXED.items() if name != "trials"}
    settings = Settings(**{**chosen, "plant": plant}, rollouts=35)
    whole, lines, _ = climb(settings)
    names = [line.split("; ")[0].removeprefix("next: ") for line in lines]
    assert names[:2] == [MORE_TRIALS, SHORT[0].name]
    assert whole.state.trials == 2
    parts, _, times = climb(settings, 9)
    assert times >= 2
    assert bits(parts.training) == bits(whole.training)


@pytest.mark.parametrize("every", [pytest.param(3, marks=pytest.mark.slow), 10])
def test_interrupted_ladder_equals_uninterrupted(restless, every):
    """In the curriculum, the holds and the end of every rung."""
    settings = Settings(**TINY, rollouts=200)
    whole, lines, _ = climb(settings)
    parts, others, times = climb(settings, every)
    assert times >= 5 and len(lines) >= 4
    # a rung that begins with the interruption is announced once
    assert set(others) <= set(lines)
    assert bits(parts.training) == bits(whole.training)


@pytest.mark.slow
def test_killed_run_resumes_in_every_rung(restless, tmp_path):
    """From whole files alone, after a kill at any event."""
    settings = Settings(**TINY, rollouts=200)
    whole = start_training(settings, tmp_path)
    events = list(whole.events())
    climbed = [i for i, event in enumerate(events) if event.kind == "rung"]
    assert len(climbed) >= 4
    for at in (climbed[2] - 1, climbed[3] + 4):
        training = start_training(settings, tmp_path)
        for count, _ in enumerate(training.events()):
            if count == at:
                break
        run = Run.load(training.folder.path, allow_unfinished=True)
        resumed = continue_training(run)
        for event in resumed.events():
            last = event
        assert bits(last.state) == bits(events[-1].state), at


def test_the_best_weights_are_never_lost(restless):
    """At every event, whatever the rung in progress has made of them."""
    settings = Settings(**FIXED, rollouts=150)
    trainer = make_trainer(settings)
    ladder = Ladder(trainer, settings, climbs=True)
    loop = trainer.loop(np.random.default_rng(0))
    best, worst = np.inf, 0.0
    for event in ladder.events():
        if event.kind in ("hold", "done"):
            loss = loop.rollout(event.state.theta).loss
            assert loss <= best * (1 + 1e-12)
            best = min(best, loss)
            worst = max(worst, event.state.loss / best)
    # some rung was worse than the best
    assert worst > 1.1


def test_a_good_ratio_ends_the_ladder():
    """A target that the first rung does not need: it converges near the optimum."""
    settings = Settings(**{**FIXED, "effort": 0.1, "running": 1.0}, rollouts=300)
    ladder, lines, _ = climb(settings)
    state = ladder.training
    loop = ladder.trainer.loop(np.random.default_rng(0))
    best = optimum(ladder.trainer.kernels, loop.scenario, loop.wiring)
    assert state.loss <= 1.01 * best.losses.mean()
    assert not lines and state.rollouts < 300


@pytest.mark.parametrize("limit", [{"rollouts": 25}, {"max_seconds": 1e-6}])
def test_limits_end_the_whole_ladder(restless, limit):
    ladder, _, _ = climb(Settings(**TINY, **limit))
    assert ladder.state.rung < len(SHORT)
    # a curriculum may end its hold
    assert ladder.training.rollouts < 35


def test_weights_that_diverge_are_not_the_end(restless):
    settings = Settings(**TINY, rollouts=40)
    trainer = make_trainer(settings)
    theta = np.full(trainer.network.size, np.nan)
    ladder = Ladder(trainer, settings, theta, climbs=True)
    lines = [event.activity for event in ladder.events() if event.kind == "rung"]
    assert "first overflows at 0.05 s in trial 0" in lines[0]
    assert np.isfinite(ladder.training.theta).all()
    assert np.isfinite(ladder.training.own_loss)


def test_without_further_rungs_weights_that_diverge_are_a_fault():
    settings = Settings(**TINY)
    trainer = make_trainer(settings)
    ladder = Ladder(trainer, settings, np.full(trainer.network.size, np.nan))
    with pytest.raises(TrainingError, match=r"first overflows at 0\.05 s in trial 0"):
        list(ladder.events())


def test_what_the_user_asks_for_is_not_tried_again():
    names = [rung.name for rung in further_rungs(Settings(grow=5, race=2))]
    assert names == [rungs_module.RUNGS[0].name, rungs_module.RUNGS[2].name]


def test_plain_strategy_has_no_ladder(tmp_path):
    plain = start_training(Settings(**{**TINY, "strategy": "plain"}), tmp_path)
    auto = start_training(Settings(**TINY), tmp_path)
    assert not plain.ladder.rungs and len(auto.ladder.rungs) == 4


def test_noise_leaves_the_decision_to_the_loss(restless):
    """The optimum knows the noise in advance: there is no ratio."""
    settings = Settings(**TINY, motor_noise=0.01, rollouts=300)
    ladder, lines, _ = climb(settings)
    assert ladder.state.optimal is None
    assert lines and all("the loss of the best weights is" in line for line in lines)
