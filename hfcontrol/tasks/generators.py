"""Generators of start states and goals for the tasks that many plants share.

A plant file's task names a generator and gives it numbers. A generator takes the task
and the plant parameters of its trials (np, N), and returns `draw(rng, trials, split)`.
That function returns start states (n, N) and goals (n, N) or (T+1, n, N), in the n
states of the plant's body. `split` is "training", "held_out" or "validation". A
generator with a fixed set of targets leaves `rng` untouched, and its held-out targets
lie between the training targets, as its validation targets do in other places. A random
one draws all from `rng`, with different seeds, and has no split for validation.
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.random import Generator

from hfcontrol.arrays.types import Array
from hfcontrol.errors import TaskError
from hfcontrol.kernels.base import Kernels
from hfcontrol.plant.contract import Plant
from hfcontrol.tasks.inverse_kinematics import posture

STROKE_SECONDS = 0.5  # duration of one minimum-jerk stroke of `follow` [s]


class TaskSpec(Protocol):
    """What a generator reads of a task."""

    name: str
    plant: Plant
    kernels: Kernels
    numbers: dict[str, Any]
    steps: int

    def with_actuator_states(self, x: Array) -> Array:
        """States of the body (..., n, N) followed by those of the actuators."""
        ...


# Start states (n, N), and goals (n, N) or (T+1, n, N).
StartsAndGoals: TypeAlias = tuple[Array, Array]

Draw: TypeAlias = Callable[[Generator, int, str], StartsAndGoals]
TaskGenerator: TypeAlias = Callable[[TaskSpec, Array], Draw]


def _shifts(trials: int, split: str) -> Array:
    """How far points (N,) lie behind training points, in parts of their distance.

    Held-out points are half-way to the next one, validation points beside the middle.
    """
    if split == "validation":
        return np.where(np.arange(trials) % 2, 2 / 3, 1 / 3)
    return np.full(trials, 0.5 if split == "held_out" else 0.0)


def _around_circle(trials: int, split: str) -> Array:
    """Evenly spaced points (N,) in [0, 1); those of other splits lie between them."""
    return (np.arange(trials) + _shifts(trials, split)) / trials


def _along_line(trials: int, split: str) -> Array:
    """Evenly spaced points (N,) from 0 to 1; those of other splits lie strictly inside.

    A held-out point beyond the outermost training points would test extrapolation.
    """
    if split == "training":
        return np.linspace(0, 1, trials)
    return (np.arange(trials) + _shifts(trials, split)) / trials


def _start(task: TaskSpec, trials: int) -> Array:
    """The task's start in every trial (n, N): a posture at rest, or a whole state."""
    start = np.asarray(task.numbers["start"], dtype=float)
    x0 = np.zeros((task.plant.n_body, trials))
    x0[:] = _fill_state(task, start)[:, None]
    return x0


def _fill_state(task: TaskSpec, numbers: Array) -> Array:
    """The state (n,) of one number for each position or each state."""
    positions = task.plant.positions
    state = np.zeros(task.plant.n_body)
    state[positions if len(numbers) == len(positions) else slice(None)] = numbers
    return state


def reach(task: TaskSpec, params: Array) -> Draw:
    """Reaches to N targets, evenly spaced on a circle of hand positions.

    Its centre is the task's `centre` [m], by default the hand's start. Raises TaskError
    if the plant has no hand, or if a target is out of reach.
    """
    plant, kernels, numbers = task.plant, task.kernels, task.numbers
    if plant.hand is None:
        raise TaskError(
            f"task {task.name}: its generator needs a hand, and plant {plant.name} has "
            "no hand_x and hand_y among its OUTPUT names; use the generator angles or "
            "a draw function"
        )

    def draw(rng: Generator, trials: int, split: str) -> StartsAndGoals:
        x0 = _start(task, trials)
        angle = 2 * np.pi * _around_circle(trials, split)
        centre = _centre(task, x0, params)
        hand = centre + numbers["radius"] * np.array([np.cos(angle), np.sin(angle)])
        goal = np.zeros_like(x0)
        guess = x0[plant.positions, 0]
        goal[plant.positions] = posture(plant, kernels, hand, guess, params)
        return x0, goal

    return draw


def _centre(task: TaskSpec, x0: Array, params: Array) -> Array:
    """Centre of the targets in every trial (2, N or 1) [m]."""
    if "centre" in task.numbers:
        return np.asarray(task.numbers["centre"], dtype=float)[:, None]
    states = task.with_actuator_states(x0)
    start: Array = task.kernels.output(states[None], params)[0, task.plant.hand]
    return start


def angles(task: TaskSpec, params: Array) -> Draw:
    """Move to N targets, evenly spaced from one posture to another."""

    def draw(rng: Generator, trials: int, split: str) -> StartsAndGoals:
        x0 = _start(task, trials)
        goal = np.zeros_like(x0)
        first, last = task.numbers["targets"]
        low = np.reshape(np.asarray(first, dtype=float), (-1, 1))
        high = np.reshape(np.asarray(last, dtype=float), (-1, 1))
        goal[task.plant.positions] = low + (high - low) * _along_line(trials, split)
        return x0, goal

    return draw


def _and_back(outward: TaskGenerator) -> TaskGenerator:
    """A generator that returns to the start after half of the horizon."""

    def generator(task: TaskSpec, params: Array) -> Draw:
        draw_outward = outward(task, params)

        def draw(rng: Generator, trials: int, split: str) -> StartsAndGoals:
            x0, goal = draw_outward(rng, trials, split)
            goal = np.tile(goal, (task.steps + 1, 1, 1))
            # Index steps // 2 is the arrival at the target, and still shows it.
            goal[task.steps // 2 + 1 :] = x0
            return x0, goal

        return draw

    return generator


def _range(task: TaskSpec) -> tuple[Array, Array]:
    """Lowest and highest value (n, 1) of each position in the task's range."""
    low, high = np.array(task.numbers["range"], dtype=float).T[:, :, None]
    return low, high


def _draw_postures(task: TaskSpec, rng: Generator, trials: int) -> Array:
    """Positions (n, N) drawn uniformly from the task's range."""
    low, high = _range(task)
    return rng.uniform(low, high, (len(task.plant.positions), trials))


def anywhere(task: TaskSpec, params: Array) -> Draw:
    """Move from any posture to any other, both drawn uniformly from a range.

    In training every second movement is shortened to a random part of its length.
    Postures that are drawn uniformly are hardly ever close to each other, and a
    controller that has never seen a short movement misses its target by centimetres.
    """

    def draw(rng: Generator, trials: int, split: str) -> StartsAndGoals:
        x0, goal = np.zeros((2, task.plant.n_body, trials))
        # Targets are drawn after all starts, an order that a seed depends on.
        for x in (x0, goal):
            x[task.plant.positions] = _draw_postures(task, rng, trials)
        if split == "training":
            start, movement = x0[:, ::2], (goal - x0)[:, ::2]
            lengths = rng.random(start.shape[1])
            goal[:, ::2] = start + lengths * movement
        return x0, goal

    return draw


def stay(task: TaskSpec, params: Array) -> Draw:
    """Hold a posture drawn uniformly from a range, against the task's pushes."""

    def draw(rng: Generator, trials: int, split: str) -> StartsAndGoals:
        x0 = np.zeros((task.plant.n_body, trials))
        x0[task.plant.positions] = _draw_postures(task, rng, trials)
        return x0, x0

    return draw


def _strokes(task: TaskSpec, rng: Generator, trials: int) -> Array:
    """Position paths (T+1, n, N): minimum-jerk strokes from posture to posture.

    q = q0 + (q1 - q0)(10 s^3 - 15 s^4 + 6 s^5), s from 0 to 1 (Flash & Hogan 1985,
    eq. 4).
    """
    time = task.plant.dt * np.arange(task.steps + 1) / STROKE_SECONDS
    stroke = np.minimum(time.astype(int), int(time[-1]))
    s = (time - stroke)[:, None, None]
    count = stroke[-1] + 2
    # One posture more than strokes: each stroke ends where the next one begins.
    postures = np.array([_draw_postures(task, rng, trials) for _ in range(count)])
    start, end = postures[stroke], postures[stroke + 1]
    return start + (end - start) * (10 * s**3 - 15 * s**4 + 6 * s**5)


def _eights(task: TaskSpec, rng: Generator, trials: int) -> Array:
    """Position paths (T+1, n, N): one figure eight about the middle of the range.

    Phase and direction are random. The width is half of the range (first position),
    the height a quarter of it (the others).
    """
    low, high = _range(task)
    phase = rng.uniform(0, 2 * np.pi, trials)
    direction = rng.choice([-1.0, 1.0], trials)
    part = np.linspace(0, 1, task.steps + 1)[:, None]
    turn = 2 * np.pi * part * direction + phase
    others = [0.5 * np.sin(2 * turn)] * (len(low) - 1)
    wave = np.stack([np.sin(turn), *others], axis=1)
    return (low + high) / 2 + (high - low) / 4 * wave


def follow(task: TaskSpec, params: Array) -> Draw:
    """Follow a moving posture, starting at rest at its first position.

    Even trials follow figure eights, odd trials minimum-jerk strokes.
    """
    plant = task.plant

    def draw(rng: Generator, trials: int, split: str) -> StartsAndGoals:
        path = _strokes(task, rng, trials)
        # Strokes of all trials are drawn first, an order that a seed depends on.
        path[:, :, ::2] = _eights(task, rng, trials)[:, :, ::2]

        goal = np.zeros((task.steps + 1, plant.n_body, trials))
        goal[:, plant.positions] = path
        rates = plant.rates
        # Only if every position has a rate do the remaining states stand for rates.
        if len(rates) == len(plant.positions):
            goal[:, rates] = np.gradient(path, plant.dt, axis=0)

        x0 = np.zeros((plant.n_body, trials))
        x0[plant.positions] = path[0]
        return x0, goal

    return draw


def _fill_cube(rng: Generator, dimensions: int, count: int) -> Array:
    """Points (dimensions, count) that fill the unit cube evenly.

    A Kronecker sequence with a random shift s: point k is the fractional part of
    s + k (1/g, 1/g^2, ...), with g the positive root of g^(d+1) = g + 1, which is the
    golden ratio for d = 1.
    """
    g = 2.0
    # The fixed-point iteration converges to double precision long before its end.
    for _ in range(60):
        g = (1 + g) ** (1 / (dimensions + 1))
    shift = rng.random((dimensions, 1))
    slopes = g ** -np.arange(1.0, dimensions + 1)[:, None]
    return (shift + np.arange(count) * slopes) % 1


def around(task: TaskSpec, params: Array) -> Draw:
    """Move to one target (n,) from states within a spread (n,) around a start (n,).

    The three vectors cover all states of the body. Training starts fill the spread
    evenly up to its corners; the same number of random starts would leave gaps.
    """

    def draw(rng: Generator, trials: int, split: str) -> StartsAndGoals:
        names = ("start", "spread", "target")
        start, spread, target = (
            np.asarray(task.numbers[name], dtype=float)[:, None] for name in names
        )
        x0 = np.repeat(start, trials, axis=1)
        is_spread = spread[:, 0] > 0
        dimensions = int(is_spread.sum())
        if split == "training":
            points = _fill_cube(rng, dimensions, trials)
        else:
            points = rng.random((dimensions, trials))
        # States without spread are left out, so that they do not thin the others.
        x0[is_spread] += spread[is_spread] * (2 * points - 1)
        return x0, np.tile(target, trials)

    return draw


GENERATORS: dict[str, TaskGenerator] = {
    "reach": reach,
    "angles": angles,
    "reach_and_back": _and_back(reach),
    "angles_and_back": _and_back(angles),
    "anywhere_and_back": _and_back(anywhere),
    "anywhere": anywhere,
    "stay": stay,
    "follow": follow,
    "around": around,
}

# Generators whose targets are on a circle around `centre`, with `radius`.
CIRCLE_GENERATORS = ("reach", "reach_and_back")

# Number of trials, evenly spaced on a circle, that have the same mean curvature as any
# larger number of them. `Task.curvature_trials` says why.
CURVATURE_TRIALS = {"reach": 16, "reach_and_back": 16}

# Generators that draw from the random generator.
RANDOM_GENERATORS = {
    "anywhere",
    "anywhere_and_back",
    "stay",
    "follow",
    "around",
}
