"""Processes that share one training, and what they tell each other.

Every process runs the whole program, with the same seed and the same decisions. Only
what costs by the trial is divided: each process holds whole blocks of the trials
(closed_loop/shares.py), and a sum over trials is made block by block, in the order of
the blocks, whichever process holds them. So any number of processes has the same bits.

Without `communicating`, a process is alone, and nothing is sent.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from hfcontrol.arrays.types import Array

Value = TypeVar("Value")

# The communicator of `communicating`, in each thread its own.
_current = threading.local()


class Communicator(Protocol):
    """What processes of one training tell each other; all of them call in one order.

    Sums alone would do if only weights were wanted. The other two are needed because
    * decisions are taken from the losses of all trials, and from one clock: `collect`;
    * evenly spaced trials, those of a smaller curvature, form blocks of their own, some
      trials of which another process holds: `exchange`.
    """

    @property
    def rank(self) -> int:
        """The number of this process, from 0 on."""
        ...

    @property
    def ranks(self) -> int:
        """The number of processes."""
        ...

    def sum_blocks(self, blocks: Array) -> Array:
        """Return the sum (P,) of the blocks (own, P) of all processes, in their order.

        It has the bits of one block after the other added up in one process.
        """
        ...

    def collect(self, value: Any) -> list[Any]:
        """Return the value of every process, in the order of their ranks."""
        ...

    def exchange(self, parts: Sequence[Any]) -> list[Any]:
        """Return what each process has for this one; `parts` has one for each."""
        ...


class Alone:
    """The communicator of a process that shares its training with no other."""

    rank = 0
    ranks = 1

    @staticmethod
    def sum_blocks(blocks: Array) -> Array:
        """See `Communicator.sum_blocks`."""
        return blocks.sum(axis=0)

    @staticmethod
    def collect(value: Any) -> list[Any]:
        """See `Communicator.collect`."""
        return [value]

    @staticmethod
    def exchange(parts: Sequence[Any]) -> list[Any]:
        """See `Communicator.exchange`."""
        return list(parts)


ALONE = Alone()


def current_communicator() -> Communicator:
    """Return the communicator of this context."""
    communicator: Communicator = getattr(_current, "communicator", ALONE)
    return communicator


@contextmanager
def communicating(communicator: Communicator) -> Iterator[None]:
    """Share the trainings of this context by a communicator."""
    before = current_communicator()
    _current.communicator = communicator
    try:
        yield
    finally:
        _current.communicator = before


def is_first() -> bool:
    """Whether this process is the one that prints and writes."""
    return current_communicator().rank == 0


def of_first(value: Value) -> Value:
    """Return the value of the first process, such as what its clock says."""
    first: Value = current_communicator().collect(value)[0]
    return first


def on_first(make: Callable[[], Value]) -> Value:
    """Return what a function returns in the first process, which alone calls it.

    The others wait: what it writes can be read afterwards.
    """
    made: Any = make() if is_first() else None
    return of_first(made)
