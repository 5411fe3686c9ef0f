"""The network's activations between stored steps, recomputed one segment at a time.

The activations of a block are stored at the steps 0, `every`, 2 `every`, ...; a segment
leads from one of these to the next. It needs the network alone. If every step is
stored, all of them are one segment, which is never recomputed.
"""

from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.kernels.jit import helper, kernel
from hfcontrol.kernels.matrices import clear, put, take_block
from hfcontrol.kernels.network_step import NetworkTables, network_step, set_length
from hfcontrol.network.tables import FIRST


class StoredActivations(NamedTuple):
    """Stored activations of a rollout, and what the network saw.

    Shapes: activations (block, T // every + 1, unit, trial), target (T, nt, N), the
    lengths of the steps elapsed (T, N), the observations y (T, ny, N).
    """

    every: int
    target: Array
    elapsed: Array
    y: Array
    activations: Array


@helper
def allocate_segment(stored: StoredActivations, block: int) -> Array:
    """Return the array of one segment (steps + 1, unit, trial), for `recall`.

    If every step is stored it is the block's activations.
    """
    own = stored.activations[block]
    # A view, no copy: passes then read the stored activations themselves.
    if stored.every == 1:
        return own
    steps = min(stored.every, stored.y.shape[0])
    return np.empty((steps + 1, own.shape[1], own.shape[2]), own.dtype)


@helper
def recall(
    block: int,
    first: int,
    theta: Array,
    network: NetworkTables,
    stored: StoredActivations,
    segment: Array,
    scratch: Array,
) -> None:
    """Fill a block's segment from its stored step `first`, with the rollout's bits."""
    target = stored.target
    y = stored.y
    width = segment.shape[2]
    n0 = block * width
    n_input = network.layers[0, FIRST]
    n_target = target.shape[1]
    put(segment[0], stored.activations[block, first // stored.every])
    # The last segment may be shorter.
    for t in range(first, min(first + stored.every, y.shape[0])):
        now = segment[t + 1 - first]
        # As in the rollout, columns without a trial see zeros.
        clear(now[:n_input])
        take_block(now[:n_target], target[t], n0)
        take_block(now[n_target:n_input], y[t], n0)
        set_length(network, stored.elapsed[t], n0, now)
        network_step(theta, network, segment[t - first], now, scratch)


@kernel
def all_activations(
    begin: int,
    end: int,
    theta: Array,
    network: NetworkTables,
    stored: StoredActivations,
    out: Array,
) -> None:
    """Fill the blocks begin to end of out (block, T + 1, unit, trial)."""
    for block in range(begin, end):
        scratch = np.empty((out.shape[2] + 1, out.shape[3]), out.dtype)
        put(out[block, 0], stored.activations[block, 0])
        for first in range(0, out.shape[1] - 1, stored.every):
            recall(block, first, theta, network, stored, out[block, first:], scratch)
