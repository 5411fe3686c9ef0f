"""Every plant and task as a Gymnasium environment; trials.py has the equations.

Importing this module registers the shipped tasks. Any other plant is
"hfcontrol/plant-v0", or `PlantEnv` itself:

    gymnasium.make("hfcontrol.environments:hfcontrol/arm2-reach-v0")
    gymnasium.make_vec(
        "hfcontrol.environments:hfcontrol/plant-v0", num_envs=64, plant="mine.py"
    )
"""

import ast
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hfcontrol.arrays.types import Array
from hfcontrol.environments.trials import Trials
from hfcontrol.errors import UsageError
from hfcontrol.plant.registry import plant_names, plants_folder
from hfcontrol.tasks.scenario import Scenario

try:
    import gymnasium
    from gymnasium.vector import AutoresetMode
    from gymnasium.vector.utils import batch_space
except ModuleNotFoundError as missing:
    if missing.name != "gymnasium":
        raise
    raise UsageError(
        "hfcontrol.environments needs the package gymnasium: pip install -e '.[gym]' "
        "in hfcontrol's folder"
    ) from None

Options = dict[str, Any]

# What Gymnasium reads of an environment's class.
METADATA: Options = {"render_modes": []}
VECTOR_METADATA: Options = {**METADATA, "autoreset_mode": AutoresetMode.NEXT_STEP}


class PlantEnv(gymnasium.Env):
    """One trial of a plant and task.

    Observation: target and observation, in their own units, as the project's networks
    see them; with `jitter`, then the time since the last step in control steps. Action:
    within +-1, though larger ones are not clipped; `scale` times the action plus the
    plant's TRIM is the command before limit and delay. The default scale is 3 limits,
    or 15 typical controls without a limit. Reward: minus the cost.
    `conditions` are settings: steps, feedback_delay, motor_noise, vary, ...

    An episode ends *terminated*, not truncated: the horizon belongs to the task, with a
    cost on the final state, so that no value is to be bootstrapped. It ends early, with
    a reward of -1e6, if a state exceeds a million of its typical sizes or a number is
    not finite. The last `info` has the trial's `loss`, infinite if it ended early, and
    `success`.

    `reset` starts one of the task's trials, or one of its held-out trials with
    options={"split": "held_out"}. Raises HFControlError for settings that are not
    possible.
    """

    metadata = METADATA

    def __init__(
        self,
        plant: str | Path,
        task: str | None = None,
        *,
        scale: npt.ArrayLike | None = None,
        render_mode: str | None = None,
        **conditions: Any,
    ) -> None:
        _check_rendering(render_mode)
        self._trials = Trials(1, plant, task, scale, **conditions)
        self._is_running = False
        self.observation_space = _observation_space(self._trials)
        self.action_space = _action_space(self._trials)

    @property
    def scenario(self) -> Scenario:
        """The scenario of the trial."""
        return self._trials.scenario

    def reset(
        self, *, seed: int | None = None, options: Options | None = None
    ) -> tuple[Array, Options]:
        """Start a trial; return its first observation (n,) and an empty info.

        The same seed starts the same trials.
        """
        super().reset(seed=seed)
        self._trials.start_all(
            self.np_random, **_check_options(options), restock=seed is not None
        )
        self._is_running = True
        return self._trials.observations[0], {}

    def step(self, action: npt.ArrayLike) -> tuple[Array, float, bool, bool, Options]:
        """Make one control step under an action (nu,)."""
        if not self._is_running:
            raise UsageError("step without a trial in progress: call reset() first")
        batch: Any = [action]
        rewards, ended = self._trials.step(batch)
        self._is_running = not ended[0]

        info = {}
        if ended[0]:
            results = self._trials.results()
            info = {name: values[0].item() for name, values in results.items()}
        observation = self._trials.observations[0]
        return observation, float(rewards[0]), bool(ended[0]), False, info


class PlantVectorEnv(gymnasium.vector.VectorEnv):
    """N trials of a plant and task, stepped together by compiled kernels.

    Spaces, rewards and settings are those of `PlantEnv`. Trials end together at the
    horizon, unless they are lost. A trial that ended restarts by itself, in the split
    of the last reset. By default (`autoreset_mode` NEXT_STEP) it restarts in the next
    step, which ignores its action and returns a reward of zero. With SAME_STEP it
    restarts at once; the infos then hold its last observation as `final_obs` and its
    results as `final_info`.
    """

    metadata = VECTOR_METADATA

    def __init__(
        self,
        plant: str | Path,
        task: str | None = None,
        num_envs: int = 1,
        *,
        scale: npt.ArrayLike | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **conditions: Any,
    ) -> None:
        _check_rendering(render_mode)
        mode = _check_autoreset(autoreset_mode)
        self._trials = Trials(num_envs, plant, task, scale, **conditions)
        # Trials that ended in the last step (N,), or None before the first reset.
        self._ended: Array | None = None

        self.metadata = {**self.metadata, "autoreset_mode": mode}
        self.num_envs = num_envs
        self.single_observation_space = _observation_space(self._trials)
        self.single_action_space = _action_space(self._trials)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    @property
    def scenario(self) -> Scenario:
        """The scenario of all trials, which are the last index of its arrays."""
        return self._trials.scenario

    def reset(
        self, *, seed: int | None = None, options: Options | None = None
    ) -> tuple[Array, Options]:
        """Start all trials; return first observations (N, n) and an empty info.

        The same seed starts the same trials.
        """
        super().reset(seed=seed)
        self._trials.start_all(
            self.np_random, **_check_options(options), restock=seed is not None
        )
        self._ended = np.zeros(self.num_envs, dtype=bool)
        return self._trials.observations, {}

    def step(
        self, actions: npt.ArrayLike
    ) -> tuple[Array, Array, Array, Array, Options]:
        """Make one control step under actions (N, nu)."""
        if self._ended is None:
            raise UsageError("step without trials in progress: call reset() first")
        is_same_step = self.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
        restarting = self._ended
        rewards, ended = self._trials.step(actions)
        rewards[restarting] = 0.0
        ended[restarting] = False

        infos: Options = {}
        if ended.any():
            infos = self._final_infos(ended) if is_same_step else self._infos(ended)
        if is_same_step:
            restarting = ended
        else:
            self._ended = ended
        if restarting.any():
            self._trials.start(np.flatnonzero(restarting), self.np_random)

        observations = self._trials.observations
        truncated = np.zeros(self.num_envs, dtype=bool)
        return observations, rewards, ended.copy(), truncated, infos

    def _infos(self, ended: Array) -> Options:
        """Return the results of the trials that ended (N,), each with its mask."""
        infos = {}
        for name, values in self._trials.results().items():
            infos[name] = np.where(ended, values, np.zeros_like(values))
            infos[f"_{name}"] = ended.copy()
        return infos

    def _final_infos(self, ended: Array) -> Options:
        """Return last observations and results of the trials that ended (N,)."""
        observations = self._trials.observations
        # Gymnasium's form: an array of objects, None for the other trials.
        final = np.full(self.num_envs, None, dtype=object)
        for n in np.flatnonzero(ended):
            final[n] = observations[n]
        return {
            "final_obs": final,
            "_final_obs": ended.copy(),
            "final_info": self._infos(ended),
            "_final_info": ended.copy(),
        }


def _observation_space(trials: Trials) -> gymnasium.spaces.Box:
    """Return the space of an observation of one trial."""
    return gymnasium.spaces.Box(-np.inf, np.inf, (trials.n_observed,), np.float64)


def _action_space(trials: Trials) -> gymnasium.spaces.Box:
    """Return the space of an action in one trial."""
    return gymnasium.spaces.Box(-1.0, 1.0, (trials.plant.nu,), np.float64)


def _check_options(options: Options | None) -> Options:
    """Return the options of a reset; raise UsageError for any but `split`."""
    options = options or {}
    unknown = set(options) - {"split"}
    if unknown:
        names = ", ".join(map(str, unknown))
        raise UsageError(f"reset with options {names}: the only one is split")
    return options


def _check_autoreset(mode: AutoresetMode | str) -> AutoresetMode:
    """Return the autoreset mode of this value; UsageError if there is none."""
    modes = (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP)
    known = {known_mode.value: known_mode for known_mode in modes}
    found = known.get(mode.value if isinstance(mode, AutoresetMode) else mode)
    if found is None:
        raise UsageError(f"autoreset_mode {mode!r}: {' or '.join(known)}")
    return found


def _check_rendering(mode: str | None) -> None:
    """Raise UsageError for any mode of rendering."""
    if mode is not None:
        raise UsageError(
            f"render_mode {mode!r}: environments draw nothing; use hfcontrol animate "
            "for movies of runs"
        )


def _task_names(plant: str) -> list[str]:
    """Return the names of a shipped plant's tasks.

    They are read from the source: running the files of all plants would be slow.
    """
    path = plants_folder() / f"{plant}.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Dict):
            continue
        if ast.unparse(node.targets[0]) == "TASKS":
            return [ast.literal_eval(key) for key in node.value.keys if key]
    return []


def _register() -> None:
    """Register all shipped tasks as hfcontrol/PLANT-TASK-v0, and hfcontrol/plant-v0."""
    arguments: dict[str, Options] = {"plant": {}}
    for plant in plant_names():
        for task in _task_names(plant):
            arguments[f"{plant}-{task}"] = {"plant": plant, "task": task}
    for name, kwargs in arguments.items():
        gymnasium.register(
            f"hfcontrol/{name}-v0",
            f"{__name__}:PlantEnv",
            kwargs=kwargs,
            vector_entry_point=f"{__name__}:PlantVectorEnv",
        )


_register()
