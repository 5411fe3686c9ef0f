"""One training of the study: the counts and seconds that it took to reach each threshold."""

import time
from contextlib import ExitStack
from functools import cache
from unittest import mock

from hfcontrol.arrays.random import Stream, stream
from hfcontrol.closed_loop.loop import ClosedLoop, LinearisedLoop
from hfcontrol.optim.yardstick import optimum
from hfcontrol.runs.factory import make_trainer, prepare
from hfcontrol.runs.settings import Settings

MOST_UPDATES, HELD_OUT_TRIALS = (
    400,
    256,
)  # updates and not seconds: counts are not to depend on how busy the machine is


class Products:
    """Counts products with G, each with the part of the trials that it takes: those of the solves, of their warm starts
    and of the preconditioners' probes."""

    def __init__(self, trials):
        self.trials, self.count = trials, 0.0

    def jvp(self, original):
        """`LinearisedLoop.jvp`, counted: every product takes one tangent pass."""

        def jvp(linear, v):
            self.count += linear.loop.trials / self.trials
            return original(linear, v)

        return jvp


@cache
def yardstick(settings):
    """The loss of weights as a ratio to the optimal one (a function of event): on the trials trained on, on held-out ones
    for a random task; or the loss itself where the optimum is zero."""
    trainer = make_trainer(settings)
    if trainer.task.optimum_is_zero:
        return lambda event: event.state.loss
    loop = trainer.loop(stream(settings.seed, Stream.SCENARIOS))
    if trainer.task.random:
        scenario = trainer.task.draw(
            stream(settings.seed, Stream.HELD_OUT), "held_out", HELD_OUT_TRIALS
        )
        loop = ClosedLoop(loop.plant, loop.kernels, loop.network, scenario, loop.wiring)
    optimal = optimum(
        loop.kernels, loop.plant, loop.scenario, loop.wiring
    ).losses.mean()
    if trainer.task.random:
        return lambda event: loop.rollout(event.state.theta).loss / optimal
    return lambda event: event.state.loss / optimal


def training(variant, thresholds, **settings):
    """The spent updates, rollouts, products and processor seconds {threshold: dict} at which each threshold was reached,
    by one training with the changes of a variant (context managers)."""
    settings = Settings(**settings)
    trainer = make_trainer(settings)
    prepare(trainer, settings)
    reached, marks, seconds = yardstick(settings), {}, 0.0
    with ExitStack() as changes:
        for change in variant:
            changes.enter_context(change)
        products = Products(trainer.task.trials)
        changes.enter_context(
            mock.patch.object(LinearisedLoop, "jvp", products.jvp(LinearisedLoop.jvp))
        )
        state = trainer.init(
            trainer.network.initial(stream(settings.seed, Stream.WEIGHTS)),
            stream(settings.seed, Stream.SCENARIOS),
        )
        events, begin = trainer.run(state), time.process_time()
        for event in events:
            seconds += time.process_time() - begin
            value = reached(event)
            spent = {
                "updates": event.state.updates,
                "rollouts": event.state.rollouts,
                "products": products.count,
                "seconds": seconds,
            }
            for threshold in thresholds:
                if value <= threshold:
                    marks.setdefault(threshold, spent)
            if len(marks) == len(thresholds) or event.state.updates >= MOST_UPDATES:
                break
            begin = time.process_time()
    return marks
