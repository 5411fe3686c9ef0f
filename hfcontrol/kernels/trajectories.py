"""Trajectories of the plant alone: with given controls, and under a linear law."""

from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.kernels.integrators import step_block, step_work, taper_block
from hfcontrol.kernels.jit import helper, kernel
from hfcontrol.kernels.matrices import add_block, put_block, take_block
from hfcontrol.kernels.plant_types import PlantFunctions

# Trials in a block: they and their scratch arrays stay in the cache.
WIDTH = 64


class Law(NamedTuple):
    """A linear law about a reference, and noise, see `Kernels.regulate`.

    Shapes: gains (T, N, nu, nx), reference (T + 1, nx, N), bounds (2, nu), motor gain
    and noise (T, nu, N). Without a law T is 0 in all of them.
    """

    gains: Array
    reference: Array
    bounds: Array
    motor_gain: Array
    noise: Array


# Controls as they are given.
NO_LAW = Law(
    np.zeros((0, 0, 0, 0)),
    np.zeros((0, 0, 0)),
    np.zeros((2, 0)),
    np.zeros((0, 0, 0)),
    np.zeros((0, 0, 0)),
)


@kernel
def simulate(
    first: int,
    end: int,
    plant: PlantFunctions,
    p: Array,
    law: Law,
    v: Array,
    disturbance: Array,
    taper: Array,
    u: Array,
    x: Array,
) -> None:
    """Fill the trials first to end of x (T + 1, nx, N), from x[0].

        x[t + 1] = taper(step(x[t], u[t]) + disturbance[t])

    p is (N, np). With a law v and u (T, nu, N) are filled too: its clipped controls,
    and these with noise.
    """
    steps = u.shape[0]
    nx = x.shape[1]
    nu = u.shape[1]
    for n0 in range(first, end, WIDTH):
        w = min(WIDTH, end - n0)
        params = p[n0 : n0 + w]
        work = step_work(plant, nu, w)
        now = np.empty((nx, w))
        after = np.empty((nx, w))
        us = np.empty((nu, w))
        take_block(now, x[0], n0)
        for t in range(steps):
            if law.gains.shape[0]:
                _follow_law(t, n0, law, now, v, u)
            # Block functions take arrays without gaps: copies of the block's trials.
            take_block(us, u[t], n0)
            step_block(plant, now, us, params, after, work)
            now, after = after, now
            add_block(now, 1.0, disturbance[t], n0)
            taper_block(now, taper)
            put_block(x[t + 1], now, n0)


@helper
def _follow_law(t: int, n0: int, law: Law, now: Array, v: Array, u: Array) -> None:
    """Fill v[t] and u[t] of the trials from n0, whose states are now (nx, w)."""
    for i in range(v.shape[1]):
        for n in range(now.shape[1]):
            trial = n0 + n
            command = v[t, i, trial]
            for j in range(now.shape[0]):
                behind = now[j, n] - law.reference[t, j, trial]
                command += law.gains[t, trial, i, j] * behind
            command = min(max(command, law.bounds[0, i]), law.bounds[1, i])
            v[t, i, trial] = command
            factor = 1.0 + law.motor_gain[t, i, trial]
            u[t, i, trial] = command * factor + law.noise[t, i, trial]
