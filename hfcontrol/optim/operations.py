"""Operations and memory of an update, predicted from the sizes of a problem.

One operation is one floating-point addition or multiplication. With P weights, T steps,
N trials, nx states, nu controls and ny observations, a tangent or an adjoint pass over
one trial multiplies twice with the weights (and their tangents), and once with A, B
and C:

    pass      = T (4 P + 2 E),  E = nx nx + nx nu + ny nx
    product   = 2 N pass                          G @ v: a tangent and an adjoint
    rows      = m pass                            m rows of J, an adjoint each
    gram      = m m P                             J J', half of which is symmetric
    factor    = m m m / 3                         Cholesky
    use       = 4 m P + 2 m m                     J v, a solution, and J' y

E is smaller where A or C is stored without its zeros (kernels/structure.py).

An update by conjugate gradients takes about `CG_PRODUCTS` products and uses its
preconditioner as often. An update in residual space takes rows, gram and factor.
"""

from collections.abc import Sequence
from typing import NamedTuple

from hfcontrol.closed_loop.protocol import Loop
from hfcontrol.kernels.base import Kernels
from hfcontrol.tasks.cost import ResidualIndex

# Products with G in an update by conjugate gradients (measured).
CG_PRODUCTS = 30

# The passes' operations are matrix products: a plant step takes as many times longer
# for each of its own (measured).
PASS_SPEED = 10

# Building and using the preconditioner takes at most this part of the operations of the
# products. Then no shipped task is short of rows (measured: tools/NOTES.md).
PRECONDITIONER_SHARE = 0.8

# Most memory of the rows of J and their Gram matrix [bytes].
ROW_BYTES = 1e9

# Most operations of the products of an update. Beyond, the curvature is that of fewer
# trials, but of no fewer than `LEAST_CURVED`.
PRODUCT_OPERATIONS = 1e12
LEAST_CURVED = 16

FLOAT = 8  # bytes


class ProblemSize(NamedTuple):
    """Numbers of weights, trials and steps; operations of a pass over one trial."""

    weights: int
    trials: int
    steps: int
    per_pass: int


def measure_problem(loop: Loop, trials: int | None = None) -> ProblemSize:
    """Return the size of a closed loop in control steps, of some of its trials."""
    P, T = loop.network.size, loop.scenario.steps
    per_pass = T * (4 * P + count_linear_step(loop.kernels))
    return ProblemSize(P, loop.trials if trials is None else trials, T, per_pass)


def count_linear_step(kernels: Kernels) -> int:
    """Return the operations of a step of a plant's linear model.

    A multiplication and an addition for every entry of A, B and C that is stored.
    """
    return 2 * kernels.stored_entries


def products_cost(size: ProblemSize) -> float:
    """Return the operations of the products in an update by conjugate gradients."""
    return CG_PRODUCTS * 2.0 * size.trials * size.per_pass


def rows_cost(size: ProblemSize, m: int) -> float:
    """Return the operations of m rows of J, their Gram matrix and its factor."""
    return float(m) * size.per_pass + float(m) * m * size.weights + m**3 / 3


def preconditioner_cost(size: ProblemSize, m: int) -> float:
    """Return the operations of a preconditioner with m rows, in one update."""
    use = 4.0 * m * size.weights + 2.0 * m * m
    return rows_cost(size, m) + CG_PRODUCTS * use


def rows_memory(size: ProblemSize, m: int) -> float:
    """Return the memory of m rows of J, their Gram matrix and its factor [bytes]."""
    return FLOAT * (float(m) * size.weights + 2.0 * m * m)


def preconditioner_trials(size: ProblemSize, residuals: int) -> int:
    """Return of how many trials the preconditioner takes the final residuals.

    `residuals` is their number in each trial. It is the largest number of trials whose
    rows fit into `ROW_BYTES` and into their share of the operations, and may be 0.
    """
    if not residuals:
        return 0
    most = PRECONDITIONER_SHARE * products_cost(size)
    for trials in range(size.trials, 0, -1):
        m = trials * residuals
        is_cheap = preconditioner_cost(size, m) <= most
        if is_cheap and rows_memory(size, m) <= ROW_BYTES:
            return trials
    return 0


def affordable_trials(size: ProblemSize) -> int:
    """Return of how many trials the curvature is taken, unless it is chosen."""
    affordable = int(size.trials * PRODUCT_OPERATIONS / products_cost(size))
    return min(size.trials, max(affordable, LEAST_CURVED))


def explicit_memory(
    size: ProblemSize, indices: Sequence[ResidualIndex], solver: str
) -> float:
    """Return the memory of the explicit Jacobian in an update [bytes].

    The size is that of the trials of the curvature.
    """
    if solver == "residual":
        return rows_memory(size, len(indices) * size.trials)
    final = sum(index.time == size.steps for index in indices)
    return rows_memory(size, final * preconditioner_trials(size, final))
