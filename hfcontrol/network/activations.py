"""Activation functions phi(z) of summed inputs, by name.

The slope is a function of the value f = phi(z): passes store f, not z.
"""

from collections.abc import Callable
from functools import cache
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


ACTIVATIONS: dict[str, Activation] = {
    "linear": Activation(_linear, _linear_slope),
    "tanh": Activation(_tanh, _tanh_slope),
    "logistic": Activation(_logistic, _logistic_slope),
}


def activation_names(names: str) -> list[str]:
    """Return the names in a cell's `ACTIVATION`: one for all sums, or one for each."""
    return names.split(", ")


@cache
def activation_of(names: str) -> Activation:
    """Return the activation of a cell from its `ACTIVATION`.

    With several names its functions take all sums (sums, k, N).
    """
    chosen = [ACTIVATIONS[name] for name in activation_names(names)]
    if len(chosen) == 1:
        return chosen[0]

    def function(z: Array) -> Array:
        return np.stack([a.function(part) for a, part in zip(chosen, z, strict=True)])

    def slope(f: Array) -> Array:
        return np.stack([a.slope(part) for a, part in zip(chosen, f, strict=True)])

    return Activation(function, slope)
