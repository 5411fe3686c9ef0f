"""Helpers, and functions that kernels call by their addresses."""

import numba
import numpy as np
import pytest
from numba import njit, types

from hfcontrol.kernels.jit import address_of, function_at, helper, pointed_to


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


@helper
def double(values, i):
    values[i] *= 2.0


@helper
def double_twice(values, i):
    double(values, i)
    double(values, i)


@njit
def double_all(values):
    for i in range(values.size):
        double_twice(values, i)
        double(values, i)


def test_kernels_contain_helpers_of_helpers():
    values = np.arange(3.0)
    double_all(values)
    np.testing.assert_array_equal(values, [0.0, 8.0, 16.0])


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
def test_helpers_have_no_machine_code():
    double_all(np.zeros(1))
    for function, has_code in (
        (double, False),
        (double_twice, False),
        (double_all, True),
    ):
        (compiled,) = function.overloads.values()
        name = compiled.fndesc.llvm_func_name
        assert bool(compiled.library.get_pointer_to_function(name)) == has_code
