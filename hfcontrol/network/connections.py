"""What connections make of the sources X (columns, N) of a layer: its summed inputs.

The last row of X holds ones, for the bias. A layer has k units.

| connections | W | sums |
|---|---|---|
| `Dense` | (k, columns) | (k, N): W X |
| `Synapses` | (4, k, columns - 1) | (2, k, N): sum w s E and sum w s |
| `Timed` | (4, k, columns) | (3, k, N): W_1 X, W_2 X and (W_3 + W_4) X |

A synapse has a gate s = logistic(slope (X - centre)), a weight w, which is the softplus
of its trained number, and a reversal E; there is no bias. Timed connections multiply
W_3 by the length of the step, which is one here.
"""

from typing import Protocol

import numpy as np

from hfcontrol.arrays.types import Array


class Connections(Protocol):
    """The sums of a layer as a function of W and X, and its derivatives."""

    @classmethod
    def sums(cls, W: Array, X: Array) -> Array:
        """Return the summed inputs."""

    @classmethod
    def jvp(cls, W: Array, dW: Array, X: Array, dX: Array) -> Array:
        """Return the tangent of the sums in the direction (dW, dX)."""

    @classmethod
    def vjp(cls, W: Array, X: Array, delta: Array) -> Array:
        """Return the cotangent of X (columns, N) from `delta`, that of the sums."""

    @classmethod
    def weight_vjp(cls, W: Array, X: Array, delta: Array) -> Array:
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


class Timed:
    """Three matrix products; part of the third depends on the length of the step."""

    @staticmethod
    def scale_to_step(W: Array, elapsed: float) -> Array:
        """Return the matrices that do in a unit step what W does in `elapsed`."""
        return np.concatenate([W[:2], elapsed * W[2:3], W[3:]])

    @staticmethod
    def merge(W: Array) -> Array:
        """Return the matrices of the three sums (3, k, columns)."""
        return np.concatenate([W[:2], W[2:3] + W[3:]])

    @classmethod
    def sums(cls, W: Array, X: Array) -> Array:
        """Return the three sums (3, k, N)."""
        return cls.merge(W) @ X

    @classmethod
    def jvp(cls, W: Array, dW: Array, X: Array, dX: Array) -> Array:
        """Return the tangent of the sums (3, k, N)."""
        return cls.merge(dW) @ X + cls.merge(W) @ dX

    @classmethod
    def vjp(cls, W: Array, X: Array, delta: Array) -> Array:
        """Return the cotangent of X (columns, N)."""
        # One product for the three sums.
        merged = cls.merge(W).reshape(-1, W.shape[2])
        return merged.T @ delta.reshape(-1, X.shape[1])

    @classmethod
    def weight_vjp(cls, W: Array, X: Array, delta: Array) -> Array:
        """Return the cotangent of W for every trial (N, 4, k, columns)."""
        # W_3 and W_4 enter one sum and have the same cotangent.
        return np.einsum("qin,jn->nqij", delta[[0, 1, 2, 2]], X)


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
