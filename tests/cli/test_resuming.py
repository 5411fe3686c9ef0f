"""Resuming a run by the command that was printed, and stopping by signals."""

import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from trainings import (
    CART,
    ENVIRONMENT,
    PATIENT,
    SMALL_OPTIONS,
    call,
    complaint,
    in_process,
    strict_json,
    write_cart,
)

import hfcontrol as hf
from hfcontrol.errors import HFControlWarning
from hfcontrol.optim.hessian_free import HessianFree
from hfcontrol.runs.folder import RunFolder


def test_the_printed_command_resumes_the_run(capsys, here):
    out = call(capsys, "train", *SMALL_OPTIONS)[1]
    before = hf.Run.load()
    words = re.search("^continue with: hfcontrol (.*)$", out, re.MULTILINE)[1].split()
    status, out, err = call(capsys, *words)
    assert status == 0 and not err and f"after {before.state.updates} updates" in out
    assert hf.Run.load().state.rollouts >= 2 * before.settings.rollouts
    assert hf.Run.load().info()["command"] == before.info()["command"]


def test_resuming_with_a_changed_and_a_moved_plant(capsys, here):
    plant = write_cart(here)
    call(capsys, "train", *SMALL_OPTIONS, "--plant", plant, "--rollouts", 6, "--quiet")
    plant.write_text(CART + "# changed\n")
    run = hf.Run.load().path
    resume = ["train", "--resume", run, "--rollouts", 8]
    text = complaint(capsys, *resume, status=2)
    assert "changed since you trained on it" in text and f"--plant {plant}" in text
    assert "--force" in complaint(capsys, *resume, "--plant", plant, status=1)
    changed = f"{plant} changed since {run} was trained"
    with warnings.catch_warnings():
        # The command line prints them.
        warnings.simplefilter("always", HFControlWarning)
        status, _, err = call(capsys, "evaluate", "--plant", plant, "--no-judge")
        assert status == 0 and f"hfcontrol: {changed}" in err
        status, out, err = call(capsys, *resume, "--force", "--quiet")
        assert status == 0 and not out and f"hfcontrol: {changed}" in err
    plant.rename("moved.py")
    assert "--plant FILE" in complaint(
        capsys, "train", "--resume", run, "--rollouts", 10, status=2
    )
    words = ["--rollouts", 10, "--plant", "moved.py", "--quiet"]
    assert call(capsys, "train", "--resume", run, *words) == (0, "", "")
    assert hf.Run.load().state.rollouts == 10


def test_the_time_limit_ends_training(capsys, here):
    out = call(capsys, "train", *SMALL_OPTIONS[:-2], "--max-seconds", "0.001")[1]
    assert "time limit reached" in out and re.search(
        "--resume .* --max-seconds 0.002$", out, re.MULTILINE
    )


def test_resuming_an_empty_name_creates_no_run(capsys, run):
    complaint(capsys, "train", "--resume", "", status=1)
    assert len(call(capsys, "runs")[1].splitlines()) == 2


def test_a_run_in_use_is_not_resumed(capsys, run):
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
    """The first signal waits for the update in progress, the second does not."""
    program = [
        sys.executable,
        "-c",
        PATIENT + LONG_UPDATE,
        "train",
        *SMALL_OPTIONS,
        "--json",
    ]
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
                assert process.stderr.readline() == "\n"
                assert "again" in process.stderr.readline()
        printed = process.stderr.read()
    assert process.returncode == 130
    assert len(printed.splitlines()) == 1
    assert f"hfcontrol train --resume {hf.Run.load().path}" in printed


@pytest.fixture
def signals(monkeypatch):
    """Send signals during the fifth update; the entry of the list is their number."""
    step = HessianFree.step
    updates = []
    signals = [1]

    def update(*arguments):
        updates.append(None)
        if len(updates) == 5:
            for _ in range(signals[0]):
                signal.raise_signal(signal.SIGINT)
        return step(*arguments)

    monkeypatch.setattr(HessianFree, "step", update)
    return signals


def test_stopping_in_the_curriculum(capfd, here, signals):
    """All commands then say that the run is unfinished, and how to continue it."""
    status, out, err = call(capfd, "train", *SMALL_OPTIONS, "--grow", 3)
    (folder,) = map(RunFolder, Path("weights").iterdir())
    words = f"hfcontrol train --resume {folder.path}"
    assert status == 0 and err.split("\n")[1:] == [
        "finishing the update in progress; Ctrl-C again stops at once",
        "",
    ]
    stopped, how = out.splitlines()[-2:]
    assert re.fullmatch(
        r"stopped: interrupted, in the curriculum \(growing, 2 steps\), "
        r"\d+\.\d s",
        stopped,
    )
    assert how == f"continue with: {words}"
    assert folder.curriculum_file and not folder.checkpoints()

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
    assert status == 0
    assert "\ncontinuing with the curriculum: growing, 2 steps\n" in out
    assert not folder.curriculum_file
    assert len(call(capfd, "runs")[1].splitlines()) == 2
    assert hf.Run.load().info()["stop"] == "rollouts"


def test_stopping_in_the_curriculum_in_json(capsys, here, signals):
    status, out, _ = call(capsys, "train", *SMALL_OPTIONS, "--grow", 3, "--json")
    last = strict_json(out.splitlines()[-1])
    assert status == 0
    assert last.pop("seconds") > 0
    assert RunFolder(Path(last.pop("run"))).curriculum_file
    assert last.pop("warming").startswith("growing, 2 steps: update 2, loss ")
    assert last == {"event": "done", "stop": "interrupted"}


def test_stopping_in_the_curriculum_at_once(capsys, here, signals):
    signals[0] = 2
    words = [*SMALL_OPTIONS, "--grow", 3, "--quiet"]
    line = complaint(capsys, "train", *words, status=130)
    how = "continue from the last checkpoint with: hfcontrol train --resume weights/"
    assert how in line

    (path,) = Path("weights").iterdir()
    assert call(capsys, "train", "--resume", path, "--quiet") == (0, "", "")


def test_the_time_limit_ends_the_curriculum(capsys, here):
    """The controller is evaluated nevertheless."""
    words = [*SMALL_OPTIONS, "--grow", 3, "--max-seconds", "0.001"]
    out = call(capsys, "train", *words)[1]
    assert (
        "stopped: time limit reached, in the curriculum (growing, 1 step); training "
        "loss "
        in out
        and "ratio to optimal" in out
    )

    how = "^continue with: hfcontrol (.* --max-seconds) 0.002$"
    words = re.search(how, out, re.MULTILINE)[1].split()
    again = call(capsys, *words, 100)[1]
    assert (
        "continuing with the curriculum: growing, 1 step" in again
        and "rollout limit reached; training loss " in again
    )


def test_stopping_an_evaluation(run):
    with in_process("evaluate", run, "--trials", 40000) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (process.returncode, out, err.strip()) == (130, "", "hfcontrol: stopped")


def test_a_closed_pipe_ends_training_quietly(here):
    with in_process("train", *SMALL_OPTIONS, "--rollouts", 300) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1
