"""Which solver an update takes, of how many trials: by predicted operations and memory.

operations.py has the formulas.
"""

from collections.abc import Sequence
from typing import NamedTuple

from hfcontrol.arrays.memory import format_bytes
from hfcontrol.errors import UsageError
from hfcontrol.optim.operations import (
    ROW_BYTES,
    ProblemSize,
    affordable_trials,
    preconditioner_trials,
    products_cost,
    rows_cost,
    rows_memory,
)
from hfcontrol.tasks.cost import ResidualIndex

# Most residuals of residual space: their Gram matrix is factorised at every update.
MOST_RESIDUALS = 4096


class Choice(NamedTuple):
    """What is chosen by the settings of these names; whether there is `structural`."""

    solver: str
    curvature_trials: int | None
    is_structural: bool


def choose_solver(
    problem: ProblemSize, indices: Sequence[ResidualIndex], choice: Choice
) -> tuple[str, str]:
    """Return the solver, "residual" or "cg", and the reason as a sentence.

    `indices` are those of the active residuals. Raises UsageError if residual space is
    requested and does not fit.
    """
    if not indices:
        return "cg", "cg: a trajectory in continuous time has no residual rows"

    solver, curvature_trials, is_structural = choice
    trials = count_curved(problem, curvature_trials)
    size = problem._replace(trials=trials)
    m = len(indices) * size.trials
    by_rows, by_products = rows_cost(size, m), products_cost(size)
    memory = rows_memory(size, m)

    most = min(size.weights, MOST_RESIDUALS)
    fits = m <= most and memory <= ROW_BYTES and not is_structural
    if solver == "auto":
        solver = "residual" if fits and by_rows <= by_products else "cg"
    elif solver == "residual" and not fits:
        raise UsageError(
            f"`solver` residual: there are {m} residuals and {size.weights} weights, "
            f"whose Jacobian takes {format_bytes(memory)}; at most {most} residuals "
            f"and {format_bytes(ROW_BYTES)} are allowed, and no `structural` damping; "
            "use cg or auto"
        )
    reason = (
        f"{solver}: {m} residuals, {size.weights} weights; an update costs about "
        f"{by_rows:.1e} operations in residual space, {by_products:.1e} by conjugate "
        "gradients"
    )
    if solver == "cg":
        reason += _describe_preconditioner(size, indices)
    if curvature_trials is None and trials < problem.trials:
        reason += f"; curvature of {trials} of {problem.trials} trials"
    return solver, reason


def count_curved(size: ProblemSize, curvature_trials: int | None) -> int:
    """Return of how many trials the curvature is taken.

    `curvature_trials` is the setting, None for as many as the operations allow.
    """
    if curvature_trials is None:
        return affordable_trials(size)
    return min(curvature_trials, size.trials)


def _describe_preconditioner(
    size: ProblemSize, indices: Sequence[ResidualIndex]
) -> str:
    """Return how many rows the preconditioner takes, if not of all trials."""
    final = sum(index.time == size.steps for index in indices)
    trials = preconditioner_trials(size, final)
    if not final or trials == size.trials:
        return ""
    return f"; preconditioner of {trials} trials, {trials * final} rows"
