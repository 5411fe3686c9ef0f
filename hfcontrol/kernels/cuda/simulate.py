"""The plant alone over a whole trajectory, with a thread for each trial."""

from functools import cache
from typing import Any, NamedTuple

from numba import cuda, float64

from hfcontrol.arrays.types import Array
from hfcontrol.kernels.cuda.arguments import PlantSizes
from hfcontrol.kernels.cuda.device import device_function, kernel
from hfcontrol.kernels.cuda.plant import scalar_functions

# Names of this module, because a kernel cannot look into a dictionary.
SCALAR = scalar_functions()
gather = SCALAR["gather"]
taper_value = SCALAR["taper_value"]


class SimulationKernels(NamedTuple):
    """Kernels of trajectories: of given controls, and under a linear law."""

    simulate: Any
    regulate: Any


class Law(NamedTuple):
    """The fields of `LinearLaw` besides v: gains (T, N, nu, nx), reference, bounds."""

    gains: Array
    reference: Array
    bounds: Array


class Noise(NamedTuple):
    """The fields of `Perturbations`, in [time, entry, trial]."""

    gain: Array
    noise: Array
    disturbance: Array


@cache
def make_simulation(step: Any, sizes: PlantSizes) -> SimulationKernels:
    """Return the kernels of trajectories.

        simulate(u, p, disturbance, taper, x)
        regulate(law, p, noise, taper, v, x, u)

    They fill x (T+1, nx, N) from x[0], and `regulate` also v and u (T, nu, N), see
    `Kernels.regulate`. p is (N, np).
    """
    nx = sizes.nx
    nu = sizes.nu
    # Kernels read no attribute of `sizes`: local arrays need constants.
    work_shape = (4, sizes.work)

    @kernel
    def simulate(
        u: Array, p: Array, disturbance: Array, taper: Array, x: Array
    ) -> None:
        now = cuda.local.array(nx, float64)
        after = cuda.local.array(nx, float64)
        us = cuda.local.array(nu, float64)
        work = cuda.local.array(work_shape, float64)
        n = cuda.grid(1)
        if n < x.shape[2]:
            # The state stays in registers; x is written, but not read again.
            gather(x, 0, n, now)
            for t in range(u.shape[0]):
                gather(u, t, n, us)
                step(now, us, p[n], work, after)
                put_state(t, n, after, disturbance, taper, now, x)

    @kernel
    def regulate(
        law: Law,
        p: Array,
        noise: Noise,
        taper: Array,
        v: Array,
        x: Array,
        u: Array,
    ) -> None:
        now = cuda.local.array(nx, float64)
        after = cuda.local.array(nx, float64)
        us = cuda.local.array(nu, float64)
        work = cuda.local.array(work_shape, float64)
        n = cuda.grid(1)
        if n < x.shape[2]:
            gather(x, 0, n, now)
            for t in range(u.shape[0]):
                apply_law(t, n, law, noise, now, v, u)
                gather(u, t, n, us)
                step(now, us, p[n], work, after)
                put_state(t, n, after, noise.disturbance, taper, now, x)

    return SimulationKernels(simulate, regulate)


@device_function
def apply_law(
    t: int, n: int, law: Law, noise: Noise, now: Array, v: Array, u: Array
) -> None:
    """Fill v and u of trial n at step t, for the state now (nx,)."""
    for i in range(v.shape[1]):
        command = v[t, i, n]
        for j in range(now.shape[0]):
            difference = now[j] - law.reference[t, j, n]
            command += law.gains[t, n, i, j] * difference
        command = min(max(command, law.bounds[0, i]), law.bounds[1, i])
        v[t, i, n] = command
        factor = 1.0 + noise.gain[t, i, n]
        u[t, i, n] = command * factor + noise.noise[t, i, n]


@device_function
def put_state(
    t: int,
    n: int,
    after: Array,
    disturbance: Array,
    taper: Array,
    now: Array,
    x: Array,
) -> None:
    """Store the state after step t of trial n, disturbed and tapered."""
    for i in range(x.shape[1]):
        disturbed = after[i] + disturbance[t, i, n]
        now[i] = taper_value(disturbed, taper[i])
        x[t + 1, i, n] = now[i]
