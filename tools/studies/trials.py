"""Curvature of part of the trials (Martens 2010, sec. 4.6): gradient, loss and acceptance keep all of them."""

import numpy as np

from hfcontrol.closed_loop import ClosedLoop
from hfcontrol.scenario import picked


def linear_of(linear, chosen):
    """The derivative of some of the trials, given by their numbers, at the same weights."""
    loop = linear.loop
    part = ClosedLoop(loop.plant, loop.kernels, loop.network, picked(loop.scenario, chosen), loop.wiring)
    return part.linearise(part.rollout(linear.rollout.theta))


class Part:
    """Part of the trials for the products with G and for the preconditioner's rows; others at each update, if random."""

    def __init__(self, part, random=True):
        self.part, self.random, self.rng, self.made = part, random, np.random.default_rng(0), (None, None)

    def of(self, linear):
        """The derivative of the part that stands for this derivative of all, drawn once for each."""
        if self.made[0] is not linear:
            trials, every = linear.loop.trials, round(1 / self.part)
            chosen = np.arange(0, trials, every)
            if self.random:
                chosen = np.sort(self.rng.permutation(trials)[:len(chosen)])
            self.made = linear, linear_of(linear, chosen)
        return self.made[1]

    def products(self, original):
        """G of the part."""
        return lambda linear: original(self.of(linear))

    def rows(self, original):
        """The final residuals' rows of the part, as the shipped preconditioner; in residual space all are needed."""
        def residual_rows(linear, channels):
            every = len(channels) == len(linear.loop.scenario.cost.channels())
            return original(linear if every else self.of(linear), channels)
        return residual_rows
