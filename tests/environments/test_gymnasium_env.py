"""Plants and tasks as Gymnasium environments: Gymnasium's own checks, and the closed loop that networks are trained in."""

import importlib
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

# Beyond 1 the state is infinite; actions of 2 take some trials there, at different times, and others never.
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
    return np.stack([rng.uniform(-2.0, 0.9, trials), np.zeros(trials)]), np.zeros((2, trials))


TASKS = {"go": {"draw": draw, "trials": 6, "steps": 12, "running": 0.3, "effort": 0.02}}
"""


@pytest.fixture
def cliff(tmp_path):
    """The path of a plant that leaves the finite numbers."""
    path = tmp_path / "cliff.py"
    path.write_text(CLIFF)
    return str(path)


class Told:
    """In the place of a network: gives commands (T, nu, N) one after the other, and notes what it sees."""

    start, outputs = None, slice(None)

    def __init__(self, commands):
        self.commands, self.seen, self.n_activations = commands, [], commands.shape[1]

    def step(self, theta, before, seen):
        """The next commands."""
        self.seen.append(seen.T)
        return self.commands[len(self.seen) - 1]


def episode(env, actions, seed=None):
    """What is seen (T+1, N, n), rewards (T, N) and the last infos of one episode of a vector of trials."""
    seen, rewards = [env.reset(seed=seed)[0]], []
    for action in actions:
        observation, reward, terminated, truncated, infos = env.step(action)
        seen.append(observation)
        rewards.append(reward)
        assert (
            terminated.all() == (len(rewards) == len(actions)) and not truncated.any()
        )
    return np.array(seen), np.array(rewards), infos


@pytest.mark.filterwarnings(
    "ignore:.*A Box observation space m..imum value is .?infinity"
)
@pytest.mark.parametrize("plant, task", SHIPPED)
def test_gymnasiums_own_check(plant, task):
    env = gymnasium.make(f"hfcontrol/{plant}-{task}-v0").unwrapped
    assert (env._trials.plant.name, env._trials.task.name) == (plant, task)
    check_env(env, skip_render_check=True)


@pytest.mark.filterwarnings(
    "ignore:.*A Box observation space m..imum value is .?infinity"
)
def test_the_check_of_plants_of_ones_own(cliff):
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


def test_all_that_is_shipped_is_registered():
    ours = [name for name in gymnasium.registry if name.startswith("hfcontrol/")]
    assert sorted(ours) == sorted(
        [
            *(f"hfcontrol/{plant}-{task}-v0" for plant, task in SHIPPED),
            "hfcontrol/plant-v0",
        ]
    )


def test_an_id_is_enough(tmp_path):
    code = (
        "import gymnasium, sys; name = 'hfcontrol.environments:hfcontrol/arm2-out_and_back-v0'; "
        "env, envs = gymnasium.make(name, feedback_delay='40ms'), gymnasium.make_vec(name, num_envs=3, vectorization_mode="
        "'vector_entry_point'); print('numba' in sys.modules, env.reset(seed=0)[0].shape, envs.reset(seed=0)[0].shape)"
    )
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
    "limits": ("cartpole", {"task": "balance", "command_delay": 1}),
    "trim": ("quadrotor", {"effort": 0.1}),
    "previews": ("electric", {"sensory_noise": 0.1}),
    "batch": ("cart", {}),
}


@pytest.fixture
def place(tmp_path):
    """Writes the plants of the tests' own; gives the name or path of a plant."""
    (tmp_path / "cart.py").write_text(CART)
    return lambda plant: str(tmp_path / "cart.py") if plant == "cart" else plant


@pytest.mark.parametrize(
    "case, trials", [*((case, 5) for case in CONDITIONS), ("all", 600), ("batch", 600)]
)
def test_returns_are_minus_the_losses_of_the_closed_loop(case, trials, place, rng):
    """The same commands in the passes that networks are trained with; 600 trials are stepped on all cores."""
    plant, conditions = CONDITIONS[case]
    env = PlantVectorEnv(place(plant), num_envs=trials, **conditions)
    settings = settings_for(plant=place(plant), **conditions)
    plant = make_plant(settings)
    wiring, T = make_wiring(settings, plant, taper=False), env._trials.task.steps
    actions = 0.3 * rng.uniform(-1, 1, (T, trials, plant.nu))
    seen, rewards, infos = episode(env, actions, seed=5)
    scale = np.where(
        np.isfinite(wiring.limit), 3.0 * wiring.limit, 15.0 * plant.typical_control
    )
    told = Told((plant.trim + scale * actions).transpose(0, 2, 1))
    x, u, *_ = PlainPasses(told, compile_plant(plant), env.scenario, wiring).rollout(
        None, NOTHING_FIXED
    )
    np.testing.assert_allclose(
        -rewards.sum(axis=0), env.scenario.cost.losses(x, u), rtol=1e-12
    )
    np.testing.assert_allclose(
        infos["loss"], env.scenario.cost.losses(x, u), rtol=1e-12
    )
    np.testing.assert_array_equal(seen[:-1], told.seen)


@pytest.mark.parametrize(
    "conditions", [{}, {"feedback_delay": 4}], ids=["plain", "delay"]
)
def test_a_trained_network_does_as_well_as_in_its_own_loop(conditions):
    run = hf.Run.load(SHIPPED_RUN)
    loop = run.closed_loop(settings=run.settings.changed(**conditions))
    rollout = loop.rollout(run.theta)
    controller, envs = (
        hf.Controller.load(run),
        PlantVectorEnv("arm2", "reach", num_envs=64, scale=1.0, **conditions),
    )
    seen, _ = envs.reset(seed=3)
    total, ended = np.zeros(64), np.zeros(64, dtype=bool)
    while not ended.any():
        seen, rewards, ended, _, infos = envs.step(
            controller.act(seen[:, :4].T, seen[:, 4:].T).T
        )
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
def test_one_after_the_other_as_side_by_side(task, conditions, rng):
    """More trials than the task has in the first cases, so that its list is gone through twice, or drawn twice."""
    env, envs = (
        PlantEnv("arm2", task, **conditions),
        PlantVectorEnv("arm2", task, num_envs=6, **conditions),
    )
    actions = 0.1 * rng.uniform(-1, 1, (env._trials.task.steps, 6, 2))
    seen, rewards, infos = episode(envs, actions, seed=7)
    for n in range(6):
        own = [env.reset(seed=None if n else 7)[0]]
        for t, action in enumerate(actions[:, n]):
            observation, reward, terminated, truncated, info = env.step(action)
            own.append(observation)
            assert reward == rewards[t, n] and not truncated
        np.testing.assert_array_equal(own, seen[:, n])
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
def test_seeds_and_splits(plant, task, conditions):
    def begun(**options):
        seen, _ = envs.reset(**options)
        return (
            seen,
            envs.scenario.x0.copy(),
            envs.scenario.goal.copy(),
            envs.scenario.motor_noise.copy(),
        )

    def same(a, b):
        return all(np.array_equal(i, j, equal_nan=True) for i, j in zip(a, b))

    envs = PlantVectorEnv(plant, task, num_envs=8, **conditions)
    first, second = begun(seed=1), begun()
    assert same(first, begun(seed=1)) and same(second, begun())
    assert not same(first, second) and not same(first, begun(seed=2))
    held_out = begun(seed=1, options={"split": "held_out"})
    goals = {goal.tobytes() for goal in np.moveaxis(first[2], -1, 0)}
    assert not goals & {goal.tobytes() for goal in np.moveaxis(held_out[2], -1, 0)}
    assert same(first, begun(seed=1))


def test_a_list_of_targets_is_gone_through():
    env = PlantEnv("arm2", trials=8)
    first, second = ([env.reset()[0][:2].tobytes() for _ in range(8)] for _ in range(2))
    assert len(set(first)) == 8 and set(first) == set(second) and first != second


def test_a_trial_that_ended_begins_anew_in_the_next_step(rng):
    envs = PlantVectorEnv("arm2", num_envs=3, steps=5)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    seen, _, infos = episode(envs, np.zeros((5, 3, 2)), seed=0)
    assert (
        set(infos) == {"loss", "_loss", "success", "_success"} and infos["_loss"].all()
    )
    later = [envs.step(rng.uniform(-1, 1, (3, 2))) for _ in range(6)]
    first, rewards, terminated, _, infos = later[0]
    assert not rewards.any() and not terminated.any() and infos == {}
    np.testing.assert_array_equal(
        first[:, 4:], seen[0][:, 4:]
    )  # at the start, with other targets
    assert not np.array_equal(first[:, :4], seen[0][:, :4])
    assert [step[2].all() for step in later] == [False] * 5 + [True]


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, "SameStep"])
def test_a_trial_that_ended_begins_anew_at_once(mode):
    """In the form that Gymnasium's own vector of single trials has."""
    envs = PlantVectorEnv("arm2", num_envs=3, steps=5, autoreset_mode=mode)
    sync = SyncVectorEnv(
        [lambda: PlantEnv("arm2", steps=5)] * 3, autoreset_mode=AutoresetMode.SAME_STEP
    )
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    seen, _, infos = episode(envs, np.zeros((5, 3, 2)), seed=0)
    _, _, theirs = episode(sync, np.zeros((5, 3, 2)), seed=0)
    assert set(infos) == set(theirs) and set(infos["final_info"]) == set(
        theirs["final_info"]
    )
    for ours, other in ((infos, theirs), (infos["final_info"], theirs["final_info"])):
        assert all(
            ours[name].dtype == other[name].dtype
            for name in ours
            if name != "final_info"
        )
    np.testing.assert_array_equal(infos["final_obs"][1][:4], seen[0, 1, :4])
    np.testing.assert_array_equal(seen[-1][:, 4:], seen[0][:, 4:])
    for _ in range(5):
        *_, terminated, _, infos = envs.step(np.zeros((3, 2)))
    assert terminated.all()


@pytest.mark.parametrize("beyond", ["math.inf", "math.nan", "-1e7"])
@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_lost_trials(cliff, mode, beyond):
    """They end at once, alone and without a NaN; the others, and they themselves from then on, keep their own time."""
    Path(cliff).write_text(CLIFF.replace("math.inf", beyond))
    envs = PlantVectorEnv(
        cliff, num_envs=6, scale=1.0, autoreset_mode=mode, feedback_delay=1
    )
    envs.reset(seed=0)
    total, begun, ends, fresh = (
        np.zeros(6),
        np.zeros(6, dtype=int),
        [],
        np.zeros(6, dtype=bool),
    )
    for t in range(60):
        before = select_trials(envs.scenario, np.arange(6))
        seen, rewards, ended, _, infos = envs.step(np.full((6, 1), 2.0))
        assert (
            np.isfinite(seen).all()
            and np.isfinite(rewards).all()
            and (rewards >= -1e6).all()
        )
        total[fresh], begun[fresh] = 0.0, t + 1
        total -= np.where(fresh, 0.0, rewards)
        infos = infos.get("final_info", infos)
        for n in np.flatnonzero(ended):
            lost = np.isinf(infos["loss"][n])
            ends.append((lost, t + 1 - begun[n]))
            assert (
                rewards[n] == -1e6 and not infos["success"][n]
                if lost
                else np.allclose(
                    [total[n], infos["loss"][n]], loss_of(before, n), rtol=1e-12
                )
            )
        fresh = ended if mode == "NextStep" else np.zeros(6, dtype=bool)
        if mode == "SameStep":
            total[ended], begun[ended] = 0.0, t + 1
    assert {length for lost, length in ends if not lost} == {12} and len(
        {length for lost, length in ends if lost}
    ) > 1


def loss_of(scenario, n):
    """The loss of a trial of the cliff that is pushed by 2."""
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


def test_the_optimum_is_within_the_actions():
    """Of the shipped tasks the one that leaves the least room: the wrist of arm3."""
    trials = PlantVectorEnv("arm3", "out_and_back", num_envs=8, trials=8)
    trials.reset(seed=0)
    own = trials._trials
    u = optimum(own.kernels, own.plant, trials.scenario, own.wiring).u
    assert (np.abs(u) <= own.scale).mean(axis=(0, 2)).min() > 0.99


@pytest.mark.parametrize(
    "arguments, kind, words",
    [
        ({"plant": "arm9"}, PlantError, "unknown plant 'arm9'"),
        ({"plant": "arm2", "task": "fly"}, TaskError, "no task 'fly'"),
        (
            {"plant": "arm2", "hidden": (3,)},
            UsageError,
            "hidden=.*no such condition; known are trials, steps",
        ),
        ({"plant": "arm2", "steps": 0}, UsageError, "--steps 0"),
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
def test_what_cannot_be_made(arguments, kind, words):
    with pytest.raises(kind, match=words) as caught:
        PlantVectorEnv(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "action", [[0.0] * 3, 0.0, [[0.0, 0.0]], [0.0, np.nan], "push", None, [None, 0.0]]
)
def test_wrong_actions(action):
    env = PlantEnv("arm2")
    env.reset()
    with pytest.raises(
        UsageError, match=r"needed are finite numbers of shape \(1, 2\)"
    ):
        env.step(action)


def test_steps_without_a_trial():
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
def test_wrong_options(options, words):
    with pytest.raises(HFControlError, match=words):
        PlantEnv("arm2").reset(options=options)


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    monkeypatch.delitem(sys.modules, "hfcontrol.environments.gymnasium_env")
    with pytest.raises(
        UsageError, match=r"pip install -e '\.\[gym\]' in hfcontrol's folder"
    ):
        importlib.import_module("hfcontrol.environments.gymnasium_env")
