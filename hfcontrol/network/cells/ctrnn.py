"""The continuous-time recurrent cell: dx/dt = a (f - x), f = tanh(W X + b).

Each unit has a rate a = 1/tau. This is the system -x/tau + f of Funahashi and Nakamura
(1993) with x measured in units of tau: |x| stays at or below 1 for any tau once it is.
The fused step takes the leak implicitly, x+ = (x + h a f) / (1 + h a), which lies
between x and f for any h.
"""

from hfcontrol.network.cells.protocol import Slopes, Value

ACTIVATION = "tanh"
PARAMETERS = {"rate": True}


def field(x: Value, f: Value, p: Value) -> Value:
    """Return dx/dt."""
    return p[0] * (f - x)


def field_slopes(x: Value, f: Value, p: Value) -> Slopes:
    """Return the derivatives of the field by x, f and the rate."""
    return -p[0], p[0], (f - x,)


def fused(x: Value, f: Value, p: Value, h: float) -> Value:
    """Return the state after a step h, with the leak taken implicitly."""
    return (x + h * p[0] * f) / (1 + h * p[0])


def fused_slopes(x: Value, f: Value, p: Value, h: float) -> Slopes:
    """Return the derivatives of the fused step by x, f and the rate."""
    d = 1 + h * p[0]
    y = (x + h * p[0] * f) / d
    return 1 / d, h * p[0] / d, (h * (f - y) / d,)
