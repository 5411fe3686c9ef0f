"""Stable-Baselines3 (optional: pip install stable-baselines3) on our vector environment: its PPO, and how many steps of single
trials it makes in a second, updates of its network included, compiling not.

Its settings are those of a task with a horizon: all trials in parallel, episodes whole, no discount.
"""

import time

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from hfcontrol.environments.gymnasium_env import PlantVectorEnv


class Trials(VecEnv):
    """Our vector environment in the form of Stable-Baselines3; the arguments are those of `PlantVectorEnv`."""

    def __init__(self, *plant_and_task, **conditions):
        self.inner = PlantVectorEnv(
            *plant_and_task, autoreset_mode="SameStep", **conditions
        )
        self.render_mode = None
        super().__init__(
            self.inner.num_envs,
            self.inner.single_observation_space,
            self.inner.single_action_space,
        )

    def reset(self):
        """Begins all trials."""
        seen, _ = self.inner.reset(seed=self._seeds[0], options=self._options[0])
        self._reset_seeds()
        return seen

    def step_async(self, actions):
        """Takes note of the actions."""
        self.actions = actions

    def step_wait(self):
        """One control step; what an episode's end brings goes into the infos of its trial."""
        seen, rewards, ended, _, infos = self.inner.step(self.actions)
        told = [{} for _ in ended]
        for n in np.flatnonzero(ended):
            told[n] = {
                "terminal_observation": infos["final_obs"][n],
                "is_success": infos["final_info"]["success"][n],
                "episode": {
                    "r": -infos["final_info"]["loss"][n],
                    "l": self.inner.scenario.steps,
                },
            }
        return seen, rewards, ended, told

    def close(self):
        """Nothing is open."""

    def get_attr(self, attr_name, indices=None):
        """An attribute, the same for every trial."""
        return [getattr(self, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name, value, indices=None):
        """Not for single trials."""
        raise NotImplementedError

    def env_method(self, method_name, *arguments, indices=None, **options):
        """Not for single trials."""
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class, indices=None):
        """No trial is."""
        return [False] * len(list(self._get_indices(indices)))


def ppo(envs, seed=0, epochs=10, parts=4, hidden=(32, 32), threads=1, recurrent=False):
    """PPO with rollouts of whole episodes of all trials, and `epochs` passes over them in so many parts; actions spread by
    0.37 at first. One thread is the fastest: more of them wait for each other in matrices as small as these. `recurrent` is the
    PPO of sb3-contrib with an LSTM of as many units as the first layer has."""
    torch.set_num_threads(threads)
    envs.reset()
    steps = envs.get_attr("inner")[0].scenario.steps
    kind, policy, more = PPO, "MlpPolicy", {}
    if recurrent:
        from sb3_contrib import RecurrentPPO

        kind, policy, more = (
            RecurrentPPO,
            "MlpLstmPolicy",
            {"lstm_hidden_size": hidden[0]},
        )
    return kind(
        policy,
        envs,
        n_steps=steps,
        batch_size=steps * envs.num_envs // parts,
        n_epochs=epochs,
        gamma=1.0,
        policy_kwargs={"net_arch": list(hidden), "log_std_init": -1.0, **more},
        seed=seed,
        device="cpu",
    )


def episodes(envs, act, split="held_out", seed=0):
    """Mean return and success of one episode of every trial, with actions act(seen) (N, nu)."""
    seen, _ = envs.inner.reset(seed=seed, options={"split": split})
    returns, ended = np.zeros(envs.num_envs), np.zeros(envs.num_envs, dtype=bool)
    while not ended.all():
        seen, rewards, ended, _, infos = envs.inner.step(act(seen))
        returns += rewards
    return float(returns.mean()), float(infos["final_info"]["success"].mean())


def train(steps, plant, task, trials=64, scale=None, seed=0):
    """What a training of so many steps makes of the mean return and success, as three pairs: of actions of zero, of the
    first weights and of the last. Observations and rewards are brought to a common size, without which hardly anything is
    learnt."""
    envs = Trials(plant, task, trials, scale=scale)
    even = VecNormalize(envs, gamma=1.0)
    agent = ppo(even, seed)

    def act(seen):
        return agent.predict(even.normalize_obs(seen), deterministic=True)[0]

    nothing, before = (
        episodes(envs, lambda seen: np.zeros(envs.inner.action_space.shape)),
        episodes(envs, act),
    )
    agent.learn(steps)
    return nothing, before, episodes(envs, act)


def throughput(trials=64, updates=5, plant="arm2", task="reach", **settings):
    """Steps of single trials in a second of PPO, its updates included; `settings` are those of `ppo`."""
    envs = Trials(plant, task, trials)
    agent = ppo(envs, **settings)
    batch = agent.n_steps * trials
    agent.learn(batch)  # whatever is compiled or allocated at the first use
    begin = time.perf_counter()
    agent.learn(updates * batch)
    return updates * batch / (time.perf_counter() - begin)


def alone(trials=64, episodes=25, plant="arm2", task="reach"):
    """Steps of single trials in a second of our environment alone, resets included."""
    envs = PlantVectorEnv(plant, task, trials, autoreset_mode="SameStep")
    envs.reset(seed=0)
    actions, steps = 0.1 * envs.action_space.sample(), envs.scenario.steps
    for _ in range(steps):
        envs.step(actions)
    begin = time.perf_counter()
    for _ in range(episodes * steps):
        envs.step(actions)
    return episodes * steps * trials / (time.perf_counter() - begin)
