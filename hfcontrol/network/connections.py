"""What a layer's connections make of its sources X (columns, N), the last row ones for the bias: the sums its cells see.

Dense connections have a matrix W (k, columns): sums W X. Synapses have W (4, k, columns - 1), the numbers behind weight w,
slope, centre and reversal E of each, and no bias: with s = logistic(slope (X - centre)), the sums (2, k, N) are sum w s E and
sum w s, w the softplus of its number. Timed connections have W (4, k, columns): the sums (3, k, N) are W_1 X, W_2 X and
(W_3 + W_4) X, where a step is of length one. Each kind gives the sums, their tangent, and the cotangents of X and, trial by
trial, of W.
"""

import numpy as np


class Dense:
    """One product."""

    @staticmethod
    def sums(W, X):
        """The summed inputs (k, N)."""
        return W @ X

    @staticmethod
    def jvp(W, dW, X, dX):
        """Their tangent."""
        return dW @ X + W @ dX

    @staticmethod
    def vjp(W, X, delta):
        """The cotangent of X (columns, N)."""
        return W.T @ delta

    @staticmethod
    def weight_vjp(W, X, delta):
        """The cotangent of W, one for each trial (N, k, columns)."""
        return np.einsum("in,jn->nij", delta, X)


class Timed:
    """Three products, the last one by a matrix that is multiplied by the length of the step, and one that is not."""

    @staticmethod
    def scale_to_step(W, elapsed):
        """The matrices that do in a step of length one what W does in one of length `elapsed`."""
        return np.concatenate([W[:2], elapsed * W[2:3], W[3:]])

    @staticmethod
    def merge(W):
        """The matrices of the three sums (3, k, columns)."""
        return np.concatenate([W[:2], W[2:3] + W[3:]])

    @classmethod
    def sums(cls, W, X):
        """The summed inputs (3, k, N)."""
        return cls.merge(W) @ X

    @classmethod
    def jvp(cls, W, dW, X, dX):
        """Their tangent."""
        return cls.merge(dW) @ X + cls.merge(W) @ dX

    @classmethod
    def vjp(cls, W, X, delta):
        """The cotangent of X (columns, N)."""
        return cls.merge(W).reshape(-1, W.shape[2]).T @ delta.reshape(-1, X.shape[1])

    @staticmethod
    def weight_vjp(W, X, delta):
        """The cotangent of W, one for each trial (N, 4, k, columns)."""
        return np.einsum("qin,jn->nqij", delta[[0, 1, 2, 2]], X)


class Synapses:
    """A gate for every connection."""

    @staticmethod
    def _gates(W, X):
        _, slope, centre, _ = W[..., None]
        return 0.5 * (1 + np.tanh(0.5 * slope * (X[:-1] - centre)))

    @classmethod
    def sums(cls, W, X):
        """What flows in, and the conductance (2, k, N)."""
        s, w = cls._gates(W, X), np.logaddexp(0.0, W[0])
        return np.stack(
            [np.einsum("ij,ijn->in", w * W[3], s), np.einsum("ij,ijn->in", w, s)]
        )

    @classmethod
    def jvp(cls, W, dW, X, dX):
        """Their tangent."""
        s, w, w_slope = (
            cls._gates(W, X),
            np.logaddexp(0.0, W[0]),
            0.5 * (1 + np.tanh(0.5 * W[0])),
        )
        dw = w_slope * dW[0]
        ds = (
            s
            * (1 - s)
            * (
                dW[1][..., None] * (X[:-1] - W[2][..., None])
                + W[1][..., None] * (dX[:-1] - dW[2][..., None])
            )
        )
        return np.stack(
            [
                np.einsum("ij,ijn->in", dw * W[3] + w * dW[3], s)
                + np.einsum("ij,ijn->in", w * W[3], ds),
                np.einsum("ij,ijn->in", dw, s) + np.einsum("ij,ijn->in", w, ds),
            ]
        )

    @classmethod
    def _gate_bars(cls, W, X, delta):
        """Gates, and the cotangents of w s and of what stands in the gate, slope (X - centre) (k, columns - 1, N each)."""
        s, w = cls._gates(W, X), np.logaddexp(0.0, W[0])[..., None]
        strength = delta[0][:, None] * W[3][..., None] + delta[1][:, None]
        return s, strength, w * strength * s * (1 - s)

    @classmethod
    def vjp(cls, W, X, delta):
        """The cotangent of X (columns, N); none of the last row."""
        _, _, inside = cls._gate_bars(W, X, delta)
        return np.concatenate(
            [np.einsum("ij,ijn->jn", W[1], inside), np.zeros_like(X[:1])]
        )

    @classmethod
    def weight_vjp(cls, W, X, delta):
        """The cotangent of W, one for each trial (N, 4, k, columns - 1)."""
        s, strength, inside = cls._gate_bars(W, X, delta)
        w, w_slope = np.logaddexp(0.0, W[0]), 0.5 * (1 + np.tanh(0.5 * W[0]))
        bars = (
            w_slope[..., None] * strength * s,
            inside * (X[:-1] - W[2][..., None]),
            -inside * W[1][..., None],
            delta[0][:, None] * w[..., None] * s,
        )
        return np.moveaxis(np.stack(bars), -1, 0)
