"""Controllers in Python, C, npz and ONNX act as in the closed loop; wrong uses."""

import ctypes
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from trainings import call, complaint

import hfcontrol as hf
from hfcontrol.deploy.controller import Controller
from hfcontrol.deploy.export import export_controller
from hfcontrol.errors import NumberError, UsageError
from hfcontrol.network.cells import CELLS
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.interface import Interface
from hfcontrol.runs.settings import Settings

different_cells = pytest.mark.parametrize(
    "settings",
    [{}, {"learn_start": True, "skip": "none"}, {"cell": "ctrnn"}, {"cell": "cfc"}],
    ids=["tanh", "learned start", "ctrnn", "cfc"],
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Small runs by their settings, each trained when a test first needs it."""
    trained = {}

    def run(**settings):
        key = tuple(sorted(settings.items()))
        if key not in trained:
            trained[key] = hf.train(
                "arm2",
                hidden=(5, 4),
                trials=4,
                steps=8,
                batches=2,
                rollouts=6,
                control_limit=2.0,
                out=tmp_path_factory.mktemp("runs"),
                **settings,
            )
        return trained[key]

    return run


@different_cells
def test_controls_equal_those_of_closed_loop(runs, settings):
    run = runs(**settings)
    loop = run.closed_loop()
    rollout = loop.rollout(run.theta)
    target = loop.scenario.target
    batch = hf.Controller.load(run)
    single = hf.Controller.load(run)
    for t in range(loop.scenario.steps):
        u = batch.act(target[t], rollout.y[t])
        np.testing.assert_allclose(u, rollout.u[t], rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(
            single.act(target[t, :, 1], rollout.y[t, :, 1]),
            u[:, 1],
            rtol=1e-12,
            atol=1e-14,
        )
    np.testing.assert_allclose(
        batch.hidden, rollout.hidden(run.network)[-1], rtol=1e-11, atol=1e-13
    )
    batch.reset()
    first = batch.act(target[0], rollout.y[0])
    np.testing.assert_allclose(first, rollout.u[0], rtol=1e-11, atol=1e-13)


def test_controller_describes_its_inputs_and_outputs(runs):
    controller = hf.Controller.load(runs())
    assert controller.dt == 0.01
    assert controller.n_target == 4
    assert len(controller.observes) == 4
    assert controller.controls == ("shoulder_torque", "elbow_torque")


@pytest.mark.parametrize(
    "target, observation, words",
    [
        (
            (3,),
            (4,),
            r"act\(target \(3,\), observation \(4,\)\): needed are \(4,\) and \(4,\)",
        ),
        ((4, 2), (4, 3), "needed are"),
        ((4,), (4, 1), "needed are"),
        ((4, 1, 1), (4, 1, 1), "needed are"),
    ],
)
def test_act_refuses_wrong_shapes(runs, target, observation, words):
    with pytest.raises(UsageError, match=words):
        hf.Controller.load(runs()).act(np.zeros(target), np.zeros(observation))


def test_another_number_of_trials_needs_reset(runs):
    controller = hf.Controller.load(runs())
    controller.act(np.zeros((4, 2)), np.zeros((4, 2)))
    with pytest.raises(UsageError, match=r"3 trials after 2 trials; call reset\(\)"):
        controller.act(np.zeros((4, 3)), np.zeros((4, 3)))
    controller.reset()
    assert controller.act(np.zeros(4), np.zeros(4)).shape == (2,)


def test_load_refuses_another_control_step(runs):
    assert hf.Controller.load(runs(), dt=0.01).dt == 0.01
    with pytest.raises(UsageError, match=r"`dt` 0.02 s: .* steps of 0.01 s"):
        hf.Controller.load(runs(), dt=0.02)


BAD_INPUTS = [
    (0, np.nan, "target 1 is nan; for a state without a goal give 0"),
    (1, -np.inf, "elbow is -inf"),
]
bad_inputs = pytest.mark.parametrize("which, value, words", BAD_INPUTS)
plain_and_staged = pytest.mark.parametrize("cell", ["tanh", "ctrnn"])


def spoil(inputs, which, value):
    """Target and observation (2, 4) with one number replaced."""
    inputs = inputs.copy()
    inputs[which, which] = value
    return inputs


@bad_inputs
@plain_and_staged
def test_act_refuses_a_sample_that_is_not_finite(rng, cell, which, value, words):
    """And goes on as if there had been none."""
    controller, other = make_controller(cell=cell), make_controller(cell=cell)
    samples = rng.standard_normal((3, 2, 4))
    for sample in samples:
        with pytest.raises(
            NumberError, match=f"act: {words}.*; the state is as before"
        ):
            controller.act(*spoil(sample, which, value))
        np.testing.assert_array_equal(controller.act(*sample), other.act(*sample))


@bad_inputs
@plain_and_staged
def test_controller_can_hold_its_last_command(rng, cell, which, value, words):
    """Of one trial, or of those trials of a batch that have such a sample."""
    controller, other = make_controller(cell=cell), make_controller(cell=cell)
    controller.hold_last = True
    samples = rng.standard_normal((3, 2, 4))
    held = controller.act(*spoil(samples[0], which, value))
    np.testing.assert_array_equal(held, controller.limits.apply(np.zeros((2, 1)))[:, 0])
    for sample in samples:
        u = controller.act(*sample)
        np.testing.assert_array_equal(u, other.act(*sample))
        np.testing.assert_array_equal(controller.act(*spoil(sample, which, value)), u)

    controller.reset()
    batch = np.stack([samples[0], samples[1]], axis=2)
    first = controller.act(*batch)
    bad = np.stack([spoil(samples[2], which, value), samples[2]], axis=2)
    second = controller.act(*bad)
    np.testing.assert_array_equal(second[:, 0], first[:, 0])
    assert np.isfinite(second).all() and (second[:, 1] != first[:, 1]).any()
    controller.hold_last = False
    with pytest.raises(NumberError, match=words.replace(" is", " of trial 0 is")):
        controller.act(*bad)


def test_inputs_that_overflow_the_network_are_refused():
    weights = make_controller(cell="linear").weights
    controller = make_controller(1e3 * weights, cell="linear")
    huge = np.full(4, 1e308)
    with pytest.raises(NumberError, match="inputs are too large"):
        controller.act(huge, huge)


def test_weights_that_are_not_finite_are_no_controller():
    controller = make_controller()
    theta = controller.weights.copy()
    controller.network.views(theta)["b_out"][1] = np.inf
    with pytest.raises(NumberError, match="the weights b_out are not finite"):
        make_controller(theta=theta)


def test_controller_compiles_nothing():
    code = """
import sys
import numpy as np
import hfcontrol as hf
controller = hf.Controller.load('weights/arm2-reach')
controller.act(np.zeros(4), np.zeros(4))
print('numba' in sys.modules, 'matplotlib' in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("cell", CELLS)
def test_steps_may_have_any_length_where_a_cell_knows_time(cell, rng):
    """Then one is that of the network; a step of the control step is the usual one."""
    controller, other = make_controller(cell=cell), make_controller(cell=cell)
    target, observation = rng.standard_normal((2, 4))
    if cell in ("tanh", "linear", "gru", "lstm", "neural_ode"):
        with pytest.raises(UsageError, match=f"elapsed with `cell` {cell}: .* ctrnn"):
            controller.act(target, observation, elapsed=controller.dt)
        return
    usual = other.act(target, observation)
    np.testing.assert_array_equal(
        controller.act(target, observation, elapsed=controller.dt), usual
    )
    before = controller._activations
    u = controller.act(target, observation, elapsed=0.3 * controller.dt)
    after = controller.network.step(
        controller.weights,
        before[:, None],
        np.concatenate([target, observation])[:, None],
        0.3,
    )
    np.testing.assert_allclose(
        controller.hidden, after[controller.network.hidden, 0], rtol=1e-12
    )
    assert not np.allclose(u, other.act(target, observation), rtol=1e-6)


@pytest.mark.parametrize("elapsed", [0, -0.01, np.nan, np.inf, "soon", [1, 2]])
def test_lengths_of_steps_are_positive_numbers(elapsed, rng):
    controller = make_controller(cell="ctrnn")
    with pytest.raises(UsageError, match=r"elapsed .*: must be a number of seconds"):
        controller.act(*rng.standard_normal((2, 4)), elapsed=elapsed)
    assert controller._activations is controller.start


EXPORTED_SETTINGS = [
    {},
    {"learn_start": True, "skip": "none"},
    {"cell": "ctrnn"},
    {"cell": "ltc", "scheme": "rk4", "unfold": 2},
    {"cell": "ltc_tanh"},
    {"cell": "ltc_conductance"},
    {"cell": "neural_ode", "scheme": "euler", "unfold": 3},
    {"cell": "rnn_ode"},
    {"cell": "cfc"},
    {"recurrent": ()},
    {"control_limit": ((-0.1, 2.0), (0.5, None))},
    {"control_limit": (None, (None, 0.2))},
]
# Every other cell, whatever it is.
EXPORTED_SETTINGS += [
    {"cell": cell, "learn_start": True}
    for cell in CELLS
    if not any(settings.get("cell") == cell for settings in EXPORTED_SETTINGS)
]
EXPORTED = pytest.mark.parametrize(
    "settings",
    EXPORTED_SETTINGS,
    ids=lambda settings: (
        settings.get("cell", "tanh")
        + ("-start" if "learn_start" in settings else "")
        + ("-limits" if "control_limit" in settings else "")
    ),
)


def make_controller(theta=None, **settings):
    """A controller with random weights on arm2, without training."""
    settings = {"control_limit": 2.0, **settings}
    settings = Settings(plant="arm2", hidden=(5, 4), **settings)
    trainer = make_trainer(settings)
    if theta is None:
        theta = trainer.network.initial(np.random.default_rng(3))
        theta += 0.1 * np.random.default_rng(4).standard_normal(theta.size)
    n_target = trainer.network.n_input - trainer.plant.ny
    limits = trainer.wiring.limits
    interface = Interface.describe(trainer.plant, limits, n_target)
    return Controller(trainer.network, theta, interface)


def compile_c(folder, name, real, *flags):
    """Compile the exported file; return its reset and step on one state."""
    library = folder / f"{name}{len(flags)}.so"
    subprocess.run(
        [
            "gcc",
            "-std=c99",
            "-O2",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-shared",
            "-fPIC",
            *flags,
            folder / f"{name}.c",
            "-o",
            library,
            "-lm",
        ],
        check=True,
        capture_output=True,
    )
    code = ctypes.CDLL(str(library))
    # Larger than the state of any of these controllers.
    state = (real * 4096)()

    def step(target, observation):
        arrays = [(real * len(a))(*a) for a in (target, observation)]
        control = (real * 2)()
        is_held = getattr(code, f"{name}_step")(state, *arrays, control)
        assert bool(is_held) != np.isfinite(arrays).all()
        return np.array(control)

    def step_after(elapsed, target, observation):
        arrays = [(real * len(a))(*a) for a in (target, observation)]
        control = (real * 2)()
        is_held = getattr(code, f"{name}_step_after")(
            state, real(elapsed), *arrays, control
        )
        assert bool(is_held) != (elapsed > 0)
        return np.array(control)

    return lambda: getattr(code, f"{name}_reset")(state), step, step_after


@EXPORTED
@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_c_source_acts_like_controller(tmp_path, rng, settings):
    controller = make_controller(**settings)
    controller.hold_last = True
    export_controller(controller, tmp_path / "arm.c", "arm2 reach", "run")
    inputs = with_faults(rng)
    for real, flags, tolerance in (
        (ctypes.c_double, (), 1e-12),
        (ctypes.c_float, ("-DHFCONTROL_FLOAT",), 1e-4),
    ):
        reset, step, step_after = compile_c(tmp_path, "arm", real, *flags)
        for _ in range(2):
            reset()
            controller.reset()
            for target, observation in inputs:
                np.testing.assert_allclose(
                    step(target, observation),
                    controller.act(target, observation),
                    tolerance,
                    tolerance,
                )

        if controller.network.has_time:
            for elapsed, sample in irregular_samples(controller, rng):
                held = step_after(elapsed, *sample)
                np.testing.assert_allclose(
                    held,
                    controller.act(*sample, elapsed=elapsed),
                    tolerance,
                    tolerance,
                )
            for elapsed in NO_LENGTHS:
                np.testing.assert_array_equal(
                    step_after(elapsed, 1 + sample[0], sample[1]), held
                )


# What no step lasts.
NO_LENGTHS = (0.0, -0.01, np.nan)


def irregular_samples(controller, rng):
    """Lengths of steps [s] about the control step, with a target and observation."""
    lengths = controller.dt * np.array([0.4, 1.0, 1.7])
    return zip(lengths, rng.standard_normal((3, 2, 4)), strict=True)


def test_names_from_files_stay_inside_the_comment_of_c_source(tmp_path):
    """Whatever they hold, the code is the same, and the file is ASCII."""
    controller = make_controller()
    export_controller(controller, tmp_path / "arm.c", "plain", "run")
    controller.observes = ("a */ int x; /*", "b\nc", "\u2028\x1b[31m", "d\\")
    controller.controls = ("??/", "*" * 3 + "/")
    export_controller(controller, tmp_path / "odd.c", "x **// /* \u202e", "r\n#if 0")
    plain, odd = (
        (tmp_path / name).read_text(encoding="utf-8") for name in ("arm.c", "odd.c")
    )
    assert odd.isascii() and "\x1b" not in odd
    begin, code = odd[3:].split("*/", 1)
    assert "/*" not in begin and "??" not in begin
    assert code.replace("odd_", "arm_") == plain[3:].split("*/", 1)[1]


def with_faults(rng):
    """Samples (8, 2, 4), of which the first and one later are not finite."""
    inputs = rng.standard_normal((8, 2, 4))
    for k, (which, value, _) in zip((0, 4), BAD_INPUTS, strict=True):
        inputs[k] = spoil(inputs[k], which, value)
    return inputs


@EXPORTED
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_onnx_graph_acts_like_controller(tmp_path, rng, settings, dtype):
    """Single precision differs by its rounding alone."""
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    controller = make_controller(**settings)
    controller.hold_last = True
    path = tmp_path / "arm.onnx"
    export_controller(controller, path, "arm2 reach", "run", dtype)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    start = json.loads(session.get_modelmeta().custom_metadata_map["start"])
    state = np.array(start, dtype)
    tolerance = {"float64": 1e-6, "float32": 1e-4}[dtype]
    for sample in with_faults(rng).astype(dtype):
        target, observation = sample
        control, state, is_finite = session.run(
            ["control", "next_state", "is_finite"],
            {"target": target, "observation": observation, "state": state},
        )
        assert control.dtype == dtype and is_finite == np.isfinite(sample).all()
        np.testing.assert_allclose(
            control, controller.act(target, observation), tolerance, 1e-3 * tolerance
        )

    if controller.network.has_time:
        for elapsed, sample in irregular_samples(controller, rng):
            target, observation = sample.astype(dtype)
            inputs = {
                "target": target,
                "observation": observation,
                "state": state,
                "elapsed": np.array([elapsed], dtype),
            }
            control, state = session.run(["control", "next_state"], inputs)
            np.testing.assert_allclose(
                control,
                controller.act(target, observation, elapsed=elapsed),
                tolerance,
                1e-3 * tolerance,
            )
        for elapsed in NO_LENGTHS:
            inputs |= {"state": state, "elapsed": np.array([elapsed], dtype)}
            held, is_finite = session.run(["next_state", "is_finite"], inputs)
            assert not is_finite
            np.testing.assert_array_equal(held, state)


def test_onnx_export_names_missing_package(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.chdir(tmp_path)
    shipped = Path(hf.__file__).parent.parent / "weights" / "arm2-reach"
    assert "pip install -e '.[onnx]' in hfcontrol's folder" in complaint(
        capsys, "export", shipped, "--format", "onnx", status=2
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("limit", [2.0, ((-0.1, 2.0), (0.5, None)), (None, 1.0)])
def test_documented_npz_reader_acts_like_controller(tmp_path, rng, limit):
    """The reader on the page about deployment."""
    controller = make_controller(control_limit=limit)
    export_controller(controller, tmp_path / "arm.npz", "arm2 reach", "run")
    folder = Path(__file__).parents[2] / "docs"
    page = (folder / "deployment.md").read_text(encoding="utf-8")
    names = {}
    exec(page.split("```python\n# a reader")[1].split("```")[0], names)
    step = names["reader"](tmp_path / "arm.npz")
    for target, observation in rng.standard_normal((6, 2, 4)):
        np.testing.assert_allclose(
            step(target, observation),
            controller.act(target, observation),
            rtol=1e-12,
            atol=1e-14,
        )


def test_npz_tells_where_the_memory_of_an_lstm_is(tmp_path):
    controller = make_controller(cell="lstm")
    export_controller(controller, tmp_path / "arm.npz", "arm2 reach", "run")
    with np.load(tmp_path / "arm.npz") as data:
        layer, *_, output = json.loads(str(data["about"]))["layers"]
    first, end = layer["rows"]
    assert end == first + 5
    assert layer["state_rows"] == [first, end + 5]
    assert output["state_rows"] == output["rows"]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--format", "exe"], "--format exe: must be c, npz or onnx"),
        (["--float32"], "--float32 with --format c"),
        (["--out", "arm.txt"], "the suffix decides the format"),
        (["--out", "2arms.c"], "choose a name that begins with a letter"),
    ],
)
def test_export_refuses_wrong_format_and_file(
    capsys, tmp_path, monkeypatch, arguments, words
):
    monkeypatch.chdir(tmp_path)
    shipped = Path(hf.__file__).parent.parent / "weights" / "arm2-reach"
    assert words in complaint(capsys, "export", shipped, *arguments, status=2)
    assert not list(tmp_path.iterdir())


def test_export_refuses_delays_and_noise_unless_bare(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = hf.train(
        "arm2",
        trials=4,
        steps=6,
        hidden=(3,),
        rollouts=2,
        feedback_delay="20ms",
        motor_noise="5%",
    )
    line = complaint(capsys, "export", run.path, status=2)
    assert "--feedback-delay 20ms --motor-noise 5%" in line and "--bare" in line
    assert call(capsys, "export", run.path, "--bare")[0] == 0


def test_export_command_names_file_after_run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = Path(hf.__file__).parent.parent / "weights" / "arm2-reach"
    assert call(capsys, "export", shipped)[0] == 0
    assert (tmp_path / "arm2_reach.c").exists()
    assert call(capsys, "export", shipped, "--format", "npz")[0] == 0
    assert (tmp_path / "arm2-reach.npz").exists()
