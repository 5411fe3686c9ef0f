"""Source piece for CUDA: the fused adjoint pass about a rollout in one kernel, for several cotangents of the trajectory at once.

`lines` are those of cuda_tangent_piece.py. The cotangents of the layers' sums are left in `deltas`, in the sections of `rows` for
each cotangent of the trajectory; those of the weights are large matrix products of these and of what the layers read, made
afterwards. The plain pass in plain.py is the definition.
"""
# ruff: noqa: F821


@cuda.jit(cache=True)
def adjoint(theta, layers, sources, places, n_rows, lines, rows, x_bar, u_bar, c_bar, rows_bar, deltas, start_bar):
    """Fills deltas (K, ...) and start_bar (K, row, trial), the cotangent of the first rows, from x_bar (K, T + 1, nx, trial), which is
    used up, u_bar (K, T, nu, trial), room for c_bar of the same shape, and rows_bar, which has the sections of rows or is empty."""
    A, B, C, slope, delay, command_delay, replay = lines
    shared = cuda.shared.array(0, REAL)
    c, N, tile = cuda.blockIdx.y, x_bar.shape[3] // theta.shape[0], cuda.blockDim.y * R
    thread, threads = cuda.threadIdx.y * cuda.blockDim.x + cuda.threadIdx.x, cuda.blockDim.x * cuda.blockDim.y
    g, first = own_network(theta.shape[0], tile)
    b0, steps = cuda.threadIdx.y * R, u_bar.shape[1]
    n, inputs, outputs = g * N + first + thread, layers[0, 0], layers[layers.shape[0] - 1, 0]
    n_target = inputs - C.shape[1]
    acc = np.empty((U, R), dtype=REAL)
    mine = thread < tile and first + thread < N
    for place in range(thread, 2 * n_rows * tile, threads):
        shared[place] = ZERO
    for t in range(steps - 1, -1, -1):
        now, before = (steps - 1 - t) % 2 * n_rows, (steps - t) % 2 * n_rows
        cuda.syncthreads()
        for place in range(thread, n_rows * tile, threads):
            shared[before * tile + place] = ZERO
        if mine:
            control_cotangent(t, n, B, slope, command_delay, x_bar[c], u_bar[c], c_bar[c])
            for k in range(u_bar.shape[2]):
                shared[(now + outputs + k) * tile + thread] += c_bar[c, t, k, n]
        for number in range(layers.shape[0] - 1, -1, -1):
            cuda.syncthreads()
            place = places[number + 1] + ((g * (steps + 1) + t + 1) * N + first) * (layers[number, 1] - layers[number, 0])
            weigh_delta(layers[number], shared, now, tile, b0, rows, rows_bar, deltas[c], place, N - first)
            cuda.syncthreads()
            spread(theta[g], layers[number], sources, shared, before, now, tile, b0, acc)
        cuda.syncthreads()
        if mine:
            s = 0 if replay else t - delay  # the start's observation depends on no weight
            state_cotangent(t, s, n, A, C, x_bar[c], shared, (now + n_target) * tile + thread, tile)
    cuda.syncthreads()
    if mine:
        last = steps % 2 * n_rows
        for row in range(n_rows):
            start_bar[c, row, n] = shared[(last + row) * tile + thread]


@cuda.jit(device=True)
def control_cotangent(t, n, B, slope, command_delay, x_bar, u_bar, c_bar):
    """The cotangent of the command that arrives at step t, that of the control being u_bar + B' x_bar; no command arrives from the
    last `command_delay` steps."""
    if t >= u_bar.shape[0] - command_delay:
        for k in range(u_bar.shape[1]):
            c_bar[t, k, n] = 0.0
    if t >= command_delay:
        for k in range(u_bar.shape[1]):
            total = u_bar[t, k, n]
            for i in range(B.shape[1]):
                total += B[t, i, k, n] * x_bar[t + 1, i, n]
            c_bar[t - command_delay, k, n] = slope[t, k, n] * total


@cuda.jit(device=True)
def state_cotangent(t, s, n, A, C, x_bar, shared, place, tile):
    """Adds to the cotangents of the states at step s, by what was observed of it, and t, by the step from it; those of the
    observations stand in the shared memory, `tile` apart from `place` on."""
    if s > 0:
        for j in range(C.shape[2]):
            for k in range(C.shape[1]):
                x_bar[s, j, n] += C[s, k, j, n] * shared[place + k * tile]
    for j in range(A.shape[2]):
        for i in range(A.shape[1]):
            x_bar[t, j, n] += A[t, i, j, n] * x_bar[t + 1, i, n]


@cuda.jit(device=True)
def weigh_delta(layer, shared, now, tile, b0, rows, rows_bar, deltas, place, trials):
    """The cotangent of a layer's sums from that of its activity, in the shared memory and in deltas from `place` on."""
    lanes, size, tanh = cuda.blockDim.x, layer[1] - layer[0], layer[2] == 1
    for i in range(cuda.threadIdx.x, size, lanes):
        for r in range(R):
            at, row = place + (b0 + r) * size + i, (now + layer[0] + i) * tile + b0 + r
            if b0 + r < trials:
                value = shared[row]
                if rows_bar.size:
                    value += rows_bar[at]
                if tanh:
                    value *= ONE - rows[at] * rows[at]
                shared[row] = value
                deltas[at] = value


@cuda.jit(device=True)
def spread(theta, layer, sources, shared, before, now, tile, b0, acc):
    """Adds the cotangent of what a layer reads to its sources, of this step or the one before."""
    lanes, column, m = cuda.blockDim.x, 0, columns_of(sources, layer)
    for s in range(layer[4], layer[5]):
        row, width = sources[s, 0], sources[s, 1] - sources[s, 0]
        half = before if sources[s, 2] else now
        for j0 in range(cuda.threadIdx.x, width, lanes * U):
            zero(acc)
            add_weighed_back(theta, layer, column, m, shared, now, tile, b0, j0, width, acc)
            for q in range(U):
                j = j0 + q * lanes
                if j < width:
                    for r in range(R):
                        shared[(half + row + j) * tile + b0 + r] += acc[q, r]
        column += width
