"""Where arrays are: NumPy's on the CPU, CuPy's on a GPU; and how many threads NumPy's matrix products use.

Code above the kernels is written once for both. It calls NumPy's functions, which hand an array of CuPy's to CuPy's function of
the same name, and makes arrays by `np.zeros_like(a, shape=...)`, which stay where `a` is. Nothing is moved unseen: CuPy refuses an
array of NumPy's beside its own, and what moves does so by a function of this module, the only one that imports cupy.
"""

import ctypes
from contextlib import contextmanager
from functools import cache

import numpy as np

from hfcontrol.errors import DeviceError, UsageError

DEVICES = ("cpu", "gpu", "auto")
CPU_INSTEAD = "or give --device cpu"

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


def device_for(word):
    """ "cpu" or "gpu", for one of DEVICES: "auto" is a GPU where one can be used.

    Raises DeviceError where a GPU is asked for and none can be used, and UsageError for another word.
    """
    if word not in DEVICES:
        raise UsageError(f"--device {word}: known are {', '.join(DEVICES)}")
    if word == "auto":
        try:
            _cupy()
        except DeviceError:
            return "cpu"
        return "gpu"
    if word == "gpu":
        _cupy()
    return word


@cache
def _cupy():
    """CuPy, with which something was computed; DeviceError where that is not possible."""
    try:
        import cupy
    except ImportError as error:
        raise DeviceError(
            f"--device gpu: cupy cannot be imported ({error}); pip install -e '.[gpu]' in hfcontrol's folder, "
            f"{CPU_INSTEAD}"
        ) from error
    if not cupy.is_available():
        raise DeviceError(
            f"--device gpu: no NVIDIA GPU with a driver is found here; use a machine that has one, {CPU_INSTEAD}"
        )
    try:
        (cupy.zeros(1) + 1).get()
    except (
        Exception
    ) as error:  # whatever a driver and a toolkit that do not fit together make of it
        reason = " ".join(str(error).split())[:200]
        raise DeviceError(
            f"--device gpu: the GPU does not compute ({reason}); see that driver and cupy fit together, "
            f"{CPU_INSTEAD}"
        ) from error
    return cupy


def array_module(a):
    """NumPy or CuPy, whichever the array is of."""
    return np if isinstance(a, np.ndarray) else _cupy()


def to_device(a, dtype=np.float64):
    """The array on the GPU, C-contiguous; itself if it is such a one already."""
    return _cupy().ascontiguousarray(a, dtype=dtype)


def to_host(a):
    """The array, or number, as one of NumPy's: itself if it is no array of CuPy's."""
    return a.get() if hasattr(a, "get") else a


def beside(a, other):
    """An array of NumPy's where another array is, with its own kind of number."""
    return a if isinstance(other, np.ndarray) else to_device(a, a.dtype)


def device_name():
    """The name of the GPU in use."""
    return _cupy().cuda.runtime.getDeviceProperties(0)["name"].decode()


def processors():
    """The number of multiprocessors of the GPU in use."""
    return _cupy().cuda.runtime.getDeviceProperties(0)["multiProcessorCount"]


def free_memory():
    """Bytes that are left on the GPU in use."""
    cupy = _cupy()
    return (
        cupy.cuda.runtime.memGetInfo()[0] + cupy.get_default_memory_pool().free_bytes()
    )


def require_memory(needed, what):
    """Raises DeviceError where the GPU has less than so many bytes left for what needs them."""
    free = free_memory()
    if needed > free:
        raise DeviceError(
            f"--device gpu: {what} need {needed / 1e9:.3g} GB, and {free / 1e9:.3g} GB are free on the GPU; give fewer "
            f"--trials or --steps, {CPU_INSTEAD}"
        )


def definite_solver(M):
    """b -> x with M x = b, by Cholesky's factorisation of a symmetric positive definite M (m, m), which is used up.

    Raises numpy.linalg.LinAlgError where M is not positive definite.
    """
    if isinstance(M, np.ndarray):
        from scipy.linalg import cho_factor, cho_solve

        factored = cho_factor(M, lower=True, overwrite_a=True, check_finite=False)
        return lambda b: cho_solve(factored, b, check_finite=False)
    from cupyx.scipy.linalg import solve_triangular

    L = np.linalg.cholesky(M)
    if not np.isfinite(L).all():  # CuPy's does not say so
        raise np.linalg.LinAlgError("not positive definite")
    return lambda b: solve_triangular(
        L, solve_triangular(L, b, lower=True), trans=1, lower=True
    )


def inverse_factors(M):
    """Inverses (S, m, m) of the Cholesky factors L of symmetric positive definite matrices M (S, m, m), M^-1 = L^-T L^-1, and which
    of M (S,), as one of NumPy's arrays, have one; those of the others mean nothing.

    CuPy factorises and inverts many matrices at once; of solves with a triangle it knows only one at a time.
    """
    unit = np.zeros_like(M, shape=M.shape[1:])
    unit.ravel()[:: len(unit) + 1] = 1.0
    finite = np.isfinite(M).all(axis=(1, 2))
    L = np.linalg.cholesky(np.where(finite[:, None, None], M, unit))
    definite = finite & np.isfinite(L).all(axis=(1, 2))  # CuPy's does not say so
    return np.linalg.inv(np.where(definite[:, None, None], L, unit)), to_host(definite)
