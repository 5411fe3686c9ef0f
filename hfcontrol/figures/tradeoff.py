"""The trade-off of a sweep: what a training costs against what it reaches."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hfcontrol.arrays.types import Array
from hfcontrol.errors import UsageError
from hfcontrol.figures.canvas import COLOURS
from hfcontrol.figures.learning import set_log_ticks
from hfcontrol.figures.output import figure_file
from hfcontrol.jobs.sweep_table import SweepTable
from hfcontrol.schema import format_value
from hfcontrol.texts import plain_label

# Size of the figure [inch], with its legend.
WIDTH, HEIGHT = 7.6, 4.2

# Axes that are logarithmic if their numbers span more than this factor.
LOG_FACTOR = 10.0

# What columns mean, as labels of an axis.
LABELS = {
    "seconds": "time of the training [s]",
    "loss": "loss in training",
    "held_out_loss": "held-out loss",
    "ratio": "held-out cost over the optimum",
    "success": "held-out success",
    "return": "return",
}

# Columns of which more is better; their axis is turned round.
MORE_IS_BETTER = ("success", "return")

# Settings in the legend; those on the front come first.
MOST_NAMED = 24

# Marks of settings, where there are more of them than colours.
MARKS = "os^Dv"


def plot_tradeoff(
    table: SweepTable,
    path: Path | str | None = None,
    x: str = "seconds",
    y: str | None = None,
    show: bool = False,
) -> Figure:
    """Plot two columns of a sweep against each other, and the best compromises.

    A small dot is a training, a large one the median over the seeds of one setting. The
    line leads through the settings that no other one beats in both.

    x, y: columns with numbers; `y` is by default `ratio`, or the held-out loss or
        return where there is no ratio.

    Raises UsageError for a column that does not exist or has no numbers, and if the
    file cannot be written.
    """
    y = y or _default_column(table)
    points = np.array([_column(table, x), _column(table, y)])
    groups = _group(table)
    each = [np.median(points[:, rows], axis=1) for rows in groups.values()]
    medians = np.array(each)
    front = find_front(medians * _signs(x, y))
    with figure_file(WIDTH, HEIGHT, path, show) as figure:
        ax = figure.subplots()
        dots: list[Any] = []
        for k, rows in enumerate(groups.values()):
            colour = COLOURS[k % len(COLOURS)]
            mark = MARKS[k // len(COLOURS) % len(MARKS)]
            ax.plot(*points[:, rows], mark, ms=3, c=colour, alpha=0.6, mew=0)
            dots += ax.plot(*medians[k], mark, ms=7, c=colour, mec="white")
        ax.plot(*medians[front].T, c="0.5", lw=1, zorder=0)
        _add_legend(figure, dots, list(groups), list(front))
        _scale_axes(ax, {x: points[0], y: points[1]})
        ax.set(
            xlabel=plain_label(LABELS.get(x, x)), ylabel=plain_label(LABELS.get(y, y))
        )
        ax.set_title(f"{len(table)} trainings; line and *: best compromises (medians)")
    return figure


def _add_legend(
    figure: Figure, dots: list[Any], names: list[str], front: list[int]
) -> None:
    """Name the settings next to the axes, the best compromises first."""
    others = [k for k in range(len(names)) if k not in front]
    shown = [*front, *others][:MOST_NAMED]
    if len(names) > 1:
        labels = [plain_label(names[k]) + " *" * (k in front) for k in shown]
        handles = [dots[k] for k in shown]
        figure.legend(handles, labels, loc="outside right upper")


def _scale_axes(ax: Axes, values: dict[str, Array]) -> None:
    """Make axes logarithmic that span a large factor; less is left and below."""
    scales = (ax.set_xscale, ax.set_yscale)
    turns = (ax.invert_xaxis, ax.invert_yaxis)
    for k, (name, numbers) in enumerate(values.items()):
        known = numbers[np.isfinite(numbers)]
        if known.size and known.min() > 0 and known.max() > LOG_FACTOR * known.min():
            scales[k]("log")
            set_log_ticks((ax.xaxis, ax.yaxis)[k], known)
        if name in MORE_IS_BETTER:
            turns[k]()


def _default_column(table: SweepTable) -> str:
    """Return what a training reaches: the first column that has numbers."""
    for name in ("ratio", "held_out_loss", "return"):
        if any(row[name] is not None for row in table.rows):
            return name
    return "loss"


def _column(table: SweepTable, name: str) -> Array:
    """Return the numbers of a column, NaN where there is none."""
    if not table.rows:
        raise UsageError("the sweep has no finished training to draw")
    numeric = [key for key, value in table.rows[0].items() if _is_number(value)]
    if name not in numeric:
        raise UsageError(
            f"`x` or `y` {name}: must be a column with numbers, one of "
            f"{', '.join(numeric)}"
        )
    values = [row[name] for row in table.rows]
    return np.array([v if _is_number(v) else np.nan for v in values], dtype=float)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _group(table: SweepTable) -> dict[str, list[int]]:
    """Return the rows of each setting, by what varies in words."""
    groups: dict[str, list[int]] = {}
    for k, row in enumerate(table.rows):
        words = [f"{name} {format_value(row[name])}" for name in table.varied]
        groups.setdefault(", ".join(words), []).append(k)
    return groups


def _signs(x: str, y: str) -> Array:
    """Return the factors (2,) that make less better in both columns."""
    return np.array([-1.0 if name in MORE_IS_BETTER else 1.0 for name in (x, y)])


def find_front(points: Array) -> Array:
    """Return the indices of the points (n, 2) that none beats, by their first number.

    A point is beaten by one that is not larger in both numbers, and smaller in one.
    """
    order = np.lexsort((points[:, 1], points[:, 0]))
    front: list[int] = []
    for k in order:
        is_best = not front or points[k, 1] < points[front[-1], 1]
        if is_best and np.isfinite(points[k]).all():
            front.append(int(k))
    return np.array(front, dtype=int)
