"""Trial sets: whether a network overfits to its trials, and more trials if so.

A network that overfits costs far more between its trials. The *generalisation gap* is
the factor between the loss of validation trials and the loss of the trials in use:

fixed trials   that of the last weights, which validation need not have chosen
random trials  from the mean at the end of the last holds, which is that of the trials
               they were trained on, to the last weights

If the gap explains most of what is missing to the optimum, more updates on the same
number of trials do not help. Then training goes on with `MORE` times as many.
"""

from dataclasses import replace
from functools import cached_property
from typing import Any, cast

import numpy as np

from hfcontrol.arrays.device import to_host
from hfcontrol.arrays.random import Stream, stream
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.linear_model import NOTHING_FIXED
from hfcontrol.closed_loop.loop import ClosedLoop
from hfcontrol.optim.hessian_free import HessianFree
from hfcontrol.tasks.task import Task
from hfcontrol.training.memory import predict_memory
from hfcontrol.training.state import TrainingState
from hfcontrol.training.trainer import Trainer

# Multiples of the trials of a task that are trained on, each by this factor larger.
FACTORS = (1, 4, 16)
MORE = 4

# A network overfits if the gap is above this factor, and if this part of what is
# missing to the optimum is due to it. Where the optimum is not known, above the other.
LEAST_GAP = 1.005
SHARE = 0.5
CLEAR_GAP = 1.2

# Holds at whose ends the loss of random trials is averaged.
RECENT = 8

# A network may overfit if this many holds have brought nothing better: to fixed trials,
# and to those of each hold if they are drawn again, with chance.
STALE = 2
STALE_DRAWN = 4

# More trials must not take more operations in an update, and more memory [bytes].
MOST_OPERATIONS = 2e10
MOST_MEMORY = 2e9


class TrialSets:
    """The trials of a task: those in use, more of them, and those between fixed ones.

    `adds` tells whether there may be more.
    """

    def __init__(self, trainer: Trainer, seed: int, adds: bool) -> None:
        self.trainer = trainer
        self.seed = seed
        self.adds = adds and trainer.validation is not None

    @property
    def task(self) -> Task:
        """The task with its own number of trials."""
        return cast(Task, self.trainer.task)

    @property
    def are_fixed(self) -> bool:
        """Whether the trials are a fixed set with validation trials between them."""
        return self.trainer.validation is not None and not self.trainer.fresh

    @cached_property
    def _loops(self) -> tuple[Any, Any]:
        """The closed loops of fixed trials, and of those between them."""
        assert self.trainer.validation is not None
        fixed = self.task.draw(stream(self.seed, Stream.SCENARIOS))
        return self.trainer.loop_on(fixed), self.trainer.loop_on(
            self.trainer.validation
        )

    def trainer_of(self, factor: int) -> Trainer:
        """Return the trainer of `factor` times as many trials."""
        if factor == 1:
            return self.trainer
        task = self.task
        more = task.shrink(task.steps, factor * task.trials)
        return replace(self.trainer, task=more)

    def factor_between(self, theta: Array) -> float:
        """Return what weights theta (P,) cost more between fixed trials, at least 1."""
        if not self.are_fixed:
            return 1.0
        moved = self.trainer.move(theta)
        used, between = (loop.rollout(moved, NOTHING_FIXED) for loop in self._loops)
        return max(1.0, float(between.loss / used.loss))

    def gap(self, state: TrainingState) -> float:
        """Return the generalisation gap of a training, at least 1.

        It is that of the last weights, which validation has not chosen.
        """
        theta = to_host(state.optimizer.theta)
        if self.are_fixed:
            return self.factor_between(theta)
        if self.trainer.validation is None or not state.history:
            return 1.0
        recent = [point.loss for point in state.history[-RECENT:]]
        return max(1.0, self._validation_loss(theta) / float(np.mean(recent)))

    def _validation_loss(self, theta: Array) -> float:
        """Return the loss of weights theta (P,) on the validation trials."""
        assert self.trainer.validation is not None
        loop = self.trainer.loop_on(self.trainer.validation)
        rollout = loop.rollout(self.trainer.move(theta), NOTHING_FIXED)
        return float(rollout.loss)

    def is_stale(self, state: TrainingState) -> bool:
        """Whether the last holds of a training have brought nothing better."""
        stale = STALE if self.are_fixed else STALE_DRAWN
        return state.holds - state.best_hold >= stale

    def can_add(self, factor: int) -> bool:
        """Whether there can be `MORE` times as many trials as `factor` times."""
        more = MORE * factor
        if not self.adds or more not in FACTORS:
            return False
        optimizer = self.trainer.optimizer
        assert self.trainer.validation is not None
        loop = cast(ClosedLoop, self.trainer.loop_on(self.trainer.validation))
        if isinstance(optimizer, HessianFree):
            of_update = optimizer.predict_operations(loop)
            trials = more * self.task.trials
            if of_update * trials / loop.trials > MOST_OPERATIONS:
                return False
        memory = predict_memory(loop, optimizer, more * self.task.trials)
        return memory.total <= MOST_MEMORY


def overfits(gap: float, ratio: float | None) -> bool:
    """Whether a gap explains most of a ratio to the optimum on validation trials.

    Without a ratio, it must be clear by itself.
    """
    if ratio is None:
        return gap > CLEAR_GAP
    return gap > LEAST_GAP and gap - 1.0 > SHARE * (ratio - 1.0)
