"""Source piece for CUDA: a map of the plant and its derivatives, and whole trajectories, a thread for each of their parts.

What a thread does stands in map_piece.py and simulate_piece.py, from which the CPU's kernels are made too.
"""
# ruff: noqa: F821


@cuda.jit(cache=True)
def device_values(x, u, target, p, out):
    """`map_values`, a thread for each time and trial."""
    N = out.shape[2]
    place = cuda.grid(1)
    if place < out.shape[0] * N:
        map_value(place // N, place % N, x, u, target, p, out)


@cuda.jit(cache=True)
def device_slopes(x, u, target, p, hx, hu, A, B):
    """`map_slopes`, a thread for each time, perturbed variable and trial."""
    n_variables, N = x.shape[1] + u.shape[1], x.shape[2]
    place = cuda.grid(1)
    if place < x.shape[0] * n_variables * N:
        n, j, k = place % N, place // N % n_variables, place // (N * n_variables)
        map_job(k, n, n + 1, j, j + 1, x, u, target, p, hx, hu, A, B)
