"""What the threads of a block compute together for a layer of a network.

A block computes `tile` trials. Its threads stand in rows and lanes: a row has R trials,
and its lanes share the units of a layer, U of them a thread at a time. The activations
of two steps are in shared memory, [unit, trial of the block], in turns: `places` says
where this step and the step before begin.

`packed` holds each matrix column by column, so that neighbouring threads read
neighbouring weights; each of these serves R trials and each activation U units.

Activations over time are in one flat array, in sections: that of the input, then those
of the layers, each (T+1, N, size).
"""

from hfcontrol.arrays.types import Array
from hfcontrol.kernels.cuda.arguments import (
    Block,
    NetworkTables,
    StepPlaces,
    ThreadArrays,
)
from hfcontrol.kernels.cuda.device import device_function


@device_function
def locate_block(
    index: int,
    thread: tuple[int, int],
    threads: tuple[int, int],
    trials: int,
    together: int,
) -> Block:
    """Return the place of a thread.

    index: the block's index; thread: the thread's indices (x, y) in the block;
    threads: their numbers (x, y); trials: number of all trials; together: trials of a
    thread.
    """
    lane, row = thread
    lanes, rows = threads
    tile = rows * together
    place = row * lanes + lane
    count = lanes * rows
    first = index * tile
    first_row = row * together
    return Block(first, trials, tile, place, count, lane, lanes, first_row)


@device_function
def own_trial(block: Block) -> int:
    """Return the trial whose plant the thread computes, or -1 if it has none."""
    n = block.first + block.thread
    return n if block.thread < block.tile and n < block.trials else -1


@device_function
def locate_step(t: int, turn: int, units: int, block: Block) -> StepPlaces:
    """Return where step t is, as the `turn`-th step that a kernel computes."""
    # The first time of a section is the start.
    column = (t + 1) * block.trials + block.first
    # The halves of the shared memory take turns.
    before = turn % 2 * units
    return StepPlaces(t, before, units - before, column)


@device_function
def set_to_zero(sums: Array) -> None:
    """Set all sums (U, R) to 0."""
    for q in range(sums.shape[0]):
        for r in range(sums.shape[1]):
            sums[q, r] = 0.0


@device_function
def add_weighted(
    packed: Array,
    tables: NetworkTables,
    layer: int,
    arrays: ThreadArrays,
    places: StepPlaces,
    block: Block,
    first: int,
) -> int:
    """Add W x to the sums, for the thread's units from `first` on.

    Returns the index of the bias of the layer's first unit in `packed`.
    """
    shared = arrays.shared
    sums = arrays.sums
    read = arrays.read
    size = tables.size[layer]
    place = tables.weights[layer]
    for s in range(tables.first_source[layer], tables.first_source[layer + 1]):
        step = places.before if tables.source_lag[s] else places.now
        at = (step + tables.source_unit[s]) * block.tile + block.row
        for _ in range(tables.source_size[s]):
            # Registers: each activation is read once for all units of the thread.
            for r in range(sums.shape[1]):
                read[r] = shared[at + r]
            for q in range(sums.shape[0]):
                # The last unit stands in for units that do not exist.
                unit = min(first + q * block.lanes, size - 1)
                w = packed[place + unit]
                for r in range(sums.shape[1]):
                    sums[q, r] += w * read[r]
            place += size
            at += block.tile
    return place


@device_function
def add_weighted_back(
    weights: Array,
    tables: NetworkTables,
    layer: int,
    columns: tuple[int, int, int],
    arrays: ThreadArrays,
    places: StepPlaces,
    block: Block,
    first: int,
) -> None:
    """Add W' d to the sums, for the thread's units of one source from `first` on.

    d is the cotangent of the layer. `columns` are the source's first column of the
    matrix, the number of its columns, and the number of all columns.
    """
    shared = arrays.shared
    sums = arrays.sums
    read = arrays.read
    column, width, all_columns = columns
    place = tables.weights[layer] + column
    first_row = places.now + tables.first_unit[layer]
    at = first_row * block.tile + block.row
    for _ in range(tables.size[layer]):
        for r in range(sums.shape[1]):
            read[r] = shared[at + r]
        for q in range(sums.shape[0]):
            unit = min(first + q * block.lanes, width - 1)
            w = weights[place + unit]
            for r in range(sums.shape[1]):
                sums[q, r] += w * read[r]
        place += all_columns
        at += block.tile


@device_function
def count_columns(tables: NetworkTables, layer: int) -> int:
    """Return the columns of a layer's matrix: its source units, and the bias."""
    # The bias.
    columns = 1
    for s in range(tables.first_source[layer], tables.first_source[layer + 1]):
        columns += tables.source_size[s]
    return columns


@device_function
def fill_start(start: Array, shared: Array, block: Block) -> None:
    """Fill the step before with `start` (unit,) for every trial, this one with 0."""
    # Neighbouring threads write to neighbouring places.
    for place in range(block.thread, start.size * block.tile, block.threads):
        shared[place] = start[place // block.tile]
        shared[start.size * block.tile + place] = 0.0
