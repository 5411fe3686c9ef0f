"""The hold: what stays fixed during the updates that are made on one rollout.

| kind       | kept fixed                               | what the network observes  |
|------------|------------------------------------------|----------------------------|
| `scenario` | initial states, targets, noise           | the plant, simulated again |
|            |                                          | for every weight vector    |
| `model`    | also the plant's linear model about the  | what the model predicts    |
|            | rollout, which replaces the plant        |                            |
| `inputs`   | also the network's inputs in the rollout | these inputs, always       |

Two more choices change the hold during training:

| choice | kinds                                                                       |
|--------|-----------------------------------------------------------------------------|
| `post` | `inputs`; once the loss has stopped falling, with one update per hold, so   |
|        | that every update renews the inputs                                         |
| `auto` | `model` as soon as it would have predicted a few updates in `scenario`;     |
|        | `scenario` again if it predicts badly or is good for too few updates, and   |
|        | always if a step of the plant costs less than one of its linear model, or   |
|        | if trials are drawn for every hold and the plant costs next to nothing      |

A hold is an objective for the optimizer (optim/protocol.py): `rollout(theta)` and
`linearise(rollout)`. At its end a `model` hold is evaluated on the true plant and
undone if the true loss has risen. Its trust radius limits the deviation from the
rollout, the rms change of the state in typical sizes, by the rule of trust-region
methods: with the quality q = actual / predicted decrease of the loss,

    q > 0.7          radius x 1.5
    q < 0.3          radius x 0.5
    loss has risen   radius = 0.3 x deviation, and the hold is undone

A hold may leave the radius with its last update. After a hold that is undone it may
not: the next one starts from the same weights, and would take the same step again.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, cast

import numpy as np

from hfcontrol.arrays.device import to_device_of
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.counts import NO_COUNTS, Counts
from hfcontrol.closed_loop.linear_model import NOTHING_FIXED, LinearModel
from hfcontrol.closed_loop.loop import ClosedLoop
from hfcontrol.closed_loop.protocol import Loop
from hfcontrol.optim.operations import (
    PASS_SPEED,
    count_linear_step,
    measure_problem,
    products_cost,
)

HoldKind = Literal["model", "scenario", "inputs"]

# What may be chosen: a kind, or a rule that changes the kind.
CHOICES = ("auto", "model", "scenario", "inputs", "post")

# Trust radius of the first model hold.
RADIUS = 0.3

# Quality above which the radius grows, and factor; below which it shrinks, and factor.
GOOD = 0.7
GROW = 1.5
POOR = 0.3
SHRINK = 0.5

# Radius after a hold that is undone, as a part of its deviation.
FAILED = 0.3

# A model hold ends at an update that brings less than this part of the hold's gain.
LITTLE = 0.005

# It also ends when the predicted loss is below this part of the loss at its start:
# measured, most of what the model promises beyond that does not come true.
FALLEN = 0.25

# A model hold is short if it ends after as many updates, near its radius (beyond this
# part of it) or undone; `auto` leaves `model` after as many short holds in a row.
SHORT = 2
NEAR = 0.8
MOST_SHORT_HOLDS = 6

# `auto` also leaves `model` after as many holds in a row whose prediction failed: the
# quality is further from 1 than this.
MOST_FAILED_HOLDS = 2
FAILURE = 0.7

# `auto` begins with at most as many short `scenario` holds, each of as many updates. It
# takes `model` when a linear model would have predicted one: the quality is no further
# from 1 than this. An early update may throw the trajectories far; to trust the linear
# model with it can lead to a poor minimum.
TRIAL_HOLDS = 4
TRIAL_UPDATES = 4
PREDICTED = 0.3

# Where trials are drawn for every hold, `auto` stays with `scenario` if the plant takes
# less than this part of an update's time, or if NumPy steps all trials at once: the
# linear model is of no use beyond a hold, and its trust radius makes holds short
# (measured: tools/NOTES.md).
CHEAP = 0.1

# Rollouts of an update in a `scenario` hold.
ROLLOUTS = 2

# `post` renews the inputs at every update after as many holds in a row whose loss is
# not below this part of the lowest loss before.
MOST_STALLED_HOLDS = 3
STALLED = 0.999


@dataclass(frozen=True)
class HoldState:
    """What passes from hold to hold: the kind in use, and what switches it.

    The trust radius of `model`, whether no update may leave it (`bounded`), its short
    and its failed holds in a row, and the stalled holds in a row and the lowest loss of
    `inputs`. `trials_left` is the number of holds left in which `auto` tries the linear
    model. `most_updates` are the most updates of a hold, None for as many as the limits
    of the training allow.

    After rejected holds (rejections.py), `left_out` are the trials that the hold leaves
    out, `has_left_out` tells that this was tried, `widening` is the factor by which
    finite differences are wider than usual, and `radius_before` is the trust radius
    before the rejections, 0 if there are none.
    """

    kind: HoldKind
    radius: float = RADIUS
    bounded: bool = False
    short_holds: int = 0
    failed_holds: int = 0
    trials_left: int = 0
    stalled_holds: int = 0
    lowest_loss: float = np.inf
    most_updates: int | None = None
    left_out: tuple[int, ...] = ()
    has_left_out: bool = False
    widening: float = 1.0
    radius_before: float = 0.0


class HoldEnd(NamedTuple):
    """The end of a hold: the true rollout to continue from, None to undo the hold.

    `state` is the `HoldState` for the next hold, `counts` what the evaluation cost.
    """

    rollout: Any
    state: HoldState
    counts: Counts


def choose_hold(choice: str, loop: Loop, draws: bool = False) -> tuple[HoldState, str]:
    """Return the `HoldState` to begin with, and the reason as a sentence.

    `draws` tells whether trials are drawn again for every hold.
    """
    if choice == "post":
        reason = (
            "post: recorded inputs, renewed at every update once the loss stops falling"
        )
        return HoldState("inputs"), reason
    if choice != "auto":
        return HoldState(cast(HoldKind, choice)), f"{choice}: as requested"

    operations = loop.kernels.step_operations
    if draws and loop.kernels.plant.steps_together:
        return HoldState("scenario"), "scenario: NumPy steps all trials at once"
    if operations is None:
        return HoldState("model"), "model: the plant is not compiled"
    of_model = count_linear_step(loop.kernels)
    costs = (
        f"a plant step costs about {operations:.0f} operations, a step of its linear "
        f"model {of_model}"
    )
    if operations < of_model:
        return HoldState("scenario"), f"scenario: {costs}"
    if draws and (part := _plant_part(loop, operations)) < CHEAP:
        reason = f"scenario: the plant takes {part:.1g} of the time of an update"
        return HoldState("scenario"), reason
    state = HoldState("scenario", trials_left=TRIAL_HOLDS, most_updates=TRIAL_UPDATES)
    return state, f"model, once it predicts the plant: {costs}"


def _plant_part(loop: Loop, operations: int) -> float:
    """Return the part of the plant in the time of an update.

    `operations` are those of a step of the plant.
    """
    steps = (2 * loop.kernels.step_groups + ROLLOUTS) * loop.scenario.steps
    of_plant = float(PASS_SPEED * operations * steps * loop.trials)
    return of_plant / (of_plant + products_cost(measure_problem(loop)))


def list_holds(choice: str, loop: Loop, draws: bool = False) -> list[HoldState]:
    """Return a `HoldState` for each kind of hold that a training may come to.

    `draws` tells whether trials are drawn again for every hold.
    """
    first, _ = choose_hold(choice, loop, draws)
    states = [first]
    if first.trials_left:
        states.append(HoldState("model"))
    elif choice == "auto" and first.kind == "model":
        states.append(HoldState("scenario"))
    return states


class Hold:
    """The hold `scenario`, and the base of the others.

    `exact` tells whether the hold's loss is that of the closed loop itself, `counts`
    what beginning the hold cost.
    """

    exact = True
    counts = NO_COUNTS

    def __init__(
        self, loop: Loop, start: Any, linear_model: LinearModel = NOTHING_FIXED
    ) -> None:
        self.loop = loop
        self.start = start
        self.linear_model = linear_model

    @cached_property
    def typical(self) -> Array:
        """The typical sizes (nx, 1) of the plant's states."""
        typical = np.array(self.loop.plant.typical_state, dtype=float)
        return to_device_of(typical[:, None], self.start.x)

    def deviation(self, rollout: Any) -> float:
        """Return the rms deviation of the state from the start's, in typical sizes."""
        change = (rollout.x[1:] - self.start.x[1:]) / self.typical
        # By trial first: the same bits, whichever process holds a trial.
        loop = cast(ClosedLoop, self.loop)
        by_trial = loop.shares.join(np.mean(change**2, axis=(0, 1)))
        return float(np.sqrt(np.mean(by_trial)))

    def first_rollout(self) -> Any:
        """Return the start as a rollout of this objective.

        No simulation is needed: at the weights of the start all kinds of holds give the
        same trajectory.
        """
        return replace(self.start, linear_model=self.linear_model)

    def rollout(self, theta: Array) -> Any:
        """Return the objective at theta (P,)."""
        return self.loop.rollout(theta, self.linear_model)

    def linearise(self, rollout: Any) -> Any:
        """Return the linearised objective at one of its rollouts."""
        return self.loop.linearise(rollout)

    def is_over(self, before: float, now: Any, target: float | None = None) -> bool:
        """Whether an update should be the last: from a loss before it to a rollout."""
        return False

    def close(self, now: Any, state: HoldState) -> HoldEnd:
        """Return the `HoldEnd` after the hold's last rollout."""
        return HoldEnd(now, state, NO_COUNTS)


class TrialHold(Hold):
    """A `scenario` hold at whose end `auto` tries the plant's linear model."""

    def __init__(self, loop: ClosedLoop, start: Any) -> None:
        super().__init__(loop, start)
        self.closed_loop = loop

    def close(self, now: Any, state: HoldState) -> HoldEnd:
        """Return the `HoldEnd`; its kind is `model` if that had predicted the loss."""
        linear_model = self.closed_loop.linear_model(self.start)
        promised = self.loop.rollout(now.theta, linear_model)
        counts = self.closed_loop.jacobian_counts(self.start) + promised.counts
        predicted = self.start.loss - promised.loss
        actual = self.start.loss - now.loss

        trials_left = state.trials_left - 1
        state = replace(state, trials_left=trials_left)
        if actual > 0 and abs(actual - predicted) <= PREDICTED * abs(predicted):
            state = replace(state, kind="model", trials_left=0, most_updates=None)
        elif trials_left == 0:
            state = replace(state, most_updates=None)
        return HoldEnd(now, state, counts)


class InputsHold(Hold):
    """The hold `inputs`: the network observes what it observed in the rollout."""

    exact = False

    def __init__(self, loop: Loop, start: Any) -> None:
        recorded = NOTHING_FIXED._replace(recorded=start.y, replays_inputs=True)
        super().__init__(loop, start, recorded)

    def close(self, now: Any, state: HoldState) -> HoldEnd:
        """Return the `HoldEnd`; a hold is never undone.

        The true loss decides nothing, as in the published method. When it stops
        falling, `post` renews the inputs at every update.
        """
        after = self.loop.rollout(now.theta, NOTHING_FIXED)
        fell = after.loss < STALLED * state.lowest_loss
        stalled_holds = 0 if fell else state.stalled_holds + 1
        lowest_loss = min(after.loss, state.lowest_loss)
        state = replace(state, stalled_holds=stalled_holds, lowest_loss=lowest_loss)
        return HoldEnd(after, state, after.counts)


class ModelHold(Hold):
    """The hold `model`: the plant is its linear time-varying model about the start.

    `updates` is the number of updates made in the hold.
    """

    exact = False

    def __init__(
        self, loop: ClosedLoop, start: Any, state: HoldState, updates: int
    ) -> None:
        super().__init__(loop, start, loop.linear_model(start))
        self.counts = loop.jacobian_counts(start)
        self.radius = state.radius
        self.bounded = state.bounded
        self.updates = updates

    def rollout(self, theta: Array) -> Any:
        """Return the objective at theta (P,).

        In a bounded hold, the loss outside of the trust radius is infinite.
        """
        rollout = super().rollout(theta)
        if self.bounded and self.deviation(rollout) > self.radius:
            infinite = np.full_like(rollout.losses, np.inf)
            return replace(rollout, losses=infinite)
        return rollout

    def is_over(self, before: float, now: Any, target: float | None = None) -> bool:
        """Whether an update should be the last: from a loss before it to a rollout.

        It is if it brought little of what the hold has gained, if the loss is a small
        part of that at the start, if the trajectory has left the trust radius, or if
        the model predicts that the target is reached.
        """
        self.updates += 1
        gained = self.start.loss - now.loss
        if before - now.loss < LITTLE * gained:
            return True
        if now.loss < FALLEN * self.start.loss:
            return True
        if self.deviation(now) > self.radius:
            return True
        return target is not None and now.loss <= target

    def close(self, now: Any, state: HoldState) -> HoldEnd:
        """Return the `HoldEnd`, with the true rollout if its loss has fallen."""
        deviation = self.deviation(now)
        predicted = self.start.loss - now.loss
        after = self.loop.rollout(now.theta, NOTHING_FIXED)
        # not `>=`: a loss that is not a number undoes the hold too
        rose = not after.loss < self.start.loss

        quality = (self.start.loss - after.loss) / predicted if predicted else np.nan
        is_limited = deviation > NEAR * state.radius
        is_short = self.updates <= SHORT and (is_limited or rose)
        has_failed = not abs(quality - 1.0) <= FAILURE
        state = replace(
            state,
            bounded=rose,
            short_holds=state.short_holds + 1 if is_short else 0,
            failed_holds=state.failed_holds + 1 if has_failed else 0,
        )

        if rose:
            radius = FAILED * min(deviation, state.radius)
            return HoldEnd(None, replace(state, radius=radius), after.counts)

        factor = 1.0
        if quality > GOOD:
            factor = GROW
        elif quality < POOR:
            factor = SHRINK
        state = replace(state, radius=state.radius * factor)
        return HoldEnd(after, state, after.counts)


def begin_hold(loop: Loop, start: Any, state: HoldState, updates: int = 0) -> Hold:
    """Return the hold of the kind in use, about the true rollout `start`.

    `updates` is the number of updates that were made in it before an interruption.
    """
    if state.kind == "model":
        # the settings allow `model` for this loop only
        return ModelHold(cast(ClosedLoop, loop), start, state, updates)
    if state.kind == "inputs":
        return InputsHold(loop, start)
    if state.trials_left:
        return TrialHold(cast(ClosedLoop, loop), start)
    return Hold(loop, start)


def switch_hold(choice: str, state: HoldState) -> HoldState:
    """Return the state for the next hold: the same, unless it is time to switch.

    `auto` changes the kind. `post` limits holds to one update, as the blog post
    suggests.
    """
    is_poor = (
        state.short_holds >= MOST_SHORT_HOLDS or state.failed_holds >= MOST_FAILED_HOLDS
    )
    if state.kind == "model" and choice == "auto" and is_poor:
        return replace(state, kind="scenario")
    has_stalled = choice == "post" and state.stalled_holds >= MOST_STALLED_HOLDS
    if state.kind == "inputs" and has_stalled and state.most_updates is None:
        return replace(state, most_updates=1)
    return state
