"""The cost: weighted squared residuals on a trajectory, and their Jacobians.

    L = 1/N sum over trials of sum over residuals of 1/2 w r^2

There are four groups of residuals: `state` r = x - reference, `control`
r = u - reference, `output` r = z - reference with z = output(x), and `custom`, a
function of state, control and target that a plant file's task defines. A weight of
zero masks a residual, and so does NaN in a reference.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.device import to_host
from hfcontrol.arrays.types import Array
from hfcontrol.kernels.base import Kernels


class Residuals(NamedTuple):
    """All residuals in their four groups, or arrays of the same shapes.

    state (T+1, nx, N), control (T, nu, N), output (T+1, nz, N) and custom
    (T+1, nr, N); the last two are None if the cost does not use them.
    """

    state: Array
    control: Array
    output: Array | None = None
    custom: Array | None = None

    def __mul__(self, other: "Residuals") -> "Residuals":  # type: ignore[override]
        """Multiply entry by entry; a tuple's repetition makes no sense here."""
        pairs = zip(self, other, strict=True)
        products = [None if a is None else a * b for a, b in pairs]
        return make_residuals(products)

    def dot(self, other: "Residuals") -> float:
        """Inner product with residuals of the same shapes."""
        pairs = zip(self, other, strict=True)
        return sum(float(np.vdot(a, b)) for a, b in pairs if a is not None)

    def dot_by_trial(self, other: "Residuals") -> Array:
        """Inner products (N,) with residuals of the same shapes, one by trial."""
        pairs = zip(self, other, strict=True)
        products = [(a * b).sum(axis=(0, 1)) for a, b in pairs if a is not None]
        return np.sum(products, axis=0)

    def map(self, function: Callable[[Array], Array]) -> "Residuals":
        """Apply a function to every group that is present."""
        return make_residuals([None if a is None else function(a) for a in self])


def make_residuals(groups: Sequence[Array | None]) -> Residuals:
    """Residuals from a sequence of their four groups."""
    state, control, output, custom = groups
    assert state is not None and control is not None
    return Residuals(state, control, output, custom)


class ResidualIndex(NamedTuple):
    """Index of one residual of every trial: group in `Residuals`, time, component."""

    part: int
    time: int
    component: int


def transposed_product(J: Array, w: Array) -> Array:
    """J' w at every time and trial: J (T, m, n, N), w (T, m, N) -> (T, n, N)."""
    return np.einsum("tijn,tin->tjn", J, w)


def product(J: Array, d: Array) -> Array:
    """J d at every time and trial: J (T, m, n, N), d (T, n, N) -> (T, m, N)."""
    return np.einsum("tijn,tjn->tin", J, d)


def weighted_square(J: Array, w: Array, K: Array) -> Array:
    """J' diag(w) K at every time and trial: (T, m, n, N), (T, m, N), (T, m, k, N)."""
    return np.einsum("tkin,tkn,tkjn->tijn", J, w, K)


def diagonal_matrices(w: Array) -> Array:
    """Diagonal matrices (T, n, n, N) with the diagonals w (T, n, N)."""
    times, size, trials = w.shape
    H = np.zeros_like(w, shape=(times, size, size, trials))
    for i in range(size):
        H[:, i, i] = w[:, i]
    return H


def at_times(a: Array, t: int | Array) -> Array:
    """Entries (k, N) of an array (T, k, N) at one time index, or one per trial (N,)."""
    return a[t] if np.ndim(t) == 0 else a[t, :, np.arange(a.shape[2])].T


def mask_weights(weights: Array, reference: Array | None) -> Array:
    """Weights that are zero where the reference is NaN."""
    assert reference is not None
    return np.where(np.isnan(reference), 0.0, weights)


@dataclass(frozen=True)
class Cost:
    """Weights and references of all residuals.

    `custom` names the plant file's residual function, None without one. It gets the
    plant's parameters `params` (np, N) and `target` (T+1, nt, N). `kernels` are the
    plant's.
    """

    weights: Residuals
    references: Residuals
    kernels: Kernels
    params: Array
    custom: str | None = None
    target: Array | None = None

    def __post_init__(self) -> None:
        pairs = zip(self.weights, self.references, strict=True)
        # Before the references are cleared of the NaN that mark masked residuals.
        masked = [None if w is None else mask_weights(w, r) for w, r in pairs]
        # A frozen dataclass can only be completed this way.
        object.__setattr__(self, "weights", make_residuals(masked))
        object.__setattr__(self, "references", self.references.map(np.nan_to_num))

    def residuals(self, x: Array, u: Array) -> Residuals:
        """All residuals of the trajectory x (T+1, nx, N), u (T, nu, N)."""
        reference = self.references
        output = custom = None

        if reference.output is not None:
            output = self.kernels.output(x, self.params) - reference.output

        if self.custom:
            assert self.target is not None
            controls = self._pad(u, len(x))
            values = self.kernels.residual(
                self.custom, x, controls, self.target, self.params
            )
            custom = values - reference.custom

        return Residuals(x - reference.state, u - reference.control, output, custom)

    def losses(self, x: Array, u: Array) -> Array:
        """Loss of every trial (N,); not finite if its trajectory is not."""
        # Diverging trajectories are expected: their losses are simply not finite.
        with np.errstate(all="ignore"):
            pairs = zip(self.weights, self.residuals(x, u), strict=True)
            return sum(
                0.5 * (w * r * r).sum(axis=(0, 1)) for w, r in pairs if r is not None
            )

    def losses_over_time(self, x: Array, u: Array) -> Array:
        """Contribution of every time index to the loss of every trial (T+1, N).

        The last time index has no control.
        """
        total = np.zeros_like(x, shape=(len(x), x.shape[2]))
        with np.errstate(all="ignore"):
            for w, r in zip(self.weights, self.residuals(x, u), strict=True):
                if r is not None:
                    total[: len(r)] += 0.5 * (w * r * r).sum(axis=1)
        return total

    def losses_at(self, t: int | Array, x: Array, u: Array | None) -> Array:
        """Contribution of time index t to the loss of every trial (N,).

        x (nx, N) and u (nu, N) are state and control at that time; u is None at the
        last time index. t may also be one index per trial (N,).
        """
        no_control = self.weights.control[:0]

        def select_time(groups: Residuals) -> Residuals:
            controls = groups.control
            control = controls[:0] if u is None else at_times(controls, t)[None]
            others = (groups.state, groups.output, groups.custom)
            state, output, custom = (
                None if a is None else at_times(a, t)[None] for a in others
            )
            return make_residuals([state, control, output, custom])

        target = None if self.target is None else at_times(self.target, t)[None]
        # A cost of one time index, so that `losses_over_time` gives the same bits.
        here = replace(
            self,
            weights=select_time(self.weights),
            references=select_time(self.references),
            target=target,
        )
        control = no_control if u is None else u[None]
        return here.losses_over_time(x[None], control)[0]

    def linearise(self, x: Array, u: Array) -> "LinearCost":
        """The residuals at a trajectory together with their Jacobians."""
        output = custom = None

        if self.references.output is not None:
            output = self.kernels.output_jacobian(x, self.params)

        if self.custom:
            assert self.target is not None
            controls = self._pad(u, len(x))
            custom = self.kernels.residual_jacobian(
                self.custom, x, controls, self.target, self.params
            )

        return LinearCost(self.weights, self.residuals(x, u), output, custom)

    def active_residuals(self) -> list[ResidualIndex]:
        """Indices of the residuals whose weight is not zero in every trial."""
        found = []
        for part, weights in enumerate(self.weights):
            if weights is None:
                continue
            is_active = to_host(np.any(weights != 0, axis=2))
            for time, component in np.argwhere(is_active):
                found.append(ResidualIndex(part, int(time), int(component)))
        return found

    def shorten(self, steps: int) -> "Cost":
        """The cost of the first steps and of the states until then."""

        def select(groups: Residuals) -> Residuals:
            controls = groups.control[:steps].copy()
            others = (groups.state, groups.output, groups.custom)
            state, output, custom = (
                None if a is None else a[: steps + 1].copy() for a in others
            )
            return make_residuals([state, controls, output, custom])

        return replace(
            self,
            weights=select(self.weights),
            references=select(self.references),
            target=None if self.target is None else self.target[: steps + 1].copy(),
        )

    def map(self, function: Callable[[Array], Array]) -> "Cost":
        """The cost with a function applied to every array."""
        return replace(
            self,
            weights=self.weights.map(function),
            references=self.references.map(function),
            params=function(self.params),
            target=None if self.target is None else function(self.target),
        )

    @staticmethod
    def _pad(u: Array, times: int) -> Array:
        """Controls with zeros appended, so that there is one for each state."""
        missing = np.zeros_like(u, shape=(times - len(u), *u.shape[1:]))
        return np.concatenate([u, missing])


@dataclass(frozen=True)
class LinearCost:
    """Residuals and their Jacobians at one trajectory.

    `output` (T+1, nz, nx, N) holds the Jacobians of the outputs, `custom` those of the
    custom residuals by state (T+1, nr, nx, N) and by control (T+1, nr, nu, N).
    """

    weights: Residuals
    residuals: Residuals
    output: Array | None
    custom: Sequence[Array] | None

    def jvp(self, dx: Array, du: Array) -> Residuals:
        """Tangent of the residuals for the tangents dx (T+1, nx, N), du (T, nu, N)."""
        output = None if self.output is None else product(self.output, dx)
        custom = None
        if self.custom:
            by_state, by_control = self.custom
            custom = product(by_state, dx)
            # There is no control at the last time index.
            custom[:-1] += product(by_control[:-1], du)
        return Residuals(dx, du, output, custom)

    def vjp(self, w: Residuals) -> tuple[Array, Array]:
        """Cotangents (x_bar, u_bar) of the trajectory for the cotangents w."""
        x_bar, u_bar = w.state, w.control
        if self.output is not None:
            assert w.output is not None
            x_bar = x_bar + transposed_product(self.output, w.output)
        if self.custom:
            assert w.custom is not None
            by_state, by_control = self.custom
            x_bar = x_bar + transposed_product(by_state, w.custom)
            u_bar = u_bar + transposed_product(by_control[:-1], w.custom[:-1])
        return x_bar, u_bar

    def residual_cotangents(
        self, indices: Sequence[ResidualIndex]
    ) -> tuple[Array, Array]:
        """Gradients of K residuals by the trajectory, times the roots of their weights.

        Returns x_bar (K, T+1, nx, N) and u_bar (K, T, nu, N).
        """
        state, control = self.residuals.state, self.residuals.control
        x_bar = np.zeros_like(state, shape=(len(indices), *state.shape))
        u_bar = np.zeros_like(control, shape=(len(indices), *control.shape))

        for k, (part, t, i) in enumerate(indices):
            weights = self.weights[part]
            assert weights is not None
            # With the roots, the rows J of all residuals give J'J as the Gauss-Newton
            # matrix.
            root = np.sqrt(weights[t, i])
            # Groups in the order of the fields of `Residuals`.
            if part == 0:
                x_bar[k, t, i] = root
            elif part == 1:
                u_bar[k, t, i] = root
            elif part == 2:
                assert self.output is not None
                x_bar[k, t] = root * self.output[t, i]
            else:
                assert self.custom is not None
                by_state, by_control = self.custom
                x_bar[k, t] = root * by_state[t, i]
                if t < u_bar.shape[1]:
                    u_bar[k, t] = root * by_control[t, i]
        return x_bar, u_bar

    def scaled_residuals(self, indices: Sequence[ResidualIndex]) -> Array:
        """K residuals of every trial times the roots of their weights (K, N)."""
        values = []
        for part, t, i in indices:
            weights, residuals = self.weights[part], self.residuals[part]
            assert weights is not None and residuals is not None
            values.append(np.sqrt(weights[t, i]) * residuals[t, i])
        return np.stack(values)

    def map(self, function: Callable[[Array], Array]) -> "LinearCost":
        """The residuals and Jacobians with a function applied to every array."""
        return LinearCost(
            self.weights.map(function),
            self.residuals.map(function),
            None if self.output is None else function(self.output),
            None if self.custom is None else [function(a) for a in self.custom],
        )

    def gradient(self) -> tuple[Array, Array]:
        """Gradients of the losses by state (T+1, nx, N) and control (T, nu, N)."""
        return self.vjp(self.weights * self.residuals)

    def hessian(self) -> tuple[Array, Array, Array]:
        """Gauss-Newton Hessians of the trials' losses at every time.

        By state (T+1, nx, nx, N), by control (T, nu, nu, N) and mixed (T, nu, nx, N).
        """
        xx = diagonal_matrices(self.weights.state)
        uu = diagonal_matrices(self.weights.control)
        ux = np.zeros_like(uu, shape=(*uu.shape[:2], *xx.shape[2:]))

        if self.output is not None:
            assert self.weights.output is not None
            xx = xx + weighted_square(self.output, self.weights.output, self.output)

        if self.custom:
            assert self.weights.custom is not None
            by_state, by_control = self.custom[0], self.custom[1][:-1]
            w = self.weights.custom
            xx = xx + weighted_square(by_state, w, by_state)
            uu = uu + weighted_square(by_control, w[:-1], by_control)
            ux = ux + weighted_square(by_control, w[:-1], by_state[:-1])
        return xx, uu, ux
