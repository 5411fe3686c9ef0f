"""`hfcontrol simulate`: write the trajectories of a run to a file."""

from typing import Any

import click

from hfcontrol.cli.figures import OUT, load_run_and_path
from hfcontrol.cli.groups import GroupedCommand
from hfcontrol.cli.options import PLANT, RUN, condition_options, given_options
from hfcontrol.cli.output import print_result, show_status


@click.command(cls=GroupedCommand)
@RUN
@PLANT
@condition_options
@click.option(
    "--split",
    default="training",
    show_default=True,
    metavar="WORD",
    help="Which scenarios to simulate: training or held_out.",
)
@click.option(
    "--trials",
    type=int,
    metavar="N",
    help="Number of trials; default the training's.",
)
@OUT
def simulate(
    run: str | None,
    plant: str | None,
    split: str,
    trials: int | None,
    out: str | None,
    **options: Any,
) -> None:
    """Write the controller's movements to a file.

    The file holds states, controls, observations, outputs, targets, hidden activity,
    parameters and losses, with their names and units. It is an npz (arrays [time,
    entry, trial]) or a csv (a row for each trial and time). Without RUN, the newest run
    is simulated. The options test a controller under other conditions than those of its
    training.

    \b
    hfcontrol simulate
    hfcontrol simulate weights/arm2-reach --split held_out --out reach.csv
    hfcontrol simulate --feedback-delay 40ms --trials 8 --out delayed.npz
    """
    with show_status("simulating"):
        from hfcontrol.evaluation.trajectories import write_trajectories

        loaded, path = load_run_and_path(run, plant, out, ".npz")
        settings = loaded.settings.changed(**given_options(**options))
        # Options are written with dashes, so held-out is accepted too.
        write_trajectories(loaded, path, split.replace("-", "_"), settings, trials)
    print_result(loaded, path)
