"""Figures as files and windows: the style of all of them, and saving that leaves a whole file or none."""

from contextlib import contextmanager, nullcontext

from matplotlib import rc_context
from matplotlib.figure import Figure

from hfcontrol.arrays.files import atomic_write
from hfcontrol.errors import UsageError

# Without dates and versions a figure is a function of its run.
METADATA = {
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None},
    ".svg": {"Date": None},
}
STYLE = {
    "font.size": 10,
    "axes.titlesize": 10,
    "figure.titlesize": 11,
    "axes.edgecolor": "0.5",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": "0.5",
    "ytick.color": "0.5",
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "savefig.dpi": 200,
    "svg.hashsalt": "hfcontrol",
    "pdf.fonttype": 42,
}


@contextmanager
def figure_file(width, height, path=None, show=False):
    """A figure [inch] to draw into, saved and shown afterwards; wrong paths and missing displays are told at once."""
    with (
        rc_context(STYLE),
        atomic_write(path, METADATA) if path else nullcontext() as temporary,
    ):
        figure = (
            _window(width, height)
            if show
            else Figure(figsize=(width, height), layout="constrained")
        )
        yield figure
        if temporary:
            figure.savefig(temporary, metadata=METADATA[temporary.suffix])
    if show:
        from matplotlib import pyplot

        pyplot.show()


def _window(width, height):
    from matplotlib import pyplot

    try:
        figure = pyplot.figure(figsize=(width, height), layout="constrained")
        if figure.canvas.required_interactive_framework:
            return figure
        pyplot.close(figure)
        reason = "there is no display"
    except Exception as error:  # every toolkit fails in its own way
        reason = error
    raise UsageError(
        f"--show: no window can be opened here ({reason}); give a file with --out"
    )
