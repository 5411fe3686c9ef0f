"""Constraints on the weights: sparse, frozen and sign-constrained (Dale) connections.

A network with a constraint is trained by free parameters theta (P,). Each weight is a
function of its entry of theta:

    w_i = 0                                     cut
    w_i = theta_i, with slope 0                 frozen
    w_i = s_i log(1 + exp(b theta_i)) / b       signed
    w_i = theta_i                               otherwise

Every derivative by theta is that by the weights times the slope dw_i / dtheta_i.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.device import to_device_of
from hfcontrol.arrays.types import Array
from hfcontrol.errors import UsageError
from hfcontrol.network.cells import has_synapses
from hfcontrol.network.network import Network
from hfcontrol.texts import one_line

# b: a signed weight above 0.3 equals theta to within half a percent.
SHARPNESS = 10.0

# Least initial size of a signed weight: at zero its slope would vanish.
LEAST_SIZE = 5e-3


class _Masks(NamedTuple):
    """Sign of every weight, and whether it is signed, cut and frozen (P,) each."""

    sign: Array
    signed: Array
    cut: Array
    frozen: Array


class Constraint:
    """Which weights of a network are cut, frozen or signed.

    * `density`: the fraction of the connections between layers, and of the recurrent
      ones, that exists
    * `frozen`: names of layers ("1", "2", ..., "out") that keep their initial weights
    * `dale`: the fraction of the hidden units that excite. All weights that leave a
      hidden unit have one sign (Dale's law).

    Raises UsageError for what does not fit the network.
    """

    def __init__(
        self,
        network: Network,
        rng: np.random.Generator,
        density: float = 1.0,
        frozen: Sequence[str] = (),
        dale: float | None = None,
    ) -> None:
        _check(network, density, frozen, dale)
        self.sign = np.zeros(network.size)
        self.cut = np.zeros(network.size, bool)
        self.frozen = np.zeros(network.size, bool)

        # One sign for every unit of the network; those of other units are not used.
        excites = rng.random(network.n_activations) < (dale or 0.0)
        unit_signs = np.where(excites, 1.0, -1.0)

        matrices = map(network.matrices, (self.sign, self.cut, self.frozen))
        for layer, sign, cut, still in zip(network.layers, *matrices, strict=True):
            # These are views: writing to them fills the masks.
            still[:] = layer.name in frozen
            if layer.parameters:
                self.frozen[layer.parameters] = layer.name in frozen
            for source in layer.sources:
                drawn = _draw_cut(layer.size, source.size, density, rng)
                cut[..., source.columns] = drawn
                # Inputs have no sign.
                if dale is not None and source.units.start >= network.hidden.start:
                    sign[..., source.columns] = unit_signs[source.units]

        # A cut weight is zero, whatever its sign.
        self.signed = (self.sign != 0) & ~self.cut
        self._masks_by_type: dict[type, _Masks] = {}

    def start(self, weights: Array) -> Array:
        """Return free parameters (P,) whose weights are `weights` (P,).

        Cut weights become zero, signed weights get their sign.
        """
        size = np.maximum(np.abs(weights), LEAST_SIZE)
        # Inverse of the softplus log(1 + exp(b theta)) / b, in a form that does not
        # overflow.
        inverse = size + np.log1p(-np.exp(-SHARPNESS * size)) / SHARPNESS
        theta = np.where(self.signed, inverse, weights)
        return np.where(self.cut, 0.0, theta)

    def weights(self, theta: Array) -> Array:
        """Return the weights (P,) of the free parameters theta (P,)."""
        masks = self._masks(theta)
        # logaddexp does not overflow for large theta.
        positive = np.logaddexp(0.0, SHARPNESS * theta) / SHARPNESS
        weights = np.where(masks.signed, masks.sign * positive, theta)
        return np.where(masks.cut, 0.0, weights)

    def jvp(self, theta: Array, v: Array) -> Array:
        """Return the tangent (P,) of the weights for a tangent v (P,) of theta."""
        return self._slope(theta) * v

    def vjp(self, theta: Array, w: Array) -> Array:
        """Return the cotangent (..., P) of theta for cotangents w (..., P)."""
        return self._slope(theta) * w

    def _slope(self, theta: Array) -> Array:
        """Return the derivative (P,) of each weight by its free parameter."""
        masks = self._masks(theta)
        logistic = 0.5 * (1.0 + np.tanh(0.5 * SHARPNESS * theta))
        slopes = np.where(masks.signed, masks.sign * logistic, 1.0)
        return np.where(masks.cut | masks.frozen, 0.0, slopes)

    def _masks(self, theta: Array) -> _Masks:
        """Return the masks on the device of theta; they are moved there once."""
        kind = type(theta)
        if kind not in self._masks_by_type:
            masks = (self.sign, self.signed, self.cut, self.frozen)
            moved = [to_device_of(mask, theta) for mask in masks]
            self._masks_by_type[kind] = _Masks(*moved)
        return self._masks_by_type[kind]


def _check(
    network: Network, density: float, frozen: Sequence[str], dale: float | None
) -> None:
    """Raise UsageError for what does not fit the network."""
    if not 0 < density <= 1:
        raise UsageError(
            f"`density` {density}: a fraction above 0 and up to 1 is needed"
        )
    if dale is not None and not 0 <= dale <= 1:
        raise UsageError(
            f"`dale` {dale}: the fraction of the units that excite, from 0 to 1, "
            "is needed"
        )
    names = [layer.name for layer in network.layers]
    for name in frozen:
        if name not in names:
            raise UsageError(
                f"`freeze` {one_line(name)}: there are layers {', '.join(names)}"
            )
    if set(frozen) == set(names) and not network.start:
        raise UsageError(
            f"`freeze` {','.join(names)}: these are all layers, and nothing is left to "
            "train; freeze fewer, or use `learn_start`"
        )
    if any(has_synapses(layer.cell) for layer in network.layers):
        raise UsageError(
            "`density`, `freeze` and `dale` do not apply to synapses with gates; "
            "choose another `cell`"
        )


def _draw_cut(
    units: int, sources: int, density: float, rng: np.random.Generator
) -> Array:
    """Return which connections (units, sources) are cut.

    Every unit loses the same number of connections and keeps at least one.
    """
    # Row by row: a mask for the whole matrix would leave some units without input.
    cut = np.ones((units, sources), dtype=bool)
    kept = max(1, round(density * sources))
    for row in cut:
        row[rng.permutation(sources)[:kept]] = False
    return cut
