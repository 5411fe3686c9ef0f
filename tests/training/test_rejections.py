"""Rejected holds and derivatives that are not finite: what is named and what helps."""

from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import helpers
import numpy as np
import pytest
from helpers import bits, loop_of, plant_of, weights_of

from hfcontrol.closed_loop.counts import Counts
from hfcontrol.closed_loop.faults import NotFiniteError, check_gradient
from hfcontrol.kernels import STEP
from hfcontrol.plant.reader import read_plant
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.settings import Settings
from hfcontrol.training import rejections
from hfcontrol.training.differences import WIDEST, choose_widening, next_widening, widen
from hfcontrol.training.holds import HoldState
from hfcontrol.training.rejections import (
    KEPT,
    ROUNDING,
    after_hold,
    contradictions,
    find_remedy,
    keep_trials,
    leave_out,
    name_trials,
)
from hfcontrol.training.state import Stop

# One step of one state, x' = 1 - gain (x + u), and a jump of 1e-4 at x + u = 0. All
# trials but number 2 want larger controls. Number 2 is just below the jump: its
# derivative says that smaller ones help, ten times as much as it harms the others.
JUMP = """
import numpy as np

STATE, CONTROL = ("place", "gain"), ("push",)
DT = 0.1


def step(x, u, p, dt, x_next):
    s = x[0] + u[0]
    high = 0.0
    if s > 0.0:
        high = 1e-4
    x_next[0] = 1.0 - x[1] * s + high
    x_next[1] = x[1]


def draw(rng, trials, split):
    x0 = np.zeros((2, trials))
    x0[0], x0[1] = -1.0, 0.2
    x0[:, 2:3] = [[-3e-6], [0.0]]
    return x0, np.zeros((2, trials))


TASKS = {"go": {"draw": draw, "trials": 7, "steps": 1, "final": (1.0, 0.0),
                "effort": 1e-3}}
"""

# The derivative of a root is no number where a trial rests at zero: number 3 does.
ROOT = """
import math
import numpy as np

STATE, CONTROL = ("level", "other"), ("flow",)
DT = 0.1


def step(x, u, p, dt, x_next):
    x_next[0] = x[0] + 0.1 * x[1] + 0.0 * math.sqrt(x[0])
    x_next[1] = x[1] + 0.1 * u[0]


def draw(rng, trials, split):
    x0 = np.ones((2, trials))
    x0[:, 3:4] = 0.0
    return x0, np.full((2, trials), 2.0)


TASKS = {"fill": {"draw": draw, "trials": 7, "steps": 2, "final": (0.0, 1.0),
                  "effort": 1e-3}}
"""

# A quantised drive: the derivative by the control is zero almost everywhere.
STAIRS = """
import math
import numpy as np

STATE, CONTROL = ("place", "place_rate"), ("push",)
DT, INTEGRATOR = 0.1, "euler"


def dynamics(x, u, p, dx):
    dx[0] = x[1]
    dx[1] = 0.02 * math.floor(u[0] / 0.02 + 0.5)


def draw(rng, trials, split):
    return rng.standard_normal((2, trials)), np.zeros((2, trials))


TASKS = {"go": {"draw": draw, "trials": 7, "steps": 12, "running": 1.0, "effort": 0.1}}
"""

# From zero it stays at zero, but a change of the control grows beyond all numbers.
BURST = """
import numpy as np

STATE, CONTROL = ("place",), ("push",)
DT = 0.1


def step(x, u, p, dt, x_next):
    x_next[0] = 1e60 * x[0] + u[0]


def draw(rng, trials, split):
    return np.zeros((1, trials)), np.ones((1, trials))


TASKS = {"go": {"draw": draw, "trials": 7, "steps": 12, "effort": 0.1}}
"""

SOURCES = {"jump": JUMP, "root": ROOT, "stairs": STAIRS, "burst": BURST}


@pytest.fixture(autouse=True, scope="module")
def _plants():
    """The plants above are known by name here."""
    before = dict(helpers.SOURCES)
    helpers.SOURCES.update(SOURCES)
    yield
    helpers.SOURCES.clear()
    helpers.SOURCES.update(before)


def loop_on(plant, **options):
    """A loop on all steps of a plant above, and the rollout of the weights zero."""
    steps = next(iter(plant_of(plant).tasks.values()))["steps"]
    loop = loop_of(plant, steps=steps, **options)
    return loop, loop.rollout(np.zeros(loop.network.size))


def training_on(plant, **settings):
    """A trainer, and its state at the weights zero."""
    source = read_plant(SOURCES[plant], Path(f"{plant}.py"))
    chosen = {"hidden": (4,), "hold": "scenario", "batches": 3, "rollouts": 2000}
    chosen.update({"strategy": "auto", "damping": 1.0}, **settings)
    trainer = make_trainer(Settings(**chosen), source)
    rng = np.random.default_rng(0)
    return trainer, trainer.init(np.zeros(trainer.network.size), rng)


@cache
def trained_on(plant, **settings):
    """The events of a training."""
    trainer, state = training_on(plant, **settings)
    return list(islice(trainer.run(state), 200))


def notices(events):
    """What the notices among events say."""
    return [event.activity for event in events if event.kind == "notice"]


# A trial that contradicts its derivatives.


def test_trial_on_a_jump_contradicts_its_derivatives():
    loop, start = loop_on("jump")
    linear = loop.linearise(start)
    step = -1e-4 * linear.gradient
    assert loop.rollout(step).loss > start.loss, "the gradient of all leads uphill"
    trials, counts = contradictions(linear)
    assert trials == (2,) and counts.rollouts == 1


@pytest.mark.parametrize(
    "promised, change, found",
    [
        (-1.0, -1.01 * KEPT, False),
        (-1.0, -0.99 * KEPT, True),
        (-1.0, 0.5, True),
        (-1.0, np.nan, True),
        # Nothing was promised, but for rounding errors of a loss of 1.
        (0.0, 0.5, False),
        (-0.5 * ROUNDING, 0.5, False),
        (-2.0 * ROUNDING, 0.5, True),
    ],
)
def test_a_trial_contradicts_if_it_keeps_little_of_a_promise(
    monkeypatch, promised, change, found
):
    """Trial 3 of ten; the others promise nothing and rise a little."""
    promises, losses = np.zeros(10), np.full(10, 1e-12)
    promises[3], losses[3] = promised, change
    linear = moved_by(monkeypatch, promises, losses)
    assert contradictions(linear)[0] == ((3,) if found else ())


def moved_by(monkeypatch, promises, changes):
    """A linearised loop of losses 1, with what a short step promises and changes."""
    monkeypatch.setattr(
        rejections, "_short_step", lambda linear: (np.zeros(2), promises)
    )
    ones = np.ones(len(promises))
    start = SimpleNamespace(theta=np.zeros(2), losses=ones)
    moved = SimpleNamespace(losses=ones + changes, counts=Counts(rollouts=1))
    loop = SimpleNamespace(trials=len(ones), rollout=lambda theta, model: moved)
    return SimpleNamespace(loop=loop, rollout=start)


@pytest.mark.parametrize("bad, named", [(2, 2), (3, 0)])
def test_many_trials_are_no_exceptions(monkeypatch, bad, named):
    """A quarter of eleven trials are two of them."""
    changes = np.repeat([0.5, -1.0], [bad, 11 - bad])
    trials, counts = contradictions(moved_by(monkeypatch, -np.ones(11), changes))
    assert trials == tuple(range(named)) and counts == Counts(rollouts=1)


def test_smooth_trials_do_not_contradict():
    loop = loop_of("swing")
    assert contradictions(loop.linearise(loop.rollout(weights_of(loop))))[0] == ()


def test_remedies_come_in_order():
    loop, start = loop_on("jump")
    linear = loop.linearise(start)
    hold = HoldState("scenario", radius=0.01, radius_before=0.2, bounded=True)
    remedy, _ = find_remedy(linear, hold)
    expected = HoldState("scenario", radius=0.2, left_out=(2,), has_left_out=True)
    assert remedy.hold == expected
    assert "trial 2:" in remedy.text and "left out" in remedy.text

    widths, hold = [], remedy.hold
    while (remedy := find_remedy(linear, hold)[0]) is not None:
        assert remedy.hold.left_out == ()
        widths.append(remedy.hold.widening)
        hold = replace(remedy.hold, has_left_out=True)
    np.testing.assert_allclose(widths[:3], [10, 100, 1000])
    assert widths[-1] * STEP == pytest.approx(WIDEST)


def test_no_remedy_where_the_gradient_promises_nothing():
    loop, _ = loop_on("linear")
    start = loop.rollout(np.zeros(loop.network.size))
    linear = loop.linearise(start)
    linear.__dict__["gradient"] = 1e-9 * linear.gradient
    assert find_remedy(linear, HoldState("scenario"))[0] is None


@pytest.mark.parametrize("hold", ["scenario", "model"])
def test_training_leaves_out_the_trial_and_goes_on(hold):
    plain = trained_on("jump", strategy="plain", hold=hold)
    assert plain[-1].stop is Stop.FAILED and not notices(plain)

    events = trained_on("jump", hold=hold)
    assert "trial 2:" in notices(events)[0]
    losses = [mark.loss for mark in events[-1].state.history]
    assert losses[-1] < 0.5 * losses[0], "without the trial, the others learn"
    assert np.all(np.diff(losses) <= 0), "the loss of all trials decides"
    after = [e.state.hold.left_out for e in events if e.kind == "hold" and e.accepted]
    assert after and not any(after), "it is left out of one hold"


def test_damping_and_radius_return_to_those_before_the_rejections():
    events = trained_on("jump", hold="model")
    first = next(event for event in events if event.kind == "notice")
    begin = events[0].state
    assert first.state.optimizer.damping == begin.optimizer.damping
    assert first.state.hold.radius == begin.hold.radius
    assert not first.state.hold.bounded and not first.state.rejected_holds


@pytest.mark.parametrize(
    "plant, hold",
    [
        ("jump", "scenario"),
        ("jump", "model"),
        ("root", "scenario"),
        pytest.param("root", "model", marks=pytest.mark.slow),
    ],
)
def test_training_with_remedies_resumes_from_any_event(plant, hold):
    events = trained_on(plant, hold=hold)
    assert notices(events)
    for place, event in enumerate(events[:-1]):
        expected = events[place + 1 : place + 4]
        again = training_on(plant, hold=hold)[0].run(event.state)
        again = list(islice(again, len(expected)))
        assert [e.kind for e in again] == [e.kind for e in expected], place
        assert [bits(e.state) for e in again] == [bits(e.state) for e in expected]


def test_drawn_trials_are_not_left_out_by_the_numbers_of_others():
    begun = HoldState("model", radius=0.2, left_out=(2,), has_left_out=True)
    undone = replace(begun, radius=0.01, bounded=True)
    fixed = after_hold(undone, begun, accepted=False, draws=False)
    assert fixed.left_out == (2,) and fixed.radius_before == 0.2
    drawn = after_hold(undone, begun, accepted=False, draws=True)
    assert drawn.left_out == () and drawn.has_left_out
    accepted = after_hold(undone, fixed, accepted=True, draws=False)
    assert accepted == HoldState("model", radius=0.01, bounded=True)


def test_left_out_trials_are_not_simulated():
    loop, start = loop_on("jump")
    smaller, rollout = keep_trials(loop, start, HoldState("scenario", left_out=(2, 5)))
    assert smaller.trials == 5
    np.testing.assert_array_equal(rollout.x, start.x[:, :, [0, 1, 3, 4, 6]])
    assert keep_trials(loop, start, HoldState("scenario")) == (loop, start)


def test_trials_are_left_out_by_their_own_numbers():
    hold = leave_out(HoldState("scenario", left_out=(1,)), (1, 4), of=20)
    assert hold.left_out == (1, 2, 5)
    assert leave_out(hold, (), of=20) is None
    assert leave_out(hold, (0, 1, 2), of=20) is None, "more than a quarter"


def test_many_trials_are_counted():
    assert name_trials((4,)) == "trial 4"
    assert name_trials((1, 2, 3, 7, 8)) == "trials 1, 2, 3 and 2 more"


# Wider differences.


def test_wider_differences_average_a_jump():
    """The jump of 1e-4 over 2 h, as long as the trial is within h of it."""
    loop, start = loop_on("jump")
    for widening in (1.0, 100.0):
        jacobians = widen(loop, widening).plant_jacobians(start)
        expected = 1e-4 / (2 * widening * STEP)
        np.testing.assert_allclose(jacobians.B[0, 0, 0, 2], expected, rtol=1e-6)


def test_smooth_plants_keep_narrow_differences():
    for plant in ("swing", "linear", "arm2"):
        loop = loop_of(plant)
        start = loop.rollout(weights_of(loop))
        assert choose_widening(loop, start)[0] == 1.0, plant


def test_quantised_controls_get_wide_differences():
    loop = loop_of("stairs")
    start = loop.rollout(weights_of(loop))
    widening, counts = choose_widening(loop, start)
    # differences over at least a step of 0.02 see its mean slope
    assert widening * STEP >= 0.01 and counts.jacobian_steps
    narrow = loop.linearise(start).plant_jacobians.B
    wide = widen(loop, widening).linearise(start).plant_jacobians.B
    assert not narrow.any() and wide[:, 1].mean() == pytest.approx(0.1, rel=0.1)


def test_widening_ends_at_its_largest_step():
    widening, steps = 1.0, 0
    while (following := next_widening(widening)) is not None:
        assert following > widening
        widening, steps = following, steps + 1
    assert widening * STEP == pytest.approx(WIDEST) and steps < 6


def test_training_keeps_the_differences_that_it_begins_with():
    events = trained_on("stairs", rollouts=4)
    widenings = {event.state.hold.widening for event in events}
    assert len(widenings) == 1 and widenings.pop() > 1


# Derivatives that are not finite.


def test_derivative_that_is_no_number_is_named():
    loop, start = loop_on("root")
    with pytest.raises(NotFiniteError) as caught:
        check_gradient(loop.linearise(start))
    fault = caught.value.fault
    assert fault.trials == (3,)
    assert fault.text == (
        "the derivative of level by level is not finite in trial 3 at step 0, where "
        "level is 0, other is 0"
    )


def test_growth_beyond_all_numbers_is_named():
    loop, start = loop_on("burst")
    with pytest.raises(NotFiniteError, match="in trial 0 at step 7") as caught:
        check_gradient(loop.linearise(start))
    # 1e60 to the power of six
    assert len(caught.value.fault.trials) == loop.trials


def test_gradient_without_a_known_cause_names_its_weights():
    loop = loop_of("swing")
    linear = loop.linearise(loop.rollout(weights_of(loop)))
    linear.__dict__["gradient"] = linear.gradient.copy()
    loop.network.views(linear.gradient)["b_out"][0] = np.nan
    with pytest.raises(NotFiniteError, match="weights b_out is not finite"):
        check_gradient(linear)


@pytest.mark.parametrize("optimizer", ["hf", "adam", "lbfgs"])
def test_plain_training_stops_at_once(optimizer):
    settings = {"strategy": "plain", "optimizer": optimizer}
    if optimizer != "hf":
        settings["damping"] = None
    events = trained_on("root", **settings)
    assert [event.kind for event in events] == ["start", "notice", "done"]
    assert "trial 3" in notices(events)[0]
    stop = events[-1].stop
    assert stop is Stop.NOT_FINITE and stop.word == "not_finite"
    assert "not finite" in stop.sentence


def test_training_leaves_out_trials_that_are_not_finite():
    events = trained_on("root")
    assert "trial 3" in notices(events)[0] and "left out" in notices(events)[0]
    state = events[-1].state
    assert state.loss < 0.9 * state.first_loss
    assert state.optimizer.damping <= 1.0, "a fault is no rejection"


def test_training_without_any_finite_derivative_stops():
    events = trained_on("burst")
    assert events[-1].stop is Stop.NOT_FINITE
    assert "in trial 0" in notices(events)[-1]
