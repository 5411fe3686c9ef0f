"""The continuous-time recurrent cell, normalised: dx/dt = a (f - x), f = tanh(W X + b), with a rate a = 1/tau per unit.

The system -x/tau + f of Funahashi and Nakamura (1993) with x measured in units of tau, so that |x| <= 1 for any tau once it
is. The fused step takes the leak implicitly: x+ = (x + h a f) / (1 + h a), between x and f for any h.
"""

ACTIVATION, CODE, PARAMETERS = "tanh", 2, {"rate": True}


def field(x, f, p):
    """dx/dt."""
    return p[0] * (f - x)


def field_slopes(x, f, p):
    """Derivatives of the field by x, f and the rate."""
    return -p[0], p[0], (f - x,)


def fused(x, f, p, h):
    """The state after h, the leak implicit."""
    return (x + h * p[0] * f) / (1 + h * p[0])


def fused_slopes(x, f, p, h):
    """Derivatives of the fused step by x, f and the rate."""
    d = 1 + h * p[0]
    return 1 / d, h * p[0] / d, (h * (f - x) / (d * d),)
