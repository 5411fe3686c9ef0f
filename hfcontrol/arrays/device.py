"""Where arrays live: NumPy arrays on the CPU, CuPy arrays on a GPU.

Code above the kernels is written once for both. It calls NumPy functions, which pass
CuPy arrays on to the CuPy function of the same name, and makes arrays by
`np.zeros_like(a, shape=...)`, which stay on the device of `a`. No array moves
implicitly: CuPy refuses NumPy arrays as operands. Explicit moves use the functions of
this module, the only one that imports cupy.
"""

import os
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from hfcontrol.arrays.types import Array
from hfcontrol.errors import DeviceError, UsageError

# "auto" is a GPU if there is a usable one, and otherwise the CPU.
DEVICES = ("cpu", "gpu", "auto")

# Last words of messages about GPUs.
CPU_INSTEAD = "or use `device` cpu"

# Longest part of a driver's message that is quoted [characters].
REASON_LENGTH = 200


def resolve_device(name: str) -> str:
    """Return "cpu" or "gpu" for one of DEVICES.

    Raises DeviceError if "gpu" is requested and no GPU is usable, and UsageError if the
    name is unknown.
    """
    if name not in DEVICES:
        raise UsageError(f"`device` {name}: must be one of {', '.join(DEVICES)}")
    if name == "auto":
        try:
            _cupy()
        except DeviceError:
            return "cpu"
        return "gpu"
    if name == "gpu":
        _cupy()
    return name


def choose_gpu(place: int) -> None:
    """Let a process use the GPU of a number, if several processes share a machine.

    It counts the GPUs that the process may use. Called before CUDA starts. (Not tested:
    that needs a machine with several GPUs.)
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(place)
        return
    usable = [name for name in visible.split(",") if name]
    # A scheduler may have given each process its own already.
    if len(usable) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = usable[place % len(usable)]


@cache
def _cupy() -> ModuleType:
    """Return CuPy after a first computation with it.

    Raises DeviceError if CuPy, a driver or a GPU is missing or does not work.
    """
    try:
        import cupy
    except ImportError as error:
        raise DeviceError(
            f"`device` gpu: cupy cannot be imported ({error}); "
            f"pip install -e '.[gpu]' in hfcontrol's folder, {CPU_INSTEAD}"
        ) from error
    if not cupy.is_available():
        raise DeviceError(
            "`device` gpu: no NVIDIA GPU with a driver is found here; "
            f"use a machine that has one, {CPU_INSTEAD}"
        )
    try:
        (cupy.zeros(1) + 1).get()
    except Exception as error:
        # A driver and a toolkit of different versions fail in many ways.
        reason = " ".join(str(error).split())[:REASON_LENGTH]
        raise DeviceError(
            f"`device` gpu: the GPU does not compute ({reason}); "
            f"check that driver and cupy fit together, {CPU_INSTEAD}"
        ) from error
    return cupy


def is_on_host(a: Any) -> bool:
    """Return whether an array is a NumPy array."""
    return isinstance(a, np.ndarray)


def array_module(a: Any) -> ModuleType:
    """Return the module of an array: NumPy or CuPy."""
    return np if is_on_host(a) else _cupy()


def to_device(a: Any, dtype: npt.DTypeLike = np.float64) -> Array:
    """Return the array on the GPU, C-contiguous.

    Nothing is copied if it is there already in that form.
    """
    return _cupy().ascontiguousarray(a, dtype=dtype)


def to_host(a: Any) -> Any:
    """Return the array as a NumPy array; NumPy arrays and numbers stay as they are."""
    return a.get() if hasattr(a, "get") else a


def to_device_of(a: Array, other: Array) -> Array:
    """Move the NumPy array `a` to the device of `other`; the dtype stays."""
    return a if is_on_host(other) else to_device(a, a.dtype)


def device_name() -> str:
    """Return the name of the GPU in use."""
    return _device_properties()["name"].decode()


def processor_count() -> int:
    """Return the number of multiprocessors of the GPU in use."""
    return _device_properties()["multiProcessorCount"]


def _device_properties() -> dict[str, Any]:
    return _cupy().cuda.runtime.getDeviceProperties(0)


def free_memory() -> int:
    """Return the bytes that are free on the GPU in use."""
    cupy = _cupy()
    unused, _ = cupy.cuda.runtime.memGetInfo()
    # Blocks that CuPy keeps for later arrays are free too.
    pooled = cupy.get_default_memory_pool().free_bytes()
    return unused + pooled


def require_memory(needed: float, what: str) -> None:
    """Raise DeviceError if the GPU has less than `needed` bytes free for `what`."""
    free = free_memory()
    if needed > free:
        raise DeviceError(
            f"`device` gpu: {what} need {needed / 1e9:.3g} GB, and {free / 1e9:.3g} GB "
            f"are free on the GPU; use fewer `trials` or `steps`, {CPU_INSTEAD}"
        )
