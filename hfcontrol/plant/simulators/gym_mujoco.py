"""Gymnasium's MuJoCo environments as plants, stepped without them: by the same model, as many time steps at a time.

| of the plant | from the environment |
|---|---|
| state, control, limit | its model, as in mujoco.py: joints, rates, activations; actions from the middle of their range |
| control step | its frame_skip x the model's time step |
| observation | its own, as right after `set_state`, without entries that are always the same; else the state |
| output | as in mujoco.py: a site or body `hand` or `fingertip` |
| `hold` | come to its first posture, `init_qpos`, from as far as it starts (`_reset_noise_scale`, else 0.1), and stay there |
| `reach`, with a hand | the hand goes where a random posture within 90 degrees has it, drawn anew for every hold |
| a body `target` | where it is on slides of its own, it waits where the hand is to go |
| horizon | its `max_episode_steps`, at most 50, and an eighth, a quarter and half of that before (`grow`) |

Rewards, ends of episodes and wrappers are left out: rewards are no sums of squares. Neither task asks for states that no
control moves or that the observation does not tell (the place of a runner on its track).
"""

import copy
import math
from pathlib import Path
from xml.etree import ElementTree

import mujoco
import numpy as np

from hfcontrol.plant.simulators.gym import OTHERWISE
from hfcontrol.plant.simulators.mujoco import (
    ModelPlant,
    hold_task,
    reach_radius,
    reach_task,
    source_of,
)
from hfcontrol.plant.simulators.mujoco_simulator import Simulator, quiet

STEPS, GROW = (
    50,
    12,
)  # of a task, at most; updates at each shorter horizon before, without which what is unstable stays so
NOISE = 0.1  # [rad, m] and their rates: how far from home a task starts, where the environment does not say
SPAN = math.pi / 2  # [rad] from home are the postures to reach
PROBES, NEAR, FAR = (
    8,
    0.3,
    10.0,
)  # random states at which an environment is asked, and their distances from home


class EnvironmentPlant(ModelPlant):
    """What an environment whose state can be set says."""

    quaternions = OTHERWISE

    def __init__(self, name, environment):
        self.path, self.environment = Path(name), environment.unwrapped
        self.model = copy.deepcopy(
            self.environment.model
        )  # the simulator's own: it changes options
        self.check_model()
        self.source = self._source()
        home, rng = (
            np.array(self.environment.init_qpos, dtype=float),
            np.random.default_rng(0),
        )
        self.environment.reset(seed=0)  # after home: some environments write into it
        simulator = Simulator(self.model, int(self.environment.frame_skip), home)
        dt = simulator.substeps * self.model.opt.timestep
        probes = simulator.home[:, None] + NEAR * rng.standard_normal(
            (len(simulator.home), PROBES)
        )
        self._check_step(simulator, probes, rng)
        self.describe(simulator, dt)
        told, moved = self._observe(probes, rng), _moved(simulator, probes, rng)
        steps = min(environment.spec.max_episode_steps or STEPS, STEPS)
        self.namespace["TASKS"] = self._tasks(simulator, dt, steps, told, moved)

    def fields(self):
        """The fields of the environment's `Plant`; its name is the id without what comes before the last : or /."""
        return {**super().fields(), "name": self.path.name.split(":")[-1]}

    def _source(self):
        """What tells whether the environment has changed: the text of its model, and how it is stepped."""
        path = Path(self.environment.fullpath)
        try:
            return f"frame_skip {self.environment.frame_skip}\n{source_of(path, path.parent)}"
        except (OSError, UnicodeDecodeError, ElementTree.ParseError) as error:
            self.fail(
                f"its model's text, or that of a file it includes, cannot be read: {error}"
            )

    def _check_step(self, simulator, probes, rng):
        """Raises PlantError for an environment whose step does more than MuJoCo's time steps under its action."""
        env = self.environment
        controls = simulator.typical_control[:, None] * rng.uniform(
            -0.5, 0.5, (self.model.nu, PROBES)
        )
        expected = np.empty_like(probes)
        for n, (x, u) in enumerate(zip(probes.T, controls.T)):
            self._set(x)
            try:
                env.step(u + simulator.middle)
            except Exception as error:  # an environment may raise anything
                self.fail(
                    f"its step fails on an action {u + simulator.middle}: {' '.join(str(error).split())}; {OTHERWISE}"
                )
            expected[:, n] = np.concatenate(
                [env.data.qpos, env.data.qvel, env.data.act]
            )
        after = simulator.step(probes, controls, None, None)
        if not np.allclose(after, expected, rtol=1e-4, atol=1e-4):
            self.fail(
                f"its step is not {env.frame_skip} of MuJoCo's under the action alone; {OTHERWISE}"
            )

    def _set(self, x, fresh=True):
        """Sets the environment to a state x (n,); where fresh, with nothing kept of what came before."""
        env, model = self.environment, self.model
        if fresh:
            mujoco.mj_resetData(env.model, env.data)
        env.data.act[:] = x[model.nq + model.nv :]
        with quiet():
            env.set_state(x[: model.nq], x[model.nq : model.nq + model.nv])

    def _observe(self, probes, rng):
        """Gives the plant the environment's own observation where it is of the state alone; which states (n,) it tells."""
        seen = self._looks(probes)
        if seen is None or not np.array_equal(seen, self._looks(probes, rng)):
            return np.ones(len(probes), dtype=bool)
        kept = np.flatnonzero(np.ptp(seen, axis=1) > 0)
        far = probes + FAR * rng.standard_normal(probes.shape)
        copied = np.array([_row(probes, row) for row in seen[kept]])
        if np.array_equal(copied, range(len(probes))) and np.array_equal(
            self._looks(far), far
        ):
            return np.ones(len(probes), dtype=bool)
        names, units = self._named(probes, seen, kept, copied)
        self.namespace["OBSERVATION"], self.namespace["UNITS"]["observation"] = (
            names,
            units,
        )
        if (copied >= 0).all() and np.array_equal(self._looks(far)[kept], far[copied]):
            self.functions["observe"] = lambda x, p, y: np.copyto(y, x[copied])
            return np.isin(np.arange(len(probes)), copied)
        self.functions["observe"] = lambda x, p, y: np.copyto(y, self._looks(x)[kept])
        changes = [
            self._looks(probes + NEAR * (np.arange(len(probes)) == j)[:, None]) - seen
            for j in range(len(probes))
        ]
        return np.array([change[kept].any() for change in changes])

    def _looks(self, x, rng=None):
        """The observations (k, N) at states x (n, N), after a step under a random action each where a generator is given;
        None where they are no arrays of numbers."""
        env, rows = self.environment, []
        for state in x.T:
            if rng is not None:
                env.step(rng.uniform(-1.0, 1.0, self.model.nu) * env.action_space.high)
            self._set(state, fresh=rng is None)
            try:
                rows.append(np.asarray(env._get_obs(), dtype=float).ravel())
            except (AttributeError, TypeError, ValueError):
                return None
        return np.array(rows).T

    def _named(self, probes, seen, kept, copied):
        """Names and units of the entries kept: those of the state, sines and cosines of it, or else their places."""
        names, units, state = [], [], self.namespace["STATE"]
        waves = [
            (f"{wave.__name__}_{name}", wave(row))
            for wave in (np.sin, np.cos)
            for name, row in zip(state, probes)
        ]
        for i, j in zip(kept, copied):
            wave = next(
                (
                    name
                    for name, row in waves
                    if np.allclose(row, seen[i], rtol=0, atol=1e-12)
                ),
                f"observation_{i}",
            )
            name = state[j] if j >= 0 else wave
            again = name in names
            names.append(f"observation_{i}" if again else name)
            units.append(self.namespace["UNITS"]["state"][j] if j >= 0 else "")
        return tuple(names), tuple(units)

    def _tasks(self, simulator, dt, steps, told, moved):
        """The tasks made of the environment, from which of its states (n,) its observation tells and its controls move."""
        model, noise = self.model, getattr(self.environment, "_reset_noise_scale", None)
        spread = np.full(
            len(told),
            noise if isinstance(noise, int | float) and 0 < noise < math.inf else NOISE,
        )
        still = ~moved & (
            np.arange(len(moved)) >= model.nq
        )  # rates that nothing slows, such as those of a target
        spread[still] = spread[model.nq + model.nv :] = 0.0
        target = np.where(told & moved, simulator.home, np.nan)
        tasks = {
            "hold": hold_task(
                simulator, dt, steps, tuple(spread.tolist()), tuple(target.tolist())
            )
        }
        if simulator.hand is not None:
            how = {"draw": Reach(simulator, spread, target, moved), "random": True}
            tasks = {
                "reach": reach_task(simulator, steps, reach_radius(simulator), how),
                **tasks,
            }
        return {name: {**task, "train": {"grow": GROW}} for name, task in tasks.items()}


class Reach:
    """Draws starts within a spread (n,) of home, and goals: target (n,), but hinges anywhere in SPAN and their limits.

    The slides of a body `target` that no control moves start where the hand is in the goal.
    """

    def __init__(self, simulator, spread, target, moved):
        model, home = simulator.model, simulator.home
        self.simulator, self.spread, self.target = (
            simulator,
            spread[:, None],
            target[:, None],
        )
        turning = (model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE) & ~np.isnan(
            target[: model.nq]
        )
        self.hinges = np.flatnonzero(turning)
        low, high = np.where(
            model.jnt_limited[:, None].astype(bool), model.jnt_range, (-np.inf, np.inf)
        ).T
        self.low, self.high = (
            edge[self.hinges, None]
            for edge in (
                np.maximum(low, home[: model.nq] - SPAN),
                np.minimum(high, home[: model.nq] + SPAN),
            )
        )
        body = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, "target")
        slides = (
            (model.jnt_bodyid == body)
            & (model.jnt_type == mujoco.mjtJoint.mjJNT_SLIDE)
            & ~moved[: model.nq]
        )
        self.slides = np.flatnonzero(slides)
        simulator.place(home)
        self.axes = simulator.data.xaxis[self.slides][:, simulator.plane]
        self.waiting = simulator.data.xpos[body][simulator.plane]

    def __call__(self, rng, trials, split):
        """Start states and goals (n, N) of so many trials."""
        home = self.simulator.home[:, None]
        x0 = home + self.spread * rng.uniform(-1.0, 1.0, (len(home), trials))
        goal = np.repeat(self.target, trials, axis=1)
        goal[self.hinges] = rng.uniform(self.low, self.high, (len(self.hinges), trials))
        hand = np.empty((4, trials))
        self.simulator.output(np.where(np.isnan(goal), home, goal), None, hand)
        x0[self.slides] = home[self.slides] + self.axes @ (
            hand[:2] - self.waiting[:, None]
        )
        return x0, goal


def _row(rows, row):
    """The place of the first of some rows that is that row, or -1."""
    return next((j for j, other in enumerate(rows) if np.array_equal(other, row)), -1)


def _moved(simulator, x, rng):
    """Which states (n,) some control moves within ten steps from states x (n, N)."""
    free, driven = x, x
    for _ in range(10):
        u = (
            rng.uniform(-1.0, 1.0, (simulator.model.nu, x.shape[1]))
            * simulator.typical_control[:, None]
        )
        free, driven = (
            simulator.step(free, 0.0 * u, None, None),
            simulator.step(driven, u, None, None),
        )
    return (np.abs(driven - free) > 1e-9).any(axis=1)
