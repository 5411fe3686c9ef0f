"""What connections make of the sources X (columns, N) of a layer: its summed inputs.

The last row of X holds ones, for the bias. A layer has k units.

| connections | W | sums |
|---|---|---|
| `Dense` | (k, columns) | (k, N): W X |
| `Synapses` | (4, k, columns - 1) | (2, k, N): sum w s E and sum w s |
| `Matrices` | (matrices, k, columns) | (sums, k, N): each adds up some products |

A synapse has a gate s = logistic(slope (X - centre)), a weight w, which is the softplus
of its trained number, and a reversal E; there is no bias.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from hfcontrol.arrays.types import Array


class Connections(Protocol):
    """The sums of a layer as a function of W and X, and its derivatives."""

    def sums(self, W: Array, X: Array) -> Array:
        """Return the summed inputs."""

    def jvp(self, W: Array, dW: Array, X: Array, dX: Array) -> Array:
        """Return the tangent of the sums in the direction (dW, dX)."""

    def vjp(self, W: Array, X: Array, delta: Array) -> Array:
        """Return the cotangent of X (columns, N) from `delta`, that of the sums."""

    def weight_vjp(self, W: Array, X: Array, delta: Array) -> Array:
        """Return the cotangent of W for every trial: N first, then the shape of W."""


class Dense:
    """One matrix product."""

    @classmethod
    def sums(cls, W: Array, X: Array) -> Array:
        """Return W X (k, N)."""
        return W @ X

    @classmethod
    def jvp(cls, W: Array, dW: Array, X: Array, dX: Array) -> Array:
        """Return the tangent of the sums (k, N)."""
        return dW @ X + W @ dX

    @classmethod
    def vjp(cls, W: Array, X: Array, delta: Array) -> Array:
        """Return the cotangent of X (columns, N)."""
        return W.T @ delta

    @classmethod
    def weight_vjp(cls, W: Array, X: Array, delta: Array) -> Array:
        """Return the cotangent of W for every trial (N, k, columns)."""
        return np.einsum("in,jn->nij", delta, X)


class Term(NamedTuple):
    """A part of a matrix that counts in a sum: its columns first to end."""

    matrix: int
    sum: int
    first: int
    end: int


class Matrices:
    """Several matrix products, added up to sums as `terms` say."""

    def __init__(self, terms: Sequence[Term], n_sums: int) -> None:
        self.terms = terms
        self.n_sums = n_sums

    def merge(self, W: Array) -> Array:
        """Return the matrices of the sums (sums, k, columns)."""
        merged = np.zeros_like(W, shape=(self.n_sums, *W.shape[1:]))
        for matrix, total, first, end in self.terms:
            merged[total, :, first:end] += W[matrix, :, first:end]
        return merged

    def sums(self, W: Array, X: Array) -> Array:
        """Return the sums (sums, k, N)."""
        return self.merge(W) @ X

    def jvp(self, W: Array, dW: Array, X: Array, dX: Array) -> Array:
        """Return the tangent of the sums (sums, k, N)."""
        return self.merge(dW) @ X + self.merge(W) @ dX

    def vjp(self, W: Array, X: Array, delta: Array) -> Array:
        """Return the cotangent of X (columns, N)."""
        # One product for all sums.
        merged = self.merge(W).reshape(-1, W.shape[2])
        return merged.T @ delta.reshape(-1, X.shape[1])

    def weight_vjp(self, W: Array, X: Array, delta: Array) -> Array:
        """Return the cotangent of W for every trial (N, matrices, k, columns)."""
        products = np.einsum("qin,jn->nqij", delta, X)
        bars = np.zeros_like(products, shape=(len(products), *W.shape))
        for matrix, total, first, end in self.terms:
            bars[:, matrix, :, first:end] += products[:, total, :, first:end]
        return bars


class Synapses:
    """A gate for every connection."""

    @staticmethod
    def _gates(W: Array, X: Array) -> Array:
        """Return the gates s (k, columns - 1, N)."""
        _, slope, centre, _ = W[..., None]
        # 1 / (1 + exp(-z)) in a form that does not overflow.
        return 0.5 * (1 + np.tanh(0.5 * slope * (X[:-1] - centre)))

    @staticmethod
    def _strengths(W: Array) -> Array:
        """Return the weights w (k, columns - 1), the softplus of their numbers."""
        return np.logaddexp(0.0, W[0])

    @staticmethod
    def _strength_slopes(W: Array) -> Array:
        """Return the derivatives of the weights w by their numbers: logistic(W_0)."""
        return 0.5 * (1 + np.tanh(0.5 * W[0]))

    @classmethod
    def sums(cls, W: Array, X: Array) -> Array:
        """Return the current and the conductance of the synapses (2, k, N)."""
        s = cls._gates(W, X)
        w = cls._strengths(W)
        current = np.einsum("ij,ijn->in", w * W[3], s)
        conductance = np.einsum("ij,ijn->in", w, s)
        return np.stack([current, conductance])

    @classmethod
    def jvp(cls, W: Array, dW: Array, X: Array, dX: Array) -> Array:
        """Return the tangent of the sums (2, k, N)."""
        s = cls._gates(W, X)
        w = cls._strengths(W)
        dw = cls._strength_slopes(W) * dW[0]

        by_slope = dW[1][..., None] * (X[:-1] - W[2][..., None])
        by_distance = W[1][..., None] * (dX[:-1] - dW[2][..., None])
        ds = s * (1 - s) * (by_slope + by_distance)

        d_current = np.einsum("ij,ijn->in", dw * W[3] + w * dW[3], s)
        d_current = d_current + np.einsum("ij,ijn->in", w * W[3], ds)
        d_conductance = np.einsum("ij,ijn->in", dw, s)
        d_conductance = d_conductance + np.einsum("ij,ijn->in", w, ds)
        return np.stack([d_current, d_conductance])

    @classmethod
    def _gate_bars(cls, W: Array, X: Array, delta: Array) -> tuple[Array, Array, Array]:
        """Return the gates and two cotangents (k, columns - 1, N each).

        The cotangents are those of w s, and of the argument slope (X - centre) of the
        gates.
        """
        s = cls._gates(W, X)
        w = cls._strengths(W)[..., None]
        strength_bar = delta[0][:, None] * W[3][..., None] + delta[1][:, None]
        return s, strength_bar, w * strength_bar * s * (1 - s)

    @classmethod
    def vjp(cls, W: Array, X: Array, delta: Array) -> Array:
        """Return the cotangent of X (columns, N), zero for the last row."""
        _, _, argument_bar = cls._gate_bars(W, X, delta)
        # Synapses do not read the row of ones.
        X_bar = np.einsum("ij,ijn->jn", W[1], argument_bar)
        return np.concatenate([X_bar, np.zeros_like(X[:1])])

    @classmethod
    def weight_vjp(cls, W: Array, X: Array, delta: Array) -> Array:
        """Return the cotangent of W for every trial (N, 4, k, columns - 1)."""
        s, strength_bar, argument_bar = cls._gate_bars(W, X, delta)
        w = cls._strengths(W)[..., None]
        w_slope = cls._strength_slopes(W)[..., None]

        weight_bar = w_slope * strength_bar * s
        slope_bar = argument_bar * (X[:-1] - W[2][..., None])
        centre_bar = -argument_bar * W[1][..., None]
        reversal_bar = delta[0][:, None] * w * s
        bars = np.stack([weight_bar, slope_bar, centre_bar, reversal_bar])
        return np.moveaxis(bars, -1, 0)
