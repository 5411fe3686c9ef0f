"""`hfcontrol evaluate`: how good a controller is."""

import click

from hfcontrol.commands.options import JSON, RUN, conditions, given, say_json, table


@click.command()
@RUN
@conditions
@click.option("--trials", type=int, help="Trials in each set; the training's number by default.")
@JSON
def evaluate(run, trials, as_json, **options):
    """Judge a controller against the best any controller could do, on trained and on held-out scenarios.

    The ratio is mean cost by mean optimal cost, found by iLQR for every trial: 1 is perfect. iLQR is local, so on hard
    plants a ratio below 1 is possible; with noise the optimum knows it in advance, a bound that nobody attains.
    Without RUN, the newest run. The options test it under other conditions than it was trained with.

    \b
    hfcontrol evaluate
    hfcontrol evaluate weights/arm2-reach --feedback-delay 40ms --motor-noise 5%
    """
    from hfcontrol.evaluate import evaluate as judge
    from hfcontrol.runs import Run

    run = Run.load(run)
    options = given(**options)
    result = judge(run, run.settings.changed(**options) if options else None, trials)
    if as_json:
        say_json(result)
        return
    click.echo(f"{result['run']}: {run.plant.name} {result['task']}")
    for line in table(result):
        click.echo(line)
    settings = run.settings.changed(**options)
    if settings.sensory_noise or settings.motor_noise not in (0, 0.0, "0"):
        click.echo("the optimum knows the noise in advance: a bound that no controller attains")
