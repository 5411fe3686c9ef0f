"""Run folders: names, lock, order of runs and checkpoints, thinning."""

import errno
import os
import signal
import subprocess
import sys
from datetime import datetime, timedelta

import pytest

from hfcontrol.errors import CheckpointError, HFControlWarning
from hfcontrol.runs import folder as run_folder
from hfcontrol.runs.folder import RunFolder, find_run, list_runs, thin

NOON = datetime(2026, 11, 21, 12, 0, 0)
HOLDER = """
import sys, time
from pathlib import Path
from hfcontrol.runs.folder import RunFolder

with RunFolder(Path(sys.argv[1])).lock():
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def run(tmp_path):
    return RunFolder.create(tmp_path / "weights", "arm2", "reach", 0, NOON)


def with_checkpoints(root, *losses, now=NOON, seed=0):
    """A run with a checkpoint every 32 updates; the tree holds their number."""
    run = RunFolder.create(root, "arm2", "reach", seed, now)
    for k, loss in enumerate(losses):
        run.save({"updates": 32 * k}, 32 * k, loss)
    return run


def skip_if_writable(folder):
    if os.access(folder, os.W_OK):
        pytest.skip("this user may write anywhere")


def test_names_of_folder_and_checkpoints(run):
    assert run.path.name == "arm2-reach-20261121-120000-seed0"
    assert run.save({}, 32, 5.1234e-5).name == "00032-loss5.1e-05.h5"
    assert run.save({}, 1234567, 12.0).name == "1234567-loss1.2e+01.h5"


def test_folder_name_contains_the_stem_of_a_plant_path(tmp_path):
    assert (
        RunFolder.create(
            tmp_path, "my plants/leg 2.py", "stand up", 3, NOON
        ).path.parent
        == tmp_path
    )
    assert [path.name for path in tmp_path.iterdir()] == [
        "leg-2-stand-up-20261121-120000-seed3"
    ]


def test_no_two_runs_share_a_folder(tmp_path):
    names = [
        RunFolder.create(tmp_path, "arm2", "reach", 0, NOON).path.name for _ in range(3)
    ]
    assert [name.partition("seed0")[2] for name in names] == ["", "-2", "-3"]


def test_create_refuses_a_root_that_is_a_file(tmp_path):
    (tmp_path / "weights").touch()
    with pytest.raises(CheckpointError, match="`out`"):
        RunFolder.create(tmp_path / "weights", "arm2", "reach", 0)


def test_create_refuses_an_unwritable_root(tmp_path):
    tmp_path.chmod(0o500)
    skip_if_writable(tmp_path)
    with pytest.raises(CheckpointError, match="`out`"):
        RunFolder.create(tmp_path, "arm2", "reach", 0)


def test_create_reports_a_full_disk(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(run_folder.Path, "mkdir", full)
    with pytest.raises(CheckpointError, match=os.strerror(errno.ENOSPC)):
        RunFolder.create(tmp_path, "arm2", "reach", 0)


def test_checkpoints_are_ordered_by_updates(tmp_path):
    run = RunFolder.create(tmp_path, "arm2", "reach", 0)
    for updates in (100000, 32, 99999):
        run.save({}, updates, 1.0)
    (run.path / "notes.h5").touch()
    (run.path / "00064-lossy.h5").touch()
    assert [file.updates for file in run.checkpoints()] == [32, 99999, 100000]
    assert (run.first().updates, run.newest().updates) == (32, 100000)


@pytest.mark.parametrize(
    "losses, best",
    [
        ((3.0, 1e-5, 2e-5), 1),
        ((1.0, 0.5, 0.5), 1),
        ((float("nan"), 2.0), 1),
        ((float("inf"), -1.0, 0.0), 1),
        ((float("nan"),), 0),
    ],
)
def test_best_has_the_lowest_loss_and_is_the_earlier_of_equals(tmp_path, losses, best):
    run = with_checkpoints(tmp_path, *losses)
    assert run.best().updates == 32 * best
    assert run.load("best") == {"updates": 32 * best}


def test_empty_run_has_no_checkpoint_to_load(run):
    for ask in (run.first, run.best, run.newest, run.load):
        with pytest.raises(CheckpointError, match="no checkpoints"):
            ask()


def test_load_accepts_words_checkpoint_files_and_paths(tmp_path):
    run = with_checkpoints(tmp_path, 3.0, 1.0, 2.0)
    assert [run.load(which)["updates"] for which in ("first", "best", "newest")] == [
        0,
        32,
        64,
    ]
    assert (
        run.load(run.best())
        == run.load(run.best().path)
        == run.load(str(run.best().path))
        == {"updates": 32}
    )


def test_save_replaces_the_checkpoint_of_the_same_updates(run):
    run.save({"a": 1}, 32, 0.5)
    run.save({"a": 2}, 32, 0.4)
    assert [file.loss for file in run.checkpoints()] == [0.4]
    assert run.load() == {"a": 2}


def test_failed_save_keeps_the_checkpoint_it_would_replace(run, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run.save({"a": 1}, 32, 0.5)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError):
        run.save({"a": 2}, 32, 0.4)
    assert run.load() == {"a": 1}
    assert len(list(run.path.iterdir())) == 1


def test_error_of_a_damaged_checkpoint_names_the_complete_one_before(tmp_path):
    run = with_checkpoints(tmp_path, 3.0, 2.0, 1.0, 0.5)
    for file in run.checkpoints()[2:]:
        file.path.write_bytes(file.path.read_bytes()[:-1])
    with pytest.raises(
        CheckpointError,
        match=r"cut short.*complete one before it is .*00032-loss2.0e\+00.h5",
    ):
        run.load()
    run.first().path.write_bytes(b"")
    with pytest.raises(CheckpointError) as caught:
        run.load("first")
    assert "complete one" not in str(caught.value)


def test_lock_refuses_a_second_training_and_names_the_first(run):
    in_use = f"process id {os.getpid()};"
    with run.lock(), pytest.raises(CheckpointError, match=in_use):
        run.lock().__enter__()
    with run.lock():
        pass


def test_lock_is_released_if_training_fails(run):
    with pytest.raises(ZeroDivisionError), run.lock():
        raise ZeroDivisionError
    with run.lock():
        pass


@pytest.mark.skipif(
    not run_folder.HAS_FLOCK,
    reason="without fcntl a lock outlives its process, as documented",
)
def test_lock_is_released_if_its_process_is_killed(run):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, run.path], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(CheckpointError, match=f"process id {holder.pid};"):
            run.lock().__enter__()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert (run.path / "lock").exists()
        with run.lock():
            assert (run.path / "lock").read_text().strip() == str(os.getpid())
    finally:
        holder.kill()
        holder.communicate()


def test_lock_file_replaces_flock_without_fcntl(run, monkeypatch):
    monkeypatch.setattr(run_folder, "HAS_FLOCK", False)
    in_use = f"process id {os.getpid()};.*remove .*lock"
    with run.lock(), pytest.raises(CheckpointError, match=in_use):
        run.lock().__enter__()
    assert not (run.path / "lock").exists()


def test_lock_refuses_a_missing_folder(tmp_path):
    with pytest.raises(CheckpointError, match="cannot lock"):
        RunFolder(tmp_path / "none").lock().__enter__()


def test_lock_removes_temporary_files_of_a_killed_training(run):
    leftover = run.path / "00032-loss1.0e+00.h5.123.tmp"
    leftover.touch()
    whole = run.save({}, 32, 1.0)
    with run.lock():
        assert not leftover.exists()
        assert whole.exists()


def test_runs_are_ordered_by_name(tmp_path):
    late = with_checkpoints(tmp_path, 1.0, now=NOON + timedelta(days=1))
    twin = with_checkpoints(tmp_path, 1.0, now=NOON + timedelta(days=1))
    early = with_checkpoints(tmp_path, 1.0)
    shipped = with_checkpoints(tmp_path, 1.0, now=NOON - timedelta(days=1))
    shipped = RunFolder(shipped.path.rename(tmp_path / "arm2-reach"))
    RunFolder.create(
        tmp_path, "arm2", "reach", 0, NOON + timedelta(days=2)
    )  # no checkpoint yet
    assert list_runs([tmp_path]) == [twin, late, early, shipped]
    assert find_run(roots=[tmp_path]) == (twin, "newest")


def test_unfinished_curriculum_is_a_run_without_checkpoint(tmp_path):
    early = with_checkpoints(tmp_path, 1.0)
    late = RunFolder.create(tmp_path, "arm2", "reach", 0, NOON + timedelta(days=1))
    late.save_curriculum({"warming": {"stage": 1}})
    late.save_curriculum({"warming": {"stage": 2}})
    assert list_runs([tmp_path]) == [late, early] and find_run(roots=[tmp_path]) == (
        late,
        "newest",
    )
    assert (
        late.load(late.curriculum_file) == {"warming": {"stage": 2}}
        and late.checkpoints() == []
    )
    for ask in (late.first, late.newest, late.load, lambda: thin(late.path)):
        with pytest.raises(
            CheckpointError,
            match="no checkpoint yet.*continue with: "
            f"hfcontrol train --resume {late.path}$",
        ):
            ask()


def test_first_checkpoint_after_the_curriculum_replaces_its_files(run):
    run.save_curriculum({"warming": {}})
    run.save({}, 40, 2.0)
    first = run.save({}, 12, 1.0)
    run.end_curriculum(first)
    assert run.curriculum_file is None and [
        file.path for file in run.checkpoints()
    ] == [first]
    run.save({}, 20, 1.0)
    run.end_curriculum()
    assert len(run.checkpoints()) == 2


def test_tenth_run_of_a_second_follows_the_ninth(tmp_path):
    runs = [with_checkpoints(tmp_path, 1.0) for _ in range(11)]
    assert list_runs([tmp_path]) == runs[::-1]


def test_run_under_two_roots_is_listed_once(tmp_path):
    run = with_checkpoints(tmp_path / "weights", 1.0)
    (tmp_path / "link").symlink_to(tmp_path / "weights")
    assert list_runs([tmp_path / "weights", tmp_path / "link", tmp_path / "none"]) == [
        run
    ]


def test_find_run_by_folder_name_and_file(tmp_path, monkeypatch):
    run = with_checkpoints(tmp_path / "weights", 1.0, 2.0)
    monkeypatch.chdir(tmp_path)
    assert find_run(str(run.path)) == (run, "newest")
    found, which = find_run(run.path.name)
    assert found.load(which) == {"updates": 32}
    found, which = find_run(str(run.first().path))
    assert found == run and found.load(which) == {"updates": 0}


def test_error_of_find_run_lists_the_existing_runs(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"no run in .*; make one with: hfcontrol train"
    ):
        find_run(roots=[tmp_path])
    runs = [with_checkpoints(tmp_path, 1.0, seed=seed) for seed in range(2)]
    with pytest.raises(
        CheckpointError, match="arm3 is neither a run nor a checkpoint"
    ) as caught:
        find_run("arm3", [tmp_path])
    assert all(run.path.name in str(caught.value) for run in runs)
    with pytest.raises(
        CheckpointError,
        match=f"is not a run, but holds 2 of them, such as {tmp_path}.*: name one",
    ):
        find_run(str(tmp_path), [tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="empty holds no checkpoints"):
        find_run(str(tmp_path / "empty"), [tmp_path])


@pytest.mark.parametrize(
    "keep, left",
    [
        (0, [0, 3, 9]),
        (1, [0, 3, 9]),
        (2, [0, 3, 9]),
        (4, [0, 3, 6, 9]),
        (99, list(range(10))),
    ],
)
def test_thin_keeps_first_best_last_and_an_even_spread(tmp_path, keep, left):
    run = with_checkpoints(tmp_path, *(abs(k - 3) + 1 for k in range(10)))
    before = {file.path for file in run.checkpoints()}
    dropped = thin(run.path, keep)
    assert [file.updates // 32 for file in run.checkpoints()] == left
    assert set(dropped) == before - {file.path for file in run.checkpoints()}


def test_thin_handles_losses_that_are_nan(tmp_path):
    run = with_checkpoints(tmp_path, float("nan"), float("nan"), 1.0, float("nan"))
    thin(run.path, keep=0)
    assert [file.updates for file in run.checkpoints()] == [0, 64, 96]


@pytest.mark.parametrize("kind", ["symbolic", "hard", "pipe", "folder"])
def test_lock_refuses_what_is_no_file_of_its_own(run, tmp_path, kind):
    precious = tmp_path / "precious.txt"
    precious.write_text("longer than a process number " * 3)
    before = precious.read_text()
    make = {
        "symbolic": lambda file: file.symlink_to(precious),
        "hard": lambda file: file.hardlink_to(precious),
        "pipe": os.mkfifo,
        "folder": os.mkdir,
    }
    make[kind](run.path / "lock")
    with pytest.raises(CheckpointError, match="cannot lock"):
        run.lock().__enter__()
    assert precious.read_text() == before


def test_lock_removes_only_temporary_files_of_its_own_pattern(run):
    foreign = ["thesis.tmp", "curve-x.h5.0123.tmp", "00003-loss1.0e-02.h5.tmp"]
    names = ("00003-loss1.0e-02.h5", "warming.h5", f"curve-{64 * 'a'}.h5")
    own = [f"{name}.0123456789abcdef.tmp" for name in names]
    for name in (*foreign, *own):
        (run.path / name).touch()
    with run.lock():
        assert all((run.path / name).exists() for name in foreign)
        assert not any((run.path / name).exists() for name in own)


def test_a_lock_shows_no_text_of_a_stranger(run):
    (run.path / "lock").write_text("\x1b[2Jowned")
    with run.lock():
        (run.path / "lock").write_text("\x1b[2Jowned")
        with pytest.raises(CheckpointError, match="process id unknown"):
            run.lock().__enter__()


def test_a_planted_link_is_not_followed_by_a_checkpoint(run, tmp_path, monkeypatch):
    monkeypatch.setattr("secrets.token_hex", lambda size: "0" * 2 * size)
    precious = tmp_path / "precious.txt"
    precious.write_text("keep")
    planted = run.path / ("00001-loss1.0e-02.h5." + "0" * 16 + ".tmp")
    planted.symlink_to(precious)
    with pytest.raises(CheckpointError, match="cannot write"):
        run.save({"a": 1}, 1, 0.01)
    assert precious.read_text() == "keep"


@pytest.mark.skipif(not run_folder.HAS_FLOCK, reason="there is no flock")
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_used_with_a_warning(run, monkeypatch, number):
    def refuse(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(run_folder.fcntl, "flock", refuse)
    with pytest.warns(HFControlWarning, match="without locks"), run.lock():
        assert (run.path / "lock").read_text().strip() == str(os.getpid())
