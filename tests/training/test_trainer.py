"""The trainer: reasons to stop, resuming bit for bit, and results."""

from dataclasses import replace
from functools import cache
from itertools import islice, pairwise

import numpy as np
import pytest
from helpers import bits, training_of

from hfcontrol.errors import TrainingError
from hfcontrol.optim.protocol import Report
from hfcontrol.training.holds import HoldState
from hfcontrol.training.state import Stop
from hfcontrol.training.stop import StopToken

SEVERAL = {
    "scenario": {"hold": "scenario", "batches": 3, "rollouts": 30},
    "scenario, residual space": {
        "hold": "scenario",
        "task": "go",
        "effort": 0.0,
        "running": 0.0,
        "batches": 3,
        "rollouts": 25,
    },
    "model": {"hold": "model", "batches": 4, "rollouts": 8},
    "model, long holds": {"hold": "model", "batches": 32, "rollouts": 6},
    "inputs": {"hold": "inputs", "batches": 3, "rollouts": 16},
    "post": {"hold": "post", "batches": 2, "rollouts": 25},
    "auto": {
        "plant": "arm2",
        "control_limit": None,
        "hold": "auto",
        "batches": 3,
        "rollouts": 20,
    },
    "noisy, scenario": {
        "hold": "scenario",
        "batches": 3,
        "rollouts": 30,
        "sensory_noise": 0.1,
        "motor_noise": "10%",
    },
    "noisy, model": {
        "hold": "model",
        "batches": 3,
        "rollouts": 10,
        "motor_noise": 0.1,
        "feedback_delay": 1,
    },
    "fresh scenarios": {"task": "fresh", "hold": "model", "batches": 3, "rollouts": 8},
    "structural damping": {
        "hold": "scenario",
        "batches": 3,
        "rollouts": 20,
        "structural": 0.1,
    },
    "to the end": {
        "plant": "linear",
        "control_limit": None,
        "hidden": (4,),
        "cell": "linear",
        "hold": "scenario",
        "batches": 30,
        "steps": 5,
    },
    "adam": {"optimizer": "adam", "hold": "scenario", "batches": 4, "rollouts": 12},
    "momentum": {"optimizer": "momentum", "hold": "model", "batches": 4, "rollouts": 6},
    "lbfgs": {"optimizer": "lbfgs", "hold": "scenario", "batches": 5, "rollouts": 20},
}

# A few iterations show as much as many.
for name, settings in SEVERAL.items():
    if name != "to the end" and "optimizer" not in settings:
        settings["cg_cap"] = 4

trainings = pytest.mark.parametrize("settings", SEVERAL.values(), ids=SEVERAL.keys())


def trained(**settings):
    """The events of a whole training."""
    trainer, state = training_of(**settings)
    events = list(islice(trainer.run(state), 1000))
    assert events[-1].kind == "done", "it must end by itself"
    return events


# For tests that only compare other trainings with it.
trained_once = cache(trained)


@trainings
def test_training_resumes_from_any_event(settings):
    """A run from the state of any event goes through the same next states."""
    events = trained_once(**settings)
    assert len(events) > 6
    for place, event in enumerate(events[:-1]):
        trainer, _ = training_of(**settings)
        expected = events[place + 1 : place + 3]
        again = list(islice(trainer.run(event.state), len(expected)))
        assert [e.kind for e in again] == [e.kind for e in expected], (
            f"after event {place}, {event.kind}"
        )
        assert [bits(e.state) for e in again] == [bits(e.state) for e in expected], (
            f"after event {place}, {event.kind}"
        )


def test_post_resumes_from_any_event_around_its_switch():
    settings = {"hold": "post", "batches": 2, "rollouts": 30}
    trainer, state = training_of(**settings)
    # the first hold is the third one that does not lower the loss
    state = replace(state, hold=HoldState("inputs", stalled_holds=2, lowest_loss=0.0))
    events = list(trainer.run(state))
    limits = [event.state.hold.most_updates for event in events]
    assert limits[0] is None and limits.count(1) > 6
    for place, event in enumerate(events[:-1]):
        expected = events[place + 1 : place + 3]
        again = islice(training_of(**settings)[0].run(event.state), len(expected))
        assert [bits(e.state) for e in again] == [bits(e.state) for e in expected], (
            f"after event {place}, {event.kind}"
        )


@trainings
def test_interrupted_training_equals_uninterrupted(settings):
    events = trained_once(**settings)
    for count in range(1, len(events) - 1, 1 + len(events) // 3):
        trainer, state = training_of(**settings)
        token = StopToken()
        for number, event in enumerate(trainer.run(state, token), 1):
            last_event = event
            if number >= count:
                token.stop()
        assert last_event.stop is Stop.INTERRUPTED
        *_, last = training_of(**settings)[0].run(last_event.state)
        assert last.stop is events[-1].stop and bits(last.state) == bits(
            events[-1].state
        )


@pytest.mark.slow
@trainings
def test_same_seed_gives_same_training(settings):
    first, second, third = (
        trained(**settings, seed=seed)[-1].state for seed in (3, 3, 4)
    )
    assert bits(first) == bits(second) != bits(third)


@trainings
def test_only_true_rollouts_are_counted(settings, monkeypatch):
    """Every simulation of the true plant counts, line searches included."""
    trainer, state = training_of(**settings)
    made = []

    def watched(rng):
        loop = type(trainer).loop(trainer, rng)
        roll = loop.passes.rollout
        monkeypatch.setattr(
            loop.passes,
            "rollout",
            lambda theta, linear_model, *more: (
                made.append(not linear_model.replaces_plant),
                roll(theta, linear_model, *more),
            )[1],
        )
        return loop

    trainer.loop = watched
    for event in trainer.run(state):
        assert event.state.rollouts == sum(made)


@trainings
def test_events_are_consistent(settings):
    events = trained(**settings)
    assert [e.kind for e in events].count("done") == 1 and events[-1].kind == "done"
    holds = [e for e in events if e.kind == "hold"]
    assert [e.state.holds for e in holds] == list(range(1, len(holds) + 1))
    assert events[-1].state.updates == sum(
        e.report.updates for e in events if e.kind == "update"
    )
    for event in holds:
        mark = event.state.history[-1]
        assert (
            mark.updates == event.state.updates
            and event.state.hold_start is None
            and event.state.updates_in_hold == 0
        )
        assert (
            event.rollout.linear_model.replaces_plant
            is event.rollout.linear_model.replays_inputs
            is False
        )
        np.testing.assert_array_equal(event.rollout.theta, event.state.theta)
        assert event.rollout.loss == event.state.loss


@pytest.mark.parametrize("hold", ["scenario", "model"])
def test_true_loss_never_rises_between_holds(hold):
    losses = [
        mark.loss
        for mark in trained(hold=hold, batches=4, rollouts=40)[-1].state.history
    ]
    assert (
        len(losses) > 2
        and np.all(np.diff(losses) <= 0)
        and losses[-1] < 0.9 * losses[0]
    )


@trainings
def test_weights_of_an_event_have_its_loss(settings):
    """Also inside a hold with an approximate loss: they are those of its start then."""
    trainer, state = training_of(**settings)
    for event in trainer.run(state):
        rng = np.random.default_rng()
        rng.bit_generator.state = event.state.generator
        assert trainer.loop(rng).rollout(event.state.theta).loss == event.state.loss


# Each way to stop.


def test_stops_at_the_target_loss():
    target = 0.8 * trained(hold="scenario", rollouts=1)[-1].state.loss
    last = trained(hold="scenario", target_loss=target)[-1]
    assert last.stop is Stop.TARGET and last.state.loss <= target


def test_stops_at_the_target_ratio():
    trainer, state = training_of(
        "arm1", control_limit=None, trials=5, steps=20, target_ratio=1.05
    )
    *_, last = trainer.run(state)
    best = trainer.optimal(trainer.loop(np.random.default_rng(0)))
    assert last.stop is Stop.TARGET and best < last.state.loss <= 1.05 * best


def test_ratio_of_random_task_uses_optimum_of_same_scenario():
    """A hold is evaluated on its own scenario, not on the one drawn after it."""
    trainer, state = training_of(
        task="fresh", hold="scenario", batches=3, target_ratio=1.3, rollouts=100
    )
    events = list(trainer.run(state))
    assert events[-1].stop is Stop.TARGET
    last_update = [event for event in events if event.kind == "update"][-1]
    rng = np.random.default_rng()
    rng.bit_generator.state = last_update.state.generator
    assert events[-1].state.history[-1].loss <= 1.3 * trainer.optimal(
        trainer.loop(rng)
    ) * (1 + 1e-9)


def test_target_already_reached_takes_no_update():
    events = trained(target_loss=1e6)
    assert [e.kind for e in events] == ["start", "done"]
    assert (
        events[1].stop is Stop.TARGET
        and events[1].state.updates == 0
        and events[1].state.rollouts == 1
    )


@pytest.mark.parametrize("hold", ["scenario", "model", "inputs"])
def test_stops_at_rollout_limit(hold):
    events = trained(hold=hold, rollouts=9, batches=2)
    assert events[-1].stop is Stop.ROLLOUTS and events[-1].state.rollouts >= 9
    assert all(
        e.state.rollouts < 9
        for e in events
        if e.kind == "update" and e is not events[-3] and e is not events[-2]
    )


def test_stops_at_time_limit():
    last = trained(max_seconds=1e-9)[-1]
    assert last.stop is Stop.TIME and last.state.updates == 0


def test_stops_when_interrupted_between_two_updates():
    trainer, state = training_of(hold="scenario", batches=32)
    token = StopToken()
    for event in trainer.run(state, token):
        if event.state.updates >= 3:
            token.stop()
    assert (
        event.stop is Stop.INTERRUPTED
        and event.state.updates == 3
        and event.state.updates_in_hold == 3
    )


def test_stops_when_converged():
    last = trained(
        plant="linear",
        control_limit=None,
        hold="scenario",
        hidden=(4,),
        cell="linear",
        batches=4,
    )[-1]
    losses = [mark.loss for mark in last.state.history]
    assert last.stop is Stop.CONVERGED
    assert all(
        before - after < 1e-4 * before for before, after in pairwise(losses[-4:])
    )


def test_training_that_converges_in_its_first_hold_has_not_failed():
    """The loss has fallen as far as it can before the end of the first hold."""
    events = trained(
        plant="linear",
        control_limit=None,
        hold="scenario",
        hidden=(4,),
        cell="linear",
        batches=100,
    )
    first, last = events[0].state.loss, events[-1]
    assert (
        last.state.loss < 0.9 * first
        and last.state.history[0].loss < 1.01 * last.state.loss
    )
    assert last.stop is Stop.CONVERGED


def test_post_renews_inputs_at_every_update_if_longer_holds_only_harm():
    """Four holds without a new lowest loss: the first one sets it."""
    trainer, state = training_of(hold="post", batches=2)
    trainer.optimizer = Worse(trainer.optimizer)
    holds = [event for event in islice(trainer.run(state), 30) if event.kind == "hold"]
    made = [0, *(event.state.updates for event in holds)]
    assert {event.state.hold.kind for event in holds} == {"inputs"}
    assert np.diff(made)[:7].tolist() == [2, 2, 2, 2, 1, 1, 1]


def test_a_new_kind_of_hold_gets_its_own_attempts():
    """Six short holds that are undone switch `auto`; training goes on in `scenario`."""
    trainer, state = training_of(hold="auto")
    state = replace(state, hold=HoldState("model", short_holds=5), rejected_holds=5)
    trainer.optimizer = Worse(trainer.optimizer)
    events = islice(trainer.run(state), 200)
    switched, later, *_ = (event for event in events if event.kind == "hold")
    assert not switched.accepted and switched.state.hold.kind == "scenario"
    assert switched.state.rejected_holds == 0 and later.accepted


class Worse:
    """An optimizer that goes uphill and reports success."""

    def __init__(self, optimizer):
        self.init = optimizer.init

    def step(self, state, rollout, hold, left=1):
        new = hold.rollout(state.theta + 0.1 * hold.linearise(rollout).gradient)
        return (
            replace(state, theta=new.theta),
            new,
            Report(True, new.loss, -1.0, "worse", 1, 1),
        )


class Stubborn:
    """An optimizer that finds no descent."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    def init(self, theta):
        return self.optimizer.init(theta)

    def step(self, state, rollout, hold, left=1):
        _, _, report = self.optimizer.step(state, rollout, hold)
        return (
            state,
            rollout,
            replace(report, accepted=False, loss=rollout.loss, updates=0),
        )


@pytest.mark.parametrize("hold, most", [("scenario", 3), ("model", 12)])
def test_fails_if_no_step_lowers_the_loss(hold, most):
    trainer, state = training_of(hold=hold)
    trainer.optimizer = Stubborn(trainer.optimizer)
    events = list(trainer.run(state))
    assert events[-1].stop is Stop.FAILED and events[-1].state.holds == most
    assert not any(e.accepted for e in events if e.kind == "hold")
    np.testing.assert_array_equal(events[-1].state.theta, state.theta)


class Moody(Stubborn):
    """An optimizer that finds descent in some of its updates."""

    finds = (True, False, False, True, False, True, False, False)

    def step(self, state, rollout, hold, left=1):
        self.calls = getattr(self, "calls", -1) + 1
        if self.finds[self.calls]:
            return self.optimizer.step(state, rollout, hold)
        return super().step(state, rollout, hold)


def test_rejected_holds_are_counted_in_a_row():
    """Each hold has one update; two rejections of three are no end."""
    trainer, state = training_of(hold="scenario", batches=1)
    trainer.optimizer = Moody(trainer.optimizer)
    holds = (event for event in trainer.run(state) if event.kind == "hold")
    found = [(event.accepted, event.state.rejected_holds) for event in islice(holds, 8)]
    assert found == list(zip(Moody.finds, (0, 1, 2, 0, 1, 0, 1, 2), strict=True))


class GivesUp(Stubborn):
    """An optimizer that finds no descent after 3 updates."""

    def step(self, state, rollout, hold, left=1):
        found = self.optimizer.step(state, rollout, hold)
        return found if state.updates < 3 else super().step(state, rollout, hold)


@pytest.mark.parametrize("hold", ["scenario", "model"])
@pytest.mark.parametrize(
    "ratio, stop", [(2.0, Stop.STALLED), (1.009, Stop.NEAR_OPTIMUM)]
)
def test_stalls_far_from_the_optimum(hold, ratio, stop):
    """No step lowers the loss, which has fallen and has a gradient."""
    trainer, state = training_of(hold=hold, batches=4)
    trainer.optimizer = GivesUp(trainer.optimizer)
    losses = []

    def optimal(loop):
        """The loss without progress, divided by the ratio that it shall have."""
        losses.append(loop.rollout(last.state.theta).loss)
        return losses[-1] / ratio

    trainer.optimal = optimal
    for event in trainer.run(state):
        last = event
    first = last.state.first_loss
    assert last.stop is stop and last.state.loss < 0.9 * first
    assert losses[-1] == last.state.loss


def test_without_an_optimum_the_gradient_tells_whether_training_stalls():
    """The default optimizer ends at the minimum, the other one before it."""
    settings = {**SEVERAL["to the end"], "batches": 100}
    for optimizer, stop in (
        (lambda own: own, Stop.VANISHED),
        (GivesUp, Stop.STALLED),
    ):
        trainer, state = training_of(**settings)
        trainer.optimizer = optimizer(trainer.optimizer)
        trainer.optimal = None
        *_, last = trainer.run(state)
        assert last.stop is stop and last.state.loss < 0.9 * last.state.first_loss


def test_training_that_starts_at_the_minimum_has_converged():
    settings = {**SEVERAL["to the end"], "batches": 100}
    trainer, state = training_of(**settings)
    *_, last = trainer.run(state)
    again = trainer.init(last.state.theta, np.random.default_rng(0))
    *_, last = trainer.run(again)
    assert last.stop is Stop.VANISHED and last.state.loss > 0.9 * last.state.first_loss


def test_every_stop_has_a_word_and_a_sentence():
    assert len({stop.sentence for stop in Stop}) == len(Stop)
    words = [stop.word for stop in Stop]
    assert {word for word in words if words.count(word) > 1} == {"converged"}


def test_weights_without_finite_loss_are_refused():
    trainer, state = training_of()
    state = replace(
        state, optimizer=trainer.optimizer.init(np.full_like(state.theta, np.nan))
    )
    with pytest.raises(TrainingError, match="not finite"):
        next(trainer.run(state))


# Results on known problems.


@pytest.mark.slow
def test_arm1_comes_within_a_thousandth_of_the_riccati_cost():
    trainer, state = training_of(
        "arm1",
        control_limit=None,
        hidden=(8,),
        trials=None,
        steps=None,
        target_ratio=1.001,
    )
    *_, last = trainer.run(state)
    loop = trainer.loop(np.random.default_rng(0))
    best = riccati_loss(loop.plant.params, trainer.task)
    assert best * (1 - 1e-9) < last.state.loss < 1.001 * best


def riccati_loss(params, task):
    """Return the optimal loss of arm1's task.

    It brings the error (angle - target, rate) to zero from (-target, 0).
    """
    dt, inertia = 0.01, params["mass"] * params["length"] ** 2
    A, B = np.array([[1.0, dt], [0.0, 1.0]]), np.array([[dt * dt], [dt]]) / inertia
    numbers = task.numbers
    running, final = np.diag([numbers["running"], 0.0]), numbers["final"] * np.eye(2)
    P = final + running
    for t in reversed(range(task.steps)):
        K = np.linalg.solve(numbers["effort"] + B.T @ P @ B, B.T @ P @ A)
        P = A.T @ P @ (A - B @ K) + (running if t else 0.0)
    targets = task.draw(np.random.default_rng(0)).goal[-1, 0]
    return 0.5 * P[0, 0] * np.mean(targets**2)


@pytest.mark.slow
def test_arm2_reaches_the_error_of_the_main_job():
    trainer, state = training_of(
        "arm2",
        control_limit=None,
        hidden=(32, 32),
        trials=None,
        steps=None,
        effort=0.0,
        target_loss=5e-5,
    )
    *_, last = trainer.run(state)
    assert last.stop is Stop.TARGET and last.state.loss <= 5e-5
    loop = trainer.loop(np.random.default_rng(0))
    error = loop.rollout(last.state.theta).x[-1] - loop.scenario.goal[-1]
    assert 0.5 * np.mean((error**2).sum(axis=0)) == pytest.approx(
        last.state.loss, rel=1e-12
    )
