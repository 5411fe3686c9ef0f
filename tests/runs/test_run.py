"""Runs: what a checkpoint keeps, and that going on from it is the same as never having stopped."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import bits
from trainings import ENVIRONMENT, SMALL, SMALL_OPTIONS, command, in_process, write_cart

import hfcontrol as hf
from hfcontrol.errors import CheckpointError, PlantError, TrainingError, UsageError
from hfcontrol.evaluation.evaluation import evaluate
from hfcontrol.runs import hdf5 as checkpoint
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.folder import RunFolder
from hfcontrol.runs.settings import Settings
from hfcontrol.runs.training import continue_training, start_training
from hfcontrol.training import curriculum as curriculum_module
from hfcontrol.training.stop import StopToken

BRIEF = {**SMALL, "rollouts": 6}  # enough for the cart, which is soon parked


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def interrupted(after, **settings):
    """The folder of a run whose training was interrupted once so many updates were made."""
    training, first = start_training(Settings(**{**SMALL, **settings})), 0
    token = StopToken()
    for event in training.events(token):
        first = event.state.updates if event.kind == "start" else first
        if event.kind != "curriculum" and event.state.updates >= first + after:
            token.stop()
    assert event.stop.word == "interrupted"
    return training.folder.path


def interrupted_curriculum(after, start=None, **settings):
    """The folder of a run whose warm-up was interrupted after so many events."""
    training = start_training(Settings(**{**SMALL, **settings}), start=start)
    token = StopToken()
    for count, event in enumerate(training.events(token), 1):
        if count >= after:
            token.stop()
    assert event.kind == "curriculum" and event.stop.word == "interrupted"
    with pytest.raises(
        CheckpointError, match=f"no checkpoint yet.* --resume {training.folder.path}"
    ):
        training.run
    return training.folder.path


def names(path):
    """Of the files in a run's folder."""
    return sorted(file.name for file in Path(path).iterdir() if file.name != "lock")


def only(folder):
    """The one thing in a folder."""
    (path,) = Path(folder).iterdir()
    return path


def same(run, other):
    """Whether two runs agree in every bit of their state that a clock has no part in."""
    return bits(run.state) == bits(other.state)


def test_what_a_run_tells():
    run = hf.train("arm2", **SMALL)
    told, state = run.info(), run.state
    assert (
        told["loss"]
        == state.loss
        == pytest.approx(run.closed_loop().rollout(run.theta).loss)
    )
    assert told["loss_history"] == [mark.loss for mark in state.history] and told[
        "holds"
    ] == len(state.history)
    assert told["parameters"] == run.theta.size == run.network.size
    assert told["rollouts"] >= SMALL["rollouts"] and told["stop"] == "rollouts"
    assert told["version"] == hf.__version__ and told["task"] == run.trainer.task.name
    assert run.settings == Settings(**SMALL)


def test_the_newest_run_is_found_by_nothing():
    first, second = hf.train("arm2", **SMALL), hf.train("arm2", **SMALL, seed=1)
    assert hf.Run.load().path == second.path != first.path
    assert hf.Run.load(first.path.name).path == first.path
    assert same(hf.Run.load(str(first.path)), first)


def test_events_are_on_disk_when_they_arrive():
    seen = []

    def look(event):
        if event.kind != "update":
            seen.append(hf.Run.load().state.updates == event.state.updates)

    hf.train("arm2", **SMALL, on_event=look)
    assert all(seen) and len(seen) > 2


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"hold": "model", "rollouts": 8},
        {"motor_noise": "10%"},
        {"optimizer": "adam"},
        {"race": 2, "rollouts": 120},
        {"motor_noise": "10%", "average": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("after", [4, 6], ids=["between holds", "inside a hold"])
def test_resumed_is_uninterrupted(settings, after):
    whole, path = (
        hf.train("arm2", **{**SMALL, **settings}),
        interrupted(after, **settings),
    )
    stopped = hf.Run.load(path)
    assert (
        stopped.info()["stop"] == "interrupted"
        and stopped.state.updates < whole.state.updates
    )
    assert same(hf.resume(path), whole)


def test_a_run_stopped_at_every_update_is_uninterrupted():
    whole, path, ended = hf.train("arm2", **SMALL), interrupted(1), "interrupted"
    while ended == "interrupted":
        training = continue_training(hf.Run.load(path))
        token = StopToken()
        for event in training.events(token):
            token.stop()
        ended = event.stop.word
    assert ended == "rollouts" and same(hf.Run.load(path), whole)


def test_a_controller_may_be_the_mean_of_the_last_weights(here):
    """By hand, over the holds, all of them accepted: of three averaged the plain mean of the third to fifth, then a part of the way to each
    other one. The weights that are trained go their way as if nobody averaged them, and before the third hold are the controller's."""
    thetas, asked = (
        [],
        {**SMALL, "task": "anywhere", "grow": 1, "batches": 2, "rollouts": 80},
    )

    def look(event):
        if event.kind == "hold":
            assert event.accepted
            thetas.append(event.state.optimizer.theta)
            assert np.array_equal(event.state.theta, thetas[-1]) == (len(thetas) <= 3)

    run = hf.train("arm2", **asked, average=3, on_event=look)
    mean = np.mean(thetas[2:5], axis=0)
    for theta in thetas[5:]:
        mean = 2 / 3 * mean + theta / 3
    assert len(thetas) > 6 and np.array_equal(
        run.state.optimizer.theta, hf.train("arm2", **asked).theta
    )
    np.testing.assert_allclose(run.theta, mean, rtol=0, atol=1e-13)
    assert np.array_equal(hf.Run.load(run.path).theta, run.theta)
    np.testing.assert_array_equal(
        hf.Controller.load(run.path).weights, run.network.weights(run.theta)
    )


def test_a_limit_may_change():
    whole, path = (
        hf.train("arm2", **SMALL),
        hf.train("arm2", **{**SMALL, "rollouts": 12}).path,
    )
    assert same(hf.resume(path, rollouts=SMALL["rollouts"]), whole)
    with pytest.raises(UsageError, match="`resume` with `hidden`"):
        hf.resume(path, hidden=(3,))


@pytest.mark.parametrize("limits", [{"target_loss": 0.5}, {"rollouts": 12}], ids=str)
def test_a_run_that_has_ended_stays_as_it_is(limits):
    run = hf.train("arm2", **{**SMALL, **limits})
    again = hf.resume(run.path)
    assert again.info()["stop"] == run.info()["stop"] and same(again, run)


def test_a_converged_run_stays_as_it_is():
    run = hf.train(str(write_cart(".")), hidden=(3,), batches=8, hold="scenario")
    again = hf.resume(run.path)
    assert run.info()["stop"] == again.info()["stop"] == "converged" and same(
        again, run
    )


def test_from_the_weights_of_another():
    run = hf.train("arm2", **SMALL)
    training = start_training(Settings(**SMALL, effort=1e-3), start=run)
    np.testing.assert_array_equal(training.state.theta, run.theta)
    assert training.folder.path != run.path and training.state.updates == 0
    assert hf.train("arm2", **SMALL, start=run).state.loss < run.state.loss


@pytest.mark.parametrize(
    "other",
    [
        {"hidden": (6, 4)},
        {"skip": "none"},
        {"recurrent": (1,)},
        {"cell": "linear"},
        {"learn_start": True},
        {"space": "hand"},
        {"plant": "arm1"},
        {"race": 2},
    ],
    ids=str,
)
def test_from_weights_that_do_not_fit(other):
    run = hf.train("arm2", **{**SMALL, "rollouts": 1})
    with pytest.raises(UsageError, match="`start`"):
        start_training(Settings(**{**SMALL, **other}), start=run)


def test_a_race_goes_on_with_the_best():
    settings = Settings(**{**SMALL, "rollouts": None}, race=3)
    trainer = make_trainer(settings)
    ends = [curriculum_module.run_curriculum(trainer, settings.changed(race=1))]
    for event in trainer.run(ends[0]):
        if event.state.updates >= curriculum_module.RACE_UPDATES:
            break
    best = curriculum_module.run_curriculum(trainer, settings)
    assert (
        best.updates >= curriculum_module.RACE_UPDATES and best.loss <= event.state.loss
    )
    assert (
        best.rollouts > event.state.rollouts
        and best.counts.jacobian_steps == 3 * event.state.counts.jacobian_steps
    )


@pytest.mark.parametrize(
    "settings", [{"rollouts": 100}, {"rollouts": 16, "hold": "model"}], ids=str
)
def test_killed_at_any_instant(settings):
    """A training killed again and again ends with the bits of one that never was."""
    whole = hf.train("arm2", **{**SMALL, **settings})
    options = [
        word for name, value in settings.items() for word in (f"--{name}", value)
    ]
    begin, path = ("--out", "killed", *SMALL_OPTIONS, *options), None
    for delay in np.random.default_rng().uniform(0, 0.15, 3):
        with in_process(
            "train", "--json", *(("--resume", path) if path else begin)
        ) as process:
            process.stdout.readline()  # a checkpoint is there
            time.sleep(delay)
            process.kill()
        path = only("killed")
        assert all(checkpoint.load(file) for file in path.glob("*.h5"))
    assert same(hf.resume(path), whole)


WARMING = {**SMALL, "effort": 1e-3, "grow": 2, "race": 2, "rollouts": 70}


def test_a_warm_up_that_was_interrupted_is_gone_on_with():
    whole = hf.train("arm2", **WARMING)
    for after in (2, 12):
        path = interrupted_curriculum(after, **WARMING)
        assert names(path) == ["warming.h5"]
        assert (
            same(hf.resume(path), whole)
            and hf.Run.load(path).info()["stop"] == whole.info()["stop"]
        )
        assert names(path) == names(whole.path)


def test_a_warm_up_that_was_interrupted_twice_and_then_the_training():
    """With trajectories to follow, which are found again each time."""
    settings = {**SMALL, "effort": 1e-3, "guide": 1, "rollouts": 50}
    whole, path = hf.train("arm2", **settings), interrupted_curriculum(5, **settings)
    for kind in ("curriculum", "hold"):
        training = continue_training(hf.Run.load(path, allow_unfinished=True))
        token = StopToken()
        for count, event in enumerate(training.events(token)):
            if count > 5 and event.kind == kind:
                token.stop()
    assert hf.Run.load(path).info()["stop"] == "interrupted" and same(
        hf.resume(path), whole
    )


def test_a_warm_up_from_the_weights_of_another_run_needs_it_no_more():
    start = hf.train("arm2", **SMALL)
    whole = hf.train("arm2", **SMALL, grow=2, start=start)
    path = interrupted_curriculum(4, start, grow=2)
    shutil.rmtree(start.path)
    assert same(hf.resume(path), whole)


STUCK = """
import time
from hfcontrol.cli import main
from hfcontrol.optim.hessian_free import HessianFree

step, made = HessianFree.step, []

def stuck(*arguments):
    made.append(len(made))
    if len(made) == 6:
        print("stuck", flush=True)
        time.sleep(60)
    return step(*arguments)

HessianFree.step = stuck
main()
"""


def test_killed_in_its_warm_up():
    """In the sixth update, which is of the third horizon, after whose first hold it goes on."""
    whole = hf.train("arm2", **SMALL, grow=2)
    program = [
        sys.executable,
        "-c",
        STUCK,
        "train",
        *SMALL_OPTIONS,
        "--grow",
        "2",
        "--out",
        "killed",
    ]
    with subprocess.Popen(
        program, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    ) as process:
        while process.stdout.readline() != "stuck\n":
            assert process.poll() is None
        process.kill()
    path = only("killed")
    assert names(path) == ["warming.h5"]
    warming = hf.Run.load(path, allow_unfinished=True).curriculum
    assert (warming.stage, warming.stage_started) == (
        2,
        False,
    ) and warming.training.rollouts > 0
    seen = []
    assert same(
        hf.resume(path, on_event=lambda event: seen.append(event.activity)), whole
    ) and seen[0].startswith("growing, 5 steps")


def test_the_limit_of_seconds_in_a_warm_up_leaves_a_run_that_goes_on_with_it():
    """The controller as it is then can be judged; what it was trained on from there is not what the run goes on from."""
    whole = hf.train("arm2", **WARMING)
    run = hf.train("arm2", **WARMING, max_seconds=1e-6)
    assert (
        run.info()["stop"] == "time"
        and run.state.updates == 0
        and "warming.h5" in names(run.path)
    )
    RunFolder(run.path).save(
        {}, 99, 1.0
    )  # another such, of an initialisation that did not win
    again = hf.resume(run.path, max_seconds=1000)
    assert same(again, whole) and names(run.path) == names(whole.path)


def test_a_checkpoint_from_the_midst_of_a_warm_up_may_be_gone_on_from_instead():
    run = hf.train("arm2", **WARMING, max_seconds=1e-6)
    hf.resume(run.folder.newest().path, max_seconds=1000, rollouts=20)
    assert hf.Run.load(run.path).state.updates > 0 and "warming.h5" not in names(
        run.path
    )
    assert hf.resume(run.path).info()["stop"] == "rollouts"


def test_a_limit_may_change_in_the_warm_up_and_nothing_else():
    whole = hf.train("arm2", **{**SMALL, "rollouts": 60}, grow=2)
    path = interrupted_curriculum(4, grow=2)
    with pytest.raises(UsageError, match="`resume` with `grow`"):
        hf.resume(path, grow=3)
    assert same(hf.resume(path, rollouts=60), whole)


def test_a_plant_that_has_changed_since_its_warm_up():
    plant = write_cart(".")
    path = interrupted_curriculum(4, plant=str(plant), grow=2)
    write_cart(".", drag=("0.1 * x", "0.2 * x"))
    with pytest.raises(TrainingError, match="`force`"):
        hf.resume(path)
    assert hf.resume(path, force=True).state.updates > 0


def test_nothing_but_going_on_is_done_with_a_run_in_its_warm_up():
    path = interrupted_curriculum(4, grow=2)
    for use in (hf.evaluate, hf.Controller.load, hf.Run.load):
        for where in (path, None, path / "warming.h5"):
            with pytest.raises(
                CheckpointError,
                match=f"^{path} has no checkpoint yet.* continue with: hfcontrol train --resume {path}$",
            ):
                use(where)
    with RunFolder(path).lock(), pytest.raises(CheckpointError, match="in use"):
        hf.resume(path)
    assert hf.resume().path == path


def test_as_many_threads_as_you_like():
    for threads in ("1", "2"):
        subprocess.run(
            command(
                "train",
                "--trials",
                70,
                "--steps",
                20,
                "--rollouts",
                30,
                "--quiet",
                "--out",
                threads,
            ),
            env={**ENVIRONMENT, "NUMBA_NUM_THREADS": threads},
            check=True,
        )
    one, two = (hf.Run.load(only(threads)) for threads in ("1", "2"))
    assert one.state.updates > 5 and same(one, two)


def test_one_training_at_a_time():
    path = interrupted(4)
    with (
        hf.Run.load(path).folder.lock(),
        pytest.raises(CheckpointError, match=f"process id {os.getpid()}"),
    ):
        hf.resume(path)


def test_a_full_disk_leaves_the_last_whole_checkpoint(monkeypatch):
    whole = hf.train("arm2", **SMALL)
    training, files = start_training(Settings(**SMALL)), []

    def full(descriptor):
        raise OSError(28, os.strerror(28))

    with (
        monkeypatch.context() as patch,
        pytest.raises(CheckpointError, match=f"{os.strerror(28)}; make room"),
    ):
        for event in training.events():
            files = training.folder.checkpoints()
            if event.state.holds == 1:
                patch.setattr("hfcontrol.arrays.files.os.fsync", full)
    assert training.folder.checkpoints() == files and len(files) == 2
    assert [
        path.name
        for path in training.folder.path.iterdir()
        if path.name.endswith(".tmp")
    ] == []
    assert same(hf.resume(training.folder.path), whole)


def test_a_checkpoint_runs_no_code():
    """The plant's source in a checkpoint is compared with, and whatever else stands there is data."""
    run = hf.train(str(write_cart(".")), **BRIEF)
    tree = dict(run.tree)
    tree["plant"] = {
        **tree["plant"],
        "source": "import pathlib; pathlib.Path('ran').touch()",
    }
    file = run.folder.newest().path
    checkpoint.save(file, tree)
    evaluate(hf.Run.load(file))
    hf.resume(file, rollouts=12)
    assert not os.path.exists("ran")
    assert b"pickle" not in file.read_bytes()


def test_a_plant_that_has_changed():
    plant = write_cart(".")
    run = hf.train(str(plant), **BRIEF)
    assert not run.plant_changed
    write_cart(".", drag=("0.1 * x", "0.2 * x"))
    assert hf.Run.load(run.path).plant_changed
    with pytest.raises(TrainingError, match="`force`"):
        hf.resume(run.path, rollouts=12)
    assert hf.resume(run.path, rollouts=12, force=True).state.rollouts == 12
    assert not hf.Run.load(run.path).plant_changed


def test_a_plant_that_has_moved():
    plant = write_cart(".")
    whole, run = (
        hf.train(str(plant), **{**BRIEF, "rollouts": 12}),
        hf.train(str(plant), **BRIEF),
    )
    os.rename(plant, "moved.py")
    assert hf.Run.load(run.path).info()["plant"] == str(plant.resolve())
    for use in (hf.resume, evaluate):
        with pytest.raises(PlantError, match="--plant FILE"):
            use(run.path)
    assert same(hf.resume(run.path, plant="moved.py", rollouts=12), whole)
    assert hf.Run.load(run.path).plant.path.name == "moved.py"


def test_a_plant_that_no_longer_fits():
    run = hf.train(str(write_cart(".")), **BRIEF)
    write_cart(
        ".", state=('("place", "place_rate")', '("place", "place_rate", "more")')
    )
    with pytest.raises(PlantError, match="weights"):
        hf.resume(run.path, force=True)


def test_a_checkpoint_of_something_else(tmp_path):
    checkpoint.save(tmp_path / "00001-loss1.0e+00.h5", {"settings": {}, "state": 3})
    with pytest.raises(
        CheckpointError, match="cannot read its checkpoint as a training"
    ):
        hf.Run.load(tmp_path)


def test_an_older_checkpoint_is_gone_on_from():
    run = hf.train("arm2", **SMALL)
    first = run.folder.first()
    training = continue_training(hf.Run.load(first.path), {"rollouts": 12})
    for _ in training.events():
        pass
    assert (
        training.run.state.updates
        < run.state.updates
        == hf.Run.load(run.path).state.updates
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_signals_end_a_training_whole(number):
    whole = hf.train("arm2", **{**SMALL, "rollouts": 100})
    with in_process(
        "train", *SMALL_OPTIONS, "--rollouts", 100, "--json", "--out", "stopped"
    ) as process:
        process.stdout.readline()
        process.send_signal(number)
        last, said = process.stdout.read().splitlines()[-1], process.stderr.read()
    assert process.returncode == 0 and '"stop": "interrupted"' in last
    assert said.split("\n")[1:] == [
        "finishing the update in progress; Ctrl-C again stops at once",
        "",
    ]
    assert same(hf.resume(only("stopped")), whole)


def test_the_shipped_run_is_whole_and_good():
    """What the README shows: it loads, its plant is the shipped one, and its loss is that of its weights, near the best."""
    run = hf.Run.load(Path(hf.__file__).parent.parent / "weights" / "arm2-reach")
    numbers = hf.evaluate(run)["sets"]["held_out"]
    assert (
        not run.plant_changed
        and run.tree["command"] == "hfcontrol train --plant arm2 --batches 32"
    )
    assert run.closed_loop(taper=True).rollout(run.theta).loss == pytest.approx(
        run.state.loss, rel=1e-9
    )
    assert (
        numbers["ratio"] < 1.001
        and numbers["success"] == 1
        and numbers["error"]["mean"] < 0.1
    )
