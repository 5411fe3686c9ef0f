"""Scenarios: what is fixed for every trial before a rollout."""

from dataclasses import dataclass, replace

import numpy as np

from hfcontrol.tasks.cost import Cost, Residuals

SPLITS = ("training", "held_out")


@dataclass(frozen=True)
class Scenario:
    """Start state x0 (nx, N), target seen by the network (T, nt, N), plant parameters (np, N), draws of noise and
    disturbance (T, ., N), the cost, and the goal: the state (T+1, nx, N) and output (T+1, nz, N) to be at.

    `arrivals` are the time indices at which the goal is to be reached, the last of them T.
    """

    x0: np.ndarray
    target: np.ndarray
    params: np.ndarray
    sensory_noise: np.ndarray
    motor_noise: np.ndarray
    motor_gain: np.ndarray
    disturbance: np.ndarray
    cost: Cost
    goal: np.ndarray
    goal_output: np.ndarray
    arrivals: tuple

    @property
    def trials(self):
        """Number of trials, N."""
        return self.x0.shape[1]

    @property
    def steps(self):
        """Horizon in control steps, T."""
        return self.target.shape[0]


ARRAYS = (
    "x0",
    "target",
    "params",
    "sensory_noise",
    "motor_noise",
    "motor_gain",
    "disturbance",
    "goal",
    "goal_output",
)


def select_trials(scenario, trials):
    """The scenario of some of its trials, given by their numbers in any order and as often as wanted."""
    return _changed(scenario, lambda a: a[..., trials].copy())


def concatenate_scenarios(scenarios):
    """The trials of scenarios of one task as those of one, each scenario's after those of the one before."""

    def together(*arrays):
        return None if arrays[0] is None else np.concatenate(arrays, axis=-1)

    costs = [s.cost for s in scenarios]
    parts = {
        name: Residuals(*map(together, *(getattr(cost, name) for cost in costs)))
        for name in ("weights", "references")
    }
    cost = replace(
        costs[0],
        **parts,
        params=together(*(c.params for c in costs)),
        target=together(*(c.target for c in costs)),
    )
    return replace(
        scenarios[0],
        cost=cost,
        **{name: together(*(getattr(s, name) for s in scenarios)) for name in ARRAYS},
    )


def move_scenario(scenario, move, kernels):
    """The scenario with every array as `move` makes it, and the kernels of where they are then."""
    move_scenario = _changed(scenario, move)
    return replace(move_scenario, cost=replace(move_scenario.cost, kernels=kernels))


def _changed(scenario, change):
    """The scenario with every array as `change` makes it."""

    def changed(a):
        return None if a is None else change(a)

    cost = scenario.cost
    parts = {
        name: Residuals(*map(changed, getattr(cost, name)))
        for name in ("weights", "references")
    }
    cost = replace(
        cost, **parts, params=changed(cost.params), target=changed(cost.target)
    )
    return replace(
        scenario,
        cost=cost,
        **{name: changed(getattr(scenario, name)) for name in ARRAYS},
    )


def replace_trials(scenario, trials, others):
    """Writes the scenario `others` of as many trials in the place of some of a scenario's, given by their numbers."""

    def arrays(s):
        return [
            *(getattr(s, name) for name in ARRAYS),
            s.cost.params,
            s.cost.target,
            *s.cost.weights,
            *s.cost.references,
        ]

    for a, b in zip(arrays(scenario), arrays(others)):
        if a is not None:
            a[..., trials] = b
