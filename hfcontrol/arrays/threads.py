"""Jobs of compiled code, shared out over the cores by threads of Python.

Compiled code is serial and lets go of Python's lock. Numba's own parallel loops would save some ten microseconds a call, but compile
what they call over and over again, level by level: they made up half of a first training's time.
"""

import ctypes
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache


@cache
def _pool():
    from numba import config

    return ThreadPoolExecutor(config.NUMBA_NUM_THREADS)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        after_in_child=_pool.cache_clear
    )  # threads are not copied with a process


def run_in_parallel(jobs, kernel, *arguments, least=1):
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


SETTERS = (
    "scipy_openblas_set_num_threads",
    "scipy_openblas_set_num_threads64_",
    "openblas_set_num_threads",
    "openblas_set_num_threads64_",
)


GETTERS = tuple(name.replace("set", "get", 1) for name in SETTERS)


@cache
def _libraries():
    """Pairs (get, set) of the thread counts of the OpenBLAS libraries behind NumPy and SciPy; none where it is another.

    Both wheels bring an OpenBLAS of their own. A symbol is looked up through the extension module that links to it.
    """
    import numpy
    import scipy.linalg.cython_blas

    found = []
    for extension in (numpy._core._multiarray_umath, scipy.linalg.cython_blas):
        library = ctypes.CDLL(extension.__file__)
        for get, set_ in zip(GETTERS, SETTERS):
            if hasattr(library, set_) and hasattr(library, get):
                found.append((getattr(library, get), getattr(library, set_)))
                break
    return found


@contextmanager
def blas_threads(count):
    """Matrix products inside use so many threads each."""
    libraries = _libraries()
    before = [get() for get, _ in libraries]
    for _, set_ in libraries:
        set_(count)
    try:
        yield
    finally:
        for (_, set_), previous in zip(libraries, before):
            set_(previous)


def single_threaded_blas():
    """Matrix products inside use one thread each: the blocks of trials already keep the cores busy, and sums of the
    same order give the same bits whatever the number of cores."""
    return blas_threads(1)
