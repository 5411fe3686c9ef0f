"""The tanh cell: h_t = tanh(a_t), where a_t sums feed-forward and recurrent input."""

import numpy as np

CODE = 1


def step(a):
    """Activity from summed input a (unit, trial)."""
    return np.tanh(a)


def jvp(h, da):
    """Tangent of the activity: dh = (1 - h^2) da."""
    return (1 - h * h) * da


def vjp(h, h_bar):
    """Cotangent of the summed input: a_bar = (1 - h^2) h_bar."""
    return (1 - h * h) * h_bar
