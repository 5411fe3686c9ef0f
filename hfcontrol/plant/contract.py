"""The plant: a simulator that can be stepped, as its plant file describes it.

A plant file gives names (STATE, CONTROL, ...), numbers (PARAMS, DT, ...), functions
(`dynamics`, `step` or `step_batch`, and `observe`, `output`, `links`) and TASKS.
`load_plant` reads it into a `Plant`. Nothing is compiled here.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.display import Displayed
from hfcontrol.plant.environment import Environment
from hfcontrol.texts import one_line

# Tasks by their earlier names. A regime of training is a hold, and so no task is.
RENAMED_TASKS = {"hold": "stay"}

# Entries of the output that are the position of the hand, which tasks and plots use.
HAND = ("hand_x", "hand_y")


# Compared by identity, because plants are keys of caches and arrays have no hash.
@dataclass(frozen=True, eq=False, repr=False)
class Plant(Displayed):
    """Names, numbers and plain Python functions of a simulator.

    state, control, observation, output: names of the entries of x (nx,), u (nu,),
        y (ny,) and z (nz,)
    units: their units, by "state", "control", "observation" and "output"
    params: values by name; their order is that of p (n_params,)
    dt: control step [s]
    limit: lower and upper bounds of the controls (2, nu), infinite for none; or None
    typical_state, typical_control: typical sizes (nx,) and (nu,)
    taper: limits of the states (nx,), infinite for states without one
    functions: by name
    trim: the constant control (nu,) that keeps the plant at rest as far as a constant
        can; an untrained network gives this control

    The other fields belong to modified plants (modifiers.py) and to Gymnasium:

    actuator_lag: time constant [s] of actuators between control and body, or 0; the
        drives of the actuators follow the states of the plant file
    irregular: whether control steps have different lengths; the last state is then by
        how much the next one is longer than dt, as a part of dt
    position_names: the states that are positions, if the plant file lists them
    observation_indices: which of the `n_observable` observations the network gets, or
        None for all
    settle: returns the states (..., n, N) nearest to given ones that keep the
        constraints of a simulator's model, or None if it has none; NaN stays NaN
    environment: the Gymnasium environment that is stepped instead of a plant
    episode_plant: the plant whose `environment` is the environment that this plant was
        read from
    inputs: SHA-256 of the other files that the plant is made of, by their paths as seen
        from its own
    """

    name: str
    path: Path
    source: str
    state: tuple[str, ...]
    control: tuple[str, ...]
    observation: tuple[str, ...]
    output: tuple[str, ...]
    units: dict[str, tuple[str, ...]]
    params: dict[str, float]
    dt: float
    integrator: str
    substeps: int
    limit: Array | None
    typical_state: Array
    typical_control: Array
    taper: Array
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    functions: dict[str, Callable[..., Any]] = field(default_factory=dict)
    trim: Array | float = 0.0
    actuator_lag: float = 0.0
    irregular: bool = False
    position_names: tuple[str, ...] | None = None
    observation_indices: tuple[int, ...] | None = None
    n_observable: int = 0
    settle: Callable[[Array], Array] | None = None
    environment: Environment | None = None
    episode_plant: "Plant | None" = None
    inputs: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        tasks = ", ".join(self.tasks) or "none"
        numbers = f"{self.nx} states, {self.nu} controls, {1000 * self.dt:g} ms steps"
        return one_line(f"Plant({self.name}: {numbers}; tasks: {tasks})")

    @property
    def nx(self) -> int:
        """Size of the state."""
        return len(self.state)

    @property
    def nu(self) -> int:
        """Size of the control."""
        return len(self.control)

    @property
    def ny(self) -> int:
        """Size of the observation."""
        return len(self.observation)

    @property
    def nz(self) -> int:
        """Size of the output."""
        return len(self.output)

    @property
    def n_params(self) -> int:
        """Number of parameters."""
        return len(self.params)

    @property
    def n_body(self) -> int:
        """Number of states of the plant file; those of modifiers come after them."""
        drives = self.nu if self.actuator_lag else 0
        return self.nx - drives - self.irregular

    @property
    def compiled(self) -> bool:
        """Whether the plant is compiled; one with `step_batch` is not."""
        return "step_batch" not in self.functions

    @property
    def steps_together(self) -> bool:
        """Whether a step of many trials takes hardly longer than one of a few.

        That is so for `step_batch` in a plant file: NumPy steps all trials at once. A
        simulator steps one after another.
        """
        return not self.compiled and self.path.suffix == ".py"

    @property
    def positions(self) -> Array:
        """Indices of the positions among the states.

        These are the first half of a semi_implicit plant's state. For other integrators
        they are the states that the plant file lists or, by default, the states whose
        name is not that of another state with `_rate`.
        """
        if self.integrator == "semi_implicit":
            return np.arange(self.n_body // 2)
        # The drives of actuators are neither positions nor rates.
        body = self.state[: self.n_body]
        if self.position_names is not None:
            return np.array([body.index(name) for name in self.position_names])
        rates = {f"{name}_rate" for name in self.state}
        return np.array([i for i, name in enumerate(body) if name not in rates])

    @property
    def rates(self) -> Array:
        """Indices of the rates among the states.

        These are the states of the body that are no positions. If the plant file lists
        its positions, only `NAME_rate` of a position NAME is a rate: other states, such
        as the activations of muscles, are neither.
        """
        others = np.setdiff1d(np.arange(self.n_body), self.positions)
        if self.position_names is None:
            return others
        rates = {f"{name}_rate" for name in self.position_names}
        return np.array([i for i in others if self.state[i] in rates], dtype=int)

    def state_indices(self, function: str) -> Array:
        """Indices of the states that stand in for "observe" or "output".

        They are copied if the plant file does not define a function of that name.
        """
        if function == "observe" and self.observation_indices is not None:
            return np.array(self.observation_indices)
        return np.arange(self.n_body)

    @property
    def hand(self) -> Array | None:
        """Indices of hand_x and hand_y in the output, or None."""
        if not set(HAND) <= set(self.output):
            return None
        return np.array([self.output.index(name) for name in HAND])

    @property
    def path_indices(self) -> Array | None:
        """Indices in the output of the position whose path is drawn, or None.

        This is hand_x, hand_y and, if it exists, hand_z. Without a hand it is x, y, z,
        or the first names that end in _x, _y, _z.
        """
        # A hand comes first, wherever it is in the output.
        for name in sorted(self.output, key=lambda name: name != "hand_x"):
            if name != "x" and not name.endswith("_x"):
                continue
            axes = [name[:-1] + axis for axis in "xyz"]
            names = [axis for axis in axes if axis in self.output]
            # A path needs x and y; z is optional.
            if len(names) > 1 and names[1].endswith("y"):
                return np.array([self.output.index(n) for n in names])
        return None

    def find_task(self, name: str | None) -> str | None:
        """Return the name of a task: the first for None, and a new one for an old one.

        Runs and commands of earlier versions name tasks as they were called then. A
        name that the plant does not have is returned as it is.
        """
        if name is None:
            return next(iter(self.tasks), None)
        renamed = RENAMED_TASKS.get(name, name)
        is_old = name not in self.tasks and renamed in self.tasks
        return renamed if is_old else name

    @property
    def residuals(self) -> dict[str, tuple[str, ...]]:
        """Names of the residuals, by the name of the residual function."""
        tasks = [task for task in self.tasks.values() if task.get("residual")]
        return {task["residual"].__name__: task["residuals"] for task in tasks}

    @cached_property
    def source_hash(self) -> str:
        """SHA-256 of the source, in hexadecimal."""
        return hashlib.sha256(self.source.encode()).hexdigest()
