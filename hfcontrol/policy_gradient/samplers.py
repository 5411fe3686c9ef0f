"""Samplers record trajectories of an exploring policy, on a plant or in an environment.

On a plant, an action is the command before delay and limit, and a reward is minus what
the step adds to the loss. An episode ends with the horizon and is *terminated* there:
the horizon belongs to the task, and the critic sees the time left.

A Gymnasium environment says when an episode is terminated. An episode that is only
truncated, by a time limit or by the end of the rollout, is bootstrapped with the
critic's value. Every rollout starts new episodes, so that a checkpoint needs no state
of the environment to resume bit for bit.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.loop import ClosedLoop
from hfcontrol.errors import NumberError, UsageError
from hfcontrol.network.network import Network
from hfcontrol.plant.contract import Plant
from hfcontrol.plant.environment import Environment
from hfcontrol.plant.episodes import EnvironmentCopy
from hfcontrol.policy_gradient.lost_trials import find_lost_trials
from hfcontrol.policy_gradient.policy import Categorical, Gaussian, Policy
from hfcontrol.policy_gradient.trajectories import Trajectories, Truncations

# Seeds of environments are drawn below this number.
SEED_LIMIT = 2**31 - 1


class Sampler(Protocol):
    """A source of trajectories, with the policy that fits its actions."""

    @property
    def description(self) -> str:
        """What is explored, for the report before training."""

    @property
    def policy(self) -> Policy:
        """The distribution of actions."""

    @property
    def n_context(self) -> int:
        """Number of the critic's inputs besides the network's hidden state."""

    def collect(
        self, theta: Array, policy: Any, log_std: Array, rng: np.random.Generator
    ) -> Trajectories:
        """Record one rollout of the network with parameters theta (P,)."""


@dataclass(frozen=True)
class PlantSampler:
    """All trials of a task over its horizon; `loop(rng)` draws their closed loop."""

    loop: Callable[[np.random.Generator], ClosedLoop]
    plant: Plant
    n_target: int

    description: ClassVar[str] = "exploring the plant"

    @property
    def policy(self) -> Gaussian:
        """Normal commands, in units of the typical controls."""
        return Gaussian(self.plant.typical_control)

    @property
    def n_context(self) -> int:
        """Number of the critic's inputs: state, target and the time left."""
        return self.plant.nx + self.n_target + 1

    def collect(
        self, theta: Array, policy: Gaussian, log_std: Array, rng: np.random.Generator
    ) -> Trajectories:
        """Record one rollout; trials that run away end early (lost_trials.py).

        Raises NumberError if the network sees a number that is not finite.
        """
        loop = self.loop(rng)
        steps = loop.scenario.steps
        noise = policy.draw_noise(log_std, steps, loop.trials, rng)
        # Early noise can make trials diverge, which is found below.
        with np.errstate(all="ignore"):
            rollout = loop.rollout(theta, exploration=noise)
            costs = loop.scenario.cost.losses_over_time(rollout.x, rollout.u)
            # The final cost belongs to the last step.
            costs[-2] += costs[-1]
        lost = find_lost_trials(loop, rollout, costs[:-1])
        is_kept = lost.is_kept

        # One episode per trial, over the whole horizon or until it is lost.
        starts = ~is_kept
        starts[0] = True
        done = lost.is_last | ~is_kept
        done[-1] = True

        target = loop.scenario.target
        inputs = np.concatenate([target, rollout.y], axis=1)
        time_left = 1 - np.arange(steps) / steps
        time_left = np.broadcast_to(time_left[:, None, None], (steps, 1, loop.trials))
        context = np.concatenate([rollout.x[:-1], target, time_left], axis=1)

        def keep(a: Array) -> Array:
            return np.where(is_kept[:, None], a, 0.0)

        inputs = keep(inputs)
        self._check_inputs(inputs)
        loss = rollout.loss
        if lost.number:
            loss = float(lost.costs.sum(axis=0).mean())
        return Trajectories(
            inputs,
            starts,
            keep(rollout.command),
            -lost.costs,
            done,
            # The horizon terminates all episodes that it ends.
            done,
            keep(context),
            Truncations.none(context.shape[1]),
            is_kept,
            loss,
            loop,
            rollout,
            lost.number,
        )

    def _check_inputs(self, inputs: Array) -> None:
        """Raise NumberError for inputs (T, n, N) that are not finite."""
        is_bad = ~np.isfinite(inputs)
        if not is_bad.any():
            return
        step, entry, trial = map(int, np.argwhere(is_bad)[0])
        names = [f"target {k + 1}" for k in range(self.n_target)]
        name = [*names, *self.plant.observation][entry]
        raise NumberError(
            f"{self.plant.name}: {name} is {inputs[step, entry, trial]} at step {step} "
            f"of trial {trial}; what the network sees must be finite"
        )


class Step(NamedTuple):
    """What N copies of an environment return after one step.

    `rewards`, `terminated` and `done` are (N,). Where an episode is over,
    `observations` (n, N) are those of the next one.
    """

    observations: Array
    rewards: Array
    terminated: Array
    done: Array


@dataclass(frozen=True)
class EnvironmentSampler:
    """`copies` copies of an environment, `steps` steps per rollout.

    `seen` are the indices of the observations that the network sees. Raises UsageError
    if `copies` or `steps` is below 1.
    """

    environment: Environment
    network: Network
    seen: Array
    copies: int
    steps: int

    def __post_init__(self) -> None:
        for setting, value in (("trials", self.copies), ("steps", self.steps)):
            if value < 1:
                raise UsageError(f"`{setting}` {value}: at least 1 is needed")

    @property
    def description(self) -> str:
        """What is explored, for the report before training."""
        return (
            f"exploring {self.copies} copies of {self.environment.id}, "
            f"{self.steps} steps a rollout"
        )

    @property
    def policy(self) -> Policy:
        """Normal actions in units of half their range, or a choice of one action."""
        n_control = self.environment.n_control
        if self.environment.discrete:
            return Categorical(n_control)
        return Gaussian(np.ones(n_control))

    @property
    def n_context(self) -> int:
        """Number of the critic's inputs: all observations, also those not `seen`."""
        return self.environment.n_observation

    def collect(
        self, theta: Array, policy: Policy, log_std: Array, rng: np.random.Generator
    ) -> Trajectories:
        """Record one rollout of all copies."""
        network, count = self.network, self.copies
        seeds = rng.integers(SEED_LIMIT, size=count)
        weights = network.weights(theta)
        initial = initial_activations(network, weights, count)
        activations = initial
        is_start = np.ones(count, dtype=bool)

        shape = (self.steps, count)
        context = np.empty((self.steps, self.n_context, count))
        rewards = np.empty(shape)
        starts, done, terminated = np.zeros((3, *shape), dtype=bool)
        actions: list[Array] = []
        truncated: list[tuple[int, int, Array]] = []

        with self.environment.copies(count) as copies:
            observations = reset_all(copies, seeds)
            for t in range(self.steps):
                context[t] = observations
                starts[t] = is_start
                # A new episode starts without the memory of the last one.
                before = np.where(is_start, initial, activations)
                activations = network.step(weights, before, observations[self.seen])
                action = policy.draw(activations[network.outputs], log_std, rng)
                actions.append(action)

                step = self._step(copies, action, t, truncated)
                observations, rewards[t], terminated[t], done[t] = step
                is_start = done[t]

        # Only episodes that end by themselves count as whole in the reported loss.
        loss = -mean_return(rewards, starts, done)
        # The end of the rollout truncates the episodes that are not over.
        done[-1] = True
        return Trajectories(
            context[:, self.seen],
            starts,
            np.array(actions),
            rewards,
            done,
            terminated,
            context,
            self._truncations(truncated),
            np.ones(shape, dtype=bool),
            loss,
        )

    def _step(
        self,
        copies: list[EnvironmentCopy],
        actions: Array,
        t: int,
        truncated: list[tuple[int, int, Array]],
    ) -> Step:
        """Step all copies at time t under actions (na, N).

        A copy whose episode is over is reset, except at the end of the rollout. What a
        truncated episode had reached is appended to `truncated`.
        """
        count = len(copies)
        is_last = t == self.steps - 1
        observations = np.empty((self.n_context, count))
        rewards = np.empty(count)
        terminated, done = np.zeros((2, count), dtype=bool)
        for n, env in enumerate(copies):
            step = env.step(self.environment.action(actions[:, n]))
            reached, rewards[n], terminated[n], out_of_time = step
            done[n] = terminated[n] or out_of_time
            if (done[n] or is_last) and not terminated[n]:
                truncated.append((t, n, reached))
            # Every rollout resets all copies when it starts.
            if done[n] and not is_last:
                reached = env.reset()
            observations[:, n] = reached
        return Step(observations, rewards, terminated, done)

    def _truncations(self, truncated: list[tuple[int, int, Array]]) -> Truncations:
        """Return the `Truncations` of a list of them."""
        if not truncated:
            return Truncations.none(self.n_context)
        steps, trials, reached = zip(*truncated, strict=True)
        context = np.array(reached).T
        return Truncations(np.array(steps), np.array(trials), context)


@dataclass(frozen=True)
class Episodes:
    """The task of an environment: its rewards are all that there is to optimise."""

    trials: int
    steps: int

    name: ClassVar[str] = "episodes"
    random: ClassVar[bool] = True
    noisy: ClassVar[bool] = True
    n_target: ClassVar[int] = 0


def reset_all(copies: list[EnvironmentCopy], seeds: Array) -> Array:
    """Reset copies of an environment and return their first observations (n, N)."""
    pairs = zip(copies, seeds, strict=True)
    observations = [env.reset(int(seed)) for env, seed in pairs]
    return np.array(observations).T


def initial_activations(network: Network, weights: Array, trials: int) -> Array:
    """Return the network's activations (rows, N) before the first step."""
    activations = np.zeros((network.n_activations, trials))
    if network.start:
        activations[network.hidden] = weights[network.start][:, None]
    return activations


def mean_return(rewards: Array, starts: Array, done: Array) -> float:
    """Return the mean sum of rewards of the episodes that end within the rollout.

    If none ends, return the mean of the sums so far.
    """
    totals: list[float] = []
    running = np.zeros(rewards.shape[1])
    for reward, is_start, is_done in zip(rewards, starts, done, strict=True):
        running = np.where(is_start, 0.0, running) + reward
        totals += running[is_done].tolist()
    return float(np.mean(totals or running))


def episode_returns(
    sampler: EnvironmentSampler, weights: Array, episodes: int, seed: int
) -> Array:
    """Return the sums of rewards (episodes,) under the most likely actions.

    An environment without a time limit is stepped as long as a rollout of it.
    """
    environment, network = sampler.environment, sampler.network
    activations = initial_activations(network, weights, episodes)
    totals = np.zeros(episodes)
    is_running = np.ones(episodes, dtype=bool)

    with environment.copies(episodes) as copies:
        observations = reset_all(copies, seed + np.arange(episodes))
        for _ in range(environment.max_episode_steps or environment.steps):
            seen = observations[sampler.seen]
            activations = network.step(weights, activations, seen)
            actions = sampler.policy.most_likely(activations[network.outputs])
            # Copies whose episode is over wait for the others.
            for n in np.flatnonzero(is_running):
                action = environment.action(actions[:, n])
                step = copies[n].step(action)
                observations[:, n] = step.observation
                totals[n] += step.reward
                is_running[n] = not (step.terminated or step.truncated)
            if not is_running.any():
                break
    return totals
