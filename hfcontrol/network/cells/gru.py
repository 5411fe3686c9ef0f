"""The gated recurrent unit: x+ = (1 - z) n + z x.

    r, z = logistic(W [sources, x] + b)
    n = tanh(W [sources] + b + r (W x + recurrent bias))

Cho et al. (2014), in the form of PyTorch's GRUCell: the reset gate r multiplies the
recurrent part of the candidate n after its matrix product. PyTorch's two biases of r
and of z are one number here, their sum. The cell has one fused step per control step.
"""

import numpy as np

from hfcontrol.network.cells.protocol import ALL, OTHERS, OWN, Slopes, Value

ACTIVATION = "logistic, logistic, linear, linear"
PARAMETERS = {"recurrent_bias": False}
MATRICES = ("reset", "update", "candidate")
SUMS = (
    (("reset", ALL),),
    (("update", ALL),),
    (("candidate", OTHERS),),
    (("candidate", OWN),),
)


def fused(x: Value, f: Value, p: Value, h: float) -> Value:
    """Return the state after the step; f are r, z and the two parts of n."""
    n = np.tanh(f[2] + f[0] * (f[3] + p[0]))
    return n + f[1] * (x - n)


def fused_slopes(x: Value, f: Value, p: Value, h: float) -> Slopes:
    """Return the derivatives of the fused step by x, f (4, k, N) and the bias."""
    recurrent = f[3] + p[0]
    n = np.tanh(f[2] + f[0] * recurrent)
    by_candidate = (1 - f[1]) * (1 - n * n)
    by_recurrent = by_candidate * f[0]
    by_f = (by_candidate * recurrent, x - n, by_candidate, by_recurrent)
    return f[1], by_f, (by_recurrent,)
