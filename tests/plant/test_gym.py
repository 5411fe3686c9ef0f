"""Gymnasium environments as plants: against the environments themselves, trained, and what is refused."""

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

PENDULUM, REACHER = "gym:InvertedPendulum-v5", "gym:Reacher-v5"
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
NONE = np.empty((0, 12))  # parameters


def near_home(plant, rng):
    """States (nx, 12) about that where the plant's tasks start."""
    home = np.array(plant.tasks["hold"]["start"])[:, None]
    return home + 0.2 * rng.standard_normal((plant.nx, 12))


@pytest.mark.parametrize("name", SETTABLE)
def test_a_step_is_the_environments_own(name, rng):
    """From the same state, set anew: positions and rates after one step, with contacts and limits where there are any."""
    plant, environment = load_plant(name), make(name).unwrapped
    environment.reset(seed=0)
    x, u = (
        near_home(plant, rng),
        plant.limit[:, None] * rng.uniform(-1, 1, (plant.nu, 12)),
    )
    after, n = compile_plant(plant).step(x, u, NONE), environment.model.nq
    for k in range(12):
        environment.set_state(x[:n, k], x[n:, k])
        environment.step(u[:, k])
        np.testing.assert_allclose(
            after[:, k], environment.state_vector(), rtol=0, atol=1e-12
        )
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
def test_the_observation_is_the_environments_own(name, left_out, rng):
    """But for entries that are constant: a force that only the rail's ends give, heights of what lies on a table."""
    plant, environment = load_plant(name), make(name).unwrapped
    environment.reset(seed=0)
    x, n = near_home(plant, rng), environment.model.nq
    x[-1] = 15.0  # beyond where some environments clip their rates
    seen = compile_plant(plant).observe(x[None], NONE)[0]
    for k in range(12):
        environment.set_state(x[:n, k], x[n:, k])
        np.testing.assert_allclose(
            seen[:, k], np.delete(environment._get_obs(), left_out), rtol=0, atol=1e-12
        )


def test_names_tell_what_is_observed():
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
    assert (
        hopper.observation == hopper.state[1:]
        and hopper.units["observation"] == hopper.units["state"][1:]
    )


def test_what_nothing_moves_or_nobody_sees_is_not_asked_for():
    """The target of the reacher has no motor, and a hopper does not know how far it has come."""
    unasked = [
        np.array(load_plant(name).state)[
            np.isnan(load_plant(name).tasks["hold"]["target"])
        ].tolist()
        for name in (PENDULUM, REACHER, "gym:Hopper-v5")
    ]
    assert unasked == [
        [],
        ["target_x", "target_y", "target_x_rate", "target_y_rate"],
        ["rootx"],
    ]


@pytest.mark.parametrize("split", ["training", "held_out"])
def test_the_reachers_target_waits_where_the_hand_is_to_go(split):
    plant = load_plant(REACHER)
    kernels = compile_plant(plant)
    scenario = Task(plant, kernels).draw(np.random.default_rng(2), split)
    np.testing.assert_allclose(
        scenario.x0[2:4], scenario.goal_output[-1, :2], rtol=0, atol=1e-12
    )
    assert np.ptp(scenario.x0[2:4], axis=1).min() > 0.2 and not scenario.x0[6:].any()
    own, environment = scenario.x0[:, 0], make(REACHER).unwrapped
    environment.reset(seed=0)
    environment.set_state(np.r_[scenario.goal[-1, :2, 0], own[2:4]], own[4:])
    np.testing.assert_allclose(
        environment._get_obs()[-2:], 0.0, atol=1e-12
    )  # from the fingertip to the target


def test_start_and_horizon_are_the_environments_own():
    near, far = (
        load_plant(PENDULUM).tasks["hold"],
        load_plant("gym:InvertedPendulum-v4").tasks["hold"],
    )
    assert (
        near["spread"] == (0.01,) * 4 and far["spread"] == (0.1,) * 4
    )  # v4 does not say how far
    assert near["steps"] == load_plant(REACHER).tasks["reach"]["steps"] == 50
    assert load_plant(REACHER).tasks["hold"]["spread"] == (0.1,) * 6 + (0.0,) * 2


@pytest.mark.parametrize("name", [PENDULUM, REACHER])
def test_the_contract_is_kept(name):
    assert [
        finding for finding in check_plant(load_plant(name)) if not finding.ok
    ] == []


def test_the_command_line_takes_an_environment(capsys):
    status, out, _ = call(capsys, "check", PENDULUM)
    assert status == 0 and out.endswith(
        f"InvertedPendulum-v5 is fine: hfcontrol train --plant {PENDULUM}\n"
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short training of the pendulum."""
    return hf.train(
        PENDULUM,
        hold="model",
        steps=16,
        trials=8,
        hidden=(8,),
        grow=4,
        rollouts=8,
        out=tmp_path_factory.mktemp("runs"),
    )


def test_a_few_rollouts_train_it(run):
    """To far below doing nothing, on starts that it never saw."""
    assert (
        run.path.name.startswith("InvertedPendulum-v5-hold-")
        and run.state.rollouts <= 8
    )
    loop = run.closed_loop("held_out", trials=16)
    idle = loop.rollout(np.zeros(run.theta.size)).loss
    assert loop.rollout(run.theta).loss < 0.01 * idle


def test_its_run_is_known_to_every_command(run, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in (("info",), ("evaluate",), ("plot-error",)):
        status, out, err = call(capsys, command[0], run.path, *command[1:])
        assert status == 0, err
    status, _, err = call(capsys, "export", run.path, "--format", "npz")
    assert status == 0, err
    assert not Run.load(run.path).plant_changed


def test_it_resumes_bit_for_bit(tmp_path):
    asked = {
        "hold": "model",
        "steps": 10,
        "trials": 4,
        "hidden": (4,),
        "grow": 0,
        "batches": 2,
    }
    whole = hf.train(PENDULUM, **asked, rollouts=5, out=tmp_path / "whole")
    part = hf.train(PENDULUM, **asked, rollouts=3, out=tmp_path / "part")
    np.testing.assert_array_equal(hf.resume(part.path, rollouts=5).theta, whole.theta)
    assert part.state.updates < whole.state.updates


def test_another_frame_skip_or_model_is_another_plant(monkeypatch):
    before = load_plant(PENDULUM)
    assert load_plant(PENDULUM).source_hash == before.source_hash
    monkeypatch.setitem(
        gymnasium.registry[PENDULUM.removeprefix("gym:")].kwargs, "frame_skip", 3
    )
    after = load_plant(PENDULUM)
    assert after.dt == pytest.approx(0.06) and after.source_hash != before.source_hash


UNDIFFERENTIABLE = {
    "gym:Ant-v5": "joint root is a free or ball joint, whose position is a quaternion with fewer rates than numbers",
    "gym:CartPole-v1": "its actions are discrete",
    "gym:Pendulum-v1": "its state cannot be set",
}


@pytest.mark.parametrize("name, words", UNDIFFERENTIABLE.items())
def test_what_has_no_derivatives_is_for_methods_that_need_none(
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
def test_what_cannot_be_a_plant_is_told_in_one_line(name, words):
    with pytest.raises(PlantError) as caught:
        load_plant(name)
    message = str(caught.value)
    assert name in message and words in message and "\n" not in message


def register(monkeypatch, name, creator):
    """An environment of that id for one test."""
    monkeypatch.setitem(
        gymnasium.registry, name, gymnasium.envs.registration.EnvSpec(name, creator)
    )


def test_a_step_that_does_more_is_refused(monkeypatch):
    from gymnasium.envs.mujoco.inverted_pendulum_v5 import InvertedPendulumEnv

    class Half(InvertedPendulumEnv):
        def step(self, action):
            return super().step(0.5 * np.asarray(action))

    register(monkeypatch, "Half-v0", Half)
    plant = load_plant("gym:Half-v0")
    assert (
        not plant.tasks
        and "its step is not 2 of MuJoCo's under the action alone"
        in plant.environment.undifferentiable
    )


def test_an_observation_that_remembers_is_not_taken(monkeypatch):
    """The state is, where the environment's own observation depends on what came before."""
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
    assert plant.observation == plant.state and "observe" not in plant.functions


@pytest.mark.parametrize(
    "name, options",
    [
        ("gym:CartPole-v1", {"observe": ("y0", "y2"), "cell": "ltc"}),
        ("gym:Pendulum-v1", {}),
        (PENDULUM, {"task": "episodes"}),
    ],
)
def test_ppo_trains_environments_and_every_command_knows_the_run(
    capsys, tmp_path, monkeypatch, name, options
):
    monkeypatch.chdir(tmp_path)
    asked = {
        "optimizer": "ppo",
        "trials": 2,
        "steps": 30,
        "hidden": (5,),
        "skip": (),
        **options,
    }
    run = hf.train(name, rollouts=4, **asked)
    part = hf.train(name, rollouts=2, out="parts", **asked)
    np.testing.assert_array_equal(hf.resume(part.path, rollouts=4).theta, run.theta)
    status, out, err = call(capsys, "evaluate", run.path, "--trials", "3")
    assert status == 0 and "over 3 episodes" in out, err
    for command in ("info", "plot-error"):
        assert call(capsys, command, run.path)[0] == 0
    assert call(capsys, "export", run.path)[0] == 0
    for command in ("simulate", "plot", "animate"):
        assert "whose paths no task describes" in complaint(
            capsys, command, run.path, status=2
        )
    controller = hf.Controller.load(run)
    assert controller.act(np.zeros(0), np.zeros(len(controller.observes))).shape == (
        len(controller.controls),
    )


def test_episodes_show_what_the_environment_shows_and_take_what_it_takes(
    capsys, tmp_path
):
    """Not what the plant of the same model shows, which leaves entries out, nor its limits."""
    asked = {
        "optimizer": "ppo",
        "task": "episodes",
        "trials": 2,
        "steps": 20,
        "hidden": (4,),
        "skip": (),
    }
    run = hf.train("gym:Pusher-v5", rollouts=2, out=tmp_path, **asked)
    controller = hf.Controller.load(run)
    assert (
        controller.observes == tuple(f"y{i}" for i in range(23))
        and np.isinf(controller.limit).all()
    )
    assert len(load_plant("gym:Pusher-v5").observation) == 21
    assert "--motor-noise" in complaint(
        capsys, "evaluate", run.path, "--motor-noise", "5%", status=2
    )


def test_what_an_environment_lacks_is_told_in_one_line(monkeypatch):
    def lacking(**kwargs):
        raise gymnasium.error.DependencyNotInstalled("Box2D is not\ninstalled.")

    register(monkeypatch, "Lacking-v0", lacking)
    with pytest.raises(PlantError) as caught:
        make("gym:Lacking-v0")
    assert (
        str(caught.value)
        == "gym:Lacking-v0 needs a package that is not installed: Box2D is not installed"
    )


def test_without_gymnasium_one_line_says_so(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    assert "pip install -e '.[gym]' in hfcontrol's folder" in complaint(
        capsys, "check", PENDULUM, status=2
    )
