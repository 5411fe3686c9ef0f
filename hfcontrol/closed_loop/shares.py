"""Shares: which trials each process of a training holds.

Trials are divided into blocks of a fixed width, whatever the number of processes and
threads. A process holds whole blocks, one after another, so that sums over blocks keep
their order. The blocks of a subset of the trials are its own.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hfcontrol.arrays.communicator import Communicator, current_communicator
from hfcontrol.arrays.device import to_device_of, to_host
from hfcontrol.arrays.types import Array
from hfcontrol.errors import UsageError
from hfcontrol.tasks.scenario import Scenario, select_trials

# Trials in a block: enough for an efficient matrix product, and few enough for two
# cores to share 64 trials.
WIDTH = 32

# Lower limit for few trials, which two cores share as well.
LEAST_WIDTH = 8


def choose_block_width(trials: int) -> int:
    """Number of trials in a block."""
    half = -(-trials // 2)
    return min(WIDTH, max(LEAST_WIDTH, half), trials)


def check_ranks(trials: int, what: str = "trials") -> None:
    """Raise UsageError if there are more processes than blocks of trials."""
    ranks = current_communicator().ranks
    width = choose_block_width(trials)
    blocks = -(-trials // width)
    if ranks > blocks:
        raise UsageError(
            f"{ranks} processes for {trials} {what}, which are {blocks} blocks of "
            f"{width}: start at most {blocks} processes, or train on more `trials`"
        )


@dataclass(frozen=True)
class Shares:
    """How a number of trials is divided among the processes of a communicator."""

    trials: int
    communicator: Communicator

    @property
    def width(self) -> int:
        """Number of trials in a block."""
        return choose_block_width(self.trials)

    def bounds(self, rank: int) -> tuple[int, int]:
        """The first trial of a process, and that after its last."""
        blocks = -(-self.trials // self.width)
        ranks = self.communicator.ranks
        first, last = (blocks * r // ranks for r in (rank, rank + 1))
        return first * self.width, min(last * self.width, self.trials)

    @cached_property
    def own(self) -> slice:
        """The trials of this process."""
        return slice(*self.bounds(self.communicator.rank))

    @property
    def is_whole(self) -> bool:
        """Whether this process holds all trials, and there is no other."""
        return self.communicator.ranks == 1

    def select(self, scenario: Scenario) -> Scenario:
        """The trials of this process, of a scenario of all."""
        if self.is_whole:
            return scenario
        indices = np.arange(self.own.start, self.own.stop)
        return select_trials(scenario, to_device_of(indices, scenario.x0))

    def take(self, a: Array) -> Array:
        """The entries (..., own) of this process, of an array (..., N) of all."""
        return a if self.is_whole else a[..., self.own].copy()

    def join(self, a: Array) -> Array:
        """The array (..., N) of all trials, of the entries (..., own) of each."""
        return self.join_all(a)[0]

    def join_all(self, *arrays: Array) -> tuple[Array, ...]:
        """Several arrays as by `join`, in one message."""
        if self.is_whole:
            return arrays
        found = self.communicator.collect([to_host(a) for a in arrays])
        joined = (np.concatenate(parts, axis=-1) for parts in zip(*found, strict=True))
        return tuple(
            to_device_of(np.ascontiguousarray(whole), a)
            for whole, a in zip(joined, arrays, strict=True)
        )

    def held(self, indices: Array) -> Array:
        """Where those of some trials, in their order, are that this process holds."""
        inside = (indices >= self.own.start) & (indices < self.own.stop)
        return indices[inside] - self.own.start

    def hand_over(self, indices: Array, shares: "Shares") -> "HandOver":
        """How the trials of these indices, in their order, come to other shares."""
        return HandOver(self, indices, shares)


class HandOver:
    """Brings trials from the shares of all to those of a subset, array by array.

    `held` are the indices, among the trials of this process, of those that it sends.
    """

    def __init__(self, source: Shares, indices: Array, target: Shares) -> None:
        self._communicator = source.communicator
        self.held = source.held(indices)
        # Of the trials of the subset, the first that this process sends to each other.
        before = int((indices < source.own.start).sum())
        ends = [target.bounds(r)[1] for r in range(self._communicator.ranks)]
        self._cuts = np.clip(np.array(ends[:-1], dtype=int) - before, 0, len(self.held))

    def send(self, a: Array) -> Array:
        """The entries (..., own) of the subset, of those (..., held) that are sent."""
        if self._communicator.ranks == 1:
            return a
        parts = np.split(to_host(a), self._cuts, axis=-1)
        found = self._communicator.exchange(parts)
        joined = np.concatenate(found, axis=-1)
        return to_device_of(np.ascontiguousarray(joined), a)

    def __call__(self, a: Array) -> Array:
        """The entries (..., own) of the subset, of an array (..., own) of all."""
        # Indexing the last axis changes the memory order; the copy is C-contiguous.
        return self.send(a[..., to_device_of(self.held, a)].copy())
