"""Where a rollout stops being finite, and which function is to blame, in one line.

A trial may run away: its state grows from step to step until it overflows. But a plant
that gives NaN in one step from a state of ordinary size, or a cost that is NaN there,
is wrong: no other weights and no shorter episode would help.
"""

from collections.abc import Iterable

import numpy as np

from hfcontrol.arrays.device import to_host
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.loop import ClosedLoop, Rollout
from hfcontrol.plant.calls import format_place, line_of
from hfcontrol.plant.contract import Plant
from hfcontrol.tasks.cost import Residuals

# States, controls and noise are ordinary up to this many of their sizes.
ORDINARY = 10.0

# Noise in observations is large beyond this.
LARGEST = 1e100

STEP_FUNCTIONS = ("dynamics", "step", "step_batch")


def state_sizes(loop: ClosedLoop) -> Array:
    """Return the size (nx, 1) of each state: typical, or that of starts and goals."""
    scenario = loop.scenario
    starts = np.abs(to_host(scenario.x0)).max(axis=1)
    # A goal that is NaN leaves its state free.
    goals = np.nan_to_num(np.abs(to_host(scenario.goal))).max(axis=(0, 2))
    typical = loop.plant.typical_state
    return np.maximum(typical, np.maximum(starts, goals))[:, None]


def find_wrong_number(loop: ClosedLoop, rollout: Rollout) -> str | None:
    """Return which number of a rollout is not finite through no growth, and whose.

    None if all are finite, or if the trials that are not have run away.
    """
    rollout = loop.whole(rollout)
    x = to_host(rollout.x)
    costs = to_host(loop.scenario.cost.losses_over_time(rollout.x, rollout.u))
    is_finite = np.isfinite(x).all(axis=1)
    is_bad = ~is_finite | ~np.isfinite(costs)
    if not is_bad.any():
        return None
    noise = _find_large_noise(loop, rollout, is_bad)
    if noise:
        return noise

    with np.errstate(invalid="ignore"):
        is_ordinary = (np.abs(x) <= ORDINARY * state_sizes(loop)).all(axis=1)
    # A control that is not finite comes from what the network sees or from its weights.
    is_driven = np.isfinite(to_host(rollout.u)).all(axis=1)
    is_blind = ~np.isfinite(to_host(rollout.y)).all(axis=1)
    is_sudden = is_ordinary[:-1] & ~is_finite[1:] & (is_driven | is_blind)
    is_ordinary[:-1] &= is_driven
    for is_wrong, describe in (
        (is_sudden, _describe_step),
        (is_ordinary & is_bad, _describe_residual),
    ):
        if is_wrong.any():
            step, trial = map(int, np.argwhere(is_wrong)[0])
            return describe(loop, rollout, step, trial)
    return None


def _find_large_noise(loop: ClosedLoop, rollout: Rollout, is_bad: Array) -> str | None:
    """Return the first noise or disturbance out of all proportion in a bad trial.

    is_bad: which numbers (T+1, N) of time and trial are not finite.
    """
    plant, scenario = loop.plant, loop.scenario
    u, command, sensory, push = map(
        to_host,
        (rollout.u, rollout.command, scenario.sensory_noise, scenario.disturbance),
    )
    before = np.flip(np.logical_or.accumulate(np.flip(is_bad, axis=0)), axis=0)[:-1]
    motor = np.where(np.isfinite(command), u - command, 0.0)
    for source, names, values, largest in (
        # Observations have no typical size.
        ("noise in", plant.observation, sensory, np.full(plant.ny, LARGEST)),
        ("noise in", plant.control, motor, ORDINARY * plant.typical_control),
        ("the disturbance of", plant.state, push, ORDINARY * plant.typical_state),
    ):
        is_large = ~(np.abs(values) <= largest[:, None]) & before[:, None]
        if is_large.any():
            step, i, trial = map(int, np.argwhere(is_large)[0])
            return (
                f"{source} {names[i]} is {values[step, i, trial]:.4g} at step {step} "
                f"of trial {trial}, and numbers become infinite; choose less of it"
            )
    return None


def _describe_step(loop: ClosedLoop, rollout: Rollout, step: int, trial: int) -> str:
    """Return whether what the network sees or the plant spoils a step."""
    plant = loop.plant
    y, u = (to_host(a)[step, :, trial] for a in (rollout.y, rollout.u))
    where = f"at step {step} of trial {trial}"
    if not np.isfinite(y).all():
        i = int(np.argmax(~np.isfinite(y)))
        return (
            f"{_place(plant, 'observe')}: the network sees {plant.observation[i]} = "
            f"{y[i]} {where}; it must be finite"
        )
    x = to_host(rollout.x)[:, :, trial]
    i = int(np.argmax(~np.isfinite(x[step + 1])))
    name = next((n for n in STEP_FUNCTIONS if n in plant.functions), "step")
    given = _format([*plant.state, *plant.control], [*x[step], *u])
    p = to_host(loop.scenario.params)[:, trial]
    parameters = f" (parameters: {_format(plant.params, p)})" if plant.params else ""
    return (
        f"{_place(plant, name)}: {name} gives {plant.state[i]} = {x[step + 1, i]} "
        f"{where}, from {given}{parameters}; it must be finite at states of ordinary "
        "size"
    )


def _describe_residual(
    loop: ClosedLoop, rollout: Rollout, step: int, trial: int
) -> str:
    """Return which residual is not finite at a finite state."""
    plant, cost = loop.plant, loop.scenario.cost
    custom = cost.custom or ""
    labels = {
        "state": ("the cost", plant.state),
        "control": ("the cost", plant.control),
        "output": ("output", plant.output),
        "custom": (custom, plant.residuals.get(custom, ())),
    }
    x = to_host(rollout.x)[step, :, trial]
    given = _format(plant.state, x)
    with np.errstate(all="ignore"):
        groups = cost.residuals(rollout.x, rollout.u)
    for group, values in zip(Residuals._fields, groups, strict=True):
        if values is None or step >= len(values):
            continue
        numbers = to_host(values)[step, :, trial]
        if not np.isfinite(numbers).all():
            function, names = labels[group]
            i = int(np.argmax(~np.isfinite(numbers)))
            return (
                f"{_place(plant, function)}: {function} gives {names[i]} = "
                f"{numbers[i]} at step {step} of trial {trial}, where {given}; it must "
                "be finite at states of ordinary size"
            )
    return (
        f"{plant.name}: the cost is not finite at step {step} of trial {trial}, where "
        f"{given}; its weights are too large"
    )


def _place(plant: Plant, name: str) -> str:
    """Return the file of a plant, with the line of a function of it."""
    function = plant.functions.get(name)
    return format_place(plant, function and line_of(plant, function))


def _format(names: Iterable[str], values: Iterable[float]) -> str:
    pairs = zip(names, values, strict=True)
    return ", ".join(f"{name} {value:.4g}" for name, value in pairs)
