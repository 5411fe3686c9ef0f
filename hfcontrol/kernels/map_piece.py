"""Source piece: a map of the plant and its derivatives at every time and trial, in parallel.

It follows a piece that defines `plant_map(x, u, target, p, r)`: step, observe, output or a residual function.
"""
# ruff: noqa: F821

import numpy as np
from numba import njit, prange

MAP_WIDTH = 32  # trials in a job: enough work to be worth handing to another core


@njit(cache=True, error_model="numpy", nogil=True)
def map_gather(a, k, n, column):
    """column (n_a,) = a[k, :, n]; a loop, because assigning a slice costs more than a plant's step."""
    for i in range(column.size):
        column[i] = a[k, i, n]


@njit(cache=True, error_model="numpy", nogil=True)
def map_values(x, u, target, p, out):
    """out (K, nr, N) from x (K, nx, N), u (K, nu, N), target (K, nt, N) and p (N, np)."""
    xs, us, ts, rs = np.empty(x.shape[1]), np.empty(u.shape[1]), np.empty(target.shape[1]), np.empty(out.shape[1])
    for k in range(out.shape[0]):
        for n in range(out.shape[2]):
            map_gather(x, k, n, xs)
            map_gather(u, k, n, us)
            map_gather(target, k, n, ts)
            plant_map(xs, us, ts, p[n], rs)
            for i in range(rs.size):
                out[k, i, n] = rs[i]


@njit(cache=True, error_model="numpy", nogil=True)
def map_job(k, n0, n1, x, u, target, p, hx, hu, A, B):
    """The derivatives of trials n0 to n1 at time k."""
    nx, nu = x.shape[1], u.shape[1]
    xs, us, ts = np.empty(nx), np.empty(nu), np.empty(target.shape[1])
    plus, minus = np.empty(A.shape[1]), np.empty(A.shape[1])
    for n in range(n0, n1):
        map_gather(x, k, n, xs)
        map_gather(u, k, n, us)
        map_gather(target, k, n, ts)
        pn = p[n]
        for j in range(nx + nu):
            place, out, i, h = (xs, A, j, hx[j]) if j < nx else (us, B, j - nx, hu[j - nx])
            centre = place[i]
            above, below = centre + h, centre - h
            place[i] = above
            plant_map(xs, us, ts, pn, plus)
            place[i] = below
            plant_map(xs, us, ts, pn, minus)
            place[i] = centre
            per_step = 1.0 / (above - below)  # the step that was really made, after rounding
            for r in range(plus.size):
                out[k, r, i, n] = (plus[r] - minus[r]) * per_step


@njit(cache=True, error_model="numpy", nogil=True, parallel=True)
def map_slopes(x, u, target, p, hx, hu, A, B):
    """A (K, nr, nx, N) and B (K, nr, nu, N): derivatives by state and control, steps hx (nx,) and hu (nu,)."""
    K, N = A.shape[0], A.shape[3]
    jobs = -(-N // MAP_WIDTH)
    for job in prange(K * jobs):
        n0 = job % jobs * MAP_WIDTH
        map_job(job // jobs, n0, min(n0 + MAP_WIDTH, N), x, u, target, p, hx, hu, A, B)
