"""Wrong backends and workers: one clear line for each."""

import socket
import sys

import pytest
from sharing import Member, Team
from trainings import complaint

from hfcontrol.arrays.communicator import communicating
from hfcontrol.errors import CheckpointError, TrainingError, UsageError
from hfcontrol.jobs.backends import open_engine
from hfcontrol.jobs.local import LocalEngine
from hfcontrol.jobs.training_job import (
    JobResult,
    TrainingJob,
    make_caller,
    receive,
    train_job,
)
from hfcontrol.runs.settings import settings_for


@pytest.fixture
def closed_port():
    """A port of this machine at which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.parametrize("backend", ["spark:1.2.3.4:5", "dask", "dask:", "", "Local"])
def test_unknown_backends_are_refused(capsys, backend):
    line = complaint(capsys, "train", "--seeds", "0-1", "--backend", backend, status=2)
    assert f"--backend {backend}: must be local, dask:ADDRESS" in line


def test_processes_of_one_training_start_no_many_trainings(capsys):
    """Each process would train all seeds."""
    with communicating(Member(Team(2), 0)):
        line = complaint(capsys, "train", "--seeds", "0-1", "--rollouts", "1", status=2)
    assert "2 processes: they share one training" in line


@pytest.mark.parametrize("name", ["dask", "ray"])
@pytest.mark.parametrize("scheme", ["", "tcp://"])
def test_an_address_where_nobody_listens_is_named(capsys, closed_port, name, scheme):
    pytest.importorskip({"dask": "distributed"}.get(name, "socket"))
    backend = f"{name}:{scheme}127.0.0.1:{closed_port}"
    line = complaint(capsys, "train", "--seeds", "0-1", "--backend", backend, status=2)
    assert f"--backend {backend}: no scheduler answers there" in line


@pytest.mark.filterwarnings("ignore")
def test_something_else_than_a_scheduler_is_not_waited_for(monkeypatch):
    engine = pytest.importorskip("hfcontrol.jobs.dask_engine")
    monkeypatch.setattr(engine, "CONNECT_SECONDS", 0.3)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(UsageError, match=r"no scheduler answers within 0\.3 s"):
            open_engine(f"dask:127.0.0.1:{port}", 1)


@pytest.mark.parametrize("name, package", [("dask", "distributed"), ("ray", "ray")])
def test_a_missing_package_is_named(monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"hfcontrol.jobs.{name}_engine", raising=False)
    with pytest.raises(UsageError, match=rf"needs {package}, .*hfcontrol\[{name}\]"):
        open_engine(f"{name}:auto", 1)


@pytest.mark.parametrize(
    "options, line",
    [
        (("--backend", "local"), "--backend local: applies only with --seeds"),
        (
            ("--seeds", "0-1", "--jobs", "2", "--backend", "dask:a:1"),
            "--jobs 2 with --backend dask:a:1: the cluster has as many jobs",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(capsys, options, line):
    assert line in complaint(capsys, "train", *options, status=2)


def test_a_worker_of_other_versions_trains_nothing(tmp_path):
    settings = settings_for(plant="arm2")
    with make_caller({"arm2"}, tmp_path, local=True) as caller:
        caller.machine.versions["Numba"] = "0.1"
        job = TrainingJob(settings, caller)
        with LocalEngine(1) as engine:
            engine.submit("a", train_job, job)
            (update,) = engine.results()
        assert update.value == JobResult(0, mismatch=update.value.mismatch)
        with pytest.raises(TrainingError, match=r"Numba .* there and 0\.1 here"):
            receive(update.value, caller)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    caller = make_caller({"arm2"}, tmp_path / "file", local=False)
    with pytest.raises(CheckpointError, match="choose a writable folder"), caller:
        pytest.fail("it was used")
