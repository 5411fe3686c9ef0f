"""Mistakes: each is answered by one line that helps, and leaves nothing behind."""

from pathlib import Path

import h5py
import pytest
from trainings import SMALL_OPTIONS, call, complaint, write_cart

import hfcontrol as hf
from hfcontrol.plant.registry import plant_names
from hfcontrol.runs import hdf5 as checkpoint
from hfcontrol.runs.folder import RunFolder
from hfcontrol.studies import STUDIES, Study

# Arguments of train, the exit status, and words of the answer.
MISTAKES = [
    ("--plant arm9", 2, [*plant_names(), "arm9"]),
    ("--plant gone.py", 2, ["gone.py", "check the path"]),
    ("--plant .", 2, plant_names()),
    ("--device tpu", 2, ["--device tpu", "cpu, gpu or auto"]),
    ("--dtype float16", 2, ["--dtype float16", "float64 or float32"]),
    ("--dtype float32 --cell ltc", 2, ["--dtype float32", "--cell ltc"]),
    ("--dtype float32 --cell gru", 2, ["only the cells tanh and linear"]),
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
    ("--actuators 40", 2, ["--actuators 40", "40 s is too slow", "40ms"]),
    ("--batches 0", 2, ["--batches 0"]),
    ("--judge most", 2, ["--judge most", "auto or all", "--no-judge"]),
    ("--judge none", 2, ["--judge none", "--no-judge"]),
    ("--judge all --no-judge", 2, ["--judge all", "--no-judge", "leave one"]),
    ("--batches x", 2, ["--batches", "'x' must be a whole number"]),
    ("--dale 80%", 2, ["--dale", "'80%' must be a number from 0 to 1"]),
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
    ("--running 1,1,1", 2, ["--running 1,1,1", "4 numbers", "elbow_rate"]),
    ("--running 1,x", 2, ["--running 1,x", "one for each component"]),
    ("--final 1,-1,1,1", 2, ["--final", "of at least 0"]),
    ("--effort 1,", 2, ["--effort 1", "shoulder_torque, elbow_torque"]),
    ("--target-centre 0.3", 2, ["--target-centre 0.3", "0,0.35"]),
    ("--target-centre 0,nan", 2, ["--target-centre 0.0,nan", "finite"]),
    ("--target-radius 0", 2, ["--target-radius 0", "above 0"]),
    ("--target-radius 0.9", 2, ["0.580 m", "out of reach", "--target-radius"]),
    (
        "--task posture --target-radius 0.1",
        2,
        ["--target-radius 0.1", "--task reach or out_and_back"],
    ),
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
    ("--control-limit x", 2, ["--control-limit x"]),
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
def test_a_mistake_gets_one_line_and_creates_no_run(
    capsys, here, arguments, status, words
):
    (here / "a-file").touch()
    line = complaint(capsys, "train", *SMALL_OPTIONS, *arguments.split(), status=status)
    assert [word for word in words if word not in line] == []
    assert not (here / "weights").exists()


STEP_BATCH = "def step_batch(x, u, p, dt):"
STEP = "def step(x, u, p, dt, x_next):"
RESULT = (
    "return np.stack([x[0] + dt * x[1], x[1] + dt * (u[0] - 0.1 * x[1] * "
    "np.abs(x[1]))])"
)

# Changes of the cart's plant file, as pairs (old, new).
PLANTS = {
    "syntax": [(STEP_BATCH, "def step_batch(x, u, p, dt)")],
    "misspelt": [("np.stack([x[0]", "np.stac([x[0]")],
    "unwritten": [
        (STEP_BATCH, STEP),
        (
            RESULT,
            "x_next[0] = x[0] + dt * x[1]",
        ),
    ],
    "forbidden": [
        (STEP_BATCH, STEP),
        (
            RESULT,
            "x_next[0], x_next[1] = x[0], np.abs(x[1])",
        ),
    ],
    "not a number": [("0.1 * x[1]", "np.nan * x[1]")],
    "no tasks": [("TASKS =", "NOT_TASKS =")],
    "shape": [("np.zeros((2, trials)), ", "np.zeros((3, trials)), ")],
}

# Words of the answer to each.
ANSWERS = {
    "syntax": "line 8",
    "misspelt": "stac",
    "unwritten": "place_rate",
    "forbidden": "np.abs",
    "not a number": "cart.py, line 8: step_batch gives place_rate = nan",
    "no tasks": "TASKS",
    "shape": "(3, 1)",
}


@pytest.mark.parametrize("fault", PLANTS)
def test_a_faulty_plant_gets_one_line(capsys, here, fault):
    changes = {str(i): change for i, change in enumerate(PLANTS[fault])}
    plant = write_cart(here, **changes)
    status = 1 if fault == "not a number" else 2
    line = complaint(
        capsys, "train", *SMALL_OPTIONS, "--quiet", "--plant", plant, status=status
    )
    assert ANSWERS[fault] in line


def test_targets_out_of_reach_are_refused(capsys, here):
    source = hf.load_plant("arm2").source
    (here / "far.py").write_text(source.replace('"radius": 0.0725', '"radius": 0.5'))
    assert "out of reach" in complaint(
        capsys, "train", *SMALL_OPTIONS, "--plant", "far.py", status=2
    )


def test_hand_space_needs_a_plant_with_a_hand(capsys, here):
    line = complaint(
        capsys, "train", "--plant", write_cart(here), "--space", "hand", status=2
    )
    assert "no hand" in line


# Commands that take a run, and names that are none.
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
def test_a_wrong_run_gets_one_line(capsys, run, use):
    """The line names the runs that exist, or the command that lists them."""
    make_no_runs(run)
    for name in NO_RUNS[:2] if use == "runs" else NO_RUNS:
        line = complaint(capsys, *use.split(), name, status=1)
        assert name in line
        assert "hfcontrol runs" in line or run.split("/")[1] in line


def make_no_runs(run):
    """Create folders and files that are no runs."""
    newest = RunFolder(Path(run)).newest().path
    Path("empty").mkdir()
    Path("half").mkdir()
    Path("text.txt").write_text("no run")
    with h5py.File("foreign.h5", "w") as file:
        file["numbers"] = [1, 2]
    for half in ("half.h5", f"half/{newest.name}"):
        Path(half).write_bytes(newest.read_bytes()[:2000])
    checkpoint.save(Path("else.h5"), {"something": "else"})


def test_a_damaged_checkpoint_names_the_last_whole_one(capsys, run):
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
    subject = line.partition(":")[2].partition(":")[0]
    assert all(word in subject for word in words)


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


def test_a_study_looks_for_its_folder_first(capsys, here, monkeypatch):
    """What it cannot write is found out before hours of training."""

    def never(report):
        raise AssertionError("the study has begun")
        yield

    monkeypatch.setitem(STUDIES, "cells", Study(never, ""))
    Path("file").touch()
    words = complaint(capsys, "compare", "cells", "--out", "file/folder", status=2)
    assert "cannot write to file" in words and "--out" in words


def test_too_little_memory_gets_one_line(capsys, here):
    assert "memory" in complaint(capsys, "train", "--trials", 10**12, status=2)
