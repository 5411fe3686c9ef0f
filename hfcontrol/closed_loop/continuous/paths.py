"""The steps of the solver, the states between them, and the points of stages."""

from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.continuous.tableaus import TSIT5, Tableau


class Path(NamedTuple):
    """The steps of a block of trials.

    Times (K+1,), states (K+1, nz, w) and rates of the stages (K, s, nz, w).
    """

    times: Array
    states: Array
    rates: Array


class Points(NamedTuple):
    """Times (Q,) and states (Q, nz, w) at which the field is linearised.

    The stages of step k are at the points `stages[k]` (K, s) of the tableau's method.
    """

    times: Array
    states: Array
    stages: Array
    tableau: Tableau


def states_at(path: Path, times: Array, fixed: bool) -> Array:
    """Return the states (Q, nz, w) on a path at times (Q,) [s].

    They are on the interpolant of adaptive steps, or on lines between fixed ones.
    """
    after = np.searchsorted(path.times, times, side="right")
    # The step that contains each time; the end of the last step belongs to it.
    k = np.clip(after - 1, 0, len(path.times) - 2)
    h = path.times[k + 1] - path.times[k]
    part = ((times - path.times[k]) / h)[:, None, None]
    before = path.states[k]
    if fixed:
        return before + part * (path.states[k + 1] - before)
    powers = part[:, 0] ** np.arange(1, 5)
    polynomials = TSIT5[4]
    change = np.einsum("kp,jp,kjin->kin", powers, polynomials, path.rates[k])
    return before + h[:, None, None] * change
