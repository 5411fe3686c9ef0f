"""The liquid time-constant cell as a circuit: c dx/dt = g (v - x) + sum_i w_i s_i (E_i - x).

With gates s_i = logistic(slope_i (x_i - centre_i)). The form of the released code of Hasani et al. (AAAI 2021) and of the ncps
package: every connection is a synapse with a gate of its own (connections.py), and a unit has a leak g with its rest v, and a
capacity c. Its two activities are what the synapses pour in, sum w s E, and their conductance, sum w s. The fused step takes the state's own part implicitly, as ncps does.
"""

import numpy as np

ACTIVATION, CODE, PARAMETERS = (
    "linear",
    6,
    {"leak": True, "capacity": True, "rest": False},
)
SYNAPSE = (
    "weight",
    "slope",
    "centre",
    "reversal",
)  # the numbers of a connection; softplus keeps the first one positive
LEAST = 1e-8  # of the denominator, as in ncps


def field(x, f, p):
    """dx/dt."""
    return (p[0] * (p[2] - x) + f[0] - f[1] * x) / p[1]


def field_slopes(x, f, p):
    """Derivatives of the field by x, both activities (2, k, N), the leak, the capacity and the rest."""
    F = field(x, f, p)
    return (
        -(p[0] + f[1]) / p[1],
        np.array([1 / p[1] + 0 * x, -x / p[1]]),
        ((p[2] - x) / p[1], -F / p[1], p[0] / p[1]),
    )


def fused(x, f, p, h):
    """The state after h, all that is proportional to it implicit."""
    return (p[1] * x / h + p[0] * p[2] + f[0]) / (p[1] / h + p[0] + f[1] + LEAST)


def fused_slopes(x, f, p, h):
    """Derivatives of the fused step by x, both activities (2, k, N), the leak, the capacity and the rest."""
    d, y = p[1] / h + p[0] + f[1] + LEAST, fused(x, f, p, h)
    return (
        p[1] / h / d,
        np.array([1 / d, -y / d]),
        ((p[2] - y) / d, (x - y) / h / d, p[0] / d),
    )
