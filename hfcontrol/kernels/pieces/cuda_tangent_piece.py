"""Source piece for CUDA: the fused tangent pass about a rollout in one kernel; it needs Jacobians, no plant.

`lines` holds A (T, nx, nx, N), B (T, nx, nu, N), C (T, ny, nx, N), the slope of control against command (T, nu, N), the feedback
and the command delay [steps], and whether the observations were replayed. `known` has the sections of `rows`, and in those of the
layers what the weights' own tangents add to the sums, V [x; 1]: large matrix products made before. The plain pass in plain.py is
the definition.
"""
# ruff: noqa: F821


@cuda.jit(cache=True)
def tangent(packed, layers, sources, places, start, lines, rows, known, dx, du, dc, d_rows):
    """Fills dx (T + 1, nx, trial) from dx[0], du and dc (T, nu, trial), and d_rows, which has the sections of rows or is empty; `start`
    (network, row) are the tangents of the networks' first rows."""
    A, B, C, slope, delay, command_delay, replay = lines
    shared = cuda.shared.array(0, REAL)
    n_rows, N, tile = start.shape[1], dx.shape[2] // start.shape[0], cuda.blockDim.y * R
    thread, b0 = cuda.threadIdx.y * cuda.blockDim.x + cuda.threadIdx.x, cuda.threadIdx.y * R
    g, first = own_network(start.shape[0], tile)
    n, inputs, outputs = g * N + first + thread, layers[0, 0], layers[layers.shape[0] - 1, 0]
    n_target = inputs - C.shape[1]
    acc = np.empty((U, R), dtype=REAL)
    mine = thread < tile and first + thread < N
    fill_start(start[g], shared, tile)
    cuda.syncthreads()
    for t in range(du.shape[0]):
        before, now, s, column = t % 2 * n_rows, (t + 1) % 2 * n_rows, t - delay, (g * (du.shape[0] + 1) + t + 1) * N + first
        if mine and s > 0 and not replay:
            for k in range(C.shape[1]):
                total = 0.0
                for j in range(C.shape[2]):
                    total += C[s, k, j, n] * dx[s, j, n]
                shared[(now + n_target + k) * tile + thread] = total
        cuda.syncthreads()
        for number in range(layers.shape[0]):
            place = places[number + 1] + column * (layers[number, 1] - layers[number, 0])
            weigh_tangent(packed[g], layers[number], sources, shared, before, now, tile, b0, acc, rows, known, d_rows, place, N - first)
            cuda.syncthreads()
        if mine:
            for k in range(du.shape[1]):
                dc[t, k, n] = shared[(now + outputs + k) * tile + thread]
                du[t, k, n] = slope[t, k, n] * dc[t - command_delay, k, n] if t >= command_delay else 0.0
            move_tangent(t, n, A, B, dx, du)


@cuda.jit(device=True)
def weigh_tangent(packed, layer, sources, shared, before, now, tile, b0, acc, rows, known, d_rows, place, trials):
    """The tangent of a layer's activity, into the shared memory and, where they are kept, into d_rows from `place` on."""
    lanes, size, tanh = cuda.blockDim.x, layer[1] - layer[0], layer[2] == 1
    for i0 in range(cuda.threadIdx.x, size, lanes * U):
        zero(acc)
        add_weighed(packed, layer, sources, shared, before, now, tile, b0, i0, acc)
        for q in range(U):
            i = i0 + q * lanes
            if i < size:
                for r in range(R):
                    at, value = place + (b0 + r) * size + i, ZERO
                    if b0 + r < trials:
                        value = acc[q, r] + known[at]
                        if tanh:
                            value *= ONE - rows[at] * rows[at]
                        if d_rows.size:
                            d_rows[at] = value
                    shared[(now + layer[0] + i) * tile + b0 + r] = value


@cuda.jit(device=True)
def move_tangent(t, n, A, B, dx, du):
    """dx[t + 1] = A dx[t] + B du[t] of trial n."""
    for i in range(A.shape[1]):
        total = 0.0
        for k in range(B.shape[2]):
            total += B[t, i, k, n] * du[t, k, n]
        for j in range(A.shape[2]):
            total += A[t, i, j, n] * dx[t, j, n]
        dx[t + 1, i, n] = total
