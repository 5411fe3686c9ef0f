"""Parallel processes with one thread each, for trainings that need no communication."""

import os
import signal
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

from joblib import Parallel, parallel_config
from joblib.externals.loky import get_reusable_executor

from hfcontrol.runs.interrupts import signal_handlers
from hfcontrol.training.stop import StopToken

# How long [s] a process waits for its next job. It gets none after the last one; the
# limit ends the processes of a parent that was killed.
IDLE_SECONDS = 5


class StopFile(StopToken):
    """A stop token that other processes can read.

    It is a file, because a signal to this process does not reach them, and a shared
    event would need a server process.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.owner = os.getpid()

    @property
    def stopped(self) -> bool:
        """Whether somebody asked to stop, or the process that may ask was killed."""
        return self.orphaned or self.path.exists()

    @property
    def orphaned(self) -> bool:
        """Whether the parent of this process was killed."""
        # The system gives a process whose parent has ended another parent.
        return self.owner not in (os.getpid(), os.getppid())

    def stop(self) -> None:
        """Ask the trainings of all processes to stop."""
        self.path.touch()


def run_calls(calls: Iterable[Any], processes: int) -> Generator[Any, None, None]:
    """Start joblib's delayed calls; return an iterator over results as they arrive.

    One process is this one, with all its threads. Otherwise each has one thread.
    """
    config = parallel_config(
        "loky", inner_max_num_threads=1, idle_worker_timeout=IDLE_SECONDS
    )
    # Ctrl-C in a terminal reaches all processes and would end a worker within an
    # update. New processes inherit that a signal is ignored, from their start on.
    with config, signal_handlers(signal.SIG_IGN):
        # Jobs last seconds to hours, so each is a batch. All are submitted at once, so
        # that joblib starts its processes here and none later.
        parallel = Parallel(
            n_jobs=processes,
            batch_size=1,
            pre_dispatch="all",
            return_as="generator_unordered",
        )
        results: Generator[Any, None, None] = parallel(calls)
        return results


def end_processes() -> None:
    """Wait for the jobs in progress and end the processes.

    joblib keeps idle processes for its next call.
    """
    get_reusable_executor(reuse=True).shutdown(wait=True)
