"""Gauss-Newton products in continuous time: tangent and adjoint on a frozen grid.

The grid is that of the accepted steps, each as one step of rk4 or of the midpoint rule
along the interpolant, or the fixed steps themselves. There tangent and adjoint of the
residuals are an exact pair, and no weight of a stage is negative, so that
G = J' W J / N is symmetric and positive semi-definite by construction. (One weight of
Tsit5 is negative, -3.3.) The equations
are in kernels/solver_steps.py.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.continuous.estimators import Evaluations
from hfcontrol.closed_loop.continuous.paths import Path, Points, states_at
from hfcontrol.closed_loop.continuous.problem import Block
from hfcontrol.closed_loop.continuous.solver import Solver, Trajectory
from hfcontrol.closed_loop.continuous.tableaus import MIDPOINT, RK4, Tableau
from hfcontrol.closed_loop.counts import Counts

if TYPE_CHECKING:
    from hfcontrol.kernels.solver_steps import FrozenGrid


class Method(NamedTuple):
    """A tableau, and the points of its stages: start, middle and end of a step."""

    tableau: Tableau
    points: Array


METHODS = {
    "rk4": Method(RK4, np.array([0, 1, 1, 2])),
    "midpoint": Method(MIDPOINT, np.array([0, 1])),
}


class Grid(NamedTuple):
    """The frozen grid of a block.

    `steps` are its steps with the derivatives at their stages, `stages` (K, s) the
    points of the stages, `final` the root of the final cost's curvature (k, nx, w).
    """

    block: Block
    steps: "FrozenGrid"
    stages: Array
    final: Array

    @property
    def width(self) -> int:
        """Number of trials of the block."""
        return self.final.shape[2]


class BlockCotangent(NamedTuple):
    """Cotangents of a block's residuals: along the grid, and at the end (k, w)."""

    grid: Grid
    running: Array
    final: Array


class _UnitWeights(NamedTuple):
    """The weights of residuals that contain the roots of their weights."""

    weights: float = 1.0


class EvaluationTally:
    """A running total of `Evaluations`, shared by a linearisation and its subsets."""

    def __init__(self) -> None:
        self.total = Evaluations()

    def add(self, evaluations: Evaluations) -> None:
        """Add `evaluations` to the total."""
        self.total = self.total + evaluations


@dataclass(frozen=True)
class Linearised:
    """The continuous loop about one rollout, for some of its blocks.

    It is the gradient, and a linear map from weights to residuals with its transpose.
    Each residual is scaled by the root of its weight in the cost.
    """

    loop: Solver
    rollout: Trajectory
    blocks: tuple[int, ...]
    tally: EvaluationTally = field(default_factory=EvaluationTally, compare=False)
    cost = _UnitWeights()

    # Steps of Jacobians, tangents and adjoints have no meaning on an adaptive grid.
    counts = Counts()

    @property
    def evaluations(self) -> Evaluations:
        """What it and its subsets took so far."""
        return self.tally.total

    @property
    def trials(self) -> int:
        """Number of trials."""
        bounds = [self.loop.blocks[b] for b in self.blocks]
        return sum(end - first for first, end in bounds)

    def subset(self, trials: int) -> "Linearised":
        """Return the derivative of about `trials` trials, in evenly spaced blocks."""
        every = len(self.loop.blocks)
        wanted = round(trials / self.loop.estimator.block_size)
        count = min(every, max(1, wanted))
        blocks = tuple(number * every // count for number in range(count))
        return Linearised(self.loop, self.rollout, blocks, self.tally)

    @staticmethod
    def inner(residuals: Array, others: Array) -> float:
        """Return the inner product of residuals."""
        return float(residuals @ others)

    @cached_property
    def gradient(self) -> Array:
        """Gradient of the loss (P,), by the estimator."""
        found = self.loop.gradient(self.rollout)
        self.tally.add(found.evaluations)
        return found.theta

    @cached_property
    def grids(self) -> list[Grid]:
        """The grid of every block."""
        weights = self.loop.network.weights(self.rollout.theta)
        grids = self.loop.map_blocks(lambda b: self._grid(weights, b), self.blocks)
        evaluated = 0
        for grid in grids:
            slopes = grid.steps.points.slopes
            evaluated += slopes.shape[0] * slopes.shape[2]
        self.tally.add(Evaluations(dx=evaluated, dtheta=evaluated))
        return grids

    def _grid(self, weights: Array, b: int) -> Grid:
        """Linearise the field at all points of a block."""
        loop = self.loop
        path = self.rollout.paths[b]
        points = self._points(path)
        block = loop.block(weights, b)
        steps = loop.compiled.linearise(block, points, np.diff(path.times))
        final = loop.final_cost(path.states[-1], b).root
        return Grid(block, steps, points.stages, final)

    def _points(self, path: Path) -> Points:
        """Return the points of a block's stages."""
        if self.loop.estimator.fixed:
            return self._stage_points(path)
        method = METHODS[self.loop.estimator.products]
        steps = len(path.times) - 1
        middle = path.times[:-1] + np.diff(path.times) / 2
        # Ends of steps and their middles in turn; a step's end is the next one's start.
        times = np.empty(2 * steps + 1)
        times[::2] = path.times
        times[1::2] = middle
        states = np.empty((2 * steps + 1, *path.states.shape[1:]))
        states[::2] = path.states
        states[1::2] = states_at(path, middle, fixed=False)
        stages = 2 * np.arange(steps)[:, None] + method.points
        return Points(times, states, stages, method.tableau)

    def _stage_points(self, path: Path) -> Points:
        """Return the points of fixed steps: every stage has its own."""
        a, _, c = self.loop.tableau
        steps = len(path.times) - 1
        lengths = np.diff(path.times)
        times = (path.times[:-1, None] + np.outer(lengths, c)).ravel()
        change = np.einsum("ij,kjzn->kizn", a, path.rates)
        states = path.states[:-1, None] + lengths[:, None, None, None] * change
        states = states.reshape(-1, *path.states.shape[1:])
        stages = np.arange(steps * len(c)).reshape(steps, -1)
        return Points(times, states, stages, self.loop.tableau)

    def jvp(self, v: Array) -> Array:
        """Return the tangent of all residuals in the direction v (P,): one vector."""
        v = self.loop.network.weights_jvp(self.rollout.theta, v)
        self._count(tangent=1)
        found = self.loop.map_blocks(lambda grid: self._tangent(grid, v), self.grids)
        return np.concatenate(found)

    def _tangent(self, grid: Grid, v: Array) -> Array:
        """Return the tangent of a block's residuals, as one vector."""
        loop = self.loop
        nx = loop.plant.nx
        dz = np.zeros((loop.nz, grid.width))
        if loop.network.start:
            dz[nx:] = v[loop.start_places][:, None]
        dr = np.zeros(
            (*grid.stages.shape, len(loop.problem.weights.running), grid.width)
        )
        loop.compiled.residuals_tangent(grid.block, v, dz, grid.steps, dr)
        # dz is now the tangent of the last state.
        final = np.einsum("kin,in->kn", grid.final, dz[:nx])
        return np.concatenate([dr.ravel(), final.ravel()])

    def vjp(self, w: Array) -> Array:
        """Return the gradient (P,) of <w, residuals>, for w one vector."""
        self._count(dx=1, dtheta=1)
        parts = self._split(w)
        total: Any = sum(self.loop.map_blocks(self._adjoint, parts))
        return self.loop.network.weights_vjp(self.rollout.theta, total)

    def _split(self, w: Array) -> list[BlockCotangent]:
        """Return the parts of a vector of residuals, block by block."""
        parts: list[BlockCotangent] = []
        end = 0
        for grid in self.grids:
            residuals = len(self.loop.problem.weights.running)
            shape = (*grid.stages.shape, residuals, grid.width)
            final_shape = (len(grid.final), grid.width)
            first = end
            middle = first + int(np.prod(shape))
            end = middle + int(np.prod(final_shape))
            running = w[first:middle].reshape(shape)
            final = w[middle:end].reshape(final_shape)
            parts.append(BlockCotangent(grid, running, final))
        return parts

    def _adjoint(self, part: BlockCotangent) -> Array:
        """Return the cotangent of the weights (P,) from that of a block's residuals."""
        loop = self.loop
        grid = part.grid
        nx = loop.plant.nx
        theta_bar = np.zeros(loop.network.size)
        lam = np.zeros((loop.nz, grid.width))
        lam[:nx] = np.einsum("kin,kn->in", grid.final, part.final)
        r_bars = np.ascontiguousarray(part.running)
        loop.compiled.residuals_adjoint(grid.block, lam, grid.steps, r_bars, theta_bar)
        # lam is now the cotangent of the initial state.
        if loop.network.start:
            theta_bar[loop.start_places] += lam[nx:].sum(axis=1)
        return theta_bar

    def _count(self, **each: int) -> None:
        """Add evaluations, given for each stage of each trial."""
        stages = sum(grid.stages.size * grid.width for grid in self.grids)
        counted = {name: stages * count for name, count in each.items()}
        self.tally.add(Evaluations(**counted))
