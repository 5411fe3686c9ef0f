"""The figure of a benchmark: paths, a panel for each controller and condition."""

from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hfcontrol.arrays.types import Array
from hfcontrol.classical.benchmark import Benchmark, Case
from hfcontrol.evaluation.evaluation import Comparison
from hfcontrol.figures.coordinates import (
    axis_label,
    colour_trials,
    drawn_coordinates,
    goal_coordinates,
    is_drawn_in_plane,
    length_unit,
    problem_title,
    select_evenly,
)
from hfcontrol.figures.drawing import expand_box
from hfcontrol.figures.output import figure_file
from hfcontrol.texts import plain_label

# Trials that a small panel can show.
SHOWN = 8

# Size of a panel [inch], and room for labels and the legend.
PANEL = 1.75
ROOM = 0.9

# Letters in a line of a title; longer names are broken at their hyphens.
TITLE_WIDTH = 18

# Line style of the way back.
DASHES = (0, (2, 1.2))

# What is drawn beyond the box of starts and goals, in its sizes: paths of a controller
# that goes astray would make the others small.
MARGIN = 0.35


def plot_benchmark(
    benchmark: Benchmark, path: Path | str | None = None, show: bool = False
) -> Figure:
    """Plot the paths of every controller in every condition.

    The movements are those out and back, or out alone if there is no way back. A plant
    without a place in the plane shows its first position against time. Raises
    UsageError if the file cannot be written.
    """
    last = benchmark.cases[-1].motion
    cases = [case for case in benchmark.cases if case.motion == last]
    names = list(benchmark.titles)
    width, height = PANEL * len(names) + ROOM, PANEL * len(cases) + ROOM
    with figure_file(width, height, path, show) as figure:
        grid = figure.subplots(
            len(cases), len(names), sharex=True, sharey=True, squeeze=False
        )
        for row, case in zip(grid, cases, strict=True):
            panels = _Panels(case)
            for ax, name in zip(row, names, strict=True):
                panels.draw(ax, name)
            row[0].set_ylabel(f"{plain_label(case.condition)}\n{panels.labels[1]}")
        for ax, name in zip(grid[0], names, strict=True):
            title = plain_label(benchmark.titles[name])
            ax.set_title(fill(title, TITLE_WIDTH))
        for ax in grid[-1]:
            ax.set_xlabel(panels.labels[0])
        _add_legend(figure, panels)
        title = problem_title(benchmark.runs[0].plant, cases[0].comparison.task)
        figure.suptitle(f"{title}: {last}; ratio to optimal in each panel")
    return figure


class _Panels:
    """What all panels of one case share: trials, colours, units and limits."""

    def __init__(self, case: Case) -> None:
        self.case = case
        comparison = case.comparison
        self.trials = select_evenly(comparison, SHOWN)
        colours, _ = colour_trials(comparison)
        self.colours = colours[self.trials]
        self.is_plane = is_drawn_in_plane(comparison.run.plant)
        self.turn = comparison.scenario.arrivals[0]
        self.has_way_back = self.turn < comparison.scenario.steps
        self._choose_units(comparison)
        self.goal = self._coordinates(goal_coordinates(comparison))

    def _choose_units(self, comparison: Comparison) -> None:
        """Choose the factor of lengths and the labels of both axes."""
        plant = comparison.run.plant
        goals = goal_coordinates(comparison)
        self.factor: float = 1
        self.time = plant.dt * np.arange(len(goals))
        first = plant.positions[0]
        self.labels = [
            "time [s]",
            axis_label(plant.state[first], plant.units["state"][first]),
        ]
        if self.is_plane:
            assert plant.path_indices is not None
            self.factor, unit = length_unit(plant, goals)
            self.labels = [
                axis_label(plant.output[i], unit) for i in plant.path_indices
            ]

    def _coordinates(self, values: Array) -> Array:
        """Return the two drawn coordinates (T+1, 2, n) of the shown trials."""
        shown = self.factor * values[:, :, self.trials]
        if self.is_plane:
            return shown[:, :2]
        times = np.broadcast_to(self.time[:, None], shown[:, 0].shape)
        return np.stack([times, shown[:, 0]], axis=1)

    def draw(self, ax: Axes, name: str) -> None:
        """Draw the movements of one controller."""
        case = self.case
        if name not in case.movements:
            ax.text(0.5, 0.5, "left out", transform=ax.transAxes, ha="center")
            return
        states = case.movements[name].x
        paths = self._coordinates(drawn_coordinates(case.comparison, states))
        out, back = paths[: self.turn + 1], paths[self.turn :]
        for n, colour in enumerate(self.colours):
            style: dict[str, Any] = {"color": colour, "lw": 1.1}
            ax.plot(out[:, 0, n], out[:, 1, n], **style)
            if self.has_way_back:
                ax.plot(back[:, 0, n], back[:, 1, n], ls=DASHES, alpha=0.8, **style)
        goal_x, goal_y = self.goal[self.turn]
        rings: dict[str, Any] = {"c": "white", "edgecolors": self.colours}
        ax.scatter(goal_x, goal_y, s=14, lw=0.9, zorder=3, **rings)
        ax.scatter(paths[0, 0], paths[0, 1], s=8, c="black", zorder=3)
        self._set_limits(ax, paths[0])
        ratio = case.row(name)["ratio"]
        if ratio is not None:
            text = f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:#.3g}"
            ax.text(0.03, 0.97, text, transform=ax.transAxes, va="top", fontsize=9)

    def _set_limits(self, ax: Axes, starts: Array) -> None:
        """Set the limits by starts and goals, whatever the paths do."""
        points = np.concatenate([starts, *self.goal], axis=1)
        low, high = expand_box(np.nanmin(points, axis=1), np.nanmax(points, axis=1))
        room = MARGIN * (high - low)
        if self.is_plane:
            ax.set(aspect="equal", xlim=(low[0] - room[0], high[0] + room[0]))
        ax.set_ylim(low[1] - room[1], high[1] + room[1])
        ax.locator_params(nbins=4)


def _add_legend(figure: Figure, panels: _Panels) -> None:
    """Add what line styles and markers mean, below the panels."""
    grey: dict[str, Any] = {"color": "0.3"}
    entries = [Line2D([], [], label="out", **grey)]
    if panels.has_way_back:
        entries.append(Line2D([], [], ls=DASHES, label="back", **grey))
    dot: dict[str, Any] = {"ls": "", "marker": "o"}
    entries.append(Line2D([], [], c="black", ms=3, label="start", **dot))
    entries.append(Line2D([], [], c="0.3", mfc="white", ms=5, label="target", **dot))
    figure.legend(handles=entries, loc="outside lower center", ncols=len(entries))
