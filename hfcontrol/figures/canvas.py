"""Where a figure is drawn: a figure of its own, or axes of the caller."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D

from hfcontrol.arrays.types import Array
from hfcontrol.errors import UsageError
from hfcontrol.evaluation.evaluation import Comparison
from hfcontrol.figures.coordinates import colour_trials, select_readable

# Okabe and Ito (2008): the colour-blind tell these apart. Their yellow is too light for
# lines on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

OPTIMAL_COLOUR = "0.72"

# Position of a legend above the axes.
ABOVE: dict[str, Any] = {
    "loc": "lower center",
    "bbox_to_anchor": (0.5, 1.0),
    "ncols": 3,
}


class Canvas:
    """Axes for one kind of figure, which several runs may be drawn into.

    figure: where axes are made if `axes` is None.
    axes: axes of the caller, who also decides on their size.
    trial: the only trial to draw, from 1; default all that one figure can show.
    """

    def __init__(
        self,
        figure: FigureBase,
        axes: Axes | Iterable[Axes] | None = None,
        trial: int | None = None,
    ) -> None:
        self.figure = figure
        self.given = _list_axes(axes)
        self.trial = trial
        self.axes: list[Axes] = []
        # What distinguishes several runs: the colour of the one that is being drawn.
        self.run_colour: str | None = None
        self.n_runs = 0

    def begin_run(self, colour: str | None = None) -> None:
        """Draw another run from now on, in one colour; None for the trials' own."""
        self.run_colour = colour
        self.n_runs += 1

    @property
    def is_first(self) -> bool:
        """Whether no run has been drawn before; optima belong to the first alone."""
        return self.n_runs <= 1

    def set_size(self, width: float, height: float) -> None:
        """Set the size [inch] of the figure, if it is our own."""
        if self.given is None and isinstance(self.figure, Figure):
            self.figure.set_size_inches(width, height)

    def make_axes(
        self, rows: int, columns: int = 1, fewer: bool = False, **options: Any
    ) -> list[Axes]:
        """Return axes, row by row; those of the runs before, or of the caller.

        fewer: whether a caller may give some of the columns only.

        Raises UsageError if the caller has given another number.
        """
        count = rows * columns
        if self.axes:
            return self.axes
        if self.given is None:
            grid = self.figure.subplots(rows, columns, squeeze=False, **options)
            self.axes = list(grid.flat)
            return self.axes
        found = len(self.given)
        if found != count and not (fewer and 0 < found < count):
            raise UsageError(
                f"`axes`: this figure needs {count} axes, but {found} came; make them "
                f"with plt.subplots({count}), or leave `axes` out"
            )
        self.axes = self.given
        return self.axes

    def select_trials(self, comparison: Comparison) -> Array:
        """Return the indices of the trials to draw.

        Raises UsageError for a trial that there is not.
        """
        if self.trial is None:
            return select_readable(comparison)
        return np.array([check_trial(self.trial, comparison) - 1])

    def colour_trials(self, comparison: Comparison, trials: Array) -> Array:
        """Return the colours of trials (n, 4), all the same for one run of several."""
        colours = colour_trials(comparison)[0][trials]
        if self.run_colour is None:
            return colours
        from matplotlib.colors import to_rgba

        return np.tile(to_rgba(self.run_colour), (len(trials), 1))

    def add_legend(
        self, ax: Axes, colours: Array, *entries: tuple[Any, str], optimum: bool = True
    ) -> None:
        """Add a legend above axes: network, optimal, and more (handle, label).

        The network's handle shows some of the colours of its lines. Several runs have a
        legend of their own.
        """
        if self.run_colour is not None:
            return
        some = colours[np.linspace(0, len(colours) - 1, 4).astype(int)]
        network = tuple(Line2D([], [], color=c, lw=1.5) for c in some)
        handles: list[Any] = [network]
        labels = ["network"]
        if optimum:
            handles.append(Line2D([], [], color=OPTIMAL_COLOUR, lw=1.5))
            labels.append("optimal")
        handles += [handle for handle, _ in entries]
        labels += [label for _, label in entries]
        handler = {tuple: HandlerTuple(ndivide=None, pad=0)}
        place = {**ABOVE, "ncols": len(handles)}
        ax.legend(handles, labels, handler_map=handler, **place)

    def add_run_legend(self, names: Sequence[str]) -> None:
        """Add a legend of several runs above the first axes."""
        handles = [
            Line2D([], [], color=COLOURS[k % len(COLOURS)], lw=1.5, label=name)
            for k, name in enumerate(names)
        ]
        place = {**ABOVE, "ncols": 1 if max(map(len, names)) > 24 else 3}
        self.axes[0].legend(handles=handles, **place)


def check_trial(trial: int, comparison: Comparison) -> int:
    """Return the number of a trial, from 1; UsageError if there is none of it."""
    count = comparison.scenario.trials
    if not 1 <= trial <= count:
        raise UsageError(f"`trial` {trial}: must be from 1 to {count}, the last trial")
    return trial


def _list_axes(axes: Axes | Iterable[Axes] | None) -> list[Axes] | None:
    """Return axes as a list; UsageError for what are none."""
    if axes is None:
        return None
    listed = [axes] if isinstance(axes, Axes) else list(np.ravel(np.array(axes)))
    if not listed or not all(isinstance(ax, Axes) for ax in listed):
        raise UsageError("`axes`: must be axes of matplotlib, or a list of them")
    return listed
