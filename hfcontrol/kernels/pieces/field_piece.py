"""Source piece: plant and policy as one differential equation, its cost, and their derivatives, for a block of w trials.

    z = [x; s]     x' = dynamics(x, u)     s' = the cells' own fields     u = limit(network(target(t), observe(x), s))
    W(t, z) = sum of 1/2 w r^2 of the residuals r of state, control, output and the plant file's own

It follows the pieces of the plant, which say `plant_rates`, `own_residual` and the derivatives that the plant's file gives, and those
of the network's step. The network is
read at the moment: its tables (problem.py) let every layer see the states of the others as they are, and a step of
Euler's of one control step, less the state, is the cells' field. `problem` and `work` are the tuples made there.
"""
# ruff: noqa: F821

import math

import numpy as np
from numba import njit


@njit(cache=True, error_model="numpy", nogil=True)
def at_time(t, dt, values, out):
    """out (m, w) = values (K, m, w) at time t: they stand still (K = 1), or are joined by lines every dt."""
    last, place = values.shape[0] - 1, t / dt
    j = min(max(int(place), 0), max(last - 1, 0))
    part = place - j if last else 0.0
    for i in range(out.shape[0]):
        for n in range(out.shape[1]):
            out[i, n] = values[j, i, n] + part * (values[min(j + 1, last), i, n] - values[j, i, n])


@njit(error_model="numpy", inline="always")
def gather_trial(a, n, column):
    """column = a[:, n]."""
    for i in range(column.size):
        column[i] = a[i, n]


@njit(cache=True, error_model="numpy", nogil=True)
def look(t, z, problem, before, now, scratch, y, u):
    """The network at time t and state z (nz, w): rows `before` and `now`, what it sees of the plant y, and controls u."""
    theta, layers, sources, cells, limit, params, dt, seen = problem[:8]
    nx, nt, ny = z.shape[0] - cells.size, seen.shape[1], y.shape[0]
    xs, ys = np.empty(nx), np.empty(ny)
    for i in range(cells.size):
        for n in range(z.shape[1]):
            before[cells[i], n] = z[nx + i, n]
    at_time(t, dt, seen, now[:nt])
    for n in range(z.shape[1]):
        gather_trial(z, n, xs)
        plant_observe(xs, params[n], ys)
        for k in range(ny):
            y[k, n] = ys[k]
            now[nt + k, n] = ys[k]
    network_step(theta, layers, sources, before, now, scratch)
    first = layers[-1, 0]
    for k in range(u.shape[0]):
        for n in range(z.shape[1]):
            c = now[first + k, n]
            u[k, n] = limit[k] * math.tanh(c / limit[k]) if math.isfinite(limit[k]) else c


@njit(cache=True, error_model="numpy", nogil=True)
def residuals_at(t, z, u, problem, r):
    """The residuals r (m, w): state, control, output, the plant file's own, those of weight zero included."""
    dt, (goal, about, output, target) = problem[6], problem[8:12]
    nx, nu, nz, params = goal.shape[1], u.shape[0], output.shape[1], problem[5]
    xs, us, zs, ts = np.empty(nx), np.empty(nu), np.empty(nz), np.empty(target.shape[1])
    own = np.empty(r.shape[0] - nx - nu - nz)
    at_time(t, dt, goal, r[:nx])
    at_time(t, dt, output, r[nx + nu:nx + nu + nz])
    moving = np.empty((ts.size, z.shape[1]))
    if own.size:
        at_time(t, dt, target, moving)
    for n in range(z.shape[1]):
        gather_trial(z, n, xs)
        gather_trial(u, n, us)
        for i in range(nx):
            r[i, n] = xs[i] - r[i, n]
        for k in range(nu):
            r[nx + k, n] = us[k] - about[k, n]
        if nz:
            plant_output(xs, params[n], zs)
            for k in range(nz):
                r[nx + nu + k, n] = zs[k] - r[nx + nu + k, n]
        if own.size:
            gather_trial(moving, n, ts)
            own_residual(xs, us, ts, params[n], own)
            for k in range(own.size):
                r[nx + nu + nz + k, n] = own[k]


@njit(cache=True, error_model="numpy", nogil=True)
def field(t, z, problem, work, F):
    """F (nz + 1, w): the rate of z (nz, w) and, in the last row, the cost's."""
    before, now, scratch, y, u, r = work
    cells, params, dt, weights = problem[3], problem[5], problem[6], problem[12]
    nx = z.shape[0] - cells.size
    xs, us, dx = np.empty(nx), np.empty(u.shape[0]), np.empty(nx)
    look(t, z, problem, before, now, scratch, y, u)
    residuals_at(t, z, u, problem, r)
    for n in range(z.shape[1]):
        gather_trial(z, n, xs)
        gather_trial(u, n, us)
        plant_rates(xs, us, params[n], dx)
        for i in range(nx):
            F[i, n] = dx[i]
        for i in range(cells.size):
            F[nx + i, n] = (now[cells[i], n] - z[nx + i, n]) / dt
        total = 0.0
        for k in range(r.shape[0]):
            total += 0.5 * weights[k, n] * r[k, n] * r[k, n]
        F[z.shape[0], n] = total


@njit(cache=True, error_model="numpy", nogil=True)
def linearise(t, z, problem, work, J, slope):
    """The derivatives at (t, z): J (nx + ny + nz_out + nr, nx + nu, w) of rates, observation, output and own residuals, and
    `slope` (nu, w) of controls by commands; and in `work` the network's rows and the residuals, as `field` leaves them.

    What the plant's file gives no derivatives of is differenced: forward, central, or in fourth order with a longer step, as `order`
    is 1, 2 or 4. All in one function, since handing small arrays on costs more than a plant's own evaluation.
    """
    before, now, scratch, y, u, r = work
    limit, params, dt, output, target, typical, order = (problem[4], problem[5], problem[6], problem[10], problem[11],
                                                         problem[13], problem[14])
    look(t, z, problem, before, now, scratch, y, u)
    residuals_at(t, z, u, problem, r)
    nu = u.shape[0]
    nx = J.shape[1] - nu
    ny, nz, nr = y.shape[0], output.shape[1], r.shape[0] - nx - nu - output.shape[1]
    xs, us, ts = np.empty(nx), np.empty(nu), np.empty(target.shape[1])
    ends, places = np.zeros((2, J.shape[0])), np.zeros(2)  # values at the upper and the lower end of a difference, and the ends
    moving = np.empty((ts.size, z.shape[1]))
    known = (nx + ny * SEEN_GIVEN) * RATES_GIVEN  # the first rows, if their derivatives are given
    if nr:
        at_time(t, dt, target, moving)
    J[:] = 0.0
    for n in range(z.shape[1]):
        pn = params[n]
        gather_trial(z, n, xs)
        gather_trial(u, n, us)
        if nr:
            gather_trial(moving, n, ts)
        for i in range(nx + nu):
            place, at = (xs, i) if i < nx else (us, i - nx)
            centre = place[at]
            for longer in range(1 + (order == 4)):
                step = typical[i] * (1 + longer)
                places[0], places[1] = centre + step, centre - step if order > 1 else centre
                for end in range(2 if order > 1 or i == 0 else 1):  # order 1: the centre's values are known
                    place[at] = places[end]
                    if not RATES_GIVEN:
                        plant_rates(xs, us, pn, ends[end, :nx])
                    if i < nx:  # what is seen does not depend on controls
                        if not SEEN_GIVEN:
                            plant_observe(xs, pn, ends[end, nx:nx + ny])
                        if nz:
                            plant_output(xs, pn, ends[end, nx + ny:nx + ny + nz])
                    if nr:
                        own_residual(xs, us, ts, pn, ends[end, nx + ny + nz:])
                place[at] = centre
                factor = 1.0 / (places[0] - places[1])
                for k in range(known, J.shape[0]):
                    change = 0.0 if i >= nx and nx <= k < nx + ny + nz else factor * (ends[0, k] - ends[1, k])
                    J[k, i, n] = change if longer == 0 else (4.0 * J[k, i, n] - change) / 3.0
        if RATES_GIVEN:
            plant_jacobian(xs, us, pn, J[:nx, :nx, n], J[:nx, nx:, n])
        if SEEN_GIVEN:
            plant_observe_jacobian(xs, pn, J[nx:nx + ny, :nx, n])
        for k in range(nu):
            slope[k, n] = 1.0 - (u[k, n] / limit[k]) ** 2 if math.isfinite(limit[k]) else 1.0


@njit(error_model="numpy", inline="always")
def push(theta, v, J, slope, before, now, problem, dz, d_before, d_now, scratch, product, dF, dr):
    """The tangent of `field` and of the residuals: dF (nz, w) and dr (m, w) of dz (nz, w) and weights v (P,)."""
    layers, sources, cells, dt, seen, goal = problem[1], problem[2], problem[3], problem[6], problem[7], problem[8]
    nx, nu, nt, w = goal.shape[1], slope.shape[0], seen.shape[1], dz.shape[1]
    ny, first = layers[0, 0] - nt, layers[-1, 0]
    for i in range(cells.size):
        for n in range(w):
            d_before[cells[i], n] = dz[nx + i, n]
    d_now[:nt + ny] = 0.0
    for k in range(ny):
        for i in range(nx):
            for n in range(w):
                d_now[nt + k, n] += J[nx + k, i, n] * dz[i, n]
    network_jvp(theta, v, layers, sources, before, now, d_before, d_now, scratch, product)
    for k in range(nu):
        for n in range(w):
            dr[nx + k, n] = slope[k, n] * d_now[first + k, n]
    for i in range(nx):
        for n in range(w):
            dr[i, n] = dz[i, n]
    for k in range(J.shape[0]):
        if nx <= k < nx + ny:
            continue
        change = dF[k] if k < nx else dr[nu + k - ny]
        change[:] = 0.0
        for i in range(nx + nu):
            for n in range(w):
                change[n] += J[k, i, n] * dr[i, n]
    for i in range(cells.size):
        for n in range(w):
            dF[nx + i, n] = (d_now[cells[i], n] - dz[nx + i, n]) / dt


@njit(error_model="numpy", inline="always")
def pull(theta, J, slope, before, now, problem, lam, r_bar, now_bar, before_bar, scratch, z_bar):
    """The transpose of `push`: z_bar (nz, w) from the cotangents lam (nz, w) of the field and r_bar (m, w) of the residuals;
    now_bar becomes what `add_weight_cotangents` takes for the weights' own."""
    layers, sources, cells, dt, seen, goal = problem[1], problem[2], problem[3], problem[6], problem[7], problem[8]
    nx, nu, nt, w = goal.shape[1], slope.shape[0], seen.shape[1], lam.shape[1]
    ny, first = layers[0, 0] - nt, layers[-1, 0]
    now_bar[:] = 0.0
    for i in range(nx + nu):
        bar = z_bar[i] if i < nx else now_bar[first + i - nx]
        for n in range(w):
            bar[n] = r_bar[i, n]
        for k in range(J.shape[0]):
            if k < nx or k >= nx + ny:
                part = lam[k] if k < nx else r_bar[nu + k - ny]
                for n in range(w):
                    bar[n] += J[k, i, n] * part[n]
        if i >= nx:
            for n in range(w):
                bar[n] *= slope[i - nx, n]
    for i in range(cells.size):
        for n in range(w):
            now_bar[cells[i], n] = lam[nx + i, n] / dt
    clear(before_bar)
    network_vjp(theta, layers, sources, before, now, now_bar, before_bar, scratch)
    for i in range(nx):
        for k in range(ny):
            for n in range(w):
                z_bar[i, n] += J[nx + k, i, n] * now_bar[nt + k, n]
    for i in range(cells.size):
        for n in range(w):
            z_bar[nx + i, n] = before_bar[cells[i], n] - lam[nx + i, n] / dt
