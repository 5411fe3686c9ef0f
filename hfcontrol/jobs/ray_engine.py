"""Jobs on a Ray cluster (extra `ray`), as tasks that are retried elsewhere.

An actor, a small process of the cluster, keeps the request to stop, reports, and what
jobs have saved. It ends with the program that has started it, as its tasks do.
"""

import os
from collections.abc import Iterator
from typing import Any

import ray

from hfcontrol.errors import UsageError
from hfcontrol.jobs.protocol import (
    LOST_WORKER,
    MOST_LOSSES,
    POLL_SECONDS,
    Call,
    Engine,
    RemoteChannel,
    Update,
)


class Mailbox:
    """What the jobs of an engine have in common."""

    def __init__(self) -> None:
        self._stopped = False
        self._reports: list[tuple[str, dict[str, Any]]] = []
        self._saved: dict[str, bytes] = {}

    def stop(self) -> None:
        """Ask all jobs to stop."""
        self._stopped = True

    def is_stopped(self) -> bool:
        """Whether somebody asked to stop."""
        return self._stopped

    def report(self, key: str, value: dict[str, Any]) -> None:
        """Keep a report until it is taken."""
        self._reports.append((key, value))

    def take_reports(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the reports since the last call."""
        taken, self._reports = self._reports, []
        return taken

    def save(self, key: str, content: bytes) -> None:
        """Keep what a job goes on from."""
        self._saved[key] = content

    def saved(self, key: str) -> bytes | None:
        """Return what a job goes on from, or None."""
        return self._saved.get(key)


class RayChannel(RemoteChannel):
    """A channel through a `Mailbox`."""

    def __init__(self, mailbox: Any) -> None:
        super().__init__()
        self.mailbox = mailbox

    def ask(self) -> bool:
        """Return whether somebody asked to stop."""
        return bool(ray.get(self.mailbox.is_stopped.remote()))

    def stop(self) -> None:
        """Ask all jobs to stop."""
        ray.get(self.mailbox.stop.remote())

    def report(self, key: str, value: dict[str, Any]) -> None:
        """Put the report into the mailbox."""
        self.mailbox.report.remote(key, value)

    def save(self, key: str, content: bytes) -> None:
        """Keep what the job goes on from in the mailbox."""
        ray.get(self.mailbox.save.remote(key, content))

    def saved(self, key: str) -> bytes | None:
        """Take what the job goes on from out of the mailbox; None if there is none."""
        content: bytes | None = ray.get(self.mailbox.saved.remote(key))
        return content


def run_call(key: str, call: Call, channel: RayChannel) -> Any:
    """Run a job in a worker."""
    return call.function(key, call.argument, channel)


class RayEngine(Engine):
    """Jobs on a Ray cluster; `local` as address starts one on this machine.

    Raises UsageError if no cluster answers.
    """

    is_local = False

    def __init__(self, address: str) -> None:
        super().__init__()
        # A program that is connected already stays so.
        self.has_connected = not ray.is_initialized()
        if self.has_connected:
            _connect(address)
        self._tasks: dict[Any, str] = {}
        make = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
        self.mailbox: Any = make(Mailbox).remote()

    def results(self) -> Iterator[Update]:
        """Run the jobs; yield reports, and the end of each job as it finishes."""
        task: Any = ray.remote(num_cpus=1, max_retries=MOST_LOSSES - 1)(run_call)
        channel = RayChannel(self.mailbox)
        keys = self._tasks
        for key, call in self.calls.items():
            keys[task.remote(key, call, channel)] = key
        was_told = False
        while keys:
            done, _ = ray.wait(list(keys), num_returns=1, timeout=POLL_SECONDS)
            if self.stopped and not was_told:
                channel.stop()
                was_told = True
            for key, value in ray.get(self.mailbox.take_reports.remote()):
                yield Update(key, "report", value)
            for ended in done:
                yield _end_of(ended, keys.pop(ended))

    def close(self, at_once: bool) -> None:
        """Leave the cluster, which ends the jobs of this program."""
        if self.has_connected:
            ray.shutdown()
            return
        for task in self._tasks:
            ray.cancel(task, force=at_once)
        ray.kill(self.mailbox)


def _connect(address: str) -> None:
    """Connect this program to a cluster; UsageError if that is not possible."""
    # Ray gives a task without a GPU no GPU, and warns that it will not any more.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        # A cluster of this machine alone is not open to others.
        options |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    try:
        ray.init(address=address, **options)
    except Exception as error:
        # Of many kinds: no cluster, another version of Ray or Python.
        text = " ".join(str(error).split())
        raise UsageError(f"`backend` ray:{address}: {text}") from None


def _end_of(ended: Any, key: str) -> Update:
    """Return how a job has ended."""
    try:
        return Update(key, "finished", ray.get(ended))
    except ray.exceptions.WorkerCrashedError:
        return Update(key, "lost", LOST_WORKER)
    except ray.exceptions.RayError as error:
        # The first line names the kind; the others are a traceback of the worker.
        lines = str(error).strip().splitlines()
        return Update(key, "lost", lines[-1] if lines else type(error).__name__)
