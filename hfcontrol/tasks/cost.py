"""The cost: weighted squared residuals on a trajectory, their Jacobians, and nothing about weights of a network.

    L = 1/N sum over trials of sum over residuals of 1/2 w r^2

Residuals stand in four parts: `state` r = x - reference, `control` r = u - reference, `output` r = z - reference with
z = output(x), and `custom`, whatever function of state, control and target a plant file's task defines. A weight of zero
masks a residual; so does NaN in a reference.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.device import to_host


class Residuals(NamedTuple):
    """The four parts of the residuals, or anything shaped like them: state (T+1, nx, N), control (T, nu, N),
    output (T+1, nz, N) and custom (T+1, nr, N), the last two None where there are none."""

    state: np.ndarray
    control: np.ndarray
    output: np.ndarray | None = None
    custom: np.ndarray | None = None

    def __mul__(self, other):
        """Entry by entry."""
        return Residuals(*(None if a is None else a * b for a, b in zip(self, other)))

    def dot(self, other):
        """The inner product with another one of the same shape."""
        return sum(float(np.vdot(a, b)) for a, b in zip(self, other) if a is not None)


class ResidualIndex(NamedTuple):
    """One residual of every trial: the part of `Residuals` it stands in, its time index and its component."""

    part: int
    time: int
    component: int


def transposed_product(J, w):
    """J' w for every time and trial: J (T, m, n, N), w (T, m, N) -> (T, n, N)."""
    return np.einsum("tijn,tin->tjn", J, w)


def product(J, d):
    """J d for every time and trial: J (T, m, n, N), d (T, n, N) -> (T, m, N)."""
    return np.einsum("tijn,tjn->tin", J, d)


def at_times(a, t):
    """The entries (k, N) of an array (T, k, N) at time index t, or at each trial's custom, t (N,)."""
    return a[t] if np.ndim(t) == 0 else a[t, :, np.arange(a.shape[2])].T


@dataclass(frozen=True)
class Cost:
    """Weights and references of every residual, as arrays shaped like `Residuals`; `custom` names a residual function.

    `kernels` are the plant's, `params` (np, N) its parameters and `target` (T+1, nt, N) what `custom` is given.
    """

    weights: Residuals
    references: Residuals
    kernels: object
    params: np.ndarray
    custom: str | None = None
    target: np.ndarray | None = None

    def __post_init__(self):
        pairs = zip(self.weights, self.references)
        masked = [
            None if w is None else np.where(np.isnan(r), 0.0, w) for w, r in pairs
        ]
        object.__setattr__(self, "weights", Residuals(*masked))
        filled = [None if r is None else np.nan_to_num(r) for r in self.references]
        object.__setattr__(self, "references", Residuals(*filled))

    def residuals(self, x, u):
        """All residuals of the trajectory x (T+1, nx, N), u (T, nu, N)."""
        reference = self.references
        output = custom = None
        if reference.output is not None:
            output = self.kernels.output(x, self.params) - reference.output
        if self.custom:
            custom = (
                self.kernels.residual(
                    self.custom, x, self._padded(u, len(x)), self.target, self.params
                )
                - reference.custom
            )
        return Residuals(x - reference.state, u - reference.control, output, custom)

    def losses(self, x, u):
        """The loss of every trial (N,); not finite where the trajectory is not."""
        with np.errstate(all="ignore"):
            parts = zip(self.weights, self.residuals(x, u))
            return sum(
                0.5 * (w * r * r).sum(axis=(0, 1)) for w, r in parts if r is not None
            )

    def losses_over_time(self, x, u):
        """What every time index adds to the loss of every trial (T+1, N); control adds nothing at the last."""
        total = np.zeros_like(x, shape=(len(x), x.shape[2]))
        with np.errstate(all="ignore"):
            for w, r in zip(self.weights, self.residuals(x, u)):
                if r is not None:
                    total[: len(r)] += 0.5 * (w * r * r).sum(axis=1)
        return total

    def losses_at(self, t, x, u):
        """What time index t, or each trial's custom (N,), adds to the losses (N,) at state x (nx, N) and, but for the last index,
        control u (nu, N)."""

        def now(part):
            control = part.control[:0] if u is None else at_times(part.control, t)[None]
            state, output, custom = (
                None if a is None else at_times(a, t)[None]
                for a in (part.state, part.output, part.custom)
            )
            return Residuals(state, control, output, custom)

        target = None if self.target is None else at_times(self.target, t)[None]
        here = replace(
            self,
            weights=now(self.weights),
            references=now(self.references),
            target=target,
        )
        return here.losses_over_time(
            x[None], self.weights.control[:0] if u is None else u[None]
        )[0]

    def linearise(self, x, u):
        """The residuals at a trajectory together with their Jacobians."""
        output = custom = None
        if self.references.output is not None:
            output = self.kernels.output_jacobian(x, self.params)
        if self.custom:
            custom = self.kernels.residual_jacobian(
                self.custom, x, self._padded(u, len(x)), self.target, self.params
            )
        return LinearCost(self.weights, self.residuals(x, u), output, custom)

    def active_residuals(self):
        """The residuals that weigh anything in any trial, as a list of `ResidualIndex`."""
        found = []
        for part, weights in enumerate(self.weights):
            if weights is not None:
                places = np.argwhere(to_host(np.any(weights != 0, axis=2)))
                found += [ResidualIndex(part, int(t), int(i)) for t, i in places]
        return found

    @staticmethod
    def _padded(u, times):
        return np.concatenate(
            [u, np.zeros_like(u, shape=(times - len(u), *u.shape[1:]))]
        )


@dataclass(frozen=True)
class LinearCost:
    """Residuals and their Jacobians at one trajectory: `output` (T+1, nz, nx, N), `custom` a pair by state and control."""

    weights: Residuals
    residuals: Residuals
    output: np.ndarray | None
    custom: tuple | None

    def jvp(self, dx, du):
        """Tangent of the residuals from those of the trajectory, dx (T+1, nx, N) and du (T, nu, N)."""
        output = None if self.output is None else product(self.output, dx)
        custom = None
        if self.custom:
            custom = product(self.custom[0], dx)
            custom[:-1] += product(self.custom[1][:-1], du)
        return Residuals(dx, du, output, custom)

    def vjp(self, w):
        """Cotangents (x_bar, u_bar) of the trajectory from that of the residuals, w."""
        x_bar, u_bar = w.state, w.control
        if self.output is not None:
            x_bar = x_bar + transposed_product(self.output, w.output)
        if self.custom:
            x_bar = x_bar + transposed_product(self.custom[0], w.custom)
            u_bar = u_bar + transposed_product(self.custom[1][:-1], w.custom[:-1])
        return x_bar, u_bar

    def residual_cotangents(self, channels):
        """Cotangents x_bar (K, T+1, nx, N), u_bar (K, T, nu, N) of K residuals, each with the square root of its weight."""
        state, control = self.residuals.state, self.residuals.control
        x_bar = np.zeros_like(state, shape=(len(channels), *state.shape))
        u_bar = np.zeros_like(control, shape=(len(channels), *control.shape))
        for k, (part, t, i) in enumerate(channels):
            root = np.sqrt(self.weights[part][t, i])
            if part == 0:
                x_bar[k, t, i] = root
            elif part == 1:
                u_bar[k, t, i] = root
            elif part == 2:
                x_bar[k, t] = root * self.output[t, i]
            else:
                x_bar[k, t] = root * self.custom[0][t, i]
                if t < u_bar.shape[1]:
                    u_bar[k, t] = root * self.custom[1][t, i]
        return x_bar, u_bar

    def scaled_residuals(self, channels):
        """The residuals of K channels times the square roots of their weights (K, N)."""
        return np.stack(
            [
                np.sqrt(self.weights[p][t, i]) * self.residuals[p][t, i]
                for p, t, i in channels
            ]
        )

    def select_trials(self, trials):
        """The same of some of the trials, given by their numbers."""

        def pick(parts):
            return (
                None
                if parts is None
                else [None if a is None else a[..., trials].copy() for a in parts]
            )

        return LinearCost(
            Residuals(*pick(self.weights)),
            Residuals(*pick(self.residuals)),
            *pick([self.output]),
            pick(self.custom),
        )

    def gradient(self):
        """Gradients of the trials' losses with respect to their trajectories: (T+1, nx, N) and (T, nu, N)."""
        return self.vjp(self.weights * self.residuals)

    def hessian(self):
        """Gauss-Newton Hessians of the trials' losses: by state (T+1, nx, nx, N), by control (T, nu, nu, N) and mixed
        (T, nu, nx, N)."""

        def diagonal(w):
            H = np.zeros_like(w, shape=(w.shape[0], w.shape[1], *w.shape[1:]))
            for i in range(w.shape[1]):
                H[:, i, i] = w[:, i]
            return H

        def weighted(J, w, K):
            return np.einsum("tkin,tkn,tkjn->tijn", J, w, K)

        xx, uu = diagonal(self.weights.state), diagonal(self.weights.control)
        ux = np.zeros_like(uu, shape=(*uu.shape[:2], *xx.shape[2:]))
        if self.output is not None:
            xx = xx + weighted(self.output, self.weights.output, self.output)
        if self.custom:
            by_x, by_u, w = self.custom[0], self.custom[1][:-1], self.weights.custom
            xx = xx + weighted(by_x, w, by_x)
            uu = uu + weighted(by_u, w[:-1], by_u)
            ux = ux + weighted(by_u, w[:-1], by_x[:-1])
        return xx, uu, ux
