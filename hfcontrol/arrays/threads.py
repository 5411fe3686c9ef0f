"""Threads: compiled jobs shared over the cores, and threads of matrix products.

Compiled code is serial and releases Python's lock, so that Python threads run it in
parallel. Numba's own parallel loops would save some ten microseconds a call, but they
compile what they call again at every level of calls: half of the time of a first
training.
"""

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from itertools import pairwise
from typing import Any, NamedTuple

# The number of threads that `limited_threads` allows, in each thread its own.
_limit = threading.local()


def thread_count() -> int:
    """Return the number of threads that compiled jobs are shared over.

    It is NUMBA_NUM_THREADS, or one per core. Numba's `get_num_threads` would start its
    threading layer, which nothing here needs, and fail where there is none.
    """
    # Imported here: commands that only read a run start faster without Numba.
    from numba import config

    most: int = config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    return min(most, getattr(_limit, "count", most))


@contextmanager
def limited_threads(count: int) -> Iterator[None]:
    """Share compiled jobs over at most `count` threads in this context."""
    before = getattr(_limit, "count", None)
    _limit.count = count
    try:
        yield
    finally:
        if before is None:
            del _limit.count
        else:
            _limit.count = before


@cache
def _pool() -> ThreadPoolExecutor:
    """Return the threads of this process: as many as ever are used."""
    from numba import config

    return ThreadPoolExecutor(config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


if hasattr(os, "register_at_fork"):
    # A forked process has no copies of the threads, so it needs its own pool.
    os.register_at_fork(after_in_child=_pool.cache_clear)


def run_in_parallel(
    jobs: int, kernel: Callable[..., Any], *arguments: Any, least: int = 1
) -> None:
    """Call kernel(first, end, *arguments) on contiguous parts of range(jobs).

    There is one part for each thread (`thread_count`), as equal as possible and with at
    least `least` jobs. Returns when all have ended, and raises what any of them raises.
    """
    count = max(1, min(thread_count(), jobs // least))
    edges = [jobs * part // count for part in range(count + 1)]
    first, *rest = pairwise(edges)
    others = [_pool().submit(kernel, *part, *arguments) for part in rest]
    try:
        # The first part runs in this thread, which would only wait.
        kernel(*first, *arguments)
    finally:
        # Wait for all: nothing is written after this function has returned.
        for other in others:
            other.exception()
    for other in others:
        other.result()


# Names of OpenBLAS's functions, which depend on how a wheel was built.
SETTERS = (
    "scipy_openblas_set_num_threads",
    "scipy_openblas_set_num_threads64_",
    "openblas_set_num_threads",
    "openblas_set_num_threads64_",
)
GETTERS = tuple(name.replace("set", "get", 1) for name in SETTERS)

# Extension modules that link to the OpenBLAS of NumPy and to that of SciPy.
LINKED_MODULES = ("numpy._core._multiarray_umath", "scipy.linalg.cython_blas")


class _Library(NamedTuple):
    """Functions of an OpenBLAS library that read and set its number of threads."""

    get: Callable[[], int]
    set: Callable[[int], Any]


@cache
def _libraries() -> list[_Library]:
    """Return the OpenBLAS libraries of NumPy and SciPy, without other BLAS libraries.

    The wheels of both contain an OpenBLAS. Its symbols are found through an extension
    module that links to it.
    """
    found: list[_Library] = []
    for name in LINKED_MODULES:
        library = ctypes.CDLL(import_module(name).__file__)
        for getter, setter in zip(GETTERS, SETTERS, strict=True):
            if hasattr(library, setter) and hasattr(library, getter):
                get = getattr(library, getter)
                found.append(_Library(get, getattr(library, setter)))
                break
    return found


@contextmanager
def blas_threads(count: int) -> Iterator[None]:
    """Let matrix products in this context use `count` threads each."""
    libraries = _libraries()
    before = [library.get() for library in libraries]
    for library in libraries:
        library.set(count)
    try:
        yield
    finally:
        for library, previous in zip(libraries, before, strict=True):
            library.set(previous)


def single_threaded_blas() -> Any:
    """Return a context in which matrix products use one thread each.

    Blocks of trials already keep the cores busy, and sums in the same order give the
    same bits whatever the number of cores.
    """
    return blas_threads(1)


@contextmanager
def single_thread() -> Iterator[None]:
    """Let compiled jobs and matrix products in this context use one thread each."""
    with limited_threads(1), single_threaded_blas():
        yield
