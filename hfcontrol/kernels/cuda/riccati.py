"""The backward pass of iLQR, with a thread for each trial; see kernels/riccati.py."""

from functools import cache
from typing import Any

from numba import boolean, cuda, float64

from hfcontrol.arrays.types import Array
from hfcontrol.kernels import riccati
from hfcontrol.kernels.cuda.device import device_functions, kernel

RiccatiWork = riccati.RiccatiWork


@cache
def make_backward(nx: int, nu: int) -> Any:
    """Return the kernel of the backward pass, with the arguments of the compiled one.

    backward(expansion, damping, k, K, promise)
    """
    # Copies: the functions themselves are compiled for the CPU.
    backward_trials = device_functions(vars(riccati))["backward"]
    value_shape = (nx, nx + 1)
    square_shape = (nx, nx)
    columns = (nu, nx + 1)
    controls = (nu, nu)

    @kernel
    def backward(
        expansion: Any, damping: Array, k: Array, K: Array, promise: Array
    ) -> None:
        value = cuda.local.array(value_shape, float64)
        next_A = cuda.local.array(value_shape, float64)
        symmetric = cuda.local.array(square_shape, float64)
        cross = cuda.local.array(columns, float64)
        solution = cuda.local.array(columns, float64)
        next_B = cuda.local.array(columns, float64)
        curvature = cuda.local.array(controls, float64)
        damped = cuda.local.array(controls, float64)
        factor = cuda.local.array(controls, float64)
        largest = cuda.local.array(nu, float64)
        is_held = cuda.local.array(nu, boolean)
        work = RiccatiWork(
            value,
            next_A,
            symmetric,
            cross,
            solution,
            next_B,
            curvature,
            damped,
            factor,
            largest,
            is_held,
        )
        n = cuda.grid(1)
        if n < k.shape[1]:
            backward_trials(n, n + 1, expansion, damping, work, k, K, promise)

    return backward
