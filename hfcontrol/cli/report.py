"""`hfcontrol report`: a page about one run, or about several."""

from typing import Any

import click

from hfcontrol.cli.groups import GroupedCommand
from hfcontrol.cli.options import (
    PLANT,
    RUNS,
    HomePath,
    condition_options,
    given_options,
)
from hfcontrol.cli.output import echo, show_status


@click.command(cls=GroupedCommand)
@RUNS
@PLANT
@condition_options
@click.option(
    "--out",
    type=HomePath(dir_okay=False),
    metavar="FILE",
    help="The html to write; default in the first run's folder, named after the run.",
)
def report(
    runs: tuple[str, ...], plant: str | None, out: str | None, **options: Any
) -> None:
    """Write a page about runs, to read and to pass on.

    It is one html file that needs no network: what was trained and with which command,
    the learning curve, movements, controls, a movie, the evaluation with its
    certificate, and the environment. Several runs are shown side by side. The options
    add an evaluation under other conditions than those of the training. Without RUN,
    the newest run is shown.

    \b
    hfcontrol report
    hfcontrol report first-run second-run --motor-noise 5% --out report.html
    """
    from hfcontrol.runs.run import Run

    # All are loaded first: a wrong name is reported before the work begins.
    chosen = [Run.load(run, plant=plant) for run in runs or (None,)]
    with show_status("drawing") as set_status:
        from hfcontrol.reports.report import report as write_report

        path = write_report(chosen, out, show=set_status, **given_options(**options))
    for run in chosen:
        echo(f"run {run.path}", error=True)
    echo(path.absolute())
