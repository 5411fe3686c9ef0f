"""The Hessian-free step of several networks abreast: what optimizer.py does for one, in as many calls as one takes.

On a GPU a call costs the same for one small network as for thirty. So every array has an axis for the networks, (S, P), the closed
loop is one of S networks, and the decisions that optimizer.py and solvers.py take are taken for each network from its own numbers
(S,): one that is through stands still until all are. Each goes the way, to rounding, that it goes alone; the rules and constants
are those of optimizer.py.
"""

from dataclasses import dataclass, field
from math import ceil
from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.device import to_device_of, to_host
from hfcontrol.arrays.linear_algebra import invert_cholesky_factors
from hfcontrol.optim.curvature import GaussNewton, Operator
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
    explicit_rows,
    probe,
    update_damping,
)


def dots(a, b):
    """The inner products (S,) of vectors (S, P), where they are."""
    return (a * b).sum(axis=1)


def column(numbers, beside_what):
    """A number for each network (S,) as a column (S, 1), where an array is."""
    return to_device_of(np.asarray(numbers), beside_what)[:, None]


@dataclass
class Solutions:
    """What a solve leaves for S networks: `kept` iterates, pairs (iteration, directions (S, P)) with the models' values (S,), which
    are a network's if it went on after that iteration; the last directions and values; iterations and products of each."""

    directions: np.ndarray
    values: np.ndarray
    iterations: np.ndarray
    products: np.ndarray
    kept: list = field(default_factory=list)

    def candidates(self):
        """Triples (directions (S, P), values (S,), whose they are (S,)), the most trusted last."""
        earlier = [(d, values, self.iterations > i) for i, d, values in self.kept]
        return [c for c in earlier if c[2].any()] + [
            (self.directions, self.values, self.iterations > 0)
        ]


def conjugate_gradients(
    A, b, start, live, precondition=lambda r: r, cap=250, tolerance=5e-4, floor=10
):
    """`solvers.conjugate_gradients` for S problems at once: A maps (S, P) to (S, P), each row for itself; those that are not `live`
    (S,) are left where they start. Waits for two arrays of S numbers an iteration."""
    d, keep_at = start.copy(), 5.0
    warm = live & to_host(d.any(axis=1))
    r = b - A @ d if warm.any() else b.copy()
    z = precondition(r)
    p = np.where(column(live, d), z, 0.0)
    rz, value = to_host(np.stack([dots(r, z), -0.5 * dots(d, r + b)]))
    values, solutions = (
        [value],
        Solutions(d, value, np.zeros(len(live), int), warm.astype(int)),
    )
    for i in range(1, cap + 1):
        Ap = A @ p
        solutions.products += live
        curvature = to_host(dots(p, Ap))
        live = live & (curvature > 0) & np.isfinite(curvature)
        if not live.any():
            break
        alpha = np.where(live, rz / np.where(live, curvature, 1.0), 0.0)
        step = column(alpha, d)
        d += step * p
        r -= step * Ap
        values.append(np.where(live, values[-1] - 0.5 * alpha * rz, values[-1]))
        solutions.iterations += live
        if i >= ceil(keep_at):
            solutions.kept.append((i, d.copy(), values[-1]))
            keep_at *= 1.3
        k = max(floor, i // 10)
        if i >= k:
            live = live & ~(
                (values[-1] < 0)
                & (values[-1] - values[i - k] > k * tolerance * values[-1])
            )
        if not live.any():
            break
        z = precondition(r)
        rz, before = to_host(dots(r, z)), rz
        live = live & ~(rz <= 0)
        # one that is through has no direction any more, whatever its numbers have become
        p = np.where(
            column(live, d), z + column(np.where(live, rz / before, 0.0), d) * p, 0.0
        )
    solutions.values = values[-1]
    return solutions


class Woodbury:
    """The maps v -> (J'J / N + shift I)^-1 v of some residuals' Jacobians J (S, m, P), for S networks at once (Woodbury's identity),
    with K = L^-1 J and L L' = J J' + N shift I; `definite` (S,) says which of them there are."""

    def __init__(self, rows, shift):
        m = rows.gram.shape[1]
        shifted, self.shift = rows.gram.copy(), column(shift, rows.gram)
        diagonal = shifted.reshape(len(shifted), -1)[:, :: m + 1]
        least = (
            m * np.finfo(float).eps * diagonal.max(axis=1)
        )  # what rounding makes of the gram
        diagonal += np.maximum(rows.trials * self.shift, least[:, None])
        self.inverse, self.definite = invert_cholesky_factors(shifted)
        self.rows, self.K = rows, None

    def __call__(self, v):
        if self.K is None:
            self.K = self.inverse @ self.rows.matrix
        return (
            v - ((self.K @ v[:, :, None])[:, None, :, 0] @ self.K)[:, 0]
        ) / self.shift

    def in_residual_space(self):
        """Directions -J' (J J' + N shift I)^-1 r (S, P), and J times them (S, m)."""
        y = (self.inverse @ self.rows.residuals[:, :, None]).swapaxes(
            1, 2
        ) @ self.inverse
        return -(y @ self.rows.matrix)[:, 0], -(y @ self.rows.gram)[:, 0]


class Descents:
    """The candidate directions of one update of S networks, `optimizer.Descent` for each."""

    def __init__(self, options, loop, linear, start, updates):
        self.options, self.linear, self.start, self.updates = (
            options,
            linear,
            start,
            updates,
        )
        self.curved = (
            linear.subset(options.curvature_trials)
            if options.curvature_trials
            else linear
        )
        self.G, (self.solver, _) = GaussNewton(self.curved), options.choose_solver(loop)
        self.rows = explicit_rows(self.curved, loop, self.solver)
        self.iterations, self.products = (
            np.zeros(len(updates), int),
            np.zeros(len(updates), int),
        )

    def solve(self, lam, live):
        """Triples (directions (S, P), predicted changes of the loss (S,), whose they are (S,)), the most trusted last."""
        if self.solver == "residual":
            return self._in_residual_space(lam, live)
        g, damping = self.linear.gradient, column(lam, self.start)
        A = self.G + Operator(lambda v: damping * v)
        precondition, floor = (lambda r: r), FLOOR
        if self.rows is not None:
            precondition, floor = (
                Woodbury(self.rows, lam + self._rest(live)),
                FLOOR_PRECONDITIONED,
            )
            live = live & precondition.definite
        if not live.any():
            return [(self.start, np.zeros(len(live)), live)]
        found = conjugate_gradients(
            A, -g, DECAY * self.start, live, precondition, self.options.cap, floor=floor
        )
        self.iterations += found.iterations
        self.products += found.products
        candidates = found.candidates()
        squares = to_host(np.stack([dots(d, d) for d, _, _ in candidates]))
        # q with damping is at hand; subtracting the damping's part leaves the undamped model
        return [
            (d, values - 0.5 * lam * square, whose)
            for (d, values, whose), square in zip(candidates, squares)
        ]

    def _in_residual_space(self, lam, live):
        g, solve = self.linear.gradient, Woodbury(self.rows, lam)
        if self.curved is self.linear:
            d, Jd = solve.in_residual_space()
        else:
            d = -solve(g)
            Jd = (self.rows.matrix @ d[:, :, None])[:, :, 0]
        predicted = to_host(dots(g, d) + 0.5 * dots(Jd, Jd) / self.rows.trials)
        return [(d, predicted, live & solve.definite)]

    def _rest(self, live):
        """The rest of the curvature as its mean diagonal (S,), estimated by one random probe for each network."""
        if not hasattr(self, "_mean_rest"):
            size = self.start.shape[1]
            probes = {count: probe(count, size) for count in set(self.updates)}
            z = to_device_of(
                np.stack([probes[count] for count in self.updates]), self.start
            )
            Jz = (self.rows.matrix @ z[:, :, None])[:, :, 0]
            all_of_it, explicit = to_host(np.stack([dots(z, self.G @ z), dots(Jz, Jz)]))
            self._mean_rest = (
                np.maximum(all_of_it - explicit / self.rows.trials, 0.0) / size
            )
            self.products += live
        return self._mean_rest


class Found(NamedTuple):
    """What a search found for S networks: which found a step (S,), the steps, the predicted changes (S,), the full directions, rollouts
    tried (S,), the losses (S,), and the rollout of the new weights where that was the last one made, else None."""

    found: np.ndarray
    step: np.ndarray
    predicted: np.ndarray
    full: np.ndarray
    tried: np.ndarray
    losses: np.ndarray
    rollout: object


def search(loop, rollout, candidates, gradient, live):
    """`optimizer.search` for S networks at once, of which those that are `live` (S,) search; the others keep their weights."""
    full, predicted, whose = candidates[-1]
    live = live & whose
    step = full = np.where(column(live, full), full, 0.0)
    if not live.any():
        return Found(live, step, predicted, full, live.astype(int), rollout.loss, None)
    new = loop.rollout(rollout.theta + step)
    best, tried, walking, kept = new.loss, live.astype(int), live, live
    for earlier, values, whose in reversed(candidates[:-1]):
        walkers = walking & whose
        if not walkers.any():
            continue
        shorter = np.where(column(walkers, step), earlier, step)
        new = loop.rollout(rollout.theta + shorter)
        tried = tried + walkers
        better = walkers & (new.loss < best)
        step, predicted, best = (
            np.where(column(better, step), earlier, step),
            np.where(better, values, predicted),
            np.where(better, new.loss, best),
        )
        walking, kept = walking & ~(walkers & ~better), live & (better | ~walkers)
    slope, length = to_host(dots(gradient, step)), np.ones(len(live))
    curvature = 2 * (predicted - slope)
    for _ in range(CUTS):
        cut = live & ~(best <= rollout.loss + np.minimum(0.0, ARMIJO * length * slope))
        if not cut.any():
            break
        length = np.where(cut, SHRINK * length, length)
        new = loop.rollout(rollout.theta + column(length, step) * step)
        tried, best, kept = tried + cut, np.where(cut, new.loss, best), live
    found = live & (best < rollout.loss)
    step = np.where(column(found, step), column(length, step) * step, 0.0)
    predicted = length * slope + 0.5 * length**2 * curvature
    return Found(
        found, step, predicted, full, tried, best, new if (found & kept).all() else None
    )


class Stepped(NamedTuple):
    """One update of S networks: the rollout of the weights after it, damping (S,), directions to start the next from (S, P), and of
    each (S,) whether it was accepted, loss, reduction ratio, iterations, rollouts tried of the last attempt and of all, and products
    with G; the solver, and how many trials of a network the products and how many rows the explicit Jacobian were of."""

    rollout: object
    damping: list
    directions: np.ndarray
    accepted: np.ndarray
    losses: np.ndarray
    rho: list
    solver: str
    iterations: np.ndarray
    tried: np.ndarray
    rollouts: np.ndarray
    products: np.ndarray
    curved: int
    rows: int


def step(options, loop, rollout, damping, directions, updates):
    """One update of S networks from their rollout, damping (S,), the directions of the updates before (S, P), and how many of these
    there were (S,): `HessianFree.step` for each, with the options of one `HessianFree`, without structural damping."""
    with np.errstate(all="ignore"):
        linear = loop.linearise(rollout)
        descents = Descents(options, loop, linear, directions, updates)
        live, lam = np.ones(len(damping), bool), np.array(damping, dtype=float)
        moved, turned, tried, rollouts = (
            rollout.theta,
            np.zeros_like(directions),
            np.zeros(len(lam), int),
            np.zeros(len(lam), int),
        )
        losses, predicted, new = rollout.loss, np.zeros(len(lam)), None
        for _ in range(1 + RETRIES):
            found = search(
                loop, rollout, descents.solve(lam, live), linear.gradient, live
            )
            here = column(found.found, moved)
            moved, turned = (
                np.where(here, rollout.theta + found.step, moved),
                np.where(here, found.full, turned),
            )
            losses, predicted = (
                np.where(found.found, found.losses, losses),
                np.where(found.found, found.predicted, predicted),
            )
            new, rollouts, tried = (
                found.rollout,
                rollouts + found.tried,
                np.where(found.found, found.tried, tried),
            )
            live = live & ~found.found
            if not live.any():
                break
            lam = np.where(live, np.minimum(lam * RETRY_RAISE, DAMPING_RANGE[1]), lam)
    accepted = ~live
    ratios = [
        update_damping(*numbers) if done else (np.nan, numbers[3])
        for done, *numbers in zip(
            accepted.tolist(),
            rollout.loss.tolist(),
            losses.tolist(),
            predicted.tolist(),
            lam.tolist(),
        )
    ]
    # weights have one rollout: where it was not the last one made, it is made again, which is less than putting it together
    new = new or loop.rollout(moved)
    return Stepped(
        new,
        [lam for _, lam in ratios],
        turned,
        accepted,
        losses,
        [rho for rho, _ in ratios],
        descents.solver,
        descents.iterations,
        tried,
        rollouts,
        descents.products,
        descents.curved.trials,
        0 if descents.rows is None else descents.rows.matrix.shape[1],
    )
