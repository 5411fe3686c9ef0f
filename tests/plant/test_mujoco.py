"""MuJoCo models as plants.

They are compared with plant files that have the same equations, and with MuJoCo itself.
Models that cannot be plants are refused.
"""

import json
import os
import sys
from dataclasses import replace

import numpy as np
import pytest
from helpers import training_of
from plant_steps import params_of
from trainings import call, complaint

from hfcontrol.arrays.random import Stream, stream
from hfcontrol.closed_loop.continuous import ContinuousLoop, Estimator
from hfcontrol.errors import PlantError, UsageError
from hfcontrol.evaluation.plant_check import check_plant
from hfcontrol.kernels import compile_plant
from hfcontrol.network.architecture import Architecture
from hfcontrol.network.network import Network
from hfcontrol.plant.modifiers import with_engine
from hfcontrol.plant.registry import load_plant, plants_folder
from hfcontrol.runs.factory import make_trainer, make_wiring
from hfcontrol.runs.settings import Settings
from hfcontrol.tasks.options import TaskOptions
from hfcontrol.tasks.task import Task
from hfcontrol.training.state import Stop

mujoco = pytest.importorskip(
    "mujoco", reason="needs MuJoCo: pip install -e '.[mujoco]' in hfcontrol's folder"
)

REACHER = str(plants_folder() / "mjcf" / "reacher2.xml")
CARTPOLE = str(plants_folder() / "mjcf" / "cartpole.xml")
NO_TAPER = np.full(4, np.inf)

# A pendulum in the plane of x and z. It is driven by a first-order actuator, like a
# muscle, with a control between 0 and 1.
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
    <general name="muscle" joint="swing" dyntype="filter" dynprm="0.05" gainprm="2"
             ctrllimited="true" ctrlrange="0 1"/>
  </actuator>
</mujoco>
"""

# A puck that is pushed up and along a floor, on which it falls. Contacts are solved
# iteratively from a warm start.
PUCK = """
<mujoco>
  <option timestep="0.002"/>
  <worldbody>
    <geom type="plane" size="5 5 1"/>
    <body pos="0 0 0.05">
      <joint name="along" type="slide" axis="1 0 0"/>
      <joint name="up" type="slide" axis="0 0 1"/>
      <joint type="hinge" axis="0 1 0"/>
      <geom type="box" size="0.1 0.1 0.05"/>
    </body>
  </worldbody>
  <actuator><motor joint="along"/><motor joint="up" gear="40"/></actuator>
</mujoco>
"""

ARM = """
<mujoco>
  <worldbody><body><joint name="elbow"/><geom size="0.1"/></body></worldbody>
  <actuator><motor joint="elbow"/></actuator>
</mujoco>
"""


def write(folder, text, name="model.xml"):
    """Write a model with that text and return its path."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def text_element(text):
    """The text element that hfcontrol reads, with that text."""
    return f"<custom><text name=\"hfcontrol\" data='{text}'/></custom>"


def simulate(plant, x0, u):
    """States (T+1, nx, N) from x0 (nx, N) under u (T, nu, N), without a taper."""
    still = np.zeros((len(u), *x0.shape))
    p = params_of(plant, x0.shape[1])
    return compile_plant(plant).simulate(x0, u, p, still, NO_TAPER)


def step_with_mujoco(path, x, u, steps):
    """The state (n,) after some of the model's own time steps, by mj_step.

    The steps start from x (n,) under the actuators' controls u (nu,).
    """
    model = mujoco.MjModel.from_xml_path(str(path))
    data = mujoco.MjData(model)
    qpos, qvel, act = np.split(x, [model.nq, model.nq + model.nv])
    data.qpos[:] = qpos
    data.qvel[:] = qvel
    data.act[:] = act
    data.ctrl[:] = u
    for _ in range(steps):
        mujoco.mj_step(model, data)
    return np.concatenate([data.qpos, data.qvel, data.act])


@pytest.mark.parametrize("path", [REACHER, CARTPOLE])
def test_shipped_models_keep_the_contract(path):
    findings = check_plant(load_plant(path))
    assert len(findings) >= 10
    assert [f for f in findings if not f.ok or f.message] == []


def test_reacher2_equals_arm2(rng):
    """Equations, inertias and integrator are the same, so all agree to rounding."""
    model = load_plant(REACHER)
    formula = load_plant("arm2")
    assert model.state == formula.state
    assert model.output == formula.output
    assert model.dt == formula.dt

    x0 = rng.standard_normal((4, 16))
    u = rng.standard_normal((100, 2, 16))
    x = simulate(model, x0, u)
    expected = simulate(formula, x0, u)
    np.testing.assert_allclose(x[1], expected[1], rtol=0, atol=1e-14)
    np.testing.assert_allclose(x, expected, rtol=0, atol=1e-11)

    plants = (model, formula)
    hands = []
    jacobians = []
    links = []
    for plant in plants:
        kernels = compile_plant(plant)
        p = params_of(plant, 16)
        hands.append(kernels.output(expected, p))
        jacobians.append(kernels.jacobians(expected[:-1], u, p))
        links.append(plant.functions["links"](x0[:, 0], p[:, 0]))
    np.testing.assert_allclose(*hands, rtol=0, atol=1e-13)
    for J, J_expected in zip(*jacobians, strict=True):
        np.testing.assert_allclose(J, J_expected, rtol=0, atol=1e-8)
    np.testing.assert_allclose(*links, rtol=0, atol=1e-14)


def test_cartpole_model_equals_the_plant_file(rng):
    """One second inside the rail; both use the Runge-Kutta method."""
    model = load_plant(CARTPOLE)
    formula = replace(load_plant("cartpole"), dt=0.01)
    assert formula.integrator == "rk4" and formula.substeps == 1
    assert model.state == formula.state and (model.limit == formula.limit).all()
    x0 = rng.uniform(-1, 1, (4, 16)) * np.array([1.0, np.pi, 1.0, 3.0])[:, None]
    u = rng.uniform(-1, 1, (100, 1, 16))
    expected = simulate(formula, x0, u)
    assert np.abs(expected[:, 0]).max() < formula.params["rail"]
    assert np.abs(x0 - expected[-1]).max() > 1
    np.testing.assert_allclose(simulate(model, x0, u), expected, rtol=0, atol=1e-6)


def test_rates_are_those_of_the_plant_file(rng):
    """By `mj_forward`, whose model of the pole rounds its inertia otherwise."""
    rates = load_plant(CARTPOLE).functions["rates_batch"]
    formula = load_plant("cartpole")
    x = rng.uniform(-1, 1, (4, 9)) * np.array([3.0, np.pi, 2.0, 5.0])[:, None]
    u, p = rng.uniform(-1, 1, (1, 9)), params_of(formula, 9)
    found, expected = rates(x, u), np.empty(4)
    for n in range(9):
        formula.functions["dynamics"](x[:, n], u[:, n], p[:, n], expected)
        np.testing.assert_allclose(found[:, n], expected, rtol=0, atol=1e-6)
        # a trial does not depend on the ones before it
        alone = slice(n, n + 1)
        np.testing.assert_array_equal(
            rates(x[:, alone], u[:, alone])[:, 0], found[:, n]
        )


def test_rates_of_activations_are_those_of_mujoco(tmp_path, rng):
    """A filter, a' = (u - a) / 0.05, whose control is measured from its middle."""
    plant = load_plant(write(tmp_path, SWING.replace("EXTRA", "")))
    x, u = rng.standard_normal((3, 5)), rng.uniform(-0.5, 0.5, (1, 5))
    found = plant.functions["rates_batch"](x, u)
    np.testing.assert_array_equal(found[0], x[1])
    np.testing.assert_allclose(found[2], (u[0] + 0.5 - x[2]) / 0.05, rtol=1e-12)
    x[1, 3] = np.inf
    np.testing.assert_array_equal(
        np.isnan(plant.functions["rates_batch"](x, u)).any(axis=0), np.arange(5) == 3
    )


def test_an_engine_gives_the_gradients_of_the_equations():
    """On the source's cost, which the plant file has and the model has not."""
    formula = load_plant("cartpole")
    plants = (formula, with_engine(formula, load_plant(CARTPOLE)))
    found = []
    for plant in plants:
        kernels = compile_plant(plant)
        task = Task(plant, kernels, "poster", TaskOptions(steps=25, trials=3))
        n_input = task.n_target + plant.ny
        network = Network(Architecture((4,), skip=(), recurrent=()), n_input, plant.nu)
        loop = ContinuousLoop(
            plant,
            kernels,
            network,
            task.draw(np.random.default_rng(0)),
            make_wiring(Settings(plant="cartpole", task="poster"), plant),
            Estimator("ctpg", 1e-6, 1e-8),
        )
        theta = 0.3 * np.random.default_rng(1).standard_normal(network.size)
        rollout = loop.rollout(theta)
        found.append((rollout.loss, loop.linearise(rollout).gradient))
    (loss, gradient), (engine_loss, engine_gradient) = found
    assert engine_loss == pytest.approx(loss, rel=1e-8)
    error = np.linalg.norm(engine_gradient - gradient)
    assert error < 1e-6 * np.linalg.norm(gradient)


def test_an_engine_has_the_states_of_the_plant(tmp_path):
    with pytest.raises(UsageError, match=r"move the plant pendulum: .* angle"):
        with_engine(load_plant("pendulum"), load_plant(CARTPOLE))
    with pytest.raises(UsageError, match="cannot move the plant cartpole"):
        with_engine(load_plant("cartpole"), load_plant("cartpole"))


def test_the_solver_sees_states_of_a_simulator_alone():
    settings = {"space": "hand", "hidden": (3,)}
    with pytest.raises(UsageError, match="observe them, and let `space` be joint"):
        trainer, state = training_of(
            REACHER, estimator="ctpg", recurrent=(), **settings
        )
        next(iter(trainer.run(state)))


def test_control_step_equals_steps_of_mujoco(tmp_path, rng):
    """With substeps, activations and an asymmetric range of the control."""
    path = write(tmp_path, SWING.replace("EXTRA", text_element('{"DT": 0.02}')))
    plant = load_plant(path)
    assert plant.state == ("swing", "swing_rate", "muscle_activation")
    assert plant.control == ("muscle",)
    # An activation is neither a position nor a rate.
    assert plant.positions.tolist() == [0] and plant.rates.tolist() == [1]
    assert plant.dt == 0.02 and plant.limit[1] == 0.5
    x = rng.standard_normal((3, 5))
    u = rng.uniform(-0.5, 0.5, (1, 5))
    after = compile_plant(plant).step(x, u, np.empty((0, 5)))
    for n in range(5):
        expected = step_with_mujoco(path, x[:, n], u[:, n] + 0.5, 5)
        np.testing.assert_array_equal(after[:, n], expected)


def test_default_control_step_is_about_ten_milliseconds(tmp_path):
    plain = SWING.replace("EXTRA", "")
    assert load_plant(write(tmp_path, plain)).dt == pytest.approx(0.008)
    slow = plain.replace("0.004", "0.05")
    assert load_plant(write(tmp_path, slow)).dt == pytest.approx(0.05)


def test_hand_and_links_are_in_the_plane_of_the_hinges(tmp_path, rng):
    """The hand of a pendulum of length l is at l (sin q, -cos q) from its hinge."""
    plant = load_plant(write(tmp_path, SWING.replace("EXTRA", "")))
    assert plant.output == ("hand_x", "hand_y", "hand_x_rate", "hand_y_rate")
    q, rate, _ = x = rng.standard_normal((3, 5))
    hand = compile_plant(plant).output(x[None], np.empty((0, 5)))[0]
    arm = 0.5 * np.array([np.sin(q), -np.cos(q), rate * np.cos(q), rate * np.sin(q)])
    hinge = np.array([[0.1], [0.2], [0.0], [0.0]])
    np.testing.assert_allclose(hand, arm + hinge, rtol=0, atol=1e-14)
    links = plant.functions["links"](x[:, 0], ())
    expected = [[0.1, 0.2], hand[:2, 0]]
    np.testing.assert_allclose(links, expected, rtol=0, atol=1e-14)


def test_trial_depends_only_on_its_own_state_and_control(tmp_path, rng, monkeypatch):
    """Bit for bit, with contacts.

    The other trials, their order, the size of blocks and the threads do not matter.
    """
    plant = load_plant(write(tmp_path, PUCK))
    positions = ("along", "up", "joint2")
    assert plant.state == (*positions, "along_rate", "up_rate", "joint2_rate")
    step = compile_plant(plant).step
    x = 0.2 * rng.standard_normal((6, 40))
    x[1] = -0.01  # in the floor
    u = rng.standard_normal((2, 40))
    p = np.empty((0, 40))
    after = step(x, u, p)
    order = rng.permutation(40)
    free = x[4] + plant.dt * (40 * u[1] / 4.0 - 9.81)  # the puck weighs 4 kg
    assert np.mean(np.abs(after[4] - free) > 1e-3) > 0.5  # the floor matters
    np.testing.assert_array_equal(step(x[:, order], u[:, order], p), after[:, order])

    simulator = sys.modules["hfcontrol.plant.simulators.mujoco_simulator"]
    for name, value in (("SMALL", 10**6), ("BLOCK", 100)):
        monkeypatch.setattr(simulator, name, value)
        np.testing.assert_array_equal(step(x, u, p), after)
    alone = [step(x[:, [n]], u[:, [n]], p[:, :1])[:, 0] for n in range(40)]
    np.testing.assert_array_equal(np.array(alone).T, after)


@pytest.mark.parametrize("dt", [0.004, 0.02])
def test_unstable_trial_becomes_nan_and_leaves_the_others_alone(
    tmp_path, monkeypatch, capfd, dt
):
    """MuJoCo itself resets the trial and writes a file into the working folder."""
    strong = SWING.replace("EXTRA", text_element(f'{{"DT": {dt}}}'))
    strong = strong.replace('gainprm="2"', 'gainprm="1e15"')
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


def test_text_element_of_a_model_defines_tasks_and_sizes(tmp_path):
    """Entries of a task replace those of the default task; home is a keyframe."""
    asked = SWING.replace("EXTRA", text_element('{"TASKS": {"reach": {}}}'))
    default = load_plant(write(tmp_path, asked)).tasks["reach"]
    assert default["start"] == (0.0, 0.0, 0.0)
    assert default["radius"] == pytest.approx(0.5 / 4)

    turn = {
        "generator": "around",
        "trials": 3,
        "steps": 5,
        "start": [0, 0, 0],
        "spread": [1, 0, 0],
        "target": [0, 0, 0],
    }
    extras = {
        "TAPER": [9, None, 2],
        "TYPICAL": {"state": [1, 2, 3]},
        "TASKS": {"reach": {"radius": 0.07}, "turn": turn},
    }
    key = '<key name="home" qpos="0.7" qvel="1" act="0.2" ctrl="0.6"/>'
    keyframe = f"<keyframe>{key}</keyframe>"
    text = SWING.replace("EXTRA", text_element(json.dumps(extras)) + keyframe)
    plant = load_plant(write(tmp_path, text))
    success = plant.tasks["reach"]["success"]
    changed = {"start": (0.7, 0.0, 0.2), "radius": 0.07, "success": success}
    # The control at rest is 0.1 above the middle of its range.
    changed["effort_about"] = (pytest.approx(0.1),)
    assert plant.trim == pytest.approx(0.1)
    assert plant.tasks["reach"] == {**default, **changed}
    assert list(plant.tasks) == ["reach", "turn"] and plant.tasks["turn"]["trials"] == 3
    np.testing.assert_array_equal(plant.taper, [9, np.inf, 2])
    np.testing.assert_array_equal(plant.typical_state, [1, 2, 3])
    np.testing.assert_array_equal(plant.typical_control, [0.5])
    scenario = Task(plant, compile_plant(plant), "turn").draw(np.random.default_rng(0))
    assert scenario.x0.shape == (3, 3) and not scenario.x0[1:].any()


def test_default_task_of_a_model_without_a_hand_is_to_stay_at_home(tmp_path):
    plant = load_plant(write(tmp_path, PUCK))
    assert plant.output == plant.state and list(plant.tasks) == ["stay"]
    task = Task(plant, compile_plant(plant))
    scenario = task.draw(np.random.default_rng(0))
    assert np.abs(scenario.x0[:3]).max() <= 0.1 and not scenario.goal.any()


def test_included_files_are_part_of_the_source(tmp_path):
    """A run compares the source to find out whether its plant has changed."""
    write(tmp_path, "<mujoco><option timestep='0.004'/></mujoco>", "clock.xml")
    include = '<include file="clock.xml"/><worldbody>'
    path = write(tmp_path, ARM.replace("<worldbody>", include))
    before = load_plant(path)
    assert before.dt == pytest.approx(0.008)
    assert load_plant(path).source_hash == before.source_hash
    write(tmp_path, "<mujoco><option timestep='0.005'/></mujoco>", "clock.xml")
    after = load_plant(path)
    assert after.dt == pytest.approx(0.01)
    assert after.source_hash != before.source_hash


TETRAHEDRON = """v 0 0 0
v 1 0 0
v 0 1 0
v 0 0 1
f 1 3 2
f 1 2 4
f 1 4 3
f 2 3 4
"""


@pytest.mark.parametrize(
    "compiler, place, name",
    [
        ("", "rod.obj", "rod.obj"),
        ('<compiler meshdir="parts"/>', "parts/rod.obj", "rod.obj"),
        ("<compiler assetdir='parts' strippath='true'/>", "parts/rod.obj", "x/rod.obj"),
    ],
)
def test_a_changed_mesh_changes_the_source(tmp_path, compiler, place, name):
    """Wherever MuJoCo finds it."""
    mesh = tmp_path / place
    mesh.parent.mkdir(exist_ok=True)
    mesh.write_text(TETRAHEDRON)
    asset = f'{compiler}<asset><mesh name="rod" file="{name}"/></asset><worldbody>'
    model = ARM.replace("<worldbody>", asset, 1)
    path = write(tmp_path, model.replace("</body>", ROD, 1))
    before = load_plant(path).source_hash
    assert load_plant(path).source_hash == before
    mesh.write_text(TETRAHEDRON.replace("v 0 0 1", "v 0 0 2"))
    assert load_plant(path).source_hash != before


ROD = '<geom type="mesh" mesh="rod" contype="0" conaffinity="0"/></body>'
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
    "not JSON": (
        ("<worldbody>", text_element("{DT: 1}") + "<worldbody>"),
        "is not JSON",
    ),
    "an unknown word": (
        ("<worldbody>", text_element('{"STEP": 1}') + "<worldbody>"),
        "any of DT, TYPICAL, TAPER, TASKS",
    ),
    "no object": (
        ("<worldbody>", text_element("[1]") + "<worldbody>"),
        "any of DT, TYPICAL, TAPER, TASKS",
    ),
    "a time step of zero": (
        ("<worldbody>", '<option timestep="0"/><worldbody>'),
        "its time step is 0 s; it must be above zero",
    ),
    "a time step that is no number": (
        ("<worldbody>", '<option timestep="nan"/><worldbody>'),
        "its time step is nan s; it must be above zero",
    ),
    "a tiny time step": (
        ("<worldbody>", '<option timestep="1e-9"/><worldbody>'),
        "a control step of 0.01 s is more than 1000 of its time steps, 1e-09 s",
    ),
    "a long control step": (
        ("<worldbody>", text_element('{"DT": 2.002}') + "<worldbody>"),
        "a control step of 2.002 s is more than 1000 of its time steps, 0.002 s",
    ),
    "no multiple": (
        ("<worldbody>", text_element('{"DT": 0.003}') + "<worldbody>"),
        "a multiple of the model's time step, 0.002 s",
    ),
    "no step": (
        ("<worldbody>", text_element('{"DT": "fast"}') + "<worldbody>"),
        "the control step in seconds",
    ),
    "no tasks": (
        ("<worldbody>", text_element('{"TASKS": ["reach"]}') + "<worldbody>"),
        "write a dictionary",
    ),
    "an empty task": (
        ("<worldbody>", text_element('{"TASKS": {"go": {}}}') + "<worldbody>"),
        "TASKS['go']",
    ),
    "too many sizes": (
        (
            "<worldbody>",
            text_element('{"TYPICAL": {"state": [1, 2, 3]}}') + "<worldbody>",
        ),
        "TYPICAL",
    ),
}


@pytest.mark.parametrize("edit, words", BAD.values(), ids=BAD)
def test_mistake_in_a_model_is_reported_in_one_line(tmp_path, edit, words):
    assert edit[0] in ARM
    path = write(tmp_path, ARM.replace(*edit))
    with pytest.raises(PlantError) as caught:
        load_plant(path)
    message = str(caught.value)
    assert message.startswith("model.xml: ")
    assert words in message and "\n" not in message


@pytest.mark.skipif(
    not hasattr(mujoco.mjtState, "mjSTATE_HISTORY"),
    reason="this version of MuJoCo has no delays",
)
def test_model_with_more_than_positions_rates_and_activations_is_refused(tmp_path):
    """A delayed command is none of these."""
    motor = '<motor joint="elbow" delay="0.02" nsample="11"/>'
    delayed = ARM.replace('<motor joint="elbow"/>', motor)
    with pytest.raises(PlantError, match="more than positions, rates and activations"):
        load_plant(write(tmp_path, delayed))


def test_missing_file_is_reported_in_one_line(tmp_path, capsys):
    line = complaint(capsys, "check", tmp_path / "gone.xml", status=2)
    assert "gone.xml" in line and "check the path" in line


@pytest.mark.parametrize(
    "pipe, named",
    [
        ("model.xml", None),
        ("part.xml", '<include file="part.xml"/>'),
        ("part.stl", '<asset><mesh file="elsewhere/part.stl"/></asset>'),
        ("parts/part.stl", '<asset><mesh file="parts/part.stl"/></asset>'),
        ("pipe.xml", '<include file="whole.xml"/>'),
    ],
)
def test_pipe_in_the_place_of_a_file_of_a_model_is_refused(tmp_path, pipe, named):
    """Reading it would wait for ever, also in a file that another one includes."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "whole.xml").write_text('<mujoco><include file="pipe.xml"/></mujoco>')
    os.mkfifo(tmp_path / pipe)
    if named:
        write(tmp_path, ARM.replace("<worldbody>", f"{named}<worldbody>"))
    with pytest.raises(PlantError, match=r"cannot read .*it is no regular file"):
        load_plant(tmp_path / "model.xml")


def test_missing_mujoco_is_reported_in_one_line(monkeypatch, capsys):
    prefix = "hfcontrol.plant.simulators.mujoco"
    for name in [name for name in sys.modules if name.startswith(prefix)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mujoco", None)
    line = complaint(capsys, "check", REACHER, status=2)
    assert "pip install -e '.[mujoco]' in hfcontrol's folder" in line


def test_command_line_checks_a_model(capsys):
    status, out, _ = call(capsys, "check", CARTPOLE)
    last = f"cartpole is fine: hfcontrol train --plant {CARTPOLE}\n"
    assert status == 0 and out.endswith(last)


@pytest.mark.slow
def test_reacher2_is_trained_in_few_rollouts():
    """To within 2 % of the optimum.

    For a plant that is not compiled, `auto` chooses the hold `model`. Every second
    rollout is one of the validation trials.
    """
    settings = Settings(plant=REACHER, trials=16, target_ratio=1.02, rollouts=30)
    trainer = make_trainer(settings)
    state = trainer.init(
        trainer.network.initial(stream(settings.seed, Stream.WEIGHTS)),
        stream(settings.seed, Stream.SCENARIOS),
    )
    *_, done = trainer.run(state)
    assert state.hold.kind == done.state.hold.kind == "model" and done.loop.trials == 16
    assert done.stop == Stop.TARGET and done.state.rollouts <= 30
