"""How network and plant are connected: delays, control limits and taper."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.errors import TaskError


@dataclass(frozen=True)
class Wiring:
    """Delays [steps], smooth control limits (nu,) and taper of the states (nx,).

    Limits and taper are infinite where there are none.
    """

    feedback_delay: int
    command_delay: int
    limit: Array
    taper: Array

    def check(self, steps: int) -> None:
        """Raise TaskError if a delay is not shorter than the horizon.

        The network would never see the plant, or never act on it.
        """
        for setting in ("feedback_delay", "command_delay"):
            delay = getattr(self, setting)
            if delay >= steps:
                raise TaskError(
                    f"`{setting}` of {delay} steps does not fit into a horizon of "
                    f"{steps} steps: use a shorter delay or more `steps`"
                )

    def move(self, move: Callable[[Array], Array]) -> "Wiring":
        """The wiring with its arrays moved by a function."""
        return replace(self, limit=move(self.limit), taper=move(self.taper))

    def apply_limit(self, command: Array) -> Array:
        """Controls for commands (..., nu, N): LIMIT tanh(c / LIMIT), or c unlimited."""
        limit = self.limit[:, None]
        is_limited = np.isfinite(limit)
        # 1 keeps infinity out of the division; `where` discards that value.
        safe = np.where(is_limited, limit, 1.0)
        return np.where(is_limited, safe * np.tanh(command / safe), command)

    def limit_slope(self, command: Array) -> Array:
        """Derivative of `apply_limit` (..., nu, N)."""
        limit = self.limit[:, None]
        relative = self.apply_limit(command) / limit
        return np.where(np.isfinite(limit), 1.0 - relative**2, 1.0)
