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
from hfcontrol.errors import NumberError, PlantError
from hfcontrol.plant.episodes import EnvironmentCopy

# Steps of a rollout if the environment has no time limit, or a longer one.
MAX_STEPS = 1000

# A bound of at least this size is none: that of a Box of whole numbers without bounds,
# or the largest number of a dtype.
UNBOUNDED_WHOLE = 2.0**31 - 1
UNBOUNDED_REAL = 1e30

# The largest whole number that floats and all integers of 64 bits hold.
LARGEST_WHOLE = 2.0**53

# What to do with an environment that has no derivatives.
USE_POLICY_GRADIENT = "train it with `optimizer=ppo`, which needs no derivatives"


class ControlSpace(NamedTuple):
    """The controls of an environment: a Box with bounds, or numbered actions.

    `shape` and `dtype` are those of the Box.
    """

    n_control: int
    discrete: bool = False
    low: Array | None = None
    high: Array | None = None
    first_action: int = 0
    shape: tuple[int, ...] | None = None
    dtype: str = "float32"


@dataclass(frozen=True)
class Environment:
    """A Gymnasium environment by its id; `make()` returns a new copy of it.

    Observations are Box spaces, flattened. Controls are either Box spaces or the number
    of one of `n_control` discrete actions. The controls of a Box with two bounds are in
    units of half its range about its middle; those with one bound or none are as they
    are. Actions are clipped to the bounds, rounded if the Box has whole numbers, and
    have its `shape` (None: that of the controls) and `dtype`.

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
    shape: tuple[int, ...] | None = None
    dtype: str = "float32"
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
        """Return the environment's action for a controller's output (nu,).

        Raises NumberError if the output is not finite.
        """
        if not np.isfinite(control).all():
            raise NumberError(
                f"{self.id}: the controller's output {control.tolist()} is not finite; "
                "its weights are not, or an observation is too large"
            )
        if self.discrete:
            return self.first_action + int(control[0])
        assert self.low is not None and self.high is not None  # a Box has bounds
        is_whole = np.dtype(self.dtype).kind in "iu"
        largest = UNBOUNDED_WHOLE if is_whole else UNBOUNDED_REAL
        bounded = (np.abs(self.low) < largest) & (np.abs(self.high) < largest)
        low = np.where(bounded, self.low, -1.0)
        high = np.where(bounded, self.high, 1.0)

        # Clipped after scaling, because the sums round. Bounds are numbers of the
        # dtype, so that no value leaves them when it is converted.
        values = (low + high) / 2 + (high - low) / 2 * control
        values = np.clip(values, self.low, self.high)
        if is_whole:
            values = np.rint(np.clip(values, -LARGEST_WHOLE, LARGEST_WHOLE))
        shape = values.shape if self.shape is None else self.shape
        return values.astype(self.dtype).reshape(shape)

    @contextmanager
    def copies(self, count: int) -> Iterator[list[EnvironmentCopy]]:
        """Make `count` copies, and close them at the end."""
        size = self.n_observation
        copies = [EnvironmentCopy(self.id, self.make(), size) for _ in range(count)]
        try:
            yield copies
        finally:
            for copy in copies:
                copy.close()


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
    return ControlSpace(
        len(low), low=low, high=high, shape=space.shape, dtype=np.dtype(space.dtype).str
    )
