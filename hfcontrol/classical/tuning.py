"""The two gains of a law, chosen by the task's own cost.

A rule of thumb for gains knows nothing of the cost that the controllers are compared
by. So the gains of every law minimise the mean cost of the nominal task, on training
trials, by the simplex method of Nelder and Mead (Computer Journal 7, 1965) in the
logarithms of the gains, from the rule's values. The search has a bound, and says when
it is reached.
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

# Gains are found to 1 %, or as well as this number of simulations allows.
ACCURACY = 0.01
SIMULATIONS = 120

# First changes of the logarithms: a factor of e.
FIRST_CHANGE = 1.0

# Operations of the whole search, some minutes of one core. Many states leave fewer
# trials and simulations, but not fewer simulations than this.
BUDGET = 1e11
LEAST_SIMULATIONS = 20

# Operations of a Riccati equation, per cube of the states, and of a step in Python.
RICCATI_OPERATIONS = 500
STEP_OPERATIONS = 1e5


class Gains(NamedTuple):
    """Two gains of a law; where they came from, and their costs on the tuned trials.

    `trials` and `simulations` say how long they were searched, `is_converged` whether
    they were found to 1 % by then.
    """

    chosen: tuple[float, float]
    rule: tuple[float, float]
    loss: float
    rule_loss: float
    trials: int
    simulations: int
    is_converged: bool


class Plan(NamedTuple):
    """The trials of a search for gains, and its most simulations of them."""

    trials: int
    simulations: int


def plan_search(nx: int, steps: int, trials: int) -> Plan:
    """Return the plan for a problem of nx states, within the budget of operations.

    It depends on counts alone, so that gains are the same on every machine.
    """
    of_trial = RICCATI_OPERATIONS * nx**3
    of_steps = STEP_OPERATIONS * steps
    affordable = int((BUDGET / LEAST_SIMULATIONS - of_steps) / of_trial)
    count = min(TRIALS, trials, max(affordable, 1))
    simulations = int(BUDGET / (of_steps + count * of_trial))
    return Plan(count, min(SIMULATIONS, max(simulations, LEAST_SIMULATIONS)))


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
    trials, steps = problem.scenario.trials, problem.scenario.steps
    plan = plan_search(problem.plant.nx, steps, trials)
    few = problem.subset(np.arange(plan.trials) * trials // plan.trials)
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
        "maxfev": plan.simulations,
    }
    found = minimize(loss, start, method="Nelder-Mead", options=options)
    first, second = np.exp(found.x)
    return Gains(
        (float(first), float(second)),
        rule,
        float(found.fun),
        rule_loss,
        plan.trials,
        int(found.nfev),
        bool(found.success),
    )
