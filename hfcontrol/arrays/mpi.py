"""Processes that MPI has started, such as `mpiexec -n 8` or `srun --mpi=pmix`.

A sum of blocks runs along the ranks: each adds its blocks to what the ranks before have
added and passes it on, and the last one tells all. With P numbers and R ranks a sum
sends 2 (R - 1) P numbers in all, where gathering B blocks would send (R - 1) B P, and
no other order of additions has the same bits. The numbers travel in chunks, so that all
ranks add at the same time.

This is the only module that imports mpi4py.
"""

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from hfcontrol.arrays.device import to_device_of, to_host
from hfcontrol.arrays.types import Array
from hfcontrol.errors import UsageError

# Variables that launchers set, each to the number of a process or of all: those of
# MPICH, Intel MPI and `srun --mpi=pmi2`, of Open MPI, and of `srun --mpi=pmix`.
LAUNCHED = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK")

# Numbers of a sum that travel together: enough for the speed of a network, and few
# enough for many ranks to be at work.
CHUNK = 8192

# Tag of the note that a process has failed; time in which all may fail alike [s], and
# in which a process that failed first ends all.
FAILED = 7
PATIENCE = 3.0
LAST_WORDS = 10.0


def is_launched() -> bool:
    """Whether MPI has started this process."""
    return any(name in os.environ for name in LAUNCHED)


def connect() -> "MPICommunicator":
    """Return the communicator of all processes; raise UsageError without mpi4py."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"started by MPI, but mpi4py cannot be used ({reason}); install "
            "hfcontrol[mpi] and an MPI library, or start without mpiexec"
        ) from error
    return MPICommunicator(MPI.COMM_WORLD)


class MPICommunicator:
    """A `Communicator` on mpi4py's `comm`."""

    def __init__(self, comm: Any) -> None:
        self._comm = comm
        self.rank: int = comm.rank
        self.ranks: int = comm.size

    def sum_blocks(self, blocks: Array) -> Array:
        """See `Communicator.sum_blocks`."""
        own = np.ascontiguousarray(to_host(blocks))
        total = np.empty(own.shape[1])
        for first in range(0, len(total), CHUNK):
            chunk = slice(first, first + CHUNK)
            self._pass_on(own[:, chunk], total[chunk])
        self._comm.Bcast(total, self.ranks - 1)
        return to_device_of(total, blocks)

    def _pass_on(self, own: Array, total: Array) -> None:
        """Add own blocks to the sum of the ranks before, and send it to the next.

        `total` is filled with it.
        """
        total[:] = 0.0
        if self.rank:
            self._comm.Recv(total, self.rank - 1)
        for block in own:
            total += block
        if self.rank < self.ranks - 1:
            self._comm.Send(total, self.rank + 1)

    def collect(self, value: Any) -> list[Any]:
        """See `Communicator.collect`."""
        found: list[Any] = self._comm.allgather(value)
        return found

    def exchange(self, parts: Sequence[Any]) -> list[Any]:
        """See `Communicator.exchange`."""
        found: list[Any] = self._comm.alltoall(list(parts))
        return found

    def local_place(self) -> tuple[int, int]:
        """Return the number of this process on its machine, and how many there are."""
        machine = os.uname().nodename if hasattr(os, "uname") else ""
        machines = self.collect(machine)
        before = machines[: self.rank].count(machine)
        return before, machines.count(machine)


class Ending:
    """How processes end when one of them fails, or all do.

    Made before anything fails, since all processes make it together.
    """

    def __init__(self, communicator: MPICommunicator) -> None:
        # One of its own: a failed process no longer takes part in what others do.
        self._comm: Any = communicator._comm.Dup()

    def is_shared(self) -> bool:
        """Whether all processes have failed, as for a wrong setting.

        Waits `PATIENCE` for the others, and tells them.
        """
        for other in range(self._comm.size):
            if other != self._comm.rank:
                self._comm.isend(self._comm.rank, other, FAILED)
        all_failed = self._comm.Ibarrier()
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if all_failed.Test():
                return True
            time.sleep(0.01)
        return False

    def is_first(self) -> bool:
        """Whether no process of a lower rank has failed: this one speaks."""
        return not any(
            self._comm.iprobe(source=other, tag=FAILED)
            for other in range(self._comm.rank)
        )

    def wait(self) -> None:
        """Wait until the process that speaks has ended all."""
        time.sleep(LAST_WORDS)

    def abort(self, status: int) -> None:
        """End all processes with a status."""
        with suppress(Exception):
            self._comm.Abort(status)
