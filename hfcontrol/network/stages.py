"""One control step of a layer with a state, solved in stages.

This plain NumPy version is the definition of the compiled one. Stage j has the state
x_j, where x_0 is that of the step before, and its activity f_j = phi(W X_j + b). X_j
holds x_j where the layer reads itself. With n unfoldings of length h = 1/n:

    euler   x_{j+1} = x_j + h F(x_j, f_j)
    fused   x_{j+1} = the semi-implicit step of the cell
    rk4     x_1 = x_0 + h/2 F_0   x_2 = x_0 + h/2 F_1   x_3 = x_0 + h F_2
            x_4 = x_0 + h/6 (F_0 + 2 F_1 + 2 F_2 + F_3), the classical tableau,
            and so on: four stages in each unfolding

The last state is the output of the layer, or its first part if a unit has several
states, x_j (states, k, N); connections read that part. A cell without a field has one
fused stage. The tangent is that of these formulas, and the adjoint is its transpose.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from hfcontrol.arrays.device import to_device_of
from hfcontrol.arrays.types import Array
from hfcontrol.network.cells.protocol import ContinuousCell, Slopes, StagedCell

SCHEMES = ("fused", "euler", "rk4")

# Inner stages of rk4 start at x_0 plus this part of h times the field before.
RK4_NODES = (0.5, 0.5, 1.0)

# Weights of the four fields in a step of rk4.
RK4_WEIGHTS = (1 / 6, 1 / 3, 1 / 3, 1 / 6)

# Largest rate times h at which x' = -rate x does not grow.
STABILITY_LIMITS = {"euler": 2.0, "rk4": 2.785}


class Stages:
    """The stages of one control step of a cell.

    `scheme` is one of SCHEMES, with `unfold` steps in a control step; `elapsed` is the
    length of the step in control steps, one number or one for each trial (N,).
    """

    def __init__(
        self, cell: StagedCell, scheme: str, unfold: int, elapsed: Any = 1.0
    ) -> None:
        self.cell = cell
        self.scheme = scheme
        self.h = elapsed / unfold
        self.count = unfold * (4 if scheme == "rk4" else 1)

    @property
    def _continuous(self) -> ContinuousCell:
        """The cell, when the scheme evaluates its differential equation."""
        return cast(ContinuousCell, self.cell)

    def forward(
        self, p: Array, before: Array, activity: Callable[[Array], Array]
    ) -> tuple[Array, Array]:
        """Return the states x (S+1, ..., k, N) and the activities f (S, ..., k, N).

        The first state is `before`, the last one the output; `activity(x_j)` returns
        f_j.
        """
        x = [before]
        f: list[Array] = []
        for j in range(self.count):
            f.append(activity(x[j]))
            if self.scheme == "fused":
                y = self.cell.fused(x[j], f[j], p, self.h)
                x.append(np.stack(y) if isinstance(y, tuple) else y)
                continue
            F = [self._continuous.field(x[i], f[i], p) for i in self._used(j)]
            total = sum(c * Fi for c, Fi in zip(self._parts(j), F, strict=True))
            x.append(x[self._from(j)] + self.h * total)
        return np.stack(x), np.stack(f)

    def jvp(
        self,
        p: Array,
        dp: Array,
        x: Sequence[Array],
        f: Array,
        d_before: Array,
        d_activity: Callable[[int, Array], Array],
    ) -> tuple[Array, Array]:
        """Return the tangents (dx, df) of `forward` in the direction dp, d_before.

        `d_activity(j, dx_j)` returns the tangent of f_j.
        """
        dx = [d_before]
        df: list[Array] = []
        dF: list[Array] = []
        for j in range(self.count):
            df.append(d_activity(j, dx[j]))
            if self.scheme == "fused":
                slopes = self.cell.fused_slopes(x[j], f[j], p, self.h)
                dx.append(self._tangent(slopes, dx[j], df[j], dp))
                continue
            slopes = self._continuous.field_slopes(x[j], f[j], p)
            dF.append(self._tangent(slopes, dx[j], df[j], dp))
            parts = zip(self._parts(j), self._used(j), strict=True)
            total = sum(c * dF[i] for c, i in parts)
            dx.append(dx[self._from(j)] + self.h * total)
        return np.stack(dx), np.stack(df)

    def vjp(
        self,
        p: Array,
        x: Sequence[Array],
        f: Array,
        out_bar: Array,
        pull: Callable[[int, Array], Array | float],
    ) -> tuple[list[Array], Array]:
        """Return the cotangents of p and of the state before, from that of the output.

        `pull(j, f_bar)` takes the cotangent of f_j and returns its part for x_j.
        """
        shape = out_bar.shape
        x_bar = np.zeros_like(out_bar, shape=(self.count + 1, *shape))
        F_bar = np.zeros_like(out_bar, shape=(self.count, *shape))
        p_bar = [np.zeros_like(out_bar, shape=shape[-2:]) for _ in p]
        x_bar[-1] = out_bar

        for j in reversed(range(self.count)):
            if self.scheme == "fused":
                bar = x_bar[j + 1]
                slopes = self.cell.fused_slopes(x[j], f[j], p, self.h)
            else:
                # x_{j+1} = x_from + h sum_i c_i F_i, transposed.
                x_bar[self._from(j)] += x_bar[j + 1]
                for c, i in zip(self._parts(j), self._used(j), strict=True):
                    F_bar[i] += self.h * c * x_bar[j + 1]
                bar = F_bar[j]
                slopes = self._continuous.field_slopes(x[j], f[j], p)

            # The activity depends on x_j too: pull adds the way through it.
            x_part, f_bar, by_parameters = self._cotangents(slopes, bar)
            for total, part in zip(p_bar, by_parameters, strict=True):
                total += part
            x_bar[j] += x_part
            through = pull(j, f_bar)
            # Connections read the first state.
            first = x_bar[j] if bar.ndim == 2 else x_bar[j, 0]
            first += through
        return p_bar, x_bar[0]

    @classmethod
    def _tangent(cls, slopes: Any, dx: Array, df: Array, dp: Array) -> Array:
        """Return the tangent of a step or a field from its derivatives."""
        if dx.ndim == 3:
            # Several states: derivatives of each.
            return np.stack([cls._tangent_of_one(s, dx, df, dp) for s in slopes])
        return cls._tangent_of_one(slopes, dx, df, dp)

    @staticmethod
    def _tangent_of_one(slopes: Slopes, dx: Array, df: Array, dp: Array) -> Array:
        by_x, by_f, by_p = slopes
        by_parameters = sum(by * d for by, d in zip(by_p, dp, strict=True))
        return _product(by_x, dx) + _product(by_f, df) + by_parameters

    @staticmethod
    def _cotangents(slopes: Any, bar: Array) -> tuple[Array, Array, list[Array]]:
        """Return the cotangents of state, activities and parameters: the transpose."""
        if bar.ndim == 2:
            by_x, by_f, by_p = slopes
            return _times(by_x, bar), _times(by_f, bar), [by * bar for by in by_p]
        pairs = list(zip(slopes, bar, strict=True))
        x_bar: Any = sum(_times(by_x, b) for (by_x, _, _), b in pairs)
        f_bar: Any = sum(_times(by_f, b) for (_, by_f, _), b in pairs)
        products = [[by * b for by in by_p] for (_, _, by_p), b in pairs]
        return x_bar, f_bar, [sum(parts) for parts in zip(*products, strict=True)]

    def _from(self, j: int) -> int:
        """Return the stage whose state the step of stage j starts from."""
        return j - j % 4 if self.scheme == "rk4" else j

    def _used(self, j: int) -> Sequence[int]:
        """Return the stages whose fields make the state after stage j."""
        if self.scheme == "rk4" and j % 4 == 3:
            return range(j - 3, j + 1)
        return (j,)

    def _parts(self, j: int) -> tuple[float, ...]:
        """Return the factors of h for the fields of `_used`."""
        if self.scheme == "euler":
            return (1.0,)
        return RK4_WEIGHTS if j % 4 == 3 else (RK4_NODES[j % 4],)


def _product(by: Any, d: Array) -> Array:
    """Return the product of derivatives with a tangent, summed over a tuple of them."""
    if isinstance(by, tuple):
        return sum(b * part for b, part in zip(by, d, strict=True))
    return by * d


def _times(by: Any, bar: Array) -> Array:
    """Return derivatives times a cotangent (k, N): stacked, if they are a tuple."""
    if isinstance(by, tuple):
        return np.stack([b * bar for b in by])
    return by * bar


def parameter_values(cell: StagedCell, raw: Array) -> Array:
    """Return the values of the parameters of a cell from their trained numbers.

    Both are (n_p, k, 1). The value of a positive parameter is the softplus of its
    number.
    """
    return np.where(_positive(cell, raw), np.logaddexp(0.0, raw), raw)


def parameter_slopes(cell: StagedCell, raw: Array) -> Array:
    """Return the derivative of each value by its trained number (n_p, k, 1)."""
    logistic = 0.5 * (1 + np.tanh(0.5 * raw))
    return np.where(_positive(cell, raw), logistic, 1.0)


def _positive(cell: StagedCell, raw: Array) -> Array:
    """Return which parameters are positive (n_p, 1, 1), on the device of `raw`."""
    flags = np.reshape([*cell.PARAMETERS.values()], (-1, 1, 1))
    return to_device_of(flags.astype(bool), raw)
