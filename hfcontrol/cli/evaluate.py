"""`hfcontrol evaluate`: how good controllers are."""

import click

from hfcontrol.cli.options import JSON, condition_options, format_options, given_options
from hfcontrol.cli.output import print_evaluation, print_json, show_status


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@condition_options
@click.option(
    "--trials",
    type=int,
    metavar="N",
    help="Trials in each set; by default as many as trained on, or as the task says.",
)
@JSON
def evaluate(runs, trials, as_json, **options):
    """Compare controllers with the optimum.

    The ratio is mean cost by mean optimal cost, on trained and on held-out scenarios: 1 is perfect. The optimum is found
    by iLQR for every trial; iLQR is local, so on hard plants a ratio below 1 is possible, and where there is noise the
    optimum knows it in advance, a bound that nobody attains. Without RUN, the newest run; several are tested one after the
    other. The options test a controller under other conditions than it was trained with.

    \b
    hfcontrol evaluate
    hfcontrol evaluate weights/arm2-reach --feedback-delay 40ms --motor-noise 5%
    hfcontrol evaluate clean-run delayed-run --feedback-delay 40ms
    """
    from hfcontrol.runs.run import Run

    chosen = [Run.load(run) for run in runs or (None,)]
    asked = given_options(**options)
    for place, run in enumerate(chosen):
        with show_status("looking for the optimum"):
            from hfcontrol.evaluation.evaluation import evaluate as compare_with_optimum

            result = compare_with_optimum(run, run.settings.changed(**asked), trials)
        if as_json:
            print_json(result)
            continue
        click.echo(
            "\n" * (place > 0)
            + f"{run.path}: {run.plant.name} {result['task']}"
            + (f", tested with {format_options(asked)}" if asked else "")
        )
        if run.plant_changed:
            click.echo(
                f"{run.plant.path} has changed since the run was trained; this is with the plant as it is now"
            )
        print_evaluation(result)
