"""Parallel processes with one thread each, for trainings that need no communication."""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeAlias

from joblib import Parallel, parallel_config
from joblib.externals.loky import get_reusable_executor

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
Handler: TypeAlias = Callable[[int, FrameType | None], object] | signal.Handlers

# How long [s] a process waits for its next job. It gets none after the last one; the
# limit ends the processes of a parent that was killed.
IDLE_SECONDS = 5


@contextmanager
def signal_handlers(handler: Handler) -> Iterator[None]:
    """Set the handler of SIGINT and SIGTERM while the context lasts."""
    # Only the main thread receives signals, and only it may set handlers.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def run_calls(calls: Iterable[Any], processes: int) -> Iterable[Any]:
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
        return parallel(calls)


def end_processes(kill: bool = False) -> None:
    """End the processes, which joblib keeps for its next call.

    Waits for the jobs in progress unless `kill`.
    """
    get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=kill)
