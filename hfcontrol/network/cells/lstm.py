"""The long short-term memory: c+ = f c + i g, h+ = o tanh(c+).

The input gate i, the forget gate f and the output gate o are logistic(W [sources, h] +
b), the candidate g is tanh of such a sum. Hochreiter and Schmidhuber (1997), with the
forget gate of Gers et al. (2000), as in PyTorch's LSTMCell, whose two biases are one
number here, their sum. A unit has two states, its output h and its memory c. The cell
has one fused step per control step.
"""

import numpy as np

from hfcontrol.network.cells.protocol import Slopes, Value

ACTIVATION = "logistic, logistic, tanh, logistic"
PARAMETERS: dict[str, bool] = {}
MATRICES = ("input_gate", "forget_gate", "candidate", "output_gate")
STATES = 2


def fused(x: Value, f: Value, p: Value, h: float) -> Value:
    """Return the states h and c after the step; f are i, f, g and o."""
    memory = f[1] * x[1] + f[0] * f[2]
    return f[3] * np.tanh(memory), memory


def fused_slopes(x: Value, f: Value, p: Value, h: float) -> tuple[Slopes, Slopes]:
    """Return the derivatives of both states by x (2, k, N) and f (4, k, N)."""
    output = np.tanh(f[1] * x[1] + f[0] * f[2])
    by_memory = f[3] * (1 - output * output)
    by_f = (by_memory * f[2], by_memory * x[1], by_memory * f[0], output)
    of_output = (0.0, by_memory * f[1]), by_f, ()
    of_memory = (0.0, f[1]), (f[2], x[1], f[0], 0.0), ()
    return of_output, of_memory
