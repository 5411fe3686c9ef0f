"""Faults: derivatives of a closed loop that are not finite, named in one line.

A number that is not finite spoils the gradient of all trials. No damping helps then; to
know where the number comes from does.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.device import to_host
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.loop import LinearisedLoop
from hfcontrol.closed_loop.protocol import Linearised
from hfcontrol.errors import TrainingError
from hfcontrol.kernels.structure import DENSE
from hfcontrol.tasks.cost import Residuals


class Fault(NamedTuple):
    """What is not finite, in words, and in which trials; none if that is unknown."""

    text: str
    trials: tuple[int, ...] = ()


class NotFiniteError(TrainingError):
    """Derivatives that are not finite; `fault` tells which."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.text)
        self.fault = fault


def check_gradient(linear: Linearised) -> None:
    """Raise NotFiniteError if the gradient of a linearised loop is not finite."""
    g = linear.gradient
    if not np.isfinite(g).all():
        raise NotFiniteError(_find_cause(linear, g) or _in_gradient(linear, g))


def check_products(linear: Linearised) -> None:
    """Raise NotFiniteError if the curvature along a finite gradient is not finite."""
    length = float(np.linalg.norm(to_host(linear.gradient)))
    along = linear.gradient / (length or 1.0)
    fault = _find_cause(linear, along)
    if fault:
        raise NotFiniteError(fault)


def _find_cause(linear: Linearised, direction: Array) -> Fault | None:
    """Return the fault in plant or cost, or else in the tangents along a direction."""
    if not isinstance(linear, LinearisedLoop):
        return None
    return _in_plant(linear) or _in_cost(linear) or _in_tangent(linear, direction)


def _in_plant(linear: LinearisedLoop) -> Fault | None:
    """Return the fault in the plant's derivatives."""
    plant = linear.loop.plant
    A, B, C, _, _, A_table, C_table = linear.plant_jacobians
    for J, of, by, table in (
        (A, plant.state, plant.state, A_table),
        (B, plant.state, plant.control, DENSE),
        (C, plant.observation, plant.state, C_table),
    ):
        fault = _in_jacobian(linear, J, of, by, table)
        if fault:
            return fault
    return None


def _in_cost(linear: LinearisedLoop) -> Fault | None:
    """Return the fault in the derivatives of outputs and custom residuals."""
    loop, cost = linear.loop, linear.cost
    plant = loop.plant
    if cost.output is not None:
        fault = _in_jacobian(linear, cost.output, plant.output, plant.state)
        if fault:
            return fault
    if cost.custom is None:
        return None
    # A cost without a residual of the plant's file weighs the controls (imitation.py).
    names = plant.residuals.get(loop.scenario.cost.custom or "", plant.control)
    by_state, by_control = cost.custom
    return _in_jacobian(linear, by_state, names, plant.state) or _in_jacobian(
        linear, by_control, names, plant.control
    )


def _in_jacobian(
    linear: LinearisedLoop,
    J: Array,
    of: Sequence[str],
    by: Sequence[str],
    table: Array = DENSE,
) -> Fault | None:
    """Return the first fault in derivatives (T, m, n, N) of m named values by n.

    The table tells the columns of a matrix that is stored without its zeros.
    """
    is_bad = linear.loop.shares.join(~np.isfinite(to_host(J)))
    if not is_bad.any():
        return None
    time, row, column, trial = map(int, np.argwhere(is_bad)[0])
    if len(table):
        column = table[row, column]
    trials = np.flatnonzero(is_bad.any(axis=(0, 1, 2)))
    text = (
        f"the derivative of {of[row]} by {by[column]} is not finite in trial {trial} "
        f"at step {time}{_describe_state(linear, time, trial)}"
    )
    return Fault(text, tuple(trials.tolist()))


def _describe_state(linear: LinearisedLoop, time: int, trial: int) -> str:
    """Return the plant's state at a step of a trial, in words."""
    x = to_host(linear.loop.gather(linear.rollout.x[time], np.array([trial])))[:, 0]
    values = zip(linear.loop.plant.state, x, strict=True)
    return ", where " + ", ".join(f"{name} is {value:.4g}" for name, value in values)


def _in_tangent(linear: LinearisedLoop, direction: Array) -> Fault | None:
    """Return the fault in the change of the residuals along a direction (P,)."""
    finite = np.nan_to_num(direction, nan=1.0, posinf=1.0, neginf=-1.0)
    with np.errstate(all="ignore"):
        changes = linear.jvp(finite / max(float(np.abs(finite).max()), 1e-300))
    for group, values in zip(Residuals._fields, changes, strict=True):
        if values is None:
            continue
        is_bad = linear.loop.shares.join(~np.isfinite(to_host(values)))
        if is_bad.any():
            time, _, trial = map(int, np.argwhere(is_bad)[0])
            trials = np.flatnonzero(is_bad.any(axis=(0, 1)))
            text = (
                f"a change of the weights grows beyond all numbers in trial {trial} at "
                f"step {time} ({group} residuals): the closed loop is unstable there"
            )
            return Fault(text, tuple(trials.tolist()))
    return None


def _in_gradient(linear: Linearised, g: Array) -> Fault:
    """Return the fault of a gradient (P,): the connections that it is in."""
    spoilt = linear.loop.network.views(~np.isfinite(to_host(g)))
    names = [name for name, is_bad in spoilt.items() if is_bad.any()]
    return Fault(f"the gradient by the weights {', '.join(names)} is not finite")
