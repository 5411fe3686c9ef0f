"""The liquid time-constant cell: dx/dt = -(a + f) x + f A, f = logistic(W X + b).

Each unit has a rate a = 1/tau and a reversal A. Hasani et al., "Liquid Time-constant
Networks" (AAAI 2021), equation 1. The gate f, between 0 and 1 per control step, changes
both how fast a unit forgets, 1 / (a + f), and where it goes. The fused step (their
equation 3) is a mean of x, A and 0 with weights 1 : h f : h a, so that
min(x, A, 0) <= x+ <= max(x, A, 0) for any h.
"""

from hfcontrol.network.cells.protocol import Slopes, Value

ACTIVATION = "logistic"
PARAMETERS = {"rate": True, "reversal": False}


def field(x: Value, f: Value, p: Value) -> Value:
    """Return dx/dt."""
    return -(p[0] + f) * x + f * p[1]


def field_slopes(x: Value, f: Value, p: Value) -> Slopes:
    """Return the derivatives of the field by x, f, the rate and the reversal."""
    return -(p[0] + f), p[1] - x, (-x, f)


def fused(x: Value, f: Value, p: Value, h: float) -> Value:
    """Return the state after a step h; the terms in x are taken implicitly."""
    return (x + h * f * p[1]) / (1 + h * (p[0] + f))


def fused_slopes(x: Value, f: Value, p: Value, h: float) -> Slopes:
    """Return the derivatives of the fused step y by x, f, the rate and the reversal.

    Those by f and the parameters are the field's at y, times h / (1 + h (a + f)).
    """
    d = 1 + h * (p[0] + f)
    y = (x + h * f * p[1]) / d
    return 1 / d, h * (p[1] - y) / d, (-h * y / d, h * f / d)
