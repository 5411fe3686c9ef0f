"""The predicted memory of a training, and its refusal in one line."""

import pytest
from helpers import loop_of

import hfcontrol as hf
from hfcontrol.errors import UsageError
from hfcontrol.optim.first_order import Adam
from hfcontrol.optim.hessian_free import HessianFree
from hfcontrol.training import memory
from hfcontrol.training.memory import predict_memory


def test_parts_grow_with_what_they_depend_on():
    loop = loop_of(plant="arm2", trials=7)
    one = predict_memory(loop, HessianFree("cg"))
    assert one == predict_memory(loop, HessianFree("cg"), 7)
    two = predict_memory(loop, HessianFree("cg"), 14)
    assert two.trajectories == pytest.approx(2 * one.trajectories)
    assert two.jacobians == pytest.approx(2 * one.jacobians)
    assert two.weights == one.weights


def test_jacobians_by_hand():
    """A, B and C of arm2 have 4 (4 + 2 + 4) entries of 8 bytes."""
    loop = loop_of(plant="arm2", trials=7)
    per_step = 8 * 7 * 40
    steps = loop.scenario.steps
    assert predict_memory(loop, Adam()).jacobians == per_step * steps
    few = predict_memory(loop, HessianFree("cg", curvature_trials=2))
    assert few.jacobians == pytest.approx(per_step * steps * 9 / 7)


def test_trajectories_by_hand():
    """Of arm2 the problem has 36 numbers, and a rollout 24 and the activations.

    Four rollouts exist at once, and one more of the trials whose curvature is taken.
    """
    loop = loop_of(plant="arm2", trials=7)
    per_step = 8 * loop.scenario.steps
    rollout = 24 + loop.network.n_activations / loop.options.store_every
    all_trials = 7 * (36 + 4 * rollout)
    found = predict_memory(loop, Adam()).trajectories
    assert found == pytest.approx(per_step * all_trials)
    few = predict_memory(loop, HessianFree("cg", curvature_trials=2)).trajectories
    assert few == pytest.approx(per_step * (all_trials + 2 * rollout))


def test_adam_has_no_explicit_jacobian():
    loop = loop_of(plant="arm2")
    assert predict_memory(loop, Adam()).residuals == 0
    assert predict_memory(loop, HessianFree("cg")).residuals > 0


def test_a_training_that_is_too_large_does_not_start(tmp_path):
    """Nothing is drawn or compiled for it: 10^9 trials would take terabytes."""
    with pytest.raises(UsageError) as caught:
        hf.train("arm2", trials=10**9, hidden=(2,), out=tmp_path)
    message = str(caught.value)
    assert message.startswith("1000000000 trials of 40 steps with 4 states and ")
    assert "GB can be used: reduce `trials`" in message
    assert "\n" not in message and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "parts, remedy",
    [
        ((9, 1, 1, 1), "`trials`, `steps` or `hidden`, or raise `store_every`"),
        ((1, 9, 1, 1), "`trials` or `steps`"),
        ((1, 1, 9, 1), "`hidden` or `curvature_trials`"),
        ((1, 1, 1, 9), "`hidden`"),
    ],
)
def test_the_remedy_is_for_the_largest_part(monkeypatch, parts, remedy):
    monkeypatch.setattr(memory, "usable_memory", lambda: 1e6)
    monkeypatch.setattr(memory, "predict_memory", lambda *_: memory.Memory(*parts))
    with pytest.raises(UsageError, match=f"reduce {remedy}$"):
        memory.check_memory(loop_of(plant="arm2"), Adam(), 1)
