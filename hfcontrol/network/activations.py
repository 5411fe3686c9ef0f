"""Activations phi(z) of summed inputs, by name: the function, and its slope as a function of its value f = phi(z)."""

import numpy as np


def _logistic(z):
    return 0.5 * (1 + np.tanh(0.5 * z))


ACTIVATIONS = {
    "linear": (lambda z: z, lambda f: np.ones_like(f)),
    "tanh": (np.tanh, lambda f: 1 - f * f),
    "logistic": (_logistic, lambda f: f * (1 - f)),
    "tanh, tanh, logistic": (
        lambda z: np.concatenate(
            [np.tanh(z[:2]), _logistic(z[2:])]
        ),  # of three sums (3, k, N)
        lambda f: np.concatenate([1 - f[:2] * f[:2], f[2:] * (1 - f[2:])]),
    ),
}
