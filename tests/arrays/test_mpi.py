"""The sum along the ranks of MPI, and how processes end, on a stand-in for mpi4py."""

from queue import Queue

import numpy as np
import pytest
from sharing import Member, run_shared

from hfcontrol.arrays.communicator import current_communicator, on_first
from hfcontrol.arrays.mpi import CHUNK, MPICommunicator


class Wire:
    """What `MPICommunicator` uses of mpi4py's communicators, between threads."""

    def __init__(self, member):
        self._member = member
        self.rank, self.size = member.rank, member.ranks
        queues = [Queue() for _ in range(self.size)]
        # queues[i] carries what rank i sends to the next
        self._queues = member.collect(queues)[0]

    def Send(self, a, other):
        assert other == self.rank + 1
        self._queues[self.rank].put(a.copy())

    def Recv(self, a, other):
        assert other == self.rank - 1
        with self._member.team.waiting():
            a[:] = self._queues[other].get(timeout=60)

    def Bcast(self, a, root):
        a[:] = self._member.collect(a.copy())[root]

    def allgather(self, value):
        return self._member.collect(value)

    def alltoall(self, parts):
        return self._member.exchange(parts)


def over_wire(team, rank):
    return MPICommunicator(Wire(Member(team, rank)))


@pytest.mark.parametrize("size", [3, CHUNK + 5])
@pytest.mark.parametrize("held", [(3, 1, 2), (0, 2, 0, 3), (1, 0, 0)])
def test_a_sum_along_the_ranks_has_the_bits_of_one_process(held, size):
    """Numbers of very different sizes, so that another order has other bits."""
    rng = np.random.default_rng(0)
    blocks = rng.standard_normal((sum(held), size))
    blocks *= 10.0 ** rng.integers(-8, 9, blocks.shape)
    parts = np.split(blocks, np.cumsum(held)[:-1])

    def add():
        communicator = current_communicator()
        return communicator.sum_blocks(parts[communicator.rank])

    for total in run_shared(len(held), add, over_wire):
        assert total.tobytes() == blocks.sum(axis=0).tobytes()
    if len(blocks) > 2:
        # Another order has other bits: the numbers are apt to show it.
        assert sum(blocks[::-1]).tobytes() != blocks.sum(axis=0).tobytes()


def test_what_the_first_process_does_is_known_to_all():
    made = []

    def make():
        made.append(current_communicator().rank)
        return "a folder"

    assert run_shared(3, lambda: on_first(make), over_wire) == ["a folder"] * 3
    assert made == [0]
