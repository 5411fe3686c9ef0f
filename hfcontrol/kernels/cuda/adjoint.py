"""The adjoint kernel: cotangents of the layers' sums from those of the trajectories.

Several cotangents of one rollout are computed at once. Those of the weights are large
products of what this kernel leaves and of what the layers read, made afterwards. The
plain pass in closed_loop/passes/plain.py is the definition.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from hfcontrol.arrays.types import Array
from hfcontrol.kernels.cuda.arguments import (
    Block,
    Cotangents,
    LoopJacobians,
    NetworkTables,
    StepPlaces,
    ThreadArrays,
    ThreadTile,
)
from hfcontrol.kernels.cuda.device import device_function, kernel, real_type
from hfcontrol.kernels.cuda.layers import (
    add_weighted_back,
    count_columns,
    locate_block,
    locate_step,
    own_trial,
    set_to_zero,
)


class AdjointSections(NamedTuple):
    """Activations, their cotangents, which may be empty, and those of their sums."""

    activations: Array
    activations_bar: Array
    deltas: Array


@cache
def make_adjoint(thread: ThreadTile) -> Any:
    """Return the adjoint kernel, the same for every plant.

        adjoint(weights, tables, jacobians, activations, bars, deltas, start_bar)

    It fills deltas (K, ...), in sections for each of the K cotangents of the
    trajectories, and start_bar (K, unit, trial), the cotangent of the activations at
    the start. `bars` are the `Cotangents`, of which it uses up the states' ones.
    """
    real = real_type(thread.dtype)
    together = thread.trials
    sums_shape = (thread.units, thread.trials)
    # The literal 1.0 would make a float32 expression float64.
    one = np.dtype(thread.dtype).type(1)

    @kernel
    def adjoint(
        weights: Array,
        tables: NetworkTables,
        jacobians: LoopJacobians,
        activations: Array,
        bars: Cotangents,
        deltas: Array,
        start_bar: Array,
    ) -> None:
        shared = cuda.shared.array(0, real)
        sums = cuda.local.array(sums_shape, real)
        read = cuda.local.array(together, real)
        arrays = ThreadArrays(shared, sums, read, one)
        block = locate_block(
            cuda.blockIdx.x,
            (cuda.threadIdx.x, cuda.threadIdx.y),
            (cuda.blockDim.x, cuda.blockDim.y),
            start_bar.shape[2],
            together,
        )
        n = own_trial(block)
        c = cuda.blockIdx.y
        # Blocks with another second index have another cotangent.
        bar = Cotangents(bars.x[c], bars.u[c], bars.command[c], bars.activations)
        sections = AdjointSections(activations, bars.activations, deltas[c])
        units = start_bar.shape[1]
        n_layers = tables.size.shape[0]
        n_outputs = bar.u.shape[1]
        first_output = tables.first_unit[n_layers - 1]

        for place in range(block.thread, 2 * units * block.tile, block.threads):
            shared[place] = 0.0
        T = bar.u.shape[0]
        for t in range(T - 1, -1, -1):
            # Backwards, "before" is what the step after will fill.
            places = locate_step(t, T - t, units, block)
            cuda.syncthreads()
            # Cotangents of the step before are sums, which begin with 0.
            for place in range(block.thread, units * block.tile, block.threads):
                shared[places.before * block.tile + place] = 0.0
            if n >= 0:
                control_cotangent(t, n, jacobians, bar)
                at = (places.now + first_output) * block.tile + block.thread
                for k in range(n_outputs):
                    shared[at + k * block.tile] += bar.command[t, k, n]
            for layer in range(n_layers - 1, -1, -1):
                cuda.syncthreads()
                add_slopes(tables, layer, arrays, places, block, sections)
                cuda.syncthreads()
                spread(weights, tables, layer, arrays, places, block)
            cuda.syncthreads()
            if n >= 0:
                state_cotangent(n, jacobians, tables, shared, places, block, bar.x)
        cuda.syncthreads()
        if n >= 0:
            # The step before the first one.
            last = T % 2 * units
            for unit in range(units):
                at = (last + unit) * block.tile + block.thread
                start_bar[c, unit, n] = shared[at]

    return adjoint


@device_function
def control_cotangent(
    t: int, n: int, jacobians: LoopJacobians, bar: Cotangents
) -> None:
    """Fill the cotangent of the command that arrives at step t.

    The cotangent of the control is u_bar + B' x_bar. No command arrives from the last
    `command_delay` steps.
    """
    B = jacobians.B
    slope = jacobians.slope
    delay = jacobians.command_delay
    T = bar.u.shape[0]
    nu = bar.u.shape[1]
    # Those entries are never filled otherwise.
    if t >= T - delay:
        for k in range(nu):
            bar.command[t, k, n] = 0.0
    if t >= delay:
        for k in range(nu):
            total = bar.u[t, k, n]
            for i in range(B.shape[1]):
                total += B[t, i, k, n] * bar.x[t + 1, i, n]
            bar.command[t - delay, k, n] = slope[t, k, n] * total


@device_function
def state_cotangent(
    n: int,
    jacobians: LoopJacobians,
    tables: NetworkTables,
    shared: Array,
    places: StepPlaces,
    block: Block,
    x_bar: Array,
) -> None:
    """Add to the cotangents of the states: by what was observed, and by the step."""
    A, C = jacobians.A, jacobians.C
    t = places.t
    s = t - jacobians.feedback_delay
    # The observation of the start does not depend on the weights.
    if s > 0 and not jacobians.replays_inputs:
        n_target = tables.first_unit[0] - C.shape[1]
        at = (places.now + n_target) * block.tile + block.thread
        for j in range(C.shape[2]):
            for k in range(C.shape[1]):
                x_bar[s, j, n] += C[s, k, j, n] * shared[at + k * block.tile]
    # No other thread reads or writes this trial.
    for j in range(A.shape[2]):
        for i in range(A.shape[1]):
            x_bar[t, j, n] += A[t, i, j, n] * x_bar[t + 1, i, n]


@device_function
def add_slopes(
    tables: NetworkTables,
    layer: int,
    arrays: ThreadArrays,
    places: StepPlaces,
    block: Block,
    sections: AdjointSections,
) -> None:
    """Replace the cotangents of a layer's activations by those of its sums."""
    shared = arrays.shared
    size = tables.size[layer]
    section = tables.sections[layer + 1] + places.column * size
    first_row = places.now + tables.first_unit[layer]
    for i in range(block.lane, size, block.lanes):
        row = (first_row + i) * block.tile + block.row
        for r in range(arrays.sums.shape[1]):
            trial = block.row + r
            if block.first + trial >= block.trials:
                continue
            at = section + trial * size + i
            value = shared[row + r]
            if sections.activations_bar.size:
                value += sections.activations_bar[at]
            if tables.is_tanh[layer]:
                activation = sections.activations[at]
                value *= arrays.one - activation * activation
            shared[row + r] = value
            sections.deltas[at] = value


@device_function
def spread(
    weights: Array,
    tables: NetworkTables,
    layer: int,
    arrays: ThreadArrays,
    places: StepPlaces,
    block: Block,
) -> None:
    """Add the cotangent of what a layer reads to its sources."""
    shared, sums = arrays.shared, arrays.sums
    column, all_columns = 0, count_columns(tables, layer)
    for s in range(tables.first_source[layer], tables.first_source[layer + 1]):
        width = tables.source_size[s]
        step = places.before if tables.source_lag[s] else places.now
        row = step + tables.source_unit[s]
        columns = (column, width, all_columns)
        # Threads write to different units, so that sums need no atomic operations.
        for first in range(block.lane, width, block.lanes * sums.shape[0]):
            set_to_zero(sums)
            add_weighted_back(
                weights, tables, layer, columns, arrays, places, block, first
            )
            for q in range(sums.shape[0]):
                j = first + q * block.lanes
                if j >= width:
                    continue
                at = (row + j) * block.tile + block.row
                for r in range(sums.shape[1]):
                    shared[at + r] += sums[q, r]
        column += width
