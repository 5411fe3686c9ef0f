"""Device functions, and the launch of kernels."""

from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, TypeVar, cast

from numba import config, cuda, float32, float64

from hfcontrol.errors import DeviceError

# Threads in a block of a kernel with independent threads.
THREADS = 128


def require_compiler() -> None:
    """Raise DeviceError unless kernels can be compiled or simulated."""
    simulated = config.ENABLE_CUDASIM  # type: ignore[attr-defined]
    if getattr(cuda, "implementation", "") != "NVIDIA" and not simulated:
        raise DeviceError(
            "`device` gpu: numba-cuda is not installed; pip install -e '.[gpu]' in "
            "hfcontrol's folder, or use `device` cpu"
        )


Function = TypeVar("Function", bound=Callable[..., Any])


def real_type(dtype: str) -> Any:
    """Return Numba's type for float32 or float64, for local arrays."""
    return {"float32": float32, "float64": float64}[dtype]


def device_function(function: Function) -> Function:
    """Return a function that kernels can call."""
    return cast(Function, cuda.jit(device=True)(function))


def kernel(function: Callable[..., None]) -> Any:
    """Return a kernel, for `launch` or `launch_blocks`.

    It is compiled when it is launched for the first time.
    """
    return cuda.jit(function)


def device_functions(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Return the names of a module, with device functions instead of its functions.

    Copies of the functions are compiled, which call each other's copies: the module
    itself stays as it is, Python or compiled for the CPU.
    """
    # Compiled code looks its names up when it is first launched: by then all are here.
    copies = dict(namespace)
    for name, value in namespace.items():
        # Functions that are compiled for the CPU keep their Python code.
        function = getattr(value, "py_func", value)
        if not isinstance(function, FunctionType):
            continue
        # Functions that the module imports are not its own, decorators for example.
        if function.__globals__ is namespace:
            code, defaults = function.__code__, function.__defaults__
            copy = FunctionType(code, copies, name, defaults)
            copies[name] = device_function(copy)
    return copies


def launch(kernel: Any, threads: int, *arguments: Any) -> None:
    """Run a kernel with `threads` independent threads."""
    kernel[-(-threads // THREADS), THREADS](*map(_to_numba, arguments))


def launch_blocks(
    kernel: Any,
    blocks: tuple[int, int],
    threads: tuple[int, int],
    shared: int,
    *arguments: Any,
) -> None:
    """Run a kernel with blocks of threads; each block shares `shared` bytes."""
    kernel[blocks, threads, 0, shared](*map(_to_numba, arguments))


def map_arrays(function: Any, argument: Any) -> Any:
    """Return an argument with `function` applied to what tuples in it hold."""
    if not isinstance(argument, tuple):
        return function(argument)
    entries = [map_arrays(function, entry) for entry in argument]
    # Tuples with named fields take their entries one by one.
    if hasattr(argument, "_fields"):
        return type(argument)(*entries)
    return tuple(entries)


def _to_numba(argument: Any) -> Any:
    """Return an argument as Numba's dispatcher knows it, also within tuples.

    A CuPy array becomes a Numba array on the same memory.
    """
    return map_arrays(_view_array, argument)


def _view_array(value: Any) -> Any:
    if not hasattr(value, "__cuda_array_interface__"):
        return value
    # No synchronisation: CuPy and Numba both use the default stream.
    return cuda.as_cuda_array(value, sync=False)
