"""Artists for rollouts: paths with their goals, traces against time, and bodies.

Lengths are drawn in metres, or in centimetres if all of them are short.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from hfcontrol.arrays.types import Array
from hfcontrol.evaluation.evaluation import Comparison
from hfcontrol.figures.canvas import OPTIMAL_COLOUR, Canvas
from hfcontrol.figures.coordinates import (
    axis_label,
    drawn_coordinates,
    get_optimum,
    goal_coordinates,
    is_drawn_in_plane,
    length_unit,
    standing_goal_times,
)

BODY_COLOUR = "0.35"
GOAL_COLOUR = "#D55E00"

# Least extent of a box along any axis, relative to its largest extent.
LEAST_EXTENT = 0.5

# Width of lines [points]: thinner the more lines there are, within these bounds.
THINNEST = 0.6
THICKEST = 1.8


def expand_box(low: Array, high: Array) -> Array:
    """Return the corners (2, d) of the box from low to high (d,), made less flat.

    No side is shorter than LEAST_EXTENT of the longest.
    """
    extent = high - low
    half = np.maximum(extent, LEAST_EXTENT * np.max(extent)) / 2
    middle = (low + high) / 2
    return np.array([middle - half, middle + half])


def line_width(trajectories: Array) -> float:
    """Return the width of lines [points] for trajectories (T, k, N)."""
    width = 8 / np.sqrt(trajectories.shape[2])
    return float(np.clip(width, THINNEST, THICKEST))


def plot_traces(
    axes: Sequence[Axes],
    time: Array,
    ours: Array,
    optimal: Array | None,
    labels: Sequence[str],
    colours: Array,
) -> list[list[Line2D]]:
    """Plot trajectories (T, k, N) against time (T,) [s] into k axes.

    Optimal trajectories, if given, lie beneath. Returns the lines [k][N].
    """
    lines = []
    width = line_width(ours)
    for k, ax in enumerate(axes):
        if optimal is not None:
            ax.plot(time, optimal[:, k], color=OPTIMAL_COLOUR, lw=width)
        ax.set_prop_cycle(color=colours)
        lines.append(ax.plot(time, ours[:, k], lw=width))
        ax.set_ylabel(labels[k])
    axes[-1].set_xlabel("time [s]")
    return lines


def plot_paths(ax: Axes, paths: Array, **style: Any) -> list[Line2D]:
    """Plot the first two coordinates of paths (T, k, N); returns the lines [N]."""
    x, y = paths[:, :2].transpose(1, 0, 2)
    return ax.plot(x, y, **style)


def plot_goals(
    ax: Axes,
    time: Array,
    goal: Array,
    goal_times: Sequence[int],
    colours: Array,
    width: float,
) -> list[Line2D]:
    """Plot the goals (T, N) of one coordinate against time; NaN where there is none.

    They are points at `goal_times`, or dotted lines, which are returned, if goals move
    all the time.
    """
    if not goal_times:
        ax.set_prop_cycle(color=colours)
        return ax.plot(time, goal, ls=":", lw=width)
    for t in goal_times:
        places = np.full(goal.shape[1], time[t])
        style = goal_style(goal[None, t], colours, width)
        ax.scatter(places, goal[t], clip_on=False, **style)
    return []


def goal_style(goal: Array, colours: Array, width: float) -> dict[str, Any]:
    """Return the style of goals (k, N): black if all are the same."""
    is_shared = goal.shape[1] > 1 and not np.ptp(goal, axis=1).any()
    return {
        "s": 20 * width,
        "c": "white",
        "edgecolors": "black" if is_shared else colours,
        "zorder": 3,
    }


class Paths:
    """Paths in the plane, or positions against time, with their starts and goals.

    A third coordinate of paths is drawn against time beneath them. Goals that move are
    dotted; then only a few trials are drawn unless `trials` gives their indices. The
    trajectories can be replaced by `set_trajectories`, moving goals by `set_goals`.
    """

    def __init__(
        self,
        canvas: Canvas,
        comparison: Comparison,
        trials: Array | None = None,
        optimum: bool = True,
    ) -> None:
        plant = comparison.run.plant
        if trials is None:
            trials = canvas.select_trials(comparison)
        self.trials = trials
        self.goal_times = standing_goal_times(comparison)
        self.colours = canvas.colour_trials(comparison, trials)
        self.lines: list[list[Line2D]] = []
        self.goal_lines: list[list[Line2D]] = []

        ours = drawn_coordinates(comparison)
        goal = goal_coordinates(comparison)
        optimal = None
        if optimum:
            optimal = drawn_coordinates(comparison, get_optimum(comparison).x)

        # Coordinates that the first axes show as paths: both of the plane, or none.
        self.n_plane = 0
        self.factor: float = 1
        path = plant.path_indices
        if path is not None and is_drawn_in_plane(plant):
            self.n_plane = 2
            self.factor, unit = length_unit(plant, ours)
            labels = [axis_label(plant.output[i], unit) for i in path]
        else:
            units = plant.units["state"]
            labels = [axis_label(plant.state[i], units[i]) for i in plant.positions]

        ours = self.factor * ours[:, :, trials]
        goal = self.factor * goal[:, :, trials]
        if optimal is not None:
            optimal = self.factor * optimal[:, :, trials]
        self.axes = self._make_axes(canvas, len(labels))
        if self.n_plane:
            self._draw_plane(self.axes[0], ours, goal, optimal, labels)
        if labels[self.n_plane :]:
            n = self.n_plane
            time = plant.dt * np.arange(len(ours))
            rest = None if optimal is None else optimal[:, n:]
            self._draw_traces(time, ours[:, n:], goal[:, n:], rest, labels[n:])

    def _make_axes(self, canvas: Canvas, count: int) -> list[Axes]:
        """Return the axes, one above another: the plane, then a trace for each rest."""
        heights = [1] * (count - self.n_plane)
        if self.n_plane:
            heights = [3, *heights]
        self.height = sum(heights)
        share = not self.n_plane
        return canvas.make_axes(len(heights), height_ratios=heights, sharex=share)

    def _draw_plane(
        self,
        ax: Axes,
        ours: Array,
        goal: Array,
        optimal: Array | None,
        labels: Sequence[str],
    ) -> None:
        """Draw paths, goals and starts in the plane."""
        width = line_width(ours)
        if optimal is not None:
            plot_paths(ax, optimal, color=OPTIMAL_COLOUR, lw=1.5 * width)
        ax.set_prop_cycle(color=self.colours)
        self.lines.append(plot_paths(ax, ours, lw=width))
        for t in self.goal_times:
            x, y = goal[t, :2]
            ax.scatter(x, y, **goal_style(goal[t], self.colours, width))
        if not self.goal_times:
            self.goal_lines.append(plot_paths(ax, goal, ls=":", lw=width))
        x, y = ours[0, :2]
        self.starts = ax.scatter(x, y, s=9 * width, c="black", zorder=3)
        drawn = ax.dataLim
        ax.update_datalim(expand_box(np.array(drawn.min), np.array(drawn.max)))
        ax.set(xlabel=labels[0], ylabel=labels[1])
        # Paths that are wide or high leave no gap to the title.
        ax.set_aspect("equal", adjustable="datalim")
        ax.locator_params(nbins=6)

    def _draw_traces(
        self,
        time: Array,
        ours: Array,
        goal: Array,
        optimal: Array | None,
        labels: Sequence[str],
    ) -> None:
        """Draw coordinates and goals against time, below the plane if there is one."""
        axes = self.axes[1:] if self.n_plane else self.axes
        width = line_width(ours)
        self.lines += plot_traces(axes, time, ours, optimal, labels, self.colours)
        for k, ax in enumerate(axes):
            lines = plot_goals(
                ax, time, goal[:, k], self.goal_times, self.colours, width
            )
            if lines:
                self.goal_lines.append(lines)

    def set_trajectories(self, data: Array) -> None:
        """Replace the trajectories of the drawn trials by (T+1, k, n); NaN is blank."""
        self._set(self.lines, data)

    def set_goals(self, goal: Array) -> None:
        """Replace the goals of the drawn trials by (T+1, k, n), if they move."""
        self._set(self.goal_lines, goal)

    def _set(self, groups: list[list[Line2D]], data: Array) -> None:
        """Set the data of lines, grouped by axes."""
        data = self.factor * data
        for k, lines in enumerate(groups):
            for n, line in enumerate(lines):
                if self.n_plane and k == 0:
                    line.set_data(*data[:, :2, n].T)
                else:
                    # The plane's two coordinates share the first axes.
                    coordinate = k + 1 if self.n_plane else k
                    line.set_ydata(data[:, coordinate, n])


class Body:
    """The links of a plant, drawn from all their points (..., k, 2 or 3).

    A point of NaN ends a stroke. A stroke that ends where it starts is a solid, any
    other one a chain of rods with joints. `set_points` moves the body.
    """

    def __init__(self, ax: Axes, points: Array, colour: str = BODY_COLOUR) -> None:
        points = points.reshape(-1, *points.shape[-2:])
        gaps = np.flatnonzero(np.isnan(points[0]).all(axis=1))
        self.strokes: list[tuple[slice, Callable[[Array], Any]]] = []
        for gap, next_gap in pairwise([-1, *gaps, points.shape[1]]):
            stroke = slice(gap + 1, next_gap)
            is_closed = stroke.stop - stroke.start > 2 and np.allclose(
                points[:, stroke.start], points[:, stroke.stop - 1]
            )
            update = self._draw_stroke(ax, points[0, stroke], is_closed, colour)
            self.strokes.append((stroke, update))

    @staticmethod
    def _draw_stroke(
        ax: Any, points: Array, is_closed: bool, colour: str
    ) -> Callable[[Array], Any]:
        """Draw a stroke; return the function that sets its points."""
        if points.shape[1] == 3:
            style = "-" if is_closed else "o-"
            (line,) = ax.plot(*points.T, style, color=colour, lw=2.5, ms=4)
            return lambda now: line.set_data_3d(*now.T)
        if is_closed:
            (solid,) = ax.fill(
                *points.T,
                facecolor="0.85",
                edgecolor=colour,
                lw=1.5,
                alpha=0.85,
                zorder=4,
            )
            return solid.set_xy
        (rod,) = ax.plot(
            *points.T,
            "o-",
            color=colour,
            lw=6,
            ms=8,
            mfc="white",
            mew=2,
            alpha=0.85,
            zorder=4,
        )
        return lambda now: rod.set_data(*now.T)

    def set_points(self, points: Array) -> None:
        """Move the links to points (k, 2 or 3)."""
        for stroke, update in self.strokes:
            update(points[stroke])
