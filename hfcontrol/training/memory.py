"""The memory of a training, predicted from its sizes before anything starts.

Arrays of one number for each unit, step and trial take nearly all of it. With nx
states, nu controls, ny observations, na activations of the network, K = `store_every`,
and P weights, a trial takes at each step

    problem     4 nx + 2 ny + 6 nu                 cost, targets, noise, disturbances
    rollout     3 nx + ny + 4 nu + na / K          trajectory, residuals, activations
    Jacobians   nx (nx + nu + ny)                  of the plant, without known zeros

`ROLLOUTS` rollouts exist at once: the first of the hold, the current one, the best of
the line search and the one on trial. Jacobians exist once, and again for a curvature
of fewer trials. The Jacobian of the residuals, which the solver makes explicit, and
vectors of weights come on top.
"""

from typing import NamedTuple

from hfcontrol.arrays.communicator import current_communicator
from hfcontrol.arrays.memory import format_bytes, usable_memory
from hfcontrol.closed_loop.loop import ClosedLoop
from hfcontrol.errors import UsageError
from hfcontrol.optim.hessian_free import HessianFree
from hfcontrol.optim.operations import explicit_memory, measure_problem
from hfcontrol.optim.solver_choice import choose_solver, count_curved

ROLLOUTS = 4

# Vectors of weights: iterates of conjugate gradients and their candidates.
VECTORS = 24

# Program, libraries and compiled code [bytes].
PROGRAM = 3e8

FLOAT = 8  # bytes


class Memory(NamedTuple):
    """The parts of the memory of a training [bytes]."""

    trajectories: float
    jacobians: float
    residuals: float
    weights: float

    @property
    def total(self) -> float:
        """All of it, with the program itself."""
        return sum(self) + PROGRAM


def predict_memory(
    loop: ClosedLoop, optimizer: object, trials: int | None = None
) -> Memory:
    """Return the memory that training on a loop takes at most.

    `trials` is their number, if it is not that of the loop.
    """
    size = measure_problem(loop, trials)
    plant = loop.plant
    nx, nu, ny = plant.nx, plant.nu, plant.ny
    activations = loop.network.n_activations / loop.options.store_every
    problem = 4 * nx + 2 * ny + 6 * nu
    rollout = 3 * nx + ny + 4 * nu + activations
    entries = loop.kernels.stored_entries

    copied, explicit = 0, 0.0
    if isinstance(optimizer, HessianFree):
        indices = loop.active_residuals()
        solver, _ = choose_solver(size, indices, optimizer.choice)
        curved = count_curved(size, optimizer.curvature_trials)
        copied = curved if curved < size.trials else 0
        explicit = explicit_memory(size._replace(trials=curved), indices, solver)

    per_unit = FLOAT * float(size.steps)
    trajectories = size.trials * (problem + ROLLOUTS * rollout) + copied * rollout
    return Memory(
        trajectories=per_unit * trajectories,
        jacobians=per_unit * (size.trials + copied) * entries,
        residuals=explicit,
        weights=FLOAT * VECTORS * float(size.weights),
    )


def check_memory(loop: ClosedLoop, optimizer: object, trials: int) -> None:
    """Raise UsageError if training on so many trials takes more memory than there is.

    Of the loop only what is the same for all trials is read: one trial is enough. A
    process that shares the training holds its own trials alone.
    """
    memory = predict_memory(loop, optimizer, trials)
    ranks = current_communicator().ranks
    memory = memory._replace(
        trajectories=memory.trajectories / ranks, jacobians=memory.jacobians / ranks
    )
    usable = usable_memory()
    if memory.total <= usable:
        return
    parts = ", ".join(
        f"{name} {format_bytes(part)}" for name, part in memory._asdict().items()
    )
    raise UsageError(
        f"{trials} trials of {loop.scenario.steps} steps with {loop.plant.nx} states "
        f"and {loop.network.size} weights take about {format_bytes(memory.total)} of "
        f"memory ({parts}), but only {format_bytes(usable)} can be used: reduce "
        f"{_remedy(memory)}"
    )


def _remedy(memory: Memory) -> str:
    """Return the settings that reduce the largest part of the memory."""
    largest = max(memory)
    if largest == memory.weights:
        return "`hidden`"
    if largest == memory.residuals:
        return "`hidden` or `curvature_trials`"
    if largest == memory.jacobians:
        return "`trials` or `steps`"
    return "`trials`, `steps` or `hidden`, or raise `store_every`"
