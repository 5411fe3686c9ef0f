"""Gymnasium environments: its own checks, and equality with the closed loop."""

import copy
import importlib
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import CART

import hfcontrol as hf
from hfcontrol.closed_loop.loop import NOTHING_FIXED
from hfcontrol.closed_loop.passes.plain import PlainPasses
from hfcontrol.errors import HFControlError, PlantError, TaskError, UsageError
from hfcontrol.kernels import compile_plant
from hfcontrol.optim.yardstick import optimum
from hfcontrol.plant.registry import load_plant, plant_names, plants_folder
from hfcontrol.runs.factory import make_plant, make_wiring
from hfcontrol.runs.settings import settings_for
from hfcontrol.tasks.scenario import select_trials

gymnasium = pytest.importorskip(
    "gymnasium", reason="needs Gymnasium: pip install -e '.[gym]' in hfcontrol's folder"
)

from gymnasium.utils.env_checker import check_env  # noqa: E402
from gymnasium.vector import AutoresetMode, SyncVectorEnv  # noqa: E402

from hfcontrol.environments.gymnasium_env import PlantEnv, PlantVectorEnv  # noqa: E402

SHIPPED = [(plant, task) for plant in plant_names() for task in load_plant(plant).tasks]
SHIPPED_RUN = Path(hf.__file__).parent.parent / "weights" / "arm2-reach"

# Beyond place 1 the state is infinite. Actions of 2 take some trials there, at
# different times, and others never.
CLIFF = """
import math
import numpy as np

STATE, CONTROL, PARAMS = ("place", "place_rate"), ("push",), {"edge": 1.0}
DT, TYPICAL = 0.1, {"control": (1.0,)}


def step(x, u, p, dt, x_next):
    x_next[0] = x[0] + dt * x[1]
    x_next[1] = x[1] + dt * u[0]
    if x[0] > p[0]:
        x_next[0] = math.inf


def draw(rng, trials, split):
    x0 = np.stack([rng.uniform(-2.0, 0.9, trials), np.zeros(trials)])
    return x0, np.zeros((2, trials))


GO = {"draw": draw, "trials": 6, "steps": 12, "running": 0.3, "effort": 0.02}
TASKS = {"go": GO}
"""


@pytest.fixture
def cliff(tmp_path):
    """The path of a plant whose state becomes infinite."""
    path = tmp_path / "cliff.py"
    path.write_text(CLIFF)
    return str(path)


class Replay:
    """In place of a network: returns given commands (T, nu, N), records its inputs."""

    start = None
    outputs = slice(None)

    def __init__(self, commands):
        self.commands = commands
        self.inputs, self.elapsed = [], []
        self.n_activations = commands.shape[1]

    def step(self, theta, before, inputs, elapsed):
        """Return the next commands."""
        self.inputs.append(inputs.T)
        self.elapsed.append(elapsed)
        return self.commands[len(self.inputs) - 1]


def run_episode(env, actions, seed=None):
    """Observations (T+1, N, n), rewards (T, N) and last infos of one episode."""
    observations = [env.reset(seed=seed)[0]]
    rewards = []
    for action in actions:
        observation, reward, terminated, truncated, infos = env.step(action)
        observations.append(observation)
        rewards.append(reward)
        assert terminated.all() == (len(rewards) == len(actions))
        assert not truncated.any()
    return np.array(observations), np.array(rewards), infos


@pytest.mark.filterwarnings(
    "ignore:.*A Box observation space m..imum value is .?infinity"
)
@pytest.mark.parametrize("plant, task", SHIPPED)
def test_shipped_tasks_pass_gymnasiums_checks(plant, task):
    env = gymnasium.make(f"hfcontrol/{plant}-{task}-v0").unwrapped
    assert (env._trials.plant.name, env._trials.task.name) == (plant, task)
    check_env(env, skip_render_check=True)


@pytest.mark.filterwarnings(
    "ignore:.*A Box observation space m..imum value is .?infinity"
)
def test_own_plants_pass_gymnasiums_checks(cliff):
    check_env(
        gymnasium.make("hfcontrol/plant-v0", plant=cliff, trials=3).unwrapped,
        skip_render_check=True,
    )
    pytest.importorskip(
        "mujoco",
        reason="needs MuJoCo: pip install -e '.[mujoco]' in hfcontrol's folder",
    )
    check_env(
        PlantEnv(plants_folder() / "mjcf" / "reacher2.xml", "reach"),
        skip_render_check=True,
    )


def test_all_shipped_tasks_are_registered():
    ours = [name for name in gymnasium.registry if name.startswith("hfcontrol/")]
    assert sorted(ours) == sorted(
        [
            *(f"hfcontrol/{plant}-{task}-v0" for plant, task in SHIPPED),
            "hfcontrol/plant-v0",
        ]
    )


def test_environment_id_names_the_module_to_import(tmp_path):
    code = """
import sys
import gymnasium
name = 'hfcontrol.environments:hfcontrol/arm2-out_and_back-v0'
env = gymnasium.make(name, feedback_delay='40ms')
envs = gymnasium.make_vec(name, num_envs=3, vectorization_mode='vector_entry_point')
print('numba' in sys.modules, env.reset(seed=0)[0].shape, envs.reset(seed=0)[0].shape)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.stdout.strip() == "False (8,) (3, 8)", done.stderr


CONDITIONS = {
    "plain": ("arm2", {}),
    "hand": ("arm2", {"space": "hand", "running": 0.1}),
    "weights": (
        "arm2",
        {
            "running": (0.1, 0.2, 0.03, 0.04),
            "effort": (1e-3, 5e-3),
            "final": (3, 2, 1, 1),
        },
    ),
    "targets": ("arm2", {"target_centre": (0.1, 0.3), "target_radius": 0.1}),
    "delays": ("arm2", {"feedback_delay": "40ms", "command_delay": 2}),
    "noise": ("arm2", {"sensory_noise": 0.01, "motor_noise": "5%", "push": 1.0}),
    "all": (
        "arm2",
        {
            "feedback_delay": 3,
            "command_delay": 1,
            "sensory_noise": 0.02,
            "motor_noise": 0.1,
            "curl_field": 13.0,
            "vary": ("load=0..1",),
            "param": ("friction=0.1",),
            "observe": ("positions",),
            "control_limit": 2.0,
        },
    ),
    "muscles": ("arm1", {"task": "follow", "actuators": "40ms", "steps": 30}),
    "irregular steps": ("arm2", {"jitter": 0.3, "feedback_delay": 2}),
    "limits": ("cartpole", {"task": "balance", "command_delay": 1}),
    "uneven limits": (
        "arm2",
        {"control_limit": ((0.5, 2), (None, 1)), "command_delay": 1},
    ),
    "trim": ("quadrotor", {"effort": 0.1}),
    "previews": ("electric", {"sensory_noise": 0.1}),
    "batch": ("cart", {}),
}


@pytest.fixture
def find_plant(tmp_path):
    """A function that returns a plant's name, or the path of the test's own plant."""
    (tmp_path / "cart.py").write_text(CART)
    return lambda plant: str(tmp_path / "cart.py") if plant == "cart" else plant


@pytest.mark.parametrize(
    "case, trials", [*((case, 5) for case in CONDITIONS), ("all", 600), ("batch", 600)]
)
def test_returns_are_minus_losses_of_closed_loop(case, trials, find_plant, rng):
    """The same commands in the training passes; 600 trials are stepped on all cores."""
    name, conditions = CONDITIONS[case]
    env = PlantVectorEnv(find_plant(name), num_envs=trials, **conditions)
    settings = settings_for(plant=find_plant(name), **conditions)
    plant = make_plant(settings)
    wiring = make_wiring(settings, plant, taper=False)
    T = env._trials.task.steps
    actions = 0.3 * rng.uniform(-1, 1, (T, trials, plant.nu))
    observations, rewards, infos = run_episode(env, actions, seed=5)
    limit = wiring.limits.high
    scale = np.where(np.isfinite(limit), 3.0 * limit, 15.0 * plant.typical_control)
    if case == "uneven limits":
        # 3 half ranges and from the trim, 0, to the middle; no range: typical controls
        scale = np.array([3 * 0.75 + 1.25, 15.0])
    replay = Replay((plant.trim + scale * actions).transpose(0, 2, 1))
    x, u, *_ = PlainPasses(replay, compile_plant(plant), env.scenario, wiring).rollout(
        None, NOTHING_FIXED
    )
    np.testing.assert_allclose(
        -rewards.sum(axis=0), env.scenario.cost.losses(x, u), rtol=1e-12
    )
    np.testing.assert_allclose(
        infos["loss"], env.scenario.cost.losses(x, u), rtol=1e-12
    )
    seen = np.array(replay.inputs)
    if plant.irregular:
        # an agent is told the length of the last step, as a network is
        elapsed = np.array(replay.elapsed)[:, :, None]
        assert elapsed.std() > 0.1
        seen = np.concatenate([seen, elapsed], axis=2)
    np.testing.assert_array_equal(observations[:-1], seen)


@pytest.mark.parametrize(
    "conditions", [{}, {"feedback_delay": 4}], ids=["plain", "delay"]
)
def test_trained_network_performs_as_in_its_closed_loop(conditions):
    run = hf.Run.load(SHIPPED_RUN)
    loop = run.closed_loop(settings=run.settings.changed(**conditions))
    rollout = loop.rollout(run.theta)
    controller = hf.Controller.load(run)
    envs = PlantVectorEnv("arm2", "reach", num_envs=64, scale=1.0, **conditions)
    observations, _ = envs.reset(seed=3)
    total = np.zeros(64)
    ended = np.zeros(64, dtype=bool)
    while not ended.any():
        target, observed = observations[:, :4].T, observations[:, 4:].T
        actions = controller.act(target, observed).T
        observations, rewards, ended, _, infos = envs.step(actions)
        total -= rewards
    np.testing.assert_allclose(np.sort(total), np.sort(rollout.losses), rtol=1e-9)
    np.testing.assert_array_equal(
        infos["success"].mean(), run.task().success(rollout, loop.scenario).mean()
    )
    assert ended.all() and infos["_success"].all()


@pytest.mark.parametrize(
    "task, conditions",
    [
        ("reach", {"trials": 4}),
        ("reach", {"motor_noise": 0.1, "trials": 4}),
        ("anywhere", {"feedback_delay": 2}),
    ],
)
def test_trials_one_by_one_equal_trials_in_a_vector(task, conditions, rng):
    """In the first cases the task has fewer trials: its list is used or drawn twice."""
    env = PlantEnv("arm2", task, **conditions)
    envs = PlantVectorEnv("arm2", task, num_envs=6, **conditions)
    actions = 0.1 * rng.uniform(-1, 1, (env._trials.task.steps, 6, 2))
    observations, rewards, infos = run_episode(envs, actions, seed=7)
    for n in range(6):
        own = [env.reset(seed=None if n else 7)[0]]
        for t, action in enumerate(actions[:, n]):
            observation, reward, terminated, truncated, info = env.step(action)
            own.append(observation)
            assert reward == rewards[t, n] and not truncated
        np.testing.assert_array_equal(own, observations[:, n])
        assert terminated and info == {
            "loss": infos["loss"][n],
            "success": infos["success"][n],
        }


@pytest.mark.parametrize(
    "plant, task, conditions",
    [
        ("arm2", "reach", {}),
        ("arm2", "anywhere", {}),
        ("arm2", "reach", {"motor_noise": 0.1}),
        ("electric", "follow", {}),
    ],
)
def test_seed_and_split_decide_the_scenarios(plant, task, conditions):
    def reset(**options):
        observations, _ = envs.reset(**options)
        return (
            observations,
            envs.scenario.x0.copy(),
            envs.scenario.goal.copy(),
            envs.scenario.motor_noise.copy(),
        )

    def same(a, b):
        pairs = zip(a, b, strict=True)
        return all(np.array_equal(i, j, equal_nan=True) for i, j in pairs)

    envs = PlantVectorEnv(plant, task, num_envs=8, **conditions)
    first, second = reset(seed=1), reset()
    assert same(first, reset(seed=1)) and same(second, reset())
    assert not same(first, second) and not same(first, reset(seed=2))
    held_out = reset(seed=1, options={"split": "held_out"})
    goals = {goal.tobytes() for goal in np.moveaxis(first[2], -1, 0)}
    assert not goals & {goal.tobytes() for goal in np.moveaxis(held_out[2], -1, 0)}
    assert same(first, reset(seed=1))


def test_fixed_targets_are_all_used_before_they_repeat():
    env = PlantEnv("arm2", trials=8)
    first, second = ([env.reset()[0][:2].tobytes() for _ in range(8)] for _ in range(2))
    assert len(set(first)) == 8 and set(first) == set(second) and first != second


def test_ended_trial_restarts_in_next_step(rng):
    envs = PlantVectorEnv("arm2", num_envs=3, steps=5)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    observations, _, infos = run_episode(envs, np.zeros((5, 3, 2)), seed=0)
    assert set(infos) == {"loss", "_loss", "success", "_success"}
    assert infos["_loss"].all()
    later = [envs.step(rng.uniform(-1, 1, (3, 2))) for _ in range(6)]
    first, rewards, terminated, _, infos = later[0]
    assert not rewards.any() and not terminated.any() and infos == {}
    # They are at the start again, with other targets.
    np.testing.assert_array_equal(first[:, 4:], observations[0][:, 4:])
    assert not np.array_equal(first[:, :4], observations[0][:, :4])
    assert [step[2].all() for step in later] == [False] * 5 + [True]


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, "SameStep"])
def test_ended_trial_restarts_in_same_step(mode):
    """The infos have the form of Gymnasium's own vector of single environments."""
    envs = PlantVectorEnv("arm2", num_envs=3, steps=5, autoreset_mode=mode)
    sync = SyncVectorEnv(
        [lambda: PlantEnv("arm2", steps=5)] * 3, autoreset_mode=AutoresetMode.SAME_STEP
    )
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    observations, _, infos = run_episode(envs, np.zeros((5, 3, 2)), seed=0)
    _, _, theirs = run_episode(sync, np.zeros((5, 3, 2)), seed=0)
    pairs = ((infos, theirs), (infos["final_info"], theirs["final_info"]))
    for ours, other in pairs:
        assert set(ours) == set(other)
        for name in set(ours) - {"final_info"}:
            assert ours[name].dtype == other[name].dtype
    np.testing.assert_array_equal(infos["final_obs"][1][:4], observations[0, 1, :4])
    np.testing.assert_array_equal(observations[-1][:, 4:], observations[0][:, 4:])
    for _ in range(5):
        *_, terminated, _, infos = envs.step(np.zeros((3, 2)))
    assert terminated.all()


@pytest.mark.parametrize("beyond", ["math.inf", "math.nan", "-1e7"])
@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_lost_trials_end_alone_and_without_nan(cliff, mode, beyond):
    """All trials, the restarted ones too, keep their own time."""
    Path(cliff).write_text(CLIFF.replace("math.inf", beyond))
    envs = PlantVectorEnv(
        cliff, num_envs=6, scale=1.0, autoreset_mode=mode, feedback_delay=1
    )
    envs.reset(seed=0)
    total = np.zeros(6)
    start = np.zeros(6, dtype=int)
    restarting = np.zeros(6, dtype=bool)
    whole_lengths, lost_lengths = set(), set()
    for t in range(60):
        before = select_trials(envs.scenario, np.arange(6))
        observations, rewards, ended, _, infos = envs.step(np.full((6, 1), 2.0))
        assert np.isfinite(observations).all() and np.isfinite(rewards).all()
        assert (rewards >= -1e6).all()
        total[restarting] = 0.0
        start[restarting] = t + 1
        total -= np.where(restarting, 0.0, rewards)
        infos = infos.get("final_info", infos)
        for n in np.flatnonzero(ended):
            length = t + 1 - start[n]
            if np.isinf(infos["loss"][n]):
                lost_lengths.add(length)
                assert rewards[n] == -1e6 and not infos["success"][n]
            else:
                whole_lengths.add(length)
                losses = [total[n], infos["loss"][n]]
                assert np.allclose(losses, loss_of(before, n), rtol=1e-12)
        restarting = ended if mode == "NextStep" else np.zeros(6, dtype=bool)
        if mode == "SameStep":
            total[ended] = 0.0
            start[ended] = t + 1
    assert whole_lengths == {12} and len(lost_lengths) > 1


def loss_of(scenario, n):
    """The loss of a trial on the cliff under actions of 2, from its definition."""
    x = [scenario.x0[:, n]]
    for _ in range(12):
        x.append(
            np.array([x[-1][0] + 0.1 * x[-1][1], x[-1][1] + 0.2])
            if x[-1][0] <= 1
            else np.full(2, np.inf)
        )
    return 0.5 * (
        0.3 * sum(v[0] ** 2 for v in x[1:]) + (x[-1] ** 2).sum() + 12 * 0.02 * 4
    )


def test_optimal_controls_are_within_the_actions():
    """On the shipped task that comes closest to the limits: the wrist of arm3."""
    trials = PlantVectorEnv("arm3", "out_and_back", num_envs=8, trials=8)
    trials.reset(seed=0)
    own = trials._trials
    u = optimum(own.kernels, trials.scenario, own.wiring).u
    assert (np.abs(u) <= own.scale).mean(axis=(0, 2)).min() > 0.99


@pytest.mark.parametrize(
    "arguments, kind, words",
    [
        ({"plant": "arm9"}, PlantError, "unknown plant 'arm9'"),
        ({"plant": "arm2", "task": "fly"}, TaskError, "no task 'fly'"),
        (
            {"plant": "arm2", "hidden": (3,)},
            UsageError,
            r"`hidden` \(3,\): .*no such setting; it has: trials, steps",
        ),
        ({"plant": "arm2", "steps": 0}, UsageError, "`steps` 0"),
        (
            {"plant": "arm2", "steps": 3, "feedback_delay": 3},
            TaskError,
            "does not fit into a horizon of 3 steps",
        ),
        ({"plant": "arm2", "scale": 0}, UsageError, "scale 0: a positive number"),
        (
            {"plant": "arm2", "scale": (1, 2, 3)},
            UsageError,
            "one for each of shoulder_torque, elbow_torque",
        ),
        ({"plant": "arm2", "scale": "big"}, UsageError, "scale big"),
        ({"plant": "arm2", "render_mode": "human"}, UsageError, "hfcontrol animate"),
        ({"plant": "arm2", "num_envs": 0}, UsageError, "0 trials: at least 1"),
        (
            {"plant": "arm2", "autoreset_mode": "Disabled"},
            UsageError,
            "autoreset_mode 'Disabled': NextStep or SameStep",
        ),
    ],
)
def test_environment_refuses_wrong_arguments(arguments, kind, words):
    with pytest.raises(kind, match=words) as caught:
        PlantVectorEnv(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "action", [[0.0] * 3, 0.0, [[0.0, 0.0]], [0.0, np.nan], "push", None, [None, 0.0]]
)
def test_step_refuses_wrong_actions(action):
    env = PlantEnv("arm2")
    env.reset()
    with pytest.raises(
        UsageError, match=r"needed are finite numbers of shape \(1, 2\)"
    ):
        env.step(action)


def test_step_needs_reset_first():
    env = PlantEnv("arm2", steps=2)
    for broken in (env, PlantVectorEnv("arm2", steps=2)):
        with pytest.raises(UsageError, match=r"call reset\(\) first"):
            broken.step(broken.action_space.sample())
    env.reset()
    assert [env.step(np.zeros(2))[2] for _ in range(2)] == [False, True]
    with pytest.raises(UsageError, match=r"call reset\(\) first"):
        env.step(np.zeros(2))


@pytest.mark.parametrize(
    "options, words",
    [
        ({"split": "test"}, "split 'test': training or held_out"),
        ({"low": 1}, "options low: the only one is split"),
    ],
)
def test_reset_refuses_wrong_options(options, words):
    with pytest.raises(HFControlError, match=words):
        PlantEnv("arm2").reset(options=options)


def test_import_names_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    monkeypatch.delitem(sys.modules, "hfcontrol.environments.gymnasium_env")
    with pytest.raises(
        UsageError, match=r"pip install -e '\.\[gym\]' in hfcontrol's folder"
    ):
        importlib.import_module("hfcontrol.environments.gymnasium_env")


@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))],
    ids=["copied", "pickled"],
)
def test_a_copy_goes_on_like_the_environment(duplicate):
    """In the middle of a trial, and in the trials after it."""
    env = PlantVectorEnv("arm2", num_envs=2, steps=3, motor_noise="5%")
    env.reset(seed=3)
    env.step(np.full((2, 2), 0.1))
    other = duplicate(env)
    for _ in range(6):
        results = [each.step(np.full((2, 2), 0.2))[:3] for each in (env, other)]
        for one, same in zip(*results, strict=True):
            np.testing.assert_array_equal(one, same)
