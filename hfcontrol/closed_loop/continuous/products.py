"""Gauss-Newton products in continuous time: tangent and adjoint of the residuals on a frozen grid.

The grid is that of the accepted steps, each as one step of rk4 or of the midpoint rule along the interpolant, or the fixed
steps themselves. Tangent and adjoint there are an exact pair, and no weight of a stage is negative, so that G = J' W J / N is
symmetric and positive semi-definite by construction. (One of Tsit5's is: -3.3.) steps_piece.py has the equations.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from hfcontrol.closed_loop.continuous.estimators import Evaluations
from hfcontrol.closed_loop.continuous.tableaus import MIDPOINT, RK4
from hfcontrol.closed_loop.counts import Counts

STAGES = {
    "rk4": (RK4, np.array([0, 1, 1, 2])),
    "midpoint": (MIDPOINT, np.array([0, 1])),
}


class Grid(NamedTuple):
    """The frozen grid of a block: its tuple `problem`, lengths of steps (K,), points of stages (K, s), derivatives at the points,
    the tableau, and the roots of the final cost's curvature."""

    problem: tuple
    lengths: np.ndarray
    at: np.ndarray
    points: tuple
    tableau: tuple
    final: np.ndarray


class _Weighted(NamedTuple):
    """The weights of residuals that are scaled by their roots already."""

    weights: float = 1.0


class EvaluationTally:
    """A running total of `Evaluations`, shared by a linearisation and its parts."""

    def __init__(self) -> None:
        self.total = Evaluations()

    def add(self, evaluations: Evaluations) -> None:
        """Add `evaluations` to the total."""
        self.total = self.total + evaluations


@dataclass(frozen=True)
class Linearised:
    """The continuous loop about one rollout, of some of its blocks: its gradient and a linear map from weights to residuals, each
    scaled by the root of its weight in the cost, with its transpose."""

    loop: object
    rollout: object
    blocks: tuple
    tally: EvaluationTally = field(default_factory=EvaluationTally, compare=False)
    cost = _Weighted()

    # Steps of Jacobians, tangents and adjoints have no meaning on an adaptive grid.
    counts = Counts()

    @property
    def evaluations(self) -> Evaluations:
        """What it and its parts took so far."""
        return self.tally.total

    @property
    def trials(self):
        """The number of trials."""
        return sum(self.loop.blocks[b][1] - self.loop.blocks[b][0] for b in self.blocks)

    def subset(self, trials):
        """The derivative of some of the trials alone, about so many, in whole blocks spread evenly among all."""
        every = len(self.loop.blocks)
        count = min(every, max(1, round(trials / self.loop.estimator.together)))
        blocks = tuple(np.arange(count) * every // count)
        return Linearised(self.loop, self.rollout, blocks, self.tally)

    @cached_property
    def gradient(self):
        """Gradient of the loss (P,), by the estimator."""
        found = self.loop.gradient(self.rollout)
        self.tally.add(found.evaluations)
        return found.theta

    @cached_property
    def slope(self):
        """Derivative of each weight by what is trained, (P,) or 1."""
        return self.loop.network.slope(self.rollout.theta)

    @cached_property
    def grids(self):
        """The `Grid` of every block."""
        weights, loop = self.loop.network.weights(self.rollout.theta), self.loop
        grids = loop.each(lambda b: self._grid(weights, b), self.blocks)
        evaluated = sum(g.points[1].shape[0] * g.points[1].shape[2] for g in grids)
        self.tally.add(Evaluations(dx=evaluated, dtheta=evaluated))
        return grids

    def _grid(self, weights, b):
        loop, path, (n0, n1) = self.loop, self.rollout.paths[b], self.loop.blocks[b]
        lengths, steps = np.diff(path.times), len(path.times) - 1
        if loop.estimator.fixed:
            a, _, c = tableau = loop.tableau
            at = np.arange(steps * len(c)).reshape(steps, -1)
            times = (path.times[:-1, None] + np.outer(lengths, c)).ravel()
            Z = path.Z[:-1, None] + lengths[:, None, None, None] * np.einsum(
                "ij,kjzn->kizn", a, path.S
            )
            Z = Z.reshape(-1, *path.Z.shape[1:])
        else:
            tableau, places = STAGES[loop.estimator.products]
            at = 2 * np.arange(steps)[:, None] + places
            middle = path.times[:-1] + lengths / 2
            times, Z = (
                np.empty(2 * steps + 1),
                np.empty((2 * steps + 1, *path.Z.shape[1:])),
            )
            times[::2], times[1::2] = path.times, middle
            Z[::2], Z[1::2] = path.Z, self.rollout.block_at(path, middle)
        nx, nu, ny, nz_out, nr = loop.problem.sizes
        rows, width, Q = loop.network.n_activations, n1 - n0, len(times)
        points = (
            np.empty((Q, nx + ny + nz_out + nr, nx + nu, width)),
            *(np.empty((Q, k, width)) for k in (nu, rows, rows)),
        )
        problem = loop.problem.block(weights, n0, n1)
        loop.module.linearised(
            problem, times, np.ascontiguousarray(Z), loop.work(width), *points
        )
        return Grid(problem, lengths, at, points, tableau, loop.final(path.Z[-1], b)[2])

    def jvp(self, v):
        """Tangent of all residuals in the direction v (P,), as one vector."""
        v, loop, found = self.slope * v, self.loop, []
        self._count(tangent=1)

        def tangent(grid):
            width = grid.final.shape[2]
            dz = np.zeros((loop.plant.nx + len(loop.problem.cells), width))
            if loop.network.start:
                dz[loop.plant.nx :] = v[loop.start_places][:, None]
            dr = np.zeros((*grid.at.shape, len(loop.problem.weights), width))
            loop.module.along(
                grid.problem,
                v,
                dz,
                grid.lengths,
                grid.at,
                grid.tableau,
                grid.points,
                loop.work(width),
                dr,
            )
            return np.concatenate(
                [
                    dr.ravel(),
                    np.einsum("kin,in->kn", grid.final, dz[: loop.plant.nx]).ravel(),
                ]
            )

        found = loop.each(tangent, self.grids)
        return np.concatenate(found)

    def vjp(self, w):
        """Gradient (P,) of <w, residuals>, for w one vector."""
        loop, parts, place = self.loop, [], 0
        self._count(dx=1, dtheta=1)
        for grid in self.grids:
            shape, last = (
                (*grid.at.shape, len(loop.problem.weights), grid.final.shape[2]),
                grid.final.shape[::2],
            )
            middle = place + int(np.prod(shape))
            end = middle + int(np.prod(last))
            parts.append(
                (grid, w[place:middle].reshape(shape), w[middle:end].reshape(last))
            )
            place = end

        def adjoint(part):
            grid, r_bars, final_bar = part
            theta_bar, width = np.zeros(loop.network.size), final_bar.shape[1]
            lam = np.zeros((loop.plant.nx + len(loop.problem.cells), width))
            lam[: loop.plant.nx] = np.einsum("kin,kn->in", grid.final, final_bar)
            loop.module.along_transposed(
                grid.problem,
                lam,
                grid.lengths,
                grid.at,
                grid.tableau,
                grid.points,
                loop.work(width),
                np.ascontiguousarray(r_bars),
                theta_bar,
            )
            if loop.network.start:
                theta_bar[loop.start_places] += lam[loop.plant.nx :].sum(axis=1)
            return theta_bar

        return self.slope * sum(loop.each(adjoint, parts))

    def _count(self, **each):
        stages = sum(g.at.size * g.final.shape[2] for g in self.grids)
        counted = {name: stages * count for name, count in each.items()}
        self.tally.add(Evaluations(**counted))
