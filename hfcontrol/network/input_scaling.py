"""Running means and variances of what a network is shown, and networks that have taken these into their weights.

A network that is trained on normalised inputs (x - mean) / deviation is another network on the inputs themselves:

    W (x - mean) / d + b = W' x + b'        W' = W / d,  b' = b - W' mean
    sigma(slope ((x - mean) / d - centre))  slope' = slope / d,  centre' = mean + d centre      (synapses of the conductance cell)

so that what is stored, evaluated and exported is an ordinary network.
"""

from dataclasses import dataclass

import numpy as np

from hfcontrol.network.cells import has_synapses

FLAT = 1e-6  # deviation below which a number stands still and is left as it is


@dataclass(frozen=True)
class Moments:
    """Mean and variance (n,) of all numbers seen so far, `count` of each."""

    mean: np.ndarray
    variance: np.ndarray
    count: float = 0.0

    @classmethod
    def empty(cls, size):
        """Of nothing yet: means of zero, variances of one."""
        return cls(np.zeros(size), np.ones(size))

    @property
    def deviation(self):
        """Standard deviations (n,), one where nothing varies."""
        deviation = np.sqrt(self.variance)
        return np.where(deviation > FLAT, deviation, 1.0)

    def update(self, values):
        """The moments after more values (n, M) (Chan, Golub and LeVeque 1979)."""
        more = values.shape[1]
        count, change = self.count + more, values.mean(axis=1) - self.mean
        spread = (
            self.count * self.variance
            + more * values.var(axis=1)
            + change**2 * self.count * more / count
        )
        return Moments(self.mean + change * more / count, spread / count, count)

    def normalise(self, values, most):
        """Values (..., n, M) less their mean, by their deviation, within +-most."""
        return np.clip(
            (values - self.mean[:, None]) / self.deviation[:, None], -most, most
        )


def _reading_input(network, weights):
    """Of every layer that reads the input: its matrix, a view into weights (P,), the columns that do, and whether they are synapses."""
    return [
        (W, s.columns, has_synapses(layer.cell))
        for layer, W in zip(network.layers, network.matrices(weights))
        for s in layer.sources
        if s.units == network.inputs
    ]


def fold(network, weights, moments):
    """The weights (P,) that do on inputs themselves what `weights` do on normalised ones."""
    new, mean, d = weights.copy(), moments.mean, moments.deviation
    for W, columns, synapses in _reading_input(network, new):
        if synapses:
            W[1][:, columns] /= d
            W[2][:, columns] = mean + d * W[2][:, columns]
        else:
            W[..., columns] /= d
            W[..., -1] -= W[..., columns] @ mean
    return new


def unfold(network, weights, moments):
    """The weights (P,) that do on normalised inputs what `weights` do on inputs themselves: the inverse of `taken_in`."""
    new, mean, d = weights.copy(), moments.mean, moments.deviation
    for W, columns, synapses in _reading_input(network, new):
        if synapses:
            W[1][:, columns] *= d
            W[2][:, columns] = (W[2][:, columns] - mean) / d
        else:
            W[..., -1] += W[..., columns] @ mean
            W[..., columns] *= d
    return new


def fold_vjp(network, cotangent, moments):
    """The cotangent (P,) of the weights on normalised inputs from that of those on inputs themselves: `taken_in` transposed."""
    new, mean, d = cotangent.copy(), moments.mean, moments.deviation
    for W, columns, synapses in _reading_input(network, new):
        if synapses:
            W[1][:, columns] /= d
            W[2][:, columns] *= d
        else:
            W[..., columns] = (W[..., columns] - W[..., -1:] * mean) / d
    return new
