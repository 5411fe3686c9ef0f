"""Clusters on this machine: real schedulers and workers, and the same bits as here.

One cluster of each kind serves all its tests: starting it takes seconds.
"""

import os
import signal

import numpy as np
import pytest
from trainings import CART

import hfcontrol as hf
from hfcontrol.jobs.seeds import train_seeds
from hfcontrol.jobs.trainings import Followers
from hfcontrol.runs.settings import settings_for

PACKAGES = {"dask": "distributed", "ray": "ray"}

# Libraries of clusters warn about themselves.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module", params=list(PACKAGES))
def backend(request):
    """`--backend` of a cluster with two workers on this machine."""
    name = request.param
    pytest.importorskip(PACKAGES[name], reason=f"needs pip install hfcontrol[{name}]")
    if name == "dask":
        from distributed import LocalCluster

        options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
        with LocalCluster(**options, protocol="tcp") as cluster:
            yield f"dask:{cluster.scheduler_address}"
    else:
        import ray

        options = {"log_to_driver": False, "include_dashboard": False}
        context = ray.init(num_cpus=2, **options)
        address = context.address_info["gcs_address"]
        yield f"ray:{address}"
        ray.shutdown()


@pytest.fixture(scope="module")
def cart(tmp_path_factory):
    """The settings of a training on a plant of the user, and its run."""
    folder = tmp_path_factory.mktemp("cart")
    path = folder / "cart.py"
    path.write_text(CART)
    settings = settings_for(
        plant=str(path), hidden=(4,), batches=1, rollouts=40, strategy="plain", seed=1
    )
    return settings, hf.train(out=folder, **settings.tree())


def test_killed_worker_costs_nothing_even_without_a_shared_folder(
    backend, cart, tmp_path, monkeypatch
):
    """Workers neither see the plant's file nor the caller's folder of runs."""
    settings, alone = cart
    killed = []

    def kill(report):
        if report["seed"] == 1 and report["updates"] > 2 and not killed:
            killed.append(report["process"])
            os.kill(report["process"], signal.SIGKILL)

    found = train_seeds(
        settings, [0, 1, 2], tmp_path, follow=Followers(report=kill), backend=backend
    )
    assert killed and not found.lost and len(found.best_first) == 3
    (run,) = [hf.Run.load(o.path) for o in found.best_first if o.seed == 1]
    assert run.path.parent == tmp_path
    assert np.array_equal(run.theta, alone.theta)
    assert run.settings == alone.settings
