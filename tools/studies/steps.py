"""Changes of the step itself: momentum, several candidates, geodesic acceleration.

Also rules for how exactly conjugate gradients solve. Each variant is a function that
takes the original function or method and returns the one that replaces it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.network.network import Network
from hfcontrol.optim.hessian_free import Candidate, Step
from hfcontrol.optim.linear_solvers import identity, shifted_solver
from hfcontrol.tasks.cost import make_residuals

Function = Callable[..., Any]

OUTPUT_SCALE = 0.1
MOMENTUM = 0.9  # SPRING: part of the last step to which the damping pulls
LENGTHS = (0.5, 0.75, 1.0, 1.3, 1.7)

# Tolerance of conjugate gradients that the damping changes: start, range, factor.
TOLERANCE = 5e-4
TOLERANCE_RANGE = (5e-5, 5e-3)
TOLERANCE_FACTOR = 2.0

# The same for their cap, as in hfopt.
CAP = 10.0
CAP_RANGE = (3.0, 100.0)
CAP_FACTOR = 1.3


def small_outputs(original: Function) -> Function:
    """Start with output weights a tenth as large."""

    def initial(self: Network, rng: np.random.Generator) -> Array:
        theta = original(self, rng)
        self.matrices(theta)[-1][:] *= OUTPUT_SCALE
        return theta

    return initial


def momentum(original: Function) -> Function:
    """Let the damping pull to 0.9 times the last step instead of to zero.

    (SPRING, Goldshlager and others 2024.)
    """
    last: dict[str, Array] = {}

    def residual_space(
        rows: Any, lam: float, gradient: Array | None = None
    ) -> tuple[Array, Array]:
        if "d" not in last:
            d, Jd = original(rows, lam)
        else:
            pull = MOMENTUM * last["d"]
            solve = shifted_solver(rows.gram, rows.trials * lam)
            y = solve(rows.residuals + rows.matrix @ pull)
            d = pull - y @ rows.matrix
            Jd = rows.matrix @ d
        last["d"] = d
        return d, Jd

    return residual_space


def best_index(rollouts: Sequence[Any]) -> int:
    """Return the index of the rollout of lowest loss."""
    return int(np.argmin([rollout.loss for rollout in rollouts]))


class Dampings:
    """Rolls out five dampings for every step in residual space and takes the best.

    If `follow`, the damping after the step is the best one, not that of the rule.
    """

    FACTORS = (10, 3, 1 / 3, 1 / 10, 1)

    def __init__(self, follow: bool) -> None:
        self.follow = follow
        self.best: float | None = None
        self.lam = 0.0

    def solve(self, original: Function) -> Function:
        """Return `Descent._solve` with a candidate for each damping."""

        def _solve(descent: Any, lam: float, *rest: Any) -> list[Candidate]:
            self.lam = lam
            return [
                original(descent, lam * factor, *rest)[0] for factor in self.FACTORS
            ]

        return _solve

    def search(self, original: Function) -> Function:
        """Return the search that rolls out all candidates."""

        def search(
            hold: Any, rollout: Any, candidates: Sequence[Candidate], gradient: Array
        ) -> Step | None:
            if len(candidates) != len(self.FACTORS):
                return original(hold, rollout, candidates, gradient)
            ends = [hold.rollout(rollout.theta + d) for d, _ in candidates]
            best = best_index(ends)
            self.best = self.lam * self.FACTORS[best]
            if ends[best].loss < rollout.loss:
                d, predicted = candidates[best]
                return Step(ends[best], d, predicted, d, len(ends))
            return original(hold, rollout, candidates[-1:], gradient)

        return search

    def step(self, original: Function) -> Function:
        """Return `HessianFree.step`, which leaves the best damping."""

        def step(
            optimizer: Any, state: Any, rollout: Any, hold: Any, left: int = 1
        ) -> Any:
            after, new, report = original(optimizer, state, rollout, hold, left)
            if self.follow and report.accepted and self.best:
                after = replace(after, damping=float(self.best))
            return after, new, report

        return step


def lengths(original: Function) -> Function:
    """Roll out five lengths of the step and take the best.

    This is a line search that could be one batch of trials.
    """

    def search(
        hold: Any, rollout: Any, candidates: Sequence[Candidate], gradient: Array
    ) -> Step | None:
        if not candidates:
            return None
        step, predicted = candidates[-1]
        ends = [hold.rollout(rollout.theta + length * step) for length in LENGTHS]
        best = best_index(ends)
        if not ends[best].loss < rollout.loss:
            return original(hold, rollout, candidates, gradient)

        length = LENGTHS[best]
        slope = float(gradient @ step)
        value = length * slope + length**2 * (predicted - slope)
        return Step(ends[best], length * step, value, step, len(LENGTHS))

    return search


class Geodesic:
    """Geodesic acceleration (Transtrum and Sethna 2012): the step d + a / 2.

    a solves the same damped system for the second derivative of the residuals along d,

        (G + lam I) a = -J' W r'' / N,
        r'' = 2 / h ((r(theta + h d) - r(theta)) / h - J d),      h = 0.1,

    and is used if 2 |a| <= 0.75 |d|. It takes one more rollout, and one more solve
    where that is by conjugate gradients.
    """

    H = 0.1
    MOST = 0.75

    def residual_space(self, original: Function) -> Function:
        """Return the solve, which keeps its rows and damping for a second one."""

        def residual_space(rows: Any, lam: float, gradient: Any = None) -> Any:
            self.rows = rows
            self.lam = lam
            return original(rows, lam, gradient)

        return residual_space

    def conjugate_gradients(self, original: Function) -> Function:
        """Return the solve, which keeps its operator for a second one."""

        def conjugate_gradients(
            A: Any,
            b: Array,
            start: Array,
            precondition: Function = identity,
            *rest: Any,
            **rules: Any,
        ) -> Any:
            def solve_again(rhs: Array) -> Any:
                zero = np.zeros_like(rhs)
                return original(A, rhs, zero, precondition, *rest, **rules).directions

            self.solve_again = solve_again
            return original(A, b, start, precondition, *rest, **rules)

        return conjugate_gradients

    def solve(self, original: Function) -> Function:
        """Return `Descent._solve`, which keeps the descent."""

        def _solve(descent: Any, lam: float, *rest: Any) -> list[Candidate]:
            self.descent = descent
            return original(descent, lam, *rest)

        return _solve

    def search(self, original: Function) -> Function:
        """Return the search that begins with the corrected step."""

        def search(
            hold: Any, rollout: Any, candidates: Sequence[Candidate], gradient: Array
        ) -> Step | None:
            if candidates:
                d, predicted = candidates[-1]
                near = hold.rollout(rollout.theta + self.H * d)
                a = self._acceleration(near, d) if np.isfinite(near.loss) else None
                if a is not None and self._is_small(a, d):
                    corrected = Candidate(d + a / 2, predicted)
                    candidates = [*candidates[:-1], corrected]
            return original(hold, rollout, candidates, gradient)

        return search

    def _is_small(self, a: Array, d: Array) -> bool:
        """Whether the acceleration is small enough to be trusted."""
        return bool(2 * np.linalg.norm(a) <= self.MOST * np.linalg.norm(d))

    def _acceleration(self, near: Any, d: Array) -> Array | None:
        """Return a (P,) from the rollout at theta + h d."""
        if self.descent.solver == "residual":
            return self._acceleration_in_residual_space(near, d)
        linear = self.descent.linear
        residuals = linear.loop.scenario.cost.residuals(near.x, near.u)
        groups = zip(residuals, linear.cost.residuals, linear.jvp(d), strict=True)
        bent = []
        for r, r0, Jd in groups:
            second = None if r is None else self._second_derivative(r - r0, Jd)
            bent.append(second)
        weighted = linear.cost.weights * make_residuals(bent)
        directions = self.solve_again(-linear.vjp(weighted) / linear.loop.trials)
        return directions[-1] if directions else None

    def _acceleration_in_residual_space(self, near: Any, d: Array) -> Array:
        """The same with the rows of the last solve."""
        cost = self.descent.linear.loop.scenario.cost
        channels = cost.active_residuals()
        at_near = cost.linearise(near.x, near.u).scaled_residuals(channels)
        change = at_near.ravel() - self.rows.residuals
        bent = self._second_derivative(change, self.rows.matrix @ d)
        solve = shifted_solver(self.rows.gram, self.rows.trials * self.lam)
        return -(solve(bent) @ self.rows.matrix)

    def _second_derivative(self, change: Array, Jd: Array) -> Array:
        """Return r'' from the change of the residuals over h d."""
        return 2 / self.H * (change / self.H - Jd)


def with_rules(**changed: Any) -> Function:
    """Return the variant with other rules for when conjugate gradients stop."""

    def make(original: Function) -> Function:
        def conjugate_gradients(*arguments: Any, **shipped: Any) -> Any:
            return original(*arguments, **{**shipped, **changed})

        return conjugate_gradients

    return make


class Adaptive:
    """Conjugate gradients stop by what the damping did.

    `what` is "tolerance" (twice as loose after the damping rose, twice as tight after
    it fell) or "cap" (1.3 times smaller or larger, from 10, as in hfopt).
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.before: float | None = None
        self.tolerance = TOLERANCE
        self.cap = CAP

    def solve(self, original: Function) -> Function:
        """Return `Descent._solve`, which watches the damping."""

        def _solve(descent: Any, lam: float, *rest: Any) -> list[Candidate]:
            if self.before is not None and lam != self.before:
                fell = lam < self.before
                self._adapt(fell)
            self.before = lam
            return original(descent, lam, *rest)

        return _solve

    def _adapt(self, fell: bool) -> None:
        """Change tolerance and cap after the damping fell or rose."""
        looser = 1 / TOLERANCE_FACTOR if fell else TOLERANCE_FACTOR
        longer = CAP_FACTOR if fell else 1 / CAP_FACTOR
        self.tolerance = float(np.clip(self.tolerance * looser, *TOLERANCE_RANGE))
        self.cap = float(np.clip(self.cap * longer, *CAP_RANGE))

    def gradients(self, original: Function) -> Function:
        """Return the solve with the present tolerance or cap."""

        def conjugate_gradients(
            A: Any,
            b: Array,
            start: Array,
            precondition: Function,
            cap: int,
            **shipped: Any,
        ) -> Any:
            rules = dict(shipped)
            if self.what == "cap":
                cap = round(self.cap)
            else:
                rules["tolerance"] = self.tolerance
            return original(A, b, start, precondition, cap, **rules)

        return conjugate_gradients
