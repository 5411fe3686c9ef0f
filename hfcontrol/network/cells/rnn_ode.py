"""The RNN-ODE cell: dx/dt = f, f = tanh(W X + b).

It has no leak: a constant input makes the state drift. No term can be taken implicitly,
so its fused step is Euler's.
"""

from hfcontrol.network.cells.protocol import Slopes, Value

ACTIVATION = "tanh"
PARAMETERS: dict[str, bool] = {}


def field(x: Value, f: Value, p: Value) -> Value:
    """Return dx/dt."""
    return f


def field_slopes(x: Value, f: Value, p: Value) -> Slopes:
    """Return the derivatives of the field by x and f."""
    return 0.0, 1.0, ()


def fused(x: Value, f: Value, p: Value, h: float) -> Value:
    """Return the state after a step h."""
    return x + h * f


def fused_slopes(x: Value, f: Value, p: Value, h: float) -> Slopes:
    """Return the derivatives of the fused step by x and f."""
    return 1.0, h, ()
