"""The tangent kernel: the derivative of a rollout in one direction of the weights.

It needs the plant's Jacobians, but no plant. The plain pass in
closed_loop/passes/plain.py is the definition.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from hfcontrol.arrays.types import Array
from hfcontrol.kernels.cuda.arguments import (
    Block,
    LoopJacobians,
    NetworkTables,
    StepPlaces,
    TangentArrays,
    ThreadArrays,
    ThreadTile,
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


class TangentSections(NamedTuple):
    """Activations, the known part of their sums' tangents, and their own tangents."""

    activations: Array
    known: Array
    tangents: Array


@cache
def make_tangent(thread: ThreadTile) -> Any:
    """Return the tangent kernel, the same for every plant.

        tangent(packed, tables, start, jacobians, activations, known, out)

    `start` (unit,) are tangents of the activations at the start, `activations`
    those of the rollout. `known` has the same sections: in those of the layers, what
    the tangents of the weights add to the sums, V [x; 1], which are large products made
    before. The kernel fills the `TangentArrays` from x[0].
    """
    real = real_type(thread.dtype)
    together = thread.trials
    sums_shape = (thread.units, thread.trials)
    # The literal 1.0 would make a float32 expression float64.
    one = np.dtype(thread.dtype).type(1)

    @kernel
    def tangent(
        packed: Array,
        tables: NetworkTables,
        start: Array,
        jacobians: LoopJacobians,
        activations: Array,
        known: Array,
        out: TangentArrays,
    ) -> None:
        shared = cuda.shared.array(0, real)
        sums = cuda.local.array(sums_shape, real)
        read = cuda.local.array(together, real)
        arrays = ThreadArrays(shared, sums, read, one)
        sections = TangentSections(activations, known, out.activations)
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
                see_tangent(n, jacobians, tables, shared, places, block, out.x)
            # Wait for the inputs, and after each layer for its tangents.
            cuda.syncthreads()
            for layer in range(n_layers):
                activate_tangent(packed, tables, layer, arrays, places, block, sections)
                cuda.syncthreads()
            # Commands are stored, because they may arrive steps later.
            if n >= 0:
                at = (places.now + outputs) * block.tile + block.thread
                for k in range(out.u.shape[1]):
                    out.command[t, k, n] = shared[at + k * block.tile]
                move_tangent(t, n, jacobians, out)

    return tangent


@device_function
def see_tangent(
    n: int,
    jacobians: LoopJacobians,
    tables: NetworkTables,
    shared: Array,
    places: StepPlaces,
    block: Block,
    dx: Array,
) -> None:
    """Store the tangent of the observation of trial n in the shared memory."""
    C = jacobians.C
    s = places.t - jacobians.feedback_delay
    # The observation of the start does not depend on the weights: the zeros that
    # `fill_start` wrote stay, in both halves of the shared memory.
    if s <= 0 or jacobians.replays_inputs:
        return
    n_target = tables.first_unit[0] - C.shape[1]
    at = (places.now + n_target) * block.tile + block.thread
    for k in range(C.shape[1]):
        total = 0.0
        for j in range(C.shape[2]):
            total += C[s, k, j, n] * dx[s, j, n]
        shared[at + k * block.tile] = total


@device_function
def activate_tangent(
    packed: Array,
    tables: NetworkTables,
    layer: int,
    arrays: ThreadArrays,
    places: StepPlaces,
    block: Block,
    sections: TangentSections,
) -> None:
    """Compute the tangents of a layer, in shared memory and, if kept, in sections."""
    sums = arrays.sums
    size = tables.size[layer]
    section = tables.sections[layer + 1] + places.column * size
    first_row = places.now + tables.first_unit[layer]
    for first in range(block.lane, size, block.lanes * sums.shape[0]):
        set_to_zero(sums)
        add_weighted(packed, tables, layer, arrays, places, block, first)
        for q in range(sums.shape[0]):
            i = first + q * block.lanes
            if i >= size:
                continue
            for r in range(sums.shape[1]):
                trial = block.row + r
                place = (first_row + i) * block.tile + trial
                # Of trials that do not exist nothing is known.
                if block.first + trial >= block.trials:
                    arrays.shared[place] = 0.0
                    continue
                at = section + trial * size + i
                value = sums[q, r] + sections.known[at]
                if tables.is_tanh[layer]:
                    activation = sections.activations[at]
                    value *= arrays.one - activation * activation
                if sections.tangents.size:
                    sections.tangents[at] = value
                arrays.shared[place] = value


@device_function
def move_tangent(t: int, n: int, jacobians: LoopJacobians, out: TangentArrays) -> None:
    """Fill du[t] and dx[t+1] = A dx[t] + B du[t] of trial n, from the commands."""
    A = jacobians.A
    B = jacobians.B
    slope = jacobians.slope
    delay = jacobians.command_delay
    dx = out.x
    du = out.u
    dc = out.command
    for k in range(du.shape[1]):
        arrived = t >= delay
        du[t, k, n] = slope[t, k, n] * dc[t - delay, k, n] if arrived else 0.0
    for i in range(A.shape[1]):
        total = 0.0
        for k in range(B.shape[2]):
            total += B[t, i, k, n] * du[t, k, n]
        for j in range(A.shape[2]):
            total += A[t, i, j, n] * dx[t, j, n]
        dx[t + 1, i, n] = total
