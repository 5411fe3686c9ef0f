"""Source piece: partial observation; it follows SEEN, the entries that are seen, and N_OBSERVABLE, how many there are."""
# ruff: noqa: F821

import numpy as np
from numba import njit


@njit(cache=True, error_model="numpy", nogil=True)
def plant_seen(x, p, y):
    """The entries SEEN of all that could be observed."""
    everything = np.empty(N_OBSERVABLE)
    plant_all(x, p, everything)
    for i in range(len(SEEN)):
        y[i] = everything[SEEN[i]]
