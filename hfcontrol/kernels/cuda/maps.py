"""A map of a plant and its derivatives, with a thread for each of their parts.

A map is the step, `observe`, `output` or a residual function.
"""

from functools import cache
from typing import Any, NamedTuple

from numba import cuda, float64

from hfcontrol.arrays.types import Array
from hfcontrol.kernels.cuda.arguments import PlantSizes
from hfcontrol.kernels.cuda.device import device_function, kernel
from hfcontrol.kernels.cuda.plant import DevicePlant, scalar_functions


class MapSizes(NamedTuple):
    """Sizes of local arrays: those of the plant, entries of the target and the map."""

    plant: PlantSizes
    target: int
    values: int


class MapKernels(NamedTuple):
    """Kernels of a map: its values and its slopes."""

    values: Any
    slopes: Any


class MapScratch(NamedTuple):
    """Local arrays of a thread."""

    x: Array
    u: Array
    target: Array
    plus: Array
    minus: Array
    work: Array


def make_map(plant: DevicePlant, name: str) -> Any:
    """Return a map as a device function (x, u, target, p, work, r)."""
    step = plant.step
    observe = plant.observe
    output = plant.output
    if name == "step":

        @device_function
        def step_map(x, u, target, p, work, r):  # type: ignore[no-untyped-def]
            step(x, u, p, work, r)

        return step_map

    # Without control and target.
    if name in ("observe", "output"):
        function = observe if name == "observe" else output

        @device_function
        def state_map(x, u, target, p, work, r):  # type: ignore[no-untyped-def]
            function(x, p, work, r)

        return state_map

    residual = plant.functions[name]

    @device_function
    def residual_map(x, u, target, p, work, r):  # type: ignore[no-untyped-def]
        residual(x, u, target, p, r)

    return residual_map


@cache
def make_maps(plant_map: Any, sizes: MapSizes) -> MapKernels:
    """Return the kernels of a map.

        values(x, u, target, p, out)
        slopes(x, u, target, p, hx, hu, A, B)

    Shapes: x (K, nx, N), u (K, nu, N), target (K, nt, N), p (N, np), out (K, nr, N),
    A (K, nr, nx, N), B (K, nr, nu, N). hx (nx,) and hu (nu,) are steps of central
    differences. A thread computes one time and trial, of slopes one perturbed variable.
    """
    nx = sizes.plant.nx
    nu = sizes.plant.nu
    work_shape = (4, sizes.plant.work)
    # CUDA has no empty local arrays.
    nt = max(sizes.target, 1)
    nr = sizes.values
    load = scalar_functions()["gather"]

    @kernel
    def map_values(x: Array, u: Array, target: Array, p: Array, out: Array) -> None:
        xs = cuda.local.array(nx, float64)
        us = cuda.local.array(nu, float64)
        ts = cuda.local.array(nt, float64)
        rs = cuda.local.array(nr, float64)
        work = cuda.local.array(work_shape, float64)
        trials = out.shape[2]
        thread = cuda.grid(1)
        # Neighbouring threads have neighbouring trials, whose numbers are adjacent. The
        # last block has threads without work.
        if thread < out.shape[0] * trials:
            k = thread // trials
            n = thread % trials
            load(x, k, n, xs)
            load(u, k, n, us)
            load(target, k, n, ts)
            plant_map(xs, us, ts, p[n], work, rs)
            for i in range(out.shape[1]):
                out[k, i, n] = rs[i]

    @kernel
    def map_slopes(
        x: Array,
        u: Array,
        target: Array,
        p: Array,
        hx: Array,
        hu: Array,
        A: Array,
        B: Array,
    ) -> None:
        xs = cuda.local.array(nx, float64)
        us = cuda.local.array(nu, float64)
        ts = cuda.local.array(nt, float64)
        plus = cuda.local.array(nr, float64)
        minus = cuda.local.array(nr, float64)
        work = cuda.local.array(work_shape, float64)
        scratch = MapScratch(xs, us, ts, plus, minus, work)
        n_x = x.shape[1]
        trials = x.shape[2]
        variables = n_x + u.shape[1]
        thread = cuda.grid(1)
        if thread < x.shape[0] * variables * trials:
            n = thread % trials
            place = thread // trials
            k = place // variables
            j = place % variables
            load(x, k, n, xs)
            load(u, k, n, us)
            load(target, k, n, ts)
            # A variable of the state, or of the control.
            if j < n_x:
                column = A[k, :, j, n]
                put_difference(plant_map, xs, j, hx[j], p[n], scratch, column)
            else:
                i = j - n_x
                column = B[k, :, i, n]
                put_difference(plant_map, us, i, hu[i], p[n], scratch, column)

    return MapKernels(map_values, map_slopes)


@device_function
def put_difference(
    plant_map: Any,
    values: Array,
    i: int,
    h: float,
    p: Array,
    scratch: MapScratch,
    column: Array,
) -> None:
    """Fill the central difference of a map by an entry of `values`, scratch.x or .u."""
    centre = values[i]
    above = centre + h
    below = centre - h
    plus, minus = scratch.plus, scratch.minus
    values[i] = above
    plant_map(scratch.x, scratch.u, scratch.target, p, scratch.work, plus)
    values[i] = below
    plant_map(scratch.x, scratch.u, scratch.target, p, scratch.work, minus)
    # The step that was really made, after rounding.
    per_step = 1.0 / (above - below)
    for r in range(column.shape[0]):
        column[r] = (plus[r] - minus[r]) * per_step
