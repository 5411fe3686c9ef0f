"""The compiled solver of one network on one plant, called block by block.

It converts arguments; the equations are in kernels/fields.py, solver.py and
solver_steps.py. Importing this module imports Numba.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.continuous.paths import Path, Points
from hfcontrol.closed_loop.continuous.problem import Block, Limits, Problem
from hfcontrol.closed_loop.continuous.tableaus import TSIT5, Tableau
from hfcontrol.closed_loop.passes.cpu import kernel_tables
from hfcontrol.kernels import solver, solver_steps
from hfcontrol.kernels.cell_module import fill_functions
from hfcontrol.kernels.fields import FieldProblem, FieldWork
from hfcontrol.kernels.plant_functions import (
    load_plant_derivatives,
    load_plant_functions,
)
from hfcontrol.kernels.plant_types import PlantDerivatives
from hfcontrol.kernels.solver import (
    BackwardWork,
    Progress,
    Run,
    SolverLimits,
    SolverPath,
    SolverTableau,
)
from hfcontrol.kernels.solver_steps import FrozenGrid, Linearisation, StepTableau
from hfcontrol.network.network import Network
from hfcontrol.plant.contract import Plant

# Modes of the backward integration, by the estimator's name.
MODES = {
    "ctpg": solver.STORED,
    "backsolve": solver.BACKSOLVE,
    "backsolve_checkpoints": solver.CHECKPOINTED,
}

# Functions of a network that a forward pass, a gradient and a tangent call.
FORWARD = ("step",)
GRADIENT = ("step", "vjp", "weight_cotangents")
TANGENT = ("jvp",)

# Forward the solver reads no path.
NO_PATH = SolverPath(np.zeros(2), np.empty((1, 1, 1)), np.empty((1, 1, 1, 1)))

NO_DERIVATIVES = PlantDerivatives(0, 0)

# Steps that the arrays of a path hold at first.
FIRST_ROOM = 64


class Solution(NamedTuple):
    """How an integration ended.

    ended: DONE, TOO_MANY or TOO_SMALL, of kernels/solver.py
    time, step: the time it reached, and its next step [s]
    evaluations: evaluations of the rate
    path: the path of a forward integration
    """

    ended: int
    time: float
    step: float
    evaluations: int
    path: SolverPath


class CompiledSolver:
    """The kernels of the solver with the arguments that do not change.

    `residual` is the name of the task's residual function, if it has one.
    """

    def __init__(
        self, plant: Plant, network: Network, problem: Problem, residual: str | None
    ) -> None:
        self.plant = plant
        self.network = network
        self.problem = problem
        sizes = problem.sizes
        self.functions = load_plant_functions(
            plant, sizes.nz > 0, residual if sizes.nr else None
        )

    @cached_property
    def derivatives(self) -> PlantDerivatives:
        """Derivatives that the plant file defines."""
        return load_plant_derivatives(self.plant)

    def march(
        self, block: Block, z0: Array, times: Array, tableau: Tableau
    ) -> tuple[Array, Array, Array]:
        """Return states, rates of the stages and costs of steps, see kernels/."""
        problem = self._field_problem(block, FORWARD, NO_DERIVATIVES)
        work = self._work(block.width)
        steps, stages = len(times) - 1, len(tableau[1])
        Z = np.empty((steps + 1, *z0.shape))
        S = np.empty((steps, stages, *z0.shape))
        cost = np.empty(z0.shape[1])
        method = StepTableau(*tableau)
        solver_steps.march(problem, z0, times, method, work, Z, S, cost)
        return Z, S, cost

    def integrate_forward(
        self, block: Block, Y: Array, stops: Array, limits: Limits
    ) -> Solution:
        """Integrate Y (nz + 1, w) in place, to the last of the `stops`."""
        problem = self._field_problem(block, FORWARD, NO_DERIVATIVES)
        # Forward no array of a backward pass is read.
        backward = self._backward_work(1, 1)
        unused = BackwardWork(*[np.empty((1,) * a.ndim) for a in backward])
        work = self._work(block.width)
        run = self._run(solver.FORWARD, problem, work, NO_PATH, unused, limits, stops)
        return _integrate(run, Y, stops, np.empty(0), FIRST_ROOM)

    def integrate_backward(
        self,
        estimator: str,
        block: Block,
        Y: Array,
        stops: Array,
        path: Path,
        limits: Limits,
        theta_bar: Array,
    ) -> Solution:
        """Integrate Y (m, w) backward in place, and add to theta_bar (P,)."""
        problem = self._field_problem(block, GRADIENT, self.derivatives)
        work = self._work(block.width)
        stages = len(TSIT5[1])
        backward = self._backward_work(block.width, stages)
        stored = SolverPath(*path)
        mode = MODES[estimator]
        run = self._run(mode, problem, work, stored, backward, limits, stops)
        return _integrate(run, Y, stops, theta_bar, 1)

    @staticmethod
    def _run(
        mode: int,
        problem: FieldProblem,
        work: FieldWork,
        path: SolverPath,
        backward: BackwardWork,
        limits: Limits,
        stops: Array,
    ) -> Run:
        horizon = float(stops[-1])
        tableau = SolverTableau(*TSIT5)
        allowed = SolverLimits(*limits)
        return Run(mode, horizon, problem, work, path, tableau, backward, allowed)

    def steps_adjoint(
        self,
        block: Block,
        lam: Array,
        path: Path,
        tableau: Tableau,
        theta_bar: Array,
    ) -> None:
        """Replace lam (nz, w) of the last state by that of the first."""
        solver_steps.steps_adjoint(
            self._field_problem(block, GRADIENT, self.derivatives),
            lam,
            SolverPath(*path),
            StepTableau(*tableau),
            self._work(block.width),
            self._backward_work(block.width, 1),
            theta_bar,
        )

    def linearise(self, block: Block, points: Points, lengths: Array) -> FrozenGrid:
        """Return steps of some lengths (K,) with the derivatives at their points."""
        nx, nu, ny, nz_out, nr = self.problem.sizes
        n, Q, width = self.network.n_activations, len(points.times), block.width
        found = Linearisation(
            np.empty((Q, nx + ny + nz_out + nr, nx + nu, width)),
            np.empty((Q, nu, width)),
            np.empty((Q, n, width)),
            np.empty((Q, n, width)),
        )
        problem = self._field_problem(block, FORWARD, self.derivatives)
        states = np.ascontiguousarray(points.states)
        work = self._work(width)
        solver_steps.linearise_points(problem, points.times, states, work, found)
        tableau = StepTableau(*points.tableau)
        return FrozenGrid(lengths, points.stages, tableau, found)

    def residuals_tangent(
        self, block: Block, v: Array, dz: Array, grid: FrozenGrid, dr: Array
    ) -> None:
        """Fill dr with the tangents of the residuals; dz becomes that of the end."""
        problem = self._field_problem(block, TANGENT, NO_DERIVATIVES)
        work = self._work(block.width)
        solver_steps.residuals_tangent(problem, v, dz, grid, work, dr)

    def residuals_adjoint(
        self,
        block: Block,
        lam: Array,
        grid: FrozenGrid,
        r_bars: Array,
        theta_bar: Array,
    ) -> None:
        """Compute the transpose of `residuals_tangent`; lam and theta_bar change."""
        problem = self._field_problem(block, GRADIENT, NO_DERIVATIVES)
        work = self._work(block.width)
        solver_steps.residuals_adjoint(problem, lam, grid, work, r_bars, theta_bar)

    def _field_problem(
        self, block: Block, functions: tuple[str, ...], derivatives: PlantDerivatives
    ) -> FieldProblem:
        """Return the problem of a block, with the network's functions compiled."""
        problem = self.problem
        layers, sources, cells = problem.tables
        layers = fill_functions(layers, [layer.cell for layer in self.network.layers])
        network = kernel_tables(self.network, functions)

        def cut(a: Array) -> Array:
            return np.ascontiguousarray(a[..., block.first : block.end])

        network_target, state, control, output, custom = map(cut, problem.references)
        return FieldProblem(
            theta=block.weights,
            network=network._replace(layers=layers, sources=sources),
            cells=cells,
            plant=self.functions,
            derivatives=derivatives,
            # Each trial's parameters are contiguous.
            params=np.ascontiguousarray(cut(problem.params).T),
            limits=problem.limits,
            dt=problem.dt,
            network_target=network_target,
            state=state,
            control=control,
            output=output,
            target=custom,
            weights=cut(problem.weights.running),
            steps=problem.differences.steps,
            order=problem.differences.order,
        )

    def _work(self, width: int) -> FieldWork:
        """Return the scratch arrays of some trials."""
        nx, nu, ny, nz_out, nr = self.problem.sizes
        n = self.network.n_activations
        shapes: dict[str, tuple[int, ...]] = {
            "before": (n,),
            "now": (n,),
            "scratch": (n + 1,),
            "y": (ny,),
            "u": (nu,),
            "r": (len(self.problem.weights.running),),
            "target": (self.problem.references.custom.shape[1],),
            "all_observations": (self.functions.n_observable,),
            "z": (nz_out,),
            "x": (nx,),
            "moved_u": (nu,),
            "values": (2, nx + ny + nz_out + nr),
            "A": (nx, nx),
            "B": (nx, nu),
            "C": (ny, nx),
        }
        return FieldWork(**_zeros(shapes, width))

    def _backward_work(self, width: int, stages: int) -> BackwardWork:
        """Return the scratch arrays of a backward pass."""
        nx, nu, ny, nz_out, nr = self.problem.sizes
        n, nz = self.network.n_activations, nx + len(self.problem.tables.cells)
        shapes: dict[str, tuple[int, ...]] = {
            "z": (nz,),
            "F": (nz + 1,),
            "J": (nx + ny + nz_out + nr, nx + nu),
            "slope": (nu,),
            "r_bar": (len(self.problem.weights.running),),
            "before_bar": (n,),
            "befores": (stages, n),
            "nows": (stages, n),
            "deltas": (stages, n),
        }
        return BackwardWork(**_zeros(shapes, width))


def _zeros(shapes: dict[str, tuple[int, ...]], width: int) -> dict[str, Array]:
    """Return arrays of zeros by name, each with a last axis for the trials."""
    return {name: np.zeros((*shape, width)) for name, shape in shapes.items()}


def _integrate(
    run: Run, Y: Array, stops: Array, theta_bar: Array, room: int
) -> Solution:
    """Integrate Y (m, w) in place; the path has room for some steps at first."""
    stages, m, width = len(run.tableau.b), *Y.shape
    path = SolverPath(
        np.zeros(room + 1),
        np.empty((room + 1, m - 1, width)),
        np.empty((room, stages, m - 1, width)),
    )
    rates = np.empty((stages, m, width))
    progress = Progress(np.zeros(3), np.zeros(5, np.int64), rates, path)
    while True:
        solver.integrate(run, Y, stops, theta_bar, progress)
        ended, evaluations, taken, *_ = progress.counts.tolist()
        if ended != solver.FULL:
            break
        progress = progress._replace(path=_lengthen(progress.path))
    time, step, _ = progress.numbers.tolist()
    times, states, rates = progress.path
    # Copies free the room for steps that were not needed.
    kept = SolverPath(
        times[: taken + 1].copy(), states[: taken + 1].copy(), rates[:taken].copy()
    )
    return Solution(ended, time, step, evaluations, kept)


def _lengthen(path: SolverPath) -> SolverPath:
    """Return a path with room for twice as many steps."""
    steps = len(path.stages)
    more = (np.empty((steps, *a.shape[1:])) for a in path)
    return SolverPath(*map(np.concatenate, zip(path, more, strict=True)))
