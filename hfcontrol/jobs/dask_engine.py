"""Jobs on a Dask cluster (extra `dask`): SLURM by dask-jobqueue, clouds, workstations.

The scheduler keeps the request to stop and what jobs have saved; reports come back as
its events. It starts a job again elsewhere if its worker is lost, and gives it up after
`distributed.scheduler.allowed-failures` losses (3 by default).
"""

import threading
from collections import deque
from collections.abc import Iterator
from time import sleep
from typing import Any
from uuid import uuid4

import distributed
from distributed import Client, Event, Variable, as_completed, get_worker

from hfcontrol.errors import UsageError
from hfcontrol.jobs.protocol import (
    LOST_WORKER,
    POLL_SECONDS,
    Call,
    Engine,
    RemoteChannel,
    Update,
)

# Time [s] in which a scheduler must answer.
CONNECT_SECONDS = 5.0

# Jobs of one worker process that has several threads take turns: they would share
# the threads of matrix products, and set their number for each other.
_one_at_a_time = threading.Lock()


class DaskChannel(RemoteChannel):
    """A channel through the scheduler; `name` tells one engine from another."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def ask(self) -> bool:
        """Return whether somebody asked to stop, or gave the job up."""
        return self.orphaned or bool(self._event().is_set())

    @property
    def orphaned(self) -> bool:
        """Whether nobody waits for the result: its client has ended or let it go."""
        worker = get_worker()
        task = worker.state.tasks.get(worker.get_current_task())
        return task is None or task.state not in ("executing", "long-running")

    def stop(self) -> None:
        """Ask all jobs to stop."""
        self._event().set()

    def report(self, key: str, value: dict[str, Any]) -> None:
        """Send the report to the client."""
        get_worker().log_event(self.name, {"key": key, "value": value})

    def save(self, key: str, content: bytes) -> None:
        """Keep what the job goes on from at the scheduler."""
        self._variable(key).set(content)

    def saved(self, key: str) -> bytes | None:
        """Ask the scheduler for what the job goes on from; None if there is nothing."""
        content = self._variable(key).get()
        return None if content is None else bytes(content)

    def _event(self) -> Event:
        return Event(self.name)

    def _variable(self, key: str) -> Variable:
        return Variable(f"{self.name}-{key}")


def run_call(key: str, call: Call, channel: DaskChannel) -> Any:
    """Run a job in a worker."""
    with _one_at_a_time:
        return call.function(key, call.argument, channel)


def _connect(address: str) -> Client:
    """Return the client of a scheduler; UsageError if none answers in time."""
    found: list[Client | Exception] = []

    def connect() -> None:
        try:
            found.append(Client(address, timeout=CONNECT_SECONDS, set_as_default=False))
        except (OSError, ValueError, TypeError) as error:
            found.append(error)

    # Dask waits for ever for the first word of a program that is no scheduler.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS + 1.0)
    reason = "it says nothing"
    if found and isinstance(found[0], Client):
        return found[0]
    if found:
        reason = type(found[0]).__name__
    raise UsageError(
        f"`backend` dask:{address}: no scheduler answers within {CONNECT_SECONDS:g} s "
        f"({reason}); start one with `dask scheduler`, or correct the address"
    )


class DaskEngine(Engine):
    """Jobs on the cluster of a scheduler.

    Raises UsageError if no scheduler answers.
    """

    is_local = False

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address = address
        self.channel = DaskChannel(f"hfcontrol-{uuid4().hex}")
        self.client = _connect(address)
        self._reports: deque[Update] = deque()
        self.client.subscribe_topic(self.channel.name, self._receive)

    def _receive(self, event: tuple[float, Any]) -> None:
        """Keep a report; Dask calls this in a thread of its own."""
        _, message = event
        self._reports.append(Update(message["key"], "report", message["value"]))

    def notes(self) -> Iterator[str]:
        """Yield what the user should know about the workers."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        if not workers:
            yield f"the scheduler at {self.address} has no workers yet; waiting for one"
        if any(worker["nthreads"] > 1 for worker in workers.values()):
            yield (
                "some workers have several threads, which take turns; start one "
                "worker per core with `dask worker --nworkers N --nthreads 1`"
            )

    def results(self) -> Iterator[Update]:
        """Run the jobs; yield reports, and the end of each job as it finishes."""
        keys = {}
        for key, call in self.calls.items():
            self._variable(key).set(None)
            future = self.client.submit(
                run_call, key, call, self.channel, pure=False, key=f"{key}-{uuid4()}"
            )
            keys[future] = key
        arriving = as_completed(list(keys), loop=self.client.loop)
        was_told = False
        while not arriving.is_empty():
            while self._reports:
                yield self._reports.popleft()
            if self.stopped and not was_told:
                Event(self.channel.name, client=self.client).set()
                was_told = True
            if not arriving.has_ready():
                sleep(POLL_SECONDS)
                continue
            future = next(arriving)
            yield self._end_of(future, keys[future])

    def _variable(self, key: str) -> Variable:
        return Variable(f"{self.channel.name}-{key}", client=self.client)

    def _end_of(self, future: Any, key: str) -> Update:
        """Return how a job has ended."""
        self._variable(key).delete()
        error = future.exception()
        if error is None:
            return Update(key, "finished", future.result())
        if isinstance(error, distributed.KilledWorker):
            return Update(key, "lost", LOST_WORKER)
        return Update(key, "lost", f"{type(error).__name__}: {error}")

    def close(self, at_once: bool) -> None:
        """Let go of the jobs: those in progress stop after their update."""
        self.client.close()
