"""Warnings about a plant with its tasks: what makes a problem hard or impossible.

`hfcontrol check` prints them after the contract tests. Each looks at a few trials of
every task and returns one line: what it is, where, and what to do.

rest     the running cost asks for a state that no control can hold
modes    the plant runs away, or its integrator does, within a control step
kinks    the step has kinks (dry friction, stops) or jumps along rollouts
units    unit hints that disagree with the numbers, or with each other (units_check.py)
states   states that count as positions and may be none
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.errors import HFControlError
from hfcontrol.evaluation.plant_check import Finding
from hfcontrol.evaluation.units_check import find_wrong_unit
from hfcontrol.kernels import compile_plant
from hfcontrol.kernels.base import Kernels
from hfcontrol.optim.trim import find_trim
from hfcontrol.plant.contract import Plant
from hfcontrol.plant.limits import ControlLimits, read_bounds
from hfcontrol.plant.probe import format_numbers
from hfcontrol.plant.stiffness import rate_jacobian, stable_substeps
from hfcontrol.runs.settings import find_task_faults
from hfcontrol.tasks.scenario import Scenario
from hfcontrol.tasks.task import Task

# Trials and steps of the rollouts, and noise of their controls in typical sizes.
TRIALS = 8
MOST_STEPS = 200
NOISE = 0.3

# Points at which kinks are looked for; fewer where every step is slow.
POINTS = 512
SLOW_POINTS = 64

# Steps of one-sided differences, in sizes of the states. Slopes on the two sides of a
# smooth point differ by an amount that falls with the step.
SCALES = (0.1, 0.01, 0.001)

# The difference between the sides that counts, in parts of the largest slope, and how
# much of it must remain at a tenth of the step. At a jump slopes grow with 1 / step.
LEAST_BEND = 0.02
REMAINS = 0.5
GROWS = 5.0

# Differences of slopes below this are rounding errors.
ROUNDING = 1e-6

# A state that leaves its goal by more than so many sizes over the horizon cannot rest
# there.
DRIFT = 0.1

# States beyond so many sizes do not belong to a good trial.
FAR = 100.0


@dataclass(frozen=True)
class Problem:
    """A plant and a few trials of a task, whose entries are `numbers`.

    `limits` are those of the plant. `goal` (nx, N) is the last goal, with the start
    where it is free, and `size` (nx,) is the range of starts and goals.
    """

    plant: Plant
    numbers: Mapping[str, Any]
    kernels: Kernels
    scenario: Scenario
    limits: ControlLimits
    goal: Array
    size: Array

    @property
    def trim(self) -> Array:
        """The plant's control at rest (nu, N)."""
        shape = (self.plant.nu, self.scenario.trials)
        trim = np.reshape(self.plant.trim, (-1, 1))
        return np.array(np.broadcast_to(trim, shape), dtype=float)


@np.errstate(all="ignore")
def check_problems(plant: Plant) -> list[Finding]:
    """Return the warnings about a plant with its tasks, each one once."""
    unsuitable = {name for name, _ in find_task_faults(plant)}
    found: dict[str, Finding] = {}
    for name in plant.tasks:
        if name in unsuitable:
            continue
        try:
            problem = make_problem(plant, name)
        except HFControlError:
            # `check_starts` reports what is wrong with the task.
            continue
        for check in CHECKS:
            with np.errstate(all="ignore"):
                message = check(problem)
            if message:
                found.setdefault(message, Finding(f"task {name}", True, message))
    return list(found.values())


def make_problem(plant: Plant, name: str) -> Problem:
    """Return the problem of a task."""
    kernels = compile_plant(plant)
    scenario = Task(plant, kernels, name).draw(np.random.default_rng(0), trials=TRIALS)
    last = scenario.goal[-1]
    goal = np.where(np.isnan(last), scenario.x0, last)
    low, high = read_bounds(None, plant.nu) if plant.limit is None else plant.limit
    limits = ControlLimits(low, high, np.array(plant.typical_control))
    size = np.ptp(np.concatenate([scenario.x0, goal], axis=1), axis=1)
    size = np.where(size > 0, size, plant.typical_state)
    return Problem(plant, plant.tasks[name], kernels, scenario, limits, goal, size)


def find_restless_goal(problem: Problem) -> str:
    """Return in words which weighted state cannot stay at its goal, or nothing."""
    s, plant = problem.scenario, problem.plant
    weights = s.cost.weights.state
    goal = s.goal[-1]
    if weights is None or s.steps < 3:
        return ""
    # Only running costs ask the state to stay; a goal that moves does not rest.
    stays = (s.goal == goal).all(axis=0) & (weights[1:-1] > 0).all(axis=0)
    if not stays.any():
        return ""
    wanted = np.where(stays, goal, np.nan)
    found = find_trim(problem.kernels, wanted, problem.goal, s.params, problem.limits)
    after = problem.kernels.step(found.x, found.u, s.params)
    change = np.where(stays, np.abs(after - found.x), 0.0)
    drift = s.steps * change / problem.size[:, None]
    i, n = np.unravel_index(np.nanargmax(drift), drift.shape)
    if not drift[i, n] > DRIFT:
        return ""
    what = "its goal is no point of rest"
    if "dynamics" not in plant.functions:
        what = "the step is not a fixed point at its goal"
    return (
        f"{plant.state[i]}: {what}: at x = {format_numbers(found.x[:, n])} the best "
        f"constant controls {format_numbers(found.u[:, n])} change it by "
        f"{change[i, n]:.3g} a step; choose a goal that can be held, give it no "
        "running weight, or widen LIMIT"
    )


def find_fast_mode(problem: Problem) -> str:
    """Return in words which mode is faster than a control step, or nothing."""
    plant, s = problem.plant, problem.scenario
    n = plant.n_body
    x = np.concatenate([s.x0, problem.goal], axis=1)
    u, p = np.tile(problem.trim, 2), np.tile(s.params, 2)
    if "dynamics" not in plant.functions or plant.integrator == "none":
        A, _ = problem.kernels.jacobians(x[None], u[None], p)
        logarithms = [_growth(A[0, ..., k], 1.0) for k in range(x.shape[1])]
    else:
        points = zip(x[:n].T, u.T, p.T, strict=True)
        rates = [rate_jacobian(plant, *point) for point in points]
        logarithms = [_rate(F) * plant.dt for F in rates]
    worst = int(np.argmax(logarithms))
    if logarithms[worst] > 1.0:
        factor = np.exp(min(logarithms[worst], 700.0))
        return (
            f"unstable mode faster than DT: at x = {format_numbers(x[:, worst])} a "
            f"deviation grows {factor:.3g}-fold within a control step of "
            f"{plant.dt:g} s; use a shorter DT"
        )
    substeps = stable_substeps(plant, x[:n], u, p)
    if substeps > plant.substeps:
        return (
            f"fast mode: {plant.integrator} with {plant.substeps} steps per DT cannot "
            "follow it, so that the simulated plant is an artefact; set SUBSTEPS = "
            f"{substeps}, which `--strategy auto` does by itself"
        )
    return ""


def _growth(A: Array, least: float) -> float:
    """Return the logarithm of the largest eigenvalue of a step, or of `least`."""
    if not np.isfinite(A).all():
        return 0.0
    return float(np.log(max(np.abs(np.linalg.eigvals(A)).max(), least)))


def _rate(F: Array) -> float:
    """Return the fastest growth rate of x' = F x, at least 0."""
    if not np.isfinite(F).all():
        return 0.0
    return max(float(np.linalg.eigvals(F).real.max()), 0.0)


def find_kink(problem: Problem) -> str:
    """Return in words where the step has a kink or a jump, or nothing."""
    plant = problem.plant
    x, u, p = _points(problem)
    before = problem.kernels.step(x, u, p)
    for j, step in enumerate(problem.size):
        sides = []
        for scale in SCALES:
            h = scale * step
            change = np.where(np.arange(plant.nx) == j, h, 0.0)[:, None]
            ahead = (problem.kernels.step(x + change, u, p) - before) / h
            behind = (before - problem.kernels.step(x - change, u, p)) / h
            sides.append(np.stack([ahead, behind]))
        found = _find_rough(np.array(sides), problem.size / step, j)
        if found:
            word, i, n = found
            return _describe_kink(plant, word, i, j, x[:, n])
    return ""


def _points(problem: Problem) -> tuple[Array, Array, Array]:
    """Return states (nx, M), controls and parameters along rollouts, starts first."""
    s, plant = problem.scenario, problem.plant
    rng = np.random.default_rng(0)
    steps = min(s.steps, MOST_STEPS)
    typical = NOISE * np.asarray(plant.typical_control)[:, None]
    noise = typical * rng.standard_normal((steps, plant.nu, s.trials))
    u = problem.limits.clip(problem.trim + noise)
    still = np.zeros((steps, plant.nx, s.trials))
    x = problem.kernels.simulate(s.x0, u, s.params, still, plant.taper)[:-1]
    distance = np.abs(x - problem.goal) / problem.size[:, None]
    is_near = np.isfinite(x).all(axis=1) & (distance <= FAR).all(axis=1)
    t, n = np.nonzero(is_near)
    count = POINTS if plant.compiled else SLOW_POINTS
    chosen = np.unique(np.linspace(0, len(t) - 1, count).astype(int))
    t, n = t[chosen], n[chosen]
    return x[t, :, n].T.copy(), u[t, :, n].T.copy(), s.params[:, n].copy()


def _find_rough(slopes: Array, typical: Array, j: int) -> tuple[str, int, int] | None:
    """Return the kind of the worst rough slope by state j, its row and its point.

    Slopes (scale, side, nx, M) are one-sided differences, `typical` (nx,) their sizes.
    """
    relative = slopes / typical[:, None]
    # What a step does beside keeping the state.
    relative[:, :, j] -= 1.0
    bend = np.abs(relative[:, 0] - relative[:, 1])
    size = np.abs(relative).max(axis=1)
    jumps = (size[2] > GROWS * size[1]) & (size[1] > GROWS * size[0])
    # The largest slope at any point says how much a bend changes.
    largest = np.nanmax(size[0], axis=1, keepdims=True)
    kinks = (bend[2] > REMAINS * bend[1]) & (bend[1] > LEAST_BEND * largest)
    for word, rough in (("jump", jumps), ("kink", kinks & ~jumps)):
        rough &= bend[2] > ROUNDING
        if rough.any():
            i, n = np.unravel_index(np.argmax(np.where(rough, bend[2], 0)), rough.shape)
            return word, int(i), int(n)
    return None


def _describe_kink(plant: Plant, word: str, i: int, j: int, x: Array) -> str:
    """Return the warning about a kink or jump of state i in state j, near x (nx,)."""
    name = plant.state[j]
    advice = (
        "derivatives are wrong where it acts; smooth it over the range that matters, "
        "such as tanh(v / 0.01) for a sign"
    )
    cause = "dry friction, or another jump" if word == "jump" else "a stop or a bend"
    return (
        f"{word}: the step of {plant.state[i]} has a {word} in {name} near x = "
        f"{format_numbers(x)} ({cause}): {advice}"
    )


def find_unit(problem: Problem) -> str:
    """Return in words which unit disagrees with the numbers, or nothing."""
    x = np.concatenate([problem.scenario.x0, problem.goal], axis=1)
    return find_wrong_unit(problem.plant, np.abs(x).max(axis=1))


def find_false_position(problem: Problem) -> str:
    """Return in words which state counts as a position and is none, or nothing."""
    plant, numbers = problem.plant, problem.numbers
    body = plant.state[: plant.n_body]
    moving = [name for name in body if f"{name}_rate" in body]
    others = [plant.state[i] for i in plant.positions if plant.state[i] not in moving]
    is_listed = plant.integrator == "semi_implicit" or plant.position_names is not None
    running = numbers.get("running", 0.0)
    is_used = np.ndim(running) == 0 and running > 0
    if is_listed or not moving or not others or not (is_used or "range" in numbers):
        return ""
    return (
        f"positions: {', '.join(others)} count as positions, like {moving[0]}, in "
        "running costs by one number and in ranges; if they are none, list those that "
        f"are: POSITIONS = {tuple(moving)!r}"
    )


CHECKS: tuple[Callable[[Problem], str], ...] = (
    find_restless_goal,
    find_fast_mode,
    find_kink,
    find_unit,
    find_false_position,
)
