"""The hold: what stays fixed for the updates made on one rollout's inputs.

| kind       | kept fixed                                              | what the network sees                  |
|------------|---------------------------------------------------------|----------------------------------------|
| `scenario` | start states, targets, noise                            | the plant's own state, simulated anew  |
| `model`    | the plant's linear model about the rollout              | the feedback that this model predicts  |
| `inputs`   | the network inputs recorded in the rollout              | stale inputs                           |
| `post`     | `inputs`, then `scenario` once the loss stops falling   |                                        |
| `auto`     | `scenario` for a cheap compiled plant; else `model`, falling back to `scenario`                  |

A hold is the function that the optimizer sees: `rollout(theta)` and `linearise(rollout)`. A `model` hold is judged as a
whole on the true loss of the same scenario and otherwise undone; its trust radius, the rms deviation of the state from
the rollout in typical sizes, grows and shrinks with how well the prediction did.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from hfcontrol.arrays.device import to_device_of
from hfcontrol.closed_loop.counts import Counts
from hfcontrol.closed_loop.loop import NOTHING_FIXED

KINDS = ("auto", "model", "scenario", "inputs", "post")
RADIUS = 0.3  # of the first model hold
GROW, GOOD = (
    1.5,
    0.7,
)  # the radius grows when the true loss fell by more than this part of the prediction ...
HALVE, POOR = 0.5, 0.3  # ... halves below this part ...
FAILED = 0.3  # ... and shrinks to this part of the deviation when the true loss rose
LITTLE = 0.005  # an update that brings less than this part of the hold's gain ends a model hold
SHORT, SHORT_MOST = (
    2,
    6,
)  # `auto` leaves `model` after so many failed or radius-bound holds of one or two updates


@dataclass(frozen=True)
class HoldState:
    """What passes from hold to hold: the kind now in use, the trust radius, and counts that `auto` and `post` watch."""

    kind: str
    radius: float = RADIUS
    short: int = 0
    stalled: int = 0
    lowest: float = np.inf


def choose_hold(kind, loop):
    """The kind to start with (`HoldState`) and a sentence that says why, for a closed loop."""
    if kind == "post":
        return (
            HoldState("inputs"),
            "post: recorded inputs first, the plant's own feedback when they stop helping",
        )
    if kind != "auto":
        return HoldState(kind), f"{kind}: as asked"
    operations, network = loop.kernels.step_operations, 2 * loop.network.size
    if operations is None:
        return HoldState("model"), "model: the plant is not compiled"
    chosen = "scenario" if operations <= network else "model"
    return HoldState(chosen), (
        f"{chosen}: a plant step costs about {operations:.0f} operations, "
        f"a network step {network:.0f}"
    )


class HoldEnd(NamedTuple):
    """The end of a hold: the true rollout to go on from, None to undo the hold.

    `state` is the `HoldState` for the next hold, `counts` what evaluating the hold cost.
    """

    rollout: Any
    state: HoldState
    counts: Counts


class Hold:
    """The hold `scenario`, and the base of the others: the closed loop with a linear_model that stays fixed."""

    true = True  # whether the hold's loss is that of the closed loop as it is
    counts = Counts()  # what beginning the hold cost

    def __init__(self, loop, start, linear_model=NOTHING_FIXED):
        self.loop, self.start, self.linear_model = loop, start, linear_model

    def first(self):
        """The start, seen as a rollout of the hold's function: about itself every hold gives the same trajectory."""
        return replace(self.start, linear_model=self.linear_model)

    def rollout(self, theta):
        """The hold's own function at theta (P,)."""
        return self.loop.rollout(theta, self.linear_model)

    def linearise(self, rollout):
        """Its derivative at one of its rollouts."""
        return self.loop.linearise(rollout)

    def over(self, before, now, target=None):
        """Whether an update from the loss before to the rollout now should be the hold's last."""
        return False

    def close(self, now, state):
        """The `HoldEnd` after the hold's last rollout."""
        return HoldEnd(now, state, Counts())


class InputsHold(Hold):
    """The hold `inputs`: the network sees what it saw in the rollout, whatever it then does."""

    true = False

    def __init__(self, loop, start):
        super().__init__(
            loop, start, NOTHING_FIXED._replace(recorded=start.y, replays_inputs=True)
        )

    def close(self, now, state):
        """The true loss decides nothing here, as in the source; where it stops falling, `post` leaves this hold."""
        after = self.loop.rollout(now.theta)
        fell = after.loss < 0.999 * state.lowest
        stalled = 0 if fell else state.stalled + 1
        lowest = min(after.loss, state.lowest)
        state = replace(state, stalled=stalled, lowest=lowest)
        return HoldEnd(after, state, after.counts)


class ModelHold(Hold):
    """The hold `model`: the plant is its linear time-varying model about the start; judged on the true plant."""

    true = False

    def __init__(self, loop, start, state, updates):
        super().__init__(loop, start, loop.linear_model(start))
        self.counts = loop.jacobian_counts(start)
        self.radius, self.updates = state.radius, updates
        self.typical = to_device_of(
            np.array(loop.plant.typical_state, dtype=float)[:, None], start.x
        )

    def deviation(self, rollout):
        """Rms deviation of the state from the start's, in typical sizes."""
        return float(
            np.sqrt(np.mean(((rollout.x[1:] - self.start.x[1:]) / self.typical) ** 2))
        )

    def over(self, before, now, target=None):
        """The trajectory left the trust radius, the update brought little of what the hold has gained, or the target is
        predicted to be reached."""
        self.updates += 1
        little = before - now.loss < LITTLE * (self.start.loss - now.loss)
        return (
            little
            or self.deviation(now) > self.radius
            or (target is not None and now.loss <= target)
        )

    def close(self, now, state):
        """The true rollout if its loss fell, with the next trust radius."""
        deviation, predicted = self.deviation(now), self.start.loss - now.loss
        after = self.loop.rollout(now.theta)
        bound = deviation > state.radius
        short = (
            state.short + 1
            if self.updates <= SHORT and (bound or not after.loss < self.start.loss)
            else 0
        )
        if not after.loss < self.start.loss:
            radius = FAILED * min(deviation, state.radius)
            state = replace(state, radius=radius, short=short)
            return HoldEnd(None, state, after.counts)
        quality = (self.start.loss - after.loss) / predicted
        radius = state.radius * (
            GROW if quality > GOOD else HALVE if quality < POOR else 1.0
        )
        state = replace(state, radius=radius, short=short)
        return HoldEnd(after, state, after.counts)


def begin_hold(loop, start, state, updates=0):
    """The hold of the kind in use, about the true rollout `start`, in which so many updates are made already."""
    if state.kind == "model":
        return ModelHold(loop, start, state, updates)
    return InputsHold(loop, start) if state.kind == "inputs" else Hold(loop, start)


def next_kind(asked, state):
    """The state for the next hold where `auto` or `post` change the kind."""
    if asked == "auto" and state.kind == "model" and state.short >= SHORT_MOST:
        return replace(state, kind="scenario")
    if asked == "post" and state.kind == "inputs" and state.stalled >= 3:
        return replace(state, kind="scenario")
    return state
