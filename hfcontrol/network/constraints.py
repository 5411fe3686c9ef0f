"""Constraints on the weights: sparse, frozen and sign-constrained (Dale) connections, entry by entry.

A network with a constraint is trained by free parameters theta (P,), of which its weights are a function of each entry,

    w_i = 0 (cut),   w_i = theta_i (frozen: with slope 0),   w_i = s_i log(1 + exp(b theta_i)) / b (signed),   w_i = theta_i,

so that every derivative is that by the weights times the slope dw_i / dtheta_i.
"""

import numpy as np

from hfcontrol.arrays.device import to_device_of
from hfcontrol.errors import UsageError
from hfcontrol.network.cells import has_synapses

SHARPNESS = 10.0  # b: weights above 0.3 are theta to within half a percent
LEAST = 5e-3  # a signed weight's size at the start, at least: at zero its slope would vanish


class Constraint:
    """Which weights of a network are cut, frozen or signed.

    `density` is the part of the connections between layers (and of the recurrent ones) that exists, `frozen` holds names of
    layers ("1", "2", ..., "out") that stay as they were drawn, and `dale` is the part of the hidden units that excite:
    all weights that leave a hidden unit have one sign (Dale's law). Raises UsageError for what does not fit the network.
    """

    def __init__(self, network, rng, density=1.0, frozen=(), dale=None):
        names = [layer.name for layer in network.layers]
        if not 0 < density <= 1:
            raise UsageError(
                f"--density {density}: a part above 0 and up to 1 is needed"
            )
        if dale is not None and not 0 <= dale <= 1:
            raise UsageError(
                f"--dale {dale}: the part of the units that excite, from 0 to 1, is needed"
            )
        for name in frozen:
            if name not in names:
                raise UsageError(
                    f"--freeze {name}: there are layers {', '.join(names)}"
                )
        if any(has_synapses(layer.cell) for layer in network.layers):
            raise UsageError(
                "--density, --freeze and --dale: synapses with gates of their own have no such form; choose another "
                "--cell"
            )
        self.sign, self.cut, self.frozen = (
            np.zeros(network.size),
            np.zeros(network.size, bool),
            np.zeros(network.size, bool),
        )
        units = np.where(rng.random(network.n_activations) < (dale or 0.0), 1.0, -1.0)
        for layer, sign, cut, still in zip(
            network.layers, *map(network.matrices, (self.sign, self.cut, self.frozen))
        ):
            still[:] = layer.name in frozen
            if layer.work:
                self.frozen[layer.parameters] = layer.name in frozen
            for source in layer.sources:
                size = source.columns.stop - source.columns.start
                cut[..., source.columns] = _sparse(layer.size, size, density, rng)
                if dale is not None and source.units.start >= network.hidden.start:
                    sign[..., source.columns] = units[source.units]
        self.signed, self._placed = (self.sign != 0) & ~self.cut, {}

    def start(self, weights):
        """Free parameters (P,) whose weights are those given, as far as the constraint lets them be: signs are turned."""
        size = np.maximum(np.abs(weights), LEAST)
        theta = np.where(
            self.signed,
            size + np.log1p(-np.exp(-SHARPNESS * size)) / SHARPNESS,
            weights,
        )
        return np.where(self.cut, 0.0, theta)

    def weights(self, theta):
        """The weights (P,) of the free parameters theta (P,)."""
        sign, signed, cut, _ = self._beside(theta)
        positive = np.logaddexp(0.0, SHARPNESS * theta) / SHARPNESS
        return np.where(cut, 0.0, np.where(signed, sign * positive, theta))

    def slope(self, theta):
        """Derivative (P,) of each weight by its free parameter."""
        sign, signed, cut, frozen = self._beside(theta)
        logistic = 0.5 * (1.0 + np.tanh(0.5 * SHARPNESS * theta))
        return np.where(cut | frozen, 0.0, np.where(signed, sign * logistic, 1.0))

    def _beside(self, theta):
        """Sign, and whether signed, cut and frozen, of every weight, where theta is."""
        if type(theta) not in self._placed:
            self._placed[type(theta)] = [
                to_device_of(a, theta)
                for a in (self.sign, self.signed, self.cut, self.frozen)
            ]
        return self._placed[type(theta)]


def _sparse(units, sources, density, rng):
    """Which of (units, sources) connections are cut: the same number in every unit, at least one of which is left."""
    cut = np.ones((units, sources), dtype=bool)
    left = max(1, round(density * sources))
    for row in cut:
        row[rng.permutation(sources)[:left]] = False
    return cut
