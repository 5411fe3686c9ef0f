"""What the module of a cell provides.

A cell is a module of functions that work on single numbers and on arrays (unit, trial)
alike. Shapes: k units, N trials, n_p parameters, S stages (network/stages.py).

| protocol | cells | what it adds |
|---|---|---|
| `Cell` | all | its activation, its code and its parameters |
| `StagedCell` | with a state | one step of the state, which any length keeps stable |
| `ContinuousCell` | in continuous time | the differential equation of the state |

Time is counted in control steps, here and in the parameters.
"""

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

# A number or an array that broadcasts against the state (k, N).
Value: TypeAlias = Any

# Derivatives by the state, by the activity and by each parameter.
Slopes: TypeAlias = tuple[Value, Value, tuple[Value, ...]]


class Cell(Protocol):
    """What every cell has; one that has nothing else outputs h = f = phi(W X + b)."""

    @property
    def ACTIVATION(self) -> str:
        """Name of phi in `ACTIVATIONS`."""

    @property
    def CODE(self) -> int:
        """Number by which the compiled passes know the cell."""

    @property
    def PARAMETERS(self) -> Mapping[str, bool]:
        """Names of the trained parameters of a unit; softplus keeps some positive."""


class StagedCell(Cell, Protocol):
    """A cell with a state x (k, N), moved by stages within a control step.

    A cell may have one of two attributes that say what its connections are; without
    them a unit has one weighted sum and one activity f (k, N).

    * `SYNAPSE`: names of the four numbers of a connection. Every connection has its own
      gate (`Synapses`), and a unit has two activities, f (2, k, N).
    * `MATRICES`: names of its matrices. The sums depend on the length of the step
      (`Timed`), and a unit has three activities, f (3, k, N).
    """

    def fused(self, x: Value, f: Value, p: Value, h: float) -> Value:
        """Return the state (k, N) after a semi-implicit step of length h.

        p (n_p, k, 1) holds the values of `PARAMETERS`.
        """

    def fused_slopes(self, x: Value, f: Value, p: Value, h: float) -> Slopes:
        """Return the derivatives of `fused` by x, f and each of p."""


class ContinuousCell(StagedCell, Protocol):
    """A cell with a state that follows a differential equation."""

    def field(self, x: Value, f: Value, p: Value) -> Value:
        """Return dx/dt (k, N)."""

    def field_slopes(self, x: Value, f: Value, p: Value) -> Slopes:
        """Return the derivatives of `field` by x, f and each of p."""
