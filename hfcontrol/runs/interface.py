"""The interface of a trained controller: what its network needs to know of the plant.

A checkpoint stores it, so that a controller is used without its plant, and stays what
it was when the plant's file is edited.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.plant.contract import Plant
from hfcontrol.plant.limits import ControlLimits


@dataclass(frozen=True, eq=False)
class Interface:
    """Names, units, control step and limits of a controller and its plant.

    state, control, observation, output: names of the entries of x (nx,), u (nu,),
        y (ny,) and z (nz,)
    units: their units, by "state", "control", "observation" and "output"
    dt: control step [s]
    n_target: size of the target, as the network sees it
    low, high: limits of the controls (nu,), infinite for none
    trim: the control at rest (nu,)
    typical_control: typical sizes of the controls (nu,); limits bend by them
    """

    state: tuple[str, ...]
    control: tuple[str, ...]
    observation: tuple[str, ...]
    output: tuple[str, ...]
    units: dict[str, tuple[str, ...]]
    dt: float
    n_target: int
    low: Array
    high: Array
    trim: Array
    typical_control: Array

    @classmethod
    def describe(
        cls, plant: Plant, limits: ControlLimits, n_target: int
    ) -> "Interface":
        """Return the interface of a plant with these limits of its controls."""
        names = (plant.state, plant.control, plant.observation, plant.output)
        trim = np.array(np.broadcast_to(plant.trim, (plant.nu,)), dtype=float)
        typical = np.array(plant.typical_control, dtype=float)
        # A plant file may give units that are no texts.
        units = {key: tuple(map(str, texts)) for key, texts in plant.units.items()}
        bounds = (limits.low, limits.high)
        return cls(*names, units, float(plant.dt), n_target, *bounds, trim, typical)

    @property
    def nu(self) -> int:
        """Size of the control."""
        return len(self.control)

    @property
    def ny(self) -> int:
        """Size of the observation."""
        return len(self.observation)

    @property
    def n_input(self) -> int:
        """Number of inputs of the network: target and observation."""
        return self.n_target + self.ny

    @property
    def limits(self) -> ControlLimits:
        """The limits of the controls."""
        return ControlLimits(self.low, self.high, self.typical_control)

    def tree(self) -> dict[str, Any]:
        """Return the interface as a dictionary for a checkpoint."""
        return asdict(self)
