"""Independent streams of random numbers, all derived from one seed."""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What a stream of random numbers is used for.

    The numbers enter the seed of the generator: a new member goes to the end.
    """

    WEIGHTS = 0
    SCENARIOS = 1
    HELD_OUT = 2
    CONSTRAINT = 3
    LAWS = 4
    VALIDATION = 5


def stream(seed: int, which: Stream, *more: int) -> np.random.Generator:
    """Return the generator of one stream of `seed`; `more` numbers its substreams."""
    return np.random.default_rng([seed, int(which), *more])
