"""`hfcontrol plot-error`, `plot` and `animate`: figures and movies of a run."""

import sys
from pathlib import Path

import click

from hfcontrol.cli.options import RUN
from hfcontrol.cli.output import CLEAR_LINE, show_status

OUT = click.option(
    "--out",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="File to write, whose ending decides the format; by default one named after the run, here.",
)
SHOW = click.option("--show", is_flag=True, help="Open a window as well.")


@click.command("plot-error")
@RUN
@click.option(
    "--axis",
    default="updates",
    show_default=True,
    metavar="WORD",
    help="What the error is drawn against: updates, rollouts or seconds.",
)
@OUT
@SHOW
def plot_error(run, axis, out, show):
    """Draw the learning curve and the movements.

    A png, pdf or svg. Without RUN, the newest run.

    \b
    hfcontrol plot-error
    hfcontrol plot-error weights/arm2-reach --axis rollouts --out error.pdf
    """
    with show_status("drawing"):
        from hfcontrol.figures import plots

        run, out = run_and_file(run, out, "-error.png")
        plots.plot_error(run, out, axis, show=show)
    click.echo(out.absolute())


@click.command()
@RUN
@click.option(
    "--kind",
    default="paths",
    show_default=True,
    metavar="WORD",
    help="paths, controls, hidden, speed or tuning.",
)
@OUT
@SHOW
def plot(run, kind, out, show):
    """Draw paths, controls, speed, hidden activity or its tuning.

    A png, pdf or svg, with the optimal movements beneath. Tuning is that of hidden units to the direction of the target.
    Without RUN, the newest run.

    \b
    hfcontrol plot --kind speed
    hfcontrol plot weights/arm2-reach --kind hidden --out hidden.svg
    """
    with show_status("drawing"):
        from hfcontrol.figures import plots

        run, out = run_and_file(run, out, f"-{kind}.png")
        plots.plot(run, kind, out, show=show)
    click.echo(out.absolute())


@click.command()
@RUN
@click.option(
    "--training", is_flag=True, help="Show the paths changing across all checkpoints."
)
@click.option(
    "--targets",
    type=int,
    metavar="N",
    help="Targets to move to; 8 by default, fewer where each takes long.",
)
@OUT
def animate(run, training, targets, out):
    """Show the plant moving, in a movie.

    A gif, html, or mp4 where ffmpeg is installed. Without RUN, the newest run.

    \b
    hfcontrol animate
    hfcontrol animate --training --out learning.gif
    """
    live = sys.stderr.isatty()

    def progress(done, total):
        if live:
            click.echo(f"{CLEAR_LINE}frame {done} of {total} ...", nl=False, err=True)

    with show_status("drawing"):
        from hfcontrol.figures.movies import animate as make

        run, out = run_and_file(run, out, "-training.gif" if training else ".gif")
        make(run, out, targets, training, progress)
    click.echo(out.absolute())


def run_and_file(run, out, ending):
    """The run of that name, and the path of the file to write: the one asked for, or one named after the run, here."""
    from hfcontrol.runs.run import Run

    run = Run.load(run)
    return run, Path(out or f"{run.path.resolve().name}{ending}")
