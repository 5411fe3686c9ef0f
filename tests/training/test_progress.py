"""When a training has converged, and when rejected holds end it."""

import pytest

from hfcontrol.training.holds import HoldState
from hfcontrol.training.progress import (
    CONVERGED_HOLDS,
    MOST_REJECTED,
    MOST_UNDONE,
    NEGLIGIBLE,
    NO_PROMISE,
    PROGRESS,
    SMALL_GAIN,
    check_convergence,
    count_small_gains,
    is_rejected,
    judge_rejections,
)
from hfcontrol.training.state import Stop, TrainingState


def state_of(kind="scenario", **numbers):
    """A state between holds of a kind, with some of its numbers."""
    return TrainingState(None, HoldState(kind), {}, **numbers)


@pytest.mark.parametrize(
    "part, after",
    # Rises count as falls do: three holds without change have converged.
    [(0.5, 3), (-0.5, 3), (0.0, 3), (2.0, 0), (-2.0, 0)],
)
def test_small_gains_are_counted_in_a_row(part, after):
    """A gain in parts of the bar; after two small ones before."""
    before = state_of(loss=4.0, small_gains=2)
    assert count_small_gains(before, 4.0 * (1 - part * SMALL_GAIN)) == after


def test_converged_after_so_many_small_gains():
    bar = CONVERGED_HOLDS
    found = [
        check_convergence(state_of(loss=1.0, first_loss=1.0, small_gains=n))
        for n in (bar - 1, bar, bar + 1)
    ]
    assert found == [None, Stop.CONVERGED, Stop.CONVERGED]


@pytest.mark.parametrize("gains", [0, CONVERGED_HOLDS])
def test_rounding_error_has_converged(gains):
    """It is told as such, also after holds that gained nothing."""

    def found(part):
        numbers = {"loss": part * NEGLIGIBLE * 8.0, "small_gains": gains}
        return check_convergence(state_of(first_loss=8.0, **numbers))

    other = Stop.CONVERGED if gains else None
    assert [found(part) for part in (0.5, 1.0, 2.0)] == [Stop.ROUNDING, other, other]


@pytest.mark.parametrize(
    "kind, most",
    [("scenario", MOST_REJECTED), ("inputs", MOST_REJECTED), ("model", MOST_UNDONE)],
)
def test_so_many_rejections_end_a_training(kind, most):
    found = [is_rejected(state_of(kind, rejected_holds=n)) for n in (most - 1, most)]
    assert found == [False, True]


@pytest.mark.parametrize(
    "promise, near, part, stop",
    [
        (0.5 * NO_PROMISE, False, 1.0, Stop.VANISHED),
        (NO_PROMISE, False, 1.0, Stop.FAILED),
        (NO_PROMISE, True, 1.0, Stop.NEAR_OPTIMUM),
        (NO_PROMISE, False, 0.99 * PROGRESS, Stop.STALLED),
        (NO_PROMISE, False, PROGRESS, Stop.FAILED),
    ],
)
def test_rejections_are_judged_by_promise_optimum_and_fall(promise, near, part, stop):
    state = state_of(loss=part * 2.0, first_loss=2.0)
    assert judge_rejections(state, promise, lambda: near) is stop


def test_the_optimum_is_looked_for_only_where_it_decides():
    """It takes seconds, and without a promise nothing depends on it."""
    assert judge_rejections(state_of(), 0.0, lambda: pytest.fail("looked for it"))
