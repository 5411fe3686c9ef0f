"""MuJoCo models as plants: against the plant files with the same equations, against MuJoCo itself, and what is refused."""

import os
import sys
from dataclasses import replace

import numpy as np
import pytest
from trainings import call, complaint

from hfcontrol.arrays.random import Stream, stream
from hfcontrol.errors import PlantError
from hfcontrol.evaluation.plant_check import check_plant
from hfcontrol.kernels import compile_plant
from hfcontrol.plant.registry import load_plant, plants_folder
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.settings import Settings
from hfcontrol.tasks.task import Task
from hfcontrol.training.state import Stop

mujoco = pytest.importorskip(
    "mujoco", reason="needs MuJoCo: pip install -e '.[mujoco]' in hfcontrol's folder"
)

REACHER, CARTPOLE = (
    str(plants_folder() / "mjcf" / f"{name}.xml") for name in ("reacher2", "cartpole")
)
NOTHING = np.full(4, np.inf)  # no taper

# A pendulum in the plane of x and z, driven by a muscle-like actuator of first order whose control lies between 0 and 1.
SWING = """
<mujoco>
  <option timestep="0.004" integrator="RK4"/>
  EXTRA
  <worldbody>
    <body pos="0.1 0 0.2">
      <joint name="swing" axis="0 -1 0" damping="0.01"/>
      <geom type="capsule" fromto="0 0 0 0 0 -0.5" size="0.02"/>
      <site name="fingertip" pos="0 0 -0.5"/>
    </body>
  </worldbody>
  <actuator>
    <general name="muscle" joint="swing" dyntype="filter" dynprm="0.05" gainprm="2" ctrllimited="true" ctrlrange="0 1"/>
  </actuator>
</mujoco>
"""

# A puck that is pushed up and along a floor, which it falls on: contacts, solved iteratively from a warm start.
PUCK = """
<mujoco>
  <option timestep="0.002"/>
  <worldbody>
    <geom type="plane" size="5 5 1"/>
    <body pos="0 0 0.05">
      <joint type="slide" axis="1 0 0"/>
      <joint type="slide" axis="0 0 1"/>
      <joint type="hinge" axis="0 1 0"/>
      <geom type="box" size="0.1 0.1 0.05"/>
    </body>
  </worldbody>
  <actuator><motor joint="joint0"/><motor joint="joint1" gear="40"/></actuator>
</mujoco>
""".replace("joint type", "joint NAME type", 2)
PUCK = PUCK.replace("NAME", 'name="along"', 1).replace("NAME", 'name="up"', 1)
PUCK = PUCK.replace("joint0", "along").replace("joint1", "up")

ARM = """
<mujoco>
  <worldbody><body><joint name="elbow"/><geom size="0.1"/></body></worldbody>
  <actuator><motor joint="elbow"/></actuator>
</mujoco>
"""


def write(folder, text, name="model.xml"):
    """The path of a model with that text."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def said(text):
    """The text element that says to hfcontrol what a plant file would."""
    return f"<custom><text name=\"hfcontrol\" data='{text}'/></custom>"


def params_of(plant, trials):
    """The plant's own parameters for every trial (np, N)."""
    return np.repeat(
        np.array(list(plant.params.values())).reshape(-1, 1), trials, axis=1
    )


def trajectory(plant, x0, u, taper=NOTHING):
    """States (T+1, nx, N) from x0 (nx, N) under u (T, nu, N)."""
    still = np.zeros((len(u), *x0.shape))
    return compile_plant(plant).simulate(
        x0, u, params_of(plant, x0.shape[1]), still, taper
    )


def stepped_by_mujoco(path, x, u, steps):
    """The state (n,) after some of the model's own time steps from x (n,) under the actuators' control u (nu,)."""
    model = mujoco.MjModel.from_xml_path(str(path))
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:], data.act[:] = np.split(
        x, [model.nq, model.nq + model.nv]
    )
    data.ctrl[:] = u
    for _ in range(steps):
        mujoco.mj_step(model, data)
    return np.concatenate([data.qpos, data.qvel, data.act])


@pytest.mark.parametrize("path", [REACHER, CARTPOLE])
def test_the_shipped_models_keep_the_contract(path):
    findings = check_plant(load_plant(path))
    assert len(findings) >= 10
    assert [f for f in findings if not f.ok or f.message] == []


def test_the_reacher_is_arm2(rng):
    """The same equations, inertias and integrator: every step and trajectory agrees to rounding."""
    model, formula = load_plant(REACHER), load_plant("arm2")
    assert (model.state, model.output, model.dt) == (
        formula.state,
        formula.output,
        formula.dt,
    )
    x0, u = rng.standard_normal((4, 16)), rng.standard_normal((100, 2, 16))
    x, expected = (trajectory(plant, x0, u) for plant in (model, formula))
    np.testing.assert_allclose(x[1], expected[1], rtol=0, atol=1e-14)
    np.testing.assert_allclose(x, expected, rtol=0, atol=1e-11)
    hands = [
        compile_plant(plant).output(expected, params_of(plant, 16))
        for plant in (model, formula)
    ]
    np.testing.assert_allclose(*hands, rtol=0, atol=1e-13)
    pair = [
        compile_plant(plant).jacobians(expected[:-1], u, params_of(plant, 16))
        for plant in (model, formula)
    ]
    for J, J_expected in zip(*pair):
        np.testing.assert_allclose(J, J_expected, rtol=0, atol=1e-8)
    links = [
        plant.functions["links"](x0[:, 0], params_of(plant, 1)[:, 0])
        for plant in (model, formula)
    ]
    np.testing.assert_allclose(*links, rtol=0, atol=1e-14)


def test_the_cartpole_is_the_formula(rng):
    """One second inside the rail, by the Runge-Kutta method on both sides."""
    model, formula = load_plant(CARTPOLE), replace(load_plant("cartpole"), dt=0.01)
    assert formula.integrator == "rk4" and formula.substeps == 1
    assert model.state == formula.state and model.limit == formula.limit
    x0 = rng.uniform(-1, 1, (4, 16)) * np.array([1.0, np.pi, 1.0, 3.0])[:, None]
    u = rng.uniform(-1, 1, (100, 1, 16))
    x, expected = (trajectory(plant, x0, u) for plant in (model, formula))
    assert (
        np.abs(expected[:, 0]).max() < formula.params["rail"]
        and np.abs(x0 - expected[-1]).max() > 1
    )
    np.testing.assert_allclose(x, expected, rtol=0, atol=1e-6)


def test_a_control_step_is_mujocos_own_steps(tmp_path, rng):
    """Substeps, activations and an asymmetric range, against MuJoCo's mj_step."""
    path = write(tmp_path, SWING.replace("EXTRA", said('{"DT": 0.02}')))
    plant = load_plant(path)
    assert plant.state == (
        "swing",
        "swing_rate",
        "muscle_activation",
    ) and plant.control == ("muscle",)
    assert plant.dt == 0.02 and plant.limit == 0.5
    x, u = rng.standard_normal((3, 5)), rng.uniform(-0.5, 0.5, (1, 5))
    after = compile_plant(plant).step(x, u, np.empty((0, 5)))
    expected = np.array(
        [stepped_by_mujoco(path, x[:, n], u[:, n] + 0.5, 5) for n in range(5)]
    ).T
    np.testing.assert_array_equal(after, expected)


def test_without_wishes_the_control_step_is_near_ten_milliseconds(tmp_path):
    assert load_plant(write(tmp_path, SWING.replace("EXTRA", ""))).dt == pytest.approx(
        0.008
    )
    slow = SWING.replace("EXTRA", "").replace("0.004", "0.05")
    assert load_plant(write(tmp_path, slow)).dt == pytest.approx(0.05)


def test_the_hand_and_the_links_lie_in_the_plane_of_the_hinges(tmp_path, rng):
    """A pendulum of length l about a point: the hand is at l (sin q, -cos q) from there, with the rate of that."""
    plant = load_plant(write(tmp_path, SWING.replace("EXTRA", "")))
    assert plant.output == ("hand_x", "hand_y", "hand_x_rate", "hand_y_rate")
    q, rate, _ = x = rng.standard_normal((3, 5))
    hand = compile_plant(plant).output(x[None], np.empty((0, 5)))[0]
    arm = 0.5 * np.array([np.sin(q), -np.cos(q), rate * np.cos(q), rate * np.sin(q)])
    np.testing.assert_allclose(
        hand, arm + np.array([[0.1], [0.2], [0.0], [0.0]]), rtol=0, atol=1e-14
    )
    np.testing.assert_allclose(
        plant.functions["links"](x[:, 0], ()),
        [[0.1, 0.2], hand[:2, 0]],
        rtol=0,
        atol=1e-14,
    )


def test_a_trial_depends_on_its_own_state_and_control_alone(tmp_path, rng, monkeypatch):
    """Bit for bit, with contacts: in any order, among any others, in pieces of any size, and on other threads."""
    plant = load_plant(write(tmp_path, PUCK))
    assert plant.state == (
        "along",
        "up",
        "joint2",
        "along_rate",
        "up_rate",
        "joint2_rate",
    )
    step = compile_plant(plant).step
    x = 0.2 * rng.standard_normal((6, 40))
    x[1] = -0.01  # in the floor
    u, p = rng.standard_normal((2, 40)), np.empty((0, 40))
    after, order = step(x, u, p), rng.permutation(40)
    free = x[4] + plant.dt * (40 * u[1] / 4.0 - 9.81)  # the puck weighs 4 kg
    assert np.mean(np.abs(after[4] - free) > 1e-3) > 0.5  # the floor matters
    np.testing.assert_array_equal(step(x[:, order], u[:, order], p), after[:, order])
    for name, value in (("SMALL", 10**6), ("BLOCK", 100)):
        monkeypatch.setattr(
            sys.modules["hfcontrol.plant.simulators.mujoco_simulator"],
            name,
            value,
        )
        np.testing.assert_array_equal(step(x, u, p), after)
    alone = [step(x[:, [n]], u[:, [n]], p[:, :1])[:, 0] for n in range(40)]
    np.testing.assert_array_equal(np.array(alone).T, after)


@pytest.mark.parametrize("dt", [0.004, 0.02])
def test_an_unstable_trial_is_not_a_number_and_the_others_go_on(
    tmp_path, monkeypatch, capfd, dt
):
    """MuJoCo would put such a trial back to its first state and write a file into the working folder."""
    strong = SWING.replace("EXTRA", said(f'{{"DT": {dt}}}')).replace(
        'gainprm="2"', 'gainprm="1e15"'
    )
    plant = load_plant(write(tmp_path, strong))
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    x = np.array(
        [
            [0.1, 0.0, 0.0],
            [np.nan, 0.0, 0.0],
            [0.1, 1e11, 0.0],
            [0.1, 0.0, 1.0],
            [0.1, 0.0, 0.0],
        ]
    ).T
    after = compile_plant(plant).step(x, np.full((1, 5), -0.5), np.empty((0, 5)))
    assert np.isnan(after[:, 1:4]).all()
    np.testing.assert_array_equal(after[:, 4], after[:, 0])
    assert np.isfinite(after[:, 0]).all() and (after[:, 0] != x[:, 0]).any()
    assert os.listdir(empty) == [] and capfd.readouterr() == ("", "")


def test_a_model_says_its_tasks_as_a_plant_file_does(tmp_path):
    """Entries go over those of the task made of the model, whose home is a keyframe."""
    own = load_plant(write(tmp_path, SWING.replace("EXTRA", ""))).tasks
    assert own["reach"]["start"] == (0.0, 0.0) and own["reach"][
        "radius"
    ] == pytest.approx(0.5 / 4)
    home = (
        said(
            '{"TAPER": [9, null, 2], "TYPICAL": {"state": [1, 2, 3]}, "TASKS": {"reach": {"radius": 0.07}, "turn": '
            '{"generator": "around", "trials": 3, "steps": 5, "start": [0, 0, 0], "spread": [1, 0, 0], '
            '"target": [0, 0, 0]}}}'
        )
        + '<keyframe><key name="home" qpos="0.7" qvel="1" act="0.2"/></keyframe>'
    )
    plant = load_plant(write(tmp_path, SWING.replace("EXTRA", home)))
    assert plant.tasks["reach"] == {
        **own["reach"],
        "start": (0.7, 0.2),
        "radius": 0.07,
        "success": plant.tasks["reach"]["success"],
    }
    assert list(plant.tasks) == ["reach", "turn"] and plant.tasks["turn"]["trials"] == 3
    np.testing.assert_array_equal(plant.taper, [9, np.inf, 2])
    np.testing.assert_array_equal(plant.typical_state, [1, 2, 3])
    np.testing.assert_array_equal(plant.typical_control, [0.5])
    scenario = Task(plant, compile_plant(plant), "turn").draw(np.random.default_rng(0))
    assert scenario.x0.shape == (3, 3) and not scenario.x0[1:].any()


def test_a_model_without_a_hand_is_to_stay_at_home(tmp_path):
    plant = load_plant(write(tmp_path, PUCK))
    assert plant.output == plant.state and list(plant.tasks) == ["hold"]
    task = Task(plant, compile_plant(plant))
    scenario = task.draw(np.random.default_rng(0))
    assert np.abs(scenario.x0[:3]).max() <= 0.1 and not scenario.goal.any()


def test_what_a_model_includes_is_part_of_its_source(tmp_path):
    """A run compares the source to tell whether its plant has changed."""
    write(tmp_path, "<mujoco><option timestep='0.004'/></mujoco>", "clock.xml")
    path = write(
        tmp_path, ARM.replace("<worldbody>", '<include file="clock.xml"/><worldbody>')
    )
    before = load_plant(path)
    assert (
        before.dt == pytest.approx(0.008)
        and load_plant(path).source_hash == before.source_hash
    )
    write(tmp_path, "<mujoco><option timestep='0.005'/></mujoco>", "clock.xml")
    assert (
        load_plant(path).dt == pytest.approx(0.01)
        and load_plant(path).source_hash != before.source_hash
    )


FREE = '<body><freejoint name="root"/><geom size="0.1"/></body></worldbody>'
BAD = {
    "a free joint": (("</worldbody>", FREE), "joint root is a free or ball joint"),
    "a ball joint": (
        ('name="elbow"/>', 'name="elbow" type="ball"/>'),
        "joint elbow is a free or ball joint",
    ),
    "not XML": (("<worldbody>", "<worldbody"), "MuJoCo cannot load it"),
    "an unknown element": (("<geom ", "<cube "), "cube"),
    "no joint": ((ARM, "<mujoco/>"), "the model has no joints"),
    "no actuator": (('<motor joint="elbow"/>', ""), "the model has no actuators"),
    "two names alike": (
        (
            '<geom size="0.1"/>',
            '<geom size="0.1"/><joint name="elbow_rate" axis="1 0 0"/>',
        ),
        "a name twice",
    ),
    "not JSON": (("<worldbody>", said("{DT: 1}") + "<worldbody>"), "is not JSON"),
    "an unknown word": (
        ("<worldbody>", said('{"STEP": 1}') + "<worldbody>"),
        "any of DT, TYPICAL, TAPER, TASKS",
    ),
    "no object": (
        ("<worldbody>", said("[1]") + "<worldbody>"),
        "any of DT, TYPICAL, TAPER, TASKS",
    ),
    "no multiple": (
        ("<worldbody>", said('{"DT": 0.003}') + "<worldbody>"),
        "a multiple of the model's time step, 0.002 s",
    ),
    "no step": (
        ("<worldbody>", said('{"DT": "fast"}') + "<worldbody>"),
        "the control step in seconds",
    ),
    "no tasks": (
        ("<worldbody>", said('{"TASKS": ["reach"]}') + "<worldbody>"),
        "write a dictionary",
    ),
    "an empty task": (
        ("<worldbody>", said('{"TASKS": {"go": {}}}') + "<worldbody>"),
        "TASKS['go']",
    ),
    "too many sizes": (
        ("<worldbody>", said('{"TYPICAL": {"state": [1, 2, 3]}}') + "<worldbody>"),
        "TYPICAL",
    ),
}


@pytest.mark.parametrize("edit, words", BAD.values(), ids=BAD)
def test_what_is_wrong_with_a_model_is_told_in_one_line(tmp_path, edit, words):
    assert edit[0] in ARM
    path = write(tmp_path, ARM.replace(*edit))
    with pytest.raises(PlantError) as caught:
        load_plant(path)
    message = str(caught.value)
    assert (
        message.startswith("model.xml: ") and words in message and "\n" not in message
    )


@pytest.mark.skipif(
    not hasattr(mujoco.mjtState, "mjSTATE_HISTORY"),
    reason="this MuJoCo knows no delays",
)
def test_a_model_that_keeps_more_than_its_state_is_refused(tmp_path):
    """A delayed command is neither a position, a rate nor an activation."""
    delayed = ARM.replace(
        '<motor joint="elbow"/>', '<motor joint="elbow" delay="0.02" nsample="11"/>'
    )
    with pytest.raises(PlantError, match="more than positions, rates and activations"):
        load_plant(write(tmp_path, delayed))


def test_a_model_in_another_encoding_is_refused(tmp_path):
    path = tmp_path / "model.xml"
    path.write_bytes(
        ARM.replace("<worldbody>", "<!-- \u00e9 --><worldbody>", 1).encode("latin-1")
    )
    with pytest.raises(
        PlantError,
        match="model.xml: its text, or that of a file it includes, cannot be read",
    ):
        load_plant(path)


def test_a_missing_file_is_told_in_one_line(tmp_path, capsys):
    line = complaint(capsys, "check", tmp_path / "gone.xml", status=2)
    assert "gone.xml" in line and "check the path" in line


def test_a_missing_package_is_told_in_one_line(monkeypatch, capsys):
    for name in [
        name
        for name in sys.modules
        if name.startswith("hfcontrol.plant.simulators.mujoco")
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mujoco", None)
    line = complaint(capsys, "check", REACHER, status=2)
    assert "pip install -e '.[mujoco]' in hfcontrol's folder" in line


def test_the_command_line_takes_a_model(capsys):
    status, out, _ = call(capsys, "check", CARTPOLE)
    assert status == 0 and out.endswith(
        f"cartpole is fine: hfcontrol train --plant {CARTPOLE}\n"
    )


@pytest.mark.slow
def test_the_reacher_is_trained_in_a_handful_of_rollouts():
    """64 targets to within 2 % of the optimum, by the hold that `auto` takes for a plant that is not compiled."""
    settings = Settings(plant=REACHER, target_ratio=1.02, rollouts=20)
    trainer = make_trainer(settings)
    state = trainer.init(
        trainer.network.initial(stream(settings.seed, Stream.WEIGHTS)),
        stream(settings.seed, Stream.SCENARIOS),
    )
    *_, done = trainer.run(state)
    assert state.hold.kind == done.state.hold.kind == "model" and done.loop.trials == 64
    assert done.stop == Stop.TARGET and done.state.rollouts <= 20
