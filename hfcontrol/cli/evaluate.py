"""`hfcontrol evaluate`: how good controllers are."""

from functools import partial
from typing import Any

import click

from hfcontrol.cli.groups import GroupedCommand
from hfcontrol.cli.options import (
    JSON,
    JUDGE,
    PLANT,
    RUNS,
    add_options,
    condition_options,
    format_options,
    given_options,
    judge_choice,
)
from hfcontrol.cli.output import echo, print_evaluation, print_json, show_status


@click.command(cls=GroupedCommand)
@RUNS
@PLANT
@condition_options
@click.option(
    "--trials",
    type=int,
    metavar="N",
    help="Number of trials in each set; default the training's or the task's.",
)
@partial(add_options, JUDGE)
@JSON
def evaluate(
    runs: tuple[str, ...],
    plant: str | None,
    trials: int | None,
    judge: str | None,
    no_judge: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Compare controllers with the optimum.

    The ratio is the mean cost divided by the mean optimal cost, on the training and on
    held-out scenarios: 1 is perfect. iLQR finds the optimum of every trial from several
    starts. It is a local method, so a ratio below 1 is possible on hard plants; a line
    says so below 0.999. Where this takes long, the optimum is that of some trials, and
    the table says of how many. With noise, the optimum knows the noise in advance,
    which no controller can. Without RUN, the newest run is evaluated. The options test
    a controller under other conditions than those of its training.

    \b
    hfcontrol evaluate
    hfcontrol evaluate weights/arm2-reach --feedback-delay 40ms --motor-noise 5%
    hfcontrol evaluate clean-run delayed-run --feedback-delay 40ms
    """
    from hfcontrol.runs.run import Run

    judged = judge_choice(judge, no_judge)
    # All are loaded first: a wrong name is reported before the search begins.
    chosen = [Run.load(run, plant=plant) for run in runs or (None,)]
    conditions = given_options(**options)
    for index, run in enumerate(chosen):
        with show_status("searching for the optimum"):
            from hfcontrol.evaluation.evaluation import evaluate as evaluate_run

            tested = run.settings.changed(**conditions)
            result = evaluate_run(run, tested, trials, judged)
        if as_json:
            print_json(result)
            continue

        heading = f"{run.path}: {run.plant.name} {result['task']}"
        if conditions:
            heading += f", tested with {format_options(conditions)}"
        if index > 0:
            echo()
        echo(heading)
        print_evaluation(result)
