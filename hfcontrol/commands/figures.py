"""`hfcontrol plot-error`, `plot` and `animate`: figures and movies of a run."""

import sys
from pathlib import Path

import click

from hfcontrol.commands.options import RUN

OUT = click.option("--out", type=click.Path(dir_okay=False), help="File to write; its suffix says the format.")


@click.command("plot-error")
@RUN
@OUT
@click.option("--show", is_flag=True, help="Open a window as well.")
def plot_error(run, out, show):
    """Draw the learning curve with its best-so-far line, and the hand paths beside it (png, pdf or svg).

    \b
    hfcontrol plot-error
    hfcontrol plot-error weights/arm2-reach --out error.pdf
    """
    from hfcontrol import plots
    from hfcontrol.runs import Run

    run = Run.load(run)
    out = out or f"{run.path.name}-error.png"
    plots.plot_error(run, Path(out), show=show)
    click.echo(out)


@click.command()
@RUN
@click.option("--kind", default="paths", show_default=True, help="paths, controls, hidden or speed.")
@OUT
def plot(run, kind, out):
    """Draw hand paths, controls, hidden activity or speed profiles of a run (png, pdf or svg).

    \b
    hfcontrol plot --kind speed
    """
    from hfcontrol import plots
    from hfcontrol.runs import Run

    run = Run.load(run)
    out = out or f"{run.path.name}-{kind}.png"
    plots.plot(run, kind, Path(out))
    click.echo(out)


@click.command()
@RUN
@OUT
@click.option("--training", is_flag=True, help="Show the paths changing across all checkpoints.")
@click.option("--targets", type=click.IntRange(min=1), default=8, show_default=True, help="Targets to move to.")
def animate(run, out, training, targets):
    """Show the plant moving to its targets, one after the other (gif, html, or mp4 where ffmpeg is installed).

    \b
    hfcontrol animate
    hfcontrol animate --training --out learning.gif
    """
    from hfcontrol.animate import animate as make
    from hfcontrol.runs import Run

    run = Run.load(run)
    out = out or f"{run.path.name}{'-training' if training else ''}.gif"
    live = sys.stderr.isatty()

    def progress(done, total):
        if live:
            click.echo(f"\rframe {done} of {total}", nl=False, err=True)

    make(run, Path(out), targets=targets, training=training, progress=progress)
    if live:
        click.echo("\r\x1b[K", nl=False, err=True)
    click.echo(out)
