"""Settings of policy gradients: PPO, A2C and REINFORCE."""

from hfcontrol.arrays.settings import POLICY_OPTIMIZERS
from hfcontrol.schema import Number, OnlyWith, SettingsModel, Whole, join_words, setting

# Bounds of the policy's log_std while it trains: it neither collapses nor explores
# without end.
MIN_LOG_STD = -5.0
MAX_LOG_STD = 1.0


def _only_for(optimizers: tuple[str, ...]) -> tuple[OnlyWith, ...]:
    """Return the rule of a setting that has an effect with some optimizers only."""
    names = join_words(optimizers, "and")
    return (
        OnlyWith("optimizer", optimizers, f"applies only to {names}; leave it out"),
    )


POLICY_ONLY = _only_for(POLICY_OPTIMIZERS)

# Rewards to go need no critic, and whole episodes.
CRITIC_ONLY = _only_for(tuple(n for n in POLICY_OPTIMIZERS if n != "reinforce"))


class PolicyGradientSettings(SettingsModel):
    """Hyperparameters of policy gradients; None means the method's own value."""

    discount: Number | None = setting(
        None,
        "Discount factor; by default 1 for a plant, whose horizon is part of "
        "the task, and 0.99 in an environment.",
        "GAMMA",
        only_with=POLICY_ONLY,
        ge=0,
        le=1,
    )
    gae_lambda: Number | None = setting(
        None,
        "Lambda of generalised advantage estimation; by default 0.95 for ppo, "
        "1 for a2c.",
        "LAMBDA",
        only_with=CRITIC_ONLY,
        ge=0,
        le=1,
    )
    clip: Number | None = setting(
        None,
        "Clipping range of probability ratios; by default 0.2 for ppo, none for a2c.",
        "EPS",
        only_with=POLICY_ONLY,
        gt=0,
    )
    epochs: Whole | None = setting(
        None,
        "Passes over a rollout; by default 10 for ppo, 1 for a2c.",
        "N",
        only_with=POLICY_ONLY,
        ge=1,
    )
    minibatches: Whole | None = setting(
        None,
        "Updates per pass, each on a subset of the trials; by default 4 for "
        "ppo, 1 for a2c.",
        "N",
        only_with=POLICY_ONLY,
        ge=1,
    )
    n_steps: Whole | None = setting(
        None,
        "Steps of every copy of an environment between updates; by default 5 for "
        "a2c, and a whole rollout for ppo.",
        "N",
        only_with=CRITIC_ONLY,
        ge=1,
    )
    entropy: Number = setting(
        0.0,
        "Weight of the policy's entropy in the objective.",
        "WEIGHT",
        only_with=POLICY_ONLY,
        ge=0,
    )
    value_clip: Number | None = setting(
        None,
        "Clipping range of the value function; none by default.",
        "EPS",
        only_with=CRITIC_ONLY,
        gt=0,
    )
    target_kl: Number | None = setting(
        None,
        "End the passes over a rollout at 1.5 times this KL divergence from the "
        "policy before them; never by default.",
        "KL",
        only_with=POLICY_ONLY,
        gt=0,
    )
    log_spread: Number = setting(
        -0.5,
        "Initial logarithm of the exploration noise, in typical controls.",
        "L",
        only_with=POLICY_ONLY,
        ge=MIN_LOG_STD,
        le=MAX_LOG_STD,
    )
    anneal: Whole = setting(
        0,
        "Decrease the learning rate linearly to zero over N rollouts.",
        "N",
        only_with=POLICY_ONLY,
        ge=0,
    )
    normalise: bool = setting(
        True,
        "Normalise the network's inputs; on by default.",
        only_with=POLICY_ONLY,
    )
