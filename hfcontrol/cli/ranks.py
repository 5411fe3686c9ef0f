"""`mpiexec -n 8 hfcontrol train`: processes of one training, of which one speaks.

All run the same command. The streams of all but the first lead nowhere, so that each
line is printed once. A failure that all meet, such as a wrong option, is the first
one's to tell. A failure of a single process is told by that process, which then ends
the others: they wait for numbers that will never come.
"""

import atexit
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from hfcontrol.cli.status import FAILURE
from hfcontrol.errors import HFControlError

if TYPE_CHECKING:
    from hfcontrol.arrays.mpi import Ending, MPICommunicator


@contextmanager
def shared_by_mpi() -> Iterator[None]:
    """Share the trainings of this context among the processes that MPI has started.

    Without MPI there is nothing to share. Raises UsageError without mpi4py.
    """
    from hfcontrol.arrays.mpi import Ending, connect, is_launched

    communicator = connect() if is_launched() else None
    if communicator is None or communicator.ranks == 1:
        yield
        return
    ending = Ending(communicator)
    if communicator.rank:
        _silence()
    try:
        with _resources(communicator):
            yield
    except BaseException as error:
        if ending.is_shared():
            raise
        _speak_last(ending)
        if isinstance(error, HFControlError):
            name = f"process {communicator.rank} of {communicator.ranks}"
            raise type(error)(f"{name}: {error}") from error
        raise


@contextmanager
def _resources(communicator: "MPICommunicator") -> Iterator[None]:
    """Share trials by a communicator, and the cores and GPUs of a machine by number."""
    from hfcontrol.arrays.communicator import communicating
    from hfcontrol.arrays.device import choose_gpu
    from hfcontrol.arrays.threads import (
        limited_threads,
        single_threaded_blas,
        thread_count,
    )

    place, count = communicator.local_place()
    choose_gpu(place)
    # A launcher may have bound each process to its cores, which are counted then.
    cores = max(1, (os.cpu_count() or 1) // count)
    with ExitStack() as stack:
        stack.enter_context(limited_threads(min(thread_count(), cores)))
        # Products of different numbers of threads may differ in their last bits.
        stack.enter_context(single_threaded_blas())
        stack.enter_context(communicating(communicator))
        yield


def _silence() -> None:
    """Let all that this process prints lead nowhere."""
    nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stdout = sys.stderr = nowhere


def _speak_last(ending: "Ending") -> None:
    """Let this process print its error, and end all others after it.

    If one of a lower rank does so, this one waits for the end.
    """
    if not ending.is_first():
        ending.wait()
    # Before MPI ends by itself, which would wait for the others.
    atexit.register(ending.abort, FAILURE)
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
