"""The continuous-time recurrent cell of firing rates: dx/dt = -a x + f.

The summed input is f = W [sources, r] + b, and connections read the rates
r = logistic(x), from the own layer and from others. Each unit has a rate constant
a = 1/tau. Funahashi and Nakamura, "Approximation of dynamical systems by continuous
time recurrent neural networks" (Neural Networks 6, 1993): -x_i/tau_i +
sum_j w_ij sigma(x_j) + I_i. The fused step takes the leak implicitly.
"""

from hfcontrol.network.cells.protocol import Slopes, Value

ACTIVATION = "linear"
PARAMETERS = {"rate": True}
OUTPUT = "logistic"


def field(x: Value, f: Value, p: Value) -> Value:
    """Return dx/dt."""
    return f - p[0] * x


def field_slopes(x: Value, f: Value, p: Value) -> Slopes:
    """Return the derivatives of the field by x, f and the rate."""
    return -p[0], 1.0, (-x,)


def fused(x: Value, f: Value, p: Value, h: float) -> Value:
    """Return the state after a step h, with the leak taken implicitly."""
    return (x + h * f) / (1 + h * p[0])


def fused_slopes(x: Value, f: Value, p: Value, h: float) -> Slopes:
    """Return the derivatives of the fused step by x, f and the rate."""
    d = 1 + h * p[0]
    y = (x + h * f) / d
    return 1 / d, h / d, (-h * y / d,)
