"""Source piece: one control step of the plant by the integrator of its file, and the taper.

It follows a piece that defines NX (the states of the body), SUBSTEPS, SUBSTEP [s] and the plant's own functions, and
precedes one that says which of the `..._move` is the plant's `plant_move`.
"""
# ruff: noqa: F821

import math

import numpy as np
from numba import njit


@njit(error_model="numpy", inline="always")
def plant_euler_move(x, u, p, h, x_next):
    """x_next = x + h dx(x, u)."""
    own_dynamics(x, u, p, x_next)
    for i in range(NX):
        x_next[i] = x[i] + h * x_next[i]


@njit(error_model="numpy", inline="always")
def plant_semi_implicit_move(x, u, p, h, x_next):
    """Rates, the second half of the state, by the accelerations at x; positions, the first half, by the new rates."""
    own_dynamics(x, u, p, x_next)
    half = NX // 2
    for i in range(half):
        x_next[half + i] = x[half + i] + h * x_next[half + i]
        x_next[i] = x[i] + h * x_next[half + i]


@njit(cache=True, error_model="numpy", nogil=True)
def plant_rk4_move(x, u, p, h, x_next):
    """The classical Runge-Kutta step of order 4, with u constant over the step."""
    work = np.empty((2, NX))
    stage, slope = work[0], work[1]
    own_dynamics(x, u, p, slope)
    for i in range(NX):
        x_next[i] = x[i] + h / 6 * slope[i]
        stage[i] = x[i] + h / 2 * slope[i]
    own_dynamics(stage, u, p, slope)
    for i in range(NX):
        x_next[i] += h / 3 * slope[i]
        stage[i] = x[i] + h / 2 * slope[i]
    own_dynamics(stage, u, p, slope)
    for i in range(NX):
        x_next[i] += h / 3 * slope[i]
        stage[i] = x[i] + h * slope[i]
    own_dynamics(stage, u, p, slope)
    for i in range(NX):
        x_next[i] += h / 6 * slope[i]


@njit(error_model="numpy", inline="always")
def plant_body_step(x, u, p, x_next):
    """The state (NX,) of the body after one control step, without taper."""
    if SUBSTEPS == 1:
        plant_move(x, u, p, SUBSTEP, x_next)
    else:
        now = np.empty(NX)
        for i in range(NX):
            now[i] = x[i]
        for _ in range(SUBSTEPS):
            plant_move(now, u, p, SUBSTEP, x_next)
            for i in range(NX):
                now[i] = x_next[i]


@njit(error_model="numpy", inline="always")
def plant_copy(x, p, y):
    """The observation or output of a plant that gives none: the state."""
    for i in range(NX):
        y[i] = x[i]


@njit(cache=True, error_model="numpy", nogil=True)
def taper_value(x, limit):
    """x within +-limit; beyond, limit + tanh(|x| - limit) with the sign of x."""
    if abs(x) <= limit:
        return x
    return math.copysign(limit + math.tanh(abs(x) - limit), x)
