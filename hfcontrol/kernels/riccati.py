"""The backward pass of iLQR, trial by trial; optim/ilqr.py has the equations.

The functions of one trial are compiled for the CPU here and for a GPU by
cuda/riccati.py. They allocate nothing: a GPU has no `np.empty`.

Arrays of an `Expansion` are [time, trial, ...]: A (T, N, nx, nx), B (T, N, nx, nu),
l_xx (T+1, N, nx, nx), l_uu (T, N, nu, nu), l_ux (T, N, nu, nx), l_x (T+1, N, nx),
l_u (T, N, nu); low and high (T, N, nu) bound the change of the control.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.kernels.jit import inlined_helper, kernel


class RiccatiWork(NamedTuple):
    """Scratch of one trial.

    A matrix and a vector stand in nx+1 columns: value [V_xx | V_x] (nx, nx+1), next_A
    (nx, nx+1) and next_B (nu, nx+1), the products of A' and B' with the next value,
    cross [Q_ux | Q_u] and solution [K | k] (nu, nx+1). `curvature` is Q_uu, `damped` is
    the damped Q_uu, `factor` its Cholesky factor, all (nu, nu). `largest` (nu,) are the
    largest diagonal entries of Q_uu so far, `is_held` (nu,) tells which controls are at
    a bound.
    """

    value: Array
    next_A: Array
    symmetric: Array
    cross: Array
    solution: Array
    next_B: Array
    curvature: Array
    damped: Array
    factor: Array
    largest: Array
    is_held: Array


def make_work(nx: int, nu: int) -> RiccatiWork:
    """Return the scratch of one trial with nx states and nu controls."""
    value, next_A = np.empty((2, nx, nx + 1))
    cross, solution, next_B = np.empty((3, nu, nx + 1))
    curvature, damped, factor = np.empty((3, nu, nu))
    symmetric = np.empty((nx, nx))
    largest = np.empty(nu)
    is_held = np.empty(nu, dtype=np.bool_)
    return RiccatiWork(
        value=value,
        next_A=next_A,
        symmetric=symmetric,
        cross=cross,
        solution=solution,
        next_B=next_B,
        curvature=curvature,
        damped=damped,
        factor=factor,
        largest=largest,
        is_held=is_held,
    )


@kernel
def backward(
    first: int,
    end: int,
    expansion: Any,
    damping: Array,
    work: RiccatiWork,
    k: Array,
    K: Array,
    promise: Array,
) -> None:
    """Fill the feed-forward k (T, n, nu) and the gains K (T, n, nu, nx) of some trials.

    They are the trials first to end; damping (N,) are all their mu.
    S = [K | k] = -(Q_uu + mu D)^-1 [Q_ux | Q_u] within the bounds, and the value is
    Q + K'(Q_uu S + [Q_ux | Q_u]) + Q_ux' S. By as much as `promise` (N,), the sum of
    -(k'Q_u + k'Q_uu k / 2), the whole step would lower the loss of the model.
    """
    T, nx, nu = expansion.B.shape[0], expansion.B.shape[2], expansion.B.shape[3]
    value, cross, solution = work.value, work.cross, work.solution
    curvature, damped, symmetric = work.curvature, work.damped, work.symmetric
    for n in range(first, end):
        put_columns(expansion.l_xx[T, n], expansion.l_x[T, n], value)
        promise[n] = 0.0
        for i in range(nu):
            work.largest[i] = 0.0
        for t in range(T - 1, -1, -1):
            expand_value(t, n, expansion, work)
            add_damping(curvature, damping[n], work.largest, damped)
            bounds = (expansion.low[t, n], expansion.high[t, n])
            solve_within(damped, cross, bounds, work.is_held, work.factor, solution)
            for i in range(nu):
                k[t, n, i] = solution[i, nx]
                for j in range(nx):
                    K[t, n, i, j] = solution[i, j]
                promise[n] -= 0.5 * solution[i, nx] * cross[i, nx]

            add_transposed_product(cross, nx, solution, value)
            add_product(curvature, nu, solution, cross)
            for i in range(nu):
                # now the last column of `cross` is Q_u + Q_uu k
                promise[n] -= 0.5 * solution[i, nx] * cross[i, nx]
            add_transposed_product(solution, nx, cross, value)
            # Rounding makes V_xx slightly asymmetric, more so with every step.
            for i in range(nx):
                for j in range(nx):
                    symmetric[i, j] = 0.5 * (value[i, j] + value[j, i])
            put_matrix(symmetric, value)


@inlined_helper
def expand_value(t: int, n: int, expansion: Any, work: RiccatiWork) -> None:
    """Replace the value of step t+1 by [Q_xx | Q_x]; fill `cross` and `curvature`."""
    A, B = expansion.A[t, n], expansion.B[t, n]
    nx, nu = B.shape
    fill_matrix(work.next_A, 0.0)
    fill_matrix(work.next_B, 0.0)
    put_matrix(expansion.l_uu[t, n], work.curvature)
    add_transposed_product(A, nx, work.value, work.next_A)
    add_transposed_product(B, nu, work.value, work.next_B)
    add_product(work.next_B, nx, B, work.curvature)
    put_columns(expansion.l_ux[t, n], expansion.l_u[t, n], work.cross)
    add_product(work.next_B, nx, A, work.cross)
    put_columns(expansion.l_xx[t, n], expansion.l_x[t, n], work.value)
    for i in range(nu):
        work.cross[i, nx] += work.next_B[i, nx]
    for i in range(nx):
        work.value[i, nx] += work.next_A[i, nx]
    add_product_with_sparse(work.next_A, A, work.symmetric, work.value)


@inlined_helper
def add_damping(curvature: Array, mu: float, largest: Array, damped: Array) -> None:
    """Fill `damped` with Q_uu + mu D, and update the diagonal matrix D.

    D are the largest diagonal entries of Q_uu, from the end of the horizon to here. So
    the damping has the same effect in all units of the controls.
    """
    put_matrix(curvature, damped)
    for i in range(largest.shape[0]):
        largest[i] = max(largest[i], curvature[i, i])
        # a control that has had no effect yet stays where it is
        damped[i, i] += mu * largest[i] if largest[i] > 0.0 else 1.0


@inlined_helper
def solve_within(
    H: Array,
    G: Array,
    bounds: tuple[Array, Array],
    is_held: Array,
    factor: Array,
    S: Array,
) -> None:
    """Fill S = [K | k] (nu, nx+1).

    k minimises k'H k / 2 + k'g within the bounds (low, high), with g the last column of
    G (nu, nx+1); K = dk/dx follows from the other columns. Active sets: a control that
    would leave its bounds is held there, and one that is held is released if the slope
    draws it inside. The search stops after 1 + nu^2 changes at the latest.
    """
    low, high = bounds
    nu, last = G.shape[0], G.shape[1] - 1
    for i in range(nu):
        is_held[i] = False
    for _ in range(1 + nu * nu):
        for i in range(nu):
            if is_held[i]:
                for c in range(last):
                    S[i, c] = 0.0
        solve_free(H, G, is_held, factor, S)
        changed = False
        for i in range(nu):
            if not is_held[i] and not low[i] <= S[i, last] <= high[i]:
                is_held[i] = True
                changed = True
                S[i, last] = min(max(S[i, last], low[i]), high[i])
        if changed:
            continue
        if not release_one(H, G, bounds, is_held, S):
            break


@inlined_helper
def release_one(
    H: Array, G: Array, bounds: tuple[Array, Array], is_held: Array, S: Array
) -> bool:
    """Release the first held control that the slope draws inside; return if one was."""
    low, high = bounds
    nu, last = G.shape[0], G.shape[1] - 1
    for i in range(nu):
        slope = G[i, last]
        for j in range(nu):
            slope += H[i, j] * S[j, last]
        rises = slope < 0.0 and S[i, last] < high[i]
        falls = slope > 0.0 and S[i, last] > low[i]
        if is_held[i] and (rises or falls):
            is_held[i] = False
            return True
    return False


@inlined_helper
def solve_free(H: Array, G: Array, is_held: Array, factor: Array, S: Array) -> None:
    """Fill S = -H^-1 G in the rows that are not held, for the held rows of S."""
    nu, columns = G.shape
    for i in range(nu):
        for j in range(nu):
            identity = 1.0 if i == j else 0.0
            factor[i, j] = identity if is_held[i] or is_held[j] else H[i, j]
        for c in range(columns):
            total = -G[i, c]
            for j in range(nu):
                if is_held[j]:
                    total -= H[i, j] * S[j, c]
            S[i, c] = S[i, c] if is_held[i] else total
    solve_definite(factor, S)


@inlined_helper
def solve_definite(M: Array, R: Array) -> None:
    """Replace R (n, m) by the solution X of M X = R, and M (n, n) by its factor.

    Cholesky; the result is not a number if M is not positive definite.
    """
    n, m = R.shape
    for j in range(n):
        for i in range(j, n):
            total = M[i, j]
            for k in range(j):
                total -= M[i, k] * M[j, k]
            M[i, j] = math.sqrt(total) if i == j else total / M[j, j]
    for c in range(m):
        for i in range(n):
            total = R[i, c]
            for k in range(i):
                total -= M[i, k] * R[k, c]
            R[i, c] = total / M[i, i]
        for i in range(n - 1, -1, -1):
            total = R[i, c]
            for k in range(i + 1, n):
                total -= M[k, i] * R[k, c]
            R[i, c] = total / M[i, i]


@inlined_helper
def fill_matrix(M: Array, value: float) -> None:
    """Set every entry of a matrix."""
    for i in range(M.shape[0]):
        for j in range(M.shape[1]):
            M[i, j] = value


@inlined_helper
def put_matrix(M: Array, out: Array) -> None:
    """Copy M to the first columns of `out`."""
    for i in range(M.shape[0]):
        for j in range(M.shape[1]):
            out[i, j] = M[i, j]


@inlined_helper
def put_columns(M: Array, v: Array, out: Array) -> None:
    """Fill out = [M | v]."""
    for i in range(M.shape[0]):
        for j in range(M.shape[1]):
            out[i, j] = M[i, j]
        out[i, M.shape[1]] = v[i]


@inlined_helper
def add_transposed_product(M: Array, n: int, V: Array, out: Array) -> None:
    """Add M' V with the first n columns of M; zeros of M cost nothing."""
    # Whole rows are added up, so that the compiler vectorises the innermost loop.
    for i in range(n):
        for k in range(M.shape[0]):
            factor = M[k, i]
            if factor != 0.0:
                for j in range(V.shape[1]):
                    out[i, j] += factor * V[k, j]


@inlined_helper
def add_product_with_sparse(V: Array, M: Array, scratch: Array, out: Array) -> None:
    """Add V M to the first columns of `out`; zeros of M cost nothing.

    V (n, > n) is overwritten, `scratch` is (n, n).
    """
    n = M.shape[0]
    # Transposed, so that an entry of M belongs to one whole row of the sum.
    for i in range(n):
        for k in range(n):
            scratch[k, i] = V[i, k]
    for i in range(n):
        for j in range(n):
            V[j, i] = out[i, j]
    for k in range(n):
        for j in range(n):
            factor = M[k, j]
            if factor != 0.0:
                for i in range(n):
                    V[j, i] += scratch[k, i] * factor
    for i in range(n):
        for j in range(n):
            out[i, j] = V[j, i]


@inlined_helper
def add_product(M: Array, n: int, V: Array, out: Array) -> None:
    """Add M V with the first n columns of M."""
    for i in range(M.shape[0]):
        for k in range(n):
            factor = M[i, k]
            for j in range(V.shape[1]):
                out[i, j] += factor * V[k, j]
