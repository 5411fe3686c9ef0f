"""Figures as files and windows, all in one style; a file is written whole or not."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hfcontrol.arrays.files import atomic_write
from hfcontrol.errors import UsageError

# Without dates and versions, the same run gives the same file, byte for byte.
METADATA: dict[str, dict[str, None]] = {
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None},
    ".svg": {"Date": None},
}

STYLE: dict[Any, Any] = {
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
    # Names of elements in an svg are random without a fixed salt.
    "svg.hashsalt": "hfcontrol",
    # Text in a pdf stays text.
    "pdf.fonttype": 42,
}


class ShownFigure(Figure):
    """A figure that a notebook shows, also if nothing there has imported pyplot."""

    def _repr_png_(self) -> bytes:
        """Return the figure as a picture, in the style of those in files."""
        with project_style(), BytesIO() as file:
            self.savefig(file, format="png", dpi=self.dpi)
            return file.getvalue()


def project_style() -> Any:
    """Return a context with the project's style, whatever style the user has set.

    Settings such as `text.usetex` or a tight `savefig.bbox` would change the figures,
    or need programs that are not there.
    """
    return style.context(STYLE, after_reset=True)


@contextmanager
def figure_file(
    width: float,
    height: float,
    path: Path | str | None = None,
    show: bool = False,
    axes: Axes | Iterable[Axes] | None = None,
) -> Iterator[Figure]:
    """Yield a figure [inch] to draw into; save it and show it afterwards.

    With `axes`, it is theirs. Raises UsageError before anything is drawn if the file
    cannot be written, or if there is no display to `show` it on.
    """
    with (
        project_style(),
        atomic_write(path, METADATA) if path else nullcontext() as temporary,
    ):
        if axes is not None:
            figure = _figure_of(axes)
        elif show:
            figure = _open_window(width, height)
        else:
            figure = ShownFigure(figsize=(width, height), layout="constrained")
        yield figure
        if temporary:
            figure.savefig(temporary, metadata=METADATA[temporary.suffix])
    if show:
        from matplotlib import pyplot

        pyplot.show()


def _figure_of(axes: Axes | Iterable[Axes]) -> Figure:
    """Return the figure that axes of a caller are in; UsageError for no axes."""
    first = (
        axes if isinstance(axes, Axes) else next(np.ravel(np.array(axes)).flat, None)
    )
    figure = first.get_figure(root=True) if isinstance(first, Axes) else None
    if figure is None:
        raise UsageError("`axes`: must be axes of matplotlib, or a list of them")
    return figure


def _open_window(width: float, height: float) -> Figure:
    """Return the figure of a new window."""
    # Here alone: importing pyplot chooses a window toolkit.
    from matplotlib import pyplot

    reason: object = "there is no display"
    try:
        figure = pyplot.figure(figsize=(width, height), layout="constrained")
        if figure.canvas.required_interactive_framework:
            return figure
        pyplot.close(figure)
    except Exception as error:
        # Every toolkit fails in its own way.
        reason = error
    raise UsageError(f"`show`: no window can be opened here ({reason}); use `out`")
