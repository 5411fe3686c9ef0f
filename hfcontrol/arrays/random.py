"""Streams of random numbers that one seed gives."""

import numpy as np

WEIGHTS, SCENARIOS, HELD_OUT, CONSTRAINT = range(
    4
)  # the streams of random numbers that one seed gives


def stream(settings, which, *more):
    """One of the generators of random numbers that the seed gives."""
    return np.random.default_rng([settings.seed, which, *more])
