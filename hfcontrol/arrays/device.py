"""Where arrays are: NumPy's on the CPU, CuPy's on a GPU; and how many threads NumPy's matrix products use.

Code above the kernels is written once for both. It calls NumPy's functions, which hand an array of CuPy's to CuPy's function of
the same name, and makes arrays by `np.zeros_like(a, shape=...)`, which stay where `a` is. Nothing is moved unseen: CuPy refuses an
array of NumPy's beside its own, and what moves does so by a function of this module, the only one that imports cupy.
"""

from functools import cache

import numpy as np

from hfcontrol.errors import DeviceError, UsageError

DEVICES = ("cpu", "gpu", "auto")
CPU_INSTEAD = "or give --device cpu"


def resolve_device(word):
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


def to_device_of(a, other):
    """An array of NumPy's where another array is, with its own kind of number."""
    return a if isinstance(other, np.ndarray) else to_device(a, a.dtype)


def device_name():
    """The name of the GPU in use."""
    return _cupy().cuda.runtime.getDeviceProperties(0)["name"].decode()


def processor_count():
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
