"""Worlds that a policy explores: a plant under its task, or copies of a Gymnasium environment; both give an `Experience`.

In a plant's world an action is the command before delay and limit, a reward minus what the step adds to the loss, and the
horizon an end: it belongs to the task, and the critic is told the time that is left. An environment says itself when an
episode ends; one that is only cut, by a time limit or because the rollout is over, is worth what the critic says of it.
Every rollout begins with new episodes, so that nothing of the world has to be stored to go on bit for bit.
"""

from dataclasses import dataclass

import numpy as np

from hfcontrol.errors import TrainingError, UsageError
from hfcontrol.policy_gradient.learner import Experience
from hfcontrol.policy_gradient.policy import Categorical, Gaussian

NOTHING = (np.zeros(0, dtype=int), np.zeros(0, dtype=int))
SEEDS = 2**31 - 1


@dataclass(frozen=True)
class PlantWorld:
    """All trials of a task, from scenarios that `loop(rng)` draws, as long as the horizon."""

    loop: object
    plant: object
    n_target: int

    described = "exploring the plant"

    @property
    def policy(self):
        """Normal deviates in units of the typical controls."""
        return Gaussian(self.plant.typical_control)

    @property
    def n_context(self):
        """State, target and the time that is left."""
        return self.plant.nx + self.n_target + 1

    def explore(self, theta, policy, log_spread, rng):
        """The `Experience` of one rollout; raises TrainingError where no trial stays finite."""
        loop = self.loop(rng)
        T, N = loop.scenario.steps, loop.trials
        rollout = loop.rollout(theta, exploration=policy.noise(log_spread, T, N, rng))
        sane = np.isfinite(rollout.losses) & np.isfinite(rollout.x).all(axis=(0, 1))
        if not sane.any():
            raise TrainingError(
                "no trial stays finite under the exploring policy: explore less (--log-spread -2), or another --seed"
            )
        costs = loop.scenario.cost.losses_over_time(rollout.x, rollout.u)[:, sane]
        costs[-2] += costs[-1]
        left = np.broadcast_to((1 - np.arange(T) / T)[:, None, None], (T, 1, N))
        inputs = np.concatenate([loop.scenario.target, rollout.y], axis=1)[..., sane]
        context = np.concatenate([rollout.x[:-1], loop.scenario.target, left], axis=1)[
            ..., sane
        ]
        starts = np.zeros(costs[:-1].shape, dtype=bool)
        over = starts.copy()
        starts[0] = over[-1] = True
        return Experience(
            inputs,
            starts,
            rollout.command[..., sane],
            -costs[:-1],
            over,
            over,
            context,
            (*NOTHING, np.zeros((context.shape[1], 0))),
            rollout.loss,
            loop,
            rollout,
        )


@dataclass(frozen=True)
class EnvironmentWorld:
    """So many copies of an environment (adapters/gym.py), stepped side by side for so many steps a rollout."""

    environment: object
    network: object
    seen: np.ndarray
    copies: int
    steps: int

    def __post_init__(self):
        for name, option in (("copies", "trials"), ("steps", "steps")):
            if getattr(self, name) < 1:
                raise UsageError(
                    f"--{option} {getattr(self, name)}: at least 1 is needed"
                )

    @property
    def described(self):
        """What is explored, in words."""
        return f"exploring {self.copies} copies of {self.environment.id}, {self.steps} steps a rollout"

    @property
    def policy(self):
        """Normal deviates in units of half the actions' range, or a choice of one action."""
        e = self.environment
        return (
            Categorical(e.n_control) if e.discrete else Gaussian(np.ones(e.n_control))
        )

    @property
    def n_context(self):
        """All that the environment shows, also what the network does not see."""
        return self.environment.n_observation

    def explore(self, theta, policy, log_spread, rng):
        """The `Experience` of one rollout."""
        net, N, T, seeds = (
            self.network,
            self.copies,
            self.steps,
            rng.integers(SEEDS, size=self.copies),
        )
        with self.environment.copies(N) as copies:
            seen = np.array(
                [
                    env.reset(seed=int(seed))[0].ravel()
                    for env, seed in zip(copies, seeds)
                ]
            ).T
            weights = net.weights(theta)
            first = start_rows(net, weights, N)
            rows, begin = first, np.ones(N, dtype=bool)
            context, actions, cut = np.empty((T, len(seen), N)), [], []
            rewards, (starts, over, ended) = (
                np.empty((T, N)),
                np.zeros((3, T, N), dtype=bool),
            )
            for t in range(T):
                context[t], starts[t] = seen, begin
                rows = net.step(weights, np.where(begin, first, rows), seen[self.seen])
                actions.append(policy.draw(rows[net.outputs], log_spread, rng))
                seen, rewards[t], ended[t], over[t] = self._moved(
                    copies, actions[t], t == T - 1, cut, t
                )
                begin = over[t]
        loss = -mean_return(rewards, starts, over)
        over[-1] = True  # the rollout's end cuts what is not over
        t, n = (np.array([c[i] for c in cut], dtype=int) for i in range(2))
        last = np.array([c[2] for c in cut]).reshape(len(cut), self.n_context).T
        return Experience(
            context[:, self.seen],
            starts,
            np.array(actions),
            rewards,
            over,
            ended,
            context,
            (t, n, last),
            loss,
        )

    def _moved(self, copies, actions, last, cut, t):
        """What all copies show and give after the actions (na, N), and where episodes ended or are over; those that are begin
        anew, but for the last step of a rollout, and what was reached where one was cut is put down in `cut`."""
        seen, rewards = np.empty((self.n_context, len(copies))), np.empty(len(copies))
        ended, over = np.zeros((2, len(copies)), dtype=bool)
        for n, env in enumerate(copies):
            reached, rewards[n], ended[n], out_of_time, _ = env.step(
                self.environment.action(actions[:, n])
            )
            over[n] = ended[n] or out_of_time
            if (over[n] or last) and not ended[n]:
                cut.append((t, n, np.ravel(reached)))
            seen[:, n] = np.ravel(env.reset()[0] if over[n] and not last else reached)
        return seen, rewards, ended, over


@dataclass(frozen=True)
class Episodes:
    """What an environment stands for in the place of a task: as many rewards as there are."""

    trials: int
    steps: int
    name = "episodes"
    random = noisy = True
    n_target = 0


def start_rows(network, weights, trials):
    """The rows (rows, N) of a memory that begins."""
    rows = np.zeros((network.n_activations, trials))
    if network.start:
        rows[network.hidden] = weights[network.start][:, None]
    return rows


def mean_return(rewards, starts, over):
    """The mean sum of rewards of the episodes that were over within the rollout, or of all so far if none was."""
    totals, running = [], np.zeros(rewards.shape[1])
    for reward, begin, whole in zip(rewards, starts, over):
        running = np.where(begin, 0.0, running) + reward
        totals += running[whole].tolist()
    return float(np.mean(totals or running))


def episode_returns(world, weights, episodes, seed):
    """The sums of rewards (episodes,) of whole episodes under the most likely actions of a network with weights (P,), side by side;
    where there is no time limit, of as many steps as a rollout of the environment has."""
    environment, network = world.environment, world.network
    with environment.copies(episodes) as copies:
        now = np.array(
            [np.ravel(env.reset(seed=seed + n)[0]) for n, env in enumerate(copies)]
        ).T
        rows, total, going = (
            start_rows(network, weights, episodes),
            np.zeros(episodes),
            np.ones(episodes, dtype=bool),
        )
        for _ in range(environment.limit or environment.steps):
            rows = network.step(weights, rows, now[world.seen])
            actions = world.policy.likely(rows[network.outputs])
            for n in np.flatnonzero(going):
                reached, reward, ended, out_of_time, _ = copies[n].step(
                    environment.action(actions[:, n])
                )
                now[:, n], total[n], going[n] = (
                    np.ravel(reached),
                    total[n] + reward,
                    not (ended or out_of_time),
                )
            if not going.any():
                break
    return total
