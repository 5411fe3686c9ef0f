"""Training with many seeds: each makes the run of that seed alone; best first."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from trainings import call, complaint, in_process

import hfcontrol as hf
from hfcontrol.errors import TrainingError, UsageError
from hfcontrol.jobs import seeds, training_job, trainings
from hfcontrol.jobs.protocol import LOST_WORKER, Update
from hfcontrol.jobs.seeds import parse_seeds, train_seeds
from hfcontrol.jobs.trainings import Followers
from hfcontrol.optim.hessian_free import HessianFree
from hfcontrol.runs.settings import Settings, settings_for

TINY = {
    "plant": "arm2",
    "trials": 4,
    "steps": 5,
    "hidden": (4, 3),
    "rollouts": 3,
    "effort": 0.0,
    "strategy": "plain",
}


@pytest.mark.parametrize(
    "text, numbers",
    [("0-3", [0, 1, 2, 3]), ("7", [7]), ("5,1-2", [1, 2, 5]), ("0,0,1-1", [0, 1])],
)
def test_parse_seeds_reads_numbers_and_ranges(text, numbers):
    assert parse_seeds(text) == numbers


@pytest.mark.parametrize("text", ["", "a", "3-1", "0-5000", "-1", "1..3", "0-", "1.5"])
def test_parse_seeds_refuses_other_texts(text):
    with pytest.raises(UsageError, match="whole numbers such as 0-31"):
        parse_seeds(text)


def test_each_seed_makes_the_run_of_that_seed_alone(tmp_path):
    """Bit for bit, although it trains in another process with one thread."""
    reported = []
    outcomes = train_seeds(
        settings_for(**TINY),
        [0, 1, 2],
        tmp_path / "many",
        2,
        "hfcontrol train",
        Followers(reported.append),
    ).best_first
    assert sorted(o.seed for o in reported) == [0, 1, 2]
    losses = [o.loss for o in outcomes]
    assert losses == sorted(losses)
    for outcome in outcomes:
        alone = hf.train(out=tmp_path / "alone", seed=outcome.seed, **TINY)
        run = hf.Run.load(outcome.path)
        assert np.array_equal(run.theta, alone.theta)
        assert run.state.loss == alone.state.loss == outcome.loss
        assert run.settings == alone.settings
        assert run.info()["command"] == f"hfcontrol train --seed {outcome.seed}"


def test_no_process_is_left_after_training(tmp_path):
    train_seeds(settings_for(**TINY), [0, 1], tmp_path, 2)
    assert not multiprocessing.active_children()


def test_a_training_that_cannot_start_reports_its_fault_once(tmp_path):
    with pytest.raises(TrainingError, match="horizon of 5 steps"):
        train_seeds(Settings(**TINY, feedback_delay=9), [0, 1], tmp_path, 1)


def test_seed_of_a_killed_process_goes_on_elsewhere(tmp_path):
    """From its last checkpoint, to the same bits; the other process ends too."""
    killed = []

    def kill(report):
        if report["seed"] == 1 and not killed:
            killed.append(report["process"])
            os.kill(report["process"], signal.SIGKILL)

    settings = settings_for(**{**TINY, "rollouts": 40, "batches": 1})
    outcomes = train_seeds(
        settings, [0, 1], tmp_path / "many", 2, follow=Followers(report=kill)
    )
    assert killed and not outcomes.lost and len(outcomes.best_first) == 2
    # One run folder per seed: the second process has found that of the first.
    assert len(list((tmp_path / "many").iterdir())) == 2
    alone = hf.train(out=tmp_path, **settings.changed(seed=1).tree())
    (run,) = [hf.Run.load(o.path) for o in outcomes.best_first if o.seed == 1]
    assert np.array_equal(run.theta, alone.theta)
    assert run.state.rollouts == alone.state.rollouts


def test_lost_seeds_are_named_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    def follow(engine, caller, say):
        for key, job in engine.calls.items():
            if key in ("seed2", "seed3"):
                yield Update(key, "lost", LOST_WORKER)
            else:
                result = job.function(key, job.argument, engine.channel)
                yield Update(key, "finished", result)

    monkeypatch.setattr(trainings, "_follow", follow)
    text = "--trials 4 --steps 5 --hidden 4 --rollouts 1 --strategy plain --no-judge"
    options = [*text.split(), "--out", tmp_path, "--seeds", "2-5", "--jobs", "1"]
    status, out, errors = call(capsys, "train", *options, "--json")
    assert status == 1 and len(errors.splitlines()) == 1
    assert "seeds 2, 3: its worker" in errors and "--seeds 2,3" in errors
    done = json.loads(out.splitlines()[-1])
    assert done["seeds"] == 2 and set(done["lost"]) == {"2", "3"}


def test_seed_that_fails_is_named_although_others_succeed(tmp_path, monkeypatch):
    """Also without memory, and with different reasons."""
    start = training_job.start_training
    faults = {1: TrainingError("it diverged"), 2: MemoryError()}

    def start_or_fail(settings, *arguments, **options):
        if settings.seed in faults:
            raise faults[settings.seed]
        return start(settings, *arguments, **options)

    monkeypatch.setattr(training_job, "start_training", start_or_fail)
    outcomes = train_seeds(settings_for(**TINY), [0, 1, 2], tmp_path, 1)
    assert [outcome.seed for outcome in outcomes.best_first] == [0]
    line = seeds.describe_lost(outcomes.lost)
    assert "2 of the seeds" in line and "seed 1: it diverged" in line
    assert "seed 2: there was not enough memory" in line


def test_command_shows_every_seed_and_the_spread(capsys, tmp_path):
    options = [
        "train",
        "--plant",
        "arm2",
        "--trials",
        "4",
        "--steps",
        "5",
        "--hidden",
        "4",
        "--rollouts",
        "2",
        "--strategy",
        "plain",
        "--out",
        tmp_path,
    ]
    status, out, _ = call(capsys, *options, "--seeds", "3-4", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert [line["event"] for line in lines] == ["seed", "seed", "done"]
    assert {line["seed"] for line in lines[:2]} == {3, 4}
    losses = [line["loss"] for line in lines[:2]]
    assert lines[2]["loss"] == min(losses)
    assert lines[2]["worst"] == max(losses)
    assert "median" in call(capsys, *options, "--seeds", "3-4", "--jobs", "1")[1]


@pytest.mark.parametrize(
    "options, line",
    [
        (
            ("--seeds", "0-1", "--seed", "3"),
            "--seeds 0-1 with --seed: each seed starts its own run",
        ),
        (("--seeds", "0-1", "--from", "x"), "--seeds 0-1 with --from"),
        (("--seeds", "0-1", "--jobs", "0"), "--jobs 0: must be at least 1"),
        (("--jobs", "2"), "--jobs 2: applies only with --seeds"),
    ],
)
def test_options_that_exclude_each_other_are_refused(capsys, options, line):
    assert line in complaint(capsys, "train", *options, status=2)


def wait_for_end_of_group(process, seconds=30):
    """Wait until no process of the group is left, not even an unreaped one."""
    deadline = time.monotonic() + seconds
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
            time.sleep(0.1)


@pytest.mark.parametrize(
    "number, to_group",
    [
        pytest.param(signal.SIGHUP, False, marks=pytest.mark.slow),
        (signal.SIGINT, True),
    ],
    ids=["SIGHUP to the parent", "SIGINT to the group"],
)
def test_signal_stops_all_processes_after_their_update(tmp_path, number, to_group):
    """Whether it reaches the parent alone, or all processes as from a terminal.

    The third seed waits for one of two processes.
    """
    with in_process(
        "train",
        "--plant",
        "arm2",
        "--task",
        "anywhere",
        "--seeds",
        "0-2",
        "--jobs",
        2,
        "--trials",
        4,
        "--steps",
        5,
        "--hidden",
        3,
        "--strategy",
        "plain",
        "--grow",
        0,
        "--out",
        tmp_path,
        start_new_session=True,
    ) as process:
        while process.poll() is None:
            training = {file.parent for file in tmp_path.glob("*/*.h5")}
            if len(training) == 2:
                break
            time.sleep(0.05)
        (os.killpg if to_group else os.kill)(process.pid, number)
        said, errors = process.communicate(timeout=60)
    assert said.count("interrupted") == 2
    assert "best: seed" in said
    assert "not started: train them with --seeds 2\n" in said
    assert not errors
    wait_for_end_of_group(process)


@pytest.mark.slow
def test_processes_of_a_killed_parent_end(tmp_path):
    """They stop after their update, and a checkpoint is kept."""
    text = "--seeds 0,1 --jobs 2 --trials 4 --steps 5 --hidden 3 --grow 0"
    options = [*text.split(), "--strategy", "plain"]
    with in_process(
        "train",
        "--task",
        "anywhere",
        *options,
        "--out",
        tmp_path,
        start_new_session=True,
    ) as process:
        while len({file.parent for file in tmp_path.glob("*/*.h5")}) < 2:
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
        process.communicate(timeout=60)
    wait_for_end_of_group(process)
    for folder in tmp_path.iterdir():
        assert hf.Run.load(folder).info()["stop"] == "interrupted"


def test_seed_interrupted_in_its_curriculum_can_be_resumed(tmp_path, monkeypatch):
    """One job trains in this process; a signal comes in its third update."""
    step, calls, said = HessianFree.step, [], []

    def signal_in_third_update(*arguments):
        calls.append(None)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return step(*arguments)

    settings = settings_for(**{**TINY, "rollouts": 20, "grow": 2})
    whole = hf.train(out=tmp_path / "whole", **settings.tree())
    monkeypatch.setattr(HessianFree, "step", signal_in_third_update)
    out = tmp_path / "many"
    with pytest.raises(TrainingError, match="`hfcontrol runs` lists what was saved"):
        train_seeds(
            settings,
            [0, 1],
            out,
            1,
            "hfcontrol train",
            follow=Followers(message=said.append),
        )
    assert len(said) == 1  # seed 1 was not started
    path = Path(
        said[0].rpartition(
            "seed    0  stopped in its curriculum; continue with: "
            "hfcontrol train --resume "
        )[2]
    )
    assert (path / "warming.h5").exists()
    assert np.array_equal(hf.resume(path).theta, whole.theta)
