"""Options of PPO, A2C and REINFORCE, and the rule that applies their gradients."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hfcontrol.errors import UsageError
from hfcontrol.optim.first_order import Adam, RMSProp
from hfcontrol.policy_gradient.settings import PolicyGradientSettings

# Largest norm of a gradient, as in Stable-Baselines3 for both methods.
MAX_GRADIENT_NORM = 0.5

# Adam's epsilon in reference implementations of PPO (Huang et al. 2022).
ADAM_EPSILON = 1e-5

# Part of the learning rate that annealing leaves: a rate of zero is not allowed.
LEAST_RATE = 1e-3

# What A2C has instead of PPO's defaults: one gradient step on five steps of all copies
# of an environment, or on all trials of a plant, without clipping. That is Mnih et al.
# (2016, sec. 4) run synchronously (Huang et al. 2022).
A2C_DEFAULTS: dict[str, Any] = {
    "learning_rate": 7e-4,
    "epochs": 1,
    "minibatches": 1,
    "gae_lambda": 1.0,
    "clip": np.inf,
    "n_steps": 5,
}


# REINFORCE (Williams 1992) is the same without a critic: an advantage is the reward to
# go. Adam's rate is that of a few large batches.
REINFORCE_DEFAULTS = {**A2C_DEFAULTS, "learning_rate": 3e-3, "n_steps": None}

DEFAULTS: dict[str, dict[str, Any]] = {
    "ppo": {},
    "a2c": A2C_DEFAULTS,
    "reinforce": REINFORCE_DEFAULTS,
}


@dataclass(frozen=True)
class PolicyGradient:
    """Options of PPO, with its defaults, or of another method: see `for_method`.

    `discount` is the discount factor gamma, `gae_lambda` the lambda of generalised
    advantages, `clip` and `value_clip` are clipping ranges of the probability ratio
    and of the values, `n_steps` are the steps of each copy of an environment between
    updates, None for a whole rollout, `entropy` weighs the entropy bonus, `target_kl`
    is the divergence that ends a round of updates, `log_spread` the initial logarithm
    of the standard deviation, and `anneal` the rollouts over which the learning rate
    falls to zero.

    Raises UsageError if an option is out of its bounds, which are those of the settings
    of a run.
    """

    name: str = "ppo"
    learning_rate: float = 1e-3
    epochs: int = 10
    minibatches: int = 4
    discount: float = 0.99
    gae_lambda: float = 0.95
    clip: float = 0.2
    n_steps: int | None = None
    entropy: float = 0.0
    value_clip: float | None = None
    target_kl: float | None = None
    log_spread: float = -0.5
    anneal: int = 0
    normalise: bool = True

    def __post_init__(self) -> None:
        options = asdict(self)
        for elsewhere in ("name", "learning_rate"):
            del options[elsewhere]
        PolicyGradientSettings(**options)
        if not self.learning_rate > 0:
            raise UsageError(
                f"`learning_rate` {self.learning_rate}: must be a number above 0"
            )

    @classmethod
    def for_method(cls, name: str, **options: Any) -> "PolicyGradient":
        """Return the options of a method; None means its default."""
        defaults = DEFAULTS[name]
        given = {key: value for key, value in options.items() if value is not None}
        return cls(name, **{**defaults, **given})

    @property
    def has_critic(self) -> bool:
        """Whether a critic's values are part of the advantages."""
        return self.name != "reinforce"

    def rule(self, rollouts: int) -> Adam | RMSProp:
        """Return the first-order rule after `rollouts` rollouts.

        With `anneal`, its learning rate falls linearly to zero over that many rollouts.
        """
        fraction = 1.0
        if self.anneal:
            fraction = max(1.0 - rollouts / self.anneal, LEAST_RATE)
        rate = self.learning_rate * fraction
        if self.name == "a2c":
            return RMSProp(rate, clip=MAX_GRADIENT_NORM)
        return Adam(rate, clip=MAX_GRADIENT_NORM, least=ADAM_EPSILON)
