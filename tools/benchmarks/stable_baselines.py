"""Stable-Baselines3's PPO and SAC on our vector environment, and their throughput.

It is optional: pip install stable-baselines3. Its settings are those of a task with a
horizon: all trials in parallel, episodes whole, no discount. Throughput includes
updates of its network, but not compiling.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from hfcontrol.arrays.types import Array
from hfcontrol.environments.gymnasium_env import PlantVectorEnv

# Spread of the actions at the start: exp(-1) = 0.37.
LOG_DEVIATION = -1.0
# Part of a random action that `environment_rate` repeats: a gentle one, so that states
# stay in the usual range.
ACTION_SCALE = 0.1


class Problem(NamedTuple):
    """A plant, its task, and the number of parallel trials."""

    plant: str = "arm2"
    task: str = "reach"
    trials: int = 64


DEFAULT_PROBLEM = Problem()


class Trials(VecEnv):
    """Our vector environment in the form of Stable-Baselines3.

    `conditions` are those of `PlantVectorEnv`.
    """

    def __init__(self, problem: Problem, **conditions: Any) -> None:
        self.inner = PlantVectorEnv(*problem, autoreset_mode="SameStep", **conditions)
        self.render_mode = None
        super().__init__(
            self.inner.num_envs,
            self.inner.single_observation_space,
            self.inner.single_action_space,
        )

    def reset(self) -> Array:
        """Begin all trials."""
        observations, _ = self.inner.reset(
            seed=self._seeds[0], options=self._options[0]
        )
        self._reset_seeds()
        return observations

    def step_async(self, actions: Array) -> None:
        """Take note of the actions."""
        self.actions = actions

    def step_wait(self) -> tuple[Array, Array, Array, list[dict[str, Any]]]:
        """Make one control step; the end of an episode is in the infos of its trial."""
        observations, rewards, ended, _, found = self.inner.step(self.actions)
        infos: list[dict[str, Any]] = [{} for _ in ended]
        for n in np.flatnonzero(ended):
            final = found["final_info"]
            steps = self.inner.scenario.steps
            infos[n] = {
                "terminal_observation": found["final_obs"][n],
                "is_success": final["success"][n],
                "episode": {"r": -final["loss"][n], "l": steps},
            }
        return observations, rewards, ended, infos

    def close(self) -> None:
        """Nothing is open."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute, the same for every trial."""
        count = len(list(self._get_indices(indices)))
        return [getattr(self, attr_name)] * count

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Not for single trials."""
        raise NotImplementedError

    def env_method(
        self,
        method_name: str,
        *arguments: Any,
        indices: Any = None,
        **options: Any,
    ) -> list[Any]:
        """Not for single trials."""
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """No trial is wrapped."""
        return [False] * len(list(self._get_indices(indices)))


def make_ppo(
    envs: VecEnv,
    seed: int = 0,
    epochs: int = 10,
    parts: int = 4,
    hidden: Sequence[int] = (32, 32),
    threads: int = 1,
    recurrent: bool = False,
    rate: float | None = None,
    gae_lambda: float | None = None,
) -> Any:
    """Return PPO with rollouts of whole episodes of all trials.

    It makes `epochs` passes over them in `parts` minibatches. One thread is the
    fastest: more of them wait for each other in matrices as small as these. `recurrent`
    is the PPO of sb3-contrib with an LSTM of as many units as the first layer has. A
    learning `rate` falls linearly to zero; without one, it is that of the library, as
    is `gae_lambda`.
    """
    torch.set_num_threads(threads)
    envs.reset()
    steps = envs.get_attr("inner")[0].scenario.steps
    method: Any = PPO
    policy = "MlpPolicy"
    architecture = {"net_arch": list(hidden), "log_std_init": LOG_DEVIATION}
    if recurrent:
        from sb3_contrib import RecurrentPPO

        method = RecurrentPPO
        policy = "MlpLstmPolicy"
        architecture["lstm_hidden_size"] = hidden[0]
    chosen: dict[str, Any] = {}
    if rate is not None:
        chosen["learning_rate"] = lambda left: rate * left
    if gae_lambda is not None:
        chosen["gae_lambda"] = gae_lambda
    return method(
        policy,
        envs,
        **chosen,
        n_steps=steps,
        batch_size=steps * envs.num_envs // parts,
        n_epochs=epochs,
        # The cost of a task is a plain sum over its horizon.
        gamma=1.0,
        policy_kwargs=architecture,
        seed=seed,
        device="cpu",
    )


def make_sac(
    envs: VecEnv, seed: int = 0, hidden: Sequence[int] = (32, 32), threads: int = 1
) -> Any:
    """Return SAC with its own settings, but no discount.

    It makes a gradient step for every step of all trials together.
    """
    torch.set_num_threads(threads)
    return SAC(
        "MlpPolicy",
        envs,
        gamma=1.0,
        policy_kwargs={"net_arch": list(hidden)},
        seed=seed,
        device="cpu",
    )


METHODS: dict[str, Callable[..., Any]] = {"ppo": make_ppo, "sac": make_sac}


def run_episodes(
    envs: Trials,
    act: Callable[[Array], Array],
    split: str = "held_out",
    seed: int = 0,
) -> tuple[float, float]:
    """Return mean return and success of one episode of every trial.

    `act` returns actions (N, nu) for observations.
    """
    observations, _ = envs.inner.reset(seed=seed, options={"split": split})
    returns = np.zeros(envs.num_envs)
    ended = np.zeros(envs.num_envs, dtype=bool)
    while not ended.all():
        actions = act(observations)
        observations, rewards, ended, _, infos = envs.inner.step(actions)
        returns += rewards
    return float(returns.mean()), float(infos["final_info"]["success"].mean())


def train(
    steps: int,
    problem: Problem,
    scale: float | None = None,
    seed: int = 0,
    method: str = "ppo",
    **settings: Any,
) -> list[tuple[float, float]]:
    """Train for some steps of single trials; return three pairs of return and success.

    `method` is one of METHODS, with its `settings`. The pairs are those of zero
    actions, of the initial weights, and of the last. Without normalising observations
    and rewards, hardly anything is learnt.
    """
    envs = Trials(problem, scale=scale)
    normalised = VecNormalize(envs, gamma=1.0)
    agent = METHODS[method](normalised, seed, **settings)

    def act_zero(observations: Array) -> Array:
        return np.zeros_like(envs.inner.action_space.sample())

    def act(observations: Array) -> Array:
        same_scale = normalised.normalize_obs(observations)
        return agent.predict(same_scale, deterministic=True)[0]

    found = [run_episodes(envs, act_zero), run_episodes(envs, act)]
    agent.learn(steps)
    return [*found, run_episodes(envs, act)]


def throughput(
    problem: Problem = DEFAULT_PROBLEM, updates: int = 5, **settings: Any
) -> float:
    """Return the steps of single trials per second of PPO, with its updates.

    `settings` are those of `make_ppo`.
    """
    envs = Trials(problem)
    agent = make_ppo(envs, **settings)
    batch = agent.n_steps * problem.trials
    # The first rollout compiles and allocates.
    agent.learn(batch)
    begin = time.perf_counter()
    agent.learn(updates * batch)
    return updates * batch / (time.perf_counter() - begin)


def environment_rate(problem: Problem = DEFAULT_PROBLEM, episodes: int = 25) -> float:
    """Return the steps of single trials per second of our environment alone.

    Resets are included.
    """
    envs = PlantVectorEnv(*problem, autoreset_mode="SameStep")
    envs.reset(seed=0)
    actions = ACTION_SCALE * envs.action_space.sample()
    steps = envs.scenario.steps
    for _ in range(steps):
        envs.step(actions)
    begin = time.perf_counter()
    for _ in range(episodes * steps):
        envs.step(actions)
    return episodes * steps * problem.trials / (time.perf_counter() - begin)
