"""The RNN-ODE cell: dx/dt = f, f = tanh(W X + b); it has no leak, so that a constant input makes it drift.

There is nothing to take implicitly: its fused step is Euler's.
"""

ACTIVATION, CODE, PARAMETERS = "tanh", 5, {}


def field(x, f, p):
    """dx/dt."""
    return f


def field_slopes(x, f, p):
    """Derivatives of the field by x and f."""
    return 0.0 * x, 1.0 + 0.0 * f, ()


def fused(x, f, p, h):
    """The state after h."""
    return x + h * f


def fused_slopes(x, f, p, h):
    """Derivatives of the fused step by x and f."""
    return 1.0 + 0.0 * x, h + 0.0 * f, ()
