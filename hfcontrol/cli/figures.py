"""`hfcontrol plot-error`, `plot` and `animate`: figures and movies of a run."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hfcontrol.cli.options import PLANT, RUN, HomePath
from hfcontrol.cli.output import print_result, show_status

# Imported when a figure is drawn: the help needs neither NumPy nor matplotlib.
if TYPE_CHECKING:
    from hfcontrol.runs.run import Run

OUT = click.option(
    "--out",
    type=HomePath(dir_okay=False),
    metavar="FILE",
    help="File to write, whose ending decides the format; default in the run's folder, "
    "named after the run.",
)
SHOW = click.option("--show", is_flag=True, help="Also open a window.")


@click.command("plot-error")
@RUN
@PLANT
@click.option(
    "--axis",
    default="updates",
    show_default=True,
    metavar="WORD",
    help="Horizontal axis of the learning curve: updates, rollouts or seconds.",
)
@OUT
@SHOW
def plot_error(
    run: str | None, plant: str | None, axis: str, out: str | None, show: bool
) -> None:
    """Draw the learning curve and the movements.

    The file is a png, pdf or svg. Without RUN, the newest run is drawn.

    \b
    hfcontrol plot-error
    hfcontrol plot-error weights/arm2-reach --axis rollouts --out error.pdf
    """
    with show_status("drawing"):
        from hfcontrol.figures import plots

        loaded, path = load_run_and_path(run, plant, out, "-error.png")
        plots.plot_error(loaded, path, axis, show=show)
    print_result(loaded, path)


@click.command()
@RUN
@PLANT
@click.option(
    "--kind",
    default="paths",
    show_default=True,
    metavar="WORD",
    help="What to draw: paths, states, phase, controls, speed, hidden or tuning.",
)
@click.option(
    "--trial",
    type=int,
    metavar="N",
    help="The only trial to draw, from 1; hidden activity is that of trial 1 by "
    "default.",
)
@OUT
@SHOW
def plot(
    run: str | None,
    plant: str | None,
    kind: str,
    trial: int | None,
    out: str | None,
    show: bool,
) -> None:
    """Draw paths, states, controls, speed or hidden activity.

    The file is a png, pdf or svg, with the optimal movements in the background. `phase`
    draws rates against positions. Tuning is that of hidden units to the direction of
    the target. Without RUN, the newest run is drawn.

    \b
    hfcontrol plot --kind states
    hfcontrol plot weights/arm2-reach --kind hidden --trial 3 --out hidden.svg
    """
    with show_status("drawing"):
        from hfcontrol.figures import plots

        loaded, path = load_run_and_path(run, plant, out, f"-{kind}.png")
        plots.plot(loaded, kind, path, show, trial)
    print_result(loaded, path)


@click.command()
@RUN
@PLANT
@click.option(
    "--training",
    is_flag=True,
    help="Show how the paths change over all checkpoints of the training.",
)
@click.option(
    "--targets",
    type=int,
    metavar="N",
    help="Number of targets to move to; default 8, or fewer if movements are long.",
)
@OUT
def animate(
    run: str | None,
    plant: str | None,
    training: bool,
    targets: int | None,
    out: str | None,
) -> None:
    """Show the plant moving, in a movie.

    The file is a gif, an html or, if ffmpeg is installed, an mp4. Without RUN, the
    newest run is shown.

    \b
    hfcontrol animate
    hfcontrol animate --training --out learning.gif
    """
    with show_status("drawing") as set_status:
        from hfcontrol.figures.movies import animate as write_movie

        ending = "-training.gif" if training else ".gif"
        loaded, path = load_run_and_path(run, plant, out, ending)
        write_movie(
            loaded,
            path,
            targets,
            training,
            lambda done, total: set_status(f"frame {done} of {total}"),
        )
    print_result(loaded, path)


def load_run_and_path(
    run: str | None, plant: str | None, out: str | None, ending: str
) -> tuple["Run", Path]:
    """Load a run, and choose the file to write: `out`, or one named after the run."""
    from hfcontrol.runs.run import Run
    from hfcontrol.texts import file_name

    loaded = Run.load(run, plant=plant)
    name = f"{file_name(loaded.path.resolve().name)}{ending}"
    return loaded, Path(out) if out else loaded.output_folder / name
