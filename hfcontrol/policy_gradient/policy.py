"""Policies: the distribution of actions that the network's outputs describe.

Gaussian:    a_i = m_i + s_i eps_i  with  s_i = scale_i exp(l_i)
             log p(a) = sum_i -1/2 ((a_i - m_i) / s_i)^2 - ln s_i - 1/2 ln 2 pi
             entropy = sum_i ln s_i + 1/2 ln 2 pi e
Categorical: p(a) = exp(m_a) / sum_j exp(m_j),  entropy = -sum_j p_j ln p_j

m are the network's outputs; l (`log_std`) is trained too and the same in every state.
Arrays are [time, component, trial].
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.policy_gradient.settings import MAX_LOG_STD, MIN_LOG_STD

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


class Policy(Protocol):
    """A distribution of actions, with the derivatives that policy gradients need."""

    @property
    def size(self) -> int:
        """Number of trained parameters besides the network's."""

    def most_likely(self, m: Array) -> Array:
        """Return the most likely actions (na, N) for outputs m (n, N)."""

    def draw(self, m: Array, log_std: Array, rng: np.random.Generator) -> Array:
        """Draw actions (na, N) for outputs m (n, N)."""

    def log_prob(self, m: Array, log_std: Array, actions: Array) -> Array:
        """Return log p (T, N) of actions (T, na, N) for outputs m (T, n, N)."""

    def entropy(self, m: Array, log_std: Array) -> Array:
        """Return the entropy (T, N) for outputs m (T, n, N)."""

    def vjp(
        self,
        m: Array,
        log_std: Array,
        actions: Array,
        log_prob_bar: Array,
        entropy_bar: Array,
    ) -> tuple[Array, Array]:
        """Return the cotangents of m (T, n, N) and log_std (size,).

        They belong to the cotangents of log p and of the entropy, both (T, N).
        """


@dataclass(frozen=True)
class Gaussian:
    """Normal actions about the network's outputs; `scale` (nu,) is their unit."""

    scale: Array

    @property
    def size(self) -> int:
        """Number of trained parameters besides the network's: those of log_std."""
        return len(self.scale)

    def std(self, log_std: Array) -> Array:
        """Return the standard deviations (nu, 1)."""
        bounded = np.clip(log_std, MIN_LOG_STD, MAX_LOG_STD)
        return (self.scale * np.exp(bounded))[:, None]

    def draw_noise(
        self, log_std: Array, steps: int, trials: int, rng: np.random.Generator
    ) -> Array:
        """Draw deviations (steps, nu, trials) of the actions from their means."""
        normal = rng.standard_normal((steps, self.size, trials))
        return self.std(log_std) * normal

    def most_likely(self, m: Array) -> Array:
        """Return the most likely actions (nu, N): the means m."""
        return m

    def draw(self, m: Array, log_std: Array, rng: np.random.Generator) -> Array:
        """Draw actions (nu, N) about means m (nu, N)."""
        return m + self.std(log_std) * rng.standard_normal(m.shape)

    def log_prob(self, m: Array, log_std: Array, actions: Array) -> Array:
        """Return log p (T, N) of actions (T, nu, N) about means m (T, nu, N)."""
        s = self.std(log_std)
        squares = ((actions - m) / s) ** 2
        return (-0.5 * squares - np.log(s) - HALF_LOG_TWO_PI).sum(axis=1)

    def entropy(self, m: Array, log_std: Array) -> Array:
        """Return the entropy (T, N), which is the same everywhere."""
        entropy = (np.log(self.std(log_std)) + HALF_LOG_TWO_PI + 0.5).sum()
        return np.full((len(m), m.shape[2]), float(entropy))

    def vjp(
        self,
        m: Array,
        log_std: Array,
        actions: Array,
        log_prob_bar: Array,
        entropy_bar: Array,
    ) -> tuple[Array, Array]:
        """Return the cotangents of m (T, nu, N) and log_std (nu,)."""
        s = self.std(log_std)
        z = (actions - m) / s
        m_bar = log_prob_bar[:, None] * z / s

        # d log p / d l = z^2 - 1 and d entropy / d l = 1, for each action.
        by_log_prob = (z * z - 1.0) * log_prob_bar[:, None]
        log_std_bar = by_log_prob.sum(axis=(0, 2)) + entropy_bar.sum()
        # Beyond its bounds log_std is clipped and has no effect.
        is_free = (log_std > MIN_LOG_STD) & (log_std < MAX_LOG_STD)
        return m_bar, np.where(is_free, log_std_bar, 0.0)


@dataclass(frozen=True)
class Categorical:
    """The index (T, 1, N) of one of `actions` actions; the outputs are logits."""

    actions: int

    @property
    def size(self) -> int:
        """Number of trained parameters besides the network's: none."""
        return 0

    @staticmethod
    def _log_softmax(m: Array) -> Array:
        # Shifted to a largest logit of 0, so that no exponential overflows.
        shifted = m - m.max(axis=-2, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=-2, keepdims=True))

    def most_likely(self, m: Array) -> Array:
        """Return the most likely actions (1, N) for logits m (n, N)."""
        return np.argmax(m, axis=0)[None].astype(float)

    def draw(self, m: Array, log_std: Array, rng: np.random.Generator) -> Array:
        """Draw actions (1, N) for logits m (n, N).

        The index of the largest logit plus Gumbel noise is an exact draw.
        """
        noisy = m + rng.gumbel(size=m.shape)
        return np.argmax(noisy, axis=0)[None].astype(float)

    def log_prob(self, m: Array, log_std: Array, actions: Array) -> Array:
        """Return log p (T, N) of actions (T, 1, N) for logits m (T, n, N)."""
        index = actions.astype(np.int64)
        return np.take_along_axis(self._log_softmax(m), index, axis=1)[:, 0]

    def entropy(self, m: Array, log_std: Array) -> Array:
        """Return the entropy (T, N) for logits m (T, n, N)."""
        log_p = self._log_softmax(m)
        return -(np.exp(log_p) * log_p).sum(axis=1)

    def vjp(
        self,
        m: Array,
        log_std: Array,
        actions: Array,
        log_prob_bar: Array,
        entropy_bar: Array,
    ) -> tuple[Array, Array]:
        """Return the cotangents of m (T, n, N) and of an empty log_std (0,)."""
        log_p = self._log_softmax(m)
        p = np.exp(log_p)
        # d log p / d m = 1 - p for the action taken, and -p for the others.
        index = np.arange(self.actions)[:, None]
        is_taken = index == actions.astype(np.int64)
        entropy = -(p * log_p).sum(axis=1, keepdims=True)

        by_log_prob = log_prob_bar[:, None] * (is_taken - p)
        by_entropy = entropy_bar[:, None] * p * (log_p + entropy)
        return by_log_prob - by_entropy, np.zeros(0)
