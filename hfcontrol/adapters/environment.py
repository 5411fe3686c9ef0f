"""Gymnasium environments that are stepped, not differentiated: what they show, what they take, and copies of them."""

from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

LONGEST = 1000  # steps of a rollout, where the environment has no time limit or a longer one


@dataclass(frozen=True)
class Environment:
    """An environment by its id; `make()` gives a copy of it, an object of Gymnasium's interface.

    Observations are Box spaces, flattened; of actions, Box spaces in units of half their range about its middle, clipped there, or
    the number of one of `n_control` actions.
    """

    id: str
    make: object
    n_observation: int
    n_control: int
    discrete: bool
    low: np.ndarray | None
    high: np.ndarray | None
    first: int
    limit: int | None

    @classmethod
    def of(cls, name, make):
        """What `make()` gives, looked at once; TypeError in words for spaces that no controller of numbers can be joined to."""
        env = make()
        try:
            seen, done, kinds = env.observation_space, env.action_space, ("Box", "Discrete")
            if type(seen).__name__ != "Box":
                raise TypeError(f"it shows {seen}; needed is a Box of numbers")
            if type(done).__name__ not in kinds:
                raise TypeError(f"it takes {done}; needed is a Box of numbers or Discrete")
            discrete, limit = type(done).__name__ == "Discrete", getattr(env.spec, "max_episode_steps", None)
            if discrete:
                return cls(name, make, int(np.prod(seen.shape)), int(done.n), True, None, None, int(done.start), limit)
            low, high = np.ravel(done.low).astype(float), np.ravel(done.high).astype(float)
            return cls(name, make, int(np.prod(seen.shape)), len(low), False, low, high, 0, limit)
        finally:
            env.close()

    @property
    def undifferentiable(self):
        """Why there is no derivative of it, in words."""
        return "its actions are discrete" if self.discrete else "its state cannot be set"

    @property
    def steps(self):
        """Steps of a rollout, unless asked otherwise: whole episodes where they are not too long."""
        return min(self.limit or LONGEST, LONGEST)

    def action(self, numbers):
        """What the environment takes, of a policy's numbers (na,)."""
        if self.discrete:
            return self.first + int(numbers[0])
        bounded = np.isfinite(self.low) & np.isfinite(self.high)
        low, high = np.where(bounded, self.low, -1.0), np.where(bounded, self.high, 1.0)
        within = np.where(bounded, np.clip(numbers, -1, 1), numbers)
        return ((low + high) / 2 + (high - low) / 2 * within).astype(np.float32)

    @contextmanager
    def copies(self, count):
        """So many copies, closed afterwards."""
        made = [self.make() for _ in range(count)]
        try:
            yield made
        finally:
            for env in made:
                env.close()
