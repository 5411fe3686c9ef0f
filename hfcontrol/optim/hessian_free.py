"""The Hessian-free step: direction, damping, acceptance; state goes in and comes out.

    direction   solve (G + lam I + lam mu S) d = -g, in residual space or by preconditioned conjugate gradients
    damping     Levenberg-Marquardt on rho = actual / predicted change, with the undamped model in the denominator
    acceptance  the loss of the function that the hold keeps; no update that raises it is kept

Constants and rules are those of Martens (2010) and his released code unless said otherwise.
"""

from dataclasses import dataclass, replace

import numpy as np

from hfcontrol.arrays.device import to_device_of
from hfcontrol.arrays.threads import single_threaded_blas
from hfcontrol.closed_loop.counts import Counts
from hfcontrol.errors import UsageError
from hfcontrol.optim.counting import CountedHold
from hfcontrol.optim.curvature import (
    GaussNewton,
    Identity,
    ResidualJacobian,
    Structural,
)
from hfcontrol.optim.linear_solvers import conjugate_gradients, residual_space, woodbury

DECAY = 0.95  # of the warm start between updates
SHRINK, CUTS = 0.8, 20  # line search
LOWER, UPPER = 0.25, 0.75  # rho below and above which the damping changes ...
RAISE, REDUCE = (
    2.0,
    0.5,
)  # ... by these factors (Martens: 3/2 and 2/3; measured in tools/NOTES.md)
FLOOR, FLOOR_PRECONDITIONED = (
    10,
    3,
)  # iterations over which CG's progress is measured: it is made earlier with one
RETRIES, RETRY_RAISE = (
    8,
    4.0,
)  # a step without descent is solved again with more damping
ARMIJO = 1e-2  # the part of what the slope promises that the loss must fall by
DAMPING_RANGE = (1e-12, 1e12)
MOST_RESIDUALS = (
    4096  # rows of an explicit Jacobian: its Gram matrix is factorised at every update
)


@dataclass(frozen=True)
class HFState:
    """What the optimizer carries from update to update, across holds and checkpoints."""

    theta: np.ndarray
    damping: float
    direction: np.ndarray
    updates: int = 0


@dataclass(frozen=True)
class Report:
    """How one step went, and what it cost.

    The loss after it, the reduction ratio, the solver and its iterations, rollouts tried,
    updates made.
    """

    accepted: bool
    loss: float
    rho: float
    solver: str
    iterations: int
    tried: int
    updates: int = 1
    counts: Counts = Counts()


@dataclass(frozen=True)
class HessianFree:
    """Options of the Hessian-free optimizer; `step` advances an `HFState` by one update.

    With `curvature_trials` the curvature is that of so many trials, spread evenly among all (Martens 2010, sec. 4.6); the gradient
    and the loss are always those of all.
    """

    solver: str = "auto"
    damping: float = 1.0
    structural: float = 0.0
    cap: int = 100
    curvature_trials: int | None = None

    def __post_init__(self):
        if not 0 < self.damping < np.inf:
            raise UsageError(f"--damping {self.damping}: a positive number is needed")
        if not 0 <= self.structural < np.inf:
            raise UsageError(
                f"--structural {self.structural}: a number, zero or above, is needed"
            )
        if self.cap < 1:
            raise UsageError(f"--cg-cap {self.cap}: at least 1 iteration is needed")
        if self.curvature_trials is not None and self.curvature_trials < 1:
            raise UsageError(
                f"--curvature-trials {self.curvature_trials}: at least 1 is needed"
            )

    def init(self, theta):
        """The state before the first update."""
        return HFState(theta, self.damping, np.zeros_like(theta))

    def choose_solver(self, loop):
        """The solver for a closed loop and the reason, a sentence with operation counts.

        In operations per weight, trial and step: a product with G costs 8, conjugate gradients take some 30 of them;
        a row of J costs 4 for the adjoint, and its products with the others another 2 m / T.
        """
        channels = loop.active_residuals()
        if not channels:
            return "cg", "cg: residuals of a trajectory in continuous time have no rows"
        trials, P = (
            min(self.curvature_trials or loop.trials, loop.trials),
            loop.network.size,
        )
        m, work = len(channels) * trials, P * trials * loop.scenario.steps
        rows_cost, cg_cost = (
            6 * len(channels) * work + m * m * P + m**3 / 3,
            30 * 8 * work,
        )
        fits = m <= min(P, MOST_RESIDUALS) and not self.structural
        solver = self.solver
        if solver == "auto":
            solver = "residual" if fits and rows_cost <= cg_cost else "cg"
        elif solver == "residual" and not fits:
            raise UsageError(
                f"--solver residual: {m} residuals; it needs at most as many as weights ({P}), at most "
                f"{MOST_RESIDUALS}, and no --structural damping: use --solver cg or auto"
            )
        return solver, (
            f"{solver}: {m} residuals, {P} weights; an update costs about {rows_cost:.1e} operations in "
            f"residual space, {cg_cost:.1e} by conjugate gradients"
        )

    def step(self, state, rollout, hold, left=1):
        """One update: (state, rollout, report) from the state, the rollout of its weights and the hold's function.

        A direction without descent is solved for again with four times the damping, up to eight times; if that fails,
        the weights stay as they are and the report says so.
        """
        hold = CountedHold(hold)
        with single_threaded_blas():
            descent = Descent(self, state, hold.linearise(rollout), hold.loop)
            lam = state.damping
            for attempt in range(1 + RETRIES):
                candidates = descent.solve(lam)
                found = search(hold, rollout, candidates, descent.linear.gradient)
                if found:
                    break
                lam = min(lam * RETRY_RAISE, DAMPING_RANGE[1])
        if not found:
            report = Report(
                False,
                rollout.loss,
                np.nan,
                descent.solver,
                descent.iterations,
                tried=0,
                updates=0,
                counts=hold.counts,
            )
            return (
                replace(state, damping=lam, direction=np.zeros_like(state.theta)),
                rollout,
                report,
            )
        new, step, predicted, full, tried = found
        rho, lam = update_damping(rollout.loss, new.loss, predicted, lam)
        report = Report(
            True,
            new.loss,
            rho,
            descent.solver,
            descent.iterations,
            tried,
            counts=hold.counts,
        )
        return HFState(new.theta, lam, full, state.updates + 1), new, report


def update_damping(before, after, predicted, lam):
    """The reduction ratio of a step from the loss before to the loss after, and the damping after a step made with lam."""
    rho = (after - before) / predicted if predicted < 0 else np.nan
    if not rho >= LOWER:
        lam *= RAISE
    elif rho > UPPER:
        lam *= REDUCE
    return float(rho), float(np.clip(lam, *DAMPING_RANGE))


def probe(updates, size):
    """The random signs (P,) by which the preconditioner estimates the rest of the curvature after so many updates."""
    return np.random.default_rng(updates).choice([-1.0, 1.0], size=size)


class Descent:
    """The candidate directions of one update at a given damping; the model's value is that without damping."""

    def __init__(self, options, state, linear, loop):
        self.options, self.state, self.linear = options, state, linear
        self.curved = (
            linear.subset(options.curvature_trials)
            if options.curvature_trials
            else linear
        )
        self.G, self.iterations = GaussNewton(self.curved), 0
        self.solver, _ = options.choose_solver(loop)
        self.rows = explicit_rows(self.curved, loop, self.solver)

    def solve(self, lam):
        """Candidates (direction, predicted change of the loss), the most trusted last; none where J is not finite."""
        try:
            return self._solve(lam)
        except np.linalg.LinAlgError:
            return []

    def _solve(self, lam):
        g = self.linear.gradient
        if self.solver == "residual":
            d, Jd = residual_space(
                self.rows, lam, None if self.curved is self.linear else g
            )
            return [(d, float(g @ d + 0.5 * (Jd @ Jd) / self.rows.trials))]
        A = self.G + lam * Identity()
        if self.options.structural:
            A = A + (lam * self.options.structural) * Structural(self.curved)
        floor = FLOOR if self.rows is None else FLOOR_PRECONDITIONED
        solution = conjugate_gradients(
            A,
            -g,
            DECAY * self.state.direction,
            self._preconditioner(lam),
            self.options.cap,
            floor=floor,
        )
        self.iterations += solution.iterations
        # q with damping is at hand; subtracting the damping's part leaves the undamped model
        return [
            (d, value - 0.5 * self._damping_energy(d, lam))
            for d, value in zip(solution.directions, solution.values)
        ]

    def _damping_energy(self, d, lam):
        energy = lam * float(d @ d)
        if self.options.structural:
            energy += (
                lam * self.options.structural * float(d @ (Structural(self.curved) @ d))
            )
        return energy

    def _preconditioner(self, lam):
        """The final residuals' curvature exactly, of as many trials as fit, the rest as its mean diagonal, estimated by one
        random probe."""
        if self.rows is None:
            return lambda r: r
        if not hasattr(self, "_rest"):
            z = to_device_of(
                probe(self.state.updates, self.state.theta.size), self.state.theta
            )
            Jz = self.rows.matrix @ z
            self._rest = (
                max(float(z @ (self.G @ z)) - float(Jz @ Jz) / self.rows.trials, 0.0)
                / z.size
            )
        return woodbury(self.rows, lam + self._rest)


def explicit_rows(curved, loop, solver):
    """The residuals whose Jacobian is made explicit, or None: all of them in residual space, for conjugate gradients those of the
    last step, of as many trials as fit, whose curvature is the preconditioner's."""
    channels = loop.active_residuals()
    if solver == "cg" and channels:
        channels = [c for c in channels if c.time == loop.scenario.steps]
        if len(channels) * curved.loop.trials > MOST_RESIDUALS:
            curved = curved.subset(MOST_RESIDUALS // len(channels))
    return ResidualJacobian(curved, channels) if channels else None


def search(hold, rollout, candidates, gradient):
    """The best admissible step: (rollout, step, predicted change, full direction, rollouts tried), or None.

    Walks back through the candidates until the loss stops improving, then shortens the step by 0.8 until the loss has
    fallen (Armijo, constant 1e-2).
    """
    if not candidates:
        return None
    (step, predicted), tried = candidates[-1], 1
    full, best = step, hold.rollout(rollout.theta + step)
    for earlier, value in reversed(candidates[:-1]):
        new, tried = hold.rollout(rollout.theta + earlier), tried + 1
        if not new.loss < best.loss:
            break
        best, step, predicted = new, earlier, value
    slope, length = float(gradient @ step), 1.0
    curvature = 2 * (predicted - slope)
    for _ in range(CUTS):
        if best.loss <= rollout.loss + min(0.0, ARMIJO * length * slope):
            break
        length *= SHRINK
        best, tried = hold.rollout(rollout.theta + length * step), tried + 1
    if not best.loss < rollout.loss:
        return None
    return (
        best,
        length * step,
        length * slope + 0.5 * length**2 * curvature,
        full,
        tried,
    )
