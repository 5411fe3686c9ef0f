"""Gymnasium environments that are stepped and not differentiated.

An `Environment` describes the spaces of an environment and makes copies of it. It takes
the place of a plant in training by policy gradients.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.errors import PlantError

# Steps of a rollout if the environment has no time limit, or a longer one.
MAX_STEPS = 1000

# What to do with an environment that has no derivatives.
USE_POLICY_GRADIENT = "train it with `optimizer=ppo`, which needs no derivatives"


class ControlSpace(NamedTuple):
    """The controls of an environment: a Box with bounds, or numbered actions."""

    n_control: int
    discrete: bool = False
    low: Array | None = None
    high: Array | None = None
    first_action: int = 0


@dataclass(frozen=True)
class Environment:
    """A Gymnasium environment by its id; `make()` returns a new copy of it.

    Observations are Box spaces, flattened. Controls are either Box spaces or the number
    of one of `n_control` discrete actions. The controls of a Box with bounds are in
    units of half its range about its middle, and are clipped to it.

    `undifferentiable` says in words why there are no derivatives.
    """

    id: str
    make: Callable[[], Any]
    n_observation: int
    n_control: int
    discrete: bool
    low: Array | None
    high: Array | None
    first_action: int
    max_episode_steps: int | None
    undifferentiable: str = "its state cannot be set"

    @classmethod
    def describe(
        cls,
        name: str,
        make: Callable[[], Any],
        env: Any,
        why: str | None = None,
    ) -> "Environment":
        """Return the description of the environment `env`.

        `make` returns new copies of it, and `why` is the reason for `undifferentiable`.

        Raises PlantError if a controller cannot be connected to its spaces.
        """
        # Spaces are recognised by name, because Gymnasium is optional.
        space = env.observation_space
        if type(space).__name__ != "Box":
            raise PlantError(
                f"{name} has the observations {space}; a controller needs a Box of "
                "numbers"
            )
        controls = _control_space(name, env.action_space)
        if controls.discrete:
            why = "its actions are discrete"

        return cls(
            id=name,
            make=make,
            n_observation=int(np.prod(space.shape)),
            **controls._asdict(),
            max_episode_steps=getattr(env.spec, "max_episode_steps", None),
            undifferentiable=why or cls.undifferentiable,
        )

    @property
    def steps(self) -> int:
        """Default number of steps of a rollout: a whole episode, or MAX_STEPS."""
        return min(self.max_episode_steps or MAX_STEPS, MAX_STEPS)

    def action(self, control: Array) -> Any:
        """Return the environment's action for a controller's output (nu,)."""
        if self.discrete:
            return self.first_action + int(control[0])
        assert self.low is not None and self.high is not None  # a Box has bounds
        # An entry without bounds is passed on as it is.
        bounded = np.isfinite(self.low) & np.isfinite(self.high)
        low = np.where(bounded, self.low, -1.0)
        high = np.where(bounded, self.high, 1.0)
        scaled = np.where(bounded, np.clip(control, -1, 1), control)
        # float32 is the dtype of Gymnasium's Box.
        return ((low + high) / 2 + (high - low) / 2 * scaled).astype(np.float32)

    @contextmanager
    def copies(self, count: int) -> Iterator[list[Any]]:
        """Make `count` copies, and close them at the end."""
        environments = [self.make() for _ in range(count)]
        try:
            yield environments
        finally:
            for env in environments:
                env.close()


def _control_space(name: str, space: Any) -> ControlSpace:
    """Return the controls of an action space."""
    kind = type(space).__name__
    if kind == "Discrete":
        return ControlSpace(int(space.n), True, first_action=int(space.start))
    if kind != "Box":
        raise PlantError(
            f"{name} has the actions {space}; a controller gives a Box of numbers, or "
            "one of a number of actions (Discrete)"
        )
    low = np.ravel(space.low).astype(float)
    high = np.ravel(space.high).astype(float)
    return ControlSpace(len(low), low=low, high=high)
