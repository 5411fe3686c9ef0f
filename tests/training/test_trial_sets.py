"""Overfitting: how it is noticed, and what there is more of then."""

from dataclasses import replace

import numpy as np
import pytest

from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.settings import Settings
from hfcontrol.training import trial_sets
from hfcontrol.training.state import CurvePoint
from hfcontrol.training.trial_sets import STALE, STALE_DRAWN, TrialSets, overfits
from hfcontrol.training.validation import TRIALS, draw_validation

RNG = np.random.default_rng(0)
TINY = {"steps": 8, "hidden": (3, 2), "strategy": "auto"}


@pytest.fixture(scope="module")
def fixed():
    """The trials of a circle of targets, the same in every hold."""
    settings = Settings(plant="arm2", effort=1e-3, **TINY)
    return TrialSets(make_trainer(settings), 0, adds=True)


@pytest.fixture(scope="module")
def random():
    """Trials that are drawn at random."""
    return TrialSets(make_trainer(Settings(plant="linear", trials=4, **TINY)), 0, True)


@pytest.mark.parametrize(
    ("gap", "ratio", "expected"),
    [
        (1.0, 1.5, False),
        (1.001, 1.0015, False),  # too little to matter
        (1.4, 1.5, True),
        (1.2, 1.5, False),  # most is missing on the trials themselves too
        (17.0, 17.03, True),
        (1.1, None, False),
        (1.3, None, True),
    ],
)
def test_a_network_overfits_if_the_gap_is_most_of_what_is_missing(gap, ratio, expected):
    assert overfits(gap, ratio) is expected


def test_gap_is_the_factor_between_fixed_trials_and_those_between_them(fixed):
    """That of the last weights, which validation has not chosen."""
    trainer, task = fixed.trainer, fixed.task
    theta = 0.1 * np.random.default_rng(0).standard_normal(trainer.network.size)
    used, between = (
        trainer.loop_on(task.draw(None, split)).rollout(theta).loss
        for split in ("training", "validation")
    )
    expected = pytest.approx(max(1.0, between / used), rel=1e-12)
    assert used != between and fixed.factor_between(theta) == expected
    state = trainer.init(theta, np.random.default_rng(0))
    state = replace(state, best_theta=np.zeros_like(theta), best_loss=0.1)
    assert fixed.gap(state) == expected


def test_gap_of_random_trials_is_that_of_the_last_holds(random):
    """The last weights on validation trials, against holds on their own trials."""
    trainer = random.trainer
    theta = 0.1 * RNG.standard_normal(trainer.network.size)
    state = trainer.init(theta, RNG)
    assert not random.are_fixed and random.gap(state) == 1.0
    between = trainer.loop_on(trainer.validation).rollout(theta).loss
    losses = between / np.array([1, 1, 1, 9, 8, 7, 6, 5, 4, 3, 2])
    holds = tuple(CurvePoint(loss, 8, 1, 0.0) for loss in losses)
    # the best weights are those that validation has chosen
    state = replace(state, history=holds, best_theta=0 * theta, best_loss=1e-9)
    assert random.gap(state) == pytest.approx(between / losses[-8:].mean())
    holds = tuple(CurvePoint(2 * between, 8, 1, 0.0) for _ in losses)
    assert random.gap(replace(state, history=holds)) == 1.0


@pytest.mark.parametrize("name, stale", [("fixed", STALE), ("random", STALE_DRAWN)])
def test_trials_that_are_drawn_get_more_holds_without_gain(request, name, stale):
    sets = request.getfixturevalue(name)
    state = sets.trainer.init(np.zeros(sets.trainer.network.size), RNG)
    for holds, expected in ((3 + stale - 1, False), (3 + stale, True)):
        history = (CurvePoint(1.0, 8, 1, 0.0),) * holds
        assert sets.is_stale(replace(state, history=history, best_hold=3)) is expected


@pytest.mark.parametrize("name", ["fixed", "random"])
def test_more_trials_have_the_same_validation_trials(request, name):
    sets = request.getfixturevalue(name)
    more = sets.trainer_of(4)
    assert more.task.trials == 4 * sets.task.trials
    assert more.validation is sets.trainer.validation is not None
    assert sets.trainer_of(1) is sets.trainer


def test_validation_trials_are_many_if_random_and_between_if_fixed(fixed, random):
    assert random.trainer.validation.trials == TRIALS
    assert fixed.trainer.validation.trials == fixed.task.trials
    chosen = Settings(plant="arm2", trials=4, effort=1e-3, **TINY)
    assert make_trainer(chosen).validation is None
    plain = chosen.changed(trials=None, strategy="plain")
    assert make_trainer(plain).validation is None


def test_trials_are_added_up_to_their_bounds(fixed, random, monkeypatch):
    assert fixed.can_add(1) and fixed.can_add(4) and not fixed.can_add(16)
    assert not TrialSets(fixed.trainer, 0, adds=False).can_add(1)
    for bound in ("MOST_OPERATIONS", "MOST_MEMORY"):
        with monkeypatch.context() as context:
            context.setattr(trial_sets, bound, 1.0)
            assert not random.can_add(1)


def test_validation_trials_of_many_states_are_few(random, monkeypatch):
    per_trial = random.task.steps * random.task.plant.nx
    monkeypatch.setattr("hfcontrol.training.validation.MOST_STATES", 40 * per_trial)
    assert draw_validation(random.task, 0).trials == 40
    monkeypatch.setattr("hfcontrol.training.validation.MOST_STATES", per_trial)
    assert draw_validation(random.task, 0).trials == random.task.trials
