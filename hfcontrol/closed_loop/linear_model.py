"""The plant linearised about a rollout, and what a hold keeps fixed."""

from typing import Any, NamedTuple, TypeAlias

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.wiring import Wiring
from hfcontrol.kernels.structure import DENSE


class PlantJacobians(NamedTuple):
    """The plant's Jacobians along a rollout, and the slope of the control limit.

    A = dx[t+1]/dx[t] (T, nx, nx, N), B = dx[t+1]/du[t] (T, nx, nu, N), C = dy/dx
    (T, ny, nx, N), slope du/dc of the control by the command (T, nu, N). With
    `replays_inputs` the observations do not depend on the state. With a table
    (kernels/structure.py), A or C is stored without its zeros.
    """

    A: Array
    B: Array
    C: Array
    slope: Array
    replays_inputs: bool
    A_table: Array = DENSE
    C_table: Array = DENSE

    def kernel_arguments(self, wiring: Wiring) -> tuple[Any, ...]:
        """The fields and the delays, in the order of the derivative kernels."""
        delays = (wiring.feedback_delay, wiring.command_delay)
        return (self.A, self.B, self.C, self.slope, *delays, self.replays_inputs)


class LinearModel(NamedTuple):
    """What a hold keeps fixed: the plant linearised about a rollout, or its inputs.

    With `replaces_plant` the plant is its linear time-varying model about the rollout's
    states x (T+1, nx, N) and controls u (T, nu, N). The model has the Jacobians
    A (T, nx, nx, N), B (T, nx, nu, N) and C (T, ny, nx, N); `observed` (T, ny, N) are
    the observations of x without noise. With `replays_inputs` the network sees the
    observations `recorded` (T, ny, N) of the rollout, whatever the plant does. With
    neither nothing is fixed, and the arrays are empty: `NOTHING_FIXED`. The tables are
    those of A and C, as in `PlantJacobians`.
    """

    A: Array
    B: Array
    C: Array
    x: Array
    u: Array
    observed: Array
    recorded: Array
    replaces_plant: bool = False
    replays_inputs: bool = False
    A_table: Array = DENSE
    C_table: Array = DENSE

    def arrays(self) -> tuple[Array, ...]:
        """The arrays alone, in the order of the fields."""
        return (self.A, self.B, self.C, self.x, self.u, self.observed, self.recorded)

    def kernel_arguments(self) -> tuple[bool, bool, tuple[Array, ...]]:
        """The fields in the order of the rollout kernels."""
        return self.replaces_plant, self.replays_inputs, self.arrays()


# A, B, C, x, u, observed, recorded of a `LinearModel`.
EmptyArrays: TypeAlias = tuple[Array, Array, Array, Array, Array, Array, Array]


def make_empty_arrays() -> EmptyArrays:
    """Arrays without entries, with as many axes as those of a linear model."""
    matrices = np.empty((0, 0, 0, 0))
    vectors = np.empty((0, 0, 0))
    return (matrices, matrices, matrices, vectors, vectors, vectors, vectors)


# Plant and feedback as they are. Compiled code needs arrays even if it reads none.
NOTHING_FIXED = LinearModel(*make_empty_arrays())
