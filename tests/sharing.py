"""Processes of one training as threads of this one: sums and shares without MPI."""

import threading
from contextlib import contextmanager, nullcontext

import numpy as np

from hfcontrol.arrays.communicator import communicating
from hfcontrol.closed_loop.loop import LinearisedLoop
from hfcontrol.training.imitation import ImitationTask

# A thread that waits as long for others waits for ever.
PATIENCE = 120

# Before Python 3.12 a cached property of one object is locked for all others meanwhile,
# so that threads that sum inside of one would wait for each other.
for owner, name in ((LinearisedLoop, "gradient"), (ImitationTask, "root")):
    vars(owner)[name].lock = nullcontext()


class Team:
    """What the threads of a team know of each other.

    One of them runs at a time, since not all that processes do alike is safe for
    threads: Python 3.11 parses in one thread alone.
    """

    def __init__(self, ranks):
        self.ranks = ranks
        self.barrier = threading.Barrier(ranks, timeout=PATIENCE)
        self.values = [None] * ranks
        self.turn = threading.Lock()

    @contextmanager
    def waiting(self):
        """Let the others run meanwhile."""
        self.turn.release()
        try:
            yield
        finally:
            self.turn.acquire()

    def meet(self):
        """Wait for all."""
        with self.waiting():
            self.barrier.wait()


class Member:
    """The `Communicator` of a thread.

    All blocks are gathered and added in their order, which is what the sum is defined
    as.
    """

    def __init__(self, team, rank):
        self.team, self.rank = team, rank
        self.ranks = team.ranks

    def collect(self, value):
        self.team.values[self.rank] = value
        self.team.meet()
        found = list(self.team.values)
        self.team.meet()
        return found

    def exchange(self, parts):
        return [parts[self.rank] for parts in self.collect(parts)]

    def sum_blocks(self, blocks):
        return np.concatenate(self.collect(blocks)).sum(axis=0)


def run_shared(ranks, function, member=Member):
    """What a function returns in each of the threads that share its trainings."""
    team = Team(ranks)
    results, errors = [None] * ranks, []

    def run(rank):
        try:
            with team.turn, communicating(member(team, rank)):
                results[rank] = function()
        except threading.BrokenBarrierError:
            pass
        except BaseException as error:
            errors.append(error)
            team.barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results
