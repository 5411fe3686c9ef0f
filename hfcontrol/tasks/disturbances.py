"""What disturbs a trial: noise on observations and controls, random pushes, and plant parameters that vary.

All of it is drawn once per scenario from a `numpy.random.Generator`, one number per dimension, trial and step where it
is noise, and then stays fixed, so that a rollout is a function of the weights alone.
"""

from dataclasses import dataclass

import numpy as np

from hfcontrol.errors import UsageError

PUSH_SECONDS = 0.05  # that a push lasts
LATEST = (
    2 / 3
)  # part of the horizon in which pushes begin, so that there is time left to answer


@dataclass(frozen=True)
class Disturbances:
    """What a user asks for; nothing by default.

    Noise has the unit of what it is added to; `motor_fraction` multiplies the control by 1 + fraction x normal; `push` is
    the standard deviation of the change that one push makes to every rate, in its unit, None for the task's own;
    `vary` holds (parameter, low, high) of parameters that are drawn evenly from that range for every trial.
    """

    sensory_noise: float = 0.0
    motor_noise: float = 0.0
    motor_fraction: float = 0.0
    push: float | None = None
    vary: tuple = ()

    def __post_init__(self):
        for name in ("sensory_noise", "motor_noise", "motor_fraction", "push"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < np.inf:
                raise UsageError(
                    f"--{name.replace('_fraction', '_noise').replace('_', '-')} {value}: "
                    "a finite number, zero or above, is needed"
                )

    @property
    def noisy(self):
        """Whether any noise is drawn: what a controller cannot know in advance."""
        return (
            max(
                self.sensory_noise,
                self.motor_noise,
                self.motor_fraction,
                self.push or 0.0,
            )
            > 0
        )

    def params(self, plant, rng, trials):
        """The plant's parameters of every trial (np, N): its own, but for those that vary."""
        values = np.tile(
            np.array(list(plant.params.values()), dtype=float)[:, None], trials
        )
        for name, low, high in self.vary:
            values[list(plant.params).index(name)] = rng.uniform(low, high, trials)
        return values

    def noise(self, plant, rng, steps, trials):
        """Sensory noise (T, ny, N), motor noise and motor gain (T, nu, N), normal where they are on and zero elsewhere."""

        def normal(size, scale):
            return (
                scale * rng.standard_normal((steps, size, trials))
                if scale
                else np.zeros((steps, size, trials))
            )

        return (
            normal(plant.ny, self.sensory_noise),
            normal(plant.nu, self.motor_noise),
            normal(plant.nu, self.motor_fraction),
        )

    def pushes(self, plant, rng, steps, trials, own=0.0):
        """Changes of the state (T, nx, N): one push at a random time in every trial, on all rates at once.

        `own` is the task's push, which holds where none is asked for.
        """
        changes, size = (
            np.zeros((steps, plant.nx, trials)),
            own if self.push is None else self.push,
        )
        if not size:
            return changes
        lasting = min(steps, max(1, round(PUSH_SECONDS / plant.dt)))
        begins = rng.integers(0, max(1, int(LATEST * steps) - lasting + 1), trials)
        rates = np.setdiff1d(np.arange(plant.n_body), plant.positions)
        kicks = size / lasting * rng.standard_normal((len(rates), trials))
        for n, begin in enumerate(begins):
            changes[begin : begin + lasting, rates, n] = kicks[:, n]
        return changes
