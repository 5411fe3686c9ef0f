"""Clusters on this machine: real schedulers and workers, and the same bits as here.

One cluster of each kind serves all its tests, because starting it takes seconds.
"""

import os
import signal
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from trainings import write_cart

import hfcontrol as hf
from hfcontrol.jobs import trainings
from hfcontrol.jobs.seeds import train_seeds
from hfcontrol.jobs.trainings import Followers
from hfcontrol.runs.settings import settings_for

PACKAGES = {"dask": "distributed", "ray": "ray"}

# Libraries of clusters warn about themselves.
pytestmark = pytest.mark.filterwarnings("ignore")


@contextmanager
def dask_cluster():
    """A Dask scheduler with two workers in processes of their own."""
    from distributed import LocalCluster

    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**options, protocol="tcp") as cluster:
        yield f"dask:{cluster.scheduler_address}"


@contextmanager
def ray_cluster():
    """A Ray cluster on the loopback, to which this program is connected."""
    import ray

    # Workers are not nicer than others: on a busy machine they would wait for minutes.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
    options = {"log_to_driver": False, "include_dashboard": False}
    ray.init("local", num_cpus=2, _node_ip_address="127.0.0.1", **options)
    try:
        yield "ray:local"
    finally:
        ray.shutdown()


@pytest.fixture(scope="module", params=[dask_cluster, ray_cluster])
def backend(request):
    """`--backend` of a cluster with two workers."""
    name = request.param.__name__.partition("_")[0]
    reason = f"pip install 'hfcontrol[{name}]' for this test"
    pytest.importorskip(PACKAGES[name], reason=reason)
    with request.param() as address:
        yield address


@pytest.fixture(scope="module")
def cart(tmp_path_factory):
    """The settings of a training on a plant of the user, and its run."""
    folder = tmp_path_factory.mktemp("cart")
    path = str(write_cart(folder))
    settings = settings_for(
        plant=path, hidden=(4,), batches=1, rollouts=15, strategy="plain", seed=1
    )
    return settings, hf.train(out=folder, **settings.tree())


def test_a_killed_worker_costs_nothing_even_without_shared_files(
    backend, cart, tmp_path, monkeypatch
):
    """Workers see neither the plant's file nor the caller's folder of runs."""
    settings, alone = cart
    plant = Path(settings.plant)
    make_caller = trainings.make_caller

    @contextmanager
    def hide_files(*arguments):
        with make_caller(*arguments) as caller:
            source = plant.read_text()
            plant.unlink()
            try:
                yield replace(caller, mark=tmp_path / "no such mark")
            finally:
                plant.write_text(source)

    killed = []

    def kill(report):
        if report["seed"] == 1 and report["updates"] > 2 and not killed:
            killed.append(report["process"])
            os.kill(report["process"], signal.SIGKILL)

    monkeypatch.setattr(trainings, "make_caller", hide_files)
    follow = Followers(report=kill)
    found = train_seeds(settings, [0, 1, 2], tmp_path, follow=follow, backend=backend)
    assert killed and not found.lost and len(found.best_first) == 3
    (run,) = [hf.Run.load(o.path) for o in found.best_first if o.seed == 1]
    assert run.path.parent == tmp_path
    assert np.array_equal(run.theta, alone.theta)
    assert run.state.rollouts == alone.state.rollouts
    assert run.settings == alone.settings


def test_a_signal_stops_workers_after_their_update(backend, cart, tmp_path):
    """What has not finished is saved in the folder, which the workers see here."""
    settings, _ = cart
    adam = {"optimizer": "adam", "learning_rate": 1e-3}
    endless = settings.changed(rollouts=100_000, **adam)
    reports = []

    def stop(report):
        reports.append(report["seed"])
        if len(reports) == 1:
            signal.raise_signal(signal.SIGINT)

    follow = Followers(report=stop)
    found = train_seeds(endless, [0, 1, 2, 3], tmp_path, follow=follow, backend=backend)
    stopped = {outcome.seed for outcome in found.best_first}
    assert reports[0] in stopped
    assert stopped | set(found.not_started) == {0, 1, 2, 3} and found.not_started
    for outcome in found.best_first:
        assert outcome.stop == "interrupted"
        assert outcome.path.parent == tmp_path
        assert hf.Run.load(outcome.path).state.updates == outcome.updates
