"""Default tasks of MuJoCo models, their names, and the files that they are made of."""

import multiprocessing

import numpy as np
import pytest

from hfcontrol.errors import PlantError
from hfcontrol.kernels import compile_plant
from hfcontrol.plant.registry import load_plant
from hfcontrol.tasks.scenario import SPLITS
from hfcontrol.tasks.task import Task

mujoco = pytest.importorskip(
    "mujoco", reason="needs MuJoCo: pip install -e '.[mujoco]' in hfcontrol's folder"
)

# A gripper of two fingers, of which the second follows the first. Their range is
# smaller than an angle of 0.1.
GRIPPER = """
<mujoco>
  <worldbody>
    <body><joint name="left" type="slide" axis="1 0 0" range="0 0.04" limited="true"/>
      <geom size=".01" contype="0"/></body>
    <body><joint name="right" type="slide" axis="-1 0 0" range="0 0.04" limited="true"/>
      <geom size=".01" contype="0"/></body>
  </worldbody>
  <equality><joint joint1="right" joint2="left"/></equality>
  <actuator><position joint="left" kp="100" ctrlrange="0 .04"/></actuator>
  <keyframe><key name="home" qpos="HOME" ctrl="0.03"/></keyframe>
</mujoco>
"""

# Four rods in a ring, held together by a constraint between the first and the last.
RING = """
<mujoco>
  <option gravity="0 0 0"/>
  <worldbody>
    <body name="a"><joint name="a" axis="0 1 0"/><geom type="capsule" size=".02"
      fromto="0 0 0 1 0 0"/>
      <body name="b" pos="1 0 0"><joint name="b" axis="0 1 0"/><geom type="capsule"
        size=".02" fromto="0 0 0 0 0 1"/>
        <body name="c" pos="0 0 1"><joint name="c" axis="0 1 0"/><geom type="capsule"
          size=".02" fromto="0 0 0 -1 0 0"/></body></body></body>
    <body name="d"><joint name="d" axis="0 1 0"/><geom type="capsule" size=".02"
      fromto="0 0 0 0 0 1"/></body>
  </worldbody>
  <equality><connect body1="c" body2="d" anchor="-1 0 0"/></equality>
  <actuator><motor joint="a" ctrlrange="-1 1"/></actuator>
</mujoco>
"""

# An arm of two links with a hand; ELBOW is the range of the second joint.
ARM = """
<mujoco>
  <worldbody><body><joint name="shoulder" axis="0 1 0"/>
    <geom type="capsule" size=".03" fromto="0 0 0 .4 0 0"/>
    <body pos=".4 0 0"><joint name="elbow" axis="0 1 0" limited="true" range="ELBOW"/>
      <geom type="capsule" size=".03" fromto="0 0 0 .4 0 0"/>
      <site name="hand" pos=".4 0 0"/></body></body></worldbody>
  <actuator><motor joint="shoulder"/><motor joint="elbow"/></actuator>
  <keyframe><key name="home" qpos="HOME"/></keyframe>
</mujoco>
"""

ROD = '<geom type="capsule" size=".02" fromto="0 0 0 .5 0 0"/>'


def model_of(plant):
    """MuJoCo's model behind a plant."""
    return plant.functions["step_batch"].__self__.model


def load(folder, text):
    """The plant of a model with that text."""
    path = folder / "model.xml"
    path.write_text(text, encoding="utf-8")
    return load_plant(path)


def draw(plant, name, split):
    """Starts and final goals of a task, positions (nq, 2N)."""
    scenario = Task(plant, compile_plant(plant), name).draw(
        np.random.default_rng(0), split
    )
    nq = model_of(plant).nq
    return np.hstack([scenario.x0[:nq], scenario.goal[-1, :nq]])


def violation(model, q):
    """Largest violation of the model's equality constraints, by MuJoCo itself."""
    data = mujoco.MjData(model)
    data.qpos[:] = q
    mujoco.mj_forward(model, data)
    is_equality = data.efc_type == mujoco.mjtConstraint.mjCNSTR_EQUALITY
    return np.abs(data.efc_pos[is_equality]).max()


# Home inside, at the end, and outside of the ranges or off the constraints.
@pytest.mark.parametrize("home", ["0.02 0.02", "0.04 0.04", "0 0", "0.09 0.09"])
@pytest.mark.parametrize("split", SPLITS)
def test_starts_and_goals_are_in_the_ranges_and_keep_constraints(tmp_path, home, split):
    plant = load(tmp_path, GRIPPER.replace("HOME", home))
    q = draw(plant, "stay", split)
    assert q.min() >= 0.0 and q.max() <= 0.04
    np.testing.assert_allclose(q[0], q[1], rtol=0, atol=1e-9)
    # A spread in parts of the range: 4 mm in each direction that has room.
    assert 0.0015 < np.ptp(q[0]) <= 0.008 + 1e-12


def test_loop_of_bodies_is_closed_at_the_start(tmp_path):
    plant = load(tmp_path, RING)
    q = draw(plant, "stay", "training")
    assert np.ptp(q, axis=1).min() > 0.05
    assert max(violation(model_of(plant), column) for column in q.T) < 1e-9


def test_constraints_of_any_task_are_kept_and_free_states_stay_free(tmp_path):
    """A goal (T+1, n, N) of a task of the model's own; NaN is no number to correct."""
    plant = load(tmp_path, RING)
    rng = np.random.default_rng(1)
    goal = 0.2 * rng.standard_normal((3, 8, 2))
    goal[:, 4:] = np.nan
    settled = plant.settle(goal)
    assert np.isnan(settled[:, 4:]).all()
    for state in np.moveaxis(settled, 1, 2).reshape(-1, 8):
        assert violation(model_of(plant), state[:4]) < 1e-9


def test_plants_without_constraints_are_left_alone(tmp_path):
    text = GRIPPER.replace("HOME", "0.02 0.02")
    free = text.replace('<joint joint1="right" joint2="left"/>', "")
    assert load(tmp_path, text).settle is not None
    assert load(tmp_path, free).settle is None and load_plant("arm2").settle is None


# The circle is about the hand at home, with a quarter of its distance as radius.
@pytest.mark.parametrize(
    "home, elbow, tasks",
    [
        ("-0.7 1.2", "-3 3", ["reach", "stay"]),
        # The whole circle leaves the arm's reach, a smaller one does not.
        ("-0.3 0.9", "-3 3", ["reach", "stay"]),
        # A straight arm, and an elbow at the end of its range.
        ("0 0", "-3 3", ["stay"]),
        ("-0.7 1.2", "1.2 3", ["stay"]),
    ],
)
def test_reach_is_offered_where_the_hand_can_follow_a_circle(
    tmp_path, home, elbow, tasks
):
    text = ARM.replace("HOME", home).replace('"ELBOW"', f'"{elbow}"')
    plant = load(
        tmp_path, text.replace("<mujoco>", '<mujoco><compiler angle="radian"/>')
    )
    assert list(plant.tasks) == tasks
    low, high = map(float, elbow.split())
    for name in tasks:
        for split in SPLITS:
            q = draw(plant, name, split)
            assert low <= q[1].min() and q[1].max() <= high


def test_mocap_bodies_are_where_the_keyframe_has_them(tmp_path):
    """A rod whose end is connected to a mocap body, which hangs down there at home."""
    text = f"""
    <mujoco>
      <worldbody>
        <body name="goal" mocap="true" pos=".5 0 0"><geom size=".01" contype="0"
          conaffinity="0"/></body>
        <body name="rod"><joint name="hinge" axis="0 1 0"/>{ROD}</body>
      </worldbody>
      <equality><connect body1="rod" body2="goal" anchor=".5 0 0"/></equality>
      <actuator><motor joint="hinge"/></actuator>
      <keyframe><key name="home" qpos="0" mpos="0 0 -.5"/></keyframe>
    </mujoco>"""
    plant = load(tmp_path, text)
    home = plant.tasks["stay"]["target"]
    assert home[0] == pytest.approx(np.pi / 2, abs=1e-6)
    x = np.array(home)[:, None]
    after = compile_plant(plant).step(x, np.zeros((1, 1)), np.zeros((0, 1)))
    np.testing.assert_allclose(after, x, rtol=0, atol=1e-6)


def names_of(folder, joints, actuators="<motor joint='JOINT'/>"):
    """State and control names of a chain with these joints; one rod each."""
    body = ""
    for joint in reversed(joints):
        body = f"<body>{joint}{ROD}{body}</body>"
    text = f"<mujoco><worldbody>{body}</worldbody>"
    text += f"<actuator>{actuators}</actuator></mujoco>"
    plant = load(folder, text)
    return plant.state, plant.control, plant.positions.tolist(), plant.rates.tolist()


def test_unnamed_joints_and_actuators_get_names_that_are_free(tmp_path):
    joints = ['<joint name="joint1"/>', "<joint/>", '<joint name="joint1_2"/>']
    actuators = '<motor name="actuator1" joint="joint1"/><motor joint="joint1"/>'
    state, control, positions, rates = names_of(tmp_path, joints, actuators)
    assert len(set(state)) == 6 and state[0] == "joint1" and state[2] == "joint1_2"
    assert len(set(control)) == 2 and control[0] == "actuator1"
    assert positions == [0, 1, 2] and rates == [3, 4, 5]


def test_joint_with_the_name_of_a_rate_gets_another_name(tmp_path):
    joints = [f'<joint name="{name}"/>' for name in ("a", "a_rate", "a_rate_rate")]
    actuator = '<motor joint="a"/>'
    state, _, positions, rates = names_of(tmp_path, joints, actuator)
    assert len(set(state)) == 6 and state[0] == "a" and state[3] == "a_rate"
    assert positions == [0, 1, 2] and rates == [3, 4, 5]


def test_activations_get_names_of_their_own(tmp_path):
    joints = ['<joint name="a"/>', '<joint name="m_activation"/>']
    actuator = '<general name="m" joint="a" dyntype="integrator"/>'
    state, *_ = names_of(tmp_path, joints, actuator)
    assert len(set(state)) == 5 and state[:2] == ("a", "m_activation")


SWING = f"<worldbody><body><joint name='pivot'/>{ROD}</body></worldbody>"
MOTOR = "<actuator><motor joint='pivot'/></actuator>"
TEXTS = {
    "two dashes": f"<mujoco><!-- a -- b -->{SWING}{MOTOR}</mujoco>".encode(),
    "latin-1": f'<?xml version="1.0" encoding="ISO-8859-1"?><mujoco model="Bügel">'
    f"{SWING}{MOTOR}</mujoco>".encode("latin-1"),
    "latin-1 without saying so": f"<mujoco><!-- ü -->{SWING}{MOTOR}</mujoco>".encode(
        "latin-1"
    ),
}


@pytest.mark.parametrize("content", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("name", ["model.xml", "MODEL.XML"])
def test_text_that_mujoco_loads_is_loaded(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    plant = load_plant(path)
    assert plant.state == ("pivot", "pivot_rate")
    # A checkpoint stores it as UTF-8.
    assert plant.source.encode()


def test_every_file_of_a_model_is_part_of_its_hash(tmp_path):
    """Includes of includes, by the folder of the including file, and a height field."""
    inner = tmp_path / "parts" / "more"
    inner.mkdir(parents=True)
    option = inner / "option.xml"
    option.write_text("<mujoco><option timestep='0.005'/></mujoco>")
    arm = "<mujoco><include file='more/option.xml'/>" + SWING + "</mujoco>"
    (tmp_path / "parts" / "arm.xml").write_text(arm)
    field = tmp_path / "field.bin"
    shape = np.array([2, 2], dtype=np.int32).tobytes()
    field.write_bytes(shape + np.arange(4, dtype=np.float32).tobytes())
    asset = "<asset><hfield name='f' file='field.bin' size='1 1 1 1'/></asset>"
    text = f"<mujoco><include file='parts/arm.xml'/>{asset}{MOTOR}</mujoco>"

    plant = load(tmp_path, text)
    assert plant.dt == pytest.approx(0.01)
    hashes = {plant.source_hash}
    option.write_text("<mujoco><option timestep='0.0050'/></mujoco>")
    hashes.add(load(tmp_path, text).source_hash)
    field.write_bytes(shape + np.arange(4, dtype=np.float32)[::-1].tobytes())
    hashes.add(load(tmp_path, text).source_hash)
    assert len(hashes) == 3


def test_plant_steps_in_a_forked_process(tmp_path):
    """The threads of the parent do not exist there."""
    plant = load(tmp_path, GRIPPER.replace("HOME", "0.02 0.02"))
    x = 0.02 + 1e-3 * np.random.default_rng(0).standard_normal((4, 600))
    u, p = np.zeros((1, 600)), np.zeros((0, 600))
    expected = compile_plant(plant).step(x, u, p)

    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(
        target=lambda: sender.send(compile_plant(plant).step(x, u, p))
    )
    child.start()
    try:
        assert receiver.poll(60), "the forked process hangs"
        np.testing.assert_array_equal(receiver.recv(), expected)
    finally:
        child.kill()
        child.join()


def test_fault_of_a_model_is_one_line(tmp_path):
    with pytest.raises(PlantError) as caught:
        load(tmp_path, "<mujoco><include file='gone.xml'/></mujoco>")
    assert "\n" not in str(caught.value) and "gone.xml" in str(caught.value)


def test_loading_prints_and_writes_nothing(tmp_path, monkeypatch, capfd):
    """MuJoCo would write its warning into a file in the working folder."""
    monkeypatch.chdir(tmp_path)
    compiler = "<compiler settotalmass='1'/>"
    load(tmp_path, f"<mujoco>{compiler}{SWING}{MOTOR}</mujoco>")
    assert [path.name for path in tmp_path.iterdir()] == ["model.xml"]
    assert capfd.readouterr() == ("", "")
