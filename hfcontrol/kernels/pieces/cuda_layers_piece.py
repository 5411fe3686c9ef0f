"""Source piece for CUDA: what the threads of a block do together for a layer; the equations are those of network_piece.py.

A block holds `tile` trials, in as many groups of R threads' trials as it has rows of threads; a row of threads shares the units of
a layer, U of them a thread at a time. Activity of a step is in shared memory, [row, trial of the block], that of the step before
in the other half: `before` and `now` are where each begins. `packed` holds each matrix column by column, so that neighbouring
threads read neighbouring weights; each of these is used for R trials and each activity for U units.

There may be several networks, each with N trials of its own, side by side: weights are (network, P), and the trials of network g
are those from g N on. A block belongs to one network, whose weights alone it reads.

All arrays of activity over time stand in one, section by section: that of the input, then those of the layers, each
(network, T + 1, N, size) and beginning at its entry of `places`. REAL is the kind of number of the network, float64 that of the plant.
"""
# ruff: noqa: F821


@cuda.jit(device=True)
def own_network(networks, tile):
    """The network of a block, and the first of its trials that are the block's."""
    blocks = cuda.gridDim.x // networks
    return cuda.blockIdx.x // blocks, cuda.blockIdx.x % blocks * tile


@cuda.jit(device=True)
def add_weighed(packed, layer, sources, shared, before, now, tile, b0, i0, acc):
    """acc (U, R) += W x for U units of a layer from i0 on and R trials from b0 on; returns the place of the bias in `packed`."""
    lanes, size, place = cuda.blockDim.x, layer[1] - layer[0], layer[3]
    x = np.empty(R, dtype=REAL)
    for s in range(layer[4], layer[5]):
        row = sources[s, 0]
        at = ((before if sources[s, 2] else now) + row) * tile + b0
        for j in range(sources[s, 1] - row):
            for r in range(R):
                x[r] = shared[at + r]
            for q in range(U):
                w = packed[place + min(i0 + q * lanes, size - 1)]
                for r in range(R):
                    acc[q, r] += w * x[r]
            place += size
            at += tile
    return place


@cuda.jit(device=True)
def add_weighed_back(theta, layer, column, m, shared, now, tile, b0, j0, width, acc):
    """acc (U, R) += W' d for U columns of a layer's matrix (size, m), from `column` + j0 on, and R trials from b0 on."""
    lanes, size, place = cuda.blockDim.x, layer[1] - layer[0], layer[3] + column
    at = (now + layer[0]) * tile + b0
    d = np.empty(R, dtype=REAL)
    for i in range(size):
        for r in range(R):
            d[r] = shared[at + r]
        for q in range(U):
            w = theta[place + min(j0 + q * lanes, width - 1)]
            for r in range(R):
                acc[q, r] += w * d[r]
        place += m
        at += tile


@cuda.jit(device=True)
def zero(acc):
    """acc (U, R) = 0."""
    for q in range(U):
        for r in range(R):
            acc[q, r] = ZERO


@cuda.jit(device=True)
def columns_of(sources, layer):
    """Columns of a layer's matrix: its source rows, and one for the bias."""
    m = 1
    for s in range(layer[4], layer[5]):
        m += sources[s, 1] - sources[s, 0]
    return m


@cuda.jit(device=True)
def fill_start(start, shared, tile):
    """The first half of the shared memory holds the rows `start` (row,) of every trial."""
    thread, threads = cuda.threadIdx.y * cuda.blockDim.x + cuda.threadIdx.x, cuda.blockDim.x * cuda.blockDim.y
    for place in range(thread, start.size * tile, threads):
        shared[place] = start[place // tile]
        shared[start.size * tile + place] = ZERO
