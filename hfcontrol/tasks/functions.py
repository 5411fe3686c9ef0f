"""The functions that a plant file's task brings: `draw`, `sees` and `success`.

They are called here only, so that whatever they raise or return is checked. A mistake
raises TaskError with the file and the line of the function.
"""

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
from numpy.random import Generator

from hfcontrol.arrays.types import Array
from hfcontrol.errors import TaskError
from hfcontrol.plant.calls import (
    call_function,
    describe_value,
    format_place,
    line_of,
    read_array,
)
from hfcontrol.plant.contract import Plant
from hfcontrol.plant.probe import PROBE_SIZE, line_in_file


class TaskFunction:
    """A function of a task, with the words that name it in messages."""

    def __init__(
        self, plant: Plant, task: str, name: str, function: Callable[..., Any]
    ) -> None:
        self.plant = plant
        self.function = function
        self.label = f"{name} of task {task}"

    def __call__(self, *arguments: Any) -> Any:
        """Call the function; TaskError for whatever it raises."""
        return call_function(
            self.plant, self.label, self.function, *arguments, error_type=TaskError
        )

    def refuse(self, value: Any, allowed: str) -> NoReturn:
        """Raise TaskError about a value that the function has returned."""
        place = format_place(self.plant, line_of(self.plant, self.function))
        raise TaskError(
            f"{place}: {self.label} returned {describe_value(value)}; it must return "
            f"{allowed}"
        )


def draw_trials(
    draw: TaskFunction, rng: Generator, trials: int, split: str, shape: tuple[int, int]
) -> tuple[Array, Array]:
    """Return start states (n, N) and goals (n, N) or (T or longer, n, N) of a draw.

    shape: the number of steps T+1 and of states n.
    """
    times, n = shape
    value = draw(rng, trials, split)
    allowed = (
        f"start states ({n}, {trials}) and goals ({n}, {trials}) or ({times}, {n}, "
        f"{trials})"
    )
    is_sequence = isinstance(value, (tuple, list)) or np.ndim(value)
    if not is_sequence or len(value) != 2:
        draw.refuse(value, f"two arrays, {allowed}")

    x0, goal = (read_array(part) for part in value)
    if x0 is None or goal is None:
        draw.refuse(value[0] if x0 is None else value[1], allowed)
    goal_fits = goal.ndim == 2 or (goal.ndim == 3 and len(goal) >= times)
    if x0.shape != (n, trials) or not goal_fits or goal.shape[-2:] != (n, trials):
        place = format_place(draw.plant, line_of(draw.plant, draw.function))
        raise TaskError(
            f"{place}: {draw.label} returned starts {x0.shape} and goals "
            f"{goal.shape}; it must return {allowed}"
        )
    # A goal that moves on beyond the horizon is cut.
    within = goal.reshape(-1, n, trials)[:times]
    has_no_goal = np.isnan(within).all(axis=(0, 1))
    if not np.isfinite(x0).all() or np.isinf(goal).any() or has_no_goal.any():
        place = format_place(draw.plant, line_of(draw.plant, draw.function))
        raise TaskError(
            f"{place}: {draw.label} returned a start that is not finite, a goal that "
            "is infinite, or a trial without any goal (all of it NaN)"
        )
    return x0, goal


def see_goal(sees: TaskFunction, goal: Array, steps: int) -> Array:
    """Return what the network sees (T or longer, k, N) of a goal (T+1, n, N)."""
    trials = goal.shape[2]
    value = sees(goal)
    seen = read_array(value)
    allowed = (
        f"a finite array ({len(goal) - 1}, number of components, {trials}) for a goal "
        f"{goal.shape}"
    )
    if seen is None or seen.ndim != 3 or seen.shape[2] != trials:
        sees.refuse(value, allowed)
    if len(seen) < steps or not np.isfinite(seen).all():
        sees.refuse(value, allowed)
    return seen


def find_successes(success: TaskFunction, x: Array, goal: Array) -> Array:
    """Return which trials (N,) succeeded, by final states and goals (n, N)."""
    # NaN in a goal means that any value will do.
    with np.errstate(all="ignore"):
        value = success(x, goal)
    trials = x.shape[1]
    array = np.asarray(value) if read_array(value) is not None else np.zeros(())
    if array.shape != (trials,) or array.dtype != bool:
        success.refuse(
            value, f"an array of True or False for each of {trials} trials, ({trials},)"
        )
    return array


def check_target_size(
    residual: TaskFunction, names: tuple[str, ...], size: int
) -> None:
    """Call a residual function with a target (size,), in plain Python.

    Raises TaskError if it reads beyond the target: compiled code would do so silently.
    """
    plant = residual.plant
    x = tuple((PROBE_SIZE * plant.typical_state).tolist())
    u = tuple((PROBE_SIZE * plant.typical_control).tolist())
    p = tuple(plant.params.values())
    try:
        residual.function(x, u, x[:size], p, [0.0] * len(names))
    except IndexError as error:
        line = line_in_file(error, str(plant.path))
        raise TaskError(
            f"{format_place(plant, line)}: {residual.label} reads beyond the {size} "
            "components of the target in `space` hand; use `space` joint"
        ) from None
    except ArithmeticError:
        # Compiled code returns inf or nan here.
        return
