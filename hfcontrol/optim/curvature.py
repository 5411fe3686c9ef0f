"""Curvature as operators on weight vectors: products, sums and multiples, never a matrix.

The Gauss-Newton matrix of L = 1/N sum 1/2 w r^2 is G = J' W J / N with J the residuals' Jacobian: symmetric and positive
semi-definite, and what second-order training of recurrent nets uses in place of the Hessian (Schraudolph 2002;
Martens 2010).
"""

import numpy as np


class Operator:
    """A symmetric linear map of weight vectors (P,), given by a function; supports `@`, `+` and multiples."""

    def __init__(self, apply):
        self._apply = apply

    def __matmul__(self, v):
        return self._apply(v)

    def __add__(self, other):
        return Operator(lambda v: self @ v + other @ v)

    def __rmul__(self, factor):
        return Operator(lambda v: factor * (self @ v))


class Identity(Operator):
    """The identity."""

    def __init__(self):
        super().__init__(lambda v: v)


class GaussNewton(Operator):
    """G @ v = J' W J v / N of a linearised closed loop; counts its products."""

    def __init__(self, linear):
        self.linear, self.products = linear, 0
        super().__init__(self._product)

    def _product(self, v):
        self.products += 1
        dr = self.linear.jvp(v)
        return self.linear.vjp(self.linear.cost.weights * dr) / self.linear.trials


class Structural(Operator):
    """S @ v with <v, S v> the mean squared change of hidden state, state and control along v: structural damping of
    Martens and Sutskever (2011), with the trajectory's own change beside the hidden state's."""

    def __init__(self, linear):
        super().__init__(linear.structural_product)


class ResidualJacobian:
    """The weighted residual Jacobian, explicit: rows (m, P) and residuals (m,) of some channels, both scaled by the
    roots of the weights, so that their part of G is rows' rows / N and of the gradient rows' residuals / N. Those of several
    networks are (networks, m, P) and (networks, m)."""

    def __init__(self, linear, channels):
        self.trials = linear.loop.trials
        rows = linear.rows(channels)
        lead = rows.shape[:-3]
        self.matrix = rows.reshape(*lead, -1, rows.shape[-1])
        residuals = linear.cost.scaled_residuals(channels).reshape(
            len(channels), *lead, -1
        )
        self.residuals = np.moveaxis(residuals, 0, -2).reshape(*lead, -1)
        self.gram = linear.loop.passes.gram(self.matrix)
