"""Layers of time-continuous cells: one control step is solved in stages, plain NumPy and the definition of the fused one.

Stage j sees the state x_j, x_0 that of before, and its activity f_j = phi(W X_j + b), X_j holding x_j where the layer reads
itself. With n unfoldings of length h = 1/n the stages are

    euler   x_{j+1} = x_j + h F(x_j, f_j)
    fused   x_{j+1} = the cell's own semi-implicit step
    rk4     four stages each: x_1 = x_0 + h/2 F_0   x_2 = x_0 + h/2 F_1   x_3 = x_0 + h F_2
            x_4 = x_0 + h/6 (F_0 + 2 F_1 + 2 F_2 + F_3), the classical tableau

and the last state is the layer's output. A cell without a field has one fused stage. The tangent is that of these formulas, and
the adjoint its transpose.
"""

import numpy as np

from hfcontrol.arrays.device import to_device_of

SCHEMES = ("fused", "euler", "rk4")
RK4_NODES = (0.5, 0.5, 1.0)  # of h, that an inner stage of rk4 goes
RK4_WEIGHTS = (1 / 6, 1 / 3, 1 / 3, 1 / 6)  # of the stages in its step
STABILITY_LIMITS = {
    "euler": 2.0,
    "rk4": 2.785,
}  # the largest rate times h that does not grow


class Stages:
    """The stages of one control step of a cell (a module), by a scheme of SCHEMES with so many unfoldings; `elapsed` is its
    length in control steps of the training."""

    def __init__(self, cell, scheme, unfold, elapsed=1.0):
        self.cell, self.scheme, self.h = cell, scheme, elapsed / unfold
        self.count = unfold * (4 if scheme == "rk4" else 1)

    def forward(self, p, before, activity):
        """States x (S+1, k, N), the first `before` and the last the output, and activities f (S, k, N) or (S, 2, k, N), which
        `activity(x_j)` gives."""
        x, f = [before], []
        for j in range(self.count):
            f.append(activity(x[j]))
            if self.scheme == "fused":
                x.append(self.cell.fused(x[j], f[j], p, self.h))
                continue
            F = [self.cell.field(x[i], f[i], p) for i in self._used(j)]
            x.append(
                x[self._from(j)]
                + self.h * sum(c * Fi for c, Fi in zip(self._parts(j), F))
            )
        return np.stack(x), np.stack(f)

    def jvp(self, p, dp, x, f, d_before, d_activity):
        """Tangents of `forward`, for those dp of the parameters; `d_activity(j, dx_j)` gives that of f_j."""
        dx, df, dF = [d_before], [], []
        for j in range(self.count):
            df.append(d_activity(j, dx[j]))
            if self.scheme == "fused":
                dx.append(
                    self._along(
                        self.cell.fused_slopes(x[j], f[j], p, self.h), dx[j], df[j], dp
                    )
                )
                continue
            dF.append(
                self._along(self.cell.field_slopes(x[j], f[j], p), dx[j], df[j], dp)
            )
            dx.append(
                dx[self._from(j)]
                + self.h * sum(c * dF[i] for c, i in zip(self._parts(j), self._used(j)))
            )
        return np.stack(dx), np.stack(df)

    def vjp(self, p, x, f, out_bar, pull):
        """Cotangents (of p, of the state before) from that of the output; `pull(j, f_bar)` takes that of f_j and returns
        what of it goes back to x_j."""
        x_bar, F_bar = (
            np.zeros_like(out_bar, shape=(count, *out_bar.shape))
            for count in (self.count + 1, self.count)
        )
        p_bar, x_bar[-1] = [np.zeros_like(out_bar) for _ in p], out_bar
        for j in reversed(range(self.count)):
            if self.scheme == "fused":
                bar, (by_x, by_f, by_p) = (
                    x_bar[j + 1],
                    self.cell.fused_slopes(x[j], f[j], p, self.h),
                )
            else:
                x_bar[self._from(j)] += x_bar[j + 1]
                for c, i in zip(self._parts(j), self._used(j)):
                    F_bar[i] += self.h * c * x_bar[j + 1]
                bar, (by_x, by_f, by_p) = (
                    F_bar[j],
                    self.cell.field_slopes(x[j], f[j], p),
                )
            for total, by in zip(p_bar, by_p):
                total += by * bar
            x_bar[j] += by_x * bar + pull(j, by_f * bar)
        return p_bar, x_bar[0]

    @staticmethod
    def _along(slopes, dx, df, dp):
        by_x, by_f, by_p = slopes
        driven = by_f * df
        driven = (
            driven.sum(axis=0) if driven.ndim == 3 else driven
        )  # of cells with two activities
        return by_x * dx + driven + sum(by * d for by, d in zip(by_p, dp))

    def _from(self, j):
        """The stage whose state stage j's step starts from."""
        return j - j % 4 if self.scheme == "rk4" else j

    def _used(self, j):
        """The stages whose fields make the state after stage j."""
        return range(j - 3, j + 1) if self.scheme == "rk4" and j % 4 == 3 else (j,)

    def _parts(self, j):
        """The parts of h that these go."""
        if self.scheme == "euler":
            return (1.0,)
        return RK4_WEIGHTS if j % 4 == 3 else (RK4_NODES[j % 4],)


def parameter_values(cell, raw):
    """The values of a cell's parameters (n_p, k, 1) from the trained numbers: softplus of those that are kept positive."""
    return np.where(_positive(cell, raw), np.logaddexp(0.0, raw), raw)


def parameter_slopes(cell, raw):
    """The derivative of each parameter's value by its trained number (n_p, k, 1)."""
    return np.where(_positive(cell, raw), 0.5 * (1 + np.tanh(0.5 * raw)), 1.0)


def _positive(cell, raw):
    """Which parameters are positive (n_p, 1, 1), where their numbers are."""
    return to_device_of(
        np.reshape([*cell.PARAMETERS.values()], (-1, 1, 1)).astype(bool), raw
    )
