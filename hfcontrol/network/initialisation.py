"""Random initial weights.

Dense connections have the sparse initialisation of Martens (2010, sec. 5): a unit has
at most 15 incoming connections per source, so that few large weights leave units
distinct. Synapses are drawn as in the ncps package.
"""

from collections.abc import Sequence

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.network.architecture import Layer, Source
from hfcontrol.network.cells import CELLS

# Most initial connections into a unit from one source (Martens 2010).
INCOMING = 15


def draw_sparse(
    layer: Layer, W: Array, sources: Sequence[Source], rng: np.random.Generator
) -> None:
    """Fill the weights of some of a layer's sources with a few normal ones per unit.

    Their variance is 1 / (incoming connections of all sources together), which gives
    the summed input unit variance.
    """
    # The output layer is no exception: with a tenth of these weights there, some seeds
    # spent 50 updates on a plateau that none of ten meets with unit variance.
    fan_in = sum(min(INCOMING, source.size) for source in sources)
    scale = 1 / np.sqrt(fan_in)
    matrices = W.reshape(-1, *W.shape[-2:])
    for source in sources:
        for matrix in matrices:
            for row in matrix[:, source.columns]:
                chosen = rng.permutation(row.size)[:INCOMING]
                row[chosen] = scale * rng.standard_normal(chosen.size)


def draw_parameters(
    layer: Layer,
    raw: Array,
    time_constants: tuple[float, float],
    rng: np.random.Generator,
) -> None:
    """Fill the rates and reversals among the parameters (n_p, units, 1) of a layer.

    Time constants [control steps] are spread evenly on a logarithmic scale; reversals
    are +1 or -1.
    """
    names = CELLS[layer.cell].PARAMETERS
    for name, numbers in zip(names, raw, strict=True):
        if name == "rate":
            log_tau = _draw_log_time_constants(layer, time_constants, rng)
            numbers[:, 0] = _inverse_softplus(np.exp(-log_tau))
        elif name == "reversal":
            numbers[:, 0] = rng.choice([-1.0, 1.0], layer.size)


def draw_synapses(
    layer: Layer,
    W: Array,
    parameters: Array,
    time_constants: tuple[float, float],
    inputs: Sequence[Source],
    rng: np.random.Generator,
) -> None:
    """Fill the synapses and the parameters (n_p, units) of a conductance layer.

    `inputs` are those of its sources that read the input of the network. The ranges are
    those of ncps, with two exceptions, which the comments explain.
    """
    shape = W[0].shape
    w = rng.uniform(0.001, 1.0, shape)
    leak = rng.uniform(0.001, 1.0, layer.size)
    tau = np.exp(_draw_log_time_constants(layer, time_constants, rng))
    W[1] = rng.uniform(3, 8, shape)
    W[2] = rng.uniform(0.3, 0.8, shape)
    W[3] = rng.choice([-1.0, 1.0], shape)

    # Inputs have either sign: their gates are wider, and centred at -0.4 to 0.6.
    for source in inputs:
        W[1][:, source.columns] /= 2
        W[2][:, source.columns] = 2 * W[2][:, source.columns] - 1
    W[0] = _inverse_softplus(w)

    parameters[0] = _inverse_softplus(leak)
    parameters[2] = rng.uniform(-0.2, 0.2, layer.size)
    # With half open gates, units have the time constants of the architecture.
    capacity = tau * (leak + w.sum(axis=1) / 2)
    # The inverse softplus in a form that does not overflow for large capacities.
    parameters[1] = capacity + np.log(-np.expm1(-capacity))


def _draw_log_time_constants(
    layer: Layer, time_constants: tuple[float, float], rng: np.random.Generator
) -> Array:
    """Return logarithms of time constants (units,)."""
    lowest, highest = np.log(time_constants)
    return rng.uniform(lowest, highest, layer.size)


def _inverse_softplus(value: Array) -> Array:
    """Return x with log(1 + exp(x)) = value."""
    return np.log(np.expm1(value))
