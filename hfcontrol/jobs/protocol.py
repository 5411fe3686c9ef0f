"""What an engine does with jobs: submit, stream what they report, cancel.

A job is a function of one argument and a `Channel`. The function is found by its name
in the worker, so it is one of a module. An engine runs a job again elsewhere if its
worker is lost; the channel keeps what the job has saved, to go on from there.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from time import monotonic
from types import TracebackType
from typing import Any, Literal, NamedTuple

from hfcontrol.training.stop import StopToken

# Time [s] between two looks at the jobs of an engine, and at the request to stop.
POLL_SECONDS = 0.1

# Time [s] for which a worker believes the last answer about a request to stop.
STOP_SECONDS = 0.5

# How often a job is started again after it has lost its worker.
MOST_LOSSES = 3

# Why a job that has lost all its workers is given up.
LOST_WORKER = (
    f"its worker ended unexpectedly {MOST_LOSSES} times, perhaps for lack of memory"
)


class Channel(StopToken, ABC):
    """What connects a job to whoever has submitted it; made by an engine."""

    @property
    def orphaned(self) -> bool:
        """Whether nobody waits for the result any more."""
        return False

    @abstractmethod
    def report(self, key: str, value: dict[str, Any]) -> None:
        """Pass numbers and texts about the job on, as they are now."""

    @abstractmethod
    def save(self, key: str, content: bytes) -> None:
        """Keep what the job goes on from if its worker is lost."""

    @abstractmethod
    def saved(self, key: str) -> bytes | None:
        """Return what the job has saved last, or None."""


class RemoteChannel(Channel):
    """A channel to another machine, which is asked now and then whether to stop."""

    def __init__(self) -> None:
        self._asked = 0.0
        self._answer = False

    @property
    def stopped(self) -> bool:
        """Whether somebody asked to stop, as answered at most `STOP_SECONDS` ago."""
        if not self._answer and monotonic() > self._asked + STOP_SECONDS:
            self._answer = self.ask()
            self._asked = monotonic()
        return self._answer

    @abstractmethod
    def ask(self) -> bool:
        """Return whether somebody asked to stop, or gave the job up."""


Function = Callable[[str, Any, Channel], Any]


class Call(NamedTuple):
    """A function and its argument."""

    function: Function
    argument: Any


class Update(NamedTuple):
    """What has become of a job.

    `value` is what it has reported (a dict), what it has returned, or in words why it
    is lost.
    """

    key: str
    kind: Literal["report", "finished", "lost"]
    value: Any


class Engine(StopToken, ABC):
    """Runs jobs; `stop` cancels them: those in progress end after their update.

        with engine:
            engine.submit("seed0", function, argument)
            for update in engine.results():
                ...

    Leaving the context ends what is left: at once after an exception.
    """

    # Whether workers have the files of this process, and its processor.
    is_local = True

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[str, Call] = {}

    def submit(self, key: str, function: Function, argument: Any) -> None:
        """Add a job; `key` is a short word of letters and digits, of its own."""
        self.calls[key] = Call(function, argument)

    @abstractmethod
    def results(self) -> Iterator[Update]:
        """Run the jobs; yield reports, and the end of each job as it finishes."""

    def notes(self) -> Iterator[str]:
        """Yield what the user should know about the workers before the jobs start."""
        yield from ()

    def close(self, at_once: bool) -> None:
        """Wait for the jobs in progress, or end them `at_once`; end the processes."""

    def __enter__(self) -> "Engine":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(at_once=kind is not None)
