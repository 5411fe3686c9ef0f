"""A network, a policy and a critic, trained by PPO or A2C from recorded trajectories.

    L = -mean min(rho A, clip(rho, 1 - eps, 1 + eps) A)
        + c_v / 2 mean (V - R)^2 - c_e mean entropy

(Schulman et al. 2017, eq. 9; objectives.py computes its terms). A2C (Mnih et al. 2016,
sec. 4) is the same with one pass over one batch, no clipping, lambda = 1 and RMSProp
(Huang et al. 2022).

Sequences stay whole: a minibatch holds all steps of its trials, and the hidden state
restarts where an episode starts, in the update as in the rollout. Time is the first
axis, trials are the last.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from hfcontrol.arrays.threads import single_threaded_blas
from hfcontrol.arrays.types import Array
from hfcontrol.errors import NumberError
from hfcontrol.network.architecture import Architecture
from hfcontrol.network.input_scaling import Moments, fold, fold_vjp, unfold
from hfcontrol.network.network import Network
from hfcontrol.optim.first_order import FirstOrderState
from hfcontrol.policy_gradient.objectives import (
    clipped_surrogate_loss,
    generalised_advantages,
    running_returns,
    value_loss,
)
from hfcontrol.policy_gradient.options import PolicyGradient
from hfcontrol.policy_gradient.policy import Policy
from hfcontrol.policy_gradient.state import (
    Batch,
    Diagnostics,
    Parameters,
    PolicyReport,
    PolicyState,
    Values,
)
from hfcontrol.policy_gradient.trajectories import Trajectories

# Imported when first used: a controller that only acts needs no Numba, which loads
# slowly.
if TYPE_CHECKING:
    from hfcontrol.closed_loop.passes.sequences import Sequences

CRITIC_UNITS = (32, 32)

# Largest size of normalised rewards and critic inputs, as in Stable-Baselines3.
MAX_NORMALISED = 10.0

# Steps that the running moments remember. A policy that has learned meets other sizes
# than the untrained one: what it first met must not set the scale for good.
MEMORY = 10_000

# c_v of the loss.
VALUE_WEIGHT = 0.5

# A round ends at this multiple of `target_kl`, as in Stable-Baselines3.
KL_MARGIN = 1.5


class Learner:
    """Trains a network, a policy and a critic by a `PolicyGradient` method.

    The critic sees `n_context` inputs and the network's hidden state. The trained
    parameters are one vector: network, policy and critic.
    """

    def __init__(
        self,
        options: PolicyGradient,
        network: Network,
        policy: Policy,
        n_context: int,
    ) -> None:
        self.options = options
        self.network = network
        self.policy = policy

        n_hidden = network.hidden.stop - network.hidden.start
        architecture = Architecture(CRITIC_UNITS, "tanh", (), ())
        self.critic = Network(architecture, n_context + n_hidden, 1)

        # A constraint fixes signs or zeros of weights: they cannot absorb a scale.
        self.normalise = options.normalise and network.weight_map is None

    @cached_property
    def network_sequences(self) -> "Sequences":
        """The network's passes, compiled at first use and not when a run is loaded."""
        from hfcontrol.closed_loop.passes.sequences import Sequences

        return Sequences(self.network)

    @cached_property
    def critic_sequences(self) -> "Sequences":
        """The critic's passes."""
        from hfcontrol.closed_loop.passes.sequences import Sequences

        return Sequences(self.critic)

    def init(self, theta: Array, rng: np.random.Generator) -> PolicyState:
        """Return the state before the first update, from the network's theta (P,)."""
        # This order of the parts is that of `split` and of checkpoints.
        log_std = np.full(self.policy.size, self.options.log_spread)
        trained = np.concatenate([theta, log_std, self.critic.initial(rng)])
        no_moment = np.zeros_like(trained)
        return PolicyState(
            theta,
            FirstOrderState(trained, no_moment, np.zeros_like(trained)),
            Moments.empty(self.network.n_input),
            Moments.empty(self.critic.n_input),
            Moments.empty(1),
        )

    def split(self, trained: Array) -> Parameters:
        """Return the parts of the trained vector, as views."""
        log_std_start = self.network.size
        critic_start = log_std_start + self.policy.size
        return Parameters(*np.split(trained, [log_std_start, critic_start]))

    def log_std(self, state: PolicyState) -> Array:
        """Return the policy's log standard deviations (size,)."""
        return self.split(state.trained.theta).log_std

    def network_weights(self, theta: Array, inputs: Moments) -> Array:
        """Return the network's weights (P,) on inputs that are not normalised."""
        weights = self.network.weights(theta)
        return (
            fold(self.network, weights, inputs.typical) if self.normalise else weights
        )

    def _theta_cotangent(self, theta: Array, bar: Array, inputs: Moments) -> Array:
        """Pull a cotangent of `network_weights` back to the trained vector."""
        if self.normalise:
            bar = fold_vjp(self.network, bar, inputs.typical)
        return self.network.weights_vjp(theta, bar)

    def _outputs(self, activations: Array, trials: int) -> Array:
        """Return the network's outputs (T, n_output, N) after each step."""
        return self.network_sequences.merge_blocks(
            activations, self.network.outputs, trials
        )[1:]

    def _hidden_states(self, activations: Array, starts: Array) -> tuple[Array, Array]:
        """Return the hidden states (T, hidden, N) before and after each step.

        The critic sees a state of zero at the start of an episode.
        """
        hidden = self.network_sequences.merge_blocks(
            activations, self.network.hidden, starts.shape[1]
        )
        # Entry t is before step t, and entry t + 1 after it.
        return np.where(starts[:, None], 0.0, hidden[:-1]), hidden[1:]

    def predict_values(self, critic: Array, features: Array) -> Values:
        """Return the critic's values (M,) of normalised features (nf, M)."""
        # The critic has no memory: all features are one step of `count` trials.
        count = features.shape[1]
        starts = np.ones((1, count), dtype=bool)
        sequences = self.critic_sequences
        activations = sequences.activations(critic, features[None], starts)
        outputs = sequences.merge_blocks(activations, self.critic.outputs, count)
        return Values(outputs[1, 0], activations, starts)

    def update_input_moments(self, state: PolicyState, inputs: Array) -> PolicyState:
        """Return the state with moments of more inputs (n_input, M).

        The trained network changes with them, so that the controller stays the same.
        """
        if not self.normalise:
            return state
        theta, *others = self.split(state.trained.theta)
        weights = self.network_weights(theta, state.inputs)
        moments = state.inputs.update(inputs, MEMORY)
        theta = unfold(self.network, weights, moments.typical)
        trained = replace(state.trained, theta=np.concatenate([theta, *others]))
        return replace(state, inputs=moments, trained=trained)

    def prepare_batch(
        self, state: PolicyState, trajectories: Trajectories
    ) -> tuple[Batch, PolicyState]:
        """Return the batch of trajectories, and the state with updated moments."""
        options = self.options
        if not options.has_critic:
            trajectories = trajectories.whole_episodes()
        rewards, starts = trajectories.rewards, trajectories.starts
        is_kept = trajectories.is_kept.ravel()
        inputs = flatten_time(trajectories.inputs)[:, is_kept]
        state = self.update_input_moments(state, inputs)
        theta, log_std, critic = self.split(state.trained.theta)

        weights = self.network_weights(theta, state.inputs)
        activations = self.network_sequences.activations(
            weights, trajectories.inputs, starts, trajectories.memory
        )
        m = self._outputs(activations, starts.shape[1])
        before, after = self._hidden_states(activations, starts)

        # Moments include this rollout before it is normalised by them.
        raw_features = np.concatenate([trajectories.context, before], axis=1)
        returns = running_returns(rewards, starts, options.discount, state.discounted)
        state = replace(
            state,
            discounted=returns[-1],
            features=state.features.update(
                flatten_time(raw_features)[:, is_kept], MEMORY
            ),
        )
        state = self._rescale_critic(state, returns.reshape(1, -1)[:, is_kept])
        critic = self.split(state.trained.theta).critic
        features = state.features.normalise(raw_features, MAX_NORMALISED)
        values = next_values = np.zeros_like(rewards)
        if options.has_critic:
            predicted = self.predict_values(critic, flatten_time(features))
            values = predicted.values.reshape(rewards.shape)
            next_values = self._next_values(state, critic, trajectories, values, after)
        # Rewards are scaled but not centred: a constant added to each reward would
        # favour long or short episodes.
        scaled = rewards / state.returns.deviation[0]
        advantages = generalised_advantages(
            np.clip(scaled, -MAX_NORMALISED, MAX_NORMALISED),
            values,
            next_values,
            trajectories.done,
            options.discount,
            options.gae_lambda,
        )
        batch = Batch(
            trajectories.inputs,
            starts,
            trajectories.actions,
            # Computed by the same passes as in an update: the first ratio is exactly 1.
            self.policy.log_prob(m, log_std, trajectories.actions),
            advantages,
            values,
            features,
            trajectories.is_kept,
            trajectories.memory,
        )
        return batch, state

    def _rescale_critic(self, state: PolicyState, returns: Array) -> PolicyState:
        """Return the state with moments of more returns (1, M).

        Rewards and values are in units of their deviation. The last layer of the critic
        changes with it, so that its values stay the same (van Hasselt et al. 2016).
        """
        moments = state.returns.update(returns, MEMORY)
        if state.returns.count == 0:
            return replace(state, returns=moments)
        theta, log_std, critic = self.split(state.trained.theta)
        critic = critic.copy()
        factor = state.returns.deviation[0] / moments.deviation[0]
        critic[self.critic.layers[-1].weights] *= factor
        trained = np.concatenate([theta, log_std, critic])
        return replace(
            state, returns=moments, trained=replace(state.trained, theta=trained)
        )

    def _next_values(
        self,
        state: PolicyState,
        critic: Array,
        trajectories: Trajectories,
        values: Array,
        after: Array,
    ) -> Array:
        """Return the values (T, N) after each step, bootstrapped at truncations.

        `after` (T, hidden, N) are the hidden states after each step.
        """
        shifted = np.concatenate([values[1:], np.zeros_like(values[:1])])
        next_values = np.where(trajectories.done, 0.0, shifted)
        t, n, context = trajectories.truncations
        if len(t):
            reached = np.concatenate([context, after[t, :, n].T])
            features = state.features.normalise(reached, MAX_NORMALISED)
            next_values[t, n] = self.predict_values(critic, features).values
        return next_values

    def loss_and_gradient(
        self, trained: Array, inputs: Moments, batch: Batch
    ) -> tuple[float, Array, Diagnostics]:
        """Return the loss, its gradient by the trained vector, and diagnostics."""
        options = self.options
        theta, log_std, critic = self.split(trained)
        weights = self.network_weights(theta, inputs)
        sequences = self.network_sequences
        activations = sequences.activations(
            weights, batch.inputs, batch.starts, batch.memory
        )
        m = self._outputs(activations, batch.starts.shape[1])

        log_prob = self.policy.log_prob(m, log_std, batch.actions)
        is_kept = batch.is_kept
        entropy = self.policy.entropy(m, log_std)[is_kept]
        advantages = batch.advantages[is_kept]
        # Normalised in each minibatch, as reference implementations of PPO do (Huang et
        # al. 2022); for rewards to go, their mean is the baseline. A2C has them as they
        # are.
        if options.name != "a2c":
            centred = advantages - advantages.mean()
            advantages = centred / (advantages.std() + 1e-8)

        log_prob_bar, entropy_bar = np.zeros((2, *is_kept.shape))
        policy_loss, log_prob_bar[is_kept], clip_fraction = clipped_surrogate_loss(
            log_prob[is_kept], batch.log_prob[is_kept], advantages, options.clip
        )
        entropy_bar[is_kept] = -options.entropy / entropy.size
        m_bar, log_std_bar = self.policy.vjp(
            m, log_std, batch.actions, log_prob_bar, entropy_bar
        )
        weights_bar = sequences.adjoint(weights, batch.starts, activations, m_bar)
        theta_bar = self._theta_cotangent(theta, weights_bar, inputs)
        error, critic_bar = self._value_loss_and_gradient(critic, batch)

        # The estimate of the divergence that is never negative (Schulman 2020).
        change = (log_prob - batch.log_prob)[is_kept]
        divergence = np.mean(np.expm1(change) - change)
        diagnostics = Diagnostics(
            float(divergence), float(clip_fraction), float(entropy.mean())
        )
        value_term = VALUE_WEIGHT * error
        entropy_term = options.entropy * diagnostics.entropy
        loss = float(policy_loss + (value_term - entropy_term))
        gradient = np.concatenate([theta_bar, log_std_bar, critic_bar])
        return loss, gradient, diagnostics

    def _value_loss_and_gradient(
        self, critic: Array, batch: Batch
    ) -> tuple[Array, Array]:
        """Return the critic's loss without its weight, and the weighted gradient."""
        if not self.options.has_critic:
            return np.zeros(()), np.zeros_like(critic)
        predicted = self.predict_values(critic, flatten_time(batch.features))
        is_kept = batch.is_kept.ravel()
        returns = (batch.advantages + batch.values).ravel()
        values_bar = np.zeros_like(returns)
        error, values_bar[is_kept] = value_loss(
            predicted.values[is_kept],
            batch.values.ravel()[is_kept],
            returns[is_kept],
            self.options.value_clip,
        )
        outputs_bar = VALUE_WEIGHT * values_bar[None, None]
        gradient = self.critic_sequences.adjoint(
            critic, predicted.starts, predicted.activations, outputs_bar
        )
        return error, gradient

    def update(
        self, state: PolicyState, trajectories: Trajectories, rng: np.random.Generator
    ) -> tuple[PolicyState, PolicyReport]:
        """Return the state after a round of updates on one rollout, and its report."""
        # Too large rewards overflow, which is found below.
        with np.errstate(over="ignore", invalid="ignore"):
            batch, state = self.prepare_batch(state, trajectories)
        for moments in (state.inputs, state.features, state.returns):
            self._check_finite("variance", moments.variance, trajectories)
        rule = self.options.rule(state.rollouts)
        trained = state.trained
        updates = 0
        diagnostics = Diagnostics(0.0, 0.0, 0.0)

        with single_threaded_blas():
            for trials in self._minibatches(batch.starts.shape[1], rng):
                minibatch = batch.select(trials)
                _, gradient, diagnostics = self.loss_and_gradient(
                    trained.theta, state.inputs, minibatch
                )
                self._check_finite("gradient", gradient, trajectories)
                # The minibatch that shows too large a divergence makes no update.
                if self._is_far(diagnostics):
                    break
                trained = rule.update(trained, gradient)
                updates += 1

        # The trained network reads normalised inputs; the controller reads plain ones.
        theta = self.split(trained.theta).network
        if self.normalise:
            theta = self.network_weights(theta, state.inputs)
        state = replace(
            state,
            theta=theta,
            trained=trained,
            updates=state.updates + updates,
            rollouts=state.rollouts + 1,
        )
        report = PolicyReport(
            updates, *diagnostics, self.options.name, lost=trajectories.lost
        )
        return state, report

    def _check_finite(
        self, name: str, numbers: Array, trajectories: Trajectories
    ) -> None:
        """Raise NumberError for numbers of an update that are not finite."""
        if np.isfinite(numbers).all():
            return
        rewards, context = trajectories.rewards, trajectories.context
        raise NumberError(
            f"the {name} of {self.options.name} is not finite; rewards are up to "
            f"{np.abs(rewards).max():.3g} and states or observations up to "
            f"{np.abs(context).max():.3g}: give them in other units if that is huge, "
            "or try a smaller `learning_rate`"
        )

    def _is_far(self, diagnostics: Diagnostics) -> bool:
        """Whether the policy is so far from the old one that the round ends."""
        target = self.options.target_kl
        return target is not None and diagnostics.divergence > KL_MARGIN * target

    def _minibatches(self, trials: int, rng: np.random.Generator) -> Iterator[Array]:
        """Yield the trial indices of every minibatch of every epoch."""
        # Whole trials only: the hidden state runs through all steps of a trial.
        count = min(self.options.minibatches, trials)
        for _ in range(self.options.epochs):
            yield from np.array_split(rng.permutation(trials), count)


def flatten_time(a: Array) -> Array:
    """Return an array (T, k, N) as (k, T N), with time as the slower index."""
    return np.moveaxis(a, 1, 0).reshape(a.shape[1], -1)
