"""Source piece: the network's activity between the stored steps, computed again one segment at a time.

The rows of a block are stored at the steps 0, `every`, 2 `every`, ...; a segment leads from one of these to the next. It
needs the network alone: `stored` holds `every` and what the network saw, its targets (T, nt, N) and observations
(T, ny, N). It follows RECALLS, which says whether `every` is more than 1. With 1 all rows are stored: they are one segment of T
steps, which is never computed again, and whose computing is not compiled.
"""

import numpy as np
from numba import njit


@njit(error_model="numpy", inline="always")
def segment_room(stored, rows):
    """Rows of one segment (steps + 1, row, trial), to be filled by `recall`; all the rows where every step is stored."""
    return np.empty((min(stored[0], stored[2].shape[0]) + 1, rows.shape[1], rows.shape[2]), rows.dtype) if RECALLS else rows


@njit(cache=True, error_model="numpy", nogil=True)
def recall(first, n0, n1, theta, layers, sources, stored, rows, segment, scratch):
    """Fills the segment of the trials n0 to n1 from its stored step `first` on, with the bits that the rollout had."""
    every, target, y = stored
    n_input, n_target, w = layers[0, 0], target.shape[1], n1 - n0
    put(segment[0], rows[first // every])
    for t in range(first, min(first + every, y.shape[0])):
        now = segment[t + 1 - first]
        clear(now[:n_input])
        put(now[:n_target, :w], target[t, :, n0:n1])
        put(now[n_target:n_input, :w], y[t, :, n0:n1])
        network_step(theta, layers, sources, segment[t - first], now, scratch)


@njit(cache=True, error_model="numpy", nogil=True)
def all_rows(begin, end, theta, layers, sources, stored, rows, out):
    """Fills the blocks begin to end of out (block, T + 1, row, trial) with the rows of all steps."""
    every, N, width = stored[0], stored[2].shape[2], rows.shape[3]
    for b in range(begin, end):
        scratch = np.empty((rows.shape[2] + 1, width), rows.dtype)
        put(out[b, 0], rows[b, 0])
        for first in range(0, out.shape[1] - 1, every):
            recall(first, b * width, min((b + 1) * width, N), theta, layers, sources, stored, rows[b], out[b, first:],
                   scratch)
