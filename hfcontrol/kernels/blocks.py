"""Calls of block functions by their addresses.

A block function is a C function of pointers to float64 arrays and the number of trials,
for example

    void rates(double *x, double *u, double *p, double *dx, int64_t w)

with x (nx, w), u (nu, w), p (w, np), dx (nx, w), row by row without gaps. Kernels know
it by its address, an int64, so that they are compiled once, whatever it is. (Numba can
pass compiled functions themselves, but unpacking one takes 10 us in every call.)

Where Numba is switched off, a Python function of `ctypes` pointers is in the place of
an address.
"""

import ctypes
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from hfcontrol.kernels.jit import DISABLED

POINTER = ctypes.POINTER(ctypes.c_double)


def _make_call(arrays: tuple[Any, ...], sizes: tuple[tuple[int, int], ...]) -> Any:
    """Return signature and code generator of a call with arrays of these types.

    After the arrays the function gets `sizes`, each (array, axis).
    """
    for array in arrays:
        contiguous = isinstance(array, types.Array) and array.layout == "C"
        if not contiguous or array.dtype != types.float64:
            raise TypingError(f"a block function takes float64 C arrays, not {array}")

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        # Numba's arrays are structures; a C function takes their data pointers.
        address, *rest = values
        structs = [
            context.make_array(array)(context, builder, value)
            for array, value in zip(arrays, rest, strict=True)
        ]
        arguments = [struct.data for struct in structs]
        for array, axis in sizes:
            shape = cgutils.unpack_tuple(builder, structs[array].shape)
            arguments.append(shape[axis])
        # Nothing declares the function to Numba: its type follows from the arguments.
        kinds = [argument.type for argument in arguments]
        function_type = ir.FunctionType(ir.VoidType(), kinds)
        function = builder.inttoptr(address, function_type.as_pointer())
        builder.call(function, arguments)
        return context.get_dummy_value()

    return types.void(types.int64, *arrays), generate


def _call_python(
    function: Any, arrays: tuple[Any, ...], sizes: tuple[tuple[int, int], ...]
) -> None:
    """Call a block function that is a Python function."""
    pointers = [array.ctypes.data_as(POINTER) for array in arrays]
    function(*pointers, *[arrays[array].shape[axis] for array, axis in sizes])


# The trials are the last axis of x, which comes first.
WIDTH = (0, -1)
TARGETS = (2, 0)

# One function for each signature, because an intrinsic takes no variable arguments.
if DISABLED:

    def call_rates(function, x, u, p, out):  # type: ignore[no-untyped-def]
        """Call `rates` of a plant."""
        _call_python(function, (x, u, p, out), (WIDTH,))

    def call_map(function, x, p, out):  # type: ignore[no-untyped-def]
        """Call `observe`, `output` or `observe_jacobian` of a plant."""
        _call_python(function, (x, p, out), (WIDTH,))

    def call_residual(function, x, u, target, p, r):  # type: ignore[no-untyped-def]
        """Call the residual function of a task."""
        _call_python(function, (x, u, target, p, r), (TARGETS, WIDTH))

    def call_jacobian(function, x, u, p, A, B):  # type: ignore[no-untyped-def]
        """Call `jacobian` of a plant."""
        _call_python(function, (x, u, p, A, B), (WIDTH,))

else:

    @intrinsic
    def call_rates(context, address, x, u, p, out):  # type: ignore[no-untyped-def]
        """Call `rates` of a plant."""
        return _make_call((x, u, p, out), (WIDTH,))

    @intrinsic
    def call_map(context, address, x, p, out):  # type: ignore[no-untyped-def]
        """Call `observe`, `output` or `observe_jacobian` of a plant."""
        return _make_call((x, p, out), (WIDTH,))

    @intrinsic
    def call_residual(  # type: ignore[no-untyped-def]
        context, address, x, u, target, p, r
    ):
        """Call the residual function of a task."""
        return _make_call((x, u, target, p, r), (TARGETS, WIDTH))

    @intrinsic
    def call_jacobian(context, address, x, u, p, A, B):  # type: ignore[no-untyped-def]
        """Call `jacobian` of a plant."""
        return _make_call((x, u, p, A, B), (WIDTH,))
