"""A task continued by the way back, without a reset between."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.random import Generator

from hfcontrol.arrays.types import Array
from hfcontrol.errors import TaskError
from hfcontrol.tasks.generators import GENERATORS, Draw, StartsAndGoals
from hfcontrol.tasks.task import Task


def out_and_back(task: Task) -> Task:
    """Return the task with the way back to the start of every trial after it.

    The horizon doubles. The goal of the second half is the start state, and the state
    continues from wherever the first half has ended. Every step costs what it costs in
    the task, and the arrivals of the way back cost the same as those of the way out.

    Raises TaskError if the goal of the task moves, if its starts are not at rest, or if
    its generator cannot return.
    """
    options = replace(task.options, steps=2 * task.steps)
    longer = Task(task.plant, task.kernels, task.name, options)
    draw = task.numbers.get("draw")
    if draw:
        longer.numbers["draw"] = _draw_and_back(draw, task)
    else:
        generator = f"{task.numbers['generator']}_and_back"
        if generator not in GENERATORS:
            raise TaskError(
                f"task {task.name}: its generator {task.numbers['generator']} has no "
                "single goal to return from"
            )
        longer.numbers["generator"] = generator
    back = (task.steps + step for step in task.arrivals)
    longer.arrivals = (*task.arrivals, *back)
    return longer


def _draw_and_back(draw: Draw, task: Task) -> Draw:
    """Return the function that draws a task's trials and their way back."""

    def draw_longer(rng: Generator, trials: int, split: str) -> StartsAndGoals:
        x0, goal = draw(rng, trials, split)
        start: Array = np.asarray(x0, dtype=float)
        out: Any = np.asarray(goal, dtype=float)
        if out.ndim == 3:
            raise TaskError(
                f"task {task.name}: its goal has a value for every time, so there is "
                "no single goal to return from"
            )
        if start[task.plant.rates].any():
            raise TaskError(
                f"task {task.name}: its starts are not at rest, so there is nothing to "
                "return to"
            )
        whole = np.tile(out, (2 * task.steps + 1, 1, 1))
        # Index `steps` is the arrival, and still shows the goal of the way out.
        whole[task.steps + 1 :] = start
        return start, whole

    return draw_longer
