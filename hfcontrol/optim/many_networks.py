"""The Hessian-free step of several networks in one batch.

On a GPU a call takes as long for one small network as for thirty. So all arrays have an
axis for the networks (S, P), the closed loop is one of S networks, and the decisions of
hessian_free.py and linear_solvers.py are taken per network from its own numbers (S,).
Converged networks are frozen until the batch finishes. Each network makes the update
that it makes alone, to rounding; rules and constants are those of hessian_free.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, NamedTuple

import numpy as np

from hfcontrol.arrays.device import to_device_of, to_host
from hfcontrol.arrays.linear_algebra import invert_cholesky_factors
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.loop import ClosedLoop
from hfcontrol.closed_loop.protocol import Linearised
from hfcontrol.optim.curvature import GaussNewton, Operator, ResidualJacobian
from hfcontrol.optim.hessian_free import (
    ARMIJO,
    CUTS,
    DAMPING_RANGE,
    DECAY,
    FLOOR,
    FLOOR_PRECONDITIONED,
    RETRIES,
    RETRY_RAISE,
    SHRINK,
    HessianFree,
    explicit_rows,
    probe,
    update_damping,
)
from hfcontrol.optim.linear_solvers import (
    FIRST_KEPT,
    KEPT_RATIO,
    LinearMap,
    identity,
)


class Candidates(NamedTuple):
    """Directions (S, P), the models' values (S,), and which of them exist (S,)."""

    directions: Array
    values: Array
    valid: Array


@dataclass
class Solutions:
    """What a solve returns for S networks.

    The last directions (S, P) and model values (S,), numbers of iterations and products
    (S,). `kept` holds earlier iterates, triples (iteration, directions, values), which
    are a network's if it continued after that iteration.
    """

    directions: Array
    values: Array
    iterations: Array
    products: Array
    kept: list[tuple[int, Array, Array]] = field(default_factory=list)

    def candidates(self) -> list[Candidates]:
        """Return all iterates as `Candidates`, the most trusted last."""
        found = []
        for iteration, directions, values in self.kept:
            valid = self.iterations > iteration
            if valid.any():
                found.append(Candidates(directions, values, valid))
        last = Candidates(self.directions, self.values, self.iterations > 0)
        return [*found, last]


class Steps(NamedTuple):
    """What a line search found for S networks.

    Which of them found a step (S,), steps (S, P), predicted changes (S,), directions
    before they were shortened (S, P), rollouts tried (S,), losses (S,). `rollout` is
    that of the new weights of all networks if it was the last one made, else None.
    """

    found: Array
    step: Array
    predicted: Array
    directions: Array
    tried: Array
    losses: Array
    rollout: Any


class Update(NamedTuple):
    """One update of S networks.

    `rollout` is that of the weights after it; damping and rho are lists of S numbers,
    `directions` (S, P) those from which the next update starts. Per network (S,):
    accepted, losses, iterations, rollouts tried by the last line search and by all, and
    products with G. `curvature_trials` is the number of trials of a network in G,
    `rows` the number of rows of its explicit Jacobian.
    """

    rollout: Any
    damping: list[float]
    directions: Array
    accepted: Array
    losses: Array
    rho: list[float]
    solver: str
    iterations: Array
    tried: Array
    rollouts: Array
    products: Array
    curvature_trials: int
    rows: int


def inner_products(a: Array, b: Array) -> Array:
    """Return the inner products (S,) of vectors (S, P), on their device."""
    return (a * b).sum(axis=1)


def column(numbers: Any, other: Array) -> Array:
    """Return a number per network (S,) as a column (S, 1) on the device of `other`."""
    return to_device_of(np.asarray(numbers), other)[:, None]


def conjugate_gradients(
    A: Operator,
    b: Array,
    start: Array,
    live: Array,
    precondition: LinearMap = identity,
    cap: int = 250,
    tolerance: float = 5e-4,
    floor: int = 10,
) -> Solutions:
    """Solve S problems at once, as `linear_solvers.conjugate_gradients` solves one.

    A maps (S, P) to (S, P), each row on its own. Networks that are not `live` (S,) keep
    their start (S, P). Waits for two arrays of S numbers per iteration.
    """
    d = start.copy()
    warm = live & to_host(d.any(axis=1))
    r = b - A @ d if warm.any() else b.copy()
    z = precondition(r)
    p = np.where(column(live, d), z, 0.0)
    initial_values = -0.5 * inner_products(d, r + b)
    rz, value = to_host(np.stack([inner_products(r, z), initial_values]))
    values = [value]
    solutions = Solutions(d, value, np.zeros(len(live), int), warm.astype(int))
    keep_at = FIRST_KEPT

    for i in range(1, cap + 1):
        Ap = A @ p
        solutions.products += live
        curvature = to_host(inner_products(p, Ap))
        live = live & (curvature > 0) & np.isfinite(curvature)
        if not live.any():
            break

        divisor = np.where(live, curvature, 1.0)
        alpha = np.where(live, rz / divisor, 0.0)
        step = column(alpha, d)
        d += step * p
        r -= step * Ap
        lower = values[-1] - 0.5 * alpha * rz
        values.append(np.where(live, lower, values[-1]))
        solutions.iterations += live
        if i >= ceil(keep_at):
            solutions.kept.append((i, d.copy(), values[-1]))
            keep_at *= KEPT_RATIO

        window = max(floor, i // 10)
        if i >= window:
            progress = values[-1] - values[i - window]
            too_little = progress > window * tolerance * values[-1]
            live = live & ~((values[-1] < 0) & too_little)
        if not live.any():
            break

        z = precondition(r)
        rz_before = rz
        rz = to_host(inner_products(r, z))
        live = live & ~(rz <= 0)
        # a frozen network has no direction, whatever its numbers have become
        ratio = np.where(live, rz / rz_before, 0.0)
        p = np.where(column(live, d), z + column(ratio, d) * p, 0.0)

    solutions.values = values[-1]
    return solutions


class Woodbury:
    """The maps v -> (J'J / N + shift I)^-1 v of S networks, by Woodbury's identity.

    J (S, m, P) are Jacobians of residuals, shift (S,). `definite` (S,) tells for which
    networks the map exists.
    """

    def __init__(self, rows: ResidualJacobian, shift: Array) -> None:
        m = rows.gram.shape[1]
        self.rows = rows
        self.shift = column(shift, rows.gram)

        shifted = rows.gram.copy()
        diagonal = shifted.reshape(len(shifted), -1)[:, :: m + 1]
        # a smaller shift than the rounding errors of gram could leave it indefinite
        rounding = m * np.finfo(float).eps * diagonal.max(axis=1)
        diagonal += np.maximum(rows.trials * self.shift, rounding[:, None])
        # L^-1 with L L' = J J' + N shift I
        self.inverse, self.definite = invert_cholesky_factors(shifted)
        self._K: Array | None = None

    def __call__(self, v: Array) -> Array:
        """Return the maps of v (S, P)."""
        if self._K is None:
            self._K = self.inverse @ self.rows.matrix
        K = self._K
        Kv = (K @ v[:, :, None])[:, None, :, 0]
        return (v - (Kv @ K)[:, 0]) / self.shift

    def in_residual_space(self) -> tuple[Array, Array]:
        """Return -J' (J J' + N shift I)^-1 r (S, P), and J times it (S, m)."""
        solved = self.inverse @ self.rows.residuals[:, :, None]
        y = solved.swapaxes(1, 2) @ self.inverse
        d = -(y @ self.rows.matrix)[:, 0]
        Jd = -(y @ self.rows.gram)[:, 0]
        return d, Jd


class Descents:
    """Finds the candidates of one update of S networks, like `hessian_free.Descent`.

    `start` (S, P) are the directions of the updates before, `updates` their numbers.
    """

    def __init__(
        self,
        options: HessianFree,
        loop: ClosedLoop,
        linear: Linearised,
        start: Array,
        updates: Sequence[int],
    ) -> None:
        self.options = options
        self.linear = linear
        self.start = start
        self.updates = updates
        self.curved = linear
        if options.curvature_trials:
            self.curved = linear.subset(options.curvature_trials)
        self.G = GaussNewton(self.curved)
        self.solver, _ = options.choose_solver(loop)
        self.rows = explicit_rows(self.curved, loop, self.solver)
        self.iterations = np.zeros(len(updates), int)
        self.products = np.zeros(len(updates), int)
        self._rest: Array | None = None

    def solve(self, lam: Array, live: Array) -> list[Candidates]:
        """Return the candidates at damping lam (S,), the most trusted last."""
        if self.solver == "residual":
            assert self.rows is not None
            return [self._solve_in_residual_space(self.rows, lam, live)]

        damping = column(lam, self.start)
        A = self.G + Operator(lambda v: damping * v)
        precondition: LinearMap = identity
        floor = FLOOR
        if self.rows is not None:
            rest = self._mean_rest(self.rows, live)
            woodbury = Woodbury(self.rows, lam + rest)
            live = live & woodbury.definite
            precondition = woodbury
            floor = FLOOR_PRECONDITIONED
        if not live.any():
            return [Candidates(self.start, np.zeros(len(live)), live)]

        solutions = conjugate_gradients(
            A,
            -self.linear.gradient,
            DECAY * self.start,
            live,
            precondition,
            self.options.cap,
            floor=floor,
        )
        self.iterations += solutions.iterations
        self.products += solutions.products
        return self._without_damping(solutions.candidates(), lam)

    @staticmethod
    def _without_damping(candidates: list[Candidates], lam: Array) -> list[Candidates]:
        """Return candidates with the values of the undamped model."""
        squares = [inner_products(c.directions, c.directions) for c in candidates]
        # one wait for all of them
        on_host = to_host(np.stack(squares))
        undamped = []
        for candidate, square in zip(candidates, on_host, strict=True):
            values = candidate.values - 0.5 * lam * square
            undamped.append(candidate._replace(values=values))
        return undamped

    def _solve_in_residual_space(
        self, rows: ResidualJacobian, lam: Array, live: Array
    ) -> Candidates:
        g = self.linear.gradient
        woodbury = Woodbury(rows, lam)
        if self.curved is self.linear:
            d, Jd = woodbury.in_residual_space()
        else:
            # the gradient of all trials is no product with the rows of a subset
            d = -woodbury(g)
            Jd = (rows.matrix @ d[:, :, None])[:, :, 0]
        curvature = 0.5 * inner_products(Jd, Jd) / rows.trials
        predicted = to_host(inner_products(g, d) + curvature)
        return Candidates(d, predicted, live & woodbury.definite)

    def _mean_rest(self, rows: ResidualJacobian, live: Array) -> Array:
        """Return the mean diagonal (S,) of the curvature that is not in `rows`.

        One random probe per network estimates it.
        """
        if self._rest is None:
            size = self.start.shape[1]
            signs = {count: probe(count, size) for count in set(self.updates)}
            stacked = np.stack([signs[count] for count in self.updates])
            z = to_device_of(stacked, self.start)
            Jz = (rows.matrix @ z[:, :, None])[:, :, 0]
            products = [inner_products(z, self.G @ z), inner_products(Jz, Jz)]
            whole, explicit = to_host(np.stack(products))
            self._rest = np.maximum(whole - explicit / rows.trials, 0.0) / size
            self.products += live
        return self._rest


def search(
    loop: ClosedLoop,
    rollout: Any,
    candidates: list[Candidates],
    gradient: Array,
    live: Array,
) -> Steps:
    """Search along the candidates of S networks at once, like `hessian_free.search`.

    Only networks that are `live` (S,) search; the others keep their weights.
    """
    directions, predicted, valid = candidates[-1]
    live = live & valid
    directions = np.where(column(live, directions), directions, 0.0)
    step = directions
    tried = live.astype(int)
    if not live.any():
        return Steps(live, step, predicted, directions, tried, rollout.loss, None)

    # Walk back through the candidates. `current` tells whose weights the rollout made
    # last belongs to.
    new = loop.rollout(rollout.theta + step)
    best = new.loss
    walking = live
    current = live
    for earlier, values, valid in reversed(candidates[:-1]):
        walkers = walking & valid
        if not walkers.any():
            continue
        shorter = np.where(column(walkers, step), earlier, step)
        new = loop.rollout(rollout.theta + shorter)
        tried = tried + walkers
        better = walkers & (new.loss < best)
        step = np.where(column(better, step), earlier, step)
        predicted = np.where(better, values, predicted)
        best = np.where(better, new.loss, best)
        walking = walking & ~(walkers & ~better)
        current = live & (better | ~walkers)

    # Shorten the steps.
    slope = to_host(inner_products(gradient, step))
    curvature = 2 * (predicted - slope)
    length = np.ones(len(live))
    for _ in range(CUTS):
        enough = np.minimum(0.0, ARMIJO * length * slope)
        cut = live & ~(best <= rollout.loss + enough)
        if not cut.any():
            break
        length = np.where(cut, SHRINK * length, length)
        new = loop.rollout(rollout.theta + column(length, step) * step)
        tried = tried + cut
        best = np.where(cut, new.loss, best)
        current = live

    found = live & (best < rollout.loss)
    shortened = column(length, step) * step
    step = np.where(column(found, step), shortened, 0.0)
    predicted = length * slope + 0.5 * length**2 * curvature
    is_current = (found & current).all()
    last = new if is_current else None
    return Steps(found, step, predicted, directions, tried, best, last)


def step(
    options: HessianFree,
    loop: ClosedLoop,
    rollout: Any,
    damping: Sequence[float],
    directions: Array,
    updates: Sequence[int],
) -> Update:
    """Make one update of S networks, like `HessianFree.step` for each.

    `rollout` is that of their weights. Damping, directions (S, P) and numbers of
    updates are those of their states. There is no structural damping.
    """
    count = len(damping)
    with np.errstate(all="ignore"):
        linear = loop.linearise(rollout)
        descents = Descents(options, loop, linear, directions, updates)
        live = np.ones(count, bool)
        lam = np.array(damping, dtype=float)
        theta = rollout.theta
        new_directions = np.zeros_like(directions)
        tried = np.zeros(count, int)
        rollouts = np.zeros(count, int)
        losses = rollout.loss
        predicted = np.zeros(count)
        new = None
        for _ in range(1 + RETRIES):
            candidates = descents.solve(lam, live)
            steps = search(loop, rollout, candidates, linear.gradient, live)
            found = steps.found
            here = column(found, theta)
            theta = np.where(here, rollout.theta + steps.step, theta)
            new_directions = np.where(here, steps.directions, new_directions)
            losses = np.where(found, steps.losses, losses)
            predicted = np.where(found, steps.predicted, predicted)
            tried = np.where(found, steps.tried, tried)
            rollouts = rollouts + steps.tried
            new = steps.rollout
            live = live & ~found
            if not live.any():
                break
            raised = np.minimum(lam * RETRY_RAISE, DAMPING_RANGE[1])
            lam = np.where(live, raised, lam)

    accepted = ~live
    rho, new_damping = _update_dampings(accepted, rollout.loss, losses, predicted, lam)
    # If the last rollout is not that of the new weights, it is cheaper to make that
    # than to assemble it from several rollouts.
    if new is None:
        new = loop.rollout(theta)
    rows = 0 if descents.rows is None else descents.rows.matrix.shape[1]
    return Update(
        new,
        new_damping,
        new_directions,
        accepted,
        losses,
        rho,
        descents.solver,
        descents.iterations,
        tried,
        rollouts,
        descents.products,
        descents.curved.trials,
        rows,
    )


def _update_dampings(
    accepted: Array, before: Array, after: Array, predicted: Array, lam: Array
) -> tuple[list[float], list[float]]:
    """Return reduction ratios and dampings, with losses before and after a step.

    A network whose step is not accepted has no ratio and keeps its damping.
    """
    ratios = []
    dampings = []
    numbers = zip(*(a.tolist() for a in (before, after, predicted, lam)), strict=True)
    for is_accepted, (old, new, model, damping) in zip(accepted, numbers, strict=True):
        if is_accepted:
            rho, damping = update_damping(old, new, model, damping)
        else:
            rho = float("nan")
        ratios.append(rho)
        dampings.append(damping)
    return ratios, dampings
