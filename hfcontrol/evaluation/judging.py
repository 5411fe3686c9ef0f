"""Of how many trials the optimum is found when a controller is judged.

iLQR may take longer than the training itself. The number of trials is therefore planned
from predicted operations: those of the judging are at most a tenth of those of the
training, or `LEAST_OPERATIONS`, about ten seconds' worth, whichever is more.

For one trial of T steps, with nx states, nu controls, g groups of columns that move
together (at most nx + nu), a entries in a row of A, and f operations of a plant step,
an iteration of iLQR takes

    T (2 g f + 4 nx^2 a + 6 nx^2 nu + OVERHEAD)

operations: differences of the plant, the backward pass, and all the rest.
"""

from typing import Literal, get_args

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.counts import Counts
from hfcontrol.closed_loop.loop import ClosedLoop
from hfcontrol.errors import UsageError
from hfcontrol.kernels.base import Kernels
from hfcontrol.optim.operations import PASS_SPEED, measure_problem
from hfcontrol.optim.yardstick import select_evenly

Judge = Literal["auto", "all", "none"]

# Part of the operations of the training, and the least, of all sets together.
PART = 0.1
LEAST_OPERATIONS = 1e10

# Trials of a set that are judged at least.
LEAST_JUDGED = 16

# Iterations of iLQR for a trial, from all starts, and operations of a step besides
# those of the formula (measured on the shipped tasks, within a factor of three).
ITERATIONS = 150
OVERHEAD = 2_000

# Operations of a plant step that Python makes, whose number is unknown.
PYTHON_STEP = 10_000


def check_judge(judge: str) -> Judge:
    """Return the choice of the trials to judge; raise UsageError for any other."""
    if judge not in get_args(Judge):
        raise UsageError(
            f"`judge` {judge}: must be one of {', '.join(get_args(Judge))}"
        )
    return judge  # type: ignore[return-value]


def choose_judged(loop: ClosedLoop, judge: str, trained: float, sets: int) -> Array:
    """Return the indices of the trials whose optimum is found.

    `trained` are the operations of the training, `sets` is the number of sets that are
    judged. Raises UsageError if `judge` is none of "auto", "all" and "none".
    """
    judge = check_judge(judge)
    if judge == "none":
        return np.zeros(0, dtype=int)
    if judge == "all":
        return np.arange(loop.trials)
    most = max(LEAST_OPERATIONS, PART * trained) / sets
    of_trial = judging_operations(loop.kernels, loop.scenario.steps)
    affordable = int(most / of_trial)
    return select_evenly(loop.trials, max(affordable, LEAST_JUDGED))


def judging_operations(kernels: Kernels, steps: int) -> float:
    """Return the predicted operations of the optimum of one trial of some steps."""
    nx, nu = kernels.plant.nx, kernels.plant.nu
    structure = kernels.structure
    entries = structure.table.shape[1] if structure else nx
    differences = 2 * kernels.step_groups * _step_operations(kernels)
    backward = 4 * nx**2 * entries + 6 * nx**2 * nu
    per_step = differences + backward + OVERHEAD
    return float(ITERATIONS * steps * per_step)


def training_operations(loop: ClosedLoop, trained: Counts, trials: int) -> float:
    """Return the operations of a training, in units of those of plant and iLQR.

    `loop` has the training's plant and network, `trials` is their number in it.
    """
    T = loop.scenario.steps
    step_of_pass = measure_problem(loop).per_pass / T / PASS_SPEED
    rollout_steps = trained.rollouts * T * trials
    plant_steps = rollout_steps + trained.jacobian_steps
    pass_steps = rollout_steps / 2 + trained.tangent_steps + trained.adjoint_steps
    return plant_steps * _step_operations(loop.kernels) + pass_steps * step_of_pass


def _step_operations(kernels: Kernels) -> int:
    """Return the operations of a plant step, also where they are unknown."""
    known = kernels.step_operations
    return PYTHON_STEP if known is None else known
