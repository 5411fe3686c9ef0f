"""Curvature as operators on weight vectors: products, sums and multiples, no matrices.

The Gauss-Newton matrix of L = 1/N sum 1/2 w r^2 is G = J' W J / N with J the Jacobian
of the residuals. It is symmetric and positive semi-definite, and replaces the Hessian
in second-order training of recurrent networks (Schraudolph 2002; Martens 2010).
"""

from collections.abc import Callable

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.protocol import Linearised
from hfcontrol.tasks.cost import ResidualIndex


class Operator:
    """A symmetric linear map of vectors (P,): supports `@`, `+` and multiples."""

    def __init__(self, apply: Callable[[Array], Array]) -> None:
        self._apply = apply

    def __matmul__(self, v: Array) -> Array:
        return self._apply(v)

    def __add__(self, other: "Operator") -> "Operator":
        return Operator(lambda v: self @ v + other @ v)

    def __rmul__(self, factor: float) -> "Operator":
        return Operator(lambda v: factor * (self @ v))


class Scaled(Operator):
    """S A S of an operator A and the diagonal matrix S of `sizes` (P,)."""

    def __init__(self, A: Operator, sizes: Array | float) -> None:
        super().__init__(lambda v: sizes * (A @ (sizes * v)))


class Identity(Operator):
    """The identity."""

    def __init__(self) -> None:
        super().__init__(lambda v: v)


class GaussNewton(Operator):
    """G @ v = J' W J v / N of a linearised closed loop; counts its products."""

    def __init__(self, linear: Linearised) -> None:
        self.linear = linear
        self.products = 0
        super().__init__(self._product)

    def _product(self, v: Array) -> Array:
        self.products += 1
        dr = self.linear.jvp(v)
        weighted = self.linear.cost.weights * dr
        return self.linear.vjp(weighted) / self.linear.trials


def curvature_along(linear: Linearised, v: Array) -> float:
    """Return v' G v of a linearised closed loop, by one tangent and no adjoint."""
    dr = linear.jvp(v)
    weighted = linear.cost.weights * dr
    return linear.inner(weighted, dr) / linear.trials


class Structural(Operator):
    """Structural damping S (Martens and Sutskever 2011) of a linearised loop.

    <v, S v> is the mean squared change along v of the hidden states and, here, of the
    states and controls as well.
    """

    def __init__(self, linear: Linearised) -> None:
        super().__init__(linear.structural_product)


class ResidualJacobian:
    """The Jacobian of weighted residuals as a matrix.

    `matrix` (m, P) and `residuals` (m,) are scaled by the roots of the weights, so that
    matrix' matrix / N is their part of G and matrix' residuals / N their part of the
    gradient; `gram` is matrix matrix' (m, m). With `sizes` (P,), it is the Jacobian by
    the weights in units of these sizes.
    """

    matrix: Array
    residuals: Array
    gram: Array

    def __init__(
        self,
        linear: Linearised,
        indices: list[ResidualIndex],
        sizes: Array | None = None,
    ) -> None:
        self.trials = linear.loop.trials
        jacobian = linear.rows(indices)
        if sizes is not None:
            jacobian *= sizes
        self.matrix = jacobian.reshape(-1, jacobian.shape[-1])
        self.residuals = linear.scaled_residuals(indices).ravel()
        self.gram = linear.loop.passes.gram(self.matrix)


def promised_gain(linear: Linearised, loss: float) -> float:
    """Return the part of the loss by which the best step along -g shall lower it.

    With the Gauss-Newton model, that is (g'g)^2 / (2 g'G g L) (Cauchy's step).
    """
    g = linear.gradient
    square = float(g @ g)
    curvature = float(g @ (GaussNewton(linear) @ g))
    if square == 0:
        return 0.0
    # a gradient that is not finite promises anything
    promise = square**2 / (2 * curvature * loss)
    return promise if np.isfinite(promise) else np.inf
