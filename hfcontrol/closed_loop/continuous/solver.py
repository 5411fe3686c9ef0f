"""Rollouts and gradients of plant and network as one differential equation.

The loss is the mean over trials of the integral of the running cost W and of the final
cost J:

    L = 1/N sum of  integral_0^T W(z(t)) dt + J(x(T))

The state z holds the states of the plant and those of the cells in continuous time.
Trials are solved in blocks, which share their steps. The equations of the compiled code
are in tableaus.py, and in kernels/ in fields.py, solver.py and solver_steps.py. Shapes:
nz states, w trials in a block, K steps of s stages.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from hfcontrol.arrays.threads import single_threaded_blas, thread_count
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.continuous.estimators import Estimator, Evaluations
from hfcontrol.closed_loop.continuous.final_cost import (
    FinalCost,
    evaluate_final_cost,
)
from hfcontrol.closed_loop.continuous.paths import Path, states_at
from hfcontrol.closed_loop.continuous.problem import Block, Limits, make_problem
from hfcontrol.closed_loop.continuous.tableaus import EULER, RK4, STEP5, Tableau
from hfcontrol.closed_loop.counts import Counts
from hfcontrol.closed_loop.linear_model import NOTHING_FIXED, LinearModel
from hfcontrol.closed_loop.wiring import Wiring
from hfcontrol.errors import TrainingError
from hfcontrol.kernels.base import Kernels
from hfcontrol.network.network import Network
from hfcontrol.plant.contract import Plant
from hfcontrol.tasks.scenario import Scenario

# Estimators with a backward integration; the others have fixed steps.
ADJOINTS = ("ctpg", "backsolve", "backsolve_checkpoints")

if TYPE_CHECKING:
    from hfcontrol.closed_loop.continuous.compiled import Solution

# Most steps backward in units of those forward: the adjoint of a stiff trajectory may
# need many.
BACKWARD = 10

# Steps granted for each time at which a step has to end.
STEPS_PER_STOP = 10

NO_EVALUATIONS = Evaluations()

# Why the compiled solver gave up.
REASONS = {1: "took {steps} steps", 2: "needed a step too short to make"}

Result = TypeVar("Result")


class Integration(NamedTuple):
    """How an adaptive integration ended.

    `failure` says why it gave up, None if it did not; then the time it reached [s], its
    last step [s], evaluations of each trial, and the path of a forward one.
    """

    failure: str | None
    time: float
    step: float
    evaluations: int
    path: Path


class BlockSolution(NamedTuple):
    """The path of a block, its integrated cost (w,) and what solving it took.

    `failure` says why the solver gave up, None if it did not.
    """

    path: Path
    cost: Array
    evaluations: int
    failure: str | None


class BlockGradient(NamedTuple):
    """The fields of `Gradient` for one block; `reconstructed` may be empty."""

    theta: Array
    start: Array
    reconstructed: Array
    evaluations: Evaluations


class Gradient(NamedTuple):
    """The gradient of the loss by the trained vector (P,), and what finding it took.

    `start` is each trial's gradient by its initial state (nz, N). `reconstructed` is
    the initial state (nz, N) that a backward integration of the state arrives at; None
    if there is no such integration.
    """

    theta: Array
    start: Array
    reconstructed: Array | None
    evaluations: Evaluations


@dataclass(frozen=True)
class Trajectory:
    """A rollout in continuous time: path of every block, loss of every trial (N,).

    `failure` says why the solver gave up, None if it did not; `evaluations` is what the
    solver took.
    """

    theta: Array
    loop: "Solver"
    paths: tuple[Path, ...]
    losses: Array
    failure: str | None = None
    linear_model: LinearModel = NOTHING_FIXED
    evaluations: Evaluations = NO_EVALUATIONS

    @property
    def counts(self) -> Counts:
        """What making it cost: one rollout."""
        return Counts(rollouts=1)

    @cached_property
    def loss(self) -> float:
        """The mean over trials, infinite if the solver gave up."""
        total = float(np.mean(self.losses))
        return total if np.isfinite(total) else np.inf

    @cached_property
    def x(self) -> Array:
        """States of the plant (T+1, nx, N) at the control steps."""
        loop = self.loop
        times = loop.plant.dt * np.arange(loop.scenario.steps + 1)
        return self.at(times)[:, : loop.plant.nx]

    def at(self, times: Array) -> Array:
        """Return the states (K, nz, N) of plant and cells at times (K,) [s].

        They are on the interpolant, or on lines between fixed steps.
        """
        fixed = self.loop.estimator.fixed
        blocks = [states_at(path, np.asarray(times), fixed) for path in self.paths]
        return np.concatenate(blocks, axis=2)


class Solver:
    """One network on one plant and scenario, solved and differentiated by an estimator.

    Raises UsageError for a plant, scenario or network that has no meaning in continuous
    time.
    """

    def __init__(
        self,
        plant: Plant,
        kernels: Kernels,
        network: Network,
        scenario: Scenario,
        wiring: Wiring,
        estimator: Estimator,
    ) -> None:
        self.plant = plant
        self.kernels = kernels
        self.network = network
        self.scenario = scenario
        self.wiring = wiring
        self.estimator = estimator
        self.problem = make_problem(plant, network, scenario, wiring, estimator)
        # Imported here: commands that only read a run start faster without Numba.
        from hfcontrol.closed_loop.continuous.compiled import CompiledSolver

        custom = scenario.cost.custom
        self.compiled = CompiledSolver(plant, network, self.problem, custom)

        trials = scenario.trials
        firsts = range(0, trials, estimator.block_size)
        ends = [*firsts[1:], trials]
        # First and end trial of every block.
        self.blocks: list[tuple[int, int]] = list(zip(firsts, ends, strict=True))
        self.horizon = plant.dt * scenario.steps
        granted = STEPS_PER_STOP * (len(self.problem.stops) - 1)
        self.max_steps = estimator.max_steps + granted

    @property
    def trials(self) -> int:
        """Number of trials, N."""
        return self.scenario.trials

    @property
    def nz(self) -> int:
        """Number of states of plant and cells."""
        return self.plant.nx + len(self.problem.tables.cells)

    @property
    def tableau(self) -> Tableau:
        """The tableau (a, b, c) of the steps."""
        return {"euler": EULER, "rk4": RK4}.get(self.estimator.name, STEP5)

    @property
    def start_places(self) -> Array:
        """Places in theta of the learned initial states of the cells."""
        start = self.network.start
        assert start, "the initial state is not trained"
        return start.start + self.problem.tables.cells - self.network.hidden.start

    def rollout(
        self, theta: Array, linear_model: LinearModel = NOTHING_FIXED
    ) -> Trajectory:
        """Return the trajectory of all trials at theta (P,)."""
        weights = self.network.weights(theta)
        solve = self._solve_fixed if self.estimator.fixed else self._solve_adaptive
        # States may leave the finite numbers: the losses report it.
        with np.errstate(all="ignore"):
            solved = self.map_blocks(lambda b: solve(weights, b))
            parts: list[Array] = []
            for b, block in enumerate(solved):
                final = self.final_cost(block.path.states[-1], b)
                parts.append(block.cost + final.cost)
            losses = np.concatenate(parts)
        losses[~np.isfinite(losses)] = np.inf

        failures = [block.failure for block in solved if block.failure]
        evaluations = sum(block.evaluations for block in solved)
        return Trajectory(
            theta,
            self,
            tuple(block.path for block in solved),
            losses,
            failures[0] if failures else None,
            linear_model,
            Evaluations(f=evaluations),
        )

    def gradient(self, rollout: Trajectory) -> Gradient:
        """Return the gradient of the loss at a rollout, by the estimator."""
        weights = self.network.weights(rollout.theta)
        paths = rollout.paths
        found = self.map_blocks(lambda b: self._block_gradient(weights, paths[b], b))
        total = np.sum([block.theta for block in found], axis=0)
        g = self.network.weights_vjp(rollout.theta, total) / self.trials
        start = np.concatenate([block.start for block in found], axis=1)
        reconstructed = None
        if found[0].reconstructed.size:
            back = [block.reconstructed for block in found]
            reconstructed = np.concatenate(back, axis=1)
        spent = sum((block.evaluations for block in found), NO_EVALUATIONS)
        return Gradient(g, start, reconstructed, spent)

    def map_blocks(
        self, function: Callable[[Any], Result], items: Iterable[Any] | None = None
    ) -> list[Result]:
        """Return the results of a function of each block, in parallel over the cores.

        The function gets the indices of the blocks, or one of `items`.
        """
        first, *rest = range(len(self.blocks)) if items is None else items
        with single_threaded_blas(), ThreadPoolExecutor(thread_count()) as pool:
            others = pool.map(function, rest)
            # The first one runs in this thread, which would only wait.
            return [function(first), *others]

    def block(self, weights: Array, b: int) -> Block:
        """Return block b, with the weights (P,) of the network."""
        return Block(weights, *self.blocks[b])

    def initial_states(self, weights: Array, n0: int, n1: int) -> Array:
        """Return the initial states (nz, w) of trials n0 to n1."""
        cells = np.zeros((len(self.problem.tables.cells), n1 - n0))
        if self.network.start:
            cells += weights[self.start_places][:, None]
        return np.concatenate([self.problem.x0[:, n0:n1], cells])

    def final_cost(self, z: Array, b: int) -> FinalCost:
        """Return the final cost at the last states z (nz, w) of block b."""
        return evaluate_final_cost(self.problem, self.kernels, z, self.blocks[b])

    def _solve_adaptive(self, weights: Array, b: int) -> BlockSolution:
        """Solve a block with adaptive steps."""
        n0, n1 = self.blocks[b]
        width = n1 - n0
        z = self.initial_states(weights, n0, n1)
        # The integrated cost is the last state.
        Y = np.concatenate([z, np.zeros((1, width))])
        block = self.block(weights, b)
        limits = self._limits(1.0, 1)
        stops = self.problem.stops
        solution = self.compiled.integrate_forward(block, Y, stops, limits)
        run = self._integration(solution, limits)
        cost = Y[-1]
        failure = None
        if run.failure:
            cost = np.full(width, np.inf)
            failure = (
                f"the solver {run.failure} and gave up at {run.time:.4g} s of "
                f"{self.horizon:.4g} s, state {self._worst_state(run.path)}, "
                f"step {run.step:.2g} s: loosen `rtol` and `atol`, or start with other "
                "weights (`seed`)"
            )
        return BlockSolution(run.path, cost, run.evaluations * width, failure)

    def _limits(self, slack: float, factor: int) -> Limits:
        """Return the estimator's limits, with larger tolerances or more steps."""
        estimator = self.estimator
        rtol, atol = slack * estimator.rtol, slack * estimator.atol
        return Limits(rtol, atol, factor * self.max_steps)

    def _integration(self, solution: "Solution", limits: Limits) -> Integration:
        """Return how the compiled solver ended."""
        failure = None
        if solution.ended:
            failure = REASONS[solution.ended].format(steps=limits.max_steps)
        path = Path(*solution.path)
        time, step, evaluations = solution.time, solution.step, solution.evaluations
        return Integration(failure, time, step, evaluations, path)

    def _worst_state(self, path: Path) -> str:
        """Return names and values of the last state of a block's farthest trial."""
        states = path.states[-1][: self.plant.nx]
        sizes = np.abs(states / self.plant.typical_state[:, None])
        worst = states[:, sizes.max(axis=0).argmax()]
        pairs = zip(self.plant.state, worst, strict=True)
        return ", ".join(f"{name} {value:.3g}" for name, value in pairs)

    def _solve_fixed(self, weights: Array, b: int) -> BlockSolution:
        """Solve a block with steps of one length."""
        n0, n1 = self.blocks[b]
        step = self.estimator.step or self.plant.dt
        steps = max(1, round(self.horizon / step))
        times = np.linspace(0.0, self.horizon, steps + 1)
        block = self.block(weights, b)
        z = self.initial_states(weights, n0, n1)
        states, rates, cost = self.compiled.march(block, z, times, self.tableau)
        stages = len(self.tableau[1])
        evaluations = steps * stages * (n1 - n0)
        return BlockSolution(Path(times, states, rates), cost, evaluations, None)

    def _block_gradient(self, weights: Array, path: Path, b: int) -> BlockGradient:
        """Return the gradient of a block's summed loss."""
        n0, n1 = self.blocks[b]
        width = n1 - n0
        block = self.block(weights, b)
        lam = self.final_cost(path.states[-1], b).gradient
        if self.estimator.name in ADJOINTS:
            found = self._adaptive_adjoint(block, path, lam)
        else:
            found = self._steps_adjoint(block, path, lam)
        if self.network.start:
            by_cells = found.start[self.plant.nx :].sum(axis=1)
            found.theta[self.start_places] += by_cells
        spent = Evaluations(*(width * count for count in found.evaluations))
        return found._replace(evaluations=spent)

    def _steps_adjoint(self, block: Block, path: Path, lam: Array) -> BlockGradient:
        """Return the exact adjoint of the steps, with one trial's evaluations.

        lam (nz, w) is the gradient by the last state; it is overwritten.
        """
        theta_bar = np.zeros(self.network.size)
        width = lam.shape[1]
        self.compiled.steps_adjoint(block, lam, path, self.tableau, theta_bar)
        count = (len(path.times) - 1) * len(self.tableau[1])
        nothing = np.empty((0, width))
        return BlockGradient(theta_bar, lam, nothing, Evaluations(0, count, count))

    def _adaptive_adjoint(self, block: Block, path: Path, lam: Array) -> BlockGradient:
        """Return the adjoint by the adaptive solver, with one trial's evaluations.

        lam (nz, w) is the gradient by the last state.
        """
        estimator = self.estimator
        theta_bar = np.zeros(self.network.size)
        nz = len(lam)
        stored = estimator.name == "ctpg"
        # Without a stored path the state is integrated backward too.
        Y = lam.copy() if stored else np.concatenate([lam, path.states[-1]])
        times = path.times
        if estimator.name != "backsolve_checkpoints":
            times = np.append(0.0, self.problem.stops)
        # In the time left: the solver runs from the horizon back to the start.
        stops = np.append(self.horizon - times[-2:0:-1], self.horizon)
        limits = self._limits(estimator.slack, BACKWARD)
        solution = self.compiled.integrate_backward(
            estimator.name, block, Y, stops, path, limits, theta_bar
        )
        run = self._integration(solution, limits)
        if run.failure:
            raise self._adjoint_error(run, Y[:nz], Y[nz:])
        f = 0 if stored else run.evaluations
        spent = Evaluations(f, run.evaluations, run.evaluations)
        return BlockGradient(theta_bar, Y[:nz], Y[nz:], spent)

    def _adjoint_error(
        self, run: Integration, adjoint: Array, state: Array
    ) -> TrainingError:
        """Return the error of an adjoint that did not reach the start."""
        # The solver counts the time left.
        time = self.horizon - run.time
        largest_state = np.abs(state).max(initial=0.0)
        advice = ", or use `estimator` ctpg" if state.size else ""
        return TrainingError(
            f"estimator {self.estimator.name}: the solver {run.failure} backward and "
            f"gave up at {time:.4g} s, step {run.step:.2g} s, with the state up to "
            f"{largest_state:.2g} and the adjoint up to {np.abs(adjoint).max():.2g}; "
            f"the weights did not change. Loosen `rtol` and `atol`{advice}"
        )
