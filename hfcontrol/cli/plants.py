"""`hfcontrol plants` and `hfcontrol check`: which plants there are, and whether one keeps the contract."""

import click

from hfcontrol.cli.output import show_status
from hfcontrol.errors import HFControlError, PlantError


@click.command()
def plants():
    """List the shipped plants and their tasks.

    \b
    hfcontrol plants
    """
    import ast

    from hfcontrol.plant.registry import load_plant, plant_names

    for name in plant_names():
        plant = load_plant(name)
        click.echo(
            f"{name:14} states: {plant.nx}, controls: {plant.nu}, step: {1000 * plant.dt:g} ms, tasks: "
            f"{', '.join(plant.tasks) or 'none'}"
        )
        click.echo(
            f"{'':14} {(ast.get_docstring(ast.parse(plant.source)) or '').partition(chr(10))[0]}"
        )


@click.command()
@click.argument("name", metavar="NAME|FILE")
def check(name):
    """Check a plant file against the contract.

    Shapes, finite numbers, determinism, derivatives, tasks: what is wrong is told in words, a line for each check.

    \b
    hfcontrol check plants/mine.py
    """
    from hfcontrol.evaluation.plant_check import check_plant, step_seconds
    from hfcontrol.plant.registry import load_plant

    plant = load_plant(name)
    if plant.environment and not plant.tasks:
        raise PlantError(
            f"{name} is an environment without derivatives: {plant.environment.undifferentiable}; there is nothing to check, "
            "train it with --optimizer ppo"
        )
    with show_status("checking"):
        findings = [
            (finding.name, finding.ok, finding.message)
            for finding in check_plant(plant)
        ]
        findings += [
            (f"task {task}", not fault, fault) for task, fault in task_faults(plant)
        ]
    for check_name, ok, message in findings:
        click.echo(
            f"{'FAIL' if not ok else 'WARN' if message else 'ok  '} {check_name}{': ' if message else ''}{message}"
        )
    wrong = sum(not ok for _, ok, _ in findings)
    if wrong:
        raise PlantError(
            f"{plant.path.name}: {wrong} of {len(findings)} checks failed; the lines above say what to mend"
        )
    click.echo(
        f"one step takes {1e6 * step_seconds(plant):.3g} us per trial, of 1,024 at once"
    )
    if plant.tasks:
        click.echo(f"{plant.name} is fine: hfcontrol train --plant {name}")
    else:
        click.echo(
            f"{plant.name} is fine, but has no task to train for: add TASKS to {plant.path.name}"
        )


def task_faults(plant):
    """Every task with what keeps it from being drawn or begun, or nothing."""
    import numpy as np

    from hfcontrol.kernels import compile_plant
    from hfcontrol.tasks.scenario import SPLITS
    from hfcontrol.tasks.task import Task

    for name in plant.tasks:
        fault = ""
        try:
            task = Task(plant, compile_plant(plant), name)
            for split in SPLITS:
                fault = fault or unfit_start(
                    task, task.draw(np.random.default_rng(0), split)
                )
        except HFControlError as error:
            fault = str(error)
        yield name, fault


def unfit_start(task, scenario):
    """What is not finite at the starts of a scenario: an observation, the state a step later, or their derivatives; nothing if all is."""
    import numpy as np

    from hfcontrol.plant.probe import format_numbers

    plant, kernels, x, p = task.plant, task.kernels, scenario.x0[None], scenario.params
    u = np.zeros((1, plant.nu, scenario.trials)) + plant.trim[:, None]
    with np.errstate(all="ignore"):
        A, B = kernels.jacobians(x, u, p)
        found = {
            "what is observed": kernels.observe(x, p),
            "the state a step later": kernels.step(x[0], u[0], p)[None],
            "the derivative of a step": np.concatenate([A, B], axis=2),
            "that of the observation": kernels.observe_jacobian(x, p),
        }
    for what, values in found.items():
        wrong = ~np.isfinite(values).all(axis=tuple(range(values.ndim - 1)))
        for n in np.flatnonzero(wrong)[:1]:
            return f"{what} is not finite at its start x = {format_numbers(x[0, :, n])}: start elsewhere, or keep dynamics and observe finite there"
    return ""
