"""Activations phi(z) of summed inputs, by name: the function, and its slope as a function of its value f = phi(z)."""

import numpy as np

ACTIVATIONS = {
    "linear": (lambda z: z, lambda f: np.ones_like(f)),
    "tanh": (np.tanh, lambda f: 1 - f * f),
    "logistic": (lambda z: 0.5 * (1 + np.tanh(0.5 * z)), lambda f: f * (1 - f)),
}
