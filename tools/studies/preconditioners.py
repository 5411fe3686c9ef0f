"""Preconditioners of conjugate gradients, in place of the shipped one.

The shipped one is M = J'J / N + (lam + s) I with J the rows of the final residuals and
s the mean diagonal of the rest of the curvature, R = G - J'J / N, from one random
probe. Most variants change what stands for R.

Each variant is a function that takes the original function or method and returns the
one that replaces it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.network.architecture import Layer
from hfcontrol.optim.linear_solvers import (
    JacobianRows,
    LinearMap,
    identity,
    shifted_solver,
    woodbury,
)
from hfcontrol.tasks.cost import Residuals, make_residuals

Function = Callable[..., Any]

# Returns a map from lam to the map v -> (R~ + lam I)^-1 v, with R~ an estimate of R.
RestEstimate = Callable[[Any], Callable[[float], LinearMap]]

# Least entries of an estimated diagonal, as a part of their mean: a probe's noise can
# make single entries negative.
LEAST_PART = 0.1

DIAGONAL_PROBES = 8
PROBE_EVERY = 10  # updates
EIGENBASIS_PROBES = 20
EIGENBASIS_EVERY = 20  # updates
KEPT_PAIRS = 8  # of L-BFGS
FEW_TRIALS = 4


class Rows:
    """Rows (m, P) of a Jacobian of N trials, in place of `ResidualJacobian`."""

    def __init__(self, matrix: Array, trials: int, residuals: Array) -> None:
        self.matrix = matrix
        self.trials = trials
        self.residuals = residuals
        self.gram = matrix @ matrix.T


def no_rows(original: Function) -> Function:
    """Take M = I: the descent has no rows, unless it solves in residual space."""

    def init(self: Any, options: Any, state: Any, linear: Any, loop: Any) -> None:
        original(self, options, state, linear, loop)
        if self.solver != "residual":
            self.rows = None

    return init


def add_rows_to(rows: JacobianRows, solve_rest: LinearMap) -> LinearMap:
    """Return v -> (J'J / N + B)^-1 v by Woodbury's identity, from v -> B^-1 v.

    `solve_rest` takes vectors (P,) and rows (m, P).
    """
    J = rows.matrix
    scaled = solve_rest(J)
    solve = shifted_solver(scaled @ J.T, rows.trials)
    return lambda v: solve_rest(v) - solve(scaled @ v) @ scaled


def rest_product(descent: Any, v: Array) -> Array:
    """Return R v (P,); takes one product with G."""
    J = descent.rows.matrix
    return descent.G @ v - (J @ v) @ J / descent.rows.trials


def draw_probes(descent: Any, count: int) -> Array:
    """Return random signs (count, P), which depend on the number of updates alone."""
    rng = np.random.default_rng(descent.state.updates)
    return rng.choice([-1.0, 1.0], size=(count, descent.state.theta.size))


def with_rest(estimate: RestEstimate) -> Function:
    """Return the variant whose `estimate` of R is made once per update."""

    def make(original: Function) -> Function:
        def _preconditioner(self: Any, lam: float) -> LinearMap:
            if self.rows is None:
                return original(self, lam)
            if not hasattr(self, "_solver_of_rest"):
                self._solver_of_rest = estimate(self)
            return add_rows_to(self.rows, self._solver_of_rest(lam))

        return _preconditioner

    return make


def diagonal(descent: Any) -> Callable[[float], LinearMap]:
    """Estimate R as its diagonal, from eight probes.

    diag R = E[z * R z] (Hutchinson; Chapelle and Erhan 2011).
    """
    probes = draw_probes(descent, DIAGONAL_PROBES)
    products = [z * rest_product(descent, z) for z in probes]
    rest = np.mean(products, axis=0)
    rest = np.maximum(rest, LEAST_PART * max(rest.mean(), 0.0))
    return lambda lam: lambda v: v / (rest + lam)


def layer_means(descent: Any) -> Callable[[float], LinearMap]:
    """Estimate R as a mean diagonal per layer, from the probe of the shipped mean."""
    z = draw_probes(descent, 1)[0]
    product = z * rest_product(descent, z)
    mean = max(product.mean(), 0.0)
    rest = np.full(z.size, mean)
    for layer in descent.linear.loop.network.layers:
        in_layer = product[layer.weights].mean()
        rest[layer.weights] = max(in_layer, LEAST_PART * mean)
    return lambda lam: lambda v: v / (rest + lam)


class LayerBlock:
    """A layer's block of R: a Kronecker product in its eigenbasis U, V."""

    def __init__(self, layer: Layer, gradients: Array) -> None:
        """Estimate the block from the gradients (N, P) of all trials."""
        self.layer = layer
        W = gradients[:, layer.weights].reshape(-1, *layer.shape)
        a, self.U = np.linalg.eigh(np.einsum("nij,nkj->ik", W, W))
        b, self.V = np.linalg.eigh(np.einsum("nij,nik->jk", W, W))
        spectrum = np.maximum(np.outer(a, b), 0.0) / (len(W) * a.sum())
        self.spectrum = spectrum + LEAST_PART * spectrum.mean()

    def solve(self, v: Array, lam: float) -> Array:
        """Return (R_l + lam I)^-1 v for the layer's entries of v (..., P)."""
        entries = v[..., self.layer.weights]
        W = entries.reshape(*v.shape[:-1], *self.layer.shape)
        in_basis = self.U.T @ W @ self.V
        solved = self.U @ (in_basis / (self.spectrum + lam)) @ self.V.T
        return solved.reshape(*v.shape[:-1], -1)


def layer_blocks(descent: Any) -> Callable[[float], LinearMap]:
    """Estimate R as a block per layer, each a Kronecker product.

    R_l = (A kron B) / (N tr A), A = sum_n W_n W_n' and B = sum_n W_n' W_n, from the
    gradients W_n (units, columns) of a sum of each trial's residuals with random signs.
    E[sum_n vec W_n vec W_n'] / N is the layer's block of R; for its Kronecker form see
    Martens and Grosse (2015), Gupta and others (2018). It takes one adjoint pass that
    keeps the trials apart per update.
    """
    gradients = _signed_gradients(descent)
    layers = descent.linear.loop.network.layers
    blocks = [LayerBlock(layer, gradients) for layer in layers]

    def solver(lam: float) -> LinearMap:
        def solve(v: Array) -> Array:
            out = v / lam
            for block in blocks:
                out[..., block.layer.weights] = block.solve(v, lam)
            return out

        return solve

    return solver


def _signed_gradients(descent: Any) -> Array:
    """Return each trial's gradient (N, P) of its residuals with random signs.

    The final residuals are left out: they are not in R.
    """
    linear = descent.linear
    last = linear.loop.scenario.steps
    rng = np.random.default_rng(descent.state.updates)

    groups: list[Array | None] = []
    for weights in linear.cost.weights:
        if weights is None:
            groups.append(None)
            continue
        signed = np.sqrt(weights) * rng.choice([-1.0, 1.0], size=weights.shape)
        if len(signed) > last:
            signed[last] = 0.0
        groups.append(signed)

    residuals: Residuals = make_residuals(groups)
    x_bar, u_bar = linear.cost.vjp(residuals)
    rows = linear.loop.passes.adjoint_rows(
        linear.weights, linear.plant_jacobians, linear.rollout, x_bar[None], u_bar[None]
    )
    return rows[0]


def uncoupled_layers(original: Function) -> Function:
    """Leave out what couples the layers in the final residuals' curvature.

    M_l = J_l'J_l / N + (lam + s) I for each layer l.
    """

    def _preconditioner(self: Any, lam: float) -> LinearMap:
        # The shipped one finds s.
        shipped = original(self, lam)
        if self.rows is None:
            return shipped
        solves: list[tuple[slice, LinearMap]] = []
        for layer in self.linear.loop.network.layers:
            J = np.ascontiguousarray(self.rows.matrix[:, layer.weights])
            part = Rows(J, self.rows.trials, self.rows.residuals)
            solves.append((layer.weights, woodbury(part, lam + self._rest)))

        def solve(v: Array) -> Array:
            # The layers' weights are all of theta, in their order.
            return np.concatenate([part(v[weights]) for weights, part in solves])

        return solve

    return _preconditioner


def seldom_probed(original: Function) -> Function:
    """Take the shipped one with a new probe at every tenth update only."""
    kept: dict[str, float] = {}

    def _preconditioner(self: Any, lam: float) -> LinearMap:
        if self.state.updates % PROBE_EVERY and kept:
            self._rest = kept["rest"]
        solve = original(self, lam)
        if self.rows is not None:
            kept["rest"] = self._rest
        return solve

    return _preconditioner


def with_more_rows(more: Callable[[Any], Array]) -> Function:
    """Return the variant that adds rows C (k, P) to those of the final residuals.

    C'C, with C = `more(descent)`, is an estimate of R.
    """

    def make(original: Function) -> Function:
        def init(self: Any, options: Any, state: Any, linear: Any, loop: Any) -> None:
            original(self, options, state, linear, loop)
            if self.solver == "cg" and self.rows is not None:
                trials = self.rows.trials
                added = np.sqrt(trials) * more(self)
                J = np.concatenate([self.rows.matrix, added])
                self.rows = Rows(J, trials, self.rows.residuals)

        return init

    return make


def few_trials(descent: Any) -> Array:
    """Return the rows of all other residuals on four trials: C = J_4 / 2."""
    scenario = descent.linear.loop.scenario
    indices = scenario.cost.active_residuals()
    earlier = [index for index in indices if index.time < scenario.steps]
    rows = descent.linear.subset(FEW_TRIALS).rows(earlier)
    return rows.reshape(-1, rows.shape[2]) / np.sqrt(FEW_TRIALS)


def eigenbasis() -> Callable[[Any], Array]:
    """Return a function for the leading part of R, by Nystroem's method.

    C'C = Y (Z'Y)^-1 Y' with Y = R Z and 20 random vectors Z (Frangella, Tropp and Udell
    2023). It is made again every 20 updates.
    """
    kept: dict[str, Array] = {}

    def more(descent: Any) -> Array:
        if descent.state.updates % EIGENBASIS_EVERY and kept:
            return kept["rows"]
        probes = draw_probes(descent, EIGENBASIS_PROBES)
        Z = np.ascontiguousarray(np.linalg.qr(probes.T)[0].T)
        Y = np.array([rest_product(descent, z) for z in Z])
        # A small shift keeps Z'Y positive definite; it is part of the method.
        shifted = Y + 1e-8 * np.linalg.norm(Y) * Z
        L = np.linalg.cholesky(Z @ shifted.T)
        kept["rows"] = np.linalg.solve(L, shifted)
        return kept["rows"]

    return more


class _RecordingOperator:
    """An operator that records its products as pairs (p, A p)."""

    def __init__(self, A: Any) -> None:
        self.A = A
        self.pairs: list[tuple[Array, Array]] = []

    def __matmul__(self, p: Array) -> Array:
        product = self.A @ p
        self.pairs.append((p.copy(), product))
        return product


def quasi_newton(original: Function) -> Function:
    """Apply L-BFGS with pairs of the last solve on top of the shipped preconditioner.

    (Morales and Nocedal 2000.)
    """
    pairs: list[tuple[Array, Array]] = []

    def conjugate_gradients(
        A: Any,
        b: Array,
        start: Array,
        precondition: LinearMap = identity,
        cap: int = 250,
        **rules: Any,
    ) -> Any:
        old = list(pairs)

        def refine(r: Array) -> Array:
            return _two_loop_recursion(old, r, precondition)

        recording = _RecordingOperator(A)
        solution = original(recording, b, start, refine, cap, **rules)
        # The first product is that with the start, not with a search direction.
        searched = recording.pairs[1:]
        pairs[:] = [(s, y) for s, y in searched if s @ y > 0][-KEPT_PAIRS:]
        return solution

    return conjugate_gradients


def _two_loop_recursion(
    pairs: list[tuple[Array, Array]], r: Array, precondition: LinearMap
) -> Array:
    """Return the L-BFGS inverse times r (Nocedal and Wright, algorithm 7.4)."""
    q = r.copy()
    alphas = []
    for s, y in reversed(pairs):
        alpha = (s @ q) / (s @ y)
        alphas.append(alpha)
        q = q - alpha * y
    q = precondition(q)
    for (s, y), alpha in zip(pairs, reversed(alphas), strict=True):
        beta = (y @ q) / (s @ y)
        q = q + (alpha - beta) * s
    return q
