"""Scenarios: everything about the trials that is fixed before a rollout."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hfcontrol.arrays.device import to_device_of
from hfcontrol.arrays.types import Array
from hfcontrol.kernels.base import Kernels
from hfcontrol.tasks.cost import Cost

SPLITS = ("training", "held_out")

# Difference between two equal numbers, in parts of the largest one of their array.
ROUNDING = 1e-12

# Arrays of a scenario with an entry for each step, and for each state.
OF_STEPS = (
    "target",
    "elapsed",
    "sensory_noise",
    "motor_noise",
    "motor_gain",
    "disturbance",
)
OF_STATES = ("goal", "goal_output")


@dataclass(frozen=True)
class Scenario:
    """Start states, targets, parameters, disturbances and cost of N trials.

    Start state `x0` (nx, N); `target`, what the network sees of the goal (T, nt, N);
    `elapsed`, the time since the step before in control steps (T, N); plant parameters
    `params` (np, N); draws of noise and disturbance (T, ., N); the cost; the goal as
    states (T+1, nx, N) and as outputs (T+1, nz, N). `arrivals` are the time indices at
    which the goal is to be reached; the last one is T.
    """

    x0: Array
    target: Array
    elapsed: Array
    params: Array
    sensory_noise: Array
    motor_noise: Array
    motor_gain: Array
    disturbance: Array
    cost: Cost
    goal: Array
    goal_output: Array
    arrivals: tuple[int, ...]

    @property
    def trials(self) -> int:
        """Number of trials, N."""
        return self.x0.shape[1]

    @property
    def steps(self) -> int:
        """Horizon in control steps, T."""
        return self.target.shape[0]


# Fields of a scenario that are arrays; their last axis is the trial.
ARRAYS = (
    "x0",
    "target",
    "elapsed",
    "params",
    "sensory_noise",
    "motor_noise",
    "motor_gain",
    "disturbance",
    "goal",
    "goal_output",
)


def select_trials(scenario: Scenario, indices: Array) -> Scenario:
    """The trials with these indices, in their order; an index may occur repeatedly."""
    return _map_arrays(scenario, lambda a: a[..., indices].copy())


def mix_trials(scenario: Scenario, count: int, rng: np.random.Generator) -> Scenario:
    """The scenario with `count` more trials, each a mixture of two others.

    All arrays are mixed alike: starts, goals, parameters, noise and cost. A goal that
    is NaN in one of the two is NaN in the mixture.
    """
    first, second = rng.integers(scenario.trials, size=(2, count))
    part = rng.random(count)

    def mix(a: Array) -> Array:
        share = to_device_of(part, a)
        one, other = (a[..., to_device_of(i, a)] for i in (first, second))
        mixed = (1.0 - share) * one + share * other
        return np.concatenate([a, mixed], axis=-1)

    return _map_arrays(scenario, mix)


def shorten_scenario(scenario: Scenario, steps: int) -> Scenario:
    """The same trials over the first steps of their horizon.

    The cost ends there too: what the last state alone costs is left out.
    """
    changes: dict[str, Any] = {}
    for name in OF_STEPS:
        changes[name] = getattr(scenario, name)[:steps].copy()
    for name in OF_STATES:
        changes[name] = getattr(scenario, name)[: steps + 1].copy()
    arrivals = tuple(time for time in scenario.arrivals if time <= steps)
    cost = scenario.cost.shorten(steps)
    return replace(scenario, cost=cost, arrivals=arrivals, **changes)


def is_same_scenario(one: Scenario, other: Scenario) -> bool:
    """Whether all numbers of two scenarios on the CPU are the same, up to rounding.

    Inverse kinematics rounds targets differently for other difference steps.
    """
    pairs = zip(_all_arrays(one), _all_arrays(other), strict=True)
    return all(_is_same_array(a, b) for a, b in pairs)


def _is_same_array(a: Array | None, b: Array | None) -> bool:
    """Whether two arrays are equal up to rounding; NaN equals NaN."""
    if a is None or b is None:
        return a is b
    if a.shape != b.shape:
        return False
    numbers = np.nan_to_num(a, posinf=0.0, neginf=0.0)
    largest = float(np.abs(numbers).max(initial=0.0))
    return np.allclose(a, b, rtol=0.0, atol=ROUNDING * largest, equal_nan=True)


def without_chance(scenario: Scenario) -> Scenario:
    """The scenario without noise and pushes, and with steps of one length."""
    return replace(
        scenario,
        elapsed=np.ones_like(scenario.elapsed),
        sensory_noise=np.zeros_like(scenario.sensory_noise),
        motor_noise=np.zeros_like(scenario.motor_noise),
        motor_gain=np.zeros_like(scenario.motor_gain),
        disturbance=np.zeros_like(scenario.disturbance),
    )


def move_scenario(
    scenario: Scenario, move: Callable[[Array], Array], kernels: Kernels
) -> Scenario:
    """The scenario with all arrays moved by `move`, and the kernels of that device."""
    moved = _map_arrays(scenario, move)
    return replace(moved, cost=replace(moved.cost, kernels=kernels))


def replace_trials(scenario: Scenario, indices: Array, others: Scenario) -> None:
    """Overwrite the trials with these indices by the trials of another scenario."""
    # In place: an environment that resets some trials at every step calls this often.
    pairs = zip(_all_arrays(scenario), _all_arrays(others), strict=True)
    for array, values in pairs:
        if array is not None:
            array[..., indices] = values


def _map_arrays(scenario: Scenario, function: Callable[[Array], Array]) -> Scenario:
    """The scenario with a function applied to every array, those of the cost too."""
    arrays: dict[str, Any] = {
        name: function(getattr(scenario, name)) for name in ARRAYS
    }
    return replace(scenario, cost=scenario.cost.map(function), **arrays)


def _all_arrays(scenario: Scenario) -> list[Array | None]:
    """All arrays of a scenario and its cost, always in the same order."""
    cost = scenario.cost
    own = [getattr(scenario, name) for name in ARRAYS]
    return [*own, cost.params, cost.target, *cost.weights, *cost.references]
