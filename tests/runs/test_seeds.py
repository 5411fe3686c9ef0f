"""Many seeds of one training: each the run that its seed alone makes, the best first."""

import io
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from trainings import call, complaint, in_process

import hfcontrol as hf
from hfcontrol.errors import TrainingError, UsageError
from hfcontrol.optim.hessian_free import HessianFree
from hfcontrol.runs import seeds as many
from hfcontrol.runs.seeds import parse_seeds, train_seeds
from hfcontrol.runs.settings import Settings, settings_for

TINY = {
    "plant": "arm2",
    "trials": 4,
    "steps": 5,
    "hidden": (4, 3),
    "rollouts": 3,
    "effort": 0.0,
}


@pytest.mark.parametrize(
    "text, seeds",
    [("0-3", [0, 1, 2, 3]), ("7", [7]), ("5,1-2", [1, 2, 5]), ("0,0,1-1", [0, 1])],
)
def test_seeds_are_named_by_numbers_and_ranges(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "3-1", "0-5000", "-1", "1..3", "0-", "1.5"])
def test_other_words_are_refused(text):
    with pytest.raises(UsageError, match="whole numbers such as 0-31"):
        parse_seeds(text)


def test_each_is_the_run_that_its_seed_alone_makes(tmp_path):
    """Bit for bit, though it had one thread of its own; the best comes first, and all can be gone on with."""
    came = []
    outcomes = train_seeds(
        settings_for(**TINY),
        [0, 1, 2],
        tmp_path / "many",
        2,
        "hfcontrol train",
        came.append,
    )
    assert sorted(o.seed for o in came) == [0, 1, 2] and [
        o.loss for o in outcomes
    ] == sorted(o.loss for o in outcomes)
    for outcome in outcomes:
        alone = hf.train(out=tmp_path / "alone", seed=outcome.seed, **TINY)
        run = hf.Run.load(outcome.path)
        assert (
            np.array_equal(run.theta, alone.theta)
            and run.state.loss == alone.state.loss == outcome.loss
        )
        assert (
            run.settings == alone.settings
            and run.info()["command"] == f"hfcontrol train --seed {outcome.seed}"
        )


def test_a_training_that_cannot_start_says_why_once(tmp_path):
    with pytest.raises(TrainingError, match="horizon of 5 steps"):
        train_seeds(Settings(**TINY, feedback_delay=9), [0, 1], tmp_path, 1)


def test_the_command_shows_every_seed_and_the_spread(capsys, tmp_path):
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
        "--out",
        tmp_path,
    ]
    status, out, _ = call(capsys, *options, "--seeds", "3-4", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert (
        status == 0
        and [line["event"] for line in lines] == ["seed", "seed", "done"]
        and {line["seed"] for line in lines[:2]} == {3, 4}
    )
    assert lines[2]["loss"] == min(line["loss"] for line in lines[:2]) and lines[2][
        "worst"
    ] == max(line["loss"] for line in lines[:2])
    assert "median" in call(capsys, *options, "--seeds", "3-4", "--jobs", "1")[1]


@pytest.mark.parametrize(
    "options, line",
    [
        (
            ("--seeds", "0-1", "--seed", "3"),
            "--seeds 0-1 with --seed: each seed begins a run of its own",
        ),
        (("--seeds", "0-1", "--from", "x"), "--seeds 0-1 with --from"),
        (("--seeds", "0-1", "--jobs", "0"), "--jobs 0: at least 1 is needed"),
        (("--jobs", "2"), "--jobs 2: it belongs to --seeds"),
    ],
)
def test_options_that_do_not_fit_are_refused(capsys, options, line):
    assert line in complaint(capsys, "train", *options, status=2)


def test_ended_from_outside_it_ends_its_processes_and_tells_how_far_they_came(tmp_path):
    """The signal reaches the parent alone; its group is asked afterwards whether anyone of it is left."""
    with in_process(
        "train",
        "--plant",
        "arm2",
        "--task",
        "anywhere",
        "--seeds",
        "0,1",
        "--jobs",
        2,
        "--trials",
        4,
        "--steps",
        5,
        "--hidden",
        3,
        "--grow",
        0,
        "--out",
        tmp_path,
        start_new_session=True,
    ) as process:
        while (
            len({file.parent for file in tmp_path.glob("*/*.h5")}) < 2
            and process.poll() is None
        ):  # both train
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        said, errors = process.communicate(timeout=60)
    assert said.count("interrupted") == 2 and "best: seed" in said and not errors
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_one_that_is_stopped_in_its_warm_up_is_kept_and_told(
    tmp_path, monkeypatch, capsys
):
    """The process of a seed, run here, is signalled in its third update."""
    step, made, said = HessianFree.step, [], []

    def update(*arguments):
        made.append(None)
        if len(made) == 3:
            signal.raise_signal(signal.SIGINT)
        return step(*arguments)

    def here(asked):
        before = [
            (number, signal.getsignal(number))
            for number in (signal.SIGINT, signal.SIGTERM)
        ]
        monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(asked)))
        try:
            many._answer()
        finally:
            for number, handler in before:
                signal.signal(number, handler)
        return json.loads(capsys.readouterr().out)

    settings = settings_for(**{**TINY, "rollouts": 20, "grow": 2})
    whole = hf.train(out=tmp_path / "whole", **settings.tree())
    monkeypatch.setattr(HessianFree, "step", update)
    monkeypatch.setattr(
        many,
        "_in_processes",
        lambda settings, seeds, out, jobs, command, note: note(
            seeds[0],
            here({"settings": settings.tree(), "out": str(out), "command": command}),
        ),
    )
    with pytest.raises(TrainingError, match="`hfcontrol runs` lists what was saved"):
        train_seeds(settings, [0], tmp_path, 1, "hfcontrol train", tell=said.append)
    path = Path(
        said[0].rpartition(
            "seed    0  stopped in its warm-up; go on with: hfcontrol train --resume "
        )[2]
    )
    assert (path / "warming.h5").exists() and np.array_equal(
        hf.resume(path).theta, whole.theta
    )
