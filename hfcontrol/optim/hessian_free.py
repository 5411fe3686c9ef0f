"""The Hessian-free step: direction, line search, damping. State goes in and comes out.

direction
    Solve (G + lam I + lam mu S) d = -g, in residual space or by preconditioned
    conjugate gradients. G is the Gauss-Newton matrix, S structural damping.
line search
    Walk back through the iterates of conjugate gradients, then shorten the step, until
    the loss of the hold has fallen. An update that raises it is never kept.
damping
    Levenberg-Marquardt on the reduction ratio

        rho = actual change of the loss / change that the model predicts,

    with the undamped model g'd + d'G d / 2 in the denominator: lam falls if rho > 3/4
    and rises if rho < 1/4.

Constants and rules are those of Martens (2010) and his published code unless a comment
says otherwise; "measured" refers to tools/NOTES.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from hfcontrol.arrays.device import to_device_of
from hfcontrol.arrays.threads import single_threaded_blas
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.faults import check_gradient, check_products
from hfcontrol.closed_loop.protocol import Linearised, Loop
from hfcontrol.errors import UsageError
from hfcontrol.optim.counting import CountedObjective
from hfcontrol.optim.curvature import (
    GaussNewton,
    Identity,
    Operator,
    ResidualJacobian,
    Scaled,
    Structural,
    curvature_along,
)
from hfcontrol.optim.linear_solvers import (
    LinearMap,
    conjugate_gradients,
    identity,
    residual_space,
    woodbury,
)
from hfcontrol.optim.operations import (
    measure_problem,
    preconditioner_trials,
    products_cost,
    rows_cost,
)
from hfcontrol.optim.protocol import Objective, Report
from hfcontrol.optim.solver_choice import Choice, choose_solver, count_curved

# Factor of the last direction from which conjugate gradients start.
DECAY = 0.95

# Line search: factor of each cut, most cuts (Martens: 60), and the part of what the
# slope promises by which the loss has to fall (Armijo's rule).
SHRINK = 0.8
CUTS = 20
ARMIJO = 1e-2

# Reduction ratios below and above which the damping changes ...
LOWER = 0.25
UPPER = 0.75

# ... and by which factors (Martens: 3/2 and 2/3; measured: these need fewer updates).
RAISE = 2.0
REDUCE = 0.5
DAMPING_RANGE = (1e-12, 1e12)

# Another factor of the damping, if the first one was not given, as long as no reduction
# ratio has been below `UPPER`.
REDUCE_MORE = 0.2

# The value that stands for a damping that has not been chosen yet.
UNSET = 0.0

# A direction without descent is solved for again with more damping.
RETRIES = 8
RETRY_RAISE = 4.0

# Fewest iterations over which the progress of conjugate gradients is measured. With a
# preconditioner progress comes earlier.
FLOOR = 10
FLOOR_PRECONDITIONED = 3

# The curvature of some trials is compared with that of all after every so many updates.
# If it is smaller by more than this factor, twice as many trials are taken.
COMPARE_EVERY = 8
MISSED = 1.25


@dataclass(frozen=True)
class HFState:
    """What the optimizer carries from update to update and stores in checkpoints.

    `is_first_descent` tells that the damping falls from a first one that was not given.
    `curvature_trials` is the number of trials that the curvature has turned out to
    need, None for those of the options.
    """

    theta: Array
    damping: float
    direction: Array
    updates: int = 0
    is_first_descent: bool = False
    curvature_trials: int | None = None


class Candidate(NamedTuple):
    """A direction (P,) and the change of the loss that the undamped model predicts."""

    direction: Array
    predicted: float


class Step(NamedTuple):
    """An admissible step: rollout after it, step (P,) and predicted change.

    `direction` is the direction (P,) before it was shortened, `tried` the number of
    rollouts of the line search.
    """

    rollout: Any
    step: Array
    predicted: float
    direction: Array
    tried: int


@dataclass(frozen=True)
class HessianFree:
    """Options of the Hessian-free optimizer; `step` makes one update.

    Without `damping` the first one follows from the curvature (`first_damping`).
    With `curvature_trials`, the curvature is that of as many evenly spaced trials
    (Martens 2010); gradient and loss are always those of all trials. `structural` is
    the factor mu of structural damping, `cap` the most iterations of conjugate
    gradients. With `restarts`, a direction without descent is looked for again from
    zero, and the damping returns to what it was if none is found; else the damping
    keeps what it was raised to. With `adds_trials`, the curvature is that of more
    trials if the first ones miss too much of it. Raises UsageError for numbers out of
    range.
    """

    solver: str = "auto"
    damping: float | None = 1.0
    structural: float = 0.0
    cap: int = 100
    curvature_trials: int | None = None
    restarts: bool = False
    adds_trials: bool = False

    def __post_init__(self) -> None:
        if self.damping is not None and not 0 < self.damping < np.inf:
            raise UsageError(f"`damping` {self.damping}: must be a positive number")
        if not 0 <= self.structural < np.inf:
            raise UsageError(
                f"`structural` {self.structural}: must be a number, 0 or above"
            )
        if self.cap < 1:
            raise UsageError(f"`cg_cap` {self.cap}: must be at least 1")
        if self.curvature_trials is not None and self.curvature_trials < 1:
            raise UsageError(
                f"`curvature_trials` {self.curvature_trials}: must be at least 1"
            )

    def init(self, theta: Array) -> HFState:
        """Return the state before the first update."""
        damping = UNSET if self.damping is None else self.damping
        is_first_descent = self.damping is None
        return HFState(theta, damping, np.zeros_like(theta), 0, is_first_descent)

    def choose_solver(self, loop: Loop) -> tuple[str, str]:
        """Choose the solver for a closed loop; return its name and the reason.

        The reason is a sentence with operation counts. Raises UsageError if residual
        space is requested and does not fit.
        """
        indices = loop.active_residuals()
        return choose_solver(measure_problem(loop), indices, self.choice)

    @property
    def choice(self) -> Choice:
        """What the options say about the solver."""
        return Choice(self.solver, self.curvature_trials, self.structural > 0)

    def predict_operations(self, loop: Loop) -> float:
        """Return the operations of an update, approximately."""
        problem = measure_problem(loop)
        trials = count_curved(problem, self.curvature_trials)
        size = problem._replace(trials=trials)
        solver, _ = self.choose_solver(loop)
        if solver == "residual":
            return rows_cost(size, trials * len(loop.active_residuals()))
        return products_cost(size)

    def step(
        self, state: HFState, rollout: Any, hold: Objective, left: int = 1
    ) -> tuple[HFState, Any, Report]:
        """Make one update; return the state and the rollout after it, and a report.

        A direction without descent is solved for again with four times the damping, up
        to eight times. If that fails, the weights stay as they are, and the report says
        so. Raises NotFiniteError for a gradient or curvature that is not finite.
        """
        objective = CountedObjective(hold)
        found = None
        with single_threaded_blas():
            linear = objective.linearise(rollout)
            check_gradient(linear)
            descent = Descent(self._adapted(state), state, linear, objective.loop)
            lam = state.damping
            if lam == UNSET:
                lam = first_damping(descent.G, descent.gradient)
            for attempt in range(1 + RETRIES):
                # Before CG has converged, its start may lead uphill.
                from_zero = attempt > 0 and self.restarts
                candidates = descent.solve(lam, from_zero)
                found = search(objective, rollout, candidates, linear.gradient)
                if found:
                    break
                if not candidates:
                    check_products(linear)
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
                counts=objective.counts,
            )
            # a direction without descent is no start for the next update
            no_direction = np.zeros_like(state.theta)
            damping = state.damping if self.restarts else lam
            failed = replace(state, damping=damping, direction=no_direction)
            return failed, rollout, report

        new, accepted_step, predicted, direction, tried = found
        rho, lam = update_damping(rollout.loss, new.loss, predicted, lam)
        is_first_descent = state.is_first_descent and rho > UPPER
        if is_first_descent:
            # from a high first damping, a factor of two at a time takes too long
            lam = max(lam * REDUCE_MORE, DAMPING_RANGE[0])
        updates = state.updates + 1
        curvature_trials = state.curvature_trials
        if self.adds_trials and updates % COMPARE_EVERY == 0:
            curvature_trials = descent.enough_trials(accepted_step)
        report = Report(
            True,
            new.loss,
            rho,
            descent.solver,
            descent.iterations,
            tried,
            counts=objective.counts,
        )
        after = HFState(
            new.theta, lam, direction, updates, is_first_descent, curvature_trials
        )
        return after, new, report

    def _adapted(self, state: HFState) -> "HessianFree":
        """Return the options with as many trials as the curvature needs."""
        if state.curvature_trials is None:
            return self
        return replace(self, curvature_trials=state.curvature_trials)


def first_damping(G: Operator, g: Array) -> float:
    """Return the damping of the first update, from the curvature along the gradient g.

    It is the Rayleigh quotient g'Gg / g'g, which has the units of damping: the same
    problem in other units begins alike. It is large, because a first step that is too
    long saturates the units for good; `update_damping` reduces it fast.
    """
    squared = float(g @ g)
    curvature = float(g @ (G @ g))
    if not (0 < squared < np.inf and 0 < curvature < np.inf):
        return 1.0
    return float(np.clip(curvature / squared, *DAMPING_RANGE))


def update_damping(
    before: float, after: float, predicted: float, lam: float
) -> tuple[float, float]:
    """Return the reduction ratio of a step, and the damping after it.

    `before` and `after` are losses, `predicted` is the change that the undamped model
    predicts, `lam` the damping with which the step was made. (Levenberg-Marquardt.)
    """
    rho = (after - before) / predicted if predicted < 0 else np.nan
    # a ratio that is not a number raises the damping too
    if not rho >= LOWER:
        lam *= RAISE
    elif rho > UPPER:
        lam *= REDUCE
    return float(rho), float(np.clip(lam, *DAMPING_RANGE))


def probe(updates: int, size: int) -> Array:
    """Return the random signs (size,) that probe the curvature after `updates` updates.

    The count is the seed: a resumed training draws the same signs.
    """
    return np.random.default_rng(updates).choice([-1.0, 1.0], size=size)


class Descent:
    """Finds the candidate directions of one update, at a given damping.

    It works with weights in units of their typical sizes S, theta = S phi: the damping
    is lam S^-2 for theta.
    """

    def __init__(
        self, options: HessianFree, state: HFState, linear: Linearised, loop: Loop
    ) -> None:
        self.options = options
        self.state = state
        self.linear = linear
        self.curved = linear
        curved = count_curved(measure_problem(loop), options.curvature_trials)
        if curved < linear.trials:
            self.curved = linear.subset(curved)
        self.sizes = loop.network.weight_sizes
        if self.sizes is not None:
            self.sizes = to_device_of(self.sizes, state.theta)
        self.gradient = self._scale(linear.gradient)
        self.G = self._scale_operator(GaussNewton(self.curved))
        self.iterations = 0
        self.solver, _ = options.choose_solver(loop)
        self.rows = explicit_rows(self.curved, loop, self.solver, self.sizes)
        self._rest: float | None = None

    def enough_trials(self, step: Array) -> int | None:
        """Return the number of trials whose curvature along a step (P,) is that of all.

        None stands for the number in the options, or no more than are curved already.
        (Adaptive samples for the Hessian: Byrd, Chin, Neveitt and Nocedal 2011.)
        """
        curved = self.curved.trials
        if self.curved is self.linear:
            return self.state.curvature_trials
        of_all = curvature_along(self.linear, step)
        if of_all <= MISSED * curvature_along(self.curved, step):
            return self.state.curvature_trials
        return min(2 * curved, self.linear.trials)

    def _scale(self, v: Array) -> Array:
        """Return S v: a direction by theta from one by phi, or a gradient by phi."""
        return v if self.sizes is None else self.sizes * v

    def _scale_operator(self, A: Operator) -> Operator:
        """Return S A S."""
        return A if self.sizes is None else Scaled(A, self.sizes)

    def solve(self, lam: float, from_zero: bool = False) -> list[Candidate]:
        """Return the candidates, the most trusted last; none if J is not finite.

        Conjugate gradients start from the last direction, or `from_zero`.
        """
        try:
            candidates = self._solve(lam, from_zero)
        except np.linalg.LinAlgError:
            return []
        return [Candidate(self._scale(d), value) for d, value in candidates]

    def _solve(self, lam: float, from_zero: bool) -> list[Candidate]:
        """Return the candidates as directions by phi."""
        g = self.gradient
        if self.solver == "residual":
            assert self.rows is not None
            # the gradient of all trials is no product with the rows of a subset
            gradient = None if self.curved is self.linear else g
            d, Jd = residual_space(self.rows, lam, gradient)
            curvature = (Jd @ Jd) / self.rows.trials
            return [Candidate(d, float(g @ d + 0.5 * curvature))]

        A = self.G + lam * Identity()
        if self.options.structural:
            A = A + (lam * self.options.structural) * self._structural
        start = DECAY * self.state.direction
        if self.sizes is not None:
            start /= self.sizes
        solution = conjugate_gradients(
            A,
            -g,
            0.0 * g if from_zero else start,
            self._preconditioner(lam),
            self.options.cap,
            floor=FLOOR if self.rows is None else FLOOR_PRECONDITIONED,
        )
        self.iterations += solution.iterations

        # The damped model's value is at hand: without the damping's part it is that of
        # the undamped model.
        candidates = []
        for d, value in zip(solution.directions, solution.values, strict=True):
            undamped = value - 0.5 * self._damping_energy(d, lam)
            candidates.append(Candidate(d, undamped))
        return candidates

    @property
    def _structural(self) -> Operator:
        """Structural damping by phi."""
        return self._scale_operator(Structural(self.curved))

    def _damping_energy(self, d: Array, lam: float) -> float:
        """Return d' (lam I + lam mu S) d."""
        energy = lam * float(d @ d)
        if self.options.structural:
            structural = float(d @ (self._structural @ d))
            energy += lam * self.options.structural * structural
        return energy

    def _preconditioner(self, lam: float) -> LinearMap:
        """Return the inverse of an approximation to G + lam I.

        It takes the curvature of the final residuals exactly, of as many trials as fit,
        and the rest of the curvature as its mean diagonal, which one random probe
        estimates.
        """
        if self.rows is None:
            return identity
        if self._rest is None:
            signs = probe(self.state.updates, self.state.theta.size)
            z = to_device_of(signs, self.state.theta)
            Jz = self.rows.matrix @ z
            explicit = float(Jz @ Jz) / self.rows.trials
            self._rest = max(float(z @ (self.G @ z)) - explicit, 0.0) / z.size
        return woodbury(self.rows, lam + self._rest)


def explicit_rows(
    curved: Linearised, loop: Loop, solver: str, sizes: Array | None = None
) -> ResidualJacobian | None:
    """Return the Jacobian of the residuals that is made explicit, or None.

    It is that by the weights in units of `sizes` (P,).

    In residual space these are all residuals. For conjugate gradients they are those of
    the last step, for the preconditioner, of as many trials as pay (operations.py).
    """
    indices = loop.active_residuals()
    if solver == "cg" and indices:
        size = measure_problem(loop, curved.loop.trials)
        indices = [c for c in indices if c.time == size.steps]
        trials = preconditioner_trials(size, len(indices))
        if not trials:
            return None
        curved = curved.subset(trials)
    return ResidualJacobian(curved, indices, sizes) if indices else None


def search(
    hold: Objective,
    rollout: Any,
    candidates: Sequence[tuple[Array, float]],
    gradient: Array,
) -> Step | None:
    """Return the best admissible step from a rollout, or None.

    Walks back through the candidates, the most trusted of which is the last, until the
    loss stops improving. Then shortens the step by 0.8 until the loss has fallen far
    enough (Armijo's rule).
    """
    if not candidates:
        return None

    step, predicted = candidates[-1]
    # the next update starts from the whole direction, as in Martens' code
    direction = step
    best = hold.rollout(rollout.theta + step)
    tried = 1
    for earlier, value in reversed(candidates[:-1]):
        new = hold.rollout(rollout.theta + earlier)
        tried += 1
        if not new.loss < best.loss:
            break
        best, step, predicted = new, earlier, value

    # the model along the step is slope x length + curvature x length^2 / 2
    slope = float(gradient @ step)
    curvature = 2 * (predicted - slope)
    length = 1.0
    for _ in range(CUTS):
        enough = min(0.0, ARMIJO * length * slope)
        if best.loss <= rollout.loss + enough:
            break
        length *= SHRINK
        best = hold.rollout(rollout.theta + length * step)
        tried += 1

    if not best.loss < rollout.loss:
        return None
    predicted = length * slope + 0.5 * length**2 * curvature
    return Step(best, length * step, predicted, direction, tried)
