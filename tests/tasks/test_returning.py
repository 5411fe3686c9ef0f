"""The way back after a task, and tasks that have none."""

from pathlib import Path

import numpy as np
import pytest

from hfcontrol.errors import TaskError
from hfcontrol.kernels import compile_plant
from hfcontrol.plant.reader import read_plant
from hfcontrol.plant.registry import load_plant
from hfcontrol.tasks.returning import out_and_back
from hfcontrol.tasks.task import Task, TaskOptions

PUCK = """
import numpy as np
STATE, CONTROL = ("a", "a_rate"), ("push",)
DT, INTEGRATOR = 0.1, "semi_implicit"


def dynamics(x, u, p, dx):
    dx[0] = x[1]
    dx[1] = u[0]


def draw(rng, trials, split):
    return np.zeros((2, trials)), rng.standard_normal((2, trials))


def draw_moving(rng, trials, split):
    return np.zeros((2, trials)), np.zeros((13, 2, trials))


def draw_fast(rng, trials, split):
    return np.ones((2, trials)), np.zeros((2, trials))


BASE = {"trials": 5, "steps": 12, "final_at": (0.5, 1.0), "effort": 1.0,
        "running": 0.3}
TASKS = {"go": {**BASE, "draw": draw}, "moving": {**BASE, "draw": draw_moving},
         "fast": {**BASE, "draw": draw_fast}}
"""


def task_of(plant, name, **options):
    """A task of a shipped plant, or of the puck."""
    puck = plant == "puck"
    chosen = read_plant(PUCK, Path("puck.py")) if puck else load_plant(plant)
    return Task(chosen, compile_plant(chosen), name, TaskOptions(**options))


def scenario_of(task):
    return task.draw(np.random.default_rng(3))


@pytest.mark.parametrize("plant, name", [("puck", "go"), ("arm2", "anywhere")])
def test_the_first_half_is_the_task_and_the_second_returns(plant, name):
    task = task_of(plant, name, trials=5)
    once, twice = scenario_of(task), scenario_of(out_and_back(task))
    T = once.steps
    assert twice.steps == 2 * T
    assert twice.arrivals == (*once.arrivals, *(T + t for t in once.arrivals))
    np.testing.assert_array_equal(twice.x0, once.x0)
    np.testing.assert_array_equal(twice.goal[: T + 1], once.goal)
    np.testing.assert_array_equal(twice.target[:T], once.target)
    np.testing.assert_array_equal(twice.goal[T + 1 :], np.tile(once.x0, (T, 1, 1)))
    np.testing.assert_array_equal(twice.target[T:], np.tile(once.x0, (T, 1, 1)))


def test_both_halves_cost_the_same():
    task = task_of("puck", "go")
    once, twice = scenario_of(task), scenario_of(out_and_back(task))
    for one, both in zip(once.cost.weights[:2], twice.cost.weights[:2], strict=True):
        first = slice(1, None) if len(one) > once.steps else slice(None)
        np.testing.assert_array_equal(both[first], np.tile(one[first], (2, 1, 1)))


def test_it_equals_the_shipped_task_of_arm2():
    made = scenario_of(out_and_back(task_of("arm2", "reach", trials=6)))
    shipped = scenario_of(task_of("arm2", "out_and_back", trials=6))
    assert made.arrivals == shipped.arrivals
    np.testing.assert_array_equal(made.goal, shipped.goal)
    for a, b in zip(made.cost.weights[:2], shipped.cost.weights[:2], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "plant, name, words",
    [
        ("arm2", "follow", "no single goal"),
        ("arm2", "out_and_back", "no single goal"),
        ("arm2", "posture", "no single goal"),
        ("puck", "moving", "no single goal"),
        ("puck", "fast", "not at rest"),
    ],
)
def test_a_task_without_a_way_back_says_so(plant, name, words):
    with pytest.raises(TaskError, match=words) as caught:
        scenario_of(out_and_back(task_of(plant, name)))
    assert "\n" not in str(caught.value)
