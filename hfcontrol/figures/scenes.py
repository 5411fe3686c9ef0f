"""Scenes of movies: one trial of a plant at a time, in the plane or in space."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hfcontrol.arrays.types import Array
from hfcontrol.evaluation.evaluation import Comparison
from hfcontrol.figures.canvas import Canvas
from hfcontrol.figures.coordinates import (
    axis_label,
    colour_trials,
    drawn_coordinates,
    goal_coordinates,
    is_drawn_in_plane,
    link_points,
    mark_points,
    standing_goal_times,
)
from hfcontrol.figures.drawing import (
    BODY_COLOUR,
    GOAL_COLOUR,
    Body,
    Paths,
    expand_box,
)

DPI = 100

# Opacity of trails of earlier trials.
FADED = 0.5

# Values of marks. Few colours, so that the palette of a movie can hold all of them.
MARK_COLOURS = colormaps["RdBu_r"].resampled(17)


class Scene(NamedTuple):
    """A figure, a function that draws frame k into it, and durations of frames [s].

    Frames can be drawn in any order.
    """

    figure: Figure
    draw: Callable[[int], None]
    durations: list[float]


class TrialScene(Protocol):
    """A figure that shows one trial up to a step."""

    figure: Figure

    def draw(self, n: int, step: int) -> None:
        """Show the n-th of the scene's trials up to a step."""


def make_trial_scene(comparison: Comparison, trials: Array) -> TrialScene:
    """Return the scene of some trials, in space if their links are there."""
    points = link_points(comparison, comparison.rollout.x, trials)
    if points is not None and points.shape[-1] == 3:
        return SpaceScene(comparison, trials, points)
    return PlaneScene(comparison, trials, points)


class PlaneScene:
    """Trails, goal, body and marks in the plane.

    Without a plane, trails are drawn against time, with the body next to them. Trails
    of earlier trials stay, faded, unless goals move.
    """

    figure: Figure

    def __init__(
        self, comparison: Comparison, trials: Array, points: Array | None
    ) -> None:
        plant = comparison.run.plant
        in_plane = is_drawn_in_plane(plant)
        self.data = drawn_coordinates(comparison)[:, :, trials]
        self.goal = goal_coordinates(comparison)[:, :, trials]
        self.marks = mark_points(comparison, trials)

        self.points = points
        if points is None and in_plane:
            # A plant without links is a point.
            self.points = self.data[:, :2].transpose(2, 0, 1)[:, :, None]

        self.has_side_body = self.points is not None and not in_plane
        self.goal_points: Array | None = None
        if self.has_side_body:
            goal = comparison.scenario.goal
            self.goal_points = link_points(comparison, goal, trials)

        size = (5.6, 5.2) if in_plane else (8.0, 4.0)
        self.figure = Figure(figsize=size, dpi=DPI, layout="constrained")
        left: Any = self.figure
        right: Any = self.figure
        if self.has_side_body:
            panels: Any = self.figure.subfigures(1, 2)
            left, right = panels
        self.paths = Paths(Canvas(right), comparison, trials, optimum=False)
        if self.points is not None:
            ax = left.subplots() if self.has_side_body else self.paths.axes[0]
            self._draw_body(ax, self.points)

    def _draw_body(self, ax: Axes, points: Array) -> None:
        """Draw body, goal and marks, in axes that have room for all their positions."""
        factor = self.paths.factor
        extent = [points.reshape(-1, 2)]
        if self.goal_points is not None:
            self.goal_body = Body(ax, points, "0.85")
            extent.append(self.goal_points.reshape(-1, 2))
            ax.set_axis_off()
        else:
            (self.ring,) = ax.plot(
                [], [], "o", ms=14, mfc="none", mec=GOAL_COLOUR, mew=2.5, zorder=5
            )
        self.body = Body(ax, factor * points)
        if self.marks is not None:
            self._draw_marks(ax, self.marks[0, 0])
            extent.append(self.marks[..., :2].reshape(-1, 2))

        everything = np.concatenate(extent)
        is_finite = np.isfinite(everything).all(axis=1)
        ax.update_datalim(factor * everything[is_finite])
        ax.set_aspect("equal")
        ax.margins(0.08)

    def _draw_marks(self, ax: Axes, marks: Array) -> None:
        """Draw marks (k, 3) and the scale of their values."""
        x, y = self.paths.factor * marks[:, :2].T
        self.dots = ax.scatter(
            x,
            y,
            c=marks[:, 2],
            s=150,
            cmap=MARK_COLOURS,
            vmin=-1,
            vmax=1,
            edgecolors=BODY_COLOUR,
            zorder=3,
        )
        self.figure.colorbar(
            self.dots,
            ax=ax,
            ticks=(-1, 0, 1),
            shrink=0.6,
            aspect=25,
            label="value of the marks",
        )

    def draw(self, n: int, step: int) -> None:
        """Show the n-th of the scene's trials up to a step."""
        factor, paths = self.paths.factor, self.paths
        keeps_past = bool(paths.goal_times)
        paths.set_trajectories(reveal(self.data, n, step, keeps_past))
        for lines in paths.lines:
            fade_others(lines, n)

        if self.points is not None:
            self.body.set_points(factor * self.points[n, step])
            if self.goal_points is not None:
                self.goal_body.set_points(self.goal_points[n, step])
            else:
                self.ring.set_data(*factor * self.goal[step : step + 1, :2, n].T)

        paths.set_goals(reveal(self.goal, n, step, False))
        if paths.goal_lines and not self.has_side_body:
            paths.starts.set_offsets(factor * self.data[0, :2, n])
        if self.marks is not None and self.points is not None:
            self.dots.set_offsets(factor * self.marks[n, step, :, :2])
            self.dots.set_array(self.marks[n, step, :, 2])


class SpaceScene:
    """The body in space, the trail of its last point with a shadow, and the goal."""

    figure: Figure

    def __init__(self, comparison: Comparison, trials: Array, points: Array) -> None:
        plant = comparison.run.plant
        self.points = points
        self.data = points[:, :, -1].transpose(1, 2, 0)
        goal = np.nan_to_num(comparison.scenario.goal)
        goal_points = link_points(comparison, goal, trials)
        assert goal_points is not None
        self.goal = goal_points[:, :, -1]
        self.keeps_past = bool(standing_goal_times(comparison))

        self.figure = Figure(figsize=(5.6, 5.2), dpi=DPI)
        # Placed by hand: the layout engine would cut the labels of axes in space.
        ax: Any = self.figure.add_axes((0.0, 0.04, 0.92, 0.9), projection="3d")
        everything = np.concatenate([points.reshape(-1, 3), self.goal.reshape(-1, 3)])
        everything = everything[np.isfinite(everything).all(axis=1)]
        low, high = expand_box(everything.min(axis=0), everything.max(axis=0))
        self.floor = low[2]

        colours = colour_trials(comparison)[0][trials]
        self.shadows = [ax.plot([], [], [], color="0.6", lw=1.2)[0] for _ in trials]
        self.trails = [ax.plot([], [], [], color=c, lw=1.8)[0] for c in colours]
        (self.ring,) = ax.plot(
            [], [], [], "o", ms=12, mfc="none", mec=GOAL_COLOUR, mew=2.5
        )
        self.body = Body(ax, points)

        x_name, y_name = "x", "y"
        if plant.path_indices is not None:
            x_name, y_name = (plant.output[i] for i in plant.path_indices[:2])
        ax.set(
            xlabel=axis_label(x_name, "m"),
            ylabel=axis_label(y_name, "m"),
            zlabel=axis_label("height", "m"),
        )
        ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
        ax.set_box_aspect(high - low, zoom=0.9)
        ax.locator_params(nbins=5)
        ax.zaxis.labelpad = 8

    def draw(self, n: int, step: int) -> None:
        """Show the n-th of the scene's trials up to a step."""
        data = reveal(self.data, n, step, self.keeps_past)
        floor = np.full(len(data), self.floor)
        pairs = zip(self.trails, self.shadows, strict=True)
        for k, (trail, shadow) in enumerate(pairs):
            trail.set_data_3d(*data[:, :, k].T)
            shadow.set_data_3d(*data[:, :2, k].T, floor)
        fade_others(self.trails, n)
        fade_others(self.shadows, n)
        self.ring.set_data_3d(*self.goal[n, step : step + 1].T)
        self.body.set_points(self.points[n, step])


def reveal(data: Array, n: int, step: int, keeps_past: bool) -> Array:
    """Return the trajectories (T+1, k, n) that are visible at a step of trial n.

    They are that of the trial up to the step and, with `keeps_past`, those of the
    trials before it; the rest is NaN.
    """
    visible = np.full_like(data, np.nan)
    if keeps_past:
        visible[:, :, :n] = data[:, :, :n]
    visible[: step + 1, :, n] = data[: step + 1, :, n]
    return visible


def fade_others(lines: Sequence[Any], n: int) -> None:
    """Fade all lines except the n-th."""
    for k, line in enumerate(lines):
        line.set_alpha(1.0 if k == n else FADED)
