"""Source piece for CUDA: the plant alone over a whole trajectory, a thread for each trial; see simulate_piece.py."""
# ruff: noqa: F821


@cuda.jit(cache=True)
def device_simulate(u, p, disturbance, taper, x):
    """`simulate`, a thread for each trial."""
    n = cuda.grid(1)
    if n < x.shape[2]:
        simulate(n, n + 1, u, p, disturbance, taper, x)


@cuda.jit(cache=True)
def device_regulate(v, gains, reference, p, limit, gain, noise, disturbance, taper, x, u):
    """`regulate`, a thread for each trial."""
    n = cuda.grid(1)
    if n < x.shape[2]:
        regulate(n, n + 1, v, gains, reference, p, limit, gain, noise, disturbance, taper, x, u)
