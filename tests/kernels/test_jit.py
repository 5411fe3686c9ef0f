"""Functions that kernels call by their addresses."""

import ast
from pathlib import Path

import numpy as np
from numba import njit, types

from hfcontrol import kernels
from hfcontrol.kernels.jit import address_of, function_at, pointed_to


def signature(real):
    return types.void(real[::1], real)


def add_number(values, number):
    for i in range(values.size):
        values[i] += number


def multiply(values, number):
    for i in range(values.size):
        values[i] *= number


at = function_at(signature)


@njit
def apply(address, values, number):
    at(address, values)(values, number)


def test_one_kernel_calls_any_function_of_a_signature():
    functions = [
        pointed_to(signature(types.float64))(f) for f in (add_number, multiply)
    ]
    values = np.array([1.0, 2.0])
    for function in functions:
        apply(address_of(function), values, 3.0)
    np.testing.assert_array_equal(values, [12.0, 15.0])


def test_signature_follows_the_dtype_of_the_array():
    function = pointed_to(signature(types.float32))(add_number)
    values = np.zeros(2, np.float32)
    apply(address_of(function), values, np.float32(0.5))
    np.testing.assert_array_equal(values, [0.5, 0.5])


def test_kernels_return_nothing():
    """To return an array or a named tuple, Numba calls Python, and ignores errors.

    An interrupt during the kernel would be raised there, and end in a SystemError.
    """
    found = [
        function
        for path in Path(kernels.__path__[0]).glob("*.py")
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef)
        and any(ast.unparse(d) == "kernel" for d in function.decorator_list)
    ]
    assert len(found) > 10
    returning = [k.name for k in found if ast.unparse(k.returns) != "None"]
    assert not returning
