"""Source piece: a map of the plant and its derivatives at every time and trial.

It follows a piece that defines `plant_map(x, u, target, p, r)`: step, observe, output or a residual function. CUDA takes from
here what a thread does, so arrays are made by sizes that have a name.
"""
# ruff: noqa: F821

import numpy as np
from numba import njit

MAP_WIDTH = 32  # trials in a job: enough work to be worth handing to another core


@njit(error_model="numpy", inline="always")
def map_gather(a, k, n, column):
    """column (n_a,) = a[k, :, n]; a loop, because assigning a slice costs more than a plant's step."""
    for i in range(a.shape[1]):
        column[i] = a[k, i, n]


@njit(error_model="numpy", inline="always")
def map_value(k, n, x, u, target, p, out):
    """out[k, :, n]: the map at one time of one trial."""
    nx, nu, nt, nr = x.shape[1], u.shape[1], target.shape[1], out.shape[1]
    xs, us, ts, rs = np.empty(nx), np.empty(nu), np.empty(nt), np.empty(nr)
    map_gather(x, k, n, xs)
    map_gather(u, k, n, us)
    map_gather(target, k, n, ts)
    plant_map(xs, us, ts, p[n], rs)
    for i in range(nr):
        out[k, i, n] = rs[i]


@njit(cache=True, error_model="numpy", nogil=True)
def map_values(first, end, x, u, target, p, out):
    """out (K, nr, N) from x (K, nx, N), u (K, nu, N), target (K, nt, N) and p (N, np), at the times first to end."""
    for k in range(first, end):
        for n in range(out.shape[2]):
            map_value(k, n, x, u, target, p, out)


@njit(cache=True, error_model="numpy", nogil=True)
def map_difference(place, i, h, xs, us, ts, pn, plus, minus, out, k, n):
    """out[k, :, i, n]: the central difference of the map by entry i of place, which is xs or us."""
    centre = place[i]
    above, below = centre + h, centre - h
    place[i] = above
    plant_map(xs, us, ts, pn, plus)
    place[i] = below
    plant_map(xs, us, ts, pn, minus)
    place[i] = centre
    per_step = 1.0 / (above - below)  # the step that was really made, after rounding
    for r in range(out.shape[1]):
        out[k, r, i, n] = (plus[r] - minus[r]) * per_step


@njit(error_model="numpy", inline="always")
def map_job(k, n0, n1, j0, j1, x, u, target, p, hx, hu, A, B):
    """The derivatives of trials n0 to n1 at time k by the entries j0 to j1 of state and control, one after the other."""
    nx, nu, nt, nr = x.shape[1], u.shape[1], target.shape[1], A.shape[1]
    xs, us, ts, plus, minus = np.empty(nx), np.empty(nu), np.empty(nt), np.empty(nr), np.empty(nr)
    for n in range(n0, n1):
        map_gather(x, k, n, xs)
        map_gather(u, k, n, us)
        map_gather(target, k, n, ts)
        for j in range(j0, j1):
            if j < nx:
                map_difference(xs, j, hx[j], xs, us, ts, p[n], plus, minus, A, k, n)
            else:
                map_difference(us, j - nx, hu[j - nx], xs, us, ts, p[n], plus, minus, B, k, n)


@njit(cache=True, error_model="numpy", nogil=True)
def map_slopes(first, end, x, u, target, p, hx, hu, A, B):
    """A (K, nr, nx, N) and B (K, nr, nu, N): derivatives by state and control, steps hx (nx,) and hu (nu,), in the jobs first to
    end, each of one time and MAP_WIDTH trials."""
    N = A.shape[3]
    jobs = -(-N // MAP_WIDTH)
    for job in range(first, end):
        n0 = job % jobs * MAP_WIDTH
        map_job(job // jobs, n0, min(n0 + MAP_WIDTH, N), 0, x.shape[1] + u.shape[1], x, u, target, p, hx, hu, A, B)
