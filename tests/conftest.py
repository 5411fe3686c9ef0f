"""What every test has: one generator of random numbers of its own."""

import os

import numpy as np
import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when Numba starts: a busy machine must not make waiting spin


@pytest.fixture
def rng():
    """A generator that is the same at the start of every test."""
    return np.random.default_rng(1)
