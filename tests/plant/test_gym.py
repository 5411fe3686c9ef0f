"""Gymnasium environments as plants.

They are compared with the environments themselves and trained; what cannot be a plant
is refused.
"""

import sys

import numpy as np
import pytest
from trainings import call, complaint

import hfcontrol as hf
from hfcontrol.errors import PlantError
from hfcontrol.evaluation.plant_check import check_plant
from hfcontrol.kernels import compile_plant
from hfcontrol.plant.registry import load_plant
from hfcontrol.plant.simulators.gym import make
from hfcontrol.runs.run import Run
from hfcontrol.tasks.task import Task

gymnasium = pytest.importorskip(
    "gymnasium", reason="needs Gymnasium: pip install -e '.[gym]' in hfcontrol's folder"
)
pytest.importorskip(
    "mujoco", reason="needs MuJoCo: pip install -e '.[gym]' in hfcontrol's folder"
)

PENDULUM = "gym:InvertedPendulum-v5"
REACHER = "gym:Reacher-v5"
SETTABLE = [
    f"gym:{name}-v5"
    for name in (
        "InvertedPendulum",
        "InvertedDoublePendulum",
        "Reacher",
        "Swimmer",
        "HalfCheetah",
        "Hopper",
        "Walker2d",
        "Pusher",
    )
]
TRIALS = 12
NO_PARAMS = np.empty((0, TRIALS))


def near_home(plant, rng):
    """Random states (nx, N) around the start of the plant's tasks."""
    home = np.array(plant.tasks["stay"]["start"])[:, None]
    return home + 0.2 * rng.standard_normal((plant.nx, TRIALS))


@pytest.mark.parametrize("name", SETTABLE)
def test_step_equals_that_of_the_environment(name, rng):
    """From the same state, positions and rates agree, with contacts and limits too."""
    plant = load_plant(name)
    environment = make(name).unwrapped
    environment.reset(seed=0)
    x = near_home(plant, rng)
    u = plant.limit[1][:, None] * rng.uniform(-1, 1, (plant.nu, TRIALS))
    after = compile_plant(plant).step(x, u, NO_PARAMS)
    n = environment.model.nq
    for k in range(TRIALS):
        environment.set_state(x[:n, k], x[n:, k])
        environment.step(u[:, k])
        expected = environment.state_vector()
        np.testing.assert_allclose(after[:, k], expected, rtol=0, atol=1e-12)
    assert plant.dt == pytest.approx(environment.dt)


@pytest.mark.parametrize(
    "name, left_out",
    [
        (PENDULUM, []),
        ("gym:InvertedDoublePendulum-v5", [8]),
        (REACHER, []),
        ("gym:HalfCheetah-v5", []),
        ("gym:Hopper-v5", []),
        ("gym:Pusher-v5", [19, 22]),
    ],
)
def test_observation_equals_that_of_the_environment(name, left_out, rng):
    """Constant entries are left out.

    These are a force at the ends of a rail, and heights of objects on a table.
    """
    plant = load_plant(name)
    environment = make(name).unwrapped
    environment.reset(seed=0)
    x = near_home(plant, rng)
    x[-1] = 15.0  # some environments clip such a rate
    y = compile_plant(plant).observe(x[None], NO_PARAMS)[0]
    n = environment.model.nq
    for k in range(TRIALS):
        environment.set_state(x[:n, k], x[n:, k])
        expected = np.delete(environment._get_obs(), left_out)
        np.testing.assert_allclose(y[:, k], expected, rtol=0, atol=1e-12)


def test_observations_have_the_names_of_states_and_their_sines_and_cosines():
    assert load_plant(PENDULUM).observation == (
        "slider",
        "hinge",
        "slider_rate",
        "hinge_rate",
    )
    assert load_plant(REACHER).observation == (
        "cos_joint0",
        "cos_joint1",
        "sin_joint0",
        "sin_joint1",
        "target_x",
        "target_y",
        "joint0_rate",
        "joint1_rate",
        "observation_8",
        "observation_9",
    )
    hopper = load_plant("gym:Hopper-v5")
    assert hopper.observation == hopper.state[1:]
    assert hopper.units["observation"] == hopper.units["state"][1:]


@pytest.mark.parametrize(
    "name, free",
    [
        (PENDULUM, []),
        (REACHER, ["target_x", "target_y", "target_x_rate", "target_y_rate"]),
        ("gym:Hopper-v5", ["rootx"]),
    ],
)
def test_states_that_are_not_moved_or_not_observed_are_free(name, free):
    """The reacher's target has no motor; a hopper does not observe its position."""
    plant = load_plant(name)
    target = plant.tasks["stay"]["target"]
    assert np.array(plant.state)[np.isnan(target)].tolist() == free


@pytest.mark.parametrize("split", ["training", "held_out"])
def test_target_of_the_reacher_starts_at_the_goal_of_the_hand(split):
    plant = load_plant(REACHER)
    kernels = compile_plant(plant)
    scenario = Task(plant, kernels).draw(np.random.default_rng(2), split)
    goal = scenario.goal_output[-1, :2]
    np.testing.assert_allclose(scenario.x0[2:4], goal, rtol=0, atol=1e-12)
    assert np.ptp(scenario.x0[2:4], axis=1).min() > 0.2 and not scenario.x0[6:].any()

    start = scenario.x0[:, 0]
    environment = make(REACHER).unwrapped
    environment.reset(seed=0)
    environment.set_state(np.r_[scenario.goal[-1, :2, 0], start[2:4]], start[4:])
    # The last entries are the vector from the fingertip to the target.
    np.testing.assert_allclose(environment._get_obs()[-2:], 0.0, atol=1e-12)


def test_starts_and_horizon_are_those_of_the_environment():
    near = load_plant(PENDULUM).tasks["stay"]
    far = load_plant("gym:InvertedPendulum-v4").tasks["stay"]
    assert near["spread"] == (0.01,) * 4
    assert far["spread"] == (0.1,) * 4  # v4 does not have a noise scale
    assert near["steps"] == load_plant(REACHER).tasks["reach"]["steps"] == 50
    assert load_plant(REACHER).tasks["stay"]["spread"] == (0.1,) * 6 + (0.0,) * 2


@pytest.mark.parametrize("name", [PENDULUM, REACHER])
def test_environments_keep_the_contract_of_plants(name):
    findings = check_plant(load_plant(name))
    assert [finding for finding in findings if not finding.ok] == []


def test_command_line_checks_an_environment(capsys):
    status, out, _ = call(capsys, "check", PENDULUM)
    last = f"InvertedPendulum-v5 is fine: hfcontrol train --plant {PENDULUM}\n"
    assert status == 0 and out.endswith(last)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short training of the pendulum."""
    return hf.train(
        PENDULUM,
        strategy="plain",
        hold="model",
        steps=16,
        trials=8,
        hidden=(8,),
        grow=4,
        rollouts=8,
        out=tmp_path_factory.mktemp("runs"),
    )


def test_a_run_that_names_a_task_as_it_was_called_is_that_of_its_new_name(run):
    settings = run.settings.changed(task="hold")
    old = type(run)(run.path, {**run.tree, "task": "hold", "settings": settings.tree()})
    assert old.task().name == run.task().name == "stay"
    ours, theirs = (one.rollout(trials=2).states for one in (run, old))
    np.testing.assert_array_equal(ours, theirs)


def test_pendulum_is_trained_in_a_few_rollouts(run):
    """On held-out starts the loss is far below that of an idle controller."""
    assert run.path.name.startswith("InvertedPendulum-v5-stay-")
    assert run.state.rollouts <= 8
    loop = run.closed_loop("held_out", trials=16)
    idle = loop.rollout(np.zeros(run.theta.size)).loss
    assert loop.rollout(run.theta).loss < 0.01 * idle


@pytest.mark.slow
def test_commands_read_the_run_of_an_environment(run, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # An environment is stepped by Python: a long search for its optimum takes long.
    monkeypatch.setattr("hfcontrol.optim.starts.PARTS", 2)
    monkeypatch.setattr("hfcontrol.optim.starts.GROWING", 2)
    monkeypatch.setattr("hfcontrol.optim.yardstick.EXPLORERS", 2)
    for words in (("info",), ("evaluate", "--trials", 2), ("plot-error",)):
        status, _, err = call(capsys, *words, run.path)
        assert status == 0, err
    status, _, err = call(capsys, "export", run.path, "--format", "npz")
    assert status == 0, err
    assert not Run.load(run.path).plant_changed


def test_training_resumes_bit_for_bit(tmp_path):
    settings = {
        "strategy": "plain",
        "hold": "model",
        "steps": 10,
        "trials": 4,
        "hidden": (4,),
        "grow": 0,
        "batches": 2,
    }
    whole = hf.train(PENDULUM, **settings, rollouts=5, out=tmp_path / "whole")
    part = hf.train(PENDULUM, **settings, rollouts=3, out=tmp_path / "part")
    np.testing.assert_array_equal(hf.resume(part.path, rollouts=5).theta, whole.theta)
    assert part.state.updates < whole.state.updates


def test_other_frame_skip_changes_the_hash_of_the_source(monkeypatch):
    before = load_plant(PENDULUM)
    assert load_plant(PENDULUM).source_hash == before.source_hash
    spec = gymnasium.registry[PENDULUM.removeprefix("gym:")]
    monkeypatch.setitem(spec.kwargs, "frame_skip", 3)
    after = load_plant(PENDULUM)
    assert after.dt == pytest.approx(0.06) and after.source_hash != before.source_hash


UNDIFFERENTIABLE = {
    "gym:Ant-v5": "joint root is a free or ball joint, whose position is a quaternion "
    "with fewer rates than numbers",
    "gym:CartPole-v1": "its actions are discrete",
    "gym:Pendulum-v1": "its state cannot be set",
}


@pytest.mark.parametrize("name, words", UNDIFFERENTIABLE.items())
def test_environment_without_derivatives_needs_a_policy_gradient(
    capsys, tmp_path, monkeypatch, name, words
):
    monkeypatch.chdir(tmp_path)
    for command in (("train", "--plant", name), ("check", name)):
        line = complaint(capsys, *command, status=2)
        assert words in line and "--optimizer ppo" in line
    assert not list(tmp_path.iterdir())


BAD = {
    "gym:InvertedPendulm-v5": "gym:InvertedPendulum-v5",
    "gym:InvertedPendulum-v99": "gym:InvertedPendulum-v5",
    "gym:Nowhere/Nothing-v0": "give the id of a registered environment",
    "gym:no_such_module:Foo-v0": "no_such_module",
    "gym:": "Malformed",
}


@pytest.mark.parametrize("name, words", BAD.items())
def test_unknown_environment_is_reported_in_one_line(name, words):
    with pytest.raises(PlantError) as caught:
        load_plant(name)
    message = str(caught.value)
    assert name in message and words in message and "\n" not in message


def register(monkeypatch, name, creator):
    """Register an environment with that id for one test."""
    spec = gymnasium.envs.registration.EnvSpec(name, creator)
    monkeypatch.setitem(gymnasium.registry, name, spec)


def test_environment_with_another_step_than_mujoco_has_no_tasks(monkeypatch):
    from gymnasium.envs.mujoco.inverted_pendulum_v5 import InvertedPendulumEnv

    class Half(InvertedPendulumEnv):
        def step(self, action):
            return super().step(0.5 * np.asarray(action))

    register(monkeypatch, "Half-v0", Half)
    plant = load_plant("gym:Half-v0")
    assert not plant.tasks
    reason = "its step is not just 2 of MuJoCo's time steps under the action"
    assert reason in plant.environment.undifferentiable


def test_state_is_observed_if_the_observation_depends_on_earlier_steps(monkeypatch):
    from gymnasium.envs.mujoco.inverted_pendulum_v5 import InvertedPendulumEnv

    class Remembering(InvertedPendulumEnv):
        last = 0.0

        def step(self, action):
            self.last = float(np.sum(action))
            return super().step(action)

        def _get_obs(self):
            return np.append(self.data.qpos, self.last)

    register(monkeypatch, "Remembering-v0", Remembering)
    plant = load_plant("gym:Remembering-v0")
    assert plant.observation == plant.state
    assert "observe" not in plant.functions


@pytest.mark.parametrize(
    "name, options",
    [
        ("gym:CartPole-v1", {"observe": ("y0", "y2"), "cell": "ltc"}),
        ("gym:Pendulum-v1", {}),
        (PENDULUM, {"task": "episodes"}),
    ],
)
def test_ppo_trains_environments_and_commands_read_the_run(
    capsys, tmp_path, monkeypatch, name, options
):
    monkeypatch.chdir(tmp_path)
    settings = {
        "optimizer": "ppo",
        "trials": 2,
        "steps": 30,
        "hidden": (5,),
        "skip": (),
        **options,
    }
    run = hf.train(name, rollouts=4, **settings)
    part = hf.train(name, rollouts=2, out="parts", **settings)
    np.testing.assert_array_equal(hf.resume(part.path, rollouts=4).theta, run.theta)
    status, out, err = call(capsys, "evaluate", run.path, "--trials", "3")
    assert status == 0 and "over 3 episodes" in out, err
    for command in ("info", "plot-error"):
        assert call(capsys, command, run.path)[0] == 0
    assert call(capsys, "export", run.path)[0] == 0
    for command in ("simulate", "plot", "animate"):
        line = complaint(capsys, command, run.path, status=2)
        assert "which has no tasks" in line
    controller = hf.Controller.load(run)
    u = controller.act(np.zeros(0), np.zeros(len(controller.observes)))
    assert u.shape == (len(controller.controls),)


def test_episodes_have_all_observations_and_actions_of_the_environment(
    capsys, tmp_path
):
    """The plant of the same model leaves observations out and limits the controls."""
    settings = {
        "optimizer": "ppo",
        "task": "episodes",
        "trials": 2,
        "steps": 20,
        "hidden": (4,),
        "skip": (),
    }
    run = hf.train("gym:Pusher-v5", rollouts=2, out=tmp_path, **settings)
    controller = hf.Controller.load(run)
    assert controller.observes == tuple(f"y{i}" for i in range(23))
    assert np.isinf(controller.limits.bounds).all()
    assert len(load_plant("gym:Pusher-v5").observation) == 21
    options = ("--motor-noise", "5%")
    line = complaint(capsys, "evaluate", run.path, *options, status=2)
    assert "--motor-noise" in line


def test_missing_package_of_an_environment_is_reported_in_one_line(monkeypatch):
    def lacking(**kwargs):
        raise gymnasium.error.DependencyNotInstalled("Box2D is not\ninstalled.")

    register(monkeypatch, "Lacking-v0", lacking)
    with pytest.raises(PlantError) as caught:
        make("gym:Lacking-v0")
    reason = "needs a package that is not installed: Box2D is not installed"
    assert str(caught.value) == f"gym:Lacking-v0 {reason}"


def test_missing_gymnasium_is_reported_in_one_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    line = complaint(capsys, "check", PENDULUM, status=2)
    assert "pip install -e '.[gym]' in hfcontrol's folder" in line
