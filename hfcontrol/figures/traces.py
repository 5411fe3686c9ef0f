"""What happens over time: paths, states, controls, speeds, and phase planes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from hfcontrol.arrays.types import Array
from hfcontrol.evaluation.evaluation import Comparison
from hfcontrol.figures.canvas import OPTIMAL_COLOUR, Canvas
from hfcontrol.figures.coordinates import (
    QUARTERS,
    axis_label,
    colour_trials,
    get_optimum,
    has_task_in_plane,
    length_unit,
    locations,
    order_trials,
    standing_goal_times,
)
from hfcontrol.figures.drawing import (
    Paths,
    goal_style,
    line_width,
    plot_goals,
    plot_paths,
    plot_traces,
)
from hfcontrol.plant.contract import Plant

# States that one figure can show; more than COLUMN of them are in two columns.
MOST_STATES = 12
COLUMN = 4

# Phase planes that one figure can show.
MOST_PLANES = 4


class Pair(NamedTuple):
    """The states on the axes of a phase plane, by their indices."""

    x: int
    y: int


def plot_movement(canvas: Canvas, comparison: Comparison) -> None:
    """Plot paths in the plane over the optimal ones, or states for other plants."""
    if not has_task_in_plane(comparison):
        plot_states(canvas, comparison)
        return
    paths = Paths(canvas, comparison, optimum=_shows_optimum(canvas, comparison))
    canvas.set_size(6.4, 1.5 + 1.6 * max(2.2, paths.height))
    add_path_legend(canvas, paths)


def add_path_legend(canvas: Canvas, paths: Paths) -> None:
    """Add the legend of paths and their goals."""
    handle = Line2D([], [], color="black", ls=":")
    if paths.goal_times:
        handle = Line2D([], [], color="black", marker="o", mfc="white", ls="")
    canvas.add_legend(paths.axes[0], paths.colours, (handle, "goal"))


def _shows_optimum(canvas: Canvas, comparison: Comparison) -> bool:
    """Whether optimal movements are drawn: once, and only if they are known."""
    return canvas.is_first and comparison.optimum is not None


def plot_controls(canvas: Canvas, comparison: Comparison) -> None:
    """Plot the controls over the optimal ones."""
    plant = comparison.run.plant
    time = plant.dt * np.arange(comparison.scenario.steps)
    pairs = zip(plant.control, plant.units["control"], strict=True)
    labels = [axis_label(name, unit) for name, unit in pairs]
    optimal = get_optimum(comparison).u if canvas.is_first else None
    _plot_over_time(canvas, comparison, time, comparison.rollout.u, optimal, labels)


def plot_speed(canvas: Canvas, comparison: Comparison) -> None:
    """Plot the speed along the drawn path over the optimal one.

    Without a place in the plane it is the norm of the rates of all positions.
    """
    plant = comparison.run.plant
    has_place = plant.path_indices is not None
    ours = locations(comparison, comparison.rollout.x, has_place)
    optimal = None
    if canvas.is_first:
        optimal = locations(comparison, get_optimum(comparison).x, has_place)
    if plant.path_indices is None:
        units = {plant.units["state"][i] for i in plant.positions}
        factor: float = 1
        unit = units.pop() if len(units) == 1 else ""
        name = "norm of the rates"
    else:
        factor, unit = length_unit(plant, ours)
        # `hand_x` becomes `hand_speed`, and `x` becomes `speed`.
        name = f"{plant.output[plant.path_indices[0]][:-1]}speed"

    def speed(path: Array) -> Array:
        change = np.linalg.norm(np.diff(path, axis=0), axis=1, keepdims=True)
        return factor * change / plant.dt

    time = plant.dt * (np.arange(comparison.scenario.steps) + 0.5)
    label = axis_label(name, unit and f"{unit}/s")
    beneath = None if optimal is None else speed(optimal)
    _plot_over_time(canvas, comparison, time, speed(ours), beneath, [label])


def _plot_over_time(
    canvas: Canvas,
    comparison: Comparison,
    time: Array,
    ours: Array,
    optimal: Array | None,
    labels: list[str],
) -> None:
    """Plot trajectories (T, k, N) of the readable trials over the optimal ones."""
    trials = canvas.select_trials(comparison)
    colours = canvas.colour_trials(comparison, trials)
    count = len(labels)
    panel_height = 2.0 if count <= 4 else 1.4
    canvas.set_size(7.2, 1.6 + panel_height * count)
    axes = canvas.make_axes(count, sharex=True)
    beneath = None if optimal is None else optimal[:, :, trials]
    plot_traces(axes, time, ours[:, :, trials], beneath, labels, colours)
    if canvas.given is None:
        canvas.figure.align_labels(axes)
    canvas.add_legend(axes[0], colours)
    add_colour_scale(canvas, comparison, axes)


def add_colour_scale(
    canvas: Canvas, comparison: Comparison, axes: Sequence[Axes]
) -> None:
    """Add the scale of the trials' colours, if several trials are shown."""
    is_alone = comparison.scenario.trials <= 1 or canvas.trial is not None
    if is_alone or canvas.run_colour is not None:
        return
    _, label, is_cyclic = order_trials(comparison)
    ticks = QUARTERS if is_cyclic else MaxNLocator(integer=label == "trial")
    _, scale = colour_trials(comparison)
    bar = canvas.figure.colorbar(
        scale, ax=list(axes), label=label, aspect=30, ticks=ticks
    )
    bar.outline.set_visible(False)


def plot_states(
    canvas: Canvas, comparison: Comparison, most: int = MOST_STATES
) -> None:
    """Plot states against time with their goals, over the optimal ones.

    Of more than `most` states, those with a goal come first.
    """
    plant = comparison.run.plant
    shown = select_states(comparison, most)
    columns = 1 if len(shown) <= COLUMN else 2
    rows = -(-len(shown) // columns)
    canvas.set_size(3.2 + 4.0 * columns, 1.4 + 1.5 * rows)
    axes = canvas.make_axes(rows, columns, fewer=True, sharex=True)
    if canvas.given is None and columns * rows > len(shown):
        axes[-1].set_visible(False)
    labels = [axis_label(plant.state[i], plant.units["state"][i]) for i in shown]

    trials = canvas.select_trials(comparison)
    colours = canvas.colour_trials(comparison, trials)
    time = plant.dt * np.arange(comparison.scenario.steps + 1)
    ours = comparison.rollout.x[:, shown][:, :, trials]
    optimal = None
    if _shows_optimum(canvas, comparison):
        optimal = get_optimum(comparison).x[:, shown][:, :, trials]
    drawn = axes[: len(shown)]
    count = len(drawn)
    beneath = None if optimal is None else optimal[:, :count]
    plot_traces(drawn, time, ours[:, :count], beneath, labels[:count], colours)
    for ax in drawn[-columns:]:
        ax.set_xlabel("time [s]")
    goal_times = standing_goal_times(comparison)
    goal = comparison.scenario.goal[:, shown][:, :, trials]
    for k, ax in enumerate(drawn):
        plot_goals(ax, time, goal[:, k], goal_times, colours, line_width(ours))
    marker = Line2D([], [], color="black", marker="o", mfc="white", ls="")
    dotted = Line2D([], [], color="black", ls=":")
    entry = (marker if goal_times else dotted, "goal")
    canvas.add_legend(drawn[0], colours, entry, optimum=optimal is not None)
    if canvas.given is None:
        canvas.figure.align_labels(drawn)
    add_colour_scale(canvas, comparison, axes)


def select_states(comparison: Comparison, most: int) -> list[int]:
    """Return the indices of up to `most` states of the body, in their order."""
    plant = comparison.run.plant
    goal = comparison.scenario.goal[:, : plant.n_body]
    with_goal = np.isfinite(goal).sum(axis=(0, 2)) > 0
    by_importance = np.argsort(~with_goal, kind="stable")
    return sorted(by_importance[:most].tolist())


def phase_pairs(plant: Plant) -> list[Pair]:
    """Return the pairs of states of the phase planes: a position and its rate.

    Without rates, as of levels or temperatures, they are the first states two by two.
    """
    pairs = []
    for i in map(int, plant.positions):
        name = f"{plant.state[i]}_rate"
        if name in plant.state:
            pairs.append(Pair(i, plant.state.index(name)))
        elif plant.integrator == "semi_implicit":
            pairs.append(Pair(i, i + plant.n_body // 2))
    if not pairs:
        pairs = [Pair(i, i + 1) for i in range(0, plant.n_body - 1, 2)]
    return pairs[:MOST_PLANES]


def plot_phase(canvas: Canvas, comparison: Comparison) -> None:
    """Plot phase planes: rates against positions, with starts and goals.

    A plant with a single state has none: it is drawn against time.
    """
    plant = comparison.run.plant
    pairs = phase_pairs(plant)
    if not pairs:
        plot_states(canvas, comparison)
        return
    columns = 1 if len(pairs) == 1 else 2
    rows = -(-len(pairs) // columns)
    canvas.set_size(1.6 + 3.6 * columns, 1.2 + 3.0 * rows)
    axes = canvas.make_axes(rows, columns, fewer=True)
    if canvas.given is None and columns * rows > len(pairs):
        axes[-1].set_visible(False)
    draw_planes(canvas, comparison, axes, pairs)
    dots: dict[str, Any] = {"color": "black", "marker": "o", "ls": ""}
    start = Line2D([], [], ms=3, **dots)
    ring = Line2D([], [], mfc="white", **dots)
    colours = canvas.colour_trials(comparison, canvas.select_trials(comparison))
    optimum = _shows_optimum(canvas, comparison)
    entries = [(start, "start"), (ring, "goal")]
    canvas.add_legend(axes[0], colours, *entries, optimum=optimum)
    add_colour_scale(canvas, comparison, axes)


def draw_planes(
    canvas: Canvas, comparison: Comparison, axes: Sequence[Axes], pairs: Sequence[Pair]
) -> None:
    """Draw phase planes into axes, as many as there are of both."""
    plant = comparison.run.plant
    trials = canvas.select_trials(comparison)
    colours = canvas.colour_trials(comparison, trials)
    goal_times = standing_goal_times(comparison)
    shows_optimum = _shows_optimum(canvas, comparison)
    for ax, pair in zip(axes, pairs, strict=False):
        chosen = list(pair)
        ours = comparison.rollout.x[:, chosen][:, :, trials]
        goal = comparison.scenario.goal[:, chosen][:, :, trials]
        width = line_width(ours)
        if shows_optimum:
            optimal = get_optimum(comparison).x[:, chosen][:, :, trials]
            plot_paths(ax, optimal, color=OPTIMAL_COLOUR, lw=1.5 * width)
        ax.set_prop_cycle(color=colours)
        plot_paths(ax, ours, lw=width)
        x, y = ours[0]
        ax.scatter(x, y, s=9 * width, c="black", zorder=3)
        for t in goal_times:
            x, y = goal[t]
            ax.scatter(x, y, **goal_style(goal[t], colours, width))
        names = [axis_label(plant.state[i], plant.units["state"][i]) for i in pair]
        ax.set(xlabel=names[0].replace("\n", " "), ylabel=names[1])
        ax.locator_params(nbins=6)
