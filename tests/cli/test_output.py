"""Output: text for people, JSON for scripts, tables, figures and the live line."""

import fcntl
import json
import os
import pty
import re
import struct
import termios
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from trainings import (
    ENVIRONMENT,
    SMALL_OPTIONS,
    call,
    complaint,
    in_process,
    strict_json,
    write_cart,
)

import hfcontrol as hf
from hfcontrol.cli import app, terminal
from hfcontrol.cli.output import print_evaluation, print_json, show_status
from hfcontrol.cli.progress import describe_end, train_words
from hfcontrol.errors import HFControlWarning
from hfcontrol.evaluation.evaluation import evaluate
from hfcontrol.evaluation.tables import evaluation_table
from hfcontrol.plant.registry import load_plant, plant_names
from hfcontrol.runs import hdf5 as checkpoint
from hfcontrol.runs.run import Run
from hfcontrol.training import ladder as ladder_module
from hfcontrol.training import rungs as rungs_module
from hfcontrol.training.holds import HoldState
from hfcontrol.training.ladder import Rung
from hfcontrol.training.state import Best, Stop, TrainingState

# What `info --json` prints, and what an evaluation says about a set of scenarios.
INFO = [
    "run",
    "plant",
    "task",
    "seed",
    "hold",
    "batches",
    "settings",
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
    "judged",
    "optimal_loss",
    "ratio",
    "ratio_quantiles",
    "optimum_is_beaten",
    "errors",
    "error",
    "final_speed",
    "path_deviation",
    "peak_control",
    "saturated",
    "success",
    "not_finite",
]
STOPS = {
    "target",
    "rollouts",
    "time",
    "converged",
    "stalled",
    "interrupted",
    "failed",
}


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


@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_rungs_are_announced_in_one_line(capsys, here, monkeypatch, json_option):
    monkeypatch.setattr(ladder_module, "GOOD_RATIO", 0.0)
    monkeypatch.setattr(ladder_module, "BUDGET", 1e5)
    monkeypatch.setattr(ladder_module, "LEAST_UPDATES", 1)
    monkeypatch.setattr(ladder_module, "FALLEN", 0.0)
    monkeypatch.setattr(rungs_module, "RUNGS", (Rung("growth", grow=1),))
    options = [*SMALL_OPTIONS, "--strategy", "auto", "--effort", "1e-3", *json_option]
    status, out, _ = call(capsys, "train", *options)
    lines = [line for line in out.splitlines() if "next: growth" in line]
    assert status == 0 and len(lines) == 1
    assert "times the optimum" in lines[0]
    if json_option:
        announced = strict_json(lines[0])
        assert announced["event"] == "rung"
        assert announced["next"].startswith("next: growth; the best weights are at")


def test_quiet_training(capsys, here):
    assert call(capsys, "train", *SMALL_OPTIONS, "--quiet") == (0, "", "")
    assert hf.Run.load().state.updates > 0


def test_quiet_json_prints_the_json(capsys, here):
    status, out, err = call(capsys, "train", *SMALL_OPTIONS, "--quiet", "--json")
    assert status == 0 and not err
    assert strict_json(out.splitlines()[-1])["event"] == "done"


def test_json_has_null_for_infinity(capsys):
    numbers = {
        "a": [float("inf"), (float("nan"), 1.5)],
        "b": {"c": -float("inf")},
        "d": None,
        "e": "inf",
        "f": 2,
    }
    print_json(numbers)
    assert strict_json(capsys.readouterr().out) == {
        "a": [None, [None, 1.5]],
        "b": {"c": None},
        "d": None,
        "e": "inf",
        "f": 2,
    }


def test_info(capsys, run):
    info = strict_json(call(capsys, "info", run, "--json")[1])
    assert list(info) == INFO and info["stop"] in STOPS
    lines = call(capsys, "info", run)[1].splitlines()
    names = {line[:16].strip().replace(" ", "_") for line in lines}
    assert names == {*INFO, "loss_of_holds"} - {"loss_history"}


def test_evaluation(capsys, run):
    result = strict_json(call(capsys, "evaluate", run, "--json")[1])
    assert list(result) == ["run", "plant", "task", "noisy", "sets"]
    assert list(result["sets"]) == ["training", "held_out"]
    assert all(list(one) == SET for one in result["sets"].values())
    assert re.findall(r"^ *\* `(\w+)`", hf.Evaluation.__doc__, re.MULTILINE) == SET
    assert result == json.loads(json.dumps(evaluate(run)))

    ratio = result["sets"]["held_out"]["ratio"]
    assert f"{ratio:.4f}" in call(capsys, "evaluate", run)[1]


def test_columns_are_as_wide_as_their_widest_cell(capsys):
    """With eight controls, the cells of both sets stay apart and all lines align."""
    controls = [0.998 - k / 1000 for k in range(8)]
    numbers = {
        "trials": 4,
        "loss": 2.0,
        "judged": 4,
        "optimal_loss": 1.0,
        "ratio": 2.0,
        "peak_control": controls,
        "path_deviation": None,
        "success": 0.5,
        "errors": [{"step": 9, "mean": 1.0, "max": 2.0, "unit": "cm"}],
        "final_speed": {"mean": 1.0, "max": 2.0, "unit": "cm/s"},
    }
    sets = {"training": numbers, "held_out": numbers}
    print_evaluation({"sets": sets, "noisy": False})
    lines = capsys.readouterr().out.splitlines()
    assert len({len(line) for line in lines}) == 1

    words = ", ".join(f"{c:.3g}" for c in controls).split()
    peaks = [line.split() for line in lines if line.startswith("peak")]
    assert peaks == [["peak", "controls", *words, *words]]


@pytest.mark.parametrize("speed", [None, {"mean": 0.0, "max": 0.0, "unit": ""}])
def test_a_row_without_a_meaning_is_left_out(speed):
    """A tank has no speed; a cart that stands still has one."""
    numbers = {
        "trials": 4,
        "loss": 1.0,
        "judged": 0,
        "ratio": None,
        "path_deviation": None,
        "errors": [{"step": 9, "mean": 1.0, "max": 2.0, "unit": ""}],
        "final_speed": speed,
        "peak_control": [1.0],
        "success": 0.5,
    }
    sets = {"training": numbers, "held_out": numbers}
    rows = dict(evaluation_table({"sets": sets, "noisy": False}).rows)
    found = rows.get("final speed")
    assert found == (None if speed is None else 2 * ["0 (max 0)"])
    assert "final error" in rows and "path deviation [% of reach]" not in rows


@pytest.mark.parametrize(
    "kept, words",
    [
        ({}, ""),
        (
            {"best_theta": np.ones(1), "best_loss": 0.25, "best_hold": 3},
            "; kept: the weights after hold 3, validation loss 2.500e-01",
        ),
        (
            {"best_theta": np.ones(1), "best_loss": 0.25, "hold_start": object()},
            "",
        ),
        (
            {
                "best_theta": np.ones(1),
                "best_loss": 0.25,
                "earlier": Best(np.ones(1), 0.125, 2),
            },
            "; kept: weights of an earlier rung, validation loss 1.250e-01",
        ),
        (
            {"earlier": Best(np.ones(1), 0.125, 2)},
            "; kept: weights of an earlier rung, training loss 1.250e-01",
        ),
    ],
)
def test_the_last_line_names_the_losses(kept, words):
    """That of the last weights on the training trials, and that of the weights kept."""
    state = TrainingState(None, HoldState("scenario"), {}, loss=0.5, updates=7, **kept)
    event = SimpleNamespace(stop=Stop.TIME, kind="hold", loop=object(), state=state)
    line = describe_end(event, SimpleNamespace(curriculum=None))
    reached = "training loss 5.000e-01 after 7 updates in 0 holds, 0 rollouts, 0.0 s"
    assert line == f"stopped: time limit reached; {reached}{words}"


@pytest.mark.parametrize(
    "ratio, said", [(0.9989, True), (0.9991, False), (1.2, False), (None, False)]
)
def test_ratio_below_one_says_that_the_optimum_is_not_the_best(capsys, ratio, said):
    numbers = {
        "trials": 4,
        "loss": 1.0,
        "judged": 4,
        "optimal_loss": 1.0,
        "peak_control": [1.0],
        "path_deviation": None,
        "success": 0.5,
        "errors": [{"step": 9, "mean": 1.0, "max": 2.0, "unit": ""}],
        "final_speed": {"mean": 1.0, "max": 2.0, "unit": ""},
    }
    good, other = ({**numbers, "ratio": value} for value in (1.0, ratio))
    print_evaluation({"sets": {"training": good, "held_out": other}, "noisy": False})
    assert ("not the best known" in capsys.readouterr().out) == said


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
    files = folder.checkpoints()
    kept = sorted({folder.first(), folder.best(), folder.newest()})

    newest = hf.Run.load().path
    lines = call(capsys, "runs")[1].splitlines()
    assert len(lines) == 3
    assert lines[1].startswith(str(newest)) and lines[2].startswith(run)

    listed = strict_json(call(capsys, "runs", "--json")[1])
    assert [Path(one["run"]) for one in listed] == [newest, Path(run)]
    assert listed[1]["loss"] == hf.Run.load(run).state.loss

    status, out, _ = call(capsys, "runs", "--thin", "--keep", 0, run)
    assert status == 0 and f"removed {len(files) - len(kept)}, left {len(kept)}" in out
    assert folder.checkpoints() == kept != files


def test_info_without_runs_suggests_train(capsys, here):
    assert "hfcontrol train" in complaint(capsys, "info", status=1)


def test_plants_and_check(capsys, here):
    out = call(capsys, "plants")[1]
    assert all(re.search(f"^{name} ", out, re.MULTILINE) for name in plant_names())
    commands = re.findall("hfcontrol train --plant (\\S+) --task (\\S+)$", out, re.M)
    tasks = [(name, t) for name in plant_names() for t in load_plant(name).tasks]
    assert commands == tasks
    status, out, err = call(capsys, "check", write_cart(here))
    findings, _, rest = out.partition("one step takes ")
    *_, last = rest.splitlines()
    assert status == 0 and not err
    assert all(line.startswith("ok") for line in findings.splitlines())
    assert re.match(r"\S+ us per trial", rest)
    assert last.endswith(f"hfcontrol train --plant {here / 'cart.py'}")

    write_cart(here, fault=("0.1 * x[1]", "np.nan * x[1]"))
    status, out, err = call(capsys, "check", here / "cart.py")
    assert status == 2 and "FAIL" in out and len(err.splitlines()) == 1


def test_check_says_a_fault_once_that_stops_several_checks(capsys, here):
    fault = ("0.1 * x[1]", "(0.1 if abs(x[0]).max() < 1e-9 else [][0]) * x[1]")
    write_cart(here, fault=fault)
    status, out, err = call(capsys, "check", here / "cart.py")
    failed = [line for line in out.splitlines() if line.startswith("FAIL")]
    raised = [line for line in failed if "list index out of range" in line]
    assert status == 2 and len(raised) == 1
    names, _, message = raised[0].removeprefix("FAIL ").partition(": ")
    assert names.count(", ") >= 3 and re.search(r"cart\.py, line \d+", message)
    # all of them count
    count = sum(line.partition(": ")[0].count(", ") + 1 for line in failed)
    assert f"{count} of " in err


def test_train_and_check_print_the_diagnosis(capsys, here):
    size = "--trials 4 --steps 60 --hidden 4 --batches 2 --rollouts 2"
    _, trained, _ = call(
        capsys, "train", "--plant", "pendulum", "--task", "balance", *size.split()
    )
    status, out, err = call(capsys, "check", "pendulum", "--task", "balance")
    assert status == 0 and not err
    assert "start: the regulator about the goal" in out
    for name in ("optimum", "trim", "growth", "substeps", "states", "operations"):
        assert re.search(f"^  {name} +\\S", trained, re.MULTILINE), name
        assert re.search(f"^  {name} +\\S", out, re.MULTILINE), name
    assert all(len(line) <= 88 for line in out.splitlines())
    status, out, err = call(capsys, "check", "pendulum", "--task", "flip")
    assert status == 2 and len(err.splitlines()) == 1
    assert "no task 'flip'; it has: swing_up, balance" in err


def test_check_covers_the_starts_of_tasks(capsys, here):
    start = (
        'TASKS = {"go": {"generator": "angles", "start": (0.0,), '
        '"targets": (1.0, 2.0), "trials": 4, "steps": 5}}'
    )
    plant = write_plant(here / "pole.py", "u[0] / x[0]", start)
    status, out, err = call(capsys, "check", plant)
    assert status == 2 and "1 of 14 checks failed" in err
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
        assert status == 0
        assert out.strip() == f"{here / run / run.split('/')[1]}{ending}"
        assert Path(out.strip()).stat().st_size > 1000
    # Nothing is written but there.
    assert [path.name for path in here.iterdir()] == ["weights"]


def test_the_live_line_fits_the_terminal(here):
    """A terminal would break a longer line, which then cannot be overwritten."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 60, 0, 0))
    environment = {
        name: value for name, value in ENVIRONMENT.items() if name != "COLUMNS"
    }
    shown = b""
    with (
        in_process("train", *SMALL_OPTIONS, stdout=theirs, env=environment),
        # Reading past the end of a terminal is an error.
        suppress(OSError),
    ):
        os.close(theirs)
        while part := os.read(ours, 1000):
            shown += part
    os.close(ours)
    # Each begins by clearing the line, and ends where it began: nothing has wrapped.
    drawn = re.findall(r"\x1b\[2K(hold[^\r\n\x1b]*)", shown.decode())
    assert len(drawn) >= hf.Run.load().state.updates
    assert max(map(len, drawn)) <= 60
    assert all("loss" in line for line in drawn)
    # The cursor is there again.
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")


def test_a_pipe_gets_a_line_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(terminal, "HEARTBEAT_SECONDS", 0.01)
    told = threading.Event()
    echo = terminal.click.echo

    def tell(*texts, **options):
        echo(*texts, **options)
        told.set()

    monkeypatch.setattr(terminal.click, "echo", tell)
    with show_status("compiling") as set_status:
        assert told.wait(10)
        set_status("training")
        told.clear()
        assert told.wait(10)
    lines = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"compiling \.\.\. \d+ s", lines[0])
    assert any(line.startswith("training ...") for line in lines)


def test_quick_work_tells_a_pipe_nothing(capsys):
    with show_status("compiling"):
        pass
    assert capsys.readouterr() == ("", "")


def test_a_full_disk_gets_one_line(here):
    with open("/dev/full", "w") as full, in_process("plants", stdout=full) as process:
        assert len(process.stderr.read().splitlines()) == 1
    assert process.returncode == 1


def test_warnings_of_hfcontrol_are_one_line_on_stderr(capsys):
    app._show_warning(HFControlWarning("a folder\nis full"), HFControlWarning)
    captured = capsys.readouterr()
    assert captured.err == "hfcontrol: a folder is full\n" and not captured.out


def test_texts_of_a_strangers_run_are_spelt_out(capsys, run, trained, monkeypatch):
    """A line for each fact; nothing that a terminal would obey."""
    file = max(Path(run).glob("*.h5"))
    tree = checkpoint.load(file)
    tree["command"] = "x\x1b]0;owned\x07\x1b[2J\rprompt"
    tree["stop"] = "\x1b[31mred\nweights/other   1e-9  1  1  1.0  converged"
    tree["task"] = "\u202eblink"
    loaded = replace(Run.load(run), tree=tree)
    monkeypatch.setattr(Run, "load", lambda *_, **__: loaded)
    checkpoint.save(file, tree)
    _, plain, _ = call(capsys, "runs")
    assert len(plain.splitlines()) == 2 and r"\x1b[31mred\nweights/other" in plain
    _, facts, _ = call(capsys, "info", run)
    assert r"\x07\x1b[2J\rprompt" in facts and r"\u202eblink" in facts
    assert all(c.isprintable() or c == "\n" for c in plain + facts)


@pytest.mark.parametrize(
    "command, words",
    [
        ("hfcontrol train --plant mine.py", ["train", "--plant", "mine.py"]),
        ("/x/hfcontrol/__main__.py train", ["train"]),
        ("rm -rf ~", ["train"]),
        ("hfcontrol export", ["train"]),
        ("hfcontrol train '", ["train"]),
        ("", ["train"]),
    ],
)
def test_advice_repeats_only_commands_that_train(command, words):
    assert train_words(command) == ["hfcontrol", *words]
