"""Many trainings on each backend: the same bits, and what a job costs besides.

16 seeds train in two processes of this machine, on Dask (a scheduler and two workers)
and on Ray (a local cluster), where these are installed. The overhead is what two
workers spend beyond the trainings, for each job. A first batch, which is not counted,
loads the compiled code in every worker.
"""

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from typing import Any

import numpy as np

import hfcontrol as hf
from benchmarks.report import Row, show, table
from hfcontrol.jobs.seeds import SeedOutcomes, train_seeds
from hfcontrol.runs.settings import settings_for

WORKERS = 2
SEEDS = 16

SETTINGS: dict[str, Any] = {
    "plant": "arm2",
    "strategy": "plain",
    "batches": 4,
    "rollouts": 3,
}
SMALLEST: dict[str, Any] = {
    **SETTINGS,
    "trials": 2,
    "steps": 3,
    "hidden": (2,),
    "rollouts": 2,
}


def measure(seeds: Sequence[int], smallest: bool = False) -> list[Row]:
    """Return a row for each backend: bits that differ, seconds, overhead per job.

    The first of `seeds` is the first of 16. The smallest size trains two seeds in this
    process.
    """
    settings = settings_for(**(SMALLEST if smallest else SETTINGS))
    numbers = list(range(seeds[0], seeds[0] + (2 if smallest else SEEDS)))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        alone = {
            seed: hf.train(out=folder, **settings.changed(seed=seed).tree()).theta
            for seed in numbers
        }
        for name, cluster in find_clusters(smallest).items():
            with cluster as backend:
                jobs = 1 if smallest else WORKERS if backend == "local" else None
                warm = numbers[: 2 * WORKERS]
                train_seeds(settings, warm, folder, jobs, backend=backend)
                began = time.perf_counter()
                found = train_seeds(settings, numbers, folder, jobs, backend=backend)
                seconds = time.perf_counter() - began
            rows.append({"backend": name, **describe(found, alone, seconds, jobs)})
    cells = [
        [
            row["backend"],
            row["jobs"],
            row["different"],
            show(row["seconds"]),
            show(row["training_seconds"]),
            show(row["overhead_seconds"]),
        ]
        for row in rows
    ]
    head = [
        "backend",
        "jobs",
        "other bits",
        "wall [s]",
        "trainings [s]",
        "overhead [s]",
    ]
    table("many trainings; overhead per job", head, cells)
    return rows


def describe(
    found: SeedOutcomes, alone: dict[int, np.ndarray], seconds: float, jobs: int | None
) -> Row:
    """Return the numbers of a backend that has taken `seconds` for all its jobs."""
    different = 0
    for outcome in found.best_first:
        theta = hf.Run.load(outcome.path).theta
        different += not np.array_equal(theta, alone[outcome.seed])
    different += len(found.lost)
    spent = sum(outcome.seconds for outcome in found.best_first)
    workers = jobs or WORKERS
    return {
        "jobs": len(alone),
        "different": different,
        "seconds": seconds,
        "training_seconds": spent,
        "overhead_seconds": (workers * seconds - spent) / len(alone),
    }


def find_clusters(smallest: bool) -> dict[str, AbstractContextManager[str]]:
    """Return the backends that are installed, as contexts."""
    clusters: dict[str, AbstractContextManager[str]] = {"local": nullcontext("local")}
    if not smallest and find_spec("distributed"):
        clusters["dask"] = _dask()
    if not smallest and find_spec("ray"):
        clusters["ray"] = _ray()
    return clusters


@contextmanager
def _dask() -> Iterator[str]:
    from distributed import LocalCluster

    options = {"n_workers": WORKERS, "threads_per_worker": 1, "protocol": "tcp"}
    with LocalCluster(**options, dashboard_address=None) as cluster:
        yield f"dask:{cluster.scheduler_address}"


@contextmanager
def _ray() -> Iterator[str]:
    import ray

    # By default Ray's workers wait for all other programs of the machine.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
    options: dict[str, Any] = {"log_to_driver": False, "include_dashboard": False}
    ray.init("local", num_cpus=WORKERS, _node_ip_address="127.0.0.1", **options)
    try:
        yield "ray:local"
    finally:
        ray.shutdown()
