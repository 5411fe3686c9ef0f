"""Source piece for CUDA: the fused rollout, the whole loop over time in one kernel; the plain pass in plain.py is the definition.

The first `tile` threads of a block run the plant, each that of its own trial (loop_piece.py); all of them run the network.
"""
# ruff: noqa: F821


@cuda.jit(cache=True)
def rollout(packed, layers, sources, places, start, scenario, limit, taper, model, replay, reference, exploration,
            x, u, command, y, rows):
    """Fills x (T + 1, nx, trial) from x[0], u and command (T, nu, trial), y (T, ny, trial) and, from the second step on, rows; `start`
    (network, row) are the networks' at the first."""
    shared = cuda.shared.array(0, REAL)
    n_rows, N, tile = start.shape[1], x.shape[2] // start.shape[0], cuda.blockDim.y * R
    thread, b0 = cuda.threadIdx.y * cuda.blockDim.x + cuda.threadIdx.x, cuda.threadIdx.y * R
    g, first = own_network(start.shape[0], tile)
    n, n_target, outputs = g * N + first + thread, scenario[1].shape[1], layers[layers.shape[0] - 1, 0]
    inputs = n_target + y.shape[1]
    xs, moved, us, ys = np.empty(nx), np.empty(nx), np.empty(nu), np.empty(ny)
    acc = np.empty((U, R), dtype=REAL)
    mine = thread < tile and first + thread < N
    fill_start(start[g], shared, tile)
    cuda.syncthreads()
    for t in range(u.shape[0]):
        before, now, column = t % 2 * n_rows, (t + 1) % 2 * n_rows, (g * (u.shape[0] + 1) + t + 1) * N + first
        if mine:
            see(t, n, scenario, model, replay, reference, x, y, xs, ys)
            for k in range(inputs):
                value = scenario[1][t, k, n] if k < n_target else ys[k - n_target]
                shared[(now + k) * tile + thread] = value
                rows[places[0] + (column + thread) * inputs + k] = value
        cuda.syncthreads()
        for number in range(layers.shape[0]):
            weigh(packed[g], layers[number], sources, shared, before, now, tile, b0, acc, rows,
                  places[number + 1] + column * (layers[number, 1] - layers[number, 0]), N - first)
            cuda.syncthreads()
        if mine:
            for k in range(u.shape[1]):
                command[t, k, n] = shared[(now + outputs + k) * tile + thread]
                if exploration.shape[0]:
                    command[t, k, n] += exploration[t, k, n]
            move(t, n, scenario, limit, taper, model, reference, x, u, command, xs, us, moved)


@cuda.jit(device=True)
def weigh(packed, layer, sources, shared, before, now, tile, b0, acc, rows, place, trials):
    """The activity of a layer, into the shared memory and, for as many trials as there are, into rows from `place` on."""
    lanes, size, tanh = cuda.blockDim.x, layer[1] - layer[0], layer[2] == 1
    for i0 in range(cuda.threadIdx.x, size, lanes * U):
        zero(acc)
        bias = add_weighed(packed, layer, sources, shared, before, now, tile, b0, i0, acc)
        for q in range(U):
            i = i0 + q * lanes
            if i < size:
                for r in range(R):
                    value = acc[q, r] + packed[bias + i]
                    if tanh:
                        value = math.tanh(value)
                    shared[(now + layer[0] + i) * tile + b0 + r] = value
                    if b0 + r < trials:
                        rows[place + (b0 + r) * size + i] = value
