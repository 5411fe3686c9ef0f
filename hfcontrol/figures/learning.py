"""Learning curves: losses of a run, or of several, against what they have cost."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from hfcontrol.arrays.types import Array
from hfcontrol.figures.canvas import COLOURS, Canvas
from hfcontrol.runs.run import Run
from hfcontrol.training.state import CurvePoint, TrainingState

# Labels of the horizontal axis of learning curves.
AXES = {
    "updates": "updates",
    "rollouts": "rollouts of the plant",
    "seconds": "time [s]",
}

# Up to this number of holds, the end of each is marked in a learning curve.
MARKED_HOLDS = 40


def set_log_ticks(axis: Axis, values: Array) -> None:
    """Set the ticks of a logarithmic axis, which may be short.

    Matplotlib's own labels of a short axis collide or are missing.
    """
    values = values[np.isfinite(values) & (values > 0)]
    axis.set_minor_formatter(NullFormatter())
    if not len(values):
        return
    decades = np.ptp(np.log10(values))
    if 0 < decades < 2:
        few = (1, 2, 5)
        many = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
        axis.set_major_locator(LogLocator(subs=few if decades > 0.8 else many))
        axis.set_major_formatter(FormatStrFormatter("%g"))


def _curve(points: Iterable[CurvePoint], axis: str) -> tuple[Array, Array]:
    """Return a learning curve from its first update on, along an axis.

    A logarithmic axis has no zero.
    """
    points = [point for point in points if point.updates > 0]
    x = np.array([getattr(point, axis) for point in points], dtype=float)
    loss = np.array([point.loss for point in points], dtype=float)
    return x, loss


def plot_learning_curve(
    ax: Axes,
    state: TrainingState,
    axis: str,
    optimal: float | None = None,
    label: str = "optimum",
) -> None:
    """Plot the loss of every update, of the best so far, and of the ends of holds.

    A logarithmic axis has no zero: the loss of the first weights is a line across, as
    is the `optimal` loss, if it is known and not zero.
    """
    x, loss = _curve(state.curve, axis)
    ax.set(xscale="log", yscale="log", xlabel=AXES[axis], ylabel="loss")
    best = np.fmin.accumulate(loss)
    ax.plot(x, best, color=COLOURS[5], lw=3, label="best so far")
    ax.plot(x, loss, color=COLOURS[0], lw=1, label="every update")
    ends, end_losses = _curve(state.history, axis)
    if 0 < len(ends) <= MARKED_HOLDS:
        style: dict[str, Any] = {"color": COLOURS[0], "ls": "", "marker": "o"}
        ax.plot(ends, end_losses, label="end of a hold", ms=4, **style)
    levels = []
    first = next((p.loss for p in state.curve if p.updates == 0), None)
    if first is not None and np.isfinite(first):
        levels.append(first)
        ax.axhline(first, color=COLOURS[3], ls=":", lw=1.2, label="first weights")
    if optimal is not None and optimal > 0:
        levels.append(optimal)
        ax.axhline(optimal, color=COLOURS[2], ls="--", lw=1.2, label=label)
    set_log_ticks(ax.xaxis, x)
    set_log_ticks(ax.yaxis, np.append(loss, levels))
    # A level may lie behind it.
    ax.legend(frameon=True, framealpha=0.9, edgecolor="none")


def overlay_learning_curves(
    canvas: Canvas, runs: Iterable[Run], names: Iterable[str], axis: str
) -> None:
    """Plot the learning curves of several runs, a colour for each."""
    (ax,) = canvas.make_axes(1)
    ax.set(xscale="log", yscale="log", xlabel=AXES[axis], ylabel="loss")
    shown = []
    for k, (run, name) in enumerate(zip(runs, names, strict=True)):
        x, loss = _curve(run.state.curve, axis)
        colour = COLOURS[k % len(COLOURS)]
        ax.plot(x, loss, color=colour, lw=0.8, alpha=0.5)
        ax.plot(x, np.fmin.accumulate(loss), color=colour, lw=1.8, label=name)
        shown.append((x, loss))
    set_log_ticks(ax.xaxis, np.concatenate([x for x, _ in shown]))
    set_log_ticks(ax.yaxis, np.concatenate([loss for _, loss in shown]))
    ax.legend(title="best so far")
