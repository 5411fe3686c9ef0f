"""The liquid time-constant cell with a tanh gate: dx/dt = -(a + |f|) x + f A.

The gate is f = tanh(W X + b). With f itself in the decay, as in an example of the paper
(see ltc.py), the decay turns into growth where f < -a. The code of its authors takes
|f|, and so does this one. The fused step is a mean of x, +-A and 0, so that
|x+| <= max(|x|, |A|) for any h.
"""

import numpy as np

from hfcontrol.network.cells.protocol import Slopes, Value

ACTIVATION = "tanh"
PARAMETERS = {"rate": True, "reversal": False}


def field(x: Value, f: Value, p: Value) -> Value:
    """Return dx/dt."""
    return -(p[0] + np.abs(f)) * x + f * p[1]


def field_slopes(x: Value, f: Value, p: Value) -> Slopes:
    """Return the derivatives of the field by x, f, the rate and the reversal."""
    # |f| has no derivative at 0; there the sign of 0, which is 0, serves.
    return -(p[0] + np.abs(f)), p[1] - np.sign(f) * x, (-x, f)


def fused(x: Value, f: Value, p: Value, h: float) -> Value:
    """Return the state after a step h; the terms in x are taken implicitly."""
    return (x + h * f * p[1]) / (1 + h * (p[0] + np.abs(f)))


def fused_slopes(x: Value, f: Value, p: Value, h: float) -> Slopes:
    """Return the derivatives of the fused step by x, f, the rate and the reversal."""
    d = 1 + h * (p[0] + np.abs(f))
    y = (x + h * f * p[1]) / d
    by_f = h * (p[1] - np.sign(f) * y) / d
    return 1 / d, by_f, (-h * y / d, h * f / d)
