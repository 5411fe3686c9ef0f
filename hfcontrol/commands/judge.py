"""`hfcontrol evaluate`: how good a controller is."""

import click

from hfcontrol.commands.options import JSON, RUN, conditions, given, say_json, say_table, working


@click.command()
@RUN
@conditions
@click.option("--trials", type=int, metavar="N", help="Trials in each set; the training's number by default.")
@JSON
def evaluate(run, trials, as_json, **options):
    """Compare a controller with the best there could be.

    The ratio is mean cost by mean optimal cost, on trained and on held-out scenarios: 1 is perfect. The optimum is found
    by iLQR for every trial; iLQR is local, so on hard plants a ratio below 1 is possible, and where there is noise the
    optimum knows it in advance, a bound that nobody attains. Without RUN, the newest run. The options test the
    controller under other conditions than it was trained with.

    \b
    hfcontrol evaluate
    hfcontrol evaluate weights/arm2-reach --feedback-delay 40ms --motor-noise 5%
    """
    with working("looking for the optimum"):
        from hfcontrol.evaluation import evaluate as judge
        from hfcontrol.runs import Run
        from hfcontrol.settings import build

        run = Run.load(run)
        settings = run.settings.changed(**given(**options))
        result = judge(run, settings, trials)
    if as_json:
        say_json(result)
        return
    click.echo(f"{run.path}: {run.plant.name} {result['task']}")
    if run.plant_changed:
        click.echo(f"{run.plant.path} has changed since the run was trained; this is with the plant as it is now")
    say_table(result, build(settings, run.plant).task.noisy)
