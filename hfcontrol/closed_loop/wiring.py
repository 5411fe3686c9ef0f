"""How network and plant are connected: delays, control limits and taper."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.errors import TaskError
from hfcontrol.plant.limits import ControlLimits


@dataclass(frozen=True)
class Wiring:
    """Delays [steps], smooth control limits and taper of the states (nx,).

    The taper is infinite where there is none.
    """

    feedback_delay: int
    command_delay: int
    limits: ControlLimits
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
        return replace(self, limits=self.limits.move(move), taper=move(self.taper))

    def arriving_controls(self, command: Array) -> Array:
        """Return the controls (T, nu, N) that commands give, without noise.

        Before the first command arrives they are zero, or the bound nearest to it.
        """
        arriving = self.limits.clip(np.zeros_like(command))
        delay = self.command_delay
        arriving[delay:] = self.limits.apply(command[: len(command) - delay])
        return arriving
