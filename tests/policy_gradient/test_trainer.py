"""What a training by policy gradients records."""

from hfcontrol.closed_loop.counts import Counts
from hfcontrol.policy_gradient.trainer import PolicyTrainer
from hfcontrol.training.holds import HoldState
from hfcontrol.training.state import CurvePoint, TrainingState


def test_a_rollout_is_counted_and_is_a_point_of_the_curve():
    """The first one, before any update, is no end of a hold."""
    start = TrainingState(None, HoldState("scenario"), {}, counts=Counts(rollouts=4))
    first = PolicyTrainer._record(start, 3.0, clock=0.0)
    assert first.curve == (CurvePoint(3.0, 0, 5, first.seconds),)
    assert first.history == () and first.loss == 3.0 and first.seconds > 0

    updated = TrainingState(
        None, HoldState("scenario"), {}, updates=7, counts=Counts(rollouts=4)
    )
    after = PolicyTrainer._record(updated, 2.0, clock=0.0)
    assert after.history == after.curve == (CurvePoint(2.0, 7, 5, after.seconds),)
