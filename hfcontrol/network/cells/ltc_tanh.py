"""The liquid time-constant cell with a tanh gate: dx/dt = -(a + |f|) x + f A, f = tanh(W X + b).

With f itself in the decay, as the paper's example has it, the decay turns into growth where f < -a; its authors' own code
takes |f|, and so does this. The fused step is a mean of x, +-A and 0: |x+| <= max(|x|, |A|) for any h.
"""

import numpy as np

ACTIVATION, CODE, PARAMETERS = "tanh", 4, {"rate": True, "reversal": False}


def field(x, f, p):
    """dx/dt."""
    return -(p[0] + np.abs(f)) * x + f * p[1]


def field_slopes(x, f, p):
    """Derivatives of the field by x, f, the rate and the reversal."""
    return -(p[0] + np.abs(f)), p[1] - np.sign(f) * x, (-x, f)


def fused(x, f, p, h):
    """The state after h, all that is proportional to it implicit."""
    return (x + h * f * p[1]) / (1 + h * (p[0] + np.abs(f)))


def fused_slopes(x, f, p, h):
    """Derivatives of the fused step by x, f, the rate and the reversal."""
    d = 1 + h * (p[0] + np.abs(f))
    y = (x + h * f * p[1]) / d
    return 1 / d, h * (p[1] - np.sign(f) * y) / d, (-h * y / d, h * f / d)
