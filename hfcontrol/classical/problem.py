"""What a classical law knows: the nominal plant, the task, and the wiring."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.wiring import Wiring
from hfcontrol.errors import HFControlError
from hfcontrol.kernels.base import Kernels
from hfcontrol.plant.contract import Plant
from hfcontrol.tasks.scenario import Scenario, select_trials, without_chance

# A critically damped movement has less than 2 % left when omega t is 5.83.
SETTLING = 5.83


class UnsuitableError(HFControlError):
    """A law that a plant or task does not allow; the message says why."""


class Law(Protocol):
    """A classical law: controls from states."""

    def __call__(self, t: int, x: Array) -> Array:
        """Return the controls (nu, N) in step t, for states x (nx, N)."""
        ...


@dataclass(frozen=True)
class Problem:
    """The nominal plant and a scenario without any noise or disturbance.

    The states that a law sees are `wiring.feedback_delay` steps old, and its controls
    arrive after `wiring.command_delay` steps.
    """

    plant: Plant
    kernels: Kernels
    scenario: Scenario
    wiring: Wiring

    @property
    def params(self) -> Array:
        """Nominal parameters (np, N)."""
        return self.scenario.params

    @property
    def settling_frequency(self) -> float:
        """Frequency omega [1/s] of a critically damped movement with 2 % left.

        That is left at the first arrival.
        """
        seconds = self.scenario.arrivals[0] * self.plant.dt
        return SETTLING / seconds

    @cached_property
    def goal(self) -> Array:
        """The goal (T, nx, N) at the end of every step, zero for free states."""
        return np.nan_to_num(self.scenario.goal[1:])

    def check_positions(self) -> None:
        """Raise UnsuitableError if the task leaves a position free."""
        positions = self.plant.positions
        is_free = np.isnan(self.scenario.goal[:, positions]).any(axis=(0, 2))
        if is_free.any():
            free = [self.plant.state[i] for i in positions[is_free]]
            raise UnsuitableError(f"the task gives no goal for {', '.join(free)}")

    def subset(self, trials: Array) -> "Problem":
        """Return the problem of the trials with these indices."""
        return replace(self, scenario=select_trials(self.scenario, trials))


def make_nominal(scenario: Scenario, plant: Plant) -> Scenario:
    """Return a scenario with the plant's own parameters and nothing left to chance."""
    column = np.array(list(plant.params.values()), dtype=float)[:, None]
    params = np.tile(column, scenario.trials)
    cost = replace(scenario.cost, params=params)
    return replace(without_chance(scenario), params=params, cost=cost)
