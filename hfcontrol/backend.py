"""The array backend: NumPy on the CPU, and how many threads its matrix products use."""

import ctypes
from contextlib import contextmanager
from functools import cache

SETTERS = ("scipy_openblas_set_num_threads", "scipy_openblas_set_num_threads64_", "openblas_set_num_threads",
           "openblas_set_num_threads64_")
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
