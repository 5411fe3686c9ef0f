"""What policy gradients aim at, as functions of arrays (T, N): advantages, and the losses of policy and critic with their cotangents.

delta_t = r_t + gamma V_after - V_t                      V_after: 0 after an end, the value of what was reached otherwise
A_t     = delta_t + gamma lambda (1 - over_t) A_{t+1}    generalised advantages (Schulman et al. 2016)
ratio   = p(a_t) / p_old(a_t),   R_t = A_t + V_old
"""

import numpy as np


def advantages(rewards, values, after, over, discount, gae_lambda):
    """Generalised advantages (T, N) from rewards, values, those of what came after, and where episodes were over."""
    found, carry = np.empty_like(rewards), np.zeros(rewards.shape[1])
    for t in range(len(rewards) - 1, -1, -1):
        carry = (
            rewards[t]
            + discount * after[t]
            - values[t]
            + discount * gae_lambda * ~over[t] * carry
        )
        found[t] = carry
    return found


def discounted(rewards, starts, discount):
    """Discounted sums (T, N) of the rewards of each episode so far: what rewards are measured by."""
    found, carry = np.empty_like(rewards), np.zeros(rewards.shape[1])
    for t in range(len(rewards)):
        carry = rewards[t] + discount * ~starts[t] * carry
        found[t] = carry
    return found


def surrogate(log_prob, old, advantage, clip):
    """The clipped objective's loss, the cotangent of log_prob (T, N), and the part that is clipped."""
    ratio = np.exp(log_prob - old)
    clipped = ((advantage > 0) & (ratio > 1 + clip)) | (
        (advantage < 0) & (ratio < 1 - clip)
    )
    gain = np.minimum(ratio * advantage, np.clip(ratio, 1 - clip, 1 + clip) * advantage)
    return (
        -gain.mean(),
        np.where(clipped, 0.0, -ratio * advantage) / ratio.size,
        clipped.mean(),
    )


def value_loss(values, old, returns, clip):
    """Half the mean squared error of the values and its cotangent; with a `clip` that of the worse of the values and of these no
    further than that from the old ones."""
    error = values - returns
    if clip is None:
        return 0.5 * (error**2).mean(), error / error.size
    near = old + np.clip(values - old, -clip, clip)
    worse = (near - returns) ** 2 > error**2
    bar = np.where(
        worse, np.where(np.abs(values - old) < clip, near - returns, 0.0), error
    )
    return 0.5 * np.maximum(error**2, (near - returns) ** 2).mean(), bar / error.size
