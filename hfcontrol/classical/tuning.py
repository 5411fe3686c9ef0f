"""The two gains of a law, chosen by the task's own cost.

A rule of thumb for gains knows nothing of the cost that the controllers are compared
by. So the gains of every law minimise the mean cost of the nominal task, on training
trials, by the simplex method of Nelder and Mead (Computer Journal 7, 1965) in the
logarithms of the gains, from the rule's values.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from hfcontrol.arrays.types import Array
from hfcontrol.classical.controller import ClassicalController, simulate
from hfcontrol.classical.laws import LawEntry
from hfcontrol.classical.problem import Problem

# Trials that gains are tuned on, at most, evenly spaced.
TRIALS = 16

# First changes of the logarithms: a factor of e.
FIRST_CHANGE = 1.0

# Gains are found to 1 %, within this number of simulations.
ACCURACY = 0.01
SIMULATIONS = 120


class Gains(NamedTuple):
    """Two gains of a law; where they came from, and their costs on the tuned trials."""

    chosen: tuple[float, float]
    rule: tuple[float, float]
    loss: float
    rule_loss: float


def mean_loss(entry: LawEntry, problem: Problem, gains: tuple[float, float]) -> float:
    """Return the mean loss of a law's movements in a problem; infinite if one fails."""
    controller = ClassicalController(problem, entry.make(problem, gains))
    movement = simulate(controller, problem.kernels, problem.scenario, problem.wiring)
    return float(np.mean(movement.losses))


def tune(entry: LawEntry, problem: Problem) -> Gains | None:
    """Return the gains of a law, tuned on a problem; None for a law without any.

    Raises UnsuitableError if plant or task do not allow the law.
    """
    if entry.first_gains is None:
        return None
    count = min(TRIALS, problem.scenario.trials)
    few = problem.subset(np.arange(count) * problem.scenario.trials // count)
    rule = entry.first_gains(few)
    rule_loss = mean_loss(entry, few, rule)

    def loss(logarithms: Array) -> float:
        first, second = np.exp(logarithms)
        # Infinity would make the simplex compute infinity minus infinity.
        largest = np.finfo(float).max
        return min(mean_loss(entry, few, (float(first), float(second))), largest)

    start = np.log(rule)
    simplex = np.vstack([start, start + FIRST_CHANGE * np.eye(2)])
    options = {
        "initial_simplex": simplex,
        "xatol": ACCURACY,
        # Only the gains decide when it ends: losses differ in size between tasks.
        "fatol": np.inf,
        "maxfev": SIMULATIONS,
    }
    found = minimize(loss, start, method="Nelder-Mead", options=options)
    first, second = np.exp(found.x)
    return Gains((float(first), float(second)), rule, float(found.fun), rule_loss)
