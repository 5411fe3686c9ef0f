"""Scaling: a network trained in typical sizes, and stored in the plant's units.

Units saturate, and damping punishes the wrong weights, if inputs are near 350 or
controls near 1e-3. Therefore the inputs i and the outputs o are expressed in typical
values m and sizes d,

    i~ = (i - m_i) / d_i        o = m_o + d_o o~

and theta holds the weights of the network from i~ to o~. The weights of the network
from i to o follow: for every layer that reads the input

    W = W~ / d_i                b = b~ - W m_i

and then for the last layer, row by row,

    W = d_o W~                  b = d_o b~ + m_o

Both maps are affine, so that the derivative of the weights by theta is constant. What
is evaluated and exported is an ordinary network.

A synapse of the conductance cell, logistic(slope (i - centre)), has

    slope = slope~ / d_i        centre = m_i + d_i centre~

input_scaling.py has the same formulas for running moments, which policy gradients use.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.device import to_device_of
from hfcontrol.arrays.types import Array
from hfcontrol.network.architecture import Layer
from hfcontrol.network.cells import has_synapses
from hfcontrol.network.network import Network
from hfcontrol.network.weight_maps import WeightMap


class Typical(NamedTuple):
    """Typical values and sizes (n,) of n signals, in their own units."""

    mean: Array
    size: Array


class Scaling:
    """The weights (P,) of a network as a function of those in typical sizes.

    `inputs` and `outputs` have the typical values and sizes of the network's inputs and
    outputs; all sizes are positive. `inner` is a constraint on the weights in typical
    sizes, or None.
    """

    def __init__(
        self,
        network: Network,
        inputs: Typical,
        outputs: Typical,
        inner: WeightMap | None = None,
    ) -> None:
        self.network = network
        self.inputs = inputs
        self.outputs = outputs
        self.inner = inner
        self.factors = self._factors()
        self.offsets = self._offsets()

    def start(self, weights: Array) -> Array:
        """Return theta (P,) for weights (P,) in typical sizes.

        Initial weights are drawn for inputs and outputs of size one.
        """
        return weights if self.inner is None else self.inner.start(weights)

    def weights(self, theta: Array) -> Array:
        """Return the weights (P,) in the plant's units at theta (P,)."""
        scaled = theta if self.inner is None else self.inner.weights(theta)
        return self._multiply(scaled) + to_device_of(self.offsets, theta)

    def jvp(self, theta: Array, v: Array) -> Array:
        """Return the tangent (P,) of the weights for a tangent v (P,) of theta."""
        return self._multiply(v if self.inner is None else self.inner.jvp(theta, v))

    def vjp(self, theta: Array, w: Array) -> Array:
        """Return the cotangent (..., P) of theta for cotangents w (..., P)."""
        scaled = w.copy()
        mean = to_device_of(self.inputs.mean, w)
        for W, columns in self._shifted(scaled):
            W[..., columns] -= W[..., -1:] * mean
        scaled *= to_device_of(self.factors, w)
        return scaled if self.inner is None else self.inner.vjp(theta, scaled)

    def unscale(self, weights: Array) -> Array:
        """Return weights (P,) in typical sizes, from those in the plant's units."""
        scaled = weights - to_device_of(self.offsets, weights)
        mean = to_device_of(self.inputs.mean, weights)
        for W, columns in self._shifted(scaled):
            W[..., -1] += W[..., columns] @ mean
        return scaled / to_device_of(self.factors, weights)

    def _multiply(self, scaled: Array) -> Array:
        """Return the linear part of the map, applied to weights (P,)."""
        weights = scaled * to_device_of(self.factors, scaled)
        mean = to_device_of(self.inputs.mean, scaled)
        # The bias takes the new weights: this order matters.
        for W, columns in self._shifted(weights):
            W[..., -1] -= W[..., columns] @ mean
        return weights

    def _factors(self) -> Array:
        """Return the factor (P,) of each weight."""
        factors = np.ones(self.network.size)
        size = self.inputs.size
        matrices = self.network.matrices(factors)
        for layer, W in zip(self.network.layers, matrices, strict=True):
            for columns in self._input_columns(layer):
                if has_synapses(layer.cell):
                    W[1][:, columns] /= size
                    W[2][:, columns] *= size
                else:
                    W[..., columns] /= size
        matrices[-1] *= self.outputs.size[:, None]
        return factors

    def _offsets(self) -> Array:
        """Return what is added to each weight (P,)."""
        offsets = np.zeros(self.network.size)
        matrices = self.network.matrices(offsets)
        for layer, W in zip(self.network.layers, matrices, strict=True):
            for columns in self._input_columns(layer):
                if has_synapses(layer.cell):
                    W[2][:, columns] = self.inputs.mean
        matrices[-1][:, -1] = self.outputs.mean
        return offsets

    def _shifted(self, weights: Array) -> Iterator[tuple[Array, slice]]:
        """Yield matrices whose bias takes the mean of the inputs, and the columns.

        The matrices are views into weights (..., P).
        """
        for layer in self.network.layers:
            if has_synapses(layer.cell):
                continue
            part = weights[..., layer.weights]
            W = part.reshape(*part.shape[:-1], *layer.shape)
            for columns in self._input_columns(layer):
                yield W, columns

    def _input_columns(self, layer: Layer) -> Iterator[slice]:
        """Yield the columns of a layer's matrix that multiply the network's input."""
        for source in layer.sources:
            if source.units == self.network.inputs:
                yield source.columns
