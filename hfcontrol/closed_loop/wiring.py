"""How network and plant are joined: delays, limits and taper."""

from dataclasses import dataclass, replace

import numpy as np

from hfcontrol.errors import TaskError


@dataclass(frozen=True)
class Wiring:
    """How network and plant are joined: delays [steps], smooth control limits (nu,) and taper (nx,), inf for none."""

    feedback_delay: int
    command_delay: int
    limit: np.ndarray
    taper: np.ndarray

    def check(self, steps):
        """Raises TaskError for a delay as long as the horizon, in which nothing would be seen or done."""
        for option in ("feedback_delay", "command_delay"):
            if getattr(self, option) >= steps:
                raise TaskError(
                    f"--{option.replace('_', '-')} of {getattr(self, option)} steps does not fit into a horizon "
                    f"of {steps} steps: make it shorter, or give more --steps"
                )

    def move(self, move):
        """The same with the arrays as `move` makes them."""
        return replace(self, limit=move(self.limit), taper=move(self.taper))

    def apply_limit(self, command):
        """The controls of commands (..., nu, N): LIMIT tanh(c / LIMIT) where there is a limit."""
        limit = self.limit[:, None]
        bounded = np.isfinite(limit)
        safe = np.where(bounded, limit, 1.0)
        return np.where(bounded, safe * np.tanh(command / safe), command)

    def slope(self, command):
        """Derivative of `apply_limit`, entry by entry."""
        return np.where(
            np.isfinite(self.limit[:, None]),
            1.0 - (self.apply_limit(command) / self.limit[:, None]) ** 2,
            1.0,
        )
