"""The plant: any simulator that can be stepped, described by one short Python file.

A plant file gives names (STATE, CONTROL, ...), numbers (PARAMS, DT, ...), functions (`dynamics` or `step` or
`step_batch`, `observe`, `output`, `links`) and TASKS. `load_plant` reads it into a `Plant`; nothing is compiled here.
"""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np


@dataclass(frozen=True, eq=False)
class Plant:
    """A simulator that can be stepped: names of what it takes and gives, numbers, and plain Python functions.

    State (nx,), control (nu,), observation (ny,), output (nz,), parameters (n_params,) in the order of `params`;
    `dt` [s]; `limit` (nu,) or None; `taper` (nx,), infinite where there is none; `functions` by their names; `trim` (nu,),
    the control that keeps the plant where it is, as far as a constant can: what an untrained network gives. Three more
    belong to variants (variants.py): the lag [s] of actuators between control and body, whose drives are the last
    states, and the entries that are seen of the `n_observable` observations. `environment` is one of Gymnasium that
    stands in the place of a plant (adapters/environment.py), `episodes` the plant with that in this one's place.
    """

    name: str
    path: Path
    source: str
    state: tuple
    control: tuple
    observation: tuple
    output: tuple
    units: dict
    params: dict
    dt: float
    integrator: str
    substeps: int
    limit: np.ndarray | None
    typical_state: np.ndarray
    typical_control: np.ndarray
    taper: np.ndarray
    tasks: dict = field(default_factory=dict)
    functions: dict = field(default_factory=dict)
    trim: np.ndarray | float = 0.0
    actuator_lag: float = 0.0
    seen: tuple | None = None
    n_observable: int = 0
    environment: object = None
    episodes: object = None

    nx = property(lambda self: len(self.state), doc="Size of the state.")
    nu = property(lambda self: len(self.control), doc="Size of the control.")
    ny = property(lambda self: len(self.observation), doc="Size of the observation.")
    nz = property(lambda self: len(self.output), doc="Size of the output.")
    n_params = property(lambda self: len(self.params), doc="Number of parameters.")

    @property
    def n_body(self):
        """Number of states of the plant itself, which come first: all but the drives of actuators."""
        return self.nx - self.nu if self.actuator_lag else self.nx

    @property
    def compiled(self):
        """Whether the plant is compiled; one that gives `step_batch` runs as it is."""
        return "step_batch" not in self.functions

    @property
    def positions(self):
        """Indices of the positions: the first half of a semi_implicit plant's state, else all but the `..._rate`s."""
        if self.integrator == "semi_implicit":
            return np.arange(self.n_body // 2)
        rates = {f"{name}_rate" for name in self.state}
        return np.array(
            [i for i, name in enumerate(self.state[: self.n_body]) if name not in rates]
        )

    def copied(self, name):
        """Indices of the states that "observe" or "output" copies where the file gives no function of that name."""
        return (
            np.array(self.seen)
            if name == "observe" and self.seen is not None
            else np.arange(self.n_body)
        )

    @property
    def hand(self):
        """Indices in the output of hand_x and hand_y as an array, or None."""
        names = ("hand_x", "hand_y")
        return (
            np.array([self.output.index(n) for n in names])
            if set(names) <= set(self.output)
            else None
        )

    @property
    def plane(self):
        """Indices in the output of the place whose path is drawn, or None: hand_x, hand_y and, where there is one, hand_z;
        without a hand x, y, z, or the first names that end in _x, _y, _z."""
        for name in sorted(self.output, key=lambda name: name != "hand_x"):
            if name == "x" or name.endswith("_x"):
                names = [
                    name[:-1] + axis
                    for axis in "xyz"
                    if name[:-1] + axis in self.output
                ]
                if names[1:] and names[1].endswith("y"):
                    return np.array([self.output.index(n) for n in names])
        return None

    @property
    def residuals(self):
        """Names of the residuals of each residual function that a task brings, by the function's name."""
        tasks = (task for task in self.tasks.values() if task.get("residual"))
        return {task["residual"].__name__: task["residuals"] for task in tasks}

    @cached_property
    def source_hash(self):
        """SHA-256 of the source, in hexadecimal."""
        return hashlib.sha256(self.source.encode()).hexdigest()
