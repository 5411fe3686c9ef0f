"""How long controllers think: the median time of one control step, for one trial."""

import time
from collections.abc import Callable

import numpy as np

# Calls to take the median of.
CALLS = 400


def median_microseconds(
    act: Callable[[int], object], reset: Callable[[], None], steps: int
) -> float:
    """Return the median time [us] of act(t), over movements of some steps.

    All runs in the calling thread. The median is not moved by the few calls that other
    programs interrupt.
    """
    times: list[int] = []
    while len(times) < CALLS:
        reset()
        for t in range(steps):
            begin = time.perf_counter_ns()
            act(t)
            times.append(time.perf_counter_ns() - begin)
    return float(np.median(times)) / 1e3
