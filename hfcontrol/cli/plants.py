"""`hfcontrol plants` and `hfcontrol check`: list plants, and check a plant file."""

import ast
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from hfcontrol.cli.output import echo, print_diagnosis, show_status
from hfcontrol.errors import PlantError

if TYPE_CHECKING:
    from hfcontrol.evaluation.plant_check import Finding


@click.command()
def plants() -> None:
    """List the shipped plants, with a command for each task.

    \b
    hfcontrol plants
    """
    from hfcontrol.plant.registry import load_plant, plant_names

    for name in plant_names():
        plant = load_plant(name)
        # A `Plant` holds the text of its file, but not the docstring by itself.
        description = ast.get_docstring(ast.parse(plant.source)) or ""
        first_line = description.partition("\n")[0]
        echo(
            f"{name:14} states: {plant.nx}, controls: {plant.nu}, "
            f"step: {1000 * plant.dt:g} ms"
        )
        # It begins with the name, which stands there already.
        echo(f"{'':14} {first_line.removeprefix(f'{name}: ')}")
        for task in plant.tasks:
            echo(f"{'':14} hfcontrol train --plant {name} --task {task}")


@click.command()
@click.argument("name", metavar="NAME|FILE")
@click.option(
    "--task", metavar="NAME", help="Task to diagnose; default the file's first one."
)
def check(name: str, task: str | None) -> None:
    """Check a plant file against the contract.

    It checks shapes, finite numbers, determinism, derivatives and tasks, and prints one
    line for each check that says what is wrong. Then it looks for what makes a task
    hard or impossible: goals that cannot be held, modes faster than DT, jumps and
    kinks, and units that disagree. In the end it shows
    what a training will know of the task before it begins.

    \b
    hfcontrol check plants/mine.py
    """
    from hfcontrol.evaluation.plant_check import check_plant, step_seconds
    from hfcontrol.evaluation.problem_check import check_problems
    from hfcontrol.evaluation.task_check import check_starts
    from hfcontrol.plant.registry import load_plant

    plant = load_plant(name)
    if plant.environment and not plant.tasks:
        raise PlantError(
            f"{name} is an environment without derivatives: "
            f"{plant.environment.undifferentiable}; there is nothing to check, "
            "train it with `optimizer` ppo"
        )

    with show_status("checking"):
        findings = [*check_plant(plant), *check_starts(plant)]
    _print_findings(findings)
    failed = sum(not finding.ok for finding in findings)
    if failed:
        raise PlantError(
            f"{plant.path.name}: {failed} of {len(findings)} checks failed; the lines "
            "above say what to correct"
        )

    with show_status("looking at the tasks"):
        warnings = check_problems(plant)
    _print_findings(warnings)

    microseconds = 1e6 * step_seconds(plant)
    echo(f"one step takes {microseconds:.3g} us per trial, in a batch of 1,024")
    if plant.tasks:
        _diagnose(name, task)
        echo(f"{plant.name} is fine: hfcontrol train --plant {name}")
    else:
        echo(
            f"{plant.name} is fine, but has no task to train for: add TASKS to "
            f"{plant.path.name}"
        )


def _diagnose(name: str, task: str | None) -> None:
    """Print what a training of a task begins with."""
    from hfcontrol.runs.settings import settings_for
    from hfcontrol.runs.training import prepare_problem

    with show_status("diagnosing"):
        problem = prepare_problem(settings_for(plant=name, task=task))
    prepared = problem.prepared
    if prepared.diagnosis is not None:
        print_diagnosis(prepared, problem.trainer.task, problem.conditioning)
        echo(prepared.reasons[-1])


def _print_findings(findings: Sequence["Finding"]) -> None:
    """Print what checks found; those that say the same say it once, together."""
    groups: dict[tuple[bool, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        # What is fine has no message, and a line of its own.
        said = finding.cause or finding.message or finding.name
        groups[finding.ok, said].append(finding)
    for group in groups.values():
        names = ", ".join(finding.name for finding in group)
        echo(*_finding_lines(names, group[0].ok, group[0].message))


def _finding_lines(name: str, ok: bool, message: str) -> list[str]:
    """The lines of a finding; one that is ok but has a message is a warning."""
    if not message:
        return [f"{'ok  ' if ok else 'FAIL'} {name}"]
    word = "WARN" if ok else "FAIL"
    # A check of several things has a line for each fault.
    return [f"{word} {name}: {line}" for line in message.split("\n")]
