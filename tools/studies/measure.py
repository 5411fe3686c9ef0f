"""One training of the study: what it spent until it reached each threshold."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import cache
from typing import Any
from unittest import mock

from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.loop import LinearisedLoop
from hfcontrol.runs.settings import Settings
from hfcontrol.studies.harness import Setup
from hfcontrol.training.state import Event

Change = AbstractContextManager[Any]
Spent = dict[str, float]


@dataclass(frozen=True)
class Size:
    """Most updates of a training, and the held-out trials of a random task.

    Updates are limited rather than seconds, because counts must not depend on how busy
    the machine is.
    """

    updates: int = 400
    held_out_trials: int = 256


class ProductCounter:
    """Counts products with G, each with the part of the trials that it takes.

    They are those of the solves, of their warm starts and of the preconditioners'
    probes.
    """

    def __init__(self, trials: int) -> None:
        self.trials = trials
        self.count = 0.0

    def counting_jvp(self) -> Change:
        """Return a change that counts tangent passes: every product takes one."""
        original = LinearisedLoop.jvp

        def jvp(linear: LinearisedLoop, v: Array) -> Any:
            self.count += linear.loop.trials / self.trials
            return original(linear, v)

        return mock.patch.object(LinearisedLoop, "jvp", jvp)


@cache
def score_function(settings: Settings, held_out_trials: int) -> Callable[[Event], Any]:
    """Return the function of an event that is compared with the thresholds.

    It is the ratio to the optimal loss, on held-out trials for a random task and else
    on those of the training; or the loss itself if the optimum is zero.
    """
    setup = Setup(settings)
    task = setup.trainer.task
    if task.optimum_is_zero:
        return lambda event: event.state.loss
    if task.random:
        held_out = setup.held_out(held_out_trials)
        return lambda event: held_out.ratio(event.state.theta)
    optimal = setup.training_scenarios().optimal
    return lambda event: event.state.loss / optimal


def train_variant(
    changes: Iterable[Change],
    thresholds: Sequence[float],
    settings: Settings,
    size: Size,
) -> dict[float, Spent]:
    """Train once with the changes of a variant.

    Returns the updates, rollouts, products and processor seconds that were spent when
    each threshold was first reached.
    """
    setup = Setup(settings)
    score = score_function(settings, size.held_out_trials)
    products = ProductCounter(setup.trainer.task.trials)
    reached: dict[float, Spent] = {}

    with ExitStack() as stack:
        for change in (*changes, products.counting_jvp()):
            stack.enter_context(change)
        # Variants may change the initial weights, so the state is made here.
        state = setup.initial_state()
        for event, seconds in setup.events(state, time.process_time):
            value = score(event)
            spent = {
                "updates": event.state.updates,
                "rollouts": event.state.rollouts,
                "products": products.count,
                "seconds": seconds,
            }
            for threshold in thresholds:
                if value <= threshold:
                    reached.setdefault(threshold, spent)
            is_done = len(reached) == len(thresholds)
            if is_done or event.state.updates >= size.updates:
                break
    return reached
