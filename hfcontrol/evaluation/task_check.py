"""Checks of a plant's tasks: their scenarios can be drawn, and their starts are finite.

`hfcontrol check` runs them after the contract tests of the plant itself.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.errors import HFControlError
from hfcontrol.evaluation.plant_check import Finding, find_cause
from hfcontrol.kernels import compile_plant
from hfcontrol.plant.contract import Plant
from hfcontrol.plant.probe import format_numbers
from hfcontrol.runs.settings import find_task_faults
from hfcontrol.tasks.scenario import SPLITS, Scenario
from hfcontrol.tasks.task import Task


class StartOnly(NamedTuple):
    """A trajectory that ends where it starts: states x (1, nx, N)."""

    x: Array


@np.errstate(all="ignore")
def check_starts(plant: Plant) -> list[Finding]:
    """Draw the scenarios of every task and check their starts; one finding per task."""
    findings = []
    # `check_tasks` reports the tasks with unsuitable entries.
    unsuitable = {name for name, _ in find_task_faults(plant)}
    for name in plant.tasks:
        if name in unsuitable:
            continue
        findings.append(_check_task(plant, name))
    return findings


def _check_task(plant: Plant, name: str) -> Finding:
    """Draw a task's scenarios, and check their starts."""
    label = f"task {name}"
    try:
        alone = replace(plant, tasks={name: plant.tasks[name]})
        task = Task(alone, compile_plant(plant), name)
        for split in SPLITS:
            # Generators check their own numbers when they draw.
            scenario = task.draw(np.random.default_rng(0), split)
            fault = _find_unfit_start(task, scenario)
            if fault:
                return Finding(label, False, fault)
            task.success(StartOnly(scenario.x0[None]), scenario)
    except HFControlError as error:
        return Finding(label, False, str(error), find_cause(plant, error))
    return Finding(label, True)


def _find_unfit_start(task: Task, scenario: Scenario) -> str:
    """Which value is not finite at a start of the scenario, or an empty text."""
    plant, kernels = task.plant, task.kernels
    x, p = scenario.x0[None], scenario.params
    # An untrained network gives the trim.
    trim = np.reshape(plant.trim, (-1, 1))
    u = np.zeros((1, plant.nu, scenario.trials)) + trim
    with np.errstate(all="ignore"):
        A, B = kernels.jacobians(x, u, p)
        values = {
            "the observation": kernels.observe(x, p),
            "the state a step later": kernels.step(x[0], u[0], p)[None],
            "the derivative of a step": np.concatenate([A, B], axis=2),
            "the derivative of the observation": kernels.observe_jacobian(x, p),
        }

    # The trial is the last axis of all of them.
    for what, value in values.items():
        other_axes = tuple(range(value.ndim - 1))
        is_finite = np.isfinite(value).all(axis=other_axes)
        for n in np.flatnonzero(~is_finite)[:1]:
            return (
                f"{what} is not finite at its start x = {format_numbers(x[0, :, n])}: "
                "start elsewhere, or keep dynamics and observe finite there"
            )
    return ""
