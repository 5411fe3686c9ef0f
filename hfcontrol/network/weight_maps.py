"""Weights as a function of the trained vector theta.

Usually theta holds the weights themselves. A constraint (constraints.py) or a scaling
(scaling.py) makes the weights another function of theta, whose derivative every
gradient takes into account.
"""

from typing import Protocol

from hfcontrol.arrays.types import Array


class WeightMap(Protocol):
    """A differentiable function from theta (P,) to the weights (P,)."""

    def start(self, weights: Array) -> Array:
        """Return theta (P,) for initial weights (P,)."""

    def weights(self, theta: Array) -> Array:
        """Return the weights (P,) at theta (P,)."""

    def jvp(self, theta: Array, v: Array) -> Array:
        """Return the tangent (P,) of the weights for a tangent v (P,) of theta."""

    def vjp(self, theta: Array, w: Array) -> Array:
        """Return the cotangent (..., P) of theta for cotangents w (..., P)."""
