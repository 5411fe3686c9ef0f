"""Disturbances: noise, random pushes, parameters and lengths of steps that vary.

A `numpy.random.Generator` draws all of it once per scenario; noise is independent for
every dimension, trial and step. The draws then stay fixed, so that a rollout is a
function of the weights alone.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from hfcontrol.arrays.types import Array
from hfcontrol.errors import UsageError
from hfcontrol.plant.contract import Plant

PUSH_SECONDS = 0.05  # duration of a push [s]

# Pushes begin in this part of the horizon, so that there is time left to respond.
LATEST = 2 / 3

# Fields of `Disturbances` that hold a size, and the settings that they come from.
SETTINGS = {
    "sensory_noise": "sensory_noise",
    "motor_noise": "motor_noise",
    "motor_fraction": "motor_noise",
    "push": "push",
}


class Noise(NamedTuple):
    """Draws of noise: sensory (T, ny, N), motor (T, nu, N), motor gain (T, nu, N)."""

    sensory: Array
    motor: Array
    gain: Array


@dataclass(frozen=True)
class Disturbances:
    """The disturbances that a user requests; none by default.

    Noise has the unit of the quantity that it is added to. `motor_fraction` multiplies
    the control by 1 + fraction x normal. `push` is the standard deviation of the change
    that one push makes to every rate, in the rate's unit; None takes the task's push.
    `vary` lists (parameter, low, high): these parameters are drawn uniformly from their
    range for every trial. A control step is longer or shorter than dt by up to the part
    `jitter` of it.

    Raises UsageError if a size is negative or not finite, or `jitter` not below 1.
    """

    sensory_noise: float = 0.0
    motor_noise: float = 0.0
    motor_fraction: float = 0.0
    push: float | None = None
    vary: tuple[tuple[str, float, float], ...] = ()
    jitter: float = 0.0

    def __post_init__(self) -> None:
        for name, setting in SETTINGS.items():
            value = getattr(self, name)
            if value is not None and not 0 <= value < np.inf:
                raise UsageError(
                    f"`{setting}` {value}: must be a finite number, zero or above"
                )
        if not 0 <= self.jitter < 1:
            raise UsageError(
                f"`jitter` {self.jitter}: must be a part of the control step, from 0 "
                "to below 1, such as 0.3"
            )

    @property
    def noisy(self) -> bool:
        """Whether anything is drawn that a controller cannot know in advance."""
        noise = (self.sensory_noise, self.motor_noise, self.motor_fraction)
        sizes = (*noise, self.push, self.jitter)
        return max(size or 0.0 for size in sizes) > 0

    def params(self, plant: Plant, rng: Generator, trials: int) -> Array:
        """Plant parameters of every trial (np, N); those that vary are drawn."""
        names = list(plant.params)
        column = np.array(list(plant.params.values()), dtype=float)[:, None]
        values = np.tile(column, trials)
        for name, low, high in self.vary:
            values[names.index(name)] = rng.uniform(low, high, trials)
        return values

    def noise(self, plant: Plant, rng: Generator, steps: int, trials: int) -> Noise:
        """Normal draws of all noise; zeros for noise that is switched off."""

        def draw(size: int, scale: float) -> Array:
            shape = (steps, size, trials)
            # Nothing is drawn if switched off: the random stream stays the same.
            return scale * rng.standard_normal(shape) if scale else np.zeros(shape)

        # The order of these draws is part of what a seed means.
        return Noise(
            draw(plant.ny, self.sensory_noise),
            draw(plant.nu, self.motor_noise),
            draw(plant.nu, self.motor_fraction),
        )

    def excesses(self, rng: Generator, steps: int, trials: int) -> Array:
        """By how much steps are longer than dt, as parts of it (T, N); first zero."""
        excesses = np.zeros((steps, trials))
        if self.jitter:
            shape = (steps - 1, trials)
            excesses[1:] = rng.uniform(-self.jitter, self.jitter, shape)
        return excesses

    def pushes(
        self,
        plant: Plant,
        rng: Generator,
        steps: int,
        trials: int,
        default: float = 0.0,
    ) -> Array:
        """Changes of the state (T, nx, N): one push per trial, on all rates at once.

        Each begins at a random time. `default` is the task's push, which applies
        unless the user requests another.
        """
        changes = np.zeros((steps, plant.nx, trials))
        size = default if self.push is None else self.push
        if not size:
            return changes

        duration = min(steps, max(1, round(PUSH_SECONDS / plant.dt)))
        possible_starts = max(1, int(LATEST * steps) - duration + 1)
        starts = rng.integers(0, possible_starts, trials)

        # A push is a brief force: it changes rates, and positions only through them.
        rates = plant.rates
        # The steps of a push share its change, so that dt does not matter.
        kicks = size / duration * rng.standard_normal((len(rates), trials))
        for n, start in enumerate(starts):
            changes[start : start + duration, rates, n] = kicks[:, n]
        return changes
