"""The liquid time-constant cell with a signed gate: dx/dt = -a x + f (A - x).

The gate is f = tanh(W X + b); a unit has a rate a = 1/tau and a reversal A. This is
the equation of Hasani et al. (AAAI 2021) with their example of a gate, to the letter:
where f < -a the state grows away from A, as long as its gate stays there. ltc_tanh.py
has the guarded form, with |f| in the decay.

The fused step takes the leak implicitly and the gate explicitly. With the gate implicit
too it would divide by 1 + h (a + f), which is zero for some gate once h > 1.
"""

from hfcontrol.network.cells.protocol import Slopes, Value

ACTIVATION = "tanh"
PARAMETERS = {"rate": True, "reversal": False}


def field(x: Value, f: Value, p: Value) -> Value:
    """Return dx/dt."""
    return -p[0] * x + f * (p[1] - x)


def field_slopes(x: Value, f: Value, p: Value) -> Slopes:
    """Return the derivatives of the field by x, f, the rate and the reversal."""
    return -(p[0] + f), p[1] - x, (-x, f)


def fused(x: Value, f: Value, p: Value, h: float) -> Value:
    """Return the state after a step h, with the leak taken implicitly."""
    return (x + h * f * (p[1] - x)) / (1 + h * p[0])


def fused_slopes(x: Value, f: Value, p: Value, h: float) -> Slopes:
    """Return the derivatives of the fused step by x, f, the rate and the reversal."""
    d = 1 + h * p[0]
    y = (x + h * f * (p[1] - x)) / d
    return (1 - h * f) / d, h * (p[1] - x) / d, (-h * y / d, h * f / d)
