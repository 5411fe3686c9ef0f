"""`hfcontrol simulate`: the trajectories of a run as a file."""

import click

from hfcontrol.cli.figures import OUT, run_and_file
from hfcontrol.cli.options import RUN, condition_options, given_options
from hfcontrol.cli.output import show_status


@click.command()
@RUN
@condition_options
@click.option(
    "--split",
    default="training",
    show_default=True,
    metavar="WORD",
    help="Scenarios: training or held_out.",
)
@click.option(
    "--trials",
    type=int,
    metavar="N",
    help="Number of trials; the training's by default.",
)
@OUT
def simulate(run, split, trials, out, **options):
    """Write the controller's movements to a file.

    States, controls, observations, outputs, targets, hidden activity, parameters and losses with their names and units:
    npz (arrays [time, entry, trial]) or csv (a row for each trial and time). Without RUN, the newest run. The options test
    a controller under other conditions than it was trained with.

    \b
    hfcontrol simulate
    hfcontrol simulate weights/arm2-reach --split held_out --out reach.csv
    hfcontrol simulate --feedback-delay 40ms --trials 8 --out delayed.npz
    """
    with show_status("simulating"):
        from hfcontrol.evaluation.trajectories import write_trajectories

        run, out = run_and_file(run, out, ".npz")
        write_trajectories(
            run,
            out,
            split.replace("-", "_"),
            run.settings.changed(**given_options(**options)),
            trials,
        )
    click.echo(out.absolute())
