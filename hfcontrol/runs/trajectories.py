"""What a controller did in every trial: named arrays with units.

`Run.rollout` returns them; evaluation/trajectories.py writes them to files.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.loop import ClosedLoop
from hfcontrol.display import Displayed
from hfcontrol.network.network import Network
from hfcontrol.runs.tables import import_xarray, make_dataframe

# Before the column names of a table; states and controls have none.
COLUMN_PREFIXES = {
    "output": "output ",
    "observation": "observed ",
    "target": "target ",
    "hidden": "hidden ",
}


class Quantity(NamedTuple):
    """Names and units of several entries, and their values [time, entry, trial]."""

    names: tuple[str, ...]
    units: tuple[str, ...]
    values: Array

    def columns(self, kind: str) -> list[str]:
        """Return the names of columns, with units in square brackets."""
        prefix = COLUMN_PREFIXES.get(kind, "")
        pairs = zip(self.names, self.units, strict=True)
        return [
            f"{prefix}{name} [{unit}]" if unit else f"{prefix}{name}"
            for name, unit in pairs
        ]


@dataclass(frozen=True, repr=False)
class Trajectories(Displayed):
    """What a controller did in every trial.

    about: run, plant, task and split.
    time: (T+1,) [s].
    quantities: by kind; state and output are at every time. Control, observation,
        target and hidden are at the beginning of every step, so that the last time has
        none. The observation is what the network gets, delayed and noisy; the target is
        the goal at the end of the step.
    params: values (N,) by name.
    losses: (N,).
    """

    about: dict[str, str]
    time: Array
    quantities: dict[str, Quantity]
    params: dict[str, Array]
    losses: Array

    def __repr__(self) -> str:
        problem = "{plant} {task}, {split}".format(**self.about)
        steps = len(self.time) - 1
        return f"Trajectories({problem}: {self.trials} trials, {steps} steps)"

    @property
    def trials(self) -> int:
        """The number of trials."""
        return len(self.losses)

    @property
    def states(self) -> Array:
        """States (T+1, nx, N)."""
        return self.quantities["state"].values

    @property
    def controls(self) -> Array:
        """Controls (T, nu, N)."""
        return self.quantities["control"].values

    @property
    def observations(self) -> Array:
        """What the network gets of the plant (T, ny, N)."""
        return self.quantities["observation"].values

    @property
    def outputs(self) -> Array:
        """Outputs of the plant, such as the hand (T+1, nz, N)."""
        return self.quantities["output"].values

    @property
    def targets(self) -> Array:
        """Targets that the network gets (T, n, N)."""
        return self.quantities["target"].values

    @property
    def activations(self) -> Array:
        """Activations of the hidden units (T, units, N)."""
        return self.quantities["hidden"].values

    def to_dataframe(self) -> Any:
        """Return a pandas DataFrame with a row for each trial, from 1, and time.

        Its columns are those of the csv file of `hf.simulate`. Raises UsageError
        without pandas.
        """
        times, trials = len(self.time), self.trials
        columns: dict[str, Any] = {
            "trial": np.repeat(np.arange(1, trials + 1), times),
            "time [s]": np.tile(self.time, trials),
            "loss": np.repeat(self.losses, times),
        }
        for name, values in self.params.items():
            columns[f"parameter {name}"] = np.repeat(values, times)
        for kind, quantity in self.quantities.items():
            padded = _fill_last_time(quantity.values, times)
            for k, name in enumerate(quantity.columns(kind)):
                columns[name] = padded[:, k].T.ravel()
        return make_dataframe(columns)

    def to_xarray(self) -> Any:
        """Return an xarray Dataset with a variable (time, entry, trial) per quantity.

        The entries of `state` have the coordinate `state`, and so on; a variable's
        attribute `units` lists their units. Raises UsageError without xarray.
        """
        xarray = import_xarray()
        coordinates: dict[str, Any] = {
            "time": ("time", self.time, {"units": "s"}),
            "trial": np.arange(1, self.trials + 1),
        }
        variables: dict[str, Any] = {"loss": ("trial", self.losses)}
        for name, values in self.params.items():
            variables[f"parameter {name}"] = ("trial", values)
        for kind, quantity in self.quantities.items():
            # A variable may not have the name of its own dimension.
            entries = f"{kind}_name"
            coordinates[entries] = list(quantity.names)
            padded = _fill_last_time(quantity.values, len(self.time))
            units = {"units": list(quantity.units)}
            variables[kind] = (("time", entries, "trial"), padded, units)
        return xarray.Dataset(variables, coordinates, self.about)


def _fill_last_time(values: Array, times: int) -> Array:
    """Return values (T or T+1, n, N) with NaN at the last time if they have none."""
    missing = np.full((times - len(values), *values.shape[1:]), np.nan)
    return np.concatenate([values, missing])


def collect_trajectories(
    loop: ClosedLoop, network: Network, theta: Array, space: str, about: dict[str, str]
) -> Trajectories:
    """Roll out theta (P,) on a loop, and name what it did.

    space: the `space` of the targets.
    about: what `Trajectories.about` holds.
    """
    plant, scenario = loop.plant, loop.scenario
    rollout = loop.rollout(theta)
    values = {
        "state": rollout.x,
        "output": loop.kernels.output(rollout.x, scenario.params),
        "control": rollout.u,
        "observation": rollout.y,
    }
    quantities = {
        kind: Quantity(getattr(plant, kind), plant.units[kind], values[kind])
        for kind in values
    }
    quantities["target"] = _target_quantity(loop, space, quantities)
    quantities["hidden"] = _hidden_quantity(network, rollout.hidden(network))
    time = plant.dt * np.arange(scenario.steps + 1)
    params = dict(zip(plant.params, scenario.params, strict=True))
    return Trajectories(about, time, quantities, params, rollout.losses)


def _target_quantity(
    loop: ClosedLoop, space: str, quantities: dict[str, Quantity]
) -> Quantity:
    """The target, with the names and units of the entries that it is a goal for."""
    plant, target = loop.plant, loop.scenario.target
    if space == "hand":
        assert plant.hand is not None
        return _name_entries(quantities["output"], plant.hand, target)
    size = target.shape[1]
    if size == plant.n_body:
        return _name_entries(quantities["state"], range(size), target)
    # The task defines its own entries, which have no names.
    names = tuple(f"seen_{i + 1}" for i in range(size))
    return Quantity(names, ("",) * size, target)


def _name_entries(source: Quantity, indices: Iterable[int], values: Array) -> Quantity:
    """Values with the names and units of some entries of another quantity."""
    chosen = list(indices)
    names = tuple(source.names[i] for i in chosen)
    units = tuple(source.units[i] for i in chosen)
    return Quantity(names, units, values)


def _hidden_quantity(network: Network, activations: Array) -> Quantity:
    """Activations of the hidden units, which are named by layer and number."""
    names = tuple(
        f"{layer.name}.{k + 1}"
        for layer in network.layers[:-1]
        for k in range(layer.size)
    )
    return Quantity(names, ("",) * len(names), activations)
