"""One control step of a plant, and what is observed of it, for a block of w trials.

Arrays are (n, w), the parameters p (w, np). The arithmetic of a trial does not depend
on the other trials of its block.
"""

import math
from functools import cache
from typing import Any

import numba
import numpy as np
from numba import types

from hfcontrol.arrays.types import Array
from hfcontrol.kernels.blocks import call_map, call_rates
from hfcontrol.kernels.jit import address_of, function_at, helper, pointed_to
from hfcontrol.kernels.matrices import put
from hfcontrol.kernels.plant_types import (
    DISCRETE,
    NO_PLANT,
    RK4,
    SEMI_IMPLICIT,
    PlantFunctions,
)


@helper
def taper_value(x: float, limit: float) -> float:
    """Return x within +-limit; beyond, limit + tanh(|x| - limit) with the sign of x."""
    if abs(x) <= limit:
        return x
    return math.copysign(limit + math.tanh(abs(x) - limit), x)


@helper
def taper_block(x: Array, taper: Array) -> None:
    """Apply the taper (nx,) to states (nx, w)."""
    for i in range(x.shape[0]):
        beyond = 0
        for k in range(x.shape[1]):
            beyond += abs(x[i, k]) > taper[i]
        # Most states are within: the compiler would compute all their tanh as well.
        if beyond:
            for k in range(x.shape[1]):
                x[i, k] = taper_value(x[i, k], taper[i])


@helper
def step_work(plant: PlantFunctions, n_controls: int, width: int) -> Array:
    """Return the scratch array of `step_block`."""
    # The drives of the actuators, and three states: one array is one allocation.
    return np.empty((n_controls + 3 * plant.n_body, width))


def fill_step(
    plant: PlantFunctions, x: Array, u: Array, p: Array, x_next: Array, work: Array
) -> None:
    """Fill x_next (nx, w) with the states after one control step, without taper.

    Actuators are of first order, a' = (u - a) / lag; their drives a are the last
    states. Over a control step the held command leaves `decay` of what a drive is
    behind it, and the body gets the mean drive.

    The last state of an irregular plant is by how much the step is longer than dt, as a
    part of dt: rates are multiplied by 1 plus it. A disturbance sets the next one.
    """
    n = plant.n_body
    n_controls = u.shape[0]
    width = u.shape[1]
    control = u
    if plant.lag > 0.0:
        control = work[:n_controls]
        for i in range(n_controls):
            for k in range(width):
                behind = x[n + i, k] - u[i, k]
                decay, mean = plant.decay, plant.mean
                if plant.irregular:
                    decay, mean = _lengthen(plant, 1.0 + x[-1, k])
                control[i, k] = u[i, k] + mean * behind
                x_next[n + i, k] = u[i, k] + decay * behind
    if plant.irregular:
        for k in range(width):
            x_next[-1, k] = 0.0

    now = work[n_controls : n_controls + n]
    stage = work[n_controls + n : n_controls + 2 * n]
    slope = work[n_controls + 2 * n :]
    body = x_next[:n]
    for substep in range(plant.substeps):
        # A copy: integrators read the state while they write the next one to `body`.
        before = body if substep else x[:n]
        for i in range(n):
            for k in range(width):
                now[i, k] = before[i, k]
        if plant.integrator == DISCRETE:
            call_rates(plant.rates, now, control, p, body)
        elif plant.integrator == RK4:
            _runge_kutta_step(plant, now, control, p, body, stage, slope, x[-1])
        else:
            call_rates(plant.rates, now, control, p, slope)
            _scale_rates(plant, slope, x[-1])
            _euler_step(plant, now, slope, body, x[-1])


@cache
def _compile_step() -> Any:
    # The cache keeps the machine code alive.
    return pointed_to(_step_signature(types.float64))(fill_step)


def load_step() -> Any:
    """Return the address of `fill_step`, compiled now or loaded from the cache."""
    return address_of(_compile_step())


def _step_signature(real: Any) -> Any:
    return types.void(numba.typeof(NO_PLANT), *[real[:, ::1]] * 5)


step_at = function_at(_step_signature)


@helper
def step_block(
    plant: PlantFunctions, x: Array, u: Array, p: Array, x_next: Array, work: Array
) -> None:
    """Fill x_next (nx, w) with the states after one control step, see `fill_step`.

    By address: four kernels step plants, and none has to be compiled with all of it.
    """
    step_at(plant.step, x)(plant, x, u, p, x_next, work)


@helper
def _lengthen(plant: PlantFunctions, length: float) -> tuple[float, float]:
    """Return decay and mean (`actuator_factors`) of a step of `length` times dt."""
    seconds = length * plant.substep * plant.substeps
    decay = math.exp(-seconds / plant.lag)
    return decay, (1.0 - decay) * plant.lag / seconds


@helper
def _scale_rates(plant: PlantFunctions, slope: Array, excess: Array) -> None:
    """Multiply rates (n, w) by the length of the step, which is 1 + excess (w,).

    A longer step of the same rates is the same step of larger ones.
    """
    if plant.irregular:
        for i in range(slope.shape[0]):
            for k in range(slope.shape[1]):
                slope[i, k] *= 1.0 + excess[k]


@helper
def _euler_step(
    plant: PlantFunctions, now: Array, slope: Array, after: Array, excess: Array
) -> None:
    """Fill `after` with now + h slope.

    With SEMI_IMPLICIT the first half of the state, the positions, moves by the new
    rates, which are the second half.
    """
    h = plant.substep
    half = now.shape[0] // 2
    if plant.integrator == SEMI_IMPLICIT:
        for i in range(half):
            for k in range(now.shape[1]):
                # The slope of the position is not used: it holds the old rate.
                rate = now[half + i, k] + h * slope[half + i, k]
                after[half + i, k] = rate
                after[i, k] = now[i, k] + h * rate
                if plant.irregular:
                    after[i, k] += h * excess[k] * rate
        return
    for i in range(now.shape[0]):
        for k in range(now.shape[1]):
            after[i, k] = now[i, k] + h * slope[i, k]


@helper
def _runge_kutta_step(
    plant: PlantFunctions,
    now: Array,
    u: Array,
    p: Array,
    after: Array,
    stage: Array,
    slope: Array,
    excess: Array,
) -> None:
    """Fill `after` by the classical method of order 4, with constant u."""
    h = plant.substep
    for i in range(now.shape[0]):
        for k in range(now.shape[1]):
            stage[i, k] = now[i, k]
            after[i, k] = now[i, k]
    # The stages differ in two numbers: a loop compiles faster than four copies of it.
    for number in range(4):
        call_rates(plant.rates, stage, u, p, slope)
        _scale_rates(plant, slope, excess)
        weight = h / 6 if number == 0 or number == 3 else h / 3
        length = h if number == 2 else h / 2
        for i in range(now.shape[0]):
            for k in range(now.shape[1]):
                after[i, k] += weight * slope[i, k]
                stage[i, k] = now[i, k] + length * slope[i, k]


@helper
def observe_block(
    plant: PlantFunctions, x: Array, p: Array, y: Array, all_observations: Array
) -> None:
    """Fill y (ny, w) with the observations of x (nx, w).

    `all_observations` (n_observable, w) is scratch for a plant that selects some.
    """
    target = all_observations if plant.observed.size else y
    map_block(plant.observe, x, p, target)
    for i in range(plant.observed.size):
        for k in range(y.shape[1]):
            y[i, k] = all_observations[plant.observed[i], k]


@helper
def map_block(function: Any, x: Array, p: Array, out: Array) -> None:
    """Fill out (n, w) by a plant's `observe` or `output`, or with the state."""
    # The address 0 stands for no function.
    if function:
        call_map(function, x, p, out)
        return
    put(out, x)
