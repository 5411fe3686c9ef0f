"""Gymnasium environments that are stepped, not differentiated: what they show, what they take, and copies of them.

One that takes the place of a plant is told as a plant without tasks, whose names are numbered: `y0`, `y1`, ... for what it
shows and `action0`, ... for what it takes.
"""

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hfcontrol.errors import PlantError
from hfcontrol.plant.contract import Plant

LONGEST = (
    1000  # steps of a rollout, where the environment has no time limit or a longer one
)


@dataclass(frozen=True)
class Environment:
    """An environment by its id; `make()` gives a copy of it, an object of Gymnasium's interface.

    `undifferentiable` says in words why there are no derivatives. Observations are Box spaces, flattened; of actions, Box spaces in units of half their range about its middle, clipped there, or
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
    undifferentiable: str = "its state cannot be set"

    @classmethod
    def of(cls, name, make, env, why=None):
        """The environment of which `env` is a copy; raises PlantError for spaces that no controller of numbers can be joined to."""
        seen, done = env.observation_space, env.action_space
        if type(seen).__name__ != "Box":
            raise PlantError(
                f"{name} shows {seen}; a controller needs a Box of numbers"
            )
        if type(done).__name__ not in ("Box", "Discrete"):
            raise PlantError(
                f"{name} takes {done}; a controller gives a Box of numbers, or one of so many (Discrete)"
            )
        limit, size = (
            getattr(env.spec, "max_episode_steps", None),
            int(np.prod(seen.shape)),
        )
        if type(done).__name__ == "Discrete":
            return cls(
                name,
                make,
                size,
                int(done.n),
                True,
                None,
                None,
                int(done.start),
                limit,
                "its actions are discrete",
            )
        low, high = np.ravel(done.low).astype(float), np.ravel(done.high).astype(float)
        return cls(
            name,
            make,
            size,
            len(low),
            False,
            low,
            high,
            0,
            limit,
            *([why] if why else []),
        )

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


def as_plant(name, make, env, why=None):
    """The `Plant` that stands for an environment, of which `env` is a copy: names and spaces, without states and tasks; `why` there
    is no more to it, in words."""
    environment = Environment.of(name, make, env, why)
    seen = tuple(f"y{i}" for i in range(environment.n_observation))
    taken = tuple(f"action{i}" for i in range(environment.n_control))
    one = np.ones(len(seen))
    return Plant(
        name=name.rpartition(":")[2].replace("/", "-"),
        path=Path(name),
        source=f"{name}: {env.observation_space}, {env.action_space}",
        state=seen,
        control=taken,
        observation=seen,
        output=seen,
        params={},
        dt=seconds(env),
        integrator="none",
        substeps=1,
        units={
            key: ("",) * len(names)
            for key, names in (
                ("state", seen),
                ("control", taken),
                ("observation", seen),
                ("output", seen),
            )
        },
        limit=None,
        typical_state=one,
        typical_control=np.ones(len(taken)),
        taper=np.inf * one,
        environment=environment,
    )


def seconds(env):
    """The time between two actions [s], where the environment tells it, else 1."""
    inner = env.unwrapped
    told = [
        getattr(inner, "dt", None),
        getattr(inner, "tau", None),
        1 / (env.metadata.get("render_fps") or 1),
    ]
    return next(float(t) for t in told if isinstance(t, int | float) and t > 0)
