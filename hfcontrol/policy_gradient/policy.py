"""Policies: what the network's outputs mean when actions are drawn, and the derivatives of their logarithms.

    Gaussian      a_i = m_i + s_i eps_i,  s_i = scale_i exp(l_i)
                  log p(a) = sum over i of -1/2 ((a_i - m_i) / s_i)^2 - ln s_i - 1/2 ln 2 pi,   entropy = sum of ln s_i + 1/2 ln 2 pi e
    Categorical   p(a) = exp(m_a) / sum over j of exp(m_j),                                      entropy = -sum of p_j ln p_j

Arrays are [time, component, trial]; m are the network's outputs, l the logarithm of the spread, the same in every state.
"""

import math
from dataclasses import dataclass

import numpy as np

LEAST, MOST = -5.0, 1.0  # of the spread's logarithm
HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True)
class Gaussian:
    """Independent normal deviates about the network's outputs, in units of `scale` (nu,)."""

    scale: np.ndarray

    @property
    def size(self):
        """How many numbers are trained beside the network: the logarithms of the spread."""
        return len(self.scale)

    def spread(self, log_spread):
        """Standard deviations (nu, 1)."""
        return (self.scale * np.exp(np.clip(log_spread, LEAST, MOST)))[:, None]

    def noise(self, log_spread, steps, trials, rng):
        """Deviations (steps, nu, trials) of the actions from the means."""
        return self.spread(log_spread) * rng.standard_normal((steps, self.size, trials))

    @staticmethod
    def likely(m):
        """The most likely actions (nu, N) for outputs m (nu, N)."""
        return m

    def draw(self, m, log_spread, rng):
        """Actions (nu, N) about means m (nu, N)."""
        return m + self.spread(log_spread) * rng.standard_normal(m.shape)

    def log_prob(self, m, log_spread, actions):
        """log p (T, N) of actions (T, nu, N)."""
        s = self.spread(log_spread)
        return (-0.5 * ((actions - m) / s) ** 2 - np.log(s) - HALF_LOG_TAU).sum(axis=1)

    def entropy(self, m, log_spread):
        """Entropy (T, N)."""
        return np.full(
            (len(m), m.shape[2]),
            float((np.log(self.spread(log_spread)) + HALF_LOG_TAU + 0.5).sum()),
        )

    def vjp(self, m, log_spread, actions, log_prob_bar, entropy_bar):
        """Cotangents of m (T, nu, N) and of log_spread (nu,) from those of log p and of the entropy, (T, N) each."""
        s = self.spread(log_spread)
        z, inside = (actions - m) / s, (log_spread > LEAST) & (log_spread < MOST)
        by_spread = ((z * z - 1.0) * log_prob_bar[:, None]).sum(
            axis=(0, 2)
        ) + entropy_bar.sum()
        return log_prob_bar[:, None] * z / s, np.where(inside, by_spread, 0.0)


@dataclass(frozen=True)
class Categorical:
    """One of so many actions, told by its number (T, 1, N), whose unnormalised logarithms are the network's outputs."""

    actions: int
    size = 0

    @staticmethod
    def _log_softmax(m):
        shifted = m - m.max(axis=-2, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=-2, keepdims=True))

    @staticmethod
    def likely(m):
        """The most likely actions (1, N) for outputs m (n, N)."""
        return np.argmax(m, axis=0)[None].astype(float)

    def draw(self, m, log_spread, rng):
        """Actions (1, N) for outputs m (n, N), by Gumbel's maximum."""
        return np.argmax(m + rng.gumbel(size=m.shape), axis=0)[None].astype(float)

    def log_prob(self, m, log_spread, actions):
        """log p (T, N) of actions (T, 1, N)."""
        return np.take_along_axis(
            self._log_softmax(m), actions.astype(np.int64), axis=1
        )[:, 0]

    def entropy(self, m, log_spread):
        """Entropy (T, N)."""
        log_p = self._log_softmax(m)
        return -(np.exp(log_p) * log_p).sum(axis=1)

    def vjp(self, m, log_spread, actions, log_prob_bar, entropy_bar):
        """Cotangents of m (T, n, N) and of nothing, from those of log p and of the entropy, (T, N) each."""
        log_p = self._log_softmax(m)
        p = np.exp(log_p)
        chosen = np.arange(self.actions)[:, None] == actions.astype(np.int64)
        entropy = -(p * log_p).sum(axis=1, keepdims=True)
        return log_prob_bar[:, None] * (chosen - p) - entropy_bar[:, None] * p * (
            log_p + entropy
        ), np.zeros(0)
