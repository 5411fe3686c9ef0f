"""Episodes of a copy of an environment, whose answers are checked one by one.

An environment may raise, or return anything: lists, NaN, its own buffer that the next
step overwrites, or the four values of Gym before 0.26. What can be read is copied;
anything else is reported in one line.
"""

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.errors import FOREIGN_FAULTS, HFControlError, NumberError, PlantError

# Kinds of dtype that are numbers: booleans, whole and real ones.
NUMBERS = "biuf"


class Transition(NamedTuple):
    """What an environment returns after a step; `observation` (n,) is a copy."""

    observation: Array
    reward: float
    terminated: bool
    truncated: bool


class EnvironmentCopy:
    """A copy of the environment `name` with observations of `size` numbers.

    Raises PlantError for whatever it raises or returns that is no step, and NumberError
    for an observation or a reward that is not finite.
    """

    def __init__(self, name: str, env: Any, size: int) -> None:
        self.name = name
        self.env = env
        self.size = size
        # Steps of the episode in progress.
        self.steps = 0

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def reset(self, seed: int | None = None) -> Array:
        """Start an episode; return its first observation (n,)."""
        self.steps = 0
        options = {} if seed is None else {"seed": seed}
        answer = self._call(self.env.reset, **options)
        if not isinstance(answer, tuple) or len(answer) != 2:
            self._refuse(
                f"reset returned {_describe(answer)}; it must return the observation "
                "and a dictionary"
            )
        return self._observation(answer[0])

    def step(self, action: Any) -> Transition:
        """Make one step under an action of the environment's space."""
        self.steps += 1
        answer = self._call(self.env.step, action)
        if not isinstance(answer, tuple) or len(answer) != 5:
            self._refuse(
                f"{self._place} returned {_describe(answer)}; it must return five "
                "values (Gymnasium; gym before 0.26 had four): observation, reward, "
                "terminated, truncated, info"
            )
        seen, reward, terminated, truncated, _ = answer
        return Transition(
            self._observation(seen),
            self._number("reward", reward),
            bool(self._number("terminated", terminated)),
            bool(self._number("truncated", truncated)),
        )

    @property
    def _place(self) -> str:
        """Where the episode is, in words."""
        return f"step {self.steps} of an episode" if self.steps else "reset"

    def _refuse(self, text: str) -> NoReturn:
        """Raise PlantError with the environment's name."""
        raise PlantError(f"{self.name}: {text}")

    def _call(self, function: Callable[..., Any], *values: Any, **options: Any) -> Any:
        """Call the environment; PlantError, with the line, for whatever it raises."""
        try:
            return function(*values, **options)
        except HFControlError:
            raise
        except FOREIGN_FAULTS as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            text = " ".join(f"{type(error).__name__}: {error}".split())
            raise PlantError(
                f"{self.name} fails at {self._place}: {text} "
                f"({Path(frame.filename).name}, line {frame.lineno})"
            ) from error

    def _observation(self, value: Any) -> Array:
        """Return an observation as a new array (n,)."""
        numbers = _read_numbers(value)
        if numbers is None or numbers.size != self.size:
            self._refuse(
                f"the observation at {self._place} is {_describe(value)}; its space "
                f"has {self.size} numbers"
            )
        is_finite = np.isfinite(numbers)
        if not is_finite.all():
            entry = int(np.argmin(is_finite))
            raise NumberError(
                f"{self.name}: observation y{entry} is {numbers[entry]} at "
                f"{self._place}; every observation must be a finite number"
            )
        return numbers

    def _number(self, name: str, value: Any) -> float:
        """Return a reward or flag as a number; arrays with one entry will do."""
        numbers = _read_numbers(value)
        if numbers is None or numbers.size != 1:
            self._refuse(
                f"{name} at {self._place} is {_describe(value)}; it must be one number"
            )
        if not np.isfinite(numbers[0]):
            raise NumberError(
                f"{self.name}: {name} is {numbers[0]} at {self._place}; it must be a "
                "finite number"
            )
        return float(numbers[0])


def _read_numbers(value: Any) -> Array | None:
    """Return a value's numbers as a new flat array, or None if it has others."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        return None
    if array.dtype.kind not in NUMBERS:
        return None
    # Not a view: environments may return their own buffer.
    return np.array(array, dtype=float).ravel()


def _describe(value: Any) -> str:
    """Return in words what an environment has returned."""
    if isinstance(value, tuple):
        return f"{len(value)} values"
    numbers = _read_numbers(value)
    if numbers is None:
        return f"a {type(value).__name__}"
    return f"{numbers.size} numbers of shape {np.shape(value)}"
