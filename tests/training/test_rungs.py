"""When a rung of the ladder ends, and what follows: budgets, ratios and losses."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from hfcontrol.closed_loop.counts import Counts
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.settings import Settings
from hfcontrol.tasks.task import Task
from hfcontrol.training.holds import HoldState
from hfcontrol.training.ladder import (
    BUDGET,
    FALLEN,
    GOOD_RATIO,
    HELPED,
    LEAST_UPDATES,
    NEARLY_ZERO,
    POOR_RATIO,
    Ladder,
)
from hfcontrol.training.state import CurvePoint, TrainingState

SETTINGS = Settings(plant="linear", trials=4, steps=8, hidden=(3, 2))
POINT = CurvePoint(1.0, 1, 1, 1.0)

# Rollouts that a budget is made of, where a rollout takes a tenth of it.
ROLLOUTS = 10


def training_at(loss, rollouts=ROLLOUTS, **fields):
    """A training between holds, with weights that are its loss."""
    return TrainingState(
        SimpleNamespace(theta=np.array([loss])),
        HoldState("scenario"),
        {},
        **{"history": (POINT,), "first_loss": 1.0, **fields},
        loss=loss,
        counts=Counts(rollouts=rollouts),
    )


@pytest.fixture
def ladder(monkeypatch):
    """A ladder in its first rung, whose ratio to the optimum is in `ladder.known`."""
    ladder = Ladder(make_trainer(SETTINGS), SETTINGS, climbs=True)
    ladder.known = None
    monkeypatch.setattr(
        Ladder, "_operations", lambda self, counts: counts.rollouts * BUDGET / ROLLOUTS
    )
    monkeypatch.setattr(Ladder, "ratio", lambda self, theta: self.known)
    ladder.training = training_at(0.5)
    return ladder


@pytest.mark.parametrize(
    "changes, spent",
    [
        ({"rollouts": ROLLOUTS - 1}, False),
        ({}, True),
        # A budget is that of whole holds on the cost itself.
        ({"history": ()}, False),
        ({"hold_start": training_at(0.5)}, False),
    ],
)
def test_a_rung_that_is_no_better_ends_with_its_budget(ladder, changes, spent):
    ladder.state = replace(ladder.state, best=training_at(0.5))
    ladder.training = training_at(0.5, **changes)
    assert ladder._is_spent() is spent


def test_a_budget_is_at_least_what_the_best_rung_took(ladder):
    ladder.state = replace(ladder.state, best=training_at(0.4), best_cost=2 * BUDGET)
    found = []
    for rollouts in (2 * ROLLOUTS - 1, 2 * ROLLOUTS):
        ladder.training = training_at(0.5, rollouts)
        found.append(ladder._is_spent())
    assert found == [False, True]


def test_a_budget_is_at_least_so_many_updates(ladder):
    """However many operations an update takes."""
    ladder.state = replace(ladder.state, best=training_at(0.5))
    found = []
    for updates in (LEAST_UPDATES - 1, LEAST_UPDATES):
        ladder.training = training_at(0.5, 5 * ROLLOUTS, updates=updates)
        found.append(ladder._is_spent())
    assert found == [False, True]


@pytest.mark.parametrize("part, spent", [(0.99 * FALLEN, False), (1.01 * FALLEN, True)])
@pytest.mark.parametrize("has_ratio", [True, False])
def test_a_leading_rung_gets_its_budget_again_while_it_falls(
    ladder, part, spent, has_ratio
):
    """The excess is the ratio less one; without a ratio it is the loss."""
    ladder.known = 1.5 if has_ratio else None
    assert not ladder._is_spent()
    assert (ladder.state.excess, ladder.state.spent.rollouts) == (0.5, ROLLOUTS)

    ladder.known = 1 + 0.5 * part if has_ratio else None
    ladder.training = training_at(0.5 * part, 2 * ROLLOUTS - 1)
    assert not ladder._is_spent() and ladder.state.excess == 0.5
    ladder.training = training_at(0.5 * part, 2 * ROLLOUTS)
    assert ladder._is_spent() is spent


@pytest.mark.parametrize(
    "ratio, free", [(GOOD_RATIO, True), (GOOD_RATIO + 1e-6, False)]
)
def test_a_rung_with_a_good_ratio_goes_to_its_end(ladder, ratio, free):
    ladder.known = ratio
    assert not ladder._is_spent() and ladder.state.is_free is free
    ladder.training = training_at(0.5, 100 * ROLLOUTS)
    assert ladder._is_spent() is not free


def test_the_last_rung_has_no_budget(ladder):
    ladder.state = replace(
        ladder.state, best=training_at(0.1), rung=len(ladder.rungs) + 1
    )
    assert not ladder._is_spent()


@pytest.mark.parametrize(
    "ratio, loss, good",
    [
        (GOOD_RATIO, 0.5, True),
        (GOOD_RATIO + 1e-6, 0.5, False),
        # Without a ratio, the loss of the rung before decides.
        (None, 0.99 * HELPED, False),
        (None, 1.01 * HELPED, True),
    ],
)
def test_no_rung_follows_a_good_one(ladder, ratio, loss, good):
    ladder.known = ratio
    ladder.state = replace(ladder.state, best=training_at(1.0), best_cost=1.0)
    ladder.training = training_at(loss)
    ends = ladder._settle(has_ended=True)
    # A good rung that leads is the last; a good one that does not leads nowhere else.
    assert ends is good
    assert ladder.state.rung == (0 if good else 1)
    assert ladder.state.best.loss == loss
    assert ladder.state.best_cost == BUDGET


@pytest.mark.parametrize("part, good", [(0.99, True), (1.01, False)])
@pytest.mark.parametrize("is_zero", [True, False])
def test_little_of_the_first_loss_is_good_where_the_optimum_is_zero(
    ladder, monkeypatch, part, good, is_zero
):
    monkeypatch.setattr(Task, "optimum_is_zero", is_zero)
    best = training_at(part * NEARLY_ZERO * 3.0, first_loss=3.0)
    assert ladder._is_good(best, has_helped=True) is (good and is_zero)
    assert ladder._is_good(best, has_helped=False)
    assert not ladder._is_good(None, has_helped=False)


def test_a_rung_that_does_not_lead_hands_over_to_the_best(ladder):
    """After the last rung, the best one goes on to its end, with all that was spent."""
    rungs = len(ladder.rungs)
    ladder.known = 2.0
    ladder.state = replace(ladder.state, best=training_at(0.4), rung=rungs)
    ladder.training = training_at(0.5, rollouts=77, seconds=9.0, updates=5)
    assert not ladder._settle(has_ended=True)
    assert ladder.state.rung == rungs + 1 and ladder.training.loss == 0.4
    assert (ladder.training.rollouts, ladder.training.seconds) == (77, 9.0)

    ladder.state = replace(ladder.state, best=training_at(0.6), rung=rungs)
    ladder.training = training_at(0.5)
    assert not ladder._settle(has_ended=False)
    ladder.state = replace(ladder.state, best=training_at(0.6), rung=rungs)
    ladder.training = training_at(0.5)
    assert ladder._settle(has_ended=True)


@pytest.mark.parametrize(
    "ratio, best", [(None, True), (POOR_RATIO, True), (POOR_RATIO + 1e-6, False)]
)
def test_a_poor_minimum_is_left(ladder, ratio, best):
    """The next rung begins with the best weights, or else with the first ones."""
    initial = ladder._first_weights(0)
    ladder.known = ratio
    ladder.state = replace(ladder.state, best=training_at(0.5))
    found = ladder._first_weights(0)
    if best:
        assert found == [0.5]
        return
    np.testing.assert_array_equal(found, initial)
    ladder.state = replace(ladder.state, theta=np.array([7.0]))
    assert ladder._first_weights(0) == [7.0]


def test_weights_that_race_are_new(ladder):
    first, second, again = (ladder._first_weights(n) for n in (0, 1, 1))
    np.testing.assert_array_equal(second, again)
    assert (first != second).any()


@pytest.mark.parametrize(
    "optimal, ratio", [(0.25, 2.0), (0.0, None), (np.inf, None), (np.nan, None)]
)
def test_the_ratio_needs_an_optimum_that_is_a_number(monkeypatch, optimal, ratio):
    """It is looked for once; without noise, and where it is not zero by itself."""
    ladder = Ladder(make_trainer(SETTINGS), SETTINGS, climbs=True)
    asked = []
    ladder.trainer.optimal = lambda loop: asked.append(loop) or optimal
    judged = SimpleNamespace(rollout=lambda theta, model: SimpleNamespace(loss=0.5))
    monkeypatch.setattr(Ladder, "_judged", judged)
    monkeypatch.setattr(Task, "optimum_is_zero", False)
    assert ladder.ratio(np.zeros(1)) == ladder.ratio(np.zeros(1)) == ratio
    assert asked == [judged]
    monkeypatch.setattr(Task, "optimum_is_zero", True)
    assert ladder.ratio(np.zeros(1)) is None
