"""Values and derivatives of a plant's functions at many times, for all trials.

A map is the step, `observe`, `output` or the residual function of a task. Shapes: K
times, N trials, x (K, nx, N), u (K, nu, N), target (K, nt, N), parameters p (N, np).
"""

from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.kernels.blocks import call_residual
from hfcontrol.kernels.integrators import (
    map_block,
    observe_block,
    step_block,
    step_work,
)
from hfcontrol.kernels.jit import helper, kernel
from hfcontrol.kernels.matrices import take_block
from hfcontrol.kernels.plant_types import PlantFunctions
from hfcontrol.kernels.structure import Colouring

# Maps, by number; a name that is not one of MAPS is that of a residual function.
STEP, OBSERVE, OUTPUT, RESIDUAL = range(4)
MAPS = {"step": STEP, "observe": OBSERVE, "output": OUTPUT}

# Trials in a block: enough work to be worth handing to another core.
MAP_WIDTH = 32


class Points(NamedTuple):
    """The arguments of a map at K times: x, u and target, and p, of all trials."""

    x: Array
    u: Array
    target: Array
    p: Array


@helper
def evaluate(
    which: int,
    plant: PlantFunctions,
    x: Array,
    u: Array,
    target: Array,
    p: Array,
    out: Array,
    work: Array,
) -> None:
    """Fill out (nr, w) with the values of a map at x (nx, w), u and target."""
    if which == STEP:
        step_block(plant, x, u, p, out, work)
    elif which == OBSERVE:
        observe_block(plant, x, p, out, work)
    elif which == OUTPUT:
        map_block(plant.output, x, p, out)
    else:
        call_residual(plant.residual, x, u, target, p, out)


@helper
def map_work(which: int, plant: PlantFunctions, n_controls: int, width: int) -> Array:
    """Return the scratch array of `evaluate`."""
    if which == OBSERVE:
        return np.empty((plant.n_observable, width))
    return step_work(plant, n_controls, width)


@kernel
def map_values(
    first: int,
    end: int,
    which: int,
    plant: PlantFunctions,
    x: Array,
    u: Array,
    target: Array,
    p: Array,
    out: Array,
) -> None:
    """Fill out (K, nr, N) at the times first to end."""
    work = map_work(which, plant, u.shape[1], x.shape[2])
    for k in range(first, end):
        evaluate(which, plant, x[k], u[k], target[k], p, out[k], work)


@kernel
def map_slopes(
    first: int,
    end: int,
    which: int,
    plant: PlantFunctions,
    points: Points,
    steps: Array,
    colouring: Colouring,
    A: Array,
    B: Array,
) -> None:
    """Fill A (K, nr, .., N) and B (K, nr, nu, N), derivatives by state and control.

    They are central differences with the steps (nx + nu,). The columns of a group are
    moved together; entries that are in no column stay as they are. Each of the jobs
    first to end is one time and one block of MAP_WIDTH trials.
    """
    x, u = points.x, points.u
    N = x.shape[2]
    nx, nu, nr = x.shape[1], u.shape[1], A.shape[1]
    blocks = -(-N // MAP_WIDTH)
    starts, columns = colouring.starts, colouring.columns
    for job in range(first, end):
        k = job // blocks
        n0 = job % blocks * MAP_WIDTH
        w = min(MAP_WIDTH, N - n0)
        work = map_work(which, plant, nu, w)
        # Copies: the entries of one group at a time are moved.
        xs = np.empty((nx, w))
        us = np.empty((nu, w))
        targets = np.empty((points.target.shape[1], w))
        take_block(xs, x[k], n0)
        take_block(us, u[k], n0)
        take_block(targets, points.target[k], n0)
        params = points.p[n0 : n0 + w]
        # Values above and below a point.
        values = np.empty((2, nr, w))
        per_step = np.empty(w)
        begin = np.uint64(n0)
        width = np.uint64(w)
        for g in range(starts.size - 1):
            for side in range(2):
                for c in range(starts[g], starts[g + 1]):
                    j = columns[c]
                    place = xs[j] if j < nx else us[j - nx]
                    centre = x[k, j] if j < nx else u[k, j - nx]
                    step = steps[j] if side == 0 else -steps[j]
                    for n in range(width):
                        place[n] = centre[begin + n] + step
                evaluate(which, plant, xs, us, targets, params, values[side], work)
            for c in range(starts[g], starts[g + 1]):
                j = columns[c]
                place = xs[j] if j < nx else us[j - nx]
                centre = x[k, j] if j < nx else u[k, j - nx]
                for n in range(width):
                    at = centre[begin + n]
                    place[n] = at
                    above = at + steps[j]
                    below = at - steps[j]
                    # The difference of the rounded points, not 2 h: the exact step.
                    per_step[n] = 1.0 / (above - below)
                for q in range(colouring.row_starts[j], colouring.row_starts[j + 1]):
                    r = colouring.rows[q]
                    slot = colouring.slots[q]
                    slopes = A[k, r, slot] if j < nx else B[k, r, slot]
                    for n in range(width):
                        change = values[0, r, n] - values[1, r, n]
                        slopes[begin + n] = change * per_step[n]
