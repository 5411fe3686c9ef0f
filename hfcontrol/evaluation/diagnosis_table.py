"""What was found out about a problem before its training, as a short table."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.device import to_host
from hfcontrol.evaluation.judging import judging_operations
from hfcontrol.network.input_scaling import Typical
from hfcontrol.plant.contract import HAND, Plant
from hfcontrol.runs.preparation import Preparation
from hfcontrol.tasks.task import Task
from hfcontrol.training.conditioning import Conditioning
from hfcontrol.training.diagnosis import Diagnosis


class FinalStates(NamedTuple):
    """Trajectories by which a task evaluates success: states x (T+1, nx, N)."""

    x: np.ndarray


def diagnosis_rows(
    prepared: Preparation, task: Task, conditioning: Conditioning
) -> list[tuple[str, str]]:
    """Return the table of a diagnosis: a name and a text in each row."""
    diagnosis, plant = prepared.diagnosis, task.plant
    assert diagnosis is not None
    sizes = diagnosis.sizes
    signals = "in their own units"
    if conditioning.is_scaled:
        signals = "in these sizes"
    return [
        ("optimum", _describe_optimum(diagnosis, task)),
        ("trim", _describe_trim(diagnosis, plant)),
        ("growth", f"{diagnosis.growth:.3g}-fold over the horizon, without feedback"),
        ("substeps", _describe_substeps(plant, conditioning)),
        ("states", _describe_sizes(plant.state, sizes.states)),
        ("controls", _describe_sizes(plant.control, sizes.controls)),
        ("targets", _describe_sizes(target_names(task), sizes.targets)),
        ("observations", _describe_sizes(plant.observation, sizes.observations)),
        ("network", f"trained with signals {signals}"),
        ("operations", _describe_operations(diagnosis, prepared)),
    ]


def target_names(task: Task) -> list[str]:
    """Return the names of the target's components, as the network sees them."""
    plant, numbers = task.plant, task.numbers
    if task.options.space == "hand":
        return list(HAND)
    positions = [plant.state[k] for k in plant.positions]
    previews = [
        f"change of {name} in {seconds:g} s"
        for seconds in numbers.get("preview", ())
        for name in positions
    ]
    seen = list(plant.state[: plant.n_body])
    if "sees" in numbers:
        # What a function of the plant file returns has no names.
        count = task.n_target - len(previews)
        seen = [f"component {k + 1} of `sees`" for k in range(count)]
    return [*seen, *previews]


def _describe_optimum(diagnosis: Diagnosis, task: Task) -> str:
    """Loss, success and saturation of the optimum."""
    optima, scenario = diagnosis.optima, diagnosis.system.scenario
    with np.errstate(all="ignore"):
        success = task.success(FinalStates(to_host(optima.x)), scenario)
    text = (
        f"loss {diagnosis.loss:.4g} in {scenario.trials} trials, of which "
        f"{100 * np.mean(success):.0f} % succeed; {100 * diagnosis.saturated:.0f} % of "
        "the controls at a limit"
    )
    if not success.any():
        text += "; no controller can succeed at this cost"
    return text


def _describe_trim(diagnosis: Diagnosis, plant: Plant) -> str:
    """How far the plant is from rest at start and goal, and the controls there."""
    goal = diagnosis.rest.goal
    controls = to_host(goal.u).mean(axis=1)
    pairs = zip(plant.control, controls, strict=True)
    held = ", ".join(f"{name} {value:.3g}" for name, value in pairs)
    moves = [np.median(trim.distances) for trim in diagnosis.rest]
    return (
        f"a step moves the start by {moves[0]:.1g}, the goal by {moves[1]:.1g} typical "
        f"sizes; the goal is held by {held}"
    )


def _describe_substeps(plant: Plant, conditioning: Conditioning) -> str:
    """How many substeps a control step has, and why."""
    if conditioning.substeps is None:
        return f"{plant.substeps}, as the plant file says"
    return (
        f"{conditioning.substeps} per control step, because the plant has a mode that "
        "is faster; SUBSTEPS in the plant file replaces this choice"
    )


def _describe_sizes(names: Sequence[str], signals: Typical) -> str:
    """The typical value and size of each signal."""
    triples = zip(names, signals.mean, signals.size, strict=True)
    return ", ".join(f"{name} {mean:.3g} +- {size:.3g}" for name, mean, size in triples)


def _describe_operations(diagnosis: Diagnosis, prepared: Preparation) -> str:
    """How much an update and the search for an optimum cost."""
    system = diagnosis.system
    judging = judging_operations(system.kernels, system.scenario.steps)
    text = f"about {judging:.1e} for the optimum of a trial"
    if prepared.operations is not None:
        text = f"about {prepared.operations:.1e} for an update, {text}"
    return text
