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

The inputs' part of the map is that of input_scaling.py, which policy gradients use too.
"""

from hfcontrol.arrays.device import to_device_of
from hfcontrol.arrays.types import Array
from hfcontrol.network.input_scaling import (
    Typical,
    fold,
    fold_jvp,
    fold_vjp,
    unfold,
)
from hfcontrol.network.network import Network
from hfcontrol.network.weight_maps import WeightMap


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

    def start(self, weights: Array) -> Array:
        """Return theta (P,) for weights (P,) in typical sizes.

        Initial weights are drawn for inputs and outputs of size one.
        """
        return weights if self.inner is None else self.inner.start(weights)

    def weights(self, theta: Array) -> Array:
        """Return the weights (P,) in the plant's units at theta (P,)."""
        scaled = theta if self.inner is None else self.inner.weights(theta)
        weights = fold(self.network, scaled, self.inputs)
        W = self._last_matrix(weights)
        W *= to_device_of(self.outputs.size[:, None], theta)
        W[:, -1] += to_device_of(self.outputs.mean, theta)
        return weights

    def jvp(self, theta: Array, v: Array) -> Array:
        """Return the tangent (P,) of the weights for a tangent v (P,) of theta."""
        scaled = v if self.inner is None else self.inner.jvp(theta, v)
        tangent = fold_jvp(self.network, scaled, self.inputs)
        self._last_matrix(tangent)[:] *= to_device_of(self.outputs.size[:, None], v)
        return tangent

    def vjp(self, theta: Array, w: Array) -> Array:
        """Return the cotangent (..., P) of theta for cotangents w (..., P)."""
        scaled = w.copy()
        self._last_matrix(scaled)[:] *= to_device_of(self.outputs.size[:, None], w)
        scaled = fold_vjp(self.network, scaled, self.inputs)
        return scaled if self.inner is None else self.inner.vjp(theta, scaled)

    def unscale(self, weights: Array) -> Array:
        """Return weights (P,) in typical sizes, from those in the plant's units."""
        scaled = weights.copy()
        W = self._last_matrix(scaled)
        W[:, -1] -= to_device_of(self.outputs.mean, weights)
        W /= to_device_of(self.outputs.size[:, None], weights)
        return unfold(self.network, scaled, self.inputs)

    def _last_matrix(self, weights: Array) -> Array:
        """Return the matrix (..., outputs, columns) of the output: a view."""
        layer = self.network.layers[-1]
        part = weights[..., layer.weights]
        return part.reshape(*part.shape[:-1], *layer.shape)
