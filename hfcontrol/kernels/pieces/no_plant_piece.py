"""Source piece that stands for a plant where there is none to compile: rollouts of a linear model never call it."""

from numba import njit


@njit(cache=True, error_model="numpy", nogil=True)
def plant_step(x, u, p, x_next):
    """Nothing."""


@njit(cache=True, error_model="numpy", nogil=True)
def plant_observe(x, p, y):
    """Nothing."""


@njit(cache=True, error_model="numpy", nogil=True)
def taper_value(x, limit):
    """x itself."""
    return x
