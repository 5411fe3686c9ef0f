"""Validation: trials that choose the weights, and are never trained on.

The loss of the trials in use says little about others: a network can learn trials by
heart, and where they are drawn at random, their loss differs from draw to draw. Weights
after a hold are therefore tried on validation trials, which stay the same. The best
ones are kept, and training has converged when none are better for a while.

Random validation trials are many: the best of many weights on few trials are the
luckiest ones. They cost one rollout for every hold. Those of a fixed set lie between
its trials, and are as many.
"""

from dataclasses import replace
from typing import Protocol

from hfcontrol.arrays.device import to_device_of, to_host
from hfcontrol.arrays.random import Stream, stream
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.linear_model import NOTHING_FIXED
from hfcontrol.closed_loop.protocol import Loop
from hfcontrol.optim.yardstick import select_evenly
from hfcontrol.tasks.scenario import Scenario, select_trials
from hfcontrol.tasks.task import Task
from hfcontrol.training.state import Limits, TrainingState

# Random validation trials, if a task has no more itself, and the most states of all of
# them that are kept [numbers].
TRIALS = 256
MOST_STATES = 1e7

# Validation trials whose optimum is found for a target ratio.
JUDGED = 64

# Least number of holds without better weights after which training has converged.
LEAST_PATIENCE = 12


def patience(hold: int) -> int:
    """Return after how many holds without better weights training has converged.

    `hold` is the number of the best hold. The loss of random trials falls slower and
    slower, and with chance: what took long to reach is given long to be surpassed.
    """
    return LEAST_PATIENCE + hold // 2


def draw_validation(task: Task, seed: int) -> Scenario:
    """Return the validation trials of a task."""
    trials = task.trials
    if task.draws:
        affordable = int(MOST_STATES / (task.steps * task.plant.nx))
        trials = max(trials, min(TRIALS, affordable))
    return task.draw(stream(seed, Stream.VALIDATION), "validation", trials)


class Validates(Protocol):
    """What the validation reads of a trainer."""

    limits: Limits
    validation: Scenario | None

    def loop_on(self, scenario: Scenario) -> Loop:
        """Return the closed loop on a scenario."""
        ...


class Validation:
    """The validation trials as a closed loop.

    A target is the loss on the trials of the loop `judged`: all of them, or at most
    `JUDGED` for a ratio, since it needs their optima.
    """

    def __init__(self, loop: Loop, judged: Loop | None = None) -> None:
        self.loop = loop
        self.judged = judged or loop

    @classmethod
    def of(cls, trainer: Validates) -> "Validation | None":
        """Return the validation of a trainer, None without validation trials."""
        scenario = trainer.validation
        if scenario is None:
            return None
        judged: Loop | None = None
        if trainer.limits.ratio is not None and scenario.trials > JUDGED:
            few = select_evenly(scenario.trials, JUDGED)
            judged = trainer.loop_on(select_trials(scenario, few))
        return cls(trainer.loop_on(scenario), judged)

    def update(self, state: TrainingState, theta: Array, hold: int) -> TrainingState:
        """Return a state with the better of its best weights and theta (P,).

        theta are the weights after hold number `hold`.
        """
        taken = self.take(state, theta, hold)
        if taken.best_loss < state.best_loss:
            return taken
        return replace(state, counts=taken.counts)

    def take(self, state: TrainingState, theta: Array, hold: int) -> TrainingState:
        """Return a state with theta (P,) as its best weights, whatever their loss."""
        tried = self.loop.rollout(theta, NOTHING_FIXED)
        return replace(
            state,
            counts=state.counts + tried.counts,
            best_theta=to_host(theta).copy(),
            best_loss=tried.loss,
            best_hold=hold,
        )

    def keep_last(self, state: TrainingState) -> TrainingState:
        """Return a state with its last weights as the best, which reached a target."""
        return self.take(state, state.optimizer.theta, state.holds)

    def has_ended(self, state: TrainingState) -> bool:
        """Whether no weights have been better for a while."""
        best = state.best
        return state.holds - best.hold >= patience(best.hold)

    def judged_loss(self, state: TrainingState) -> float:
        """Return the loss of the best weights on the judged trials."""
        best = state.best
        if self.judged is self.loop or best.theta is None:
            return best.loss
        theta = to_device_of(best.theta, state.optimizer.theta)
        return float(self.judged.rollout(theta, NOTHING_FIXED).loss)
