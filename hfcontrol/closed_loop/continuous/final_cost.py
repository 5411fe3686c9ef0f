"""The final cost, its gradient and its curvature."""

from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.continuous.problem import Problem
from hfcontrol.kernels.base import Kernels


class FinalCost(NamedTuple):
    """The final cost (w,), its gradient (nz, w) and root of curvature (k, nx, w)."""

    cost: Array
    gradient: Array
    root: Array


class _Term(NamedTuple):
    """Weights w and residuals r (k, w) of 1/2 w r^2, and J = dr/dx (k, nx, w)."""

    w: Array
    r: Array
    J: Array


def evaluate_final_cost(
    problem: Problem, kernels: Kernels, z: Array, block: tuple[int, int]
) -> FinalCost:
    """Return the final cost at the last states z (nz, w) of the trials of a block."""
    x = z[: problem.references.state.shape[1]]
    terms = _terms(problem, kernels, x, block)
    cost = sum(0.5 * (w * r * r).sum(axis=0) for w, r, _ in terms)
    by_state = sum((J * (w * r)[:, None]).sum(axis=0) for w, r, J in terms)
    gradient = np.zeros_like(z)
    gradient[: len(x)] = by_state
    root = np.concatenate([np.sqrt(w)[:, None] * J for w, _, J in terms])
    return FinalCost(np.asarray(cost), gradient, root)


def _terms(
    problem: Problem, kernels: Kernels, x: Array, block: tuple[int, int]
) -> list[_Term]:
    """Return the terms of the state x (nx, w) and, if it is costed, of the output."""
    n0, n1 = block
    references = problem.references
    unit = np.eye(len(x))[:, :, None]
    residuals = x - references.state[-1, :, n0:n1]
    terms = [_Term(problem.weights.final_state[:, n0:n1], residuals, unit)]

    weights = problem.weights.final_output
    if weights is not None and weights.any():
        states = np.ascontiguousarray(x)[None]
        params = np.ascontiguousarray(problem.params[:, n0:n1])
        outputs = kernels.output(states, params)[0]
        residuals = outputs - references.output[-1, :, n0:n1]
        J = kernels.output_jacobian(states, params)[0]
        terms.append(_Term(weights[:, n0:n1], residuals, J))
    return terms
