"""Source piece for CUDA: the backward pass of iLQR, a thread for each trial; see riccati_piece.py."""
# ruff: noqa: F821


@cuda.jit(cache=True)
def device_backward(A, B, l_xx, l_uu, l_ux, l_x, l_u, low, high, mu, k, K):
    """`backward`, a thread for each trial."""
    n = cuda.grid(1)
    if n < B.shape[1]:
        backward_trial(n, A, B, l_xx, l_uu, l_ux, l_x, l_u, low, high, mu[n], k, K)
