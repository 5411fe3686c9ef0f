"""Variants of a plant: other parameters, actuators that lag behind the command, fewer observations.

A variant is a `Plant` like any other, so that whatever a shipped plant gets, its variants get too.
"""

from dataclasses import replace

import numpy as np

from hfcontrol.errors import UsageError


def with_params(plant, params):
    """The plant with other values of some of its parameters, a dict; raises UsageError for names it does not have."""
    for name in params:
        check_param(plant, name, "--param")
    return replace(plant, params={**plant.params, **params})


def check_param(plant, name, option):
    """Raises UsageError where a plant has no parameter of that name."""
    if name not in plant.params:
        known = ", ".join(plant.params) or "none"
        raise UsageError(
            f"{option} {name}: plant {plant.name} has no such parameter; it has: {known}"
        )


def with_actuators(plant, lag):
    """The plant driven through actuators of first order, a' = (u - a) / lag, with time constant `lag` [s] each.

    A muscle's force follows its command so, with about 40 ms. The state grows by one drive a for every control; the
    plant itself gets the drive's mean over the control step, for which the held command has a closed form. The network
    does not see the drives.
    """
    if not lag:
        return plant
    if not 0 < lag < np.inf:
        raise UsageError(
            f"--actuators {lag}: a time constant above zero, such as 40ms, is needed"
        )
    state = (*plant.state, *(f"{name}_drive" for name in plant.control))
    units = {**plant.units, "state": (*plant.units["state"], *plant.units["control"])}
    return replace(
        plant,
        state=state,
        units=units,
        actuator_lag=float(lag),
        typical_state=np.concatenate([plant.typical_state, plant.typical_control]),
        taper=np.concatenate([plant.taper, np.full(plant.nu, np.inf)]),
    )


def with_observations(plant, names):
    """The plant with only some of its observations; `names` is a tuple of them, or ("positions",) for all but the rates.

    Raises UsageError for names that are not among its observations.
    """
    if names == ("positions",):
        names = tuple(name for name in plant.observation if not name.endswith("_rate"))
    unknown = [name for name in names if name not in plant.observation]
    if unknown or not names:
        raise UsageError(
            f"--observe {','.join(names) or 'nothing'}: plant {plant.name} lets a network observe "
            f"{', '.join(plant.observation)}; name some of these, or positions"
        )
    seen = tuple(plant.observation.index(name) for name in names)
    units = {
        **plant.units,
        "observation": tuple(plant.units["observation"][i] for i in seen),
    }
    return replace(
        plant, observation=tuple(names), units=units, seen=seen, n_observable=plant.ny
    )
