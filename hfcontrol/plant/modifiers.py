"""Modified plants: other parameters, lagging actuators, irregular steps, observations.

A modified plant is a `Plant` like any other, so that every feature works with it.
"""

from dataclasses import replace

import numpy as np

from hfcontrol.errors import UsageError
from hfcontrol.plant.contract import Plant


def with_params(plant: Plant, params: dict[str, float]) -> Plant:
    """Return the plant with other values for some of its parameters.

    Raises UsageError if the plant has no parameter of such a name.
    """
    for name in params:
        check_param(plant, name, "param")
    return replace(plant, params={**plant.params, **params})


def check_param(plant: Plant, name: str, setting: str) -> None:
    """Raise UsageError about `setting` if the plant has no parameter of that name."""
    if name not in plant.params:
        known = ", ".join(plant.params) or "none"
        raise UsageError(
            f"`{setting}` {name}: plant {plant.name} has no such parameter; it has: "
            f"{known}"
        )


def with_actuators(plant: Plant, lag: float) -> Plant:
    """Return the plant with a first-order actuator, a' = (u - a) / lag, per control.

    The time constant `lag` is in [s]; the force of a muscle follows its command with
    about 40 ms. The state grows by one drive a per control. The body is driven by the
    mean of the drive over the control step, which has a closed form because the command
    is constant during the step. The network does not observe the drives.

    Raises UsageError if the time constant is not above zero.
    """
    if not lag:
        return plant
    if not 0 < lag < np.inf:
        raise UsageError(
            f"`actuators` {lag}: the time constant must be above zero, such as 40ms"
        )
    # The drives come last, so that the states of the body keep their indices.
    drives = tuple(f"{name}_drive" for name in plant.control)
    state_units = (*plant.units["state"], *plant.units["control"])
    no_taper = np.full(plant.nu, np.inf)
    # A drive is as large as its command.
    typical_state = np.concatenate([plant.typical_state, plant.typical_control])
    return replace(
        plant,
        state=(*plant.state, *drives),
        units={**plant.units, "state": state_units},
        actuator_lag=float(lag),
        typical_state=typical_state,
        taper=np.concatenate([plant.taper, no_taper]),
    )


def with_engine(plant: Plant, simulator: Plant) -> Plant:
    """Return the plant with the rates of a simulator's plant in place of its dynamics.

    Observations, outputs and tasks stay those of the plant file. Raises UsageError if
    states or controls have other names, or the simulator has no rates.
    """
    names = (plant.state, plant.control)
    others = (simulator.state, simulator.control)
    if "rates_batch" not in simulator.functions or names != others:
        raise UsageError(
            f"{simulator.name} cannot move the plant {plant.name}: it needs rates, and "
            f"the states {', '.join(plant.state)} and controls "
            f"{', '.join(plant.control)}"
        )
    replaced = ("dynamics", "jacobian")
    kept = {n: f for n, f in plant.functions.items() if n not in replaced}
    rates = simulator.functions["rates_batch"]
    return replace(plant, functions={**kept, "rates_batch": rates})


def with_jitter(plant: Plant, jitter: float) -> Plant:
    """Return the plant with control steps of different lengths, if `jitter` is not 0.

    The state grows by `step_excess`, by how much a step is longer than dt, as a part of
    dt. A scenario draws its next values as disturbances. The network does not observe
    it.

    Raises UsageError if the plant is known by steps of one length alone.
    """
    if not jitter:
        return plant
    if "dynamics" not in plant.functions or not plant.compiled:
        raise UsageError(
            f"`jitter` {jitter:g}: plant {plant.name} is known by steps of one length; "
            "leave it out, or use a plant file with dynamics(x, u, p, dx)"
        )
    units = {**plant.units, "state": (*plant.units["state"], "1")}
    return replace(
        plant,
        state=(*plant.state, "step_excess"),
        units=units,
        irregular=True,
        typical_state=np.append(plant.typical_state, 1.0),
        taper=np.append(plant.taper, np.inf),
    )


def with_observations(plant: Plant, names: tuple[str, ...]) -> Plant:
    """Return the plant with only the observations of these names.

    The names ("positions",) mean all observations that are not rates.

    Raises UsageError if the plant has no observation of such a name.
    """
    known = plant.observation
    if names == ("positions",):
        names = tuple(name for name in known if not name.endswith("_rate"))
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise UsageError(
            f"`observe` {','.join(names) or 'nothing'}: the observations of plant "
            f"{plant.name} are {', '.join(known)}; name some of these, or positions"
        )
    # `observe` still writes all observations; the kernels select from them.
    indices = tuple(known.index(name) for name in names)
    units = tuple(plant.units["observation"][i] for i in indices)
    return replace(
        plant,
        observation=tuple(names),
        units={**plant.units, "observation": units},
        observation_indices=indices,
        n_observable=plant.ny,
    )
