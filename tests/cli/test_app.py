"""The command line: what it prints, and that every mistake is answered by one line that helps."""

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

import h5py
import pytest
from trainings import (
    CART,
    ENVIRONMENT,
    SMALL_OPTIONS,
    call,
    complaint,
    in_process,
    strict_json,
    write_cart,
)

import hfcontrol as hf
from hfcontrol.cli.app import COMMANDS
from hfcontrol.cli.output import CLEAR_LINE, print_evaluation, print_json
from hfcontrol.cli.progress import advice
from hfcontrol.cli.train import train
from hfcontrol.evaluation.evaluation import evaluate
from hfcontrol.optim.hessian_free import HessianFree
from hfcontrol.plant.registry import plant_names
from hfcontrol.runs import folder as run_folder
from hfcontrol.runs import hdf5 as checkpoint
from hfcontrol.runs.folder import RunFolder
from hfcontrol.runs.settings import Settings

HEAVY = {"numpy", "numba", "scipy", "h5py", "matplotlib", "PIL"}
INFO = [
    "run",
    "plant",
    "task",
    "seed",
    "hold",
    "batches",
    "holds",
    "updates",
    "rollouts",
    "jacobian_steps",
    "parameters",
    "connections",
    "time_constants",
    "loss",
    "loss_history",
    "seconds",
    "compile_seconds",
    "solver",
    "stop",
    "command",
    "version",
]
SET = [
    "trials",
    "loss",
    "optimal_loss",
    "ratio",
    "ratio_quantiles",
    "errors",
    "error",
    "final_speed",
    "path_deviation",
    "peak_control",
    "success",
]
STOPS = {"target", "rollouts", "time", "converged", "interrupted", "failed"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run made by the command line, for tests that do not change it."""
    root = tmp_path_factory.mktemp("trained")
    return hf.train(
        "arm2",
        out=root / "weights",
        trials=8,
        steps=10,
        hidden=(5, 4),
        batches=4,
        rollouts=30,
    ).path


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    """A copy of that run under ./weights."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, tmp_path / "weights" / trained.name)
    return f"weights/{trained.name}"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def without_the_shipped_run(monkeypatch):
    monkeypatch.setattr(run_folder, "run_roots", lambda: [Path("weights")])


# Help


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_a_worked_example(capsys, name):
    status, out, err = call(capsys, name, "--help")
    assert status == 0 and not err
    assert re.search(rf"^  hfcontrol {name}\b", out, re.MULTILINE)
    assert max(map(len, out.splitlines())) <= 80


def test_help_without_arguments(capsys):
    assert call(capsys) == call(capsys, "--help") == call(capsys, "-h")
    assert all(name in call(capsys)[1] for name in COMMANDS)
    assert call(capsys, "--version")[1].split()[-1] == hf.__version__


@pytest.mark.parametrize(
    "option",
    [p for p in train.params if (p.help or "").endswith("]")],
    ids=lambda p: p.name,
)
def test_help_tells_the_true_defaults(option):
    told = option.help[option.help.rindex("[") + 1 : -1]
    if option.name == "out":
        assert told == "weights"
        return
    default = getattr(Settings(), option.name)
    default = (
        ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
    )
    assert told == {"auto": "2" if option.name == "skip" else "auto"}.get(
        default, default
    )


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["train", "--help"], ["animate", "--help"], ["--version"]],
    ids=" ".join,
)
def test_help_imports_nothing_heavy(arguments):
    script = "import sys; from hfcontrol.cli import main; main(sys.argv[1:]); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    loaded = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert "click" in loaded and not loaded & HEAVY


# Mistakes: arguments of train, exit status, words of the answer

MISTAKES = [
    ("--plant arm9", 2, [*plant_names(), "arm9"]),
    ("--plant gone.py", 2, ["gone.py", "check the path"]),
    ("--plant .", 2, plant_names()),
    ("--device tpu", 2, ["--device tpu", "cpu, gpu or auto"]),
    ("--dtype float16", 2, ["--dtype float16", "float64 or float32"]),
    ("--dtype float32 --cell ltc", 2, ["--dtype float32", "--cell ltc"]),
    ("--device gpu --estimator ctpg", 2, ["--device gpu", "CPU"]),
    ("--device auto --store-every 4", 2, ["--store-every 4", "--device auto"]),
    ("--hidden 0", 2, ["--hidden 0"]),
    ("--hidden abc", 2, ["--hidden abc", "32,32"]),
    ("--hidden 5.5", 2, ["32,32"]),
    ("--hidden all", 2, ["32,32"]),
    ("--hidden 5,-1", 2, ["5,-1"]),
    ("--skip 1", 2, ["--skip 1"]),
    ("--skip x", 2, ["--skip x", "all or none"]),
    ("--recurrent 7", 2, ["--recurrent 7"]),
    ("--recurrent x", 2, ["all or none"]),
    ("--feedback-delay -1", 2, ["--feedback-delay -1", "10 ms"]),
    ("--feedback-delay 7ms", 2, ["7ms", "10 ms"]),
    ("--feedback-delay 10", 2, ["10 steps"]),
    ("--command-delay 200ms", 2, ["20 steps", "10 steps"]),
    ("--command-delay soon", 2, ["soon", "40ms"]),
    ("--command-delay nan", 2, ["nan"]),
    ("--batches 0", 2, ["--batches 0"]),
    ("--batches x", 2, ["--batches", "integer"]),
    ("--trials 0", 2, ["--trials 0", "at least 1"]),
    ("--steps -3", 2, ["--steps -3"]),
    ("--race 0", 2, ["--race 0"]),
    ("--average 0", 2, ["--average 0", "at least 1"]),
    ("--rollouts 0", 2, ["--rollouts 0"]),
    ("--max-seconds 0", 2, ["--max-seconds 0"]),
    ("--max-seconds nan", 2, ["--max-seconds nan"]),
    ("--target-loss -1", 2, ["--target-loss -1"]),
    ("--damping 0", 2, ["--damping 0"]),
    ("--damping inf", 2, ["--damping inf"]),
    ("--cg-cap 0", 2, ["--cg-cap 0"]),
    ("--structural -1", 2, ["--structural -1"]),
    ("--effort -1", 2, ["--effort -1"]),
    ("--effort nan", 2, ["--effort nan"]),
    ("--running inf", 2, ["--running inf"]),
    ("--seed -1", 2, ["--seed -1"]),
    ("--task juggle", 2, ["juggle", "reach"]),
    ("--cell x", 2, ["--cell x", "tanh"]),
    ("--hold x", 2, ["model, scenario"]),
    ("--optimizer x", 2, ["hf, adam"]),
    ("--solver x", 2, ["cg or residual"]),
    ("--space x", 2, ["joint or hand"]),
    ("--optimizer adam --learning-rate 0", 2, ["--learning-rate 0"]),
    ("--sensory-noise -1", 2, ["--sensory-noise -1"]),
    ("--motor-noise loud", 2, ["loud", "5%"]),
    ("--motor-noise -5%", 2, ["--motor-noise"]),
    ("--control-limit -1", 2, ["--control-limit -1"]),
    ("--control-limit x", 2, ["plant or none"]),
    ("--solver residual", 2, ["--solver residual", "use cg or auto"]),
    ("--target-ratio 0.9", 2, ["--target-ratio 0.9", "1 is the optimum"]),
    ("--target-ratio 1.1 --effort 0", 2, ["--target-ratio", "zero"]),
    ("--target-ratio 1.1 --motor-noise 5%", 2, ["--target-ratio", "noise"]),
    ("--out a-file", 1, ["a-file", "--out"]),
    ("--out /dev/null/x", 1, ["/dev/null/x", "--out"]),
    ("--from nothing", 1, ["nothing", "hfcontrol train"]),
    ("--resume nothing", 1, ["nothing"]),
    ("--force", 2, ["--force", "--resume"]),
    ("--clip 0.1", 2, ["--clip 0.1", "applies only to ppo"]),
    ("--optimizer ppo", 2, ["--batches 4", "derivatives"]),
    ("--tasc reach", 2, ["--tasc", "--task", "--help"]),
    ("reach", 2, ["reach", "--help"]),
    ("--plant", 2, ["--plant"]),
]


@pytest.mark.parametrize(
    "arguments, status, words",
    MISTAKES,
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_gets_one_line_and_leaves_nothing(
    capsys, here, arguments, status, words
):
    (here / "a-file").touch()
    line = complaint(capsys, "train", *SMALL_OPTIONS, *arguments.split(), status=status)
    assert [word for word in words if word not in line] == []
    assert not (here / "weights").exists()


PLANTS = {
    "syntax": [("def step_batch(x, u, p, dt):", "def step_batch(x, u, p, dt)")],
    "misspelt": [("np.stack([x[0]", "np.stac([x[0]")],
    "unwritten": [
        ("def step_batch(x, u, p, dt):", "def step(x, u, p, dt, x_next):"),
        (
            "return np.stack([x[0] + dt * x[1], x[1] + dt * (u[0] - 0.1 * x[1] * np.abs(x[1]))])",
            "x_next[0] = x[0] + dt * x[1]",
        ),
    ],
    "forbidden": [
        ("def step_batch(x, u, p, dt):", "def step(x, u, p, dt, x_next):"),
        (
            "return np.stack([x[0] + dt * x[1], x[1] + dt * (u[0] - 0.1 * x[1] * np.abs(x[1]))])",
            "x_next[0], x_next[1] = x[0], np.abs(x[1])",
        ),
    ],
    "not a number": [("0.1 * x[1]", "np.nan * x[1]")],
    "no tasks": [("TASKS =", "NOT_TASKS =")],
    "shape": [("np.zeros((2, trials)), ", "np.zeros((3, trials)), ")],
}
ANSWERS = {
    "syntax": "line 8",
    "misspelt": "stac",
    "unwritten": "place_rate",
    "forbidden": "np.abs",
    "not a number": "not finite",
    "no tasks": "TASKS",
    "shape": "(3, 8)",
}


@pytest.mark.parametrize("fault", PLANTS)
def test_a_faulty_plant_gets_one_line(capsys, here, fault):
    plant = write_cart(
        here, **{str(i): change for i, change in enumerate(PLANTS[fault])}
    )
    status = 1 if fault == "not a number" else 2
    line = complaint(
        capsys, "train", *SMALL_OPTIONS, "--quiet", "--plant", plant, status=status
    )
    assert ANSWERS[fault] in line


def test_targets_out_of_reach(capsys, here):
    source = hf.load_plant("arm2").source
    (here / "far.py").write_text(source.replace('"radius": 0.0725', '"radius": 0.5'))
    assert "out of reach" in complaint(
        capsys, "train", *SMALL_OPTIONS, "--plant", "far.py", status=2
    )


def test_a_plant_without_a_hand_has_no_hand_space(capsys, here):
    line = complaint(
        capsys, "train", "--plant", write_cart(here), "--space", "hand", status=2
    )
    assert "no hand" in line


USES = [
    "info",
    "evaluate",
    "plot-error",
    "plot",
    "animate",
    "simulate",
    "runs",
    "train --resume",
    "train --from",
]
NO_RUNS = ["missing", "empty", "text.txt", "foreign.h5", "half.h5", "half", "else.h5"]


@pytest.mark.parametrize("use", USES)
def test_what_is_no_run_gets_one_line(capsys, run, use):
    """Of every kind, with the right status, and the runs there are named or told how to list."""
    make_no_runs(run)
    for name in NO_RUNS[:2] if use == "runs" else NO_RUNS:
        line = complaint(capsys, *use.split(), name, status=1)
        assert name in line and (
            "hfcontrol runs" in line or run.split("/")[1] in line
        ), line


def make_no_runs(run):
    newest = RunFolder(Path(run)).newest().path
    Path("empty").mkdir()
    Path("half").mkdir()
    Path("text.txt").write_text("no run")
    with h5py.File("foreign.h5", "w") as file:
        file["numbers"] = [1, 2]
    for half in ("half.h5", f"half/{newest.name}"):
        Path(half).write_bytes(newest.read_bytes()[:2000])
    checkpoint.save(Path("else.h5"), {"something": "else"})


def test_a_half_checkpoint_names_the_whole_one_before(capsys, run):
    files = hf.Run.load(run).folder.checkpoints()
    files[-1].path.write_bytes(files[-1].path.read_bytes()[:2000])
    line = complaint(capsys, "train", "--resume", run, status=1)
    assert str(files[-2].path) in line
    assert call(capsys, "info", files[-2].path)[0] == 0


@pytest.mark.parametrize(
    "arguments, words",
    [
        ("--effort 1 --seed 3", ["--effort", "--seed"]),
        ("--out elsewhere", ["--out"]),
        ("--from x", ["--from"]),
        ("--hidden 5,4", ["--hidden"]),
        ("--batches 4", ["--batches"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_resume_takes_limits_only(capsys, run, arguments, words):
    line = complaint(capsys, "train", "--resume", run, *arguments.split(), status=2)
    assert all(word in line.partition(":")[2].partition(":")[0] for word in words)


@pytest.mark.parametrize(
    "command, words",
    [
        ("evaluate --trials 0", ["--trials 0"]),
        ("evaluate --trials -2", ["--trials -2"]),
        ("evaluate --feedback-delay 7ms", ["7ms"]),
        ("evaluate --command-delay 99", ["99"]),
        ("evaluate --motor-noise loud", ["loud"]),
        ("animate --targets 0", ["--targets 0"]),
        ("animate --out a.png", ["a.png", ".gif"]),
        ("plot --out a.gif", ["a.gif", ".png"]),
        ("plot --kind taste", ["paths"]),
        ("plot --out no-such-folder/a.png", ["no-such-folder/a.png"]),
        ("plot-error --out a", [".png"]),
        ("plot-error --axis taste", ["rollouts"]),
        ("runs --thin", ["--thin"]),
        ("runs --keep -1", ["--keep"]),
        ("check", ["NAME|FILE"]),
        ("check arm9", ["arm9", *plant_names()]),
        ("play", ["play", "--help"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_mistakes_of_other_commands(capsys, run, command, words):
    line = complaint(capsys, *command.split(), status=2)
    assert [word for word in words if word not in line] == []


def test_too_much_to_remember(capsys, here):
    assert "memory" in complaint(capsys, "train", "--trials", 10**12, status=1)


# What is printed


def test_training_in_plain_text(capsys, here):
    status, out, err = call(capsys, "train", *SMALL_OPTIONS)
    run = hf.Run.load()
    assert status == 0 and not err and "\x1b" not in out and "\r" not in out
    assert len(re.findall("^hold .*update", out, re.MULTILINE)) == run.state.holds
    assert f"hfcontrol train --resume {run.path} --rollouts" in out
    table = hf.Run.load().info()
    assert (
        f"{table['loss']:.3e}" in out
        and "ratio to optimal" in out
        and "held-out" in out
    )


def test_training_in_json(capsys, here):
    status, out, _ = call(capsys, "train", *SMALL_OPTIONS, "--json")
    *holds, done = [strict_json(line) for line in out.splitlines()]
    assert status == 0 and {hold["event"] for hold in holds} == {"hold"}
    assert [hold["hold"] for hold in holds] == list(range(1, len(holds) + 1))
    assert [hold["loss"] for hold in holds] == done["loss_history"]
    assert all(hold["hand_error_cm"] > 0 and hold["accepted"] is True for hold in holds)
    assert list(done) == ["event", *INFO] and done["event"] == "done"
    assert done == {"event": "done", **strict_json(call(capsys, "info", "--json")[1])}


def test_quiet_training(capsys, here):
    assert call(capsys, "train", *SMALL_OPTIONS, "--quiet") == (0, "", "")
    assert hf.Run.load().state.updates > 0


def test_json_knows_no_infinity(capsys):
    endless = {
        "a": [float("inf"), (float("nan"), 1.5)],
        "b": {"c": -float("inf")},
        "d": None,
        "e": "inf",
        "f": 2,
    }
    print_json(endless)
    assert strict_json(capsys.readouterr().out) == {
        "a": [None, [None, 1.5]],
        "b": {"c": None},
        "d": None,
        "e": "inf",
        "f": 2,
    }


def test_info(capsys, run):
    told = strict_json(call(capsys, "info", run, "--json")[1])
    assert list(told) == INFO and told["stop"] in STOPS
    lines = call(capsys, "info", run)[1].splitlines()
    assert {line[:16].strip().replace(" ", "_") for line in lines} == {
        *INFO,
        "loss_of_holds",
    } - {"loss_history"}


def test_evaluation(capsys, run):
    told = strict_json(call(capsys, "evaluate", run, "--json")[1])
    assert list(told) == ["run", "plant", "task", "noisy", "sets"] and list(
        told["sets"]
    ) == ["training", "held_out"]
    assert all(list(one) == SET for one in told["sets"].values())
    assert told == json.loads(json.dumps(evaluate(run)))
    assert (
        f"{told['sets']['held_out']['ratio']:.4f}" in call(capsys, "evaluate", run)[1]
    )


def test_columns_are_as_wide_as_what_stands_in_them(capsys):
    """Of eight controls too: a row has the words of both sets apart, and all lines end together."""
    controls = [0.998 - k / 1000 for k in range(8)]
    told = {
        "trials": 4,
        "loss": 2.0,
        "optimal_loss": 1.0,
        "ratio": 2.0,
        "peak_control": controls,
        "path_deviation": None,
        "success": 0.5,
        "errors": [{"step": 9, "mean": 1.0, "max": 2.0, "unit": "cm"}],
        "final_speed": {"mean": 1.0, "max": 2.0, "unit": "cm/s"},
    }
    print_evaluation({"sets": {"training": told, "held_out": told}, "noisy": False})
    lines, words = (
        capsys.readouterr().out.splitlines(),
        ", ".join(f"{c:.3g}" for c in controls),
    )
    assert len({len(line) for line in lines}) == 1
    assert [line.split() for line in lines if line.startswith("peak")] == [
        ["peak", "controls", *words.split(), *words.split()]
    ]


def test_evaluation_under_other_conditions(capsys, run):
    plain, noisy = (
        call(capsys, "evaluate", run, *words)[1]
        for words in ([], ["--motor-noise", "5%"])
    )
    assert "bound" in noisy and "bound" not in plain
    assert plain.splitlines()[1:] != noisy.splitlines()[1:-1]


def test_runs(capsys, run):
    call(capsys, "train", *SMALL_OPTIONS, "--quiet", "--seed", 1)
    folder = hf.Run.load(run).folder
    files, kept = (
        folder.checkpoints(),
        sorted({folder.first(), folder.best(), folder.newest()}),
    )
    lines = call(capsys, "runs")[1].splitlines()
    assert (
        len(lines) == 3
        and lines[1].startswith(str(hf.Run.load().path))
        and lines[2].startswith(run)
    )
    told = strict_json(call(capsys, "runs", "--json")[1])
    assert [Path(one["run"]) for one in told] == [
        hf.Run.load().path,
        Path(run),
    ] and told[1]["loss"] == hf.Run.load(run).state.loss
    status, out, _ = call(capsys, "runs", "--thin", "--keep", 0, run)
    assert status == 0 and f"removed {len(files) - len(kept)}, left {len(kept)}" in out
    assert folder.checkpoints() == kept != files


def test_no_runs(capsys, here):
    assert "hfcontrol train" in complaint(capsys, "info", status=1)


def test_plants_and_check(capsys, here):
    out = call(capsys, "plants")[1]
    assert all(re.search(f"^{name} ", out, re.MULTILINE) for name in plant_names())
    status, out, err = call(capsys, "check", write_cart(here))
    assert (
        status == 0
        and not err
        and all(line.startswith("ok") for line in out.splitlines()[:-2])
    )
    assert re.match(r"one step takes \S+ us per trial", out.splitlines()[-2])
    assert out.splitlines()[-1].endswith(f"hfcontrol train --plant {here / 'cart.py'}")
    write_cart(here, fault=PLANTS["not a number"][0])
    status, out, err = call(capsys, "check", here / "cart.py")
    assert status == 2 and "FAIL" in out and len(err.splitlines()) == 1


def test_check_looks_at_the_starts_of_tasks(capsys, here):
    start = 'TASKS = {"go": {"generator": "angles", "start": (0.0,), "targets": (1.0, 2.0), "trials": 4, "steps": 5}}'
    plant = write_plant(here / "pole.py", "u[0] / x[0]", start)
    status, out, err = call(capsys, "check", plant)
    assert status == 2 and "1 of 13 checks failed" in err
    assert (
        "FAIL task go: the state a step later is not finite at its start x = (0, 0)"
        in out
    )


def test_check_warns_of_a_jump(capsys, here):
    plant = write_plant(
        here / "dry.py", "u[0] - math.copysign(1.0, x[1])", "TASKS = {}"
    )
    status, out, err = call(capsys, "check", plant)
    assert status == 0 and not err and "WARN smooth: d angle / d angle_rate is" in out


def write_plant(path, acceleration, tasks):
    """A plant file with one position."""
    path.write_text(f'''"""A plant."""
import math
STATE, CONTROL = ("angle", "angle_rate"), ("torque",)
DT, INTEGRATOR = 0.02, "rk4"
def dynamics(x, u, p, dx):
    dx[0] = x[1]
    dx[1] = {acceleration}
{tasks}
''')
    return path


def test_figures_are_named_after_the_run(capsys, run, here):
    for words, ending in (
        (["plot-error"], "-error.png"),
        (["plot", "--kind", "speed"], "-speed.png"),
        (["animate", "--targets", 1], ".gif"),
    ):
        status, out, _ = call(capsys, *words)
        assert (
            status == 0
            and out.strip() == f"{here / run.split('/')[1]}{ending}"
            and Path(out.strip()).stat().st_size > 1000
        )


# Going on, and stopping


def test_resuming_by_the_command_that_was_told(capsys, here):
    out = call(capsys, "train", *SMALL_OPTIONS)[1]
    before = hf.Run.load()
    words = re.search("^go on with: hfcontrol (.*)$", out, re.MULTILINE)[1].split()
    status, out, err = call(capsys, *words)
    assert status == 0 and not err and f"after {before.state.updates} updates" in out
    assert hf.Run.load().state.rollouts >= 2 * before.settings.rollouts
    assert hf.Run.load().info()["command"] == before.info()["command"]


def test_a_changed_plant_and_a_moved_one(capsys, here):
    plant = write_cart(here)
    call(capsys, "train", *SMALL_OPTIONS, "--plant", plant, "--rollouts", 6, "--quiet")
    plant.write_text(CART + "# changed\n")
    run = hf.Run.load().path
    assert "--force" in complaint(
        capsys, "train", "--resume", run, "--rollouts", 8, status=1
    )
    assert "has changed" in call(capsys, "evaluate")[1]
    assert call(
        capsys, "train", "--resume", run, "--rollouts", 8, "--force", "--quiet"
    ) == (0, "", "")
    plant.rename("moved.py")
    assert "--plant FILE" in complaint(
        capsys, "train", "--resume", run, "--rollouts", 10, status=2
    )
    assert call(
        capsys,
        "train",
        "--resume",
        run,
        "--rollouts",
        10,
        "--plant",
        "moved.py",
        "--quiet",
    ) == (0, "", "")
    assert hf.Run.load().state.rollouts == 10


def test_out_of_time(capsys, here):
    out = call(capsys, "train", *SMALL_OPTIONS[:-2], "--max-seconds", "0.001")[1]
    assert "the time asked for is over" in out and re.search(
        "--resume .* --max-seconds 0.002$", out, re.MULTILINE
    )


def test_resuming_nothing_begins_nothing(capsys, run):
    complaint(capsys, "train", "--resume", "", status=1)
    assert len(call(capsys, "runs")[1].splitlines()) == 2


def test_the_live_line_fits_the_terminal(here):
    """What is drawn over in place must not be broken by the terminal, however narrow."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 60, 0, 0))
    environment = {
        name: value for name, value in ENVIRONMENT.items() if name != "COLUMNS"
    }
    shown = b""
    with (
        in_process("train", *SMALL_OPTIONS, stdout=theirs, env=environment),
        suppress(OSError),
    ):  # the end of a terminal
        os.close(theirs)
        while part := os.read(ours, 1000):
            shown += part
    os.close(ours)
    drawn = [
        line.partition("\n")[0].rstrip("\r") for line in shown.decode().split(CLEAR_LINE)[1:]
    ]
    assert len(drawn) >= hf.Run.load().state.updates
    assert max(map(len, drawn)) < 60 and all(
        "loss" in line for line in drawn if line.startswith("hold")
    )


def test_two_trainings_in_one_run(capsys, run):
    with hf.Run.load(run).folder.lock():
        assert "in use" in complaint(
            capsys, "train", "--resume", run, "--quiet", status=1
        )


LONG_UPDATE = """
import time
from hfcontrol.cli import main
from hfcontrol.optim.hessian_free import HessianFree

HessianFree.step = lambda *arguments: print("updating", flush=True) or time.sleep(60)
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_a_second_signal_stops_at_once(here, number):
    """The update in progress is long; the first signal waits for it and the second does not."""
    program = [sys.executable, "-c", LONG_UPDATE, "train", *SMALL_OPTIONS, "--json"]
    with subprocess.Popen(
        program,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "updating\n"
        for k in range(2):
            process.send_signal(number)
            if k == 0:
                assert (
                    process.stderr.readline() == "\n"
                    and "again" in process.stderr.readline()
                )
        said = process.stderr.read()
    assert process.returncode == 130
    assert (
        len(said.splitlines()) == 1
        and f"hfcontrol train --resume {hf.Run.load().path}" in said
    )


@pytest.fixture
def signalled(monkeypatch):
    """Makes the fifth update, and those after it, come with signals from without; how many is told by the entry."""
    step, made, signals = HessianFree.step, [], [1]

    def update(*arguments):
        made.append(None)
        for _ in range(signals[0] if len(made) == 5 else 0):
            signal.raise_signal(signal.SIGINT)
        return step(*arguments)

    monkeypatch.setattr(HessianFree, "step", update)
    return signals


def test_stopping_a_warm_up(capfd, here, signalled):
    """In the middle of its second stage: the run says what it is, whoever asks, and goes on by the command that was told."""
    status, out, err = call(capfd, "train", *SMALL_OPTIONS, "--grow", 3)
    (folder,) = map(RunFolder, Path("weights").iterdir())
    words = f"hfcontrol train --resume {folder.path}"
    assert status == 0 and err.split("\n")[1:] == [
        "finishing the update in progress; Ctrl-C again stops at once",
        "",
    ]
    stopped, how = out.splitlines()[-2:]
    assert re.fullmatch(
        r"stopped: it was interrupted, within the warm-up \(growing, 2 steps\), \d+\.\d s",
        stopped,
    )
    assert (
        how == f"go on with: {words}"
        and folder.curriculum_file
        and not folder.checkpoints()
    )
    line = (
        "no checkpoint yet, because its curriculum has not finished; continue with: "
        f"{words}"
    )
    for use in (
        "info",
        "evaluate",
        "plot-error",
        "plot",
        "animate",
        "simulate",
        "export",
        "train --from",
        "runs --thin",
    ):
        assert line in complaint(capfd, *use.split(), folder.path, status=1)
    assert call(capfd, "runs")[1].splitlines()[1] == f"{folder.path}  has {line}"
    assert line in strict_json(call(capfd, "runs", "--json")[1])[0]["error"]
    status, out, _ = call(capfd, *words.split()[1:])
    assert (
        status == 0
        and "\ngoing on with the warm-up: growing, 2 steps\n" in out
        and not folder.curriculum_file
    )
    assert (
        len(call(capfd, "runs")[1].splitlines()) == 2
        and hf.Run.load().info()["stop"] == "rollouts"
    )


def test_stopping_a_warm_up_in_json(capsys, here, signalled):
    status, out, _ = call(capsys, "train", *SMALL_OPTIONS, "--grow", 3, "--json")
    last = strict_json(out.splitlines()[-1])
    assert (
        status == 0
        and last.pop("seconds") > 0
        and RunFolder(Path(last.pop("run"))).curriculum_file
    )
    assert last.pop("warming").startswith(
        "growing, 2 steps: update 2, loss "
    ) and last == {"event": "done", "stop": "interrupted"}


def test_stopping_a_warm_up_at_once(capsys, here, signalled):
    signalled[0] = 2
    assert (
        "go on from the last checkpoint with: hfcontrol train --resume weights/"
        in complaint(
            capsys, "train", *SMALL_OPTIONS, "--grow", 3, "--quiet", status=130
        )
    )
    (path,) = Path("weights").iterdir()
    assert call(capsys, "train", "--resume", path, "--quiet") == (0, "", "")


def test_out_of_time_in_a_warm_up(capsys, here):
    """What the controller is worth is told all the same."""
    out = call(capsys, "train", *SMALL_OPTIONS, "--grow", 3, "--max-seconds", "0.001")[
        1
    ]
    assert (
        "stopped: the time asked for is over, within the warm-up (growing, 1 step); loss "
        in out
        and "ratio to optimal" in out
    )
    again = call(
        capsys,
        *re.search(
            "^go on with: hfcontrol (.* --max-seconds) 0.002$", out, re.MULTILINE
        )[1].split(),
        100,
    )[1]
    assert (
        "going on with the warm-up: growing, 1 step" in again
        and "the rollouts asked for are made; loss " in again
    )


def test_stopping_an_evaluation(run):
    with in_process("evaluate", run, "--trials", 40000) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (process.returncode, out, err.strip()) == (130, "", "hfcontrol: stopped")


def test_a_reader_that_goes_away(here):
    with in_process("train", *SMALL_OPTIONS, "--rollouts", 300) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_an_output_without_room(here):
    with open("/dev/full", "w") as full, in_process("plants", stdout=full) as process:
        assert len(process.stderr.read().splitlines()) == 1
    assert process.returncode == 1


@pytest.mark.parametrize(
    "word, ratio, settings, told",
    [
        (
            "converged",
            4e5,
            {},
            "it settled far from the optimum: --grow 12, --race 4, --guide 32, another --seed may lead elsewhere",
        ),
        (
            "failed",
            2.0,
            {"grow": 4, "race": 2},
            "it settled far from the optimum: --guide 32, another --seed may lead elsewhere",
        ),
        ("converged", 1.2, {}, None),
        ("time", 9.0, {}, None),
        ("converged", None, {}, None),
    ],
)
def test_a_poor_minimum_is_said_with_what_to_try(word, ratio, settings, told):
    assert (
        next(
            advice(
                word, {"sets": {"training": {"ratio": ratio}}}, Settings(**settings)
            ),
            None,
        )
        == told
    )
