"""How kernels are compiled; every module with compiled code imports this one first.

    kernel          a function that Python calls; cached on disk
    helper          a function that kernels call; compiled into each of them
    inlined_helper  a helper without a call, for short functions of small arrays
    function_at     a function by its address, see below

Python 3.11 and Numba spend about 0.1 s on every helper for every combination of array
layouts that it is called with, and its code is optimised again in every kernel. So a
helper is worth its name if it holds a formula or saves a loop that is written often.

With NUMBA_DISABLE_JIT=1 all of these run as Python, for debuggers and coverage; a
warning says so.

A kernel that calls one of several functions takes its address, an int64, as an argument
(`address_of`). It is compiled once whatever the function is. Numba can also pass
compiled functions themselves, but spends 10 us on each of them in every call.
"""

import warnings
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from hfcontrol.errors import HFControlWarning
from hfcontrol.kernels.stored_code import StoredCode, compile_pointed_to

DISABLED = bool(numba.config.DISABLE_JIT)  # type: ignore[attr-defined]

if DISABLED:
    warnings.warn(
        "NUMBA_DISABLE_JIT is set: nothing is compiled, and everything takes some "
        "hundred times longer; unset it to train",
        HFControlWarning,
        stacklevel=1,
    )

Function = TypeVar("Function", bound=Callable[..., Any])

# Numba's annotations know neither all options nor what functions return.
_njit: Any = njit

OPTIONS = {
    # Division by 0 gives inf or NaN: a check would keep loops from being vectorised.
    "error_model": "numpy",
    # Threads run kernels at the same time (arrays/threads.py).
    "nogil": True,
    # Nobody calls kernels from C; the wrapper would be compiled for nothing.
    "no_cfunc_wrapper": True,
}


def kernel(function: Function) -> Function:
    """Compile a function that Python calls."""
    compiled = _njit(**OPTIONS)(function)
    if not DISABLED:
        # Set by hand, because Numba offers its own cache only.
        compiled._cache = StoredCode(function)
    return cast(Function, compiled)


def helper(function: Function) -> Function:
    """Compile a function that only kernels call; it is not cached by itself."""
    return _njit(no_cpython_wrapper=True, **OPTIONS)(function)


def inlined_helper(function: Function) -> Function:
    """Compile a helper that LLVM inlines always.

    A call of any other may count the references to its arrays, which costs more than
    what a short function computes.
    """
    options = {"error_model": "numpy", "nogil": True, "no_cfunc_wrapper": True}
    compiled = _njit(no_cpython_wrapper=True, forceinline=True, **options)
    return compiled(function)


def contracting_helper(function: Function) -> Function:
    """Compile a helper in which a product and a sum become one instruction."""
    # No other freedom of `fastmath`: a compiler that reorders sums changes results.
    contract = {"contract"}
    compiled = _njit(no_cpython_wrapper=True, fastmath=contract, **OPTIONS)
    return compiled(function)


def address_of(function: Any) -> Any:
    """Return the address of a function compiled by `pointed_to`, for `function_at`.

    Without Numba it is the function itself.
    """
    return function if DISABLED else function.address


def pointed_to(signature: Any) -> Callable[[Any], Any]:
    """Return the decorator of functions that kernels call by their address."""
    if DISABLED:
        return lambda function: function
    return lambda function: compile_pointed_to(function, signature)


def function_at(signature_for: Callable[[Any], Any]) -> Any:
    """Return a helper `at(address, array)`, which returns the function to call.

    `signature_for` returns the function's signature for the dtype of the array.
    """
    if DISABLED:
        return lambda address, array: address

    @intrinsic
    def at(typing_context: Any, address: Any, array: Any) -> Any:
        function_type = types.FunctionType(signature_for(array.dtype))

        # Numba's function structure, of which calls in compiled code read the address
        # alone.
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            proxy = cgutils.create_struct_proxy(signature.return_type)
            function = proxy(context, builder)
            pointer_type = function.c_addr.type
            function.c_addr = builder.inttoptr(args[0], pointer_type)
            return function._getvalue()

        return function_type(types.int64, array), generate

    return at
