"""Plant and policy as one differential equation, its cost, and their derivatives.

    z = [x; s]    x' = dynamics(x, u)    s' = the cells' own fields
    u = limit(network(target(t), observe(x), s))
    W(t, z) = sum of 1/2 w r^2 of the residuals r of state, control, output and the
              task's own ones

for a block of w trials. The network is that of one instant: its tables (`Tables` in
closed_loop/continuous/problem.py) let every layer see the states of the others as they
are, and make an Euler step of one control step, now = s + dt s'. So the cells' field is
s' = (now - s) / dt, with the same code that steps networks in discrete time.
"""

from typing import NamedTuple

from hfcontrol.arrays.types import Array
from hfcontrol.kernels.blocks import (
    call_jacobian,
    call_map,
    call_rates,
    call_residual,
)
from hfcontrol.kernels.integrators import map_block, observe_block
from hfcontrol.kernels.jit import helper
from hfcontrol.kernels.limits import limit_command, limit_slope
from hfcontrol.kernels.matrices import clear, put
from hfcontrol.kernels.network_step import (
    NetworkTables,
    network_jvp,
    network_step,
    network_vjp,
)
from hfcontrol.kernels.plant_types import PlantDerivatives, PlantFunctions
from hfcontrol.network.tables import FIRST


class FieldProblem(NamedTuple):
    """What does not change with time, for a block of w trials.

    theta (P,): weights of the network
    network: the network at one instant
    cells (n,): units among the activations that are states in continuous time
    plant, derivatives: functions of the plant
    params (w, np): parameters of the plant
    limits (3, nu): bounds low and high of the controls, and softness
    dt: control step [s]
    network_target (K, nt, w), state (K, nx, w), control (nu, w), output (K, nz, w),
        target (K, nt, w): `References` in closed_loop/continuous/problem.py
    weights (m, w): weights of the residuals, per second
    steps (nx + nu,), order: steps of differences by state and control, and their order,
        1 (forward), 2 (central) or 4
    """

    theta: Array
    network: NetworkTables
    cells: Array
    plant: PlantFunctions
    derivatives: PlantDerivatives
    params: Array
    limits: Array
    dt: float
    network_target: Array
    state: Array
    control: Array
    output: Array
    target: Array
    weights: Array
    steps: Array
    order: int


class FieldWork(NamedTuple):
    """Results of the network and of the residuals at one instant, and scratch arrays.

    Shapes: activations before and now (unit, w), scratch (unit + 1, w), observations y
    (ny, w), controls u (nu, w), residuals r (m, w), own target (nt, w), all
    observations (n_observable, w), output z (nz, w), a moved state and control x
    (nx, w) and moved_u (nu, w), values (2, nx + ny + nz + nr, w) at both ends of a
    difference, Jacobians of the plant file A (nx, nx, w), B (nx, nu, w), C (ny, nx, w).
    """

    before: Array
    now: Array
    scratch: Array
    y: Array
    u: Array
    r: Array
    target: Array
    all_observations: Array
    z: Array
    x: Array
    moved_u: Array
    values: Array
    A: Array
    B: Array
    C: Array


@helper
def at_time(t: float, dt: float, values: Array, out: Array) -> None:
    """Fill out (m, w) with values (K, m, w) at time t.

    They are constant (K = 1), or joined by straight lines every dt.
    """
    last = values.shape[0] - 1
    place = t / dt
    # Rounding may put t just outside of the grid: the outer lines then continue.
    j = min(max(int(place), 0), max(last - 1, 0))
    part = place - j if last else 0.0
    after = min(j + 1, last)
    for i in range(out.shape[0]):
        for n in range(out.shape[1]):
            change = values[after, i, n] - values[j, i, n]
            out[i, n] = values[j, i, n] + part * change


@helper
def look(t: float, z: Array, problem: FieldProblem, work: FieldWork) -> None:
    """Fill `work` with the activations, observations and controls at (t, z)."""
    before = work.before
    now = work.now
    y = work.y
    u = work.u
    cells = problem.cells
    nx = z.shape[0] - cells.size
    nt = problem.network_target.shape[1]
    # The network reads the states as if they were those of the step before.
    for i in range(cells.size):
        for n in range(z.shape[1]):
            before[cells[i], n] = z[nx + i, n]
    at_time(t, problem.dt, problem.network_target, now[:nt])
    observe_block(problem.plant, z[:nx], problem.params, y, work.all_observations)
    put(now[nt : nt + y.shape[0]], y)
    network_step(problem.theta, problem.network, before, now, work.scratch)
    first = problem.network.layers[-1, FIRST]
    for k in range(u.shape[0]):
        low, high = problem.limits[0, k], problem.limits[1, k]
        softness = problem.limits[2, k]
        for n in range(z.shape[1]):
            u[k, n] = limit_command(now[first + k, n], low, high, softness)


@helper
def rates_block(plant: PlantFunctions, x: Array, u: Array, p: Array, dx: Array) -> None:
    """Fill dx (nx, w) with the rates of body and actuators."""
    n = plant.n_body
    if plant.lag == 0.0:
        call_rates(plant.rates, x, u, p, dx)
        return
    call_rates(plant.rates, x[:n], x[n:], p, dx[:n])
    # a' = (u - a) / lag, with the drives a as the last states.
    for i in range(u.shape[0]):
        for k in range(u.shape[1]):
            ahead = u[i, k] - x[n + i, k]
            dx[n + i, k] = ahead / plant.lag


@helper
def residuals_at(t: float, z: Array, problem: FieldProblem, work: FieldWork) -> None:
    """Fill `work.r` with all residuals, those of weight zero included.

    The order is that of state, control, output, and the task's own ones.
    """
    r = work.r
    u = work.u
    outputs = work.z
    nx = problem.state.shape[1]
    nu = u.shape[0]
    nz = outputs.shape[0]
    dt = problem.dt
    end = nx + nu + nz
    # References go where residuals will be: no further scratch is needed.
    at_time(t, dt, problem.state, r[:nx])
    at_time(t, dt, problem.output, r[nx + nu : end])
    if nz:
        map_block(problem.plant.output, z[:nx], problem.params, outputs)
    for n in range(z.shape[1]):
        for i in range(nx):
            r[i, n] = z[i, n] - r[i, n]
        for k in range(nu):
            r[nx + k, n] = u[k, n] - problem.control[k, n]
        for k in range(nz):
            r[nx + nu + k, n] = outputs[k, n] - r[nx + nu + k, n]
    if r.shape[0] > end:
        own = r[end:]
        params = problem.params
        at_time(t, dt, problem.target, work.target)
        call_residual(problem.plant.residual, z[:nx], u, work.target, params, own)


@helper
def field(t: float, z: Array, problem: FieldProblem, work: FieldWork, F: Array) -> None:
    """Fill F (nz + 1, w) with the rates of z (nz, w) and, last, of the cost."""
    cells = problem.cells
    r = work.r
    nx = z.shape[0] - cells.size
    look(t, z, problem, work)
    residuals_at(t, z, problem, work)
    rates_block(problem.plant, z[:nx], work.u, problem.params, F[:nx])
    for i in range(cells.size):
        for n in range(z.shape[1]):
            change = work.now[cells[i], n] - z[nx + i, n]
            F[nx + i, n] = change / problem.dt
    # The cost is one more state, so that the solver bounds its error too.
    for n in range(z.shape[1]):
        total = 0.0
        for k in range(r.shape[0]):
            total += 0.5 * problem.weights[k, n] * r[k, n] * r[k, n]
        F[z.shape[0], n] = total


@helper
def evaluate_plant(
    problem: FieldProblem, work: FieldWork, by_state: bool, values: Array
) -> None:
    """Fill values (nx + ny + nz + nr, w) at the moved state and control of `work`.

    These are rates, observations, outputs and own residuals. Rates and observations are
    left out if the plant file has their derivatives; observations and outputs do not
    depend on the control and need `by_state`.
    """
    plant = problem.plant
    derivatives = problem.derivatives
    params = problem.params
    x = work.x
    u = work.moved_u
    nx = x.shape[0]
    ny = work.y.shape[0]
    nz = work.z.shape[0]
    if not derivatives.jacobian:
        rates_block(plant, x, u, params, values[:nx])
    if by_state and not derivatives.observe_jacobian:
        observations = values[nx : nx + ny]
        observe_block(plant, x, params, observations, work.all_observations)
    if by_state and nz:
        map_block(plant.output, x, params, values[nx + ny : nx + ny + nz])
    if values.shape[0] > nx + ny + nz:
        own = values[nx + ny + nz :]
        call_residual(plant.residual, x, u, work.target, params, own)


@helper
def difference(
    i: int, problem: FieldProblem, work: FieldWork, J: Array, n_known: int
) -> None:
    """Fill J[n_known:, i] with differences by entry i of state and control.

    They are forward, central or, with a longer step too, of fourth order, as `order` is
    1, 2 or 4.
    """
    order = problem.order
    values = work.values
    nx = work.x.shape[0]
    ny = work.y.shape[0]
    nz = work.z.shape[0]
    place = work.x[i] if i < nx else work.moved_u[i - nx]
    # A copy to return to: adding and subtracting a step may not give the same bits.
    centre = place.copy()
    for longer in range(2 if order == 4 else 1):
        step = problem.steps[i] * (1 + longer)
        # With order 1 the lower end is the centre, whose values are known after i = 0.
        for end in range(2 if order > 1 or i == 0 else 1):
            for n in range(place.size):
                place[n] = centre[n]
                if end == 0:
                    place[n] = centre[n] + step
                elif order > 1:
                    place[n] = centre[n] - step
            evaluate_plant(problem, work, i < nx, values[end])
        for n in range(place.size):
            place[n] = centre[n]
            upper = centre[n] + step
            lower = centre[n] - step if order > 1 else centre[n]
            # The difference of the rounded points, not 2 h: it is the exact step.
            factor = 1.0 / (upper - lower)
            for k in range(n_known, J.shape[0]):
                change = factor * (values[0, k, n] - values[1, k, n])
                # What is seen does not depend on controls.
                if i >= nx and k >= nx and k < nx + ny + nz:
                    change = 0.0
                # Richardson: D(h) and D(2 h) have errors c h^2 and 4 c h^2.
                if longer:
                    change = (4.0 * J[k, i, n] - change) / 3.0
                J[k, i, n] = change


@helper
def linearise(
    t: float,
    z: Array,
    problem: FieldProblem,
    work: FieldWork,
    J: Array,
    slope: Array,
) -> None:
    """Fill J and slope with the derivatives at (t, z), and `work` as `field` does.

    J (nx + ny + nz + nr, nx + nu, w) are those of rates, observations, outputs and own
    residuals, slope (nu, w) those of controls by commands. Differences replace
    derivatives that the plant file does not define.
    """
    look(t, z, problem, work)
    residuals_at(t, z, problem, work)
    u = work.u
    derivatives = problem.derivatives
    nu = u.shape[0]
    nx = J.shape[1] - nu
    ny = work.y.shape[0]
    # Differences move these copies; z and the controls have to stay.
    put(work.x, z[:nx])
    put(work.moved_u, u)
    # Rows without differences. Those of `observe_jacobian` alone are not the first
    # ones: they get differences of no meaning, and are overwritten below.
    n_known = 0
    if derivatives.jacobian:
        n_known = nx + ny if derivatives.observe_jacobian else nx
    for i in range(nx + nu):
        difference(i, problem, work, J, n_known)

    if derivatives.jacobian:
        A = work.A
        B = work.B
        call_jacobian(derivatives.jacobian, work.x, u, problem.params, A, B)
        for k in range(nx):
            put(J[k, :nx], A[k])
            put(J[k, nx:], B[k])
    if derivatives.observe_jacobian:
        call_map(derivatives.observe_jacobian, work.x, problem.params, work.C)
        for k in range(ny):
            put(J[nx + k, :nx], work.C[k])
            clear(J[nx + k, nx:])
    for k in range(nu):
        low, high = problem.limits[0, k], problem.limits[1, k]
        softness = problem.limits[2, k]
        for n in range(z.shape[1]):
            slope[k, n] = limit_slope(u[k, n], low, high, softness)


@helper
def push(
    v: Array,
    point: tuple[Array, Array, Array, Array],
    problem: FieldProblem,
    dz: Array,
    d_before: Array,
    d_now: Array,
    scratch: Array,
    product: Array,
    dF: Array,
    dr: Array,
) -> None:
    """Fill the tangents dF (nz, w) of `field` and dr (m, w) of the residuals.

    They belong to the tangents dz (nz, w) of the state and v (P,) of the weights.
    `point` is what `linearise` found: J, slope, and the activations before and now.
    Scratch: d_before and d_now (unit, w), scratch (unit + 1, w), product (unit, w).
    """
    J, slope, before, now = point
    cells = problem.cells
    nt = problem.network_target.shape[1]
    nx = problem.state.shape[1]
    nu = slope.shape[0]
    w = dz.shape[1]
    layers = problem.network.layers
    ny = layers[0, FIRST] - nt
    first = layers[-1, FIRST]
    for i in range(cells.size):
        for n in range(w):
            d_before[cells[i], n] = dz[nx + i, n]
    clear(d_now[: nt + ny])
    for k in range(ny):
        for i in range(nx):
            for n in range(w):
                d_now[nt + k, n] += J[nx + k, i, n] * dz[i, n]
    network_jvp(
        problem.theta,
        v,
        problem.network,
        before,
        now,
        d_before,
        d_now,
        scratch,
        product,
    )
    for k in range(nu):
        for n in range(w):
            dr[nx + k, n] = slope[k, n] * d_now[first + k, n]
    for i in range(nx):
        for n in range(w):
            dr[i, n] = dz[i, n]
    # The first residuals are now [dx; du], which is also what the columns of J take.
    for k in range(J.shape[0]):
        # The network has read these rows, those of the observations, before.
        if nx <= k < nx + ny:
            continue
        change = dF[k] if k < nx else dr[nu + k - ny]
        for n in range(w):
            change[n] = 0.0
        for i in range(nx + nu):
            for n in range(w):
                change[n] += J[k, i, n] * dr[i, n]
    for i in range(cells.size):
        for n in range(w):
            change = d_now[cells[i], n] - dz[nx + i, n]
            dF[nx + i, n] = change / problem.dt


@helper
def pull(
    point: tuple[Array, Array, Array, Array],
    problem: FieldProblem,
    lam: Array,
    r_bar: Array,
    now_bar: Array,
    before_bar: Array,
    scratch: Array,
    z_bar: Array,
) -> None:
    """Fill the cotangent z_bar (nz, w) of the state, by the transpose of `push`.

    lam (nz, w) are cotangents of the field and r_bar (m, w) those of the residuals.
    now_bar (unit, w) becomes what `add_weight_cotangents` takes; before_bar (unit, w)
    and scratch (unit + 1, w) are scratch.
    """
    J, slope, before, now = point
    cells = problem.cells
    nt = problem.network_target.shape[1]
    nx = problem.state.shape[1]
    nu = slope.shape[0]
    w = lam.shape[1]
    layers = problem.network.layers
    ny = layers[0, FIRST] - nt
    first = layers[-1, FIRST]
    clear(now_bar)
    # The steps of `push` from the last to the first: plant, control limit, network.
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
            now_bar[cells[i], n] = lam[nx + i, n] / problem.dt
    clear(before_bar)
    network_vjp(
        problem.theta, problem.network, before, now, now_bar, before_bar, scratch
    )
    for i in range(nx):
        for k in range(ny):
            for n in range(w):
                z_bar[i, n] += J[nx + k, i, n] * now_bar[nt + k, n]
    for i in range(cells.size):
        for n in range(w):
            own = before_bar[cells[i], n]
            # The state is subtracted in (now - s) / dt.
            z_bar[nx + i, n] = own - lam[nx + i, n] / problem.dt
