"""Plant and network as one differential equation: rollouts, gradients and Gauss-Newton products like those of `ClosedLoop`.

The loss is the mean over trials of the integral of the running cost and of the final cost J,

    L = 1/N sum of  integral_0^T W(z(t)) dt + J(x(T)).

tableaus.py, solver_piece.py and steps_piece.py have the equations, products.py the Gauss-Newton products.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.threads import single_threaded_blas
from hfcontrol.closed_loop.continuous.estimators import Evaluations
from hfcontrol.closed_loop.continuous.problem import load_solver, make_problem
from hfcontrol.closed_loop.continuous.products import Linearised
from hfcontrol.closed_loop.continuous.tableaus import EULER, RK4, STEP5, TSIT5
from hfcontrol.closed_loop.counts import Counts
from hfcontrol.closed_loop.loop import NOTHING_FIXED
from hfcontrol.errors import TrainingError

MODES = {
    "ctpg": "STORED",
    "backsolve": "BACKSOLVE",
    "backsolve_checkpoints": "CHECKPOINTED",
}  # of solver_piece
BACKWARD = 10  # times as many steps as forward, at most: the adjoint of a stiff trajectory may need many
REASONS = {1: "took {most} steps", 2: "needed a step too short to make"}


class Path(NamedTuple):
    """The steps of a block of trials: times (K+1,), states (K+1, nz, w), rates of the stages (K, s, nz, w)."""

    times: np.ndarray
    Z: np.ndarray
    S: np.ndarray


class Gradient(NamedTuple):
    """The gradient of the loss by the trained vector (P,), and what finding it took.

    `start` is each trial's gradient by its initial state (nz, N). `reconstructed` is the
    initial state (nz, N) that a backward integration of the state arrives at; None where
    there is no such integration.
    """

    theta: np.ndarray
    start: np.ndarray
    reconstructed: np.ndarray | None
    evaluations: Evaluations


@dataclass(frozen=True)
class Trajectory:
    """A rollout in continuous time: path of every block, loss of every trial (N,).

    `failure` says why the solver gave up, None where it did not; `evaluations` is what
    the solver took.
    """

    theta: np.ndarray
    loop: object
    paths: tuple
    losses: np.ndarray
    failure: str | None = None
    linear_model: object = NOTHING_FIXED
    evaluations: Evaluations = Evaluations()

    @property
    def counts(self) -> Counts:
        """What making it cost: one rollout."""
        return Counts(rollouts=1)

    @cached_property
    def loss(self):
        """The mean over trials, infinite where the solver gave up."""
        total = float(np.mean(self.losses))
        return total if np.isfinite(total) else np.inf

    @cached_property
    def x(self):
        """States of the plant (T+1, nx, N) at the control steps."""
        return self.at(self.loop.plant.dt * np.arange(self.loop.scenario.steps + 1))[
            :, : self.loop.plant.nx
        ]

    def at(self, times):
        """States z (K, nz, N) of plant and cells at times (K,) [s]: on the interpolant, or on lines between fixed steps."""
        return np.concatenate(
            [self.block_at(path, np.asarray(times)) for path in self.paths], axis=2
        )

    def block_at(self, path, times):
        """The states (K, nz, w) of the block of trials with that path."""
        k = np.clip(
            np.searchsorted(path.times, times, side="right") - 1, 0, len(path.times) - 2
        )
        h = path.times[k + 1] - path.times[k]
        part = ((times - path.times[k]) / h)[:, None, None]
        if self.loop.estimator.fixed:
            return path.Z[k] + part * (path.Z[k + 1] - path.Z[k])
        powers = part[:, 0] ** np.arange(1, 5)
        return path.Z[k] + h[:, None, None] * np.einsum(
            "kp,jp,kjin->kin", powers, TSIT5[4], path.S[k]
        )


class ContinuousLoop:
    """One network on one plant and scenario, solved and differentiated by an `Estimator`.

    Raises UsageError for a plant, scenario or network that has no meaning in continuous time.
    """

    def __init__(self, plant, kernels, network, scenario, wiring, estimator):
        self.plant, self.kernels, self.network, self.scenario = (
            plant,
            kernels,
            network,
            scenario,
        )
        self.wiring, self.estimator = wiring, estimator
        self.problem = make_problem(plant, network, scenario, wiring, estimator)
        self.module = load_solver(
            plant,
            scenario.cost.custom,
            any(layer.state_source for layer in network.layers),
        )
        edges = np.append(
            np.arange(0, scenario.trials, estimator.together), scenario.trials
        )
        self.blocks = list(zip(edges[:-1].tolist(), edges[1:].tolist()))
        self.horizon = plant.dt * scenario.steps
        self.most = estimator.most + 10 * (len(self.problem.stops) - 1)

    @property
    def trials(self):
        """The number of trials, N."""
        return self.scenario.trials

    def active_residuals(self):
        """None: residuals are spread over time."""
        return []

    def each(self, function, blocks=None):
        """The results of a function of the number of a block, blocks side by side over the cores."""
        from numba import get_num_threads  # who only loads a run needs no Numba

        blocks = range(len(self.blocks)) if blocks is None else blocks
        blocks = list(blocks)
        with single_threaded_blas(), ThreadPoolExecutor(get_num_threads()) as pool:
            others = pool.map(function, blocks[1:])
            return [
                function(blocks[0]),
                *others,
            ]  # the first by this thread, which would only wait

    def work(self, width):
        """The scratch arrays `work` of the compiled pieces for so many trials."""
        nx, nu, ny, _, _ = self.problem.sizes
        rows, m = self.network.n_activations, len(self.problem.weights)
        return tuple(
            np.zeros((count, width)) for count in (rows, rows, rows + 1, ny, nu, m)
        )

    def room(self, width, stages):
        """The scratch arrays `room` of a backward pass."""
        nx, nu, ny, nz_out, nr = self.problem.sizes
        rows, m, nz = (
            self.network.n_activations,
            len(self.problem.weights),
            nx + len(self.problem.cells),
        )
        shapes = ((nz,), (nz + 1,), (nu,), (m,), (rows,), *[(stages, rows)] * 3)
        z, F, *others = (np.zeros((*shape, width)) for shape in shapes)
        return z, F, np.zeros((nx + ny + nz_out + nr, nx + nu, width)), *others

    def start(self, theta, n0, n1):
        """States z (nz, w) at the start of trials n0 to n1, for weights theta (P,)."""
        cells = np.zeros((len(self.problem.cells), n1 - n0))
        if self.network.start:
            cells += theta[self.start_places][:, None]
        return np.concatenate([self.problem.x0[:, n0:n1], cells])

    @property
    def start_places(self):
        """Where the learned start of the cells stands among the weights."""
        return self.network.start.start + self.problem.cells - self.network.hidden.start

    def rollout(self, theta, linear_model=NOTHING_FIXED):
        """The `Trajectory` of all trials with weights theta (P,)."""
        weights = self.network.weights(theta)
        with np.errstate(all="ignore"):
            solved = self.each(
                lambda b: (
                    self._fixed(weights, b)
                    if self.estimator.fixed
                    else self._adaptive(weights, b)
                )
            )
            losses = np.concatenate(
                [
                    cost + self.final(path.Z[-1], b)[0]
                    for b, (path, cost, _, _) in enumerate(solved)
                ]
            )
        failures = [failure for *_, failure in solved if failure]
        losses[~np.isfinite(losses)] = np.inf
        return Trajectory(
            theta,
            self,
            tuple(path for path, *_ in solved),
            losses,
            failures[0] if failures else None,
            linear_model,
            Evaluations(f=sum(count for _, _, count, _ in solved)),
        )

    def _adaptive(self, weights, b):
        n0, n1 = self.blocks[b]
        e, problem, z = (
            self.estimator,
            self.problem.block(weights, n0, n1),
            self.start(weights, n0, n1),
        )
        Y, empty = np.concatenate([z, np.zeros((1, n1 - n0))]), np.empty((1, 1, 1))
        path = (np.zeros(2), empty, np.empty((1, 1, 1, 1)))
        room = tuple(np.empty((1,) * a.ndim) for a in self.room(1, 1))
        ended, t, h, _, rates, *kept = self.module.adaptive(
            self.module.FORWARD,
            self.horizon,
            Y,
            self.problem.stops,
            problem,
            self.work(n1 - n0),
            path,
            TSIT5,
            room,
            e.rtol,
            e.atol,
            self.most,
            np.empty(0),
        )
        cost, failure = Y[-1], None
        if ended:
            cost, state = np.full(n1 - n0, np.inf), kept[1][-1][: self.plant.nx]
            worst = state[
                :,
                np.abs(state / self.plant.typical_state[:, None]).max(axis=0).argmax(),
            ]
            told = ", ".join(
                f"{name} {value:.3g}" for name, value in zip(self.plant.state, worst)
            )
            failure = (
                f"the solver {REASONS[ended].format(most=self.most)} and gave up at {t:.4g} s of {self.horizon:.4g} s, "
                f"state {told}, step {h:.2g} s: loosen --rtol and --atol, or start with other weights (--seed)"
            )
        return Path(*kept), cost, rates * (n1 - n0), failure

    def _fixed(self, weights, b):
        n0, n1 = self.blocks[b]
        steps = max(1, round(self.horizon / (self.estimator.step or self.plant.dt)))
        times, tableau = np.linspace(0.0, self.horizon, steps + 1), self.tableau
        Z, S, cost = self.module.march(
            self.problem.block(weights, n0, n1),
            self.start(weights, n0, n1),
            times,
            tableau,
            self.work(n1 - n0),
        )
        return Path(times, Z, S), cost, steps * len(tableau[1]) * (n1 - n0), None

    @property
    def tableau(self):
        """The tableau (a, b, c) of the steps."""
        return {"euler": EULER, "rk4": RK4}.get(self.estimator.name, STEP5)

    def final(self, z, b):
        """The final cost (w,), its gradient (nz, w), and the roots of its curvature (k, nx, w) at the last states of a block."""
        n0, n1 = self.blocks[b]
        p, x, lam = self.problem, z[: self.plant.nx], np.zeros_like(z)
        parts = [
            (
                p.final_state[:, n0:n1],
                x - p.goal[-1, :, n0:n1],
                np.eye(len(x))[:, :, None],
            )
        ]
        if p.final_output is not None and p.final_output.any():
            at = (
                np.ascontiguousarray(x)[None],
                np.ascontiguousarray(p.params[:, n0:n1]),
            )
            parts.append(
                (
                    p.final_output[:, n0:n1],
                    self.kernels.output(*at)[0] - p.output[-1, :, n0:n1],
                    self.kernels.output_jacobian(*at)[0],
                )
            )
        cost = sum(0.5 * (w * r * r).sum(axis=0) for w, r, _ in parts)
        lam[: len(x)] = sum((J * (w * r)[:, None]).sum(axis=0) for w, r, J in parts)
        return cost, lam, np.concatenate([np.sqrt(w)[:, None] * J for w, _, J in parts])

    def linearise(self, rollout):
        """The derivative of the loss and its curvature with respect to the weights, at a rollout."""
        return Linearised(self, rollout, tuple(range(len(self.blocks))))

    def gradient(self, rollout):
        """The `Gradient` of the loss at a rollout, by the estimator."""
        weights = self.network.weights(rollout.theta)
        found = self.each(lambda b: self._backward(weights, rollout.paths[b], b))
        theta_bars, lams, back, counts = zip(*found)
        g = self.network.slope(rollout.theta) * sum(theta_bars) / self.trials
        return Gradient(
            g,
            np.concatenate(lams, axis=1),
            np.concatenate(back, axis=1) if back[0].size else None,
            sum(counts, Evaluations()),
        )

    def _backward(self, weights, path, b):
        n0, n1 = self.blocks[b]
        problem, work, theta_bar = (
            self.problem.block(weights, n0, n1),
            self.work(n1 - n0),
            np.zeros(self.network.size),
        )
        _, lam, _ = self.final(path.Z[-1], b)
        if self.estimator.name in MODES:
            lam, back, counts = self._adjoint(problem, work, path, lam, theta_bar)
        else:
            room = self.room(n1 - n0, 1)
            self.module.steps_adjoint(
                problem,
                lam,
                path.times,
                path.Z,
                path.S,
                self.tableau,
                work,
                room,
                theta_bar,
            )
            count = (len(path.times) - 1) * len(self.tableau[1])
            back, counts = np.empty((0, n1 - n0)), Evaluations(0, count, count)
        if self.network.start:
            theta_bar[self.start_places] += lam[self.plant.nx :].sum(axis=1)
        evaluations = Evaluations(*((n1 - n0) * count for count in counts))
        return theta_bar, lam, back, evaluations

    def _adjoint(self, problem, work, path, lam, theta_bar):
        e, module, nz, width = self.estimator, self.module, len(lam), lam.shape[1]
        mode = getattr(module, MODES[e.name])
        Y = lam.copy() if mode == module.STORED else np.concatenate([lam, path.Z[-1]])
        times = (
            path.times
            if mode == module.CHECKPOINTED
            else np.append(0.0, self.problem.stops)
        )
        stops = np.append(self.horizon - times[-2:0:-1], self.horizon)
        ended, tau, h, _, rates, *_ = module.adaptive(
            mode,
            self.horizon,
            Y,
            stops,
            problem,
            work,
            tuple(path),
            TSIT5,
            self.room(width, 7),
            e.slack * e.rtol,
            e.slack * e.atol,
            BACKWARD * self.most,
            theta_bar,
        )
        if ended:
            raise TrainingError(
                f"estimator {e.name}: the solver {REASONS[ended].format(most=BACKWARD * self.most)} backward and gave "
                f"up at {self.horizon - tau:.4g} s, step {h:.2g} s, with the state up to "
                f"{np.abs(Y[nz:]).max(initial=0.0):.2g} and the adjoint up to {np.abs(Y[:nz]).max():.2g}; nothing "
                "of it entered the weights. Loosen --rtol and --atol"
                + (", or give --estimator ctpg" if nz < len(Y) else "")
            )
        return (
            Y[:nz],
            Y[nz:],
            Evaluations(0 if mode == module.STORED else rates, rates, rates),
        )
