"""Running means and variances of inputs, and how weights absorb them.

A network trained on normalised inputs (x - mean) / d is another network on the inputs
themselves:

    W (x - mean) / d + b = W' x + b'        W' = W / d,  b' = b - W' mean

and for the synapses of the conductance cell

    sigma(slope ((x - mean) / d - centre))
        slope' = slope / d,  centre' = mean + d centre

So what is stored, evaluated and exported is an ordinary network.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.device import to_device_of
from hfcontrol.arrays.types import Array
from hfcontrol.network.cells import has_synapses
from hfcontrol.network.network import Network

# Deviation below which an input counts as constant and is not scaled.
CONSTANT_BELOW = 1e-6


@dataclass(frozen=True)
class Moments:
    """Mean and variance (n,) of `count` values of each of n inputs."""

    mean: Array
    variance: Array
    count: float = 0.0

    @classmethod
    def empty(cls, size: int) -> "Moments":
        """Return the moments before any value: means of zero, variances of one."""
        return cls(np.zeros(size), np.ones(size))

    @property
    def deviation(self) -> Array:
        """Standard deviations (n,), one for constant inputs."""
        deviation = np.sqrt(self.variance)
        return np.where(deviation > CONSTANT_BELOW, deviation, 1.0)

    @property
    def typical(self) -> "Typical":
        """Mean and deviation of the inputs."""
        return Typical(self.mean, self.deviation)

    def update(self, values: Array, memory: float = np.inf) -> "Moments":
        """Return the moments of all values so far and of `values` (n, M).

        Earlier values count as at most `memory` of them, so that they fade. Chan, Golub
        and LeVeque (1979): stable, and exact for any split into parts.
        """
        more = values.shape[1]
        earlier = min(self.count, max(memory, more))
        count = earlier + more
        change = values.mean(axis=1) - self.mean
        within = earlier * self.variance + more * values.var(axis=1)
        # Between the two groups: their means differ.
        spread = within + change**2 * earlier * more / count
        mean = self.mean + change * more / count
        return Moments(mean, spread / count, count)

    def normalise(self, values: Array, most: float) -> Array:
        """Return the values (..., n, M) normalised, and clipped to +-most."""
        centred = values - self.mean[:, None]
        return np.clip(centred / self.deviation[:, None], -most, most)


class Typical(NamedTuple):
    """Typical values and sizes (n,) of n signals, in their own units."""

    mean: Array
    size: Array


class _InputWeights(NamedTuple):
    """A matrix (..., units, columns), and the columns of it that multiply inputs.

    It is a view into weights (..., P).
    """

    W: Array
    columns: slice
    are_synapses: bool


def _input_weights(network: Network, weights: Array) -> list[_InputWeights]:
    """Return the input weights of every layer that reads the input."""
    found: list[_InputWeights] = []
    for layer in network.layers:
        part = weights[..., layer.weights]
        W = part.reshape(*part.shape[:-1], *layer.shape)
        synapses = has_synapses(layer.cell)
        for source in layer.sources:
            if source.units == network.inputs:
                found.append(_InputWeights(W, source.columns, synapses))
    return found


def _on_device_of(inputs: Typical, weights: Array) -> tuple[Array, Array]:
    """Return mean and size on the device of weights."""
    return to_device_of(inputs.mean, weights), to_device_of(inputs.size, weights)


def fold(network: Network, weights: Array, inputs: Typical) -> Array:
    """Return weights (P,) for raw inputs, from `weights` (P,) for normalised ones."""
    new = fold_jvp(network, weights, inputs)
    mean, _ = _on_device_of(inputs, weights)
    for W, columns, synapses in _input_weights(network, new):
        if synapses:
            W[2][:, columns] += mean
    return new


def fold_jvp(network: Network, tangent: Array, inputs: Typical) -> Array:
    """Return the tangent (P,) of `fold` for a tangent (P,): its linear part."""
    new = tangent.copy()
    mean, d = _on_device_of(inputs, tangent)
    for W, columns, synapses in _input_weights(network, new):
        if synapses:
            W[1][:, columns] /= d
            W[2][:, columns] *= d
        else:
            # The new bias takes the new weights: this order matters.
            W[..., columns] /= d
            W[..., -1] -= W[..., columns] @ mean
    return new


def unfold(network: Network, weights: Array, inputs: Typical) -> Array:
    """Return weights (P,) for normalised inputs: the inverse of `fold`."""
    new = weights.copy()
    mean, d = _on_device_of(inputs, weights)
    for W, columns, synapses in _input_weights(network, new):
        if synapses:
            W[1][:, columns] *= d
            W[2][:, columns] = (W[2][:, columns] - mean) / d
        else:
            W[..., -1] += W[..., columns] @ mean
            W[..., columns] *= d
    return new


def fold_vjp(network: Network, cotangent: Array, inputs: Typical) -> Array:
    """Return the cotangent (..., P) of weights for normalised inputs.

    It is `fold` transposed; `cotangent` (..., P) is that of the weights for raw inputs.
    """
    new = cotangent.copy()
    mean, d = _on_device_of(inputs, cotangent)
    for W, columns, synapses in _input_weights(network, new):
        if synapses:
            W[..., 1, :, columns] /= d
            W[..., 2, :, columns] *= d
        else:
            by_bias = W[..., -1:] * mean
            W[..., columns] = (W[..., columns] - by_bias) / d
    return new
