"""Changes of the step itself: momentum, several candidates, geodesic acceleration, and how exactly CG solves."""

import numpy as np

from hfcontrol.optim import linear_solvers as solvers


def small_outputs(original):
    """Output weights a tenth of the others at the start."""

    def initial(self, rng):
        theta = original(self, rng)
        self.matrices(theta)[-1][:] *= 0.1
        return theta

    return initial


def momentum(original):
    """SPRING (Goldshlager and others 2024): the damping pulls to 0.9 times the last step, not to zero."""
    last = {}

    def residual_space(rows, lam, gradient=None):
        before = last.get("d")
        if before is None:
            d, Jd = original(rows, lam)
        else:
            pull = 0.9 * before
            factored = solvers.factor(rows.gram, rows.trials * lam)
            y = solvers.cho_solve(factored, rows.residuals + rows.matrix @ pull)
            d = pull - y @ rows.matrix
            Jd = rows.matrix @ d
        last["d"] = d
        return d, Jd

    return residual_space


class Dampings:
    """Five dampings rolled out for every step in residual space, the best taken; if `follow`, the damping goes with it."""

    FACTORS = (10, 3, 1 / 3, 1 / 10, 1)

    def __init__(self, follow):
        self.follow, self.best = follow, None

    def solve(self, original):
        """`Descent._solve` with a candidate for each damping."""

        def _solve(descent, lam):
            self.lam = lam
            return [original(descent, lam * factor)[0] for factor in self.FACTORS]

        return _solve

    def search(self, original):
        """The search that rolls all of them out."""

        def search(hold, rollout, candidates, gradient):
            if len(candidates) != len(self.FACTORS):
                return original(hold, rollout, candidates, gradient)
            ends = [hold.rollout(rollout.theta + d) for d, _ in candidates]
            best = int(np.argmin([end.loss for end in ends]))
            self.best = self.lam * self.FACTORS[best]
            if ends[best].loss < rollout.loss:
                d, predicted = candidates[best]
                return ends[best], d, predicted, d, len(ends)
            return original(hold, rollout, candidates[-1:], gradient)

        return search

    def step(self, original):
        """`HessianFree.step`, which leaves the best damping instead of the rule's."""

        def step(optimizer, state, rollout, hold, left=1):
            after, new, report = original(optimizer, state, rollout, hold, left)
            if self.follow and report.accepted and self.best:
                after = type(after)(
                    after.theta, float(self.best), after.direction, after.updates
                )
            return after, new, report

        return step


def lengths(original):
    """Five lengths of the step rolled out, the best taken: a line search that could be one batch of trials."""

    def search(hold, rollout, candidates, gradient):
        if not candidates:
            return None
        step, predicted = candidates[-1]
        slope = float(gradient @ step)
        tried = (0.5, 0.75, 1.0, 1.3, 1.7)
        ends = [hold.rollout(rollout.theta + length * step) for length in tried]
        best = int(np.argmin([end.loss for end in ends]))
        if not ends[best].loss < rollout.loss:
            return original(hold, rollout, candidates, gradient)
        length = tried[best]
        value = length * slope + length**2 * (predicted - slope)
        return ends[best], length * step, value, step, len(tried)

    return search


class Geodesic:
    """Geodesic acceleration (Transtrum and Sethna 2012): the step d + a / 2, where a solves the same damped system for the
    second derivative of the residuals along d,

        (G + lam I) a = -J' W r'' / N,      r'' = 2 / h ((r(theta + h d) - r(theta)) / h - J d),      h = 0.1,

    kept where 2 |a| <= 0.75 |d|. It takes one more rollout, and one more solve where that is by conjugate gradients.
    """

    H, MOST = 0.1, 0.75

    def residual_space(self, original):
        """The solve, which is kept for a second one."""

        def residual_space(rows, lam, gradient=None):
            self.rows, self.lam = rows, lam
            return original(rows, lam, gradient)

        return residual_space

    def conjugate_gradients(self, original):
        """The solve, which is kept for a second one."""

        def conjugate_gradients(A, b, start, precondition=lambda r: r, *rest, **rules):
            self.second = lambda rhs: (
                original(
                    A, rhs, np.zeros_like(rhs), precondition, *rest, **rules
                ).directions
            )
            return original(A, b, start, precondition, *rest, **rules)

        return conjugate_gradients

    def solve(self, original):
        """`Descent._solve`, of which the descent is kept."""

        def _solve(descent, lam):
            self.descent = descent
            return original(descent, lam)

        return _solve

    def search(self, original):
        """The search from the corrected step."""

        def search(hold, rollout, candidates, gradient):
            if candidates:
                d, predicted = candidates[-1]
                near = hold.rollout(rollout.theta + self.H * d)
                a = self._acceleration(near, d) if np.isfinite(near.loss) else None
                if a is not None and 2 * np.linalg.norm(
                    a
                ) <= self.MOST * np.linalg.norm(d):
                    candidates = [*candidates[:-1], (d + a / 2, predicted)]
            return original(hold, rollout, candidates, gradient)

        return search

    def _acceleration(self, near, d):
        linear = self.descent.linear
        cost = linear.loop.scenario.cost
        if self.descent.solver == "residual":
            channels = cost.active_residuals()
            bent = (
                cost.linearise(near.x, near.u).scaled_residuals(channels).ravel()
                - self.rows.residuals
            )
            bent = 2 / self.H * (bent / self.H - self.rows.matrix @ d)
            y = solvers.cho_solve(
                solvers.factor(self.rows.gram, self.rows.trials * self.lam), bent
            )
            return -(y @ self.rows.matrix)
        straight = linear.jvp(d)
        pairs = zip(cost.residuals(near.x, near.u), linear.cost.residuals, straight)
        bent = type(straight)(
            *(
                None if r is None else 2 / self.H * ((r - r0) / self.H - Jd)
                for r, r0, Jd in pairs
            )
        )
        directions = self.second(
            -linear.vjp(linear.cost.weights * bent) / linear.loop.trials
        )
        return directions[-1] if directions else None


def rules(**changed):
    """Other rules for when CG stops."""

    def make(original):
        return lambda A, b, start, precondition, cap, **as_shipped: original(
            A, b, start, precondition, cap, **{**as_shipped, **changed}
        )

    return make


class Adaptive:
    """CG stops by what the damping did: looser by two where it has just risen, tighter by two where it fell (`tolerance`);
    or at a cap that grows by 1.3 where it fell and shrinks where it rose, from 10, as in hfopt (`cap`)."""

    def __init__(self, what):
        self.what, self.before, self.tolerance, self.cap = what, None, 5e-4, 10.0

    def solve(self, original):
        """`Descent._solve`, of which the damping is watched."""

        def _solve(descent, lam):
            fell = self.before is not None and lam < self.before
            rose = self.before is not None and lam > self.before
            self.tolerance = float(
                np.clip(
                    self.tolerance * (0.5 if fell else 2.0 if rose else 1.0), 5e-5, 5e-3
                )
            )
            self.cap = float(
                np.clip(
                    self.cap * (1.3 if fell else 1 / 1.3 if rose else 1.0), 3.0, 100.0
                )
            )
            self.before = lam
            return original(descent, lam)

        return _solve

    def gradients(self, original):
        """The solve with the tolerance or the cap of now."""

        def conjugate_gradients(A, b, start, precondition, cap, **as_shipped):
            if self.what == "cap":
                return original(
                    A, b, start, precondition, round(self.cap), **as_shipped
                )
            return original(
                A,
                b,
                start,
                precondition,
                cap,
                **{**as_shipped, "tolerance": self.tolerance},
            )

        return conjugate_gradients
