"""The vectorised tanh of the kernels."""

import numpy as np
from numba import njit

from hfcontrol.kernels.tanh import tanh_in_place


@njit
def compute(values):
    tanh_in_place(values)


def test_tanh_is_accurate_to_rounding():
    z = np.concatenate((np.linspace(-25.0, 25.0, 1001), [1e-300, -1e-9, 700.0]))
    values = z.copy()
    compute(values)
    np.testing.assert_allclose(values, np.tanh(z), rtol=4e-16)


def test_tanh_of_special_numbers():
    values = np.array([0.0, np.inf, -np.inf, np.nan])
    compute(values)
    np.testing.assert_array_equal(values, [0.0, 1.0, -1.0, np.nan])
