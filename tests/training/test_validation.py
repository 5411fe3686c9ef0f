"""Validation: which weights are kept, and when training ends."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from hfcontrol.closed_loop.counts import Counts
from hfcontrol.training.holds import HoldState
from hfcontrol.training.state import CurvePoint, TrainingState
from hfcontrol.training.validation import LEAST_PATIENCE, Validation, patience

POINT = CurvePoint(1.0, 1, 1, 1.0)
START = TrainingState(None, HoldState("scenario"), {})


class Loop:
    """Validation trials whose loss is the sum of squared weights."""

    def rollout(self, theta, linear_model):
        return SimpleNamespace(loss=float(theta @ theta), counts=Counts(rollouts=1))


def test_the_best_weights_are_kept_with_their_hold():
    """Equal ones are not better, and neither are weights without a finite loss."""
    validation = Validation(Loop())
    state, theta = START, np.zeros(1)
    for hold, value in enumerate((3.0, 2.0, np.nan, -2.0, 2.5), 1):
        theta[:] = value
        state = validation.update(state, theta, hold)
    assert (state.best_theta, state.best_loss, state.best_hold) == ([2.0], 4.0, 2)
    assert state.counts == Counts(rollouts=5)


def test_patience_grows_by_one_in_two_holds():
    assert [patience(n) - LEAST_PATIENCE for n in (0, 1, 2, 3, 10)] == [0, 0, 1, 1, 5]


@pytest.mark.parametrize("best_hold", [0, 4])
def test_training_ends_after_its_patience(best_hold):
    validation = Validation(Loop())
    state = replace(START, best_hold=best_hold, best_loss=4.0)
    last = best_hold + patience(best_hold)
    found = [
        validation.has_ended(replace(state, history=(POINT,) * holds))
        for holds in (last - 1, last)
    ]
    assert found == [False, True]
