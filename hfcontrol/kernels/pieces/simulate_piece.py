"""Source piece: the plant alone over a whole trajectory, some trials at a time; it follows the map piece."""
# ruff: noqa: F821

import numpy as np
from numba import njit


@njit(cache=True, error_model="numpy", nogil=True)
def simulate(n0, n1, u, p, disturbance, taper, x):
    """Trials n0 to n1 of x (T + 1, nx, N) from x[0], by x[t + 1] = taper(step(x[t], u[t]) + disturbance[t]); p is (N, np)."""
    nx, nu = x.shape[1], u.shape[1]
    now, after, us = np.empty(nx), np.empty(nx), np.empty(nu)
    for n in range(n0, n1):
        map_gather(x, 0, n, now)
        for t in range(u.shape[0]):
            map_gather(u, t, n, us)
            plant_step(now, us, p[n], after)
            for i in range(nx):
                now[i] = taper_value(after[i] + disturbance[t, i, n], taper[i])
                x[t + 1, i, n] = now[i]


@njit(cache=True, error_model="numpy", nogil=True)
def regulate(n0, n1, v, gains, reference, p, limit, gain, noise, disturbance, taper, x, u):
    """Trials n0 to n1 of x (T + 1, nx, N), v and u (T, nu, N), by a linear law about a reference, see `Kernels.regulate`; p is
    (N, np)."""
    nx, nu = x.shape[1], u.shape[1]
    now, after, us = np.empty(nx), np.empty(nx), np.empty(nu)
    for n in range(n0, n1):
        map_gather(x, 0, n, now)
        for t in range(u.shape[0]):
            for i in range(nu):
                command = v[t, i, n]
                for j in range(nx):
                    command += gains[t, n, i, j] * (now[j] - reference[t, j, n])
                command = min(max(command, -limit[i]), limit[i])
                v[t, i, n] = command
                us[i] = command * (1.0 + gain[t, i, n]) + noise[t, i, n]
                u[t, i, n] = us[i]
            plant_step(now, us, p[n], after)
            for i in range(nx):
                now[i] = taper_value(after[i] + disturbance[t, i, n], taper[i])
                x[t + 1, i, n] = now[i]
