"""Preconditioners of conjugate gradients, tried in place of the shipped one.

The shipped one is M = J'J / N + (lam + s) I with J the rows of the final residuals and s the mean diagonal of the rest of
the curvature, R = G - J'J / N, from one random probe. Most variants change what stands for R.
"""

from types import SimpleNamespace

import numpy as np

from hfcontrol.optim import linear_solvers as solvers
from hfcontrol.tasks.cost import Residuals


def no_rows(original):
    """None: M = I."""

    def init(self, options, state, linear, loop):
        original(self, options, state, linear, loop)
        self.rows = self.rows if self.solver == "residual" else None

    return init


def about(rows, solve_rest):
    """v -> (J'J / N + B)^-1 v (Woodbury) from v -> B^-1 v, which takes rows (m, P) too."""
    J, N = rows.matrix, rows.trials
    scaled = solve_rest(J)
    factored = solvers.factor(scaled @ J.T, N)
    return lambda v: solve_rest(v) - solvers.cho_solve(factored, scaled @ v) @ scaled


def rest_product(descent, v):
    """R v, one product with G."""
    return (
        descent.G @ v
        - (descent.rows.matrix @ v) @ descent.rows.matrix / descent.rows.trials
    )


def probes_of(descent, count):
    """Random signs (count, P)."""
    return np.random.default_rng(descent.state.updates).choice(
        [-1.0, 1.0], size=(count, descent.state.theta.size)
    )


def with_rest(estimate):
    """The variant whose `estimate(descent)`, made once an update, gives a solver `lam -> (v -> (R~ + lam I)^-1 v)`."""

    def make(original):
        def _preconditioner(self, lam):
            if self.rows is None:
                return original(self, lam)
            if not hasattr(self, "_solver_of_rest"):
                self._solver_of_rest = estimate(self)
            return about(self.rows, self._solver_of_rest(lam))

        return _preconditioner

    return make


def diagonal(descent):
    """R as its diagonal, from eight probes: diag R = E[z * R z] (Hutchinson; Chapelle and Erhan 2011)."""
    rest = np.mean(
        [z * rest_product(descent, z) for z in probes_of(descent, 8)], axis=0
    )
    rest = np.maximum(rest, 0.1 * max(rest.mean(), 0.0))
    return lambda lam: lambda v: v / (rest + lam)


def layer_means(descent):
    """R as a mean diagonal for each layer, from the one probe that the shipped mean takes."""
    z = probes_of(descent, 1)[0]
    product = z * rest_product(descent, z)
    rest = np.full(z.size, max(product.mean(), 0.0))
    for layer in descent.linear.loop.network.layers:
        rest[layer.weights] = max(product[layer.weights].mean(), 0.1 * rest[0])
    return lambda lam: lambda v: v / (rest + lam)


def layer_blocks(descent):
    """R as a block for each layer, each a Kronecker product: R_l = (A kron B) / (N tr A), A = sum_n W_n W_n' and
    B = sum_n W_n' W_n from the gradients W_n (units, columns) of a random-sign sum of each trial's residuals.

    E[sum_n vec W_n vec W_n'] / N is the layer's block of R; for its Kronecker form see Martens and Grosse (2015), Gupta and
    others (2018). It takes a pass over the rows of one residual an update.
    """
    linear, last = descent.linear, descent.linear.loop.scenario.steps
    rng = np.random.default_rng(descent.state.updates)
    signed = Residuals(
        *(
            None if w is None else np.sqrt(w) * rng.choice([-1.0, 1.0], size=w.shape)
            for w in linear.cost.weights
        )
    )
    for part in signed:
        if part is not None and len(part) > last:
            part[last] = 0.0
    x_bar, u_bar = linear.cost.vjp(signed)
    gradients = linear.loop.passes.adjoint_rows(
        linear.weights, linear.plant_jacobians, linear.rollout, x_bar[None], u_bar[None]
    )[0]
    blocks = []
    for layer in linear.loop.network.layers:
        W = gradients[:, layer.weights].reshape(-1, *layer.shape)
        a, U = np.linalg.eigh(np.einsum("nij,nkj->ik", W, W))
        b, V = np.linalg.eigh(np.einsum("nij,nik->jk", W, W))
        spectrum = np.maximum(np.outer(a, b), 0.0) / (len(W) * a.sum())
        blocks.append((layer, spectrum + 0.1 * spectrum.mean(), U, V))

    def solver(lam):
        def solve(v):
            out = v / lam
            for layer, spectrum, U, V in blocks:
                W = v[..., layer.weights].reshape(*v.shape[:-1], *layer.shape)
                W = U @ ((U.T @ W @ V) / (spectrum + lam)) @ V.T
                out[..., layer.weights] = W.reshape(*v.shape[:-1], -1)
            return out

        return solve

    return solver


def uncoupled_layers(original):
    """The final residuals' curvature without what couples the layers: M_l = J_l'J_l / N + (lam + s) I for each layer l."""

    def _preconditioner(self, lam):
        if self.rows is None:
            return original(self, lam)
        original(self, lam)
        solves = []
        for layer in self.linear.loop.network.layers:
            J = np.ascontiguousarray(self.rows.matrix[:, layer.weights])
            part = SimpleNamespace(matrix=J, gram=J @ J.T, trials=self.rows.trials)
            solves.append((layer.weights, solvers.woodbury(part, lam + self._rest)))
        return lambda v: np.concatenate(
            [solve(v[weights]) for weights, solve in solves]
        )

    return _preconditioner


def seldom_probed(original):
    """The shipped one with a new probe at every tenth update only."""
    kept = {}

    def _preconditioner(self, lam):
        if self.state.updates % 10 and kept:
            self._rest = kept["rest"]
        solve = original(self, lam)
        if self.rows is not None:
            kept["rest"] = self._rest
        return solve

    return _preconditioner


def with_more_rows(more):
    """The variant that puts `more(descent)`, rows C (k, P) with C'C an estimate of R, beside the final residuals' rows."""

    def make(original):
        def init(self, options, state, linear, loop):
            original(self, options, state, linear, loop)
            if self.solver == "cg" and self.rows is not None:
                J = np.concatenate(
                    [self.rows.matrix, np.sqrt(self.rows.trials) * more(self)]
                )
                self.rows = SimpleNamespace(
                    matrix=J, gram=J @ J.T, trials=self.rows.trials
                )

        return init

    return make


def few_trials(descent):
    """Rows of all other residuals on four trials: C = J_4 / 2."""
    scenario = descent.linear.loop.scenario
    rows = descent.linear.subset(4).rows(
        [c for c in scenario.cost.active_residuals() if c.time < scenario.steps]
    )
    return rows.reshape(-1, rows.shape[2]) / 2


def eigenbasis():
    """The leading part of R by Nystroem's method from 20 random vectors, made anew every 20 updates: C'C = Y (Z'Y)^-1 Y'
    with Y = R Z (Frangella, Tropp and Udell 2023)."""
    kept = {}

    def more(descent):
        if descent.state.updates % 20 == 0 or "rows" not in kept:
            Z = np.ascontiguousarray(np.linalg.qr(probes_of(descent, 20).T)[0].T)
            Y = np.array([rest_product(descent, z) for z in Z])
            nu = 1e-8 * np.linalg.norm(Y)
            kept["rows"] = np.linalg.solve(
                np.linalg.cholesky(Z @ (Y + nu * Z).T), Y + nu * Z
            )
        return kept["rows"]

    return more


def quasi_newton(original):
    """L-BFGS pairs of the last CG run on top of the shipped one (Morales and Nocedal 2000)."""
    pairs = []

    def conjugate_gradients(A, b, start, precondition=lambda r: r, cap=250, **rules):
        old, seen = list(pairs), []

        class Watched:
            def __matmul__(self, p):
                Ap = A @ p
                seen.append((p.copy(), Ap))
                return Ap

        def refined(r):
            q, alphas = r.copy(), []
            for s, y in reversed(old):
                alphas.append((s @ q) / (s @ y))
                q = q - alphas[-1] * y
            q = precondition(q)
            for (s, y), alpha in zip(old, reversed(alphas)):
                q = q + (alpha - (y @ q) / (s @ y)) * s
            return q

        solution = original(Watched(), b, start, refined, cap, **rules)
        pairs[:] = [(s, y) for s, y in seen[1:] if s @ y > 0 and s.size == b.size][-8:]
        return solution

    return conjugate_gradients
