"""What the module of a cell provides.

A cell is a module of functions that work on single numbers and on arrays (unit, trial)
alike. NumPy runs them as they are; kernels/cell_module.py compiles them, and the export
to C and ONNX reads them (deploy/). So they may use + - * /, `np.abs`, `np.sign` and
`np.tanh`, and local names. Shapes: k units, N trials, n_p parameters, S stages
(network/stages.py).

| protocol | cells | what it adds |
|---|---|---|
| `Cell` | all | its activations and its parameters |
| `StagedCell` | with a state | one step of the state, which any length keeps stable |
| `ContinuousCell` | in continuous time | the differential equation of the state |

Time is counted in control steps, here and in the parameters.
"""

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

# A number or an array that broadcasts against the state (k, N).
Value: TypeAlias = Any

# Derivatives by the state, by the activity and by each parameter. A cell with several
# activities has a tuple of derivatives by them. A cell with several states has a tuple
# of such derivatives for each of them, in which that by the state is a tuple too.
Slopes: TypeAlias = tuple[Value, Value, tuple[Value, ...]]

# Columns of a matrix that count in a sum: all, those that read the state of the own
# layer, or the others, with the bias.
ALL = "all"
OWN = "own"
OTHERS = "others"


class Cell(Protocol):
    """What every cell has; one that has nothing else outputs h = f = phi(W X + b)."""

    @property
    def ACTIVATION(self) -> str:
        """Name of phi in `ACTIVATIONS`, or one for every sum: "tanh, linear"."""

    @property
    def PARAMETERS(self) -> Mapping[str, bool]:
        """Names of the trained parameters of a unit; softplus keeps some positive."""


class StagedCell(Cell, Protocol):
    """A cell with a state x (k, N), moved by stages within a control step.

    A cell may have attributes that say what its connections and its states are; without
    them a unit has one matrix, one sum with its activity f (k, N), and one state.

    * `SYNAPSE`: names of the four numbers of a connection. Every connection has its own
      gate (`Synapses`), and a unit has two activities, f (2, k, N).
    * `MATRICES`: names of its matrices; f is (sums, k, N) (`Matrices`).
    * `SUMS`: for every sum the pairs (matrix, columns) that it adds up; columns are
      ALL, OWN or OTHERS. By default, one sum for every matrix.
    * `TIMED`: names of matrices that are multiplied by the length of the step.
    * `STATES`: number of states of a unit, x (STATES, k, N). The first is its output.
    * `OUTPUT`: name of the function in `ACTIVATIONS` of this output that connections
      read, from the own layer and from others; without it they read the output itself.
    * `RECURRENT`: False if units never read their own layer.
    """

    def fused(self, x: Value, f: Value, p: Value, h: float) -> Value:
        """Return the state (k, N) after a semi-implicit step of length h.

        p (n_p, k, 1) holds the values of `PARAMETERS`. With several states it is a
        tuple.
        """

    def fused_slopes(self, x: Value, f: Value, p: Value, h: float) -> Any:
        """Return the derivatives of `fused` by x, f and each of p (`Slopes`)."""


class ContinuousCell(StagedCell, Protocol):
    """A cell with a state that follows a differential equation."""

    def field(self, x: Value, f: Value, p: Value) -> Value:
        """Return dx/dt (k, N)."""

    def field_slopes(self, x: Value, f: Value, p: Value) -> Slopes:
        """Return the derivatives of `field` by x, f and each of p."""
