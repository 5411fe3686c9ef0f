"""Activation functions phi(z) of summed inputs, by name.

The slope is a function of the value f = phi(z): passes store f, not z.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

from hfcontrol.arrays.types import Array

Function: TypeAlias = Callable[[Array], Array]


class Activation(NamedTuple):
    """phi(z), and its derivative as a function of f = phi(z)."""

    function: Function
    slope: Function


def _linear(z: Array) -> Array:
    return z


def _linear_slope(f: Array) -> Array:
    return np.ones_like(f)


def _tanh(z: Array) -> Array:
    return np.tanh(z)


def _tanh_slope(f: Array) -> Array:
    return 1 - f * f


def _logistic(z: Array) -> Array:
    # 1 / (1 + exp(-z)) in a form that does not overflow.
    return 0.5 * (1 + np.tanh(0.5 * z))


def _logistic_slope(f: Array) -> Array:
    return f * (1 - f)


def _tanh_tanh_logistic(z: Array) -> Array:
    """Return tanh of the first two sums and the logistic of the third, z (3, k, N)."""
    return np.concatenate([np.tanh(z[:2]), _logistic(z[2:])])


def _tanh_tanh_logistic_slope(f: Array) -> Array:
    return np.concatenate([_tanh_slope(f[:2]), _logistic_slope(f[2:])])


ACTIVATIONS: dict[str, Activation] = {
    "linear": Activation(_linear, _linear_slope),
    "tanh": Activation(_tanh, _tanh_slope),
    "logistic": Activation(_logistic, _logistic_slope),
    "tanh, tanh, logistic": Activation(_tanh_tanh_logistic, _tanh_tanh_logistic_slope),
}
