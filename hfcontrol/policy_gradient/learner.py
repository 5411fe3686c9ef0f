"""Policy gradients: PPO and A2C on the same recurrent network, which learn from costs alone and need no derivative of the plant.

    L = -mean min(ratio A, clip(ratio, 1 - eps, 1 + eps) A) - c_e mean entropy + c_v / 2 mean (V - R)^2

(Schulman et al. 2017; objectives.py has its parts). A2C is the same with one pass over one batch, nothing clipped, lambda 1 and
RMSProp (Huang et al. 2022). Whole sequences stay together, memory begins anew where episodes do, in the update too, and nothing is padded. Time runs
along the first axis, trials along the last.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.threads import single_threaded_blas
from hfcontrol.closed_loop.passes.sequences import Sequences
from hfcontrol.errors import UsageError
from hfcontrol.network.architecture import Architecture
from hfcontrol.network.input_scaling import Moments, fold, fold_vjp, unfold
from hfcontrol.network.network import Network
from hfcontrol.optim.first_order import Adam, FirstOrderState, RMSProp
from hfcontrol.policy_gradient.objectives import (
    advantages,
    discounted,
    surrogate,
    value_loss,
)
from hfcontrol.policy_gradient.policy import LEAST, MOST

CRITIC = (32, 32)  # its hidden units
FARTHEST = 10.0  # of normalised rewards, and of what the critic is shown
VALUE_WEIGHT, GRADIENT_NORM = 0.5, 0.5
KL_MARGIN = 1.5  # times the target divergence at which the passes over a rollout end


class Experience(NamedTuple):
    """What a rollout of N trials over T steps tells: inputs of the network (T, n_input, N), where episodes start (T, N), actions
    (T, na, N), rewards (T, N), where episodes were over after the step, and where that was an end, after which nothing comes;
    `context` (T, nc, N), what the critic knows beside the network's memory, and (t, n, context (nc, K)) of what was reached
    where an episode was cut. `loss` is what is shown to people, `loop` and `rollout` are those of a plant, or None."""

    inputs: np.ndarray
    starts: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    over: np.ndarray
    ended: np.ndarray
    context: np.ndarray
    cut: tuple
    loss: float
    loop: object = None
    rollout: object = None


class Batch(NamedTuple):
    """What an update is made from: parts of an experience, and what was found of it before the first update (T, N each, but for
    the critic's `features` (T, nf, N))."""

    inputs: np.ndarray
    starts: np.ndarray
    actions: np.ndarray
    log_prob: np.ndarray
    advantages: np.ndarray
    values: np.ndarray
    features: np.ndarray

    def of(self, trials):
        """The part of some trials, given by their numbers."""
        return Batch(*(np.ascontiguousarray(a[..., trials]) for a in self))


@dataclass(frozen=True)
class PolicyState:
    """Where policy-gradient training stands: the controller's weights theta (P,), all that is trained (network on normalised inputs,
    logarithms of the spread, critic) with the moments of its gradient, and those of inputs, critic's features and returns."""

    theta: np.ndarray
    trained: FirstOrderState
    inputs: Moments
    features: Moments
    returns: Moments
    updates: int = 0
    rollouts: int = 0

    def __post_init__(self):
        for name, kind in (
            ("trained", FirstOrderState),
            *((name, Moments) for name in ("inputs", "features", "returns")),
        ):
            if isinstance(getattr(self, name), dict):  # as a checkpoint has it
                object.__setattr__(self, name, kind(**getattr(self, name)))


@dataclass(frozen=True)
class Report:
    """How one round of updates went: their number, the divergence from the policy before, and how much was clipped."""

    updates: int
    divergence: float
    clipped: float
    entropy: float
    solver: str
    accepted: bool = True
    rho: float = np.nan

    @property
    def iterations(self):
        """As many as updates."""
        return self.updates


@dataclass(frozen=True)
class PolicyGradient:
    """Options of PPO and, as `a2c`, of A2C; None is the method's own."""

    name: str = "ppo"
    rate: float | None = None
    epochs: int | None = None
    minibatches: int | None = None
    discount: float = 0.99
    gae_lambda: float | None = None
    clip: float | None = None
    entropy: float = 0.0
    value_clip: float | None = None
    target_kl: float | None = None
    log_spread: float = -0.5
    anneal: int = 0
    normalise: bool = True

    def __post_init__(self):
        own = (
            {
                "rate": 1e-3,
                "epochs": 10,
                "minibatches": 4,
                "gae_lambda": 0.95,
                "clip": 0.2,
            }
            if self.name == "ppo"
            else {
                "rate": 7e-4,
                "epochs": 1,
                "minibatches": 1,
                "gae_lambda": 1.0,
                "clip": np.inf,
            }
        )
        for name, value in own.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        for name, option, least, most in (
            ("epochs", "epochs", 1, np.inf),
            ("minibatches", "minibatches", 1, np.inf),
            ("anneal", "anneal", 0, np.inf),
            ("discount", "discount", 0, 1),
            ("gae_lambda", "gae-lambda", 0, 1),
            ("entropy", "entropy", 0, np.inf),
            ("log_spread", "log-spread", LEAST, MOST),
        ):
            if not least <= getattr(self, name) <= most:
                raise UsageError(
                    f"--{option} {getattr(self, name)}: a number from {least} to {most} is needed"
                )
        for name, option in (
            ("rate", "learning-rate"),
            ("clip", "clip"),
            ("value_clip", "value-clip"),
            ("target_kl", "target-kl"),
        ):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise UsageError(
                    f"--{option} {getattr(self, name)}: a number above 0 is needed"
                )

    def rule(self, rollouts):
        """The first-order rule after so many rollouts: its rate falls to nothing in a line over `anneal` of them."""
        left = max(1.0 - rollouts / self.anneal, 1e-3) if self.anneal else 1.0
        if self.name == "a2c":
            return RMSProp(self.rate * left, clip=GRADIENT_NORM)
        return Adam(self.rate * left, clip=GRADIENT_NORM, least=1e-5)


class Learner:
    """A network, a policy and a critic of `n_context` numbers beside the network's memory, trained by a `PolicyGradient`.

    What is trained is one vector: the network's weights on normalised inputs (P,), the policy's own numbers, the critic's weights.
    """

    def __init__(self, options, network, policy, n_context):
        self.options, self.network, self.policy = options, network, policy
        self.n_memory = network.hidden.stop - network.hidden.start
        self.critic = Network(
            Architecture(CRITIC, "tanh", (), ()), n_context + self.n_memory, 1
        )
        self.normalise = (
            options.normalise and network.constraint is None
        )  # what signs or cuts weights has no room for scales

    @cached_property
    def sequences(self):
        """The network's passes; compiled when first asked for, which a run that is only loaded never does."""
        return Sequences(self.network)

    @cached_property
    def judging(self):
        """The critic's passes."""
        return Sequences(self.critic)

    def init(self, theta, rng):
        """The state before the first update, from the network's weights theta (P,)."""
        start = np.full(self.policy.size, self.options.log_spread)
        trained = np.concatenate([theta, start, self.critic.initial(rng)])
        inner = FirstOrderState(trained, np.zeros_like(trained), np.zeros_like(trained))
        return PolicyState(
            theta,
            inner,
            Moments.empty(self.network.n_input),
            Moments.empty(self.critic.n_input),
            Moments.empty(1),
        )

    def parts(self, trained):
        """The three parts of what is trained."""
        return np.split(
            trained, [self.network.size, self.network.size + self.policy.size]
        )

    def log_spread(self, state):
        """The policy's own numbers."""
        return self.parts(state.trained.theta)[1]

    def weights(self, raw, inputs):
        """The weights (P,) that act, of what is trained and the moments of the inputs."""
        weights = self.network.weights(raw)
        return fold(self.network, weights, inputs) if self.normalise else weights

    def _cotangent(self, raw, bar, inputs):
        bar = fold_vjp(self.network, bar, inputs) if self.normalise else bar
        return self.network.slope(raw) * bar

    def _memory(self, rows, starts):
        """The hidden units' activity (T, hidden, N) with which each step begins, as the critic is shown it."""
        memory = self.sequences.merge_blocks(rows, self.network.hidden, starts.shape[1])
        return np.where(starts[:, None], 0.0, memory[:-1]), memory[1:]

    def values(self, critic, features):
        """The critic's values (...) of normalised features (nf, M), and the activity that they were found along."""
        starts = np.ones((1, features.shape[1]), dtype=bool)
        rows = self.judging.activations(critic, features[None], starts)
        return (
            self.judging.merge_blocks(rows, self.critic.outputs, features.shape[1])[
                1, 0
            ],
            rows,
            starts,
        )

    def scaled(self, state, experience):
        """The state whose network has taken in the scales of an experience's inputs too, and does what it did."""
        if not self.normalise:
            return state
        raw, *others = self.parts(state.trained.theta)
        weights, inputs = (
            self.weights(raw, state.inputs),
            state.inputs.update(flat(experience.inputs)),
        )
        trained = np.concatenate([unfold(self.network, weights, inputs), *others])
        return replace(
            state, inputs=inputs, trained=replace(state.trained, theta=trained)
        )

    def prepared(self, state, experience):
        """The `Batch` of an experience, and the state with what it taught of inputs, features and returns."""
        state = self.scaled(state, experience)
        e, options, (raw, spread, critic) = (
            experience,
            self.options,
            self.parts(state.trained.theta),
        )
        weights = self.weights(raw, state.inputs)
        rows = self.sequences.activations(weights, e.inputs, e.starts)
        m = self.sequences.merge_blocks(rows, self.network.outputs, e.starts.shape[1])[
            1:
        ]
        before, after = self._memory(rows, e.starts)
        features, (t, n, context) = np.concatenate([e.context, before], axis=1), e.cut
        state = replace(
            state,
            features=state.features.update(flat(features)),
            returns=state.returns.update(
                discounted(e.rewards, e.starts, options.discount).reshape(1, -1)
            ),
        )
        features = state.features.normalise(features, FARTHEST)
        values = self.values(critic, flat(features))[0].reshape(e.rewards.shape)
        following = np.where(
            e.over, 0.0, np.concatenate([values[1:], np.zeros_like(values[:1])])
        )
        if len(t):
            reached = state.features.normalise(
                np.concatenate([context, after[t, :, n].T]), FARTHEST
            )
            following[t, n] = self.values(critic, reached)[0]
        rewards = np.clip(e.rewards / state.returns.deviation[0], -FARTHEST, FARTHEST)
        found = advantages(
            rewards, values, following, e.over, options.discount, options.gae_lambda
        )
        return Batch(
            e.inputs,
            e.starts,
            e.actions,
            self.policy.log_prob(m, spread, e.actions),
            found,
            values,
            features,
        ), state

    def loss_and_gradient(self, trained, inputs, batch):
        """The loss, its gradient by all that is trained, and a tuple of divergence, clipped part and entropy."""
        options, (raw, spread, critic) = self.options, self.parts(trained)
        weights = self.weights(raw, inputs)
        rows = self.sequences.activations(weights, batch.inputs, batch.starts)
        m = self.sequences.merge_blocks(
            rows, self.network.outputs, batch.starts.shape[1]
        )[1:]
        log_prob, entropy, A = (
            self.policy.log_prob(m, spread, batch.actions),
            self.policy.entropy(m, spread),
            batch.advantages,
        )
        if options.name == "ppo":
            A = (A - A.mean()) / (A.std() + 1e-8)
        loss, log_prob_bar, clipped = surrogate(
            log_prob, batch.log_prob, A, options.clip
        )
        entropy_bar = np.full_like(entropy, -options.entropy / entropy.size)
        m_bar, spread_bar = self.policy.vjp(
            m, spread, batch.actions, log_prob_bar, entropy_bar
        )
        raw_bar = self._cotangent(
            raw, self.sequences.adjoint(weights, batch.starts, rows, m_bar), inputs
        )
        values, activity, starts = self.values(critic, flat(batch.features))
        error, bar = value_loss(
            values,
            batch.values.ravel(),
            (batch.advantages + batch.values).ravel(),
            options.value_clip,
        )
        critic_bar = self.judging.adjoint(
            critic, starts, activity, VALUE_WEIGHT * bar[None, None]
        )
        change = log_prob - batch.log_prob
        told = (
            float(np.mean(np.expm1(change) - change)),
            float(clipped),
            float(entropy.mean()),
        )
        loss += VALUE_WEIGHT * error - options.entropy * told[2]
        return loss, np.concatenate([raw_bar, spread_bar, critic_bar]), told

    def update(self, state, experience, rng):
        """The state after a round of updates on one experience, and the `Report` of it."""
        batch, state = self.prepared(state, experience)
        inner, rule, made, told = (
            state.trained,
            self.options.rule(state.rollouts),
            0,
            (0.0, 0.0, 0.0),
        )
        with single_threaded_blas():
            for part in self._parts(batch.starts.shape[1], rng):
                _, g, told = self.loss_and_gradient(
                    inner.theta, state.inputs, batch.of(part)
                )
                if (
                    self.options.target_kl is not None
                    and told[0] > KL_MARGIN * self.options.target_kl
                ):
                    break
                inner, made = rule.moved(inner, g), made + 1
        theta = self.parts(inner.theta)[0]
        theta = self.weights(theta, state.inputs) if self.normalise else theta
        state = replace(
            state,
            theta=theta,
            trained=inner,
            updates=state.updates + made,
            rollouts=state.rollouts + 1,
        )
        return state, Report(made, *told, self.options.name)

    def _parts(self, trials, rng):
        """Numbers of the trials of every minibatch of every pass."""
        for _ in range(self.options.epochs):
            yield from np.array_split(
                rng.permutation(trials), min(self.options.minibatches, trials)
            )


def flat(a):
    """An array (T, k, N) as (k, T N), time by time."""
    return np.moveaxis(a, 1, 0).reshape(a.shape[1], -1)
