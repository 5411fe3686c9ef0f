"""Holds: when they end, how they are evaluated and undone, when the kind changes."""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import loop_of, relative, training_of, weights_of

from hfcontrol.training.holds import (
    Hold,
    HoldState,
    InputsHold,
    ModelHold,
    begin_hold,
    choose_hold,
    list_holds,
    switch_hold,
)
from hfcontrol.training.state import Event


@pytest.fixture(scope="module")
def loop():
    return loop_of()


def model_hold(loop, updates=0, **state):
    """Return a model hold about random weights, its state, and a rollout downhill."""
    state = HoldState("model", **state)
    hold = ModelHold(loop, loop.rollout(weights_of(loop)), state, updates)
    return (
        hold,
        state,
        hold.rollout(hold.start.theta - 0.01 * loop.linearise(hold.start).gradient),
    )


def with_loss(rollout, loss):
    """Return a rollout with another loss of every trial."""
    return replace(rollout, losses=np.full_like(rollout.losses, loss))


def test_every_kind_keeps_its_linear_model_fixed(loop):
    start = loop.rollout(weights_of(loop))
    for kind, true, model, replay in (
        ("scenario", True, False, False),
        ("model", False, True, False),
        ("inputs", False, False, True),
    ):
        hold = begin_hold(loop, start, HoldState(kind))
        assert (
            hold.exact,
            hold.linear_model.replaces_plant,
            hold.linear_model.replays_inputs,
        ) == (
            true,
            model,
            replay,
        )
        first, again = hold.first_rollout(), hold.rollout(start.theta)
        assert first.linear_model is hold.linear_model and first.loss == again.loss
        np.testing.assert_array_equal(first.x, again.x)


def test_deviation_is_in_typical_sizes(loop):
    hold, _, now = model_hold(loop)
    expected = np.sqrt(np.mean((now.x[1:] - hold.start.x[1:]) ** 2))
    assert (
        hold.deviation(now) == pytest.approx(expected, rel=1e-12)
        and hold.deviation(hold.start) == 0
    )
    hold.typical = 2 * hold.typical
    assert hold.deviation(now) == pytest.approx(expected / 2, rel=1e-12)


def test_model_hold_ends_outside_its_radius(loop):
    hold, _, now = model_hold(loop)
    deviation = hold.deviation(now)
    for radius, over in ((1.01 * deviation, False), (0.99 * deviation, True)):
        hold = ModelHold(loop, hold.start, HoldState("model", radius=radius), 0)
        assert hold.is_over(hold.start.loss, now) is over


@pytest.mark.parametrize("part, over", [(0.03, False), (0.002, True)])
def test_model_hold_ends_after_a_small_gain(loop, part, over):
    hold, _, now = model_hold(loop, radius=1e6)
    gained = 0.1 * hold.start.loss
    now = with_loss(now, hold.start.loss - gained)
    assert hold.is_over(now.loss + part * gained, now) is over


@pytest.mark.parametrize("part, over", [(0.26, False), (0.24, True)])
def test_model_hold_ends_at_a_quarter_of_its_first_loss(loop, part, over):
    hold, _, now = model_hold(loop, radius=1e6)
    now = with_loss(now, part * hold.start.loss)
    assert hold.is_over(hold.start.loss, now) is over


def test_model_hold_after_an_undone_one_stays_in_its_radius(loop):
    hold, state, now = model_hold(loop)
    state = hold.close(with_loss(now, 0.0), state).state
    assert not state.bounded

    uphill = hold.start.theta + 0.01 * loop.linearise(hold.start).gradient
    state = hold.close(with_loss(hold.rollout(uphill), 0.0), state).state
    assert state.bounded
    bounded = begin_hold(loop, hold.start, state)
    theta, step = hold.start.theta, now.theta - hold.start.theta
    for length in (1.0, 0.1):
        free = hold.rollout(theta + length * step)
        loss = bounded.rollout(theta + length * step).loss
        is_inside = hold.deviation(free) <= state.radius
        assert loss == (free.loss if is_inside else np.inf)
        assert is_inside == (length < 1)


def test_model_hold_ends_when_it_predicts_the_target(loop):
    hold, _, now = model_hold(loop, radius=1e6)
    assert not hold.is_over(hold.start.loss, now, 0.9 * now.loss)
    assert hold.is_over(hold.start.loss, now, now.loss)


@pytest.mark.parametrize(
    "quality, factor",
    [(0.9, 1.5), (0.71, 1.5), (0.69, 1.0), (0.31, 1.0), (0.29, 0.5), (0.05, 0.5)],
)
def test_radius_follows_quality_of_prediction(loop, quality, factor):
    hold, state, now = model_hold(loop, radius=0.2)
    true = loop.rollout(now.theta)
    assert true.loss < hold.start.loss
    now = with_loss(now, hold.start.loss - (hold.start.loss - true.loss) / quality)
    after, state, _ = hold.close(now, state)
    assert state.radius == pytest.approx(0.2 * factor, rel=1e-12)
    assert after.loss == true.loss and not after.linear_model.replaces_plant


@pytest.mark.parametrize("radius", [1e-6, 0.2])
def test_hold_that_raises_true_loss_is_undone(loop, radius):
    hold, state, _ = model_hold(loop, radius=radius)
    uphill = hold.rollout(hold.start.theta + 0.01 * loop.linearise(hold.start).gradient)
    after, state, _ = hold.close(with_loss(uphill, 0.0), state)
    assert after is None and state.radius == pytest.approx(
        0.3 * min(hold.deviation(uphill), radius), rel=1e-12
    )


def test_auto_leaves_model_after_short_holds_in_a_row(loop):
    hold, state, now = model_hold(loop, radius=1e-6)
    for count in range(1, 7):
        assert switch_hold("auto", state).kind == "model"
        hold.updates = 2
        _, state, _ = hold.close(now, replace(state, radius=1e-6))
        assert state.short_holds == count
    assert (
        switch_hold("auto", state).kind == "scenario"
        and switch_hold("model", state).kind == "model"
    )
    hold.updates = 3
    assert hold.close(now, replace(state, radius=1e-6)).state.short_holds == 0


def test_short_hold_inside_its_radius_does_not_count(loop):
    hold, state, now = model_hold(loop, radius=1e6, short_holds=3)
    hold.updates = 1
    assert hold.close(now, state).state.short_holds == 0


def test_post_renews_inputs_at_every_update_after_three_stalled_holds(loop):
    start = loop.rollout(weights_of(loop))
    downhill = start.theta - 0.01 * loop.linearise(start).gradient
    state, seen = HoldState("inputs"), []
    for theta in (start.theta, start.theta, downhill, start.theta, downhill, downhill):
        assert switch_hold("post", state) is state
        after, state, _ = InputsHold(loop, start).close(
            SimpleNamespace(theta=theta), state
        )
        assert not after.linear_model.replays_inputs
        seen.append(state.stalled_holds)
    assert seen == [0, 1, 0, 1, 2, 3]
    renewed = switch_hold("post", state)
    assert renewed == replace(state, most_updates=1)
    assert switch_hold("post", renewed) is renewed
    assert switch_hold("inputs", state) is state


def test_auto_compares_plant_with_its_linear_model():
    # x, u and y of arm2 have 4, 2 and 4 entries, those of arm1 2, 1 and 2
    for plant, operations, trials in (("arm2", 80, 4), ("arm1", 20, 0)):
        loop = loop_of(plant)
        state, sentence = choose_hold("auto", loop)
        assert state.kind == "scenario" and state.trials_left == trials
        assert sentence.endswith(f"linear model {operations}")
        assert (loop.kernels.step_operations < operations) == (trials == 0)

    plant = SimpleNamespace(steps_together=False)
    kernels = SimpleNamespace(step_operations=None, plant=plant)
    uncounted = SimpleNamespace(kernels=kernels)
    assert choose_hold("auto", uncounted, draws=True)[0].kind == "model"
    plant.steps_together = True
    assert choose_hold("auto", uncounted, draws=True)[0].kind == "scenario"
    assert choose_hold("auto", uncounted)[0].kind == "model"
    assert choose_hold("post", uncounted)[0].kind == "inputs"
    assert choose_hold("inputs", uncounted)[0].kind == "inputs"


@pytest.mark.parametrize("units, stays", [(32, True), (3, False)])
def test_drawn_trials_keep_auto_from_models_of_a_cheap_plant(units, stays):
    """A linear model serves for one hold, and saves little beside a large network."""
    loop = loop_of("arm2", hidden=(units, units))
    state, sentence = choose_hold("auto", loop, draws=True)
    assert (state == HoldState("scenario")) is stays
    assert sentence.startswith("scenario: the plant takes") is stays
    assert len(list_holds("auto", loop, draws=True)) == (1 if stays else 2)
    # fixed trials are not drawn again
    assert choose_hold("auto", loop)[0].trials_left


# Holds in a training.


class Uphill:
    """An optimizer that reports descent and goes uphill; it changes its whole state."""

    def __init__(self, optimizer):
        self.init, self.inner = optimizer.init, optimizer

    def step(self, state, rollout, hold, left=1):
        _, _, report = self.inner.step(state, rollout, hold, left)
        new = hold.rollout(state.theta + 0.05 * hold.linearise(rollout).gradient)
        state = replace(
            state,
            theta=new.theta,
            damping=2 * state.damping,
            direction=state.direction + 1,
            updates=state.updates + 1,
        )
        return state, new, replace(report, accepted=True, loss=new.loss)


def test_undone_hold_restores_optimizer_state():
    trainer, state = training_of(hold="model", batches=3)
    trainer.optimizer = Uphill(trainer.optimizer)
    events = [event for event in trainer.run(state) if event.kind == "hold"]
    assert len(events) == 12
    for event in events:
        inner = event.state.optimizer
        assert not event.accepted and inner.damping == state.optimizer.damping
        np.testing.assert_array_equal(inner.theta, state.theta)
        np.testing.assert_array_equal(inner.direction, state.optimizer.direction)
    assert events[-1].state.hold.radius < 0.3**10
    # the count goes on, until the radius leaves no room for an update
    counts = [event.state.updates for event in events]
    assert counts == sorted(counts) and counts[-1] > 3


@pytest.mark.parametrize("kind", ["scenario", "model", "inputs"])
@pytest.mark.parametrize("batches", [1, 4])
def test_no_hold_exceeds_its_updates(kind, batches):
    trainer, state = training_of(hold=kind, batches=batches, rollouts=20)
    counts = [
        event.state.updates_in_hold
        for event in trainer.run(state)
        if event.kind == "update"
    ]
    assert max(counts) == batches if kind != "model" else 1 <= max(counts) <= batches


def test_damping_and_warm_start_pass_to_next_hold():
    trainer, state = training_of(hold="model", batches=4, rollouts=8)
    events = list(trainer.run(state))
    kept = [(a, b) for a, b in pairwise(events) if b.kind == "hold" and b.accepted]
    assert len(kept) > 1
    for last, end in kept:
        assert (
            end.state.optimizer is last.state.optimizer
            and end.state.optimizer.direction.any()
        )


def test_training_goes_on_after_a_first_step_that_is_too_long():
    """These weights fling the arm; undone holds alone would repeat the same step."""
    settings = {"effort": 0.0, "hidden": (32, 32), "trials": 64, "steps": 40}
    settings |= {"hold": "model", "rollouts": 6, "control_limit": None, "seed": 33}
    trainer, state = training_of("arm2", **settings)
    holds = [event for event in trainer.run(state) if event.kind == "hold"]
    accepted = [event.accepted for event in holds]
    assert not accepted[0] and any(accepted)


def test_main_job_makes_one_rollout_per_hold():
    trainer, state = training_of("arm2", hidden=(8, 8), trials=16, rollouts=24)
    holds = [event.state for event in trainer.run(state) if event.kind == "hold"]
    kinds = [state.hold.kind for state in holds]
    assert kinds[-1] == "model" and holds[0].updates <= 4
    rollouts = np.diff([1, *(state.rollouts for state in holds)])
    in_model = [
        count
        for count, kind in zip(rollouts[1:], kinds, strict=False)
        if kind == "model"
    ]
    assert np.median(rollouts) == 1 and set(in_model) == {1}


def test_auto_takes_model_when_it_predicts_the_plant(loop):
    """About a short step the linear model is exact; far away it is not."""
    start = loop.rollout(weights_of(loop))
    gradient = loop.linearise(start).gradient
    state = HoldState("scenario", trials_left=2, most_updates=4)
    hold = begin_hold(loop, start, state)
    assert hold.exact
    after, found, counts = hold.close(
        loop.rollout(start.theta - 1e-4 * gradient), state
    )
    assert found == HoldState("model") and after.loss < start.loss
    assert counts.rollouts == 0
    assert counts.jacobian_steps == loop.jacobian_counts(start).jacobian_steps

    # a loss that the model did not predict
    other = with_loss(after, 0.5 * start.loss)
    found = hold.close(other, state).state
    assert found == replace(state, trials_left=1)
    found = hold.close(other, found).state
    assert found == HoldState("scenario")
    assert type(begin_hold(loop, start, found)) is Hold


def test_auto_leaves_model_after_two_failed_predictions(loop):
    hold, state, now = model_hold(loop, radius=1e6)
    true = loop.rollout(now.theta)
    gained = hold.start.loss - true.loss
    for quality, failed in ((1.6, 0), (1.8, 1), (1.0, 0), (0.2, 1), (0.2, 2)):
        assert switch_hold("auto", state).kind == "model"
        promised = with_loss(now, hold.start.loss - gained / quality)
        state = hold.close(promised, state).state
        assert state.failed_holds == failed
    assert switch_hold("auto", state).kind == "scenario"
    assert switch_hold("model", state).kind == "model"


def test_model_hold_takes_one_rollout_and_one_linearisation():
    trainer, state = training_of(hold="model", batches=8, rollouts=6)
    holds = [event.state for event in trainer.run(state) if event.kind == "hold"]
    steps = 2 * (3 + 2) * 12 * 7
    assert [s.rollouts for s in holds] == list(range(2, 2 + len(holds)))
    assert [s.counts.jacobian_steps for s in holds] == [
        steps * (1 + k) for k in range(len(holds))
    ]


def test_random_task_draws_after_accepted_holds_only():
    trainer, state = training_of(task="fresh", hold="model", batches=3, rollouts=14)
    before = Event("hold", state, None, None)
    changes = []
    for event in trainer.run(state):
        if event.kind != "done":
            changes.append(
                (
                    event.kind == "hold" and event.accepted,
                    event.state.generator != before.state.generator,
                )
            )
            before = event
    assert changes.count((True, True)) > 2 and all(
        accepted == drawn for accepted, drawn in changes
    )


def test_linear_model_is_exact_to_first_order():
    """The error of its trajectory falls with the square of the step (slope 2)."""
    loop = loop_of(delays=(1, 1))
    theta, v = weights_of(loop), weights_of(loop, seed=1)
    hold = ModelHold(loop, loop.rollout(theta), HoldState("model"), 0)
    sizes = np.array([0.02, 0.01, 0.005])
    errors = [
        relative(hold.rollout(theta + s * v).x, loop.rollout(theta + s * v).x)
        for s in sizes
    ]
    assert np.polyfit(np.log(sizes), np.log(errors), 1)[0] == pytest.approx(2, abs=0.1)
