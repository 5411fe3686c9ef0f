"""Every plant and task as a Gymnasium environment, with an agent in the network's place; the equations stand in trials.py.

Importing this module registers the shipped tasks; any other plant is "hfcontrol/plant-v0", or `PlantEnv` itself:

    gymnasium.make("hfcontrol.environments:hfcontrol/arm2-reach-v0", feedback_delay="40ms")
    gymnasium.make_vec("hfcontrol.environments:hfcontrol/plant-v0", num_envs=64, plant="mine.py")
"""

import ast

import numpy as np

from hfcontrol.environments.trials import Trials
from hfcontrol.errors import UsageError
from hfcontrol.plant.registry import plant_names, plants_folder

try:
    import gymnasium
    from gymnasium.vector import AutoresetMode
    from gymnasium.vector.utils import batch_space
except ModuleNotFoundError as missing:
    if missing.name != "gymnasium":
        raise
    raise UsageError(
        "hfcontrol.environments needs the package gymnasium: pip install -e '.[gym]' in hfcontrol's folder"
    ) from None


class PlantEnv(gymnasium.Env):
    """One trial of a plant and task; the conditions are those of `Settings`: steps, feedback_delay, motor_noise, vary, ...

    Observation: target and observation, in their own units, as the project's networks see them. Action: within +-1, though
    more is taken as it is; `scale` times it, added to the plant's TRIM, is the command before limit and delay. The scale is
    15 typical controls, or 3 limits where there are any, unless given in control units. Reward: minus the cost.

    An episode ends *terminated*, not truncated: the horizon belongs to the task, whose cost is on the final state, so that
    no value of what might follow is to be added. It ends early, with a reward of -1e6, where a state is beyond a million
    of its TYPICAL sizes or a number not finite. The last `info` has the trial's `loss`, infinite where it ended early, and
    `success`. `reset` takes one of the task's trials, or of its held-out ones with options={"split": "held_out"}. Raises
    kinds of HFControlError.
    """

    metadata = {"render_modes": []}

    def __init__(self, plant, task=None, *, scale=None, render_mode=None, **conditions):
        _check_rendering(render_mode)
        self._trials, self._running = Trials(1, plant, task, scale, **conditions), False
        self.observation_space, self.action_space = _spaces(self._trials)

    @property
    def scenario(self):
        """The `Scenario` of the trial."""
        return self._trials.scenario

    def reset(self, *, seed=None, options=None):
        """Begins a trial: what is seen first (n,), and an empty info; the same seed begins the same."""
        super().reset(seed=seed)
        self._trials.begin_all(self.np_random, **_split(options), anew=seed is not None)
        self._running = True
        return self._trials.seen[0], {}

    def step(self, action):
        """One control step under an action (nu,)."""
        if not self._running:
            raise UsageError("step without a trial in progress: call reset() first")
        rewards, ended = self._trials.advance([action])
        self._running = not ended[0]
        info = (
            {}
            if self._running
            else {
                name: values[0].item()
                for name, values in self._trials.results().items()
            }
        )
        return self._trials.seen[0], float(rewards[0]), bool(ended[0]), False, info


class PlantVectorEnv(gymnasium.vector.VectorEnv):
    """N trials of a plant and task, stepped by one call of its compiled kernels; spaces, rewards and conditions are those
    of `PlantEnv`.

    Trials end together, at the horizon, but for lost ones, and those that ended begin anew by themselves, in the split of
    the last reset: by default in the step after (`autoreset_mode` NEXT_STEP), whose action for them is ignored and whose
    reward is zero, or at once (SAME_STEP), with what was seen last in the infos' `final_obs`, and the rest in `final_info`.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(
        self,
        plant,
        task=None,
        num_envs=1,
        *,
        scale=None,
        autoreset_mode=AutoresetMode.NEXT_STEP,
        render_mode=None,
        **conditions,
    ):
        _check_rendering(render_mode)
        known = {
            mode.value: mode
            for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP)
        }
        mode = known.get(getattr(autoreset_mode, "value", autoreset_mode))
        if mode is None:
            raise UsageError(f"autoreset_mode {autoreset_mode!r}: {' or '.join(known)}")
        self._trials, self._ended = (
            Trials(num_envs, plant, task, scale, **conditions),
            None,
        )
        self.metadata, self.num_envs = (
            {**self.metadata, "autoreset_mode": mode},
            num_envs,
        )
        self.single_observation_space, self.single_action_space = _spaces(self._trials)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    @property
    def scenario(self):
        """The `Scenario` of all trials, which are the last index of its arrays."""
        return self._trials.scenario

    def reset(self, *, seed=None, options=None):
        """Begins all trials: what is seen first (N, n), and an empty info; the same seed begins the same."""
        super().reset(seed=seed)
        self._trials.begin_all(self.np_random, **_split(options), anew=seed is not None)
        self._ended = np.zeros(self.num_envs, dtype=bool)
        return self._trials.seen, {}

    def step(self, actions):
        """One control step under actions (N, nu)."""
        if self._ended is None:
            raise UsageError("step without trials in progress: call reset() first")
        begin_now, same_step = (
            self._ended,
            self.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP,
        )
        rewards, ended = self._trials.advance(actions)
        rewards[begin_now], ended[begin_now] = 0.0, False
        infos = self._infos(ended, same_step) if ended.any() else {}
        if same_step:
            begin_now = ended
        else:
            self._ended = ended
        if begin_now.any():
            self._trials.begin(np.flatnonzero(begin_now), self.np_random)
        return (
            self._trials.seen,
            rewards,
            ended.copy(),
            np.zeros(self.num_envs, dtype=bool),
            infos,
        )

    def _infos(self, ended, same_step):
        """What is told of the trials that ended (N,), in Gymnasium's form: every array with a mask."""
        infos, seen = {}, self._trials.seen
        for name, values in self._trials.results().items():
            infos |= {
                name: np.where(ended, values, np.zeros_like(values)),
                f"_{name}": ended.copy(),
            }
        if not same_step:
            return infos
        final = np.full(self.num_envs, None, dtype=object)
        for n in np.flatnonzero(ended):
            final[n] = seen[n]
        return {
            "final_obs": final,
            "_final_obs": ended.copy(),
            "final_info": infos,
            "_final_info": ended.copy(),
        }


def _spaces(trials):
    """What may be seen and what may be done in one of the trials."""
    box = gymnasium.spaces.Box
    return box(-np.inf, np.inf, (trials.size,), np.float64), box(
        -1.0, 1.0, (trials.plant.nu,), np.float64
    )


def _split(options):
    """The options of a reset, of which there is one; UsageError for any other."""
    unknown = set(options or {}) - {"split"}
    if unknown:
        raise UsageError(
            f"reset with options {', '.join(map(str, unknown))}: the only one is split"
        )
    return options or {}


def _check_rendering(mode):
    if mode is not None:
        raise UsageError(
            f"render_mode {mode!r}: environments draw nothing; hfcontrol animate makes movies of runs"
        )


def _task_names(plant):
    """Names of a shipped plant's tasks, read from its file without running it, which for all of them would take long."""
    tree = ast.parse((plants_folder() / f"{plant}.py").read_text(encoding="utf-8"))
    tasks = next(
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets) == "TASKS"
    )
    return [key.value for key in tasks.keys]


def _register():
    """Makes the ids known to Gymnasium: hfcontrol/PLANT-TASK-v0 of all that is shipped, and hfcontrol/plant-v0."""
    known = {
        f"{plant}-{task}": {"plant": plant, "task": task}
        for plant in plant_names()
        for task in _task_names(plant)
    }
    for name, own in {**known, "plant": {}}.items():
        gymnasium.register(
            f"hfcontrol/{name}-v0",
            f"{__name__}:PlantEnv",
            kwargs=own,
            vector_entry_point=f"{__name__}:PlantVectorEnv",
        )


_register()
