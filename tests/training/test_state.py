"""The state of a training: its limits, means of weights, and which weights it means."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from hfcontrol.errors import UsageError
from hfcontrol.training.holds import HoldState
from hfcontrol.training.state import (
    Best,
    CurvePoint,
    Limits,
    Stop,
    TrainingState,
    describe_divergence,
    without_curve,
)

POINT = CurvePoint(1.0, 1, 1, 1.0)


def state_at(theta, **fields):
    """A state whose optimizer is at weights theta."""
    return TrainingState(
        SimpleNamespace(theta=np.array(theta, dtype=float)),
        fields.pop("hold", HoldState("scenario")),
        {},
        **fields,
    )


REACHED = {
    # loss, target, interrupted, rollouts, seconds
    Stop.TARGET: (2.0, 2.0, True, 9, 9.0),
    Stop.INTERRUPTED: (2.1, 2.0, True, 9, 9.0),
    Stop.ROLLOUTS: (2.1, None, False, 5, 9.0),
    Stop.TIME: (2.1, None, False, 4, 7.0),
    None: (2.1, None, False, 4, 6.9),
}


@pytest.mark.parametrize("stop", REACHED)
def test_the_first_limit_that_is_reached_is_told(stop):
    limits = Limits(rollouts=5, seconds=7.0)
    assert limits.check(*REACHED[stop]) is stop


def test_without_limits_nothing_stops():
    assert Limits().check(0.0, None, False, 10**9, 1e9) is None


@pytest.mark.parametrize(
    "loss, ratio, target",
    [(None, None, None), (3.0, None, 3.0), (None, 1.5, 6.0), (3.0, 1.5, 6.0)],
)
def test_the_target_is_the_easier_of_loss_and_ratio(loss, ratio, target):
    """The optimal loss is 4; it is looked for only if a ratio is given."""

    def optimal(loop):
        assert ratio is not None
        return 4.0

    assert Limits(loss=loss, ratio=ratio).target(None, optimal) == target
    if ratio:
        assert Limits(loss=7.0, ratio=ratio).target(None, optimal) == 7.0


@pytest.mark.parametrize("name", ["batches", "loss", "ratio", "rollouts", "seconds"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_limits_are_above_zero(name, value):
    with pytest.raises(UsageError, match="must be a number above 0"):
        Limits(**{name: value})


def test_a_ratio_of_one_is_the_least():
    assert Limits(ratio=1.0).ratio == 1.0
    with pytest.raises(UsageError, match="above 1, which is the optimum"):
        Limits(ratio=0.999)


@pytest.mark.parametrize(
    "zero, noisy, text",
    [(True, False, "the optimal loss is zero"), (False, True, "knows the noise")],
)
def test_a_ratio_needs_an_optimum_that_can_be_reached(zero, noisy, text):
    task = SimpleNamespace(optimum_is_zero=zero, noisy=noisy)
    Limits(loss=1.0).check_task(task)
    with pytest.raises(UsageError, match=text):
        Limits(ratio=1.1).check_task(task)
    Limits(ratio=1.1).check_task(SimpleNamespace(optimum_is_zero=False, noisy=False))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_weights_are_averaged_over_the_last_holds(n, rng):
    """Plain means until n holds are averaged, then the new ones weigh 1/n."""
    weights = rng.standard_normal((6, 4))
    mean = None
    for hold, theta in enumerate(weights):
        state = state_at(theta, history=(POINT,) * hold, mean_theta=mean)
        mean = state.average(theta, n)
        first = n - 1
        if n == 1 or hold < first:
            assert mean is None
            continue
        counted = hold - first + 1
        if counted <= n:
            expected = weights[first : hold + 1].mean(axis=0)
        else:
            expected = (1 - 1 / n) * expected + theta / n
        np.testing.assert_allclose(mean, expected, rtol=1e-12)
    assert state_at([0.0]).average(weights[0], 1) is None


def test_an_average_is_a_copy():
    theta = np.ones(2)
    mean = state_at(theta, history=(POINT,)).average(theta, 2)
    theta[:] = 5.0
    np.testing.assert_array_equal(mean, [1.0, 1.0])


@pytest.mark.parametrize(
    "kind, left_out, counts",
    [("scenario", (), 2.0), ("scenario", (3,), 1.0), ("model", (), 1.0)],
)
def test_updates_of_an_open_hold_count_if_its_loss_is_the_true_one(
    kind, left_out, counts
):
    start = state_at([1.0], hold=HoldState(kind, left_out=left_out))
    state = state_at([2.0], hold=start.hold, hold_start=start)
    assert state.own_theta == [counts]
    assert state.leaves_out is bool(left_out)


def test_validated_weights_come_before_means_and_these_before_the_last():
    fields = {"mean_theta": np.array([3.0]), "loss": 5.0, "best_loss": 6.0}
    assert state_at([2.0]).own_theta == [2.0]
    meant = state_at([2.0], **fields)
    assert (meant.own_theta, meant.own_loss) == ([3.0], 5.0)
    chosen = state_at([2.0], best_theta=np.array([4.0]), **fields)
    assert (chosen.own_theta, chosen.own_loss) == ([4.0], 6.0)
    assert chosen.best == Best(chosen.best_theta, 6.0, 0)


@pytest.mark.parametrize("holds, counts", [(0, 2.0), (1, 4.0)])
def test_validation_chooses_once_a_hold_has_ended(holds, counts):
    """Before, it knows the first weights alone, and the updates made are better."""
    start = state_at([1.0], history=(POINT,) * holds)
    best_theta = np.array([1.0 if holds == 0 else 4.0])
    state = replace(start, best_theta=best_theta, best_loss=6.0, hold_start=start)
    state = replace(state, optimizer=state_at([2.0]).optimizer, updates_in_hold=1)
    assert state.own_theta == [counts]
    assert state.is_validated is bool(holds)


@pytest.mark.parametrize("earlier, leads", [(4.9, False), (5.0, False), (5.1, True)])
def test_the_better_rung_has_the_weights(earlier, leads):
    state = state_at([2.0], loss=5.0, earlier=Best(np.array([9.0]), earlier, 3))
    assert state.leads is leads
    assert state.theta == [2.0 if leads else 9.0]
    assert state.controller_loss == (5.0 if leads else earlier)


def test_a_hold_start_has_no_curve():
    state = without_curve(state_at([1.0], history=(POINT,), curve=(POINT,)))
    assert state.history == state.curve == ()


def test_divergence_names_the_first_state_that_leaves():
    """The second state of trial 2 at step 3; the first one only later."""
    plant = SimpleNamespace(state=("a", "b"), dt=0.5)
    x = np.zeros((6, 2, 4))
    x[3:, 1, 2] = np.inf
    x[4:, 0, :] = np.nan
    text = describe_divergence(plant, x)
    assert "(b overflows at 1.5 s in trial 2)" in text
    assert "overflows" not in describe_divergence(plant, np.zeros((6, 2, 4)))
