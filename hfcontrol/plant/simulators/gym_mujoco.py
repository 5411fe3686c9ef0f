"""Gymnasium's MuJoCo environments as plants.

The plant steps many trials at once with the environment's model; the environment itself
is not stepped.

From the environment come, for the plant:

- state, control, limit: its model, as in mujoco.py; actions are deviations from the
  middle of their range
- control step: its frame_skip times the model's time step
- observation: its own, as right after `set_state`, without constant entries; if that
  depends on more than the state, the state
- output: as in mujoco.py, a site or body `hand` or `fingertip`
- task `stay`: come to its first posture, `init_qpos`, and stay there; starts are as far
  from it as the environment's (`_reset_noise_scale`, by default 0.1)
- task `reach`, with a hand: bring the hand to where a random posture within 90 degrees
  puts it, with new postures for every hold; a body `target` with its own slides starts
  there
- horizon: its `max_episode_steps`, at most 50, after training with an eighth, a quarter
  and half of it (`grow`)

Rewards, ends of episodes and wrappers are left out, because rewards are not sums of
squares. The tasks leave states free that no control moves or that the observation does
not show, such as the position of a runner on its track.
"""

import copy
import math
from pathlib import Path
from typing import Any, NamedTuple

import mujoco
import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.errors import FOREIGN_FAULTS
from hfcontrol.plant.environment import USE_POLICY_GRADIENT
from hfcontrol.plant.simulators.mujoco import (
    ModelPlant,
    reach_radius,
    reach_task,
    stay_task,
)
from hfcontrol.plant.simulators.mujoco_files import read_model_files
from hfcontrol.plant.simulators.mujoco_simulator import Simulator, quiet

# Longest horizon of a task, in steps.
STEPS = 50

# Updates at each shorter horizon. Without them, unstable plants stay unstable.
GROW = 12

# [rad, m] and their rates: distance from home at which a task starts, if the
# environment does not give it.
NOISE = 0.1

# [rad] from home: the range of the postures to reach.
SPAN = math.pi / 2

# Random states at which an environment is probed, and their distances from home.
PROBES = 8
NEAR = 0.3
FAR = 10.0

# Control steps after which a state that a control moves has changed, and by how much.
MOVING_STEPS = 10
MOVED = 1e-9


class StateUse(NamedTuple):
    """Which states (n,) the observation shows, and which ones the controls move."""

    observed: Array
    moved: Array


class EnvironmentPlant(ModelPlant):
    """An environment whose state can be set, as a plant."""

    quaternion_hint = USE_POLICY_GRADIENT

    def __init__(self, name: str, environment: Any) -> None:
        self.path = Path(name)
        self.environment = environment.unwrapped
        # A copy, because the simulator changes the options of its model.
        self.model = copy.deepcopy(self.environment.model)
        self.check_model()
        self.source = self._read_source()

        # Home is read before the reset: some environments write into it.
        home = np.array(self.environment.init_qpos, dtype=float)
        rng = np.random.default_rng(0)
        self.environment.reset(seed=0)
        simulator = Simulator(self.model, int(self.environment.frame_skip), home)
        dt = simulator.substeps * self.model.opt.timestep

        n = len(simulator.home)
        probes = simulator.home[:, None] + NEAR * rng.standard_normal((n, PROBES))
        self._check_step(simulator, probes, rng)
        self.describe(simulator, dt)
        observed = self._read_observation(probes, rng)
        use = StateUse(observed, find_moved_states(simulator, probes, rng))
        steps = min(environment.spec.max_episode_steps or STEPS, STEPS)
        self.namespace["TASKS"] = self._make_tasks(simulator, dt, steps, use)

    def read_fields(self) -> dict[str, Any]:
        """Return the fields of the environment's `Plant`.

        Its name is the id without what comes before the last : or /.
        """
        return {**super().read_fields(), "name": self.path.name.split(":")[-1]}

    def _read_source(self) -> str:
        """Return the text of the model and how it is stepped.

        Its hash tells whether the environment has changed.
        """
        path = Path(self.environment.fullpath)
        try:
            text = read_model_files(path)
        except (OSError, mujoco.FatalError) as error:
            self.fail(f"a file that belongs to its model cannot be read: {error}")
        return f"frame_skip {self.environment.frame_skip}\n{text}"

    def _check_step(
        self, simulator: Simulator, probes: Array, rng: np.random.Generator
    ) -> None:
        """Raise PlantError if the environment's step is not MuJoCo's.

        It must be MuJoCo's time steps under the action, and nothing else.
        """
        env = self.environment
        shape = (self.model.nu, PROBES)
        typical = simulator.typical_control[:, None]
        controls = typical * rng.uniform(-0.5, 0.5, shape)
        expected = np.empty_like(probes)
        for n in range(PROBES):
            self._set_state(probes[:, n])
            action = controls[:, n] + simulator.middle
            try:
                env.step(action)
            except FOREIGN_FAULTS as error:  # an environment may raise anything
                self.fail(
                    f"its step fails for the action {action}: "
                    f"{' '.join(str(error).split())}; {USE_POLICY_GRADIENT}"
                )
            parts = [env.data.qpos, env.data.qvel, env.data.act]
            expected[:, n] = np.concatenate(parts)

        after = simulator.step(probes, controls, None, None)
        if not np.allclose(after, expected, rtol=1e-4, atol=1e-4):
            self.fail(
                f"its step is not just {env.frame_skip} of MuJoCo's time steps under "
                f"the action; {USE_POLICY_GRADIENT}"
            )

    def _set_state(self, x: Array, reset: bool = True) -> None:
        """Set the environment to a state x (n,), by default after a reset of its data.

        The reset removes everything that depends on earlier steps.
        """
        env = self.environment
        model = self.model
        if reset:
            mujoco.mj_resetData(env.model, env.data)
        env.data.act[:] = x[model.nq + model.nv :]
        with quiet():
            env.set_state(x[: model.nq], x[model.nq : model.nq + model.nv])

    def _read_observation(self, probes: Array, rng: np.random.Generator) -> Array:
        """Define the observation, and return which states (n,) it shows.

        The plant observes what the environment does if that depends only on the state.
        Otherwise it observes its state.
        """
        n = len(probes)
        all_states = np.ones(n, dtype=bool)
        values = self._observe(probes)
        if values is None:
            return all_states
        if not np.array_equal(values, self._observe_after_steps(probes, rng)):
            return all_states

        kept = np.flatnonzero(np.ptp(values, axis=1) > 0)
        copied = np.array([find_row(probes, row) for row in values[kept]])
        # Far from home, where some environments clip what they observe.
        far = probes + FAR * rng.standard_normal(probes.shape)
        only_copies = (copied >= 0).all()
        far_values: Any = self._observe(far) if only_copies else None
        if np.array_equal(copied, range(n)) and np.array_equal(far_values, far):
            return all_states

        self._name_observation(probes, values, kept, copied)
        if only_copies and np.array_equal(far_values[kept], far[copied]):
            self.functions["observe"] = lambda x, p, y: np.copyto(y, x[copied])
            return np.isin(np.arange(n), copied)
        self.functions["observe"] = lambda x, p, y: np.copyto(y, self._observe(x)[kept])
        return self._find_observed_states(probes, values, kept)

    def _find_observed_states(self, probes: Array, values: Array, kept: Array) -> Array:
        """Return which states (n,) change the kept entries of the observation."""
        changed = []
        for j in range(len(probes)):
            direction = (np.arange(len(probes)) == j)[:, None]
            change = self._observe(probes + NEAR * direction) - values
            changed.append(change[kept].any())
        return np.array(changed)

    def _observe(self, x: Array) -> Any:
        """Return the observations (k, N) at states x (n, N).

        The result is None if they are not arrays of numbers.
        """
        rows = []
        for state in x.T:
            self._set_state(state)
            row = self._observe_now()
            if row is None:
                return None
            rows.append(row)
        return np.array(rows).T

    def _observe_after_steps(self, x: Array, rng: np.random.Generator) -> Any:
        """Return the observations (k, N) at states x (n, N), or None, like `_observe`.

        Before each state is set, the environment makes a step under a random action.
        """
        env = self.environment
        rows = []
        for state in x.T:
            env.step(rng.uniform(-1.0, 1.0, self.model.nu) * env.action_space.high)
            self._set_state(state, reset=False)
            row = self._observe_now()
            if row is None:
                return None
            rows.append(row)
        return np.array(rows).T

    def _observe_now(self) -> Array | None:
        """Return the observation (k,) at the current state, or None."""
        try:
            return np.asarray(self.environment._get_obs(), dtype=float).ravel()
        except (AttributeError, TypeError, ValueError):
            return None

    def _name_observation(
        self, probes: Array, values: Array, kept: Array, copied: Array
    ) -> None:
        """Define names and units of the kept entries of the observation.

        They are states, or sines or cosines of states, or else `observation_INDEX`.
        """
        state = self.namespace["STATE"]
        state_units = self.namespace["UNITS"]["state"]
        waves = []
        for wave in (np.sin, np.cos):
            for name, row in zip(state, probes, strict=True):
                waves.append((f"{wave.__name__}_{name}", wave(row)))

        names: list[str] = []
        units: list[str] = []
        for i, j in zip(kept, copied, strict=True):
            number = f"observation_{i}"
            name = state[j] if j >= 0 else find_wave(waves, values[i], number)
            names.append(number if name in names else name)
            units.append(state_units[j] if j >= 0 else "")
        self.namespace["OBSERVATION"] = tuple(names)
        self.namespace["UNITS"]["observation"] = tuple(units)

    def _make_tasks(
        self, simulator: Simulator, dt: float, steps: int, use: StateUse
    ) -> dict[str, dict[str, Any]]:
        """Return the tasks `stay` and, with a hand, `reach`."""
        model = self.model
        spread = self._start_spread(use)
        # States that are not observed or not moved are free at the end.
        target = np.where(use.observed & use.moved, simulator.home, np.nan)
        stay = stay_task(
            simulator, dt, steps, tuple(spread.tolist()), tuple(target.tolist())
        )
        tasks = {"stay": stay}
        if simulator.hand is not None:
            draw = ReachScenarios(simulator, spread, target, use.moved[: model.nq])
            scenarios = {"draw": draw, "random": True}
            reach = reach_task(simulator, steps, reach_radius(simulator), scenarios)
            tasks = {"reach": reach, **tasks}
        return {name: {**task, "train": {"grow": GROW}} for name, task in tasks.items()}

    def _start_spread(self, use: StateUse) -> Array:
        """Return how far from home (n,) the tasks start."""
        model = self.model
        n = len(use.moved)
        noise = getattr(self.environment, "_reset_noise_scale", None)
        is_number = isinstance(noise, int | float) and 0 < noise < math.inf
        spread = np.full(n, noise if is_number else NOISE)
        # A rate that no control moves, such as that of a target, may never slow down.
        is_rate = np.arange(n) >= model.nq
        spread[~use.moved & is_rate] = 0.0
        spread[model.nq + model.nv :] = 0.0
        return spread


class ReachScenarios:
    """Draws start states and goals of the task `reach`.

    Starts are within `spread` (n,) of home. Goals are `target` (n,) with the hinges
    anywhere within SPAN of home and their limits. `moved` (nq,) says which positions
    the controls move.

    The slides of a body `target` that no control moves start at the hand's goal.
    """

    def __init__(
        self, simulator: Simulator, spread: Array, target: Array, moved: Array
    ) -> None:
        model = simulator.model
        home = simulator.home[: model.nq]
        self.simulator = simulator
        self.spread = spread[:, None]
        self.target = target[:, None]

        is_hinge = model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE
        self.hinges = np.flatnonzero(is_hinge & ~np.isnan(target[: model.nq]))
        limited = model.jnt_limited.astype(bool)
        lowest = np.where(limited, model.jnt_range[:, 0], -np.inf)
        highest = np.where(limited, model.jnt_range[:, 1], np.inf)
        self.low = np.maximum(lowest, home - SPAN)[self.hinges, None]
        self.high = np.minimum(highest, home + SPAN)[self.hinges, None]

        body = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, "target")
        is_slide = model.jnt_type == mujoco.mjtJoint.mjJNT_SLIDE
        of_target = model.jnt_bodyid == body
        self.slides = np.flatnonzero(of_target & is_slide & ~moved)
        simulator.set_positions(simulator.home)
        self.axes = simulator.data.xaxis[self.slides][:, simulator.plane]
        self.target_home = simulator.data.xpos[body][simulator.plane]

    def __call__(
        self, rng: np.random.Generator, trials: int, split: str
    ) -> tuple[Array, Array]:
        """Return start states and goals (n, N) of `trials` trials."""
        home = self.simulator.home[:, None]
        deviations = rng.uniform(-1.0, 1.0, (len(home), trials))
        x0 = home + self.spread * deviations
        goal = np.repeat(self.target, trials, axis=1)
        goal[self.hinges] = rng.uniform(self.low, self.high, (len(self.hinges), trials))

        hand = np.empty((4, trials))
        posture = np.where(np.isnan(goal), home, goal)
        self.simulator.output(posture, None, hand)
        distance = hand[:2] - self.target_home[:, None]
        x0[self.slides] = home[self.slides] + self.axes @ distance
        return x0, goal


def find_row(rows: Array, row: Array) -> int:
    """Return the index of the first of some rows that equals `row`, or -1."""
    for i, other in enumerate(rows):
        if np.array_equal(other, row):
            return i
    return -1


def find_wave(waves: list[tuple[str, Array]], row: Array, default: str) -> str:
    """Return the name of the first of the (name, row) pairs that agrees with `row`."""
    for name, other in waves:
        if np.allclose(other, row, rtol=0, atol=1e-12):
            return name
    return default


def find_moved_states(
    simulator: Simulator, x: Array, rng: np.random.Generator
) -> Array:
    """Return which states (n,) a control moves within a few steps from x (n, N)."""
    free = x
    driven = x
    typical = simulator.typical_control[:, None]
    for _ in range(MOVING_STEPS):
        u = rng.uniform(-1.0, 1.0, (simulator.model.nu, x.shape[1])) * typical
        free = simulator.step(free, 0.0 * u, None, None)
        driven = simulator.step(driven, u, None, None)
    return (np.abs(driven - free) > MOVED).any(axis=1)
