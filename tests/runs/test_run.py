"""Runs: what a checkpoint holds; a resumed training equals an uninterrupted one."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import bits
from trainings import ENVIRONMENT, SMALL, SMALL_OPTIONS, command, in_process, write_cart

import hfcontrol as hf
from hfcontrol.errors import (
    CheckpointError,
    HFControlWarning,
    PlantError,
    TrainingError,
    UsageError,
)
from hfcontrol.evaluation.evaluation import evaluate
from hfcontrol.runs import hdf5 as checkpoint
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.folder import RunFolder
from hfcontrol.runs.settings import Settings
from hfcontrol.runs.state_tree import state_from_tree, state_to_tree
from hfcontrol.runs.training import continue_training, start_training
from hfcontrol.training import curriculum as curriculum_module
from hfcontrol.training.stop import StopToken

BRIEF = {**SMALL, "rollouts": 6}  # enough for the cart, which is soon parked


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def interrupted(after, **settings):
    """The folder of a run that was interrupted after `after` updates."""
    training, first = start_training(Settings(**{**SMALL, **settings})), 0
    token = StopToken()
    for event in training.events(token):
        first = event.state.updates if event.kind == "start" else first
        if event.kind != "curriculum" and event.state.updates >= first + after:
            token.stop()
    assert event.stop.word == "interrupted"
    return training.folder.path


def interrupted_curriculum(after, start=None, **settings):
    """The folder of a run whose curriculum was interrupted after `after` events."""
    training = start_training(Settings(**{**SMALL, **settings}), start=start)
    token = StopToken()
    for count, event in enumerate(training.events(token), 1):  # noqa: B007
        if count >= after:
            token.stop()
    assert event.kind == "curriculum" and event.stop.word == "interrupted"
    with pytest.raises(
        CheckpointError, match=f"no checkpoint yet.* --resume {training.folder.path}"
    ):
        _ = training.run
    return training.folder.path


def names(path):
    """Sorted names of the files in a run's folder, without the lock."""
    return sorted(file.name for file in Path(path).iterdir() if file.name != "lock")


def only(folder):
    """The only entry of a folder."""
    (path,) = Path(folder).iterdir()
    return path


def same(run, other):
    """Whether the states of two runs agree in every bit, except for times."""
    return bits(run.state) == bits(other.state)


def test_info_agrees_with_the_run():
    run = hf.train("arm2", **SMALL)
    info, state = run.info(), run.state
    assert (
        info["loss"]
        == state.loss
        == pytest.approx(run.closed_loop().rollout(run.theta).loss)
    )
    assert info["loss_history"] == [point.loss for point in state.history] and info[
        "holds"
    ] == len(state.history)
    assert info["parameters"] == run.theta.size == run.network.size
    assert info["rollouts"] >= SMALL["rollouts"] and info["stop"] == "rollouts"
    assert info["version"] == hf.__version__ and info["task"] == run.trainer.task.name
    assert run.settings == Settings(**SMALL)


def test_load_without_a_path_finds_the_newest_run():
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
        {"race": 2, "rollouts": 20},
        {"motor_noise": "10%", "average": 2},
        {
            "running": (0.1, 0.1, 0.01, 0.01),
            "target_centre": (0.0, 0.4),
            "target_radius": 0.1,
        },
    ],
    ids=str,
)
@pytest.mark.parametrize("after", [4, 6], ids=["between holds", "inside a hold"])
def test_resumed_training_equals_uninterrupted(settings, after, monkeypatch):
    monkeypatch.setattr(curriculum_module, "RACE_UPDATES", 3)
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


def test_checkpoint_keeps_the_most_updates_of_a_hold(tmp_path):
    """A checkpoint of an older version has no such entry, and no such limit."""
    state = hf.train("arm2", **BRIEF, hold="post").state
    tree = state_to_tree(state)
    del tree["hold"]["most_updates"]
    assert bits(state_from_tree(tree)) == bits(state)

    renewed = replace(state, hold=replace(state.hold, most_updates=1))
    checkpoint.save(tmp_path / "state.h5", {"state": state_to_tree(renewed)})
    tree = checkpoint.load(tmp_path / "state.h5")["state"]
    assert bits(state_from_tree(tree)) == bits(renewed)


def test_training_stopped_at_every_update_equals_uninterrupted():
    settings = {**SMALL, "rollouts": 8}
    whole, path = hf.train("arm2", **settings), interrupted(1, **settings)
    ended = "interrupted"
    while ended == "interrupted":
        training = continue_training(hf.Run.load(path))
        token = StopToken()
        for event in training.events(token):  # noqa: B007 (the last one is used)
            token.stop()
        ended = event.stop.word
    assert ended == "rollouts" and same(hf.Run.load(path), whole)


def test_controller_is_the_mean_of_the_last_weights(here):
    """Compared with a mean computed by hand over the holds, all of which are accepted.

    With three averaged holds it begins as the plain mean of the third to fifth, and
    then moves by a third of the way to each further one. The trained weights do not
    depend on the averaging; until the third hold they are the controller's.
    """
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


def test_resume_accepts_new_limits_and_nothing_else():
    whole, path = (
        hf.train("arm2", **SMALL),
        hf.train("arm2", **{**SMALL, "rollouts": 6}).path,
    )
    assert same(hf.resume(path, rollouts=SMALL["rollouts"]), whole)
    with pytest.raises(UsageError, match="`resume` with `hidden`"):
        hf.resume(path, hidden=(3,))


@pytest.mark.parametrize("limits", [{"target_loss": 0.5, "rollouts": 30}, {}], ids=str)
def test_resuming_a_finished_run_changes_nothing(limits):
    run = hf.train("arm2", **{**SMALL, **limits})
    again = hf.resume(run.path)
    assert again.info()["stop"] == run.info()["stop"] and same(again, run)


@pytest.mark.slow
def test_resuming_a_converged_run_changes_nothing():
    run = hf.train(str(write_cart(".")), hidden=(3,), batches=8, hold="scenario")
    again = hf.resume(run.path)
    assert run.info()["stop"] == again.info()["stop"] == "converged" and same(
        again, run
    )


def test_training_starts_from_the_weights_of_another_run():
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
def test_start_refuses_weights_that_do_not_fit(other):
    run = hf.train("arm2", **{**SMALL, "rollouts": 1})
    with pytest.raises(UsageError, match="`start`"):
        start_training(Settings(**{**SMALL, **other}), start=run)


def test_race_continues_with_the_best():
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
    "settings",
    [
        {"rollouts": 20},
        pytest.param({"rollouts": 16, "hold": "model"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_training_killed_at_any_instant_can_be_resumed(settings):
    """A training that is killed repeatedly ends bit for bit like one that was not."""
    whole = hf.train("arm2", **{**SMALL, **settings})
    options = [
        word for name, value in settings.items() for word in (f"--{name}", value)
    ]
    begin, path = ("--out", "killed", *SMALL_OPTIONS, *options), None
    for delay in np.random.default_rng().uniform(0, 0.15, 2):
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


def test_interrupted_curriculum_can_be_resumed():
    whole = hf.train("arm2", **WARMING)
    for after in (2, 12):
        path = interrupted_curriculum(after, **WARMING)
        assert names(path) == ["warming.h5"]
        assert (
            same(hf.resume(path), whole)
            and hf.Run.load(path).info()["stop"] == whole.info()["stop"]
        )
        assert names(path) == names(whole.path)


def test_curriculum_and_training_can_both_be_interrupted():
    """With guiding trajectories, which are computed again each time."""
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


def test_interrupted_curriculum_does_not_need_the_run_it_started_from():
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


def test_killed_curriculum_can_be_resumed():
    """It is killed in the sixth update, at the third horizon, and resumes there."""
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
    curriculum = hf.Run.load(path, allow_unfinished=True).curriculum
    assert (curriculum.stage, curriculum.stage_started) == (
        2,
        False,
    ) and curriculum.training.rollouts > 0
    seen = []
    assert same(
        hf.resume(path, on_event=lambda event: seen.append(event.activity)), whole
    ) and seen[0].startswith("growing, 5 steps")


def test_time_limit_in_the_curriculum_leaves_a_resumable_run():
    """Its controller can be evaluated; resuming continues the curriculum."""
    whole = hf.train("arm2", **WARMING)
    run = hf.train("arm2", **WARMING, max_seconds=1e-6)
    assert (
        run.info()["stop"] == "time"
        and run.state.updates == 0
        and "warming.h5" in names(run.path)
    )
    RunFolder(run.path).save(
        {}, 99, 1.0
    )  # such as one of an initialisation that did not win
    again = hf.resume(run.path, max_seconds=1000)
    assert same(again, whole) and names(run.path) == names(whole.path)


def test_checkpoint_from_the_middle_of_a_curriculum_can_be_resumed():
    run = hf.train("arm2", **WARMING, max_seconds=1e-6)
    hf.resume(run.folder.newest().path, max_seconds=1000, rollouts=20)
    assert hf.Run.load(run.path).state.updates > 0 and "warming.h5" not in names(
        run.path
    )
    assert hf.resume(run.path).info()["stop"] == "rollouts"


def test_resume_in_the_curriculum_accepts_new_limits_and_nothing_else():
    whole = hf.train("arm2", **{**SMALL, "rollouts": 60}, grow=2)
    path = interrupted_curriculum(4, grow=2)
    with pytest.raises(UsageError, match="`resume` with `grow`"):
        hf.resume(path, grow=3)
    assert same(hf.resume(path, rollouts=60), whole)


def test_resume_in_the_curriculum_refuses_a_changed_plant():
    plant = write_cart(".")
    path = interrupted_curriculum(4, plant=str(plant), grow=2)
    write_cart(".", drag=("0.1 * x", "0.2 * x"))
    with pytest.raises(TrainingError, match="`force`"):
        hf.resume(path, plant=plant)
    with pytest.warns(HFControlWarning, match="changed since"):
        assert hf.resume(path, force=True).state.updates > 0


def test_unfinished_curriculum_can_only_be_resumed():
    path = interrupted_curriculum(4, grow=2)
    for use in (hf.evaluate, hf.Controller.load, hf.Run.load):
        for where in (path, None, path / "warming.h5"):
            with pytest.raises(
                CheckpointError,
                match=f"^{path} has no checkpoint yet.* continue with: "
                f"hfcontrol train --resume {path}$",
            ):
                use(where)
    with RunFolder(path).lock(), pytest.raises(CheckpointError, match="in use"):
        hf.resume(path)
    assert hf.resume().path == path


def test_training_does_not_depend_on_the_number_of_threads():
    for threads in ("1", "2"):
        subprocess.run(
            command(
                "train",
                *SMALL_OPTIONS,
                "--trials",
                70,
                "--steps",
                20,
                "--quiet",
                "--out",
                threads,
            ),
            env={**ENVIRONMENT, "NUMBA_NUM_THREADS": threads},
            check=True,
        )
    one, two = (hf.Run.load(only(threads)) for threads in ("1", "2"))
    assert one.state.updates > 5 and same(one, two)


def test_resume_refuses_a_locked_run():
    path = interrupted(4)
    with (
        hf.Run.load(path).folder.lock(),
        pytest.raises(CheckpointError, match=f"process id {os.getpid()}"),
    ):
        hf.resume(path)


def test_full_disk_leaves_the_last_complete_checkpoint(monkeypatch):
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


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="see follow")
def test_a_folder_that_is_moved_while_training_is_followed():
    whole = hf.train("arm2", **SMALL)
    training = start_training(Settings(**SMALL))
    before = training.folder.path
    for event in training.events():
        if event.kind == "hold" and event.state.holds == 2:
            os.makedirs("other")
            before.rename("other/moved")
    assert not before.exists()
    assert same(training.run, whole) and training.run.path.samefile("other/moved")
    assert names("other/moved") == names(whole.path)


def test_a_folder_that_is_removed_while_training_is_reported():
    training = start_training(Settings(**SMALL))
    with pytest.raises(CheckpointError, match="was removed, or moved to another disk"):
        for event in training.events():
            if event.kind == "hold":
                shutil.rmtree(training.folder.path)


def test_checkpoint_executes_no_code():
    """The plant's source in a checkpoint is only compared; all else is data."""
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


def test_resume_refuses_a_changed_plant():
    plant = write_cart(".")
    run = hf.train(str(plant), **BRIEF)
    assert not run.plant_changed
    write_cart(".", drag=("0.1 * x", "0.2 * x"))
    assert hf.Run.load(run.path, plant=plant).plant_changed
    with pytest.raises(TrainingError, match="`force`"):
        hf.resume(run.path, rollouts=12, plant=plant)
    with pytest.warns(HFControlWarning, match=f"{plant} changed since"):
        assert hf.resume(run.path, rollouts=12, force=True).state.rollouts == 12
    assert not hf.Run.load(run.path).plant_changed


def test_resume_accepts_a_plant_that_has_moved():
    plant = write_cart(".")
    whole, run = (
        hf.train(str(plant), **{**BRIEF, "rollouts": 12}),
        hf.train(str(plant), **BRIEF),
    )
    os.rename(plant, "moved.py")
    assert hf.Run.load(run.path).info()["plant"] == str(plant.resolve())
    for use in (hf.resume, evaluate):
        with pytest.raises(PlantError, match="`plant=FILE`"):
            use(run.path)
    assert same(hf.resume(run.path, plant="moved.py", rollouts=12), whole)
    assert hf.Run.load(run.path).plant.path.name == "moved.py"


def test_resume_refuses_a_plant_that_no_longer_fits():
    run = hf.train(str(write_cart(".")), **BRIEF)
    write_cart(
        ".", state=('("place", "place_rate")', '("place", "place_rate", "more")')
    )
    with pytest.raises(PlantError, match=r"more, but .*, which its weights fit"):
        hf.resume(run.path, force=True)


def test_load_refuses_a_checkpoint_of_something_else(tmp_path):
    checkpoint.save(tmp_path / "00001-loss1.0e+00.h5", {"settings": {}, "state": 3})
    with pytest.raises(
        CheckpointError, match="cannot read its checkpoint as a training"
    ):
        hf.Run.load(tmp_path)


def test_older_checkpoint_can_be_resumed():
    run = hf.train("arm2", **SMALL)
    first = run.folder.first()
    training = continue_training(hf.Run.load(first.path), {"rollouts": 8})
    for _ in training.events():
        pass
    assert (
        training.run.state.updates
        < run.state.updates
        == hf.Run.load(run.path).state.updates
    )


@pytest.fixture(scope="module")
def forty_rollouts(tmp_path_factory):
    """A training that takes long enough to be stopped by a signal."""
    out = tmp_path_factory.mktemp("whole")
    return hf.train("arm2", out=out, **{**SMALL, "rollouts": 40})


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)],
    ids=str,
)
def test_signal_leaves_a_resumable_run(number, forty_rollouts):
    with in_process(
        "train", *SMALL_OPTIONS, "--rollouts", 40, "--json", "--out", "stopped"
    ) as process:
        process.stdout.readline()
        process.send_signal(number)
        last, said = process.stdout.read().splitlines()[-1], process.stderr.read()
    assert process.returncode == 0 and '"stop": "interrupted"' in last
    assert said.split("\n")[1:] == [
        "finishing the update in progress; Ctrl-C again stops at once",
        "",
    ]
    assert same(hf.resume(only("stopped")), forty_rollouts)


def test_shipped_run_is_complete_and_good():
    """Its plant is the shipped one, its loss is right and near the optimum."""
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
