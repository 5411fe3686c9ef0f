"""Jobs on this machine: one after another in this process, or in loky's processes.

When one of loky's processes ends, loky ends all of them. The jobs that have not
finished are then submitted again. One that was running at two such ends is run alone
from then on, so that it takes no other job with it.
"""

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from joblib.externals.loky import get_reusable_executor

from hfcontrol.jobs.protocol import (
    LOST_WORKER,
    MOST_LOSSES,
    POLL_SECONDS,
    Call,
    Channel,
    Engine,
    Update,
)
from hfcontrol.runs.interrupts import signal_handlers

# How long [s] a process waits for its next job. It gets none after the last one; the
# limit ends the processes of a parent that was killed.
IDLE_SECONDS = 5

# Each process has one thread, whatever library asks for more.
ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "BLIS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "NUMBA_NUM_THREADS",
    ),
    "1",
)


class FolderChannel(Channel):
    """A channel of files in a temporary folder of the parent.

    A signal to the parent does not reach its processes, and a shared event would need a
    server process.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.owner = os.getpid()

    @property
    def stopped(self) -> bool:
        """Whether somebody asked to stop, or the process that may ask was killed."""
        return self.orphaned or self._path("stop").exists()

    @property
    def orphaned(self) -> bool:
        """Whether the parent of this process was killed."""
        # The system gives a process whose parent has ended another parent.
        return self.owner not in (os.getpid(), os.getppid())

    def stop(self) -> None:
        """Ask the jobs of all processes to stop."""
        self._path("stop").touch()

    def report(self, key: str, value: dict[str, Any]) -> None:
        """Write the report, over one that nobody has read yet."""
        self._write("report", key, json.dumps(value).encode())

    def save(self, key: str, content: bytes) -> None:
        """Write what the job goes on from."""
        self._write("saved", key, content)

    def saved(self, key: str) -> bytes | None:
        """Read what the job goes on from, or None."""
        with suppress(FileNotFoundError):
            return self._path("saved", key).read_bytes()
        return None

    def mark_started(self, key: str) -> None:
        """Remember that a job has started."""
        self._path("started", key).touch()

    def take_started(self, key: str) -> bool:
        """Return whether a job has started since the last call."""
        with suppress(FileNotFoundError):
            self._path("started", key).unlink()
            return True
        return False

    def take_reports(self, keys: set[str]) -> Iterator[Update]:
        """Yield the reports of some jobs since the last call."""
        for key in sorted(keys):
            path = self._path("report", key)
            with suppress(FileNotFoundError):
                content = path.read_bytes()
                path.unlink()
                yield Update(key, "report", json.loads(content))

    def _path(self, *words: str) -> Path:
        return self.folder / "-".join(words)

    def _write(self, what: str, key: str, content: bytes) -> None:
        temporary = self._path(what, key, str(os.getpid()))
        # The parent has removed the folder if it does not wait any more.
        with suppress(FileNotFoundError):
            temporary.write_bytes(content)
            os.replace(temporary, self._path(what, key))


def _is_broken(future: Future[Any]) -> bool:
    """Whether a process has ended before it had run a job."""
    return isinstance(future.exception(), BrokenProcessPool)


def run_call(key: str, call: Call, channel: FolderChannel) -> Any:
    """Run a job in a process of loky's."""
    channel.mark_started(key)
    value = call.function(key, call.argument, channel)
    if channel.orphaned:
        os._exit(1)  # nobody takes the result, and loky would wait for another job
    return value


class LocalEngine(Engine):
    """Jobs in processes with one thread each; one process is this one, with all."""

    def __init__(self, processes: int) -> None:
        super().__init__()
        self.processes = processes
        self._temporary = TemporaryDirectory(prefix="hfcontrol-")
        self.channel = FolderChannel(Path(self._temporary.name))
        self._losses: Counter[str] = Counter()

    @property
    def stopped(self) -> bool:
        """Whether a stop was requested."""
        return self.channel.stopped

    def stop(self) -> None:
        """Ask all jobs to stop."""
        self.channel.stop()

    def results(self) -> Iterator[Update]:
        """Run the jobs; yield reports, and the end of each job as it finishes."""
        self.processes = min(self.processes, len(self.calls))
        if self.processes == 1:
            yield from self._run_here()
            return
        while self.calls:
            batch = [key for key in self.calls if self._losses[key] < MOST_LOSSES - 1]
            # Jobs that may have ended a process twice run one after another.
            batch = batch or [next(iter(self.calls))]
            for update in self._run(batch):
                if update.kind != "report":
                    del self.calls[update.key]
                yield update

    def _run_here(self) -> Iterator[Update]:
        for key, call in self.calls.items():
            value = call.function(key, call.argument, self.channel)
            yield from self.channel.take_reports({key})
            yield Update(key, "finished", value)

    def _run(self, batch: list[str]) -> Iterator[Update]:
        """Run jobs until all have finished, or a process has ended."""
        futures = self._start(batch)
        while futures:
            done, _ = wait(futures, POLL_SECONDS, FIRST_COMPLETED)
            yield from self.channel.take_reports(set(futures.values()))
            # Results first: after the end of a process there is nothing more to take.
            for future in sorted(done, key=_is_broken):
                key = futures.pop(future)
                try:
                    value = future.result()
                except BrokenProcessPool:
                    yield from self._sort_out(batch)
                    return
                self.channel.take_started(key)
                yield Update(key, "finished", value)

    def _start(self, batch: list[str]) -> dict[Future[Any], str]:
        """Start the processes and submit jobs to them."""
        # Ctrl-C in a terminal reaches all processes and would end a worker within an
        # update. New processes inherit that a signal is ignored, from their start on.
        with signal_handlers(signal.SIG_IGN):
            executor = get_reusable_executor(
                max_workers=min(self.processes, len(batch)),
                timeout=IDLE_SECONDS,
                env=ONE_THREAD,
            )
            return {
                executor.submit(run_call, key, self.calls[key], self.channel): key
                for key in batch
            }

    def _sort_out(self, batch: list[str]) -> Iterator[Update]:
        """Count who was running when a process ended; yield the jobs that are lost."""
        left = [key for key in batch if key in self.calls]
        started = [key for key in left if self.channel.take_started(key)]
        self._losses.update(started)
        for key in left:
            # Without a culprit, a new set of processes would break as well.
            if not started or self._losses[key] >= MOST_LOSSES:
                yield Update(key, "lost", LOST_WORKER)

    def close(self, at_once: bool) -> None:
        """Wait for the jobs in progress, or end them; end the processes.

        loky keeps idle processes for its next call.
        """
        try:
            # While the folder exists: a job that it told to stop must not go on.
            if self.processes > 1:
                executor = get_reusable_executor(reuse=True)
                executor.shutdown(wait=True, kill_workers=at_once)
        finally:
            self._temporary.cleanup()
