"""Rates of a simulator as a C function, which compiled code calls by its address."""

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.plant.contract import Plant

# Rates (n, w) of states x (n, w) and controls u (nu, w).
Rates = Callable[[Array, Array], Array]

# Pointers to x (n, w), u (nu, w), p (w, np) and dx (n, w), then w; see blocks.py.
POINTER = ctypes.POINTER(ctypes.c_double)
RATES = ctypes.CFUNCTYPE(None, POINTER, POINTER, POINTER, POINTER, ctypes.c_int64)


def rates_address(plant: Plant) -> Any:
    """Return the address of a plant's `rates_batch` as a block function.

    Where Numba is switched off, it is the function itself.
    """
    from hfcontrol.kernels.jit import DISABLED

    function = _as_c_function(plant.functions["rates_batch"], plant.n_body, plant.nu)
    if DISABLED:
        return function
    return ctypes.cast(function, ctypes.c_void_p).value


# The cache keeps the C function alive, which an address does not.
@cache
def _as_c_function(rates: Rates, n: int, nu: int) -> Any:
    """Return the rates of a plant with n states and nu controls as a C function."""

    def call(x: Any, u: Any, p: Any, dx: Any, w: int) -> None:
        # ctypes holds Python's lock meanwhile; the simulator may let go of it.
        out = _view(dx, n, w)
        # What an error leaves unwritten is not finite, and ends the solver.
        out[:] = np.nan
        out[:] = rates(_view(x, n, w), _view(u, nu, w))

    return RATES(call)


def _view(pointer: Any, rows: int, columns: int) -> Array:
    return np.ctypeslib.as_array(pointer, (rows, columns))
