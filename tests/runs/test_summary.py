"""How runs are told apart: a line for each, their order, and which is the newest."""

import os
from datetime import datetime, timedelta
from pathlib import Path

import h5py
import pytest

import hfcontrol as hf
from hfcontrol.cli.options import format_settings
from hfcontrol.errors import CheckpointError
from hfcontrol.runs import hdf5 as checkpoint
from hfcontrol.runs import records
from hfcontrol.runs.folder import RunFolder, find_run, list_runs
from hfcontrol.runs.run import Run
from hfcontrol.runs.settings import Settings
from hfcontrol.runs.summary import own_settings, summarise

SHIPPED = Path(hf.__file__).parent.parent / "weights" / "arm2-reach"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in, with an empty record."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HFCONTROL_DATA", str(tmp_path / "data"))
    return tmp_path


def make_run(root, **options):
    """A run folder with a checkpoint, as far as names go."""
    run = RunFolder.create(root, "arm2", "reach", 0, **options)
    run.save({"updates": 1}, 1, 0.5)
    return run.path


def test_summary_agrees_with_the_run_and_reads_no_array(tmp_path, monkeypatch):
    run = Run.load(SHIPPED)
    RunFolder(tmp_path).save(run.tree, run.state.updates, run.state.loss)
    read, get = [], h5py.Dataset.__getitem__
    monkeypatch.setattr(
        h5py.Dataset, "__getitem__", lambda d, *a: read.append(d.name) or get(d, *a)
    )
    found, info = summarise(RunFolder(tmp_path)), run.info()
    assert set(read) <= {"/(header)"}
    # Format 1 has all in one place too.
    assert found == summarise(RunFolder(SHIPPED))
    assert found._asdict() == {name: info[name] for name in found._fields}


def test_header_without_arrays_is_the_tree_with_none_in_their_place(tmp_path):
    tree = Run.load(SHIPPED).tree
    checkpoint.save(tmp_path / "a.h5", tree)
    header = checkpoint.load(tmp_path / "a.h5", arrays=False)

    def without_arrays(value):
        if isinstance(value, dict):
            return {key: without_arrays(entry) for key, entry in value.items()}
        return None if hasattr(value, "shape") else value

    assert header == without_arrays(tree)


@pytest.mark.parametrize(
    "change",
    [
        {"state": None},
        {"state": {}},
        {"state": {"loss": "low"}},
        {"settings": {"hidden": "many"}},
        {"stop": 3},
    ],
)
def test_summary_of_a_wrong_header_is_refused(tmp_path, change):
    tree = {**Run.load(SHIPPED).tree, **change}
    RunFolder(tmp_path).save(tree, 1, 0.5)
    with pytest.raises(CheckpointError, match=r"^its "):
        summarise(RunFolder(tmp_path))


def test_settings_are_shown_as_options():
    """They make the same settings again, which is their use."""
    settings = Settings(
        hidden=(8, 4), recurrent=(), param=("load=1", "mass=2"), learn_start=True
    )
    assert format_settings(own_settings(settings)) == (
        "--param load=1 --param mass=2 --hidden 8,4 --recurrent none --learn-start"
    )
    assert own_settings(Settings()) == {}


def test_newest_run_is_one_of_the_users_own_folders(here):
    """The shipped run is used by its name alone."""
    with pytest.raises(CheckpointError, match="no run in weights; name one, such as"):
        find_run()
    assert find_run("arm2-reach")[0].path.resolve() == SHIPPED.resolve()
    own = make_run("weights")
    assert find_run()[0].path == own
    records.remember_out("w")
    other = make_run("w", now=datetime.now() + timedelta(seconds=5))
    assert find_run()[0].path == here / other
    assert find_run(other.name)[0].path == here / other
    # Each folder has a newest run of its own: nothing trained elsewhere is taken.
    (here / "elsewhere").mkdir()
    os.chdir(here / "elsewhere")
    with pytest.raises(CheckpointError, match="no run in weights; name one"):
        find_run()
    records.remember_out(here / "w")
    assert find_run()[0].path == here / other
    os.chdir(here)
    records.remember_out("weights")
    assert find_run()[0].path == own


@pytest.mark.parametrize("stamp", ["20990101-000000", "20990231-999999"])
def test_a_clock_that_was_set_back_does_not_change_the_order(here, stamp):
    """A new run is the newest, also after one of a later time, or of none."""
    (here / "weights" / f"arm2-reach-{stamp}-seed0").mkdir(parents=True)
    (here / "weights" / f"arm2-reach-{stamp}-seed0" / "00001-loss1.0e-02.h5").touch()
    first = make_run("weights")
    second = make_run("weights")
    assert [run.path for run in list_runs()[:2]] == [second, first]
    assert find_run()[0].path == second
    if stamp == "20990101-000000":
        assert "20990101-000001" in first.name and "20990101-000002" in second.name


def test_time_is_kept_where_the_clock_is_right(here):
    before = f"{datetime.now():%Y%m%d-%H%M%S}"
    make_run("weights", now=datetime(2020, 1, 2, 3, 4, 5))
    name = make_run("weights").name
    assert before <= name[len("arm2-reach-") :][: len(before)]
    assert (
        name[len("arm2-reach-") :][: len(before)] <= f"{datetime.now():%Y%m%d-%H%M%S}"
    )
