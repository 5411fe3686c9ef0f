"""The rollout kernel: plant and network in one loop over time.

The first `tile` threads of a block compute one trial of the plant each (see
scalar_steps.py); all of them compute the network. The plain pass in
closed_loop/passes/plain.py is the definition.
"""

import math
from functools import cache
from typing import Any

import numpy as np
from numba import cuda, float64

from hfcontrol.arrays.types import Array
from hfcontrol.kernels.cuda.arguments import (
    Block,
    LoopArrays,
    NetworkTables,
    PlantSizes,
    RolloutArrays,
    StepPlaces,
    ThreadArrays,
    ThreadTile,
    TrialScratch,
)
from hfcontrol.kernels.cuda.device import device_function, kernel, real_type
from hfcontrol.kernels.cuda.layers import (
    add_weighted,
    fill_start,
    locate_block,
    locate_step,
    own_trial,
    set_to_zero,
)
from hfcontrol.kernels.cuda.plant import scalar_functions


@cache
def make_rollout(step: Any, observe: Any, sizes: PlantSizes, thread: ThreadTile) -> Any:
    """Return the rollout kernel of a plant with these device functions.

        rollout(packed, tables, start, loop, model, exploration, out)

    `packed` (P,) are the weights by columns, `start` (unit,) are activations at the
    start, `loop` is a `LoopArrays`, `model` a `LinearModel`, whose
    arrays are empty if nothing is fixed. `exploration` (T, nu, N), or (0, nu, N) for
    none, is added to the commands. The kernel fills the `RolloutArrays` from x[0]; of
    the activations, it fills those after the start.
    """
    real = real_type(thread.dtype)
    together = thread.trials
    sums_shape = (thread.units, thread.trials)
    # The literal 1.0 would make a float32 expression float64.
    one = np.dtype(thread.dtype).type(1)
    nx = sizes.nx
    nu = sizes.nu
    ny = sizes.ny
    work_shape = (4, sizes.work)
    # Names of the kernel's own, because it cannot look into a dictionary.
    functions = scalar_functions()
    see = functions["see"]
    control = functions["control"]
    move = functions["move"]

    @kernel
    def rollout(
        packed: Array,
        tables: NetworkTables,
        start: Array,
        loop: LoopArrays,
        model: Any,
        exploration: Array,
        out: RolloutArrays,
    ) -> None:
        # Local arrays come first: their sizes are known when the kernel is compiled.
        shared = cuda.shared.array(0, real)
        sums = cuda.local.array(sums_shape, real)
        read = cuda.local.array(together, real)
        arrays = ThreadArrays(shared, sums, read, one)
        # Of the trial of the plant; threads without one leave them unused.
        xs = cuda.local.array(nx, float64)
        x_next = cuda.local.array(nx, float64)
        us = cuda.local.array(nu, float64)
        ys = cuda.local.array(ny, float64)
        work = cuda.local.array(work_shape, float64)
        scratch = TrialScratch(xs, x_next, us, ys, work)

        block = locate_block(
            cuda.blockIdx.x,
            (cuda.threadIdx.x, cuda.threadIdx.y),
            (cuda.blockDim.x, cuda.blockDim.y),
            out.x.shape[2],
            together,
        )
        n = own_trial(block)
        n_layers = tables.size.shape[0]
        outputs = tables.first_unit[n_layers - 1]

        fill_start(start, shared, block)
        cuda.syncthreads()
        T = out.u.shape[0]
        for t in range(T):
            places = locate_step(t, t, start.size, block)
            if n >= 0:
                see(observe, t, n, loop, model, out.x, scratch)
                read_inputs(n, tables, loop, scratch.y, shared, places, block, out)
            # Wait for the inputs, and after each layer for its activations.
            cuda.syncthreads()
            for layer in range(n_layers):
                activate(packed, tables, layer, arrays, places, block, out.activations)
                cuda.syncthreads()
            if n >= 0:
                at = (places.now + outputs) * block.tile + block.thread
                for k in range(out.u.shape[1]):
                    out.command[t, k, n] = shared[at + k * block.tile]
                    # A check for each command costs less than adding zeros.
                    if exploration.shape[0]:
                        out.command[t, k, n] += exploration[t, k, n]
                control(t, n, loop, out.command, out.u)
                move(step, t, n, loop, model, out.x, out.u, scratch)

    return rollout


@device_function
def read_inputs(
    n: int,
    tables: NetworkTables,
    loop: LoopArrays,
    ys: Array,
    shared: Array,
    places: StepPlaces,
    block: Block,
    out: RolloutArrays,
) -> None:
    """Store target and observation ys (ny,) of trial n as the network's input."""
    t = places.t
    n_target = loop.target.shape[1]
    ny = out.y.shape[1]
    # Twice: for the layers in shared memory, and for the derivatives in the section.
    at = places.now * block.tile + block.thread
    column = places.column + block.thread
    kept = tables.sections[0] + column * (n_target + ny)
    for k in range(n_target):
        value = loop.target[t, k, n]
        shared[at + k * block.tile] = value
        out.activations[kept + k] = value
    at += n_target * block.tile
    kept += n_target
    for k in range(ny):
        out.y[t, k, n] = ys[k]
        shared[at + k * block.tile] = ys[k]
        out.activations[kept + k] = ys[k]


@device_function
def activate(
    packed: Array,
    tables: NetworkTables,
    layer: int,
    arrays: ThreadArrays,
    places: StepPlaces,
    block: Block,
    activations: Array,
) -> None:
    """Compute the activations of a layer, in shared memory and in their section."""
    shared, sums = arrays.shared, arrays.sums
    size = tables.size[layer]
    section = tables.sections[layer + 1] + places.column * size
    first_row = places.now + tables.first_unit[layer]
    for first in range(block.lane, size, block.lanes * sums.shape[0]):
        set_to_zero(sums)
        bias = add_weighted(packed, tables, layer, arrays, places, block, first)
        for q in range(sums.shape[0]):
            i = first + q * block.lanes
            # The last units of the last threads do not exist, nor do the last trials.
            if i >= size:
                continue
            for r in range(sums.shape[1]):
                value = sums[q, r] + packed[bias + i]
                if tables.is_tanh[layer]:
                    value = math.tanh(value)
                trial = block.row + r
                shared[(first_row + i) * block.tile + trial] = value
                if block.first + trial < block.trials:
                    activations[section + trial * size + i] = value
