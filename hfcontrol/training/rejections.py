"""Remedies: what helps when holds are rejected.

Where derivatives are right, a step that is short enough lowers the loss. If none does,
more damping does not help, and its rise is a symptom: on a kink or a jump of the plant
differences of a millionth of a typical size say nothing about the next thousandth.
These are tried in order, and the damping and the trust radius return to what they were
before the rejections:

other trials     where they are drawn at random, one rejection is left to chance
other model      the next hold leaves out the trials that contradict themselves: their
                 own loss rises, or hardly falls, where their own derivatives promise a
                 fall; the loss of all trials still decides if the hold is accepted
wider steps      differences become ten times as wide, up to 0.03 of a typical size
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from hfcontrol.arrays.device import to_device_of, to_host
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.counts import NO_COUNTS, Counts
from hfcontrol.closed_loop.linear_model import NOTHING_FIXED
from hfcontrol.closed_loop.loop import LinearisedLoop
from hfcontrol.kernels import STEP
from hfcontrol.optim.curvature import GaussNewton, promised_gain
from hfcontrol.tasks.scenario import select_trials
from hfcontrol.training.differences import next_widening
from hfcontrol.training.holds import HoldState
from hfcontrol.training.progress import NO_PROMISE
from hfcontrol.training.state import TrainingState

# Rejected holds in a row after which a remedy is tried. A `model` hold may just have
# been too long, and drawn trials unlucky.
PATIENCE = 1
PATIENCE_DRAWN = 2
PATIENCE_MODEL = 3

# Trials are compared with their derivatives over a step that changes no state by more
# than this part of its typical size.
SMALL = 1e-3

# A trial contradicts its derivatives if it keeps less than this part of the promise.
KEPT = 0.1

# A change of the loss that is a smaller part of it is rounding error.
ROUNDING = 1e-10

# At most this part of the trials is left out: more of them are no exception.
MOST_LEFT_OUT = 0.25

# Trials that are named.
NAMED = 3


class Remedy(NamedTuple):
    """How the next hold begins, and why, in words."""

    hold: HoldState
    text: str


def needs_remedy(state: TrainingState, draws: bool) -> bool:
    """Whether so many holds in a row were rejected that a remedy is tried.

    `draws` tells whether trials are drawn again after a rejection.
    """
    patience = PATIENCE_DRAWN if draws else PATIENCE
    if state.hold.kind == "model":
        patience = PATIENCE_MODEL
    return state.hold_start is None and state.rejected_holds >= patience


def find_remedy(
    linear: LinearisedLoop, hold: HoldState
) -> tuple[Remedy | None, Counts]:
    """Return the next remedy for holds that begin at a linearised loop, and its cost.

    There is none if the gradient promises nothing, or if all have been tried.
    """
    if promised_gain(linear, linear.rollout.loss) < NO_PROMISE:
        return None, linear.counts
    radius = max(hold.radius, hold.radius_before)
    hold = replace(hold, radius=radius, radius_before=0.0, bounded=False)
    moved = NO_COUNTS
    if not hold.has_left_out:
        trials, moved = contradictions(linear)
        if trials:
            text = (
                f"{name_trials(trials)}: the loss does not fall as the derivatives "
                "promise, as at a kink or jump of the plant; left out of the next hold"
            )
            remedy = Remedy(replace(hold, left_out=trials, has_left_out=True), text)
            return remedy, linear.counts + moved

    widening = next_widening(hold.widening)
    counts = linear.counts + moved
    if widening is None:
        return None, counts
    text = (
        "no step lowers the loss: finite differences widened to "
        f"{widening * STEP:.1g} of a typical size"
    )
    hold = replace(hold, left_out=(), has_left_out=False, widening=widening)
    return Remedy(hold, text), counts


def after_hold(
    hold: HoldState, begun: HoldState, accepted: bool, draws: bool
) -> HoldState:
    """Return the hold after one that began as `begun` says.

    As long as holds are rejected, the trust radius is remembered, and trials are left
    out if they are not drawn again.
    """
    if accepted:
        return replace(hold, left_out=(), has_left_out=False, radius_before=0.0)
    left_out = () if draws else hold.left_out
    radius_before = begun.radius_before or begun.radius
    return replace(hold, left_out=left_out, radius_before=radius_before)


def leave_out(hold: HoldState, trials: tuple[int, ...], of: int) -> HoldState | None:
    """Return the hold without more trials; None if too many of all are left out.

    `trials` are numbered without those that are left out already, `of` is the number of
    all.
    """
    if not trials:
        return None
    kept = np.setdiff1d(np.arange(of), hold.left_out)
    numbers = {int(kept[trial]) for trial in trials}
    left_out = tuple(sorted({*hold.left_out, *numbers}))
    if len(left_out) > MOST_LEFT_OUT * of:
        return None
    return replace(hold, left_out=left_out)


def contradictions(linear: LinearisedLoop) -> tuple[tuple[int, ...], Counts]:
    """Return the trials that contradict their own derivatives, and what that cost.

    They are compared along a short step down the gradient. Empty if there are none, or
    if they are too many to be exceptions.
    """
    loop, start = linear.loop, linear.rollout
    step, promised = _short_step(linear)
    moved = loop.rollout(start.theta + step, NOTHING_FIXED)
    change = to_host(moved.losses - start.losses)
    least = ROUNDING * float(np.mean(to_host(start.losses)))
    # not `>`: a loss that is not finite contradicts too
    contradicts = (promised < -least) & ~(change <= KEPT * promised)
    found = np.flatnonzero(contradicts)
    if len(found) > MOST_LEFT_OUT * loop.trials:
        return (), moved.counts
    return tuple(found.tolist()), moved.counts


def _short_step(linear: LinearisedLoop) -> tuple[Array, Array]:
    """Return a short step (P,) along -g, and the change (N,) of the losses it promises.

    Its length is that of Cauchy's step, or less: see `SMALL`.
    """
    g = linear.gradient
    curvature = float(g @ (GaussNewton(linear) @ g))
    length = float(g @ g) / curvature if curvature > 0 else 1.0
    changes = linear.jvp(-length * g)
    typical = to_device_of(linear.loop.plant.typical_state[:, None], g)
    shares = linear.loop.shares
    by_trial = np.abs(changes.state / typical).max(axis=(0, 1))
    largest = float(shares.join(by_trial).max())
    part = min(1.0, SMALL / largest) if largest > 0 else 1.0

    promised = np.zeros(changes.state.shape[-1])
    cost = linear.cost
    for w, r, dr in zip(cost.weights, cost.residuals, changes, strict=True):
        if w is not None and r is not None and dr is not None:
            # the change of w r^2 / 2
            by_entry = w * part * dr * (r + 0.5 * part * dr)
            promised += to_host(by_entry.sum(axis=(0, 1)))
    return -part * length * g, shares.join(promised)


def name_trials(trials: tuple[int, ...]) -> str:
    """Return the numbers of some trials in words."""
    names = ", ".join(map(str, trials[:NAMED]))
    more = len(trials) - NAMED
    noun = "trial" if len(trials) == 1 else "trials"
    return f"{noun} {names} and {more} more" if more > 0 else f"{noun} {names}"


def keep_trials(loop: Any, start: Any, hold: HoldState) -> tuple[Any, Any]:
    """Return a loop and its rollout without the trials that a hold leaves out."""
    if not hold.left_out:
        return loop, start
    kept = np.setdiff1d(np.arange(loop.trials), hold.left_out)
    indices = to_device_of(kept, loop.scenario.x0)
    smaller = loop.with_scenario(select_trials(loop.scenario, indices))
    return smaller, smaller.rollout(start.theta, NOTHING_FIXED)
