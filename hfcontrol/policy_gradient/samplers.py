"""Samplers record trajectories of an exploring policy, on a plant or in an environment.

On a plant, an action is the command before delay and limit, and a reward is minus what
the step adds to the loss. An episode ends with the horizon and is *terminated* there:
the horizon belongs to the task, and the critic sees the time left.

A Gymnasium environment says when an episode is terminated. An episode that is only
truncated, by a time limit or by the end of the rollout, is bootstrapped with the
critic's value. Episodes go on in the next rollout (workers.py).
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

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
from hfcontrol.policy_gradient.workers import Workers, WorkersState


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

    def open(
        self, saved: WorkersState | None = None
    ) -> AbstractContextManager[Workers | None]:
        """Return what lasts from rollout to rollout, None for a plant.

        `saved` is how it got where it was, None to begin.
        """

    def collect(
        self,
        theta: Array,
        policy: Any,
        log_std: Array,
        rng: np.random.Generator,
        workers: Any = None,
    ) -> Trajectories:
        """Record one rollout of the network with parameters theta (P,).

        `workers` are those of `open`; without them all episodes are new.
        """


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

    @staticmethod
    def open(saved: WorkersState | None = None) -> AbstractContextManager[None]:
        """Return nothing: every rollout has all of its trials."""
        return nullcontext()

    def collect(
        self,
        theta: Array,
        policy: Gaussian,
        log_std: Array,
        rng: np.random.Generator,
        workers: None = None,
    ) -> Trajectories:
        """Record one rollout; trials that run away end early (lost_trials.py).

        Raises NumberError if the network sees a number that is not finite.
        """
        loop = self.loop(rng)
        steps = loop.scenario.steps
        noise = policy.draw_noise(log_std, steps, loop.trials, rng)
        # Early noise can make trials diverge, which is found below.
        with np.errstate(all="ignore"):
            rollout = loop.whole(loop.rollout(theta, exploration=noise))
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
        hidden = loop.network.hidden
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
            np.zeros((hidden.stop - hidden.start, loop.trials)),
            np.zeros(loop.trials, dtype=bool),
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
            f"{self.steps} steps of each between updates"
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

    @contextmanager
    def open(self, saved: WorkersState | None = None) -> Iterator[Workers]:
        """Make the copies, bring them where they were, and close them at the end."""
        with self.environment.copies(self.copies) as copies:
            n_hidden = self.network.hidden.stop - self.network.hidden.start
            yield Workers(self.environment, copies, n_hidden, saved)

    def collect(
        self,
        theta: Array,
        policy: Policy,
        log_std: Array,
        rng: np.random.Generator,
        workers: Workers | None = None,
    ) -> Trajectories:
        """Record one rollout of all copies."""
        if workers is None:
            with self.open() as workers:
                return self.collect(theta, policy, log_std, rng, workers)
        network, count = self.network, self.copies
        weights = network.weights(theta)
        initial = initial_activations(network, weights, count)
        activations = np.zeros_like(initial)
        activations[network.hidden] = workers.memory
        memory = workers.memory.copy()

        shape = (self.steps, count)
        context = np.empty((self.steps, self.n_context, count))
        rewards = np.empty(shape)
        starts, done, terminated = np.zeros((3, *shape), dtype=bool)
        actions: list[Array] = []
        truncated: list[tuple[int, int, Array]] = []
        finished: list[float] = []

        for t in range(self.steps):
            starts[t] = workers.begin(rng)
            context[t] = workers.observations
            # A new episode starts without the memory of the last one.
            before = np.where(starts[t], initial, activations)
            seen = workers.observations[self.seen]
            activations = network.step(weights, before, seen)
            actions.append(policy.draw(activations[network.outputs], log_std, rng))
            for n, step in enumerate(workers.step(actions[-1])):
                rewards[t, n] = step.reward
                terminated[t, n] = step.terminated
                if workers.is_over[n] or t == self.steps - 1:
                    # The critic's value stands for what would have come.
                    done[t, n] = True
                    if not step.terminated:
                        truncated.append((t, n, step.observation))
            finished += workers.returns[workers.is_over].tolist()
        workers.memory[:] = activations[network.hidden]

        # Episodes in progress count only where none is whole.
        whole = finished or workers.returns.tolist()
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
            -float(np.mean(whole)),
            memory,
            ~workers.is_over,
            finished=tuple(finished),
        )

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
