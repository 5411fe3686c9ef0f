"""Jobs of compiled code, shared out over the cores by threads of Python.

Compiled code is serial and lets go of Python's lock. Numba's own parallel loops would save some ten microseconds a call, but compile
what they call over and over again, level by level: they made up half of a first training's time.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache


@cache
def _pool():
    from numba import config

    return ThreadPoolExecutor(config.NUMBA_NUM_THREADS)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        after_in_child=_pool.cache_clear
    )  # threads are not copied with a process


def shared(jobs, kernel, *arguments, least=1):
    """Calls kernel(first, end, *arguments) on parts of range(jobs), contiguous, as equal as can be and of at least so many jobs, one
    on each of Numba's threads; returns when all have ended, and raises what any of them raises."""
    from numba import get_num_threads  # who only loads a run needs no Numba

    parts = max(1, min(get_num_threads(), jobs // least))
    edges = [jobs * part // parts for part in range(parts + 1)]
    others = [
        _pool().submit(kernel, *part, *arguments) for part in zip(edges[1:], edges[2:])
    ]
    try:
        kernel(*edges[:2], *arguments)  # by this thread, which would only wait
    finally:
        for other in others:
            other.exception()  # waits: nothing is written any more once this has returned
    for other in others:
        other.result()
