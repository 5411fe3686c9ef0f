"""The liquid time-constant cell as a circuit of conductances.

    c dx/dt = g (v - x) + sum_i w_i s_i (E_i - x)
    s_i = logistic(slope_i (x_i - centre_i))

This is the form of the released code of Hasani et al. (AAAI 2021) and of the ncps
package. Every connection is a synapse with its own gate s_i (connections.py). A unit
has a leak g with the resting value v, and a capacity c. Its two activities are the
current of its synapses, sum w s E, and their conductance, sum w s. The fused step takes
the terms in the state of the unit implicitly, as ncps does.
"""

from hfcontrol.network.cells.protocol import Slopes, Value

ACTIVATION = "linear"
PARAMETERS = {"leak": True, "capacity": True, "rest": False}

# The numbers of a connection; softplus keeps the weight positive.
SYNAPSE = ("weight", "slope", "centre", "reversal")

# Added to the denominator, as in ncps.
EPSILON = 1e-8


def field(x: Value, f: Value, p: Value) -> Value:
    """Return dx/dt."""
    return (p[0] * (p[2] - x) + f[0] - f[1] * x) / p[1]


def field_slopes(x: Value, f: Value, p: Value) -> Slopes:
    """Return the derivatives of the field by x, f (2, k, N) and the parameters."""
    current = p[0] * (p[2] - x) + f[0] - f[1] * x
    by_x = -(p[0] + f[1]) / p[1]
    by_f = (1 / p[1], -x / p[1])
    by_p = ((p[2] - x) / p[1], -current / (p[1] * p[1]), p[0] / p[1])
    return by_x, by_f, by_p


def fused(x: Value, f: Value, p: Value, h: float) -> Value:
    """Return the state after a step h; the terms in x are taken implicitly."""
    numerator = p[1] * x / h + p[0] * p[2] + f[0]
    return numerator / (p[1] / h + p[0] + f[1] + EPSILON)


def fused_slopes(x: Value, f: Value, p: Value, h: float) -> Slopes:
    """Return the derivatives of the fused step, as in `field_slopes`."""
    d = p[1] / h + p[0] + f[1] + EPSILON
    y = (p[1] * x / h + p[0] * p[2] + f[0]) / d
    by_f = (1 / d, -y / d)
    by_p = ((p[2] - y) / d, (x - y) / h / d, p[0] / d)
    return p[1] / h / d, by_f, by_p
