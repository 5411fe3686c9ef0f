"""Advantages, and the losses of policy and critic with their cotangents.

    delta_t = r_t + gamma V_{t+1} - V_t
    A_t     = delta_t + gamma lambda (1 - done_t) A_{t+1}
    rho_t   = p(a_t) / p_old(a_t)
    R_t     = A_t + V_old

with A from Schulman et al. (2016, eq. 16). V_{t+1} is 0 after a terminated episode and
the critic's value of what was reached after a truncated one. All arrays are (T, N).
"""

import numpy as np

from hfcontrol.arrays.types import Array


def generalised_advantages(
    rewards: Array,
    values: Array,
    next_values: Array,
    done: Array,
    discount: float,
    gae_lambda: float,
) -> Array:
    """Return the advantages (T, N) of Schulman et al. (2016, eq. 16)."""
    advantages = np.empty_like(rewards)
    following = np.zeros(rewards.shape[1])
    # Backwards in time: an advantage contains the next one of its episode.
    for t in range(len(rewards) - 1, -1, -1):
        delta = rewards[t] + discount * next_values[t] - values[t]
        following = delta + discount * gae_lambda * ~done[t] * following
        advantages[t] = following
    return advantages


def running_returns(
    rewards: Array, starts: Array, discount: float, before: Array
) -> Array:
    """Return the discounted rewards (T, N) of each episode so far.

    `before` (N,) are those of episodes that go on; none is empty.
    Their standard deviation is the scale of the rewards (Engstrom et al. 2020).
    """
    returns = np.empty_like(rewards)
    previous = before if before.size else np.zeros(rewards.shape[1])
    for t in range(len(rewards)):
        previous = rewards[t] + discount * ~starts[t] * previous
        returns[t] = previous
    return returns


def clipped_surrogate_loss(
    log_prob: Array, old_log_prob: Array, advantages: Array, clip: float
) -> tuple[Array, Array, Array]:
    """Return the policy's loss, its cotangent by log_prob, and the clipped fraction.

    -mean min(rho A, clip(rho, 1 - eps, 1 + eps) A)  (Schulman et al. 2017, eq. 7).
    """
    ratio = np.exp(log_prob - old_log_prob)
    too_likely = (advantages > 0) & (ratio > 1 + clip)
    too_unlikely = (advantages < 0) & (ratio < 1 - clip)
    is_clipped = too_likely | too_unlikely

    clipped_ratio = np.clip(ratio, 1 - clip, 1 + clip)
    gain = np.minimum(ratio * advantages, clipped_ratio * advantages)
    # A clipped sample has no gradient, so that the ratio does not move further away.
    log_prob_bar = np.where(is_clipped, 0.0, -ratio * advantages) / ratio.size
    return -gain.mean(), log_prob_bar, is_clipped.mean()


def value_loss(
    values: Array, old_values: Array, returns: Array, clip: float | None
) -> tuple[Array, Array]:
    """Return half the mean squared error of the values, and its cotangent by them.

    With a clipping range, the error is the larger one of the values and of the values
    clipped to that range about the old ones (Huang et al. 2022).
    """
    error = values - returns
    if clip is None:
        return 0.5 * (error**2).mean(), error / error.size

    change = values - old_values
    clipped_error = old_values + np.clip(change, -clip, clip) - returns
    # A clipped value does not move with the value.
    clipped_bar = np.where(np.abs(change) < clip, clipped_error, 0.0)
    values_bar = np.where(clipped_error**2 > error**2, clipped_bar, error)
    loss = 0.5 * np.maximum(error**2, clipped_error**2).mean()
    return loss, values_bar / error.size
