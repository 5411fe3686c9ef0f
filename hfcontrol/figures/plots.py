"""Figures of a run: learning curves, paths, controls, speeds and hidden activity.

Every function draws a new figure, saves it if `path` is given, opens a window if `show`
is true, and returns the figure. The same run gives the same file, byte for byte.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter

from hfcontrol.arrays.types import Array
from hfcontrol.errors import HFControlWarning, PlantError, UsageError
from hfcontrol.evaluation.evaluation import Comparison, compare_with_optimum, summarise
from hfcontrol.figures.coordinates import (
    axis_label,
    colour_trials,
    get_optimum,
    length_unit,
    locations,
    order_trials,
    problem_title,
    select_readable,
    simulate_training,
)
from hfcontrol.figures.drawing import OPTIMAL_COLOUR, Paths, plot_traces
from hfcontrol.figures.output import figure_file
from hfcontrol.network.architecture import Layer
from hfcontrol.network.network import Network
from hfcontrol.policy_gradient.samplers import Episodes
from hfcontrol.runs.run import Run
from hfcontrol.texts import plain_label
from hfcontrol.training.state import CurvePoint, TrainingState

# Labels of the horizontal axis of learning curves.
AXES = {
    "updates": "updates",
    "rollouts": "rollouts of the plant",
    "seconds": "time [s]",
}

# Okabe and Ito (2008): the colour-blind tell these apart. Their yellow is too light for
# lines on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "^", "s", "D", "v", "P")

# Directions at the ticks of an axis [deg].
QUARTERS = (0, 90, 180, 270, 360)

# Position of a legend above the axes.
ABOVE: dict[str, Any] = {
    "loc": "lower center",
    "bbox_to_anchor": (0.5, 1.0),
    "ncols": 3,
}

# Units in a panel of tuning curves.
TUNED_UNITS = 6

# Up to this number of holds, the end of each is marked in a learning curve.
MARKED_HOLDS = 40


def figure_title(comparison: Comparison) -> str:
    """Return plant, task and loss, and the ratio to the optimal loss if it is known.

    There is no ratio if the optimal loss is zero.
    """
    plant = comparison.run.plant
    loss = np.mean(comparison.rollout.losses)
    title = f"{problem_title(plant, comparison.task)}: loss {loss:.2g}"
    if not comparison.optimum:
        return title
    ratio = summarise(comparison)["ratio"]
    return f"{title}, {ratio:#.4g} × optimal" if ratio else title


def _set_log_ticks(axis: Axis, values: Array) -> None:
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


def _plot_learning_curve(ax: Axes, state: TrainingState, axis: str) -> None:
    """Plot the loss of every update, of the best so far, and of the ends of holds."""
    x, loss = _curve(state.curve, axis)
    ax.set(xscale="log", yscale="log", xlabel=AXES[axis], ylabel="loss")
    best = np.fmin.accumulate(loss)
    ax.plot(x, best, color=COLOURS[5], lw=3, label="best so far")
    ax.plot(x, loss, color=COLOURS[0], lw=1, label="every update")
    ends, end_losses = _curve(state.history, axis)
    if 0 < len(ends) <= MARKED_HOLDS:
        style: dict[str, Any] = {"color": COLOURS[0], "ls": "", "marker": "o"}
        ax.plot(ends, end_losses, label="end of a hold", ms=4, **style)
    _set_log_ticks(ax.xaxis, x)
    _set_log_ticks(ax.yaxis, loss)
    ax.legend()


@np.errstate(all="ignore")
def plot_error(
    run: Run, path: Path | str | None = None, axis: str = "updates", show: bool = False
) -> Figure:
    """Plot the training error, and next to it the paths over the optimal ones.

    `axis` is updates, rollouts or seconds. A plant without a place in the plane shows
    its positions. Without the plant, there are no paths, and a warning says why. Raises
    UsageError for another axis, or if the file cannot be written.
    """
    if axis not in AXES:
        raise UsageError(f"`axis` {axis}: use one of {', '.join(AXES)}")
    if run.task_name == Episodes.name:
        return _plot_returns(run, path, axis, show)
    try:
        run.plant  # noqa: B018
    except PlantError as error:
        text = f"drawn without movements: {error}"
        warnings.warn(text, HFControlWarning, stacklevel=2)
        return _plot_curve_alone(run, path, axis, show)
    with figure_file(8.4, 3.9, path, show) as figure:
        comparison = compare_with_optimum(run)
        panels: Any = figure.subfigures(1, 2)
        left, right = panels
        _plot_learning_curve(left.subplots(), run.state, axis)
        paths = Paths(right, comparison)
        figure.set_figheight(max(3.9, 0.9 + sum(_relative_heights(paths))))
        _add_legend(paths.axes[0], paths.colours, _goal_entry(paths))
        figure.suptitle(figure_title(comparison))
    return figure


def _plot_returns(run: Run, path: Path | str | None, axis: str, show: bool) -> Figure:
    """Plot the return of the exploring policy in an environment, which has no paths."""
    state = run.state
    with figure_file(6.4, 3.9, path, show) as figure:
        ax = figure.subplots()
        x = [getattr(point, axis) for point in state.curve]
        returns = [-point.loss for point in state.curve]
        ax.plot(x, returns, color=COLOURS[0], lw=1)
        label = AXES[axis].replace("plant", "environment")
        ax.set(xlabel=label, ylabel="return while exploring")
        title = f"{plain_label(run.settings.plant)}: return {-state.loss:.4g}"
        figure.suptitle(f"{title} after {state.rollouts} rollouts")
    return figure


def _plot_curve_alone(
    run: Run, path: Path | str | None, axis: str, show: bool
) -> Figure:
    """Plot the learning curve, which the checkpoint has, without movements."""
    with figure_file(6.4, 3.9, path, show) as figure:
        _plot_learning_curve(figure.subplots(), run.state, axis)
        title = plain_label(f"{run.tree['plant']['name']}, {run.task_name}")
        figure.suptitle(f"{title}: loss {run.state.loss:.2g}")
    return figure


def _relative_heights(paths: Paths) -> Sequence[float]:
    """Return the relative heights of the axes of `Paths`."""
    grid: Any = paths.axes[0].get_gridspec()
    return grid.get_height_ratios()


def _add_legend(ax: Axes, colours: Array, *entries: tuple[Any, str]) -> None:
    """Add a legend above the axes: network, optimal, and more (handle, label).

    The network's handle shows some of the colours of its lines.
    """
    some = colours[np.linspace(0, len(colours) - 1, 4).astype(int)]
    network = tuple(Line2D([], [], color=c, lw=1.5) for c in some)
    optimal = Line2D([], [], color=OPTIMAL_COLOUR, lw=1.5)
    handles = [network, optimal, *(handle for handle, _ in entries)]
    labels = ["network", "optimal", *(label for _, label in entries)]
    handler = {tuple: HandlerTuple(ndivide=None, pad=0)}
    ax.legend(handles, labels, handler_map=handler, **ABOVE)


def _goal_entry(paths: Paths) -> tuple[Line2D, str]:
    """Return the legend entry of the goals of `Paths`."""
    if paths.goal_times:
        handle = Line2D([], [], color="black", marker="o", mfc="white", ls="")
    else:
        handle = Line2D([], [], color="black", ls=":")
    return handle, "goal"


def _plot_paths(figure: Figure, comparison: Comparison) -> None:
    """Plot the paths, or positions against time, over the optimal ones."""
    paths = Paths(figure, comparison)
    # Traces against time have a colour scale at their right.
    width = 6.4 if paths.n_plane else 7.2
    height = 1.5 + 1.6 * max(2.2, sum(_relative_heights(paths)))
    figure.set_size_inches(width, height)
    _add_legend(paths.axes[0], paths.colours, _goal_entry(paths))
    if not paths.n_plane:
        _add_colour_scale(figure, comparison, paths.axes)


def _plot_controls(figure: Figure, comparison: Comparison) -> None:
    """Plot the controls over the optimal ones."""
    plant = comparison.run.plant
    time = plant.dt * np.arange(comparison.scenario.steps)
    pairs = zip(plant.control, plant.units["control"], strict=True)
    labels = [axis_label(name, unit) for name, unit in pairs]
    ours, optimal = comparison.rollout.u, get_optimum(comparison).u
    _plot_traces(figure, comparison, time, ours, optimal, labels)


def _plot_speed(figure: Figure, comparison: Comparison) -> None:
    """Plot the speed along the drawn path over the optimal one.

    Without a place in the plane it is the norm of the rates of all positions.
    """
    plant = comparison.run.plant
    has_place = plant.path_indices is not None
    ours = locations(comparison, comparison.rollout.x, has_place)
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
    _plot_traces(figure, comparison, time, speed(ours), speed(optimal), [label])


def _plot_traces(
    figure: Figure,
    comparison: Comparison,
    time: Array,
    ours: Array,
    optimal: Array,
    labels: list[str],
) -> None:
    """Plot trajectories (T, k, N) of the readable trials over the optimal ones."""
    trials = select_readable(comparison)
    colours = colour_trials(comparison)[0][trials]
    count = len(labels)
    panel_height = 2.0 if count <= 4 else 1.4
    figure.set_size_inches(7.2, 1.6 + panel_height * count)
    axes = list(figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0])
    plot_traces(axes, time, ours[:, :, trials], optimal[:, :, trials], labels, colours)
    figure.align_ylabels(axes)
    _add_legend(axes[0], colours)
    _add_colour_scale(figure, comparison, axes)


def _add_colour_scale(figure: Figure, comparison: Comparison, axes: list[Axes]) -> None:
    """Add the scale of the trials' colours, if there are several trials."""
    if comparison.scenario.trials <= 1:
        return
    _, label, is_cyclic = order_trials(comparison)
    ticks = QUARTERS if is_cyclic else MaxNLocator(integer=label == "trial")
    _, scale = colour_trials(comparison)
    bar = figure.colorbar(scale, ax=axes, label=label, aspect=30, ticks=ticks)
    bar.outline.set_visible(False)


def _plot_hidden(figure: Figure, comparison: Comparison) -> None:
    """Plot the activity of all hidden units in the first trial."""
    network = comparison.run.network
    activity = comparison.rollout.hidden(network)[:, :, 0]
    layers = network.layers[:-1]
    largest = np.abs(activity).max()
    figure.set_size_inches(2.4 + 3.0 * len(layers), 3.8)
    axes = figure.subplots(1, len(layers), squeeze=False)[0]
    for layer, ax in zip(layers, axes, strict=True):
        part = activity[:, _hidden_units(network, layer)]
        # In the order of their peaks, units show how activity moves on.
        order = np.argsort(np.abs(part).argmax(axis=0), kind="stable")
        image = ax.imshow(
            part[:, order].T,
            aspect="auto",
            cmap="RdBu_r",
            vmin=-largest,
            vmax=largest,
            interpolation="nearest",
            extent=(0, len(part) * comparison.run.plant.dt, layer.size + 0.5, 0.5),
        )
        ax.set(xlabel="time [s]", title=f"layer {layer.name}")
        ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes[0].set_ylabel("unit, in the order of its peak")
    bar = figure.colorbar(image, ax=list(axes), label="activity in trial 1", aspect=40)
    bar.outline.set_visible(False)


def _hidden_units(network: Network, layer: Layer) -> slice:
    """Return the indices of a layer's units among all hidden units."""
    first = network.hidden.start
    return slice(layer.units.start - first, layer.units.stop - first)


def cosine_tuning(angles: Array, activity: Array) -> tuple[Array, Array, Array]:
    """Return mean, depth and preferred direction [rad] (n,) of activity (n, N).

    activity = mean + depth cos(angle - preferred), the cosine tuning of Georgopoulos et
    al. (1982), fitted by least squares over angles (N,) [deg].
    """
    angle = np.radians(angles)
    terms = [np.ones_like(angle), np.cos(angle), np.sin(angle)]
    fit = np.linalg.lstsq(np.column_stack(terms), activity.T, rcond=None)
    mean, x, y = fit[0]
    return mean, np.hypot(x, y), np.arctan2(y, x)


def _plot_tuning(figure: Figure, comparison: Comparison) -> None:
    """Plot each layer's mean activity against target or start.

    Against directions, the preferred directions of all units are plotted too.
    """
    network = comparison.run.network
    values, label, is_cyclic = order_trials(comparison)
    if label == "trial":
        raise UsageError(
            f"`kind` tuning: task {comparison.task.name} has no target or start per "
            "trial that units could be tuned to; use `kind=hidden` for their activity"
        )
    activity = comparison.rollout.hidden(network).mean(axis=0)
    layers = network.layers[:-1]
    columns = len(layers) + is_cyclic
    figure.set_size_inches(1.0 + 3.4 * columns, 4.4)
    panels = [figure.add_subplot(1, columns, k + 1) for k in range(len(layers))]
    # With one start for all trials, only the values differ between them.
    only_values_differ = not np.ptp(comparison.scenario.x0, axis=1).any()
    for layer, ax in zip(layers, panels, strict=True):
        part = activity[_hidden_units(network, layer)]
        if only_values_differ:
            _plot_tuning_curves(ax, values, part, is_cyclic)
        else:
            _plot_tuning_points(ax, values, part, is_cyclic)
        ax.set_xlabel(label)
        ax.legend(title=f"unit of layer {layer.name}", **ABOVE)
    panels[0].set_ylabel("mean activity over time")
    if is_cyclic:
        polar = figure.add_subplot(1, columns, columns, projection="polar")
        _plot_preferred_directions(polar, network, values, activity)


def _most_varied_units(activity: Array) -> Array:
    """Return the indices of the units with the most varied activity (n, N)."""
    return np.argsort(-activity.std(axis=1), kind="stable")[:TUNED_UNITS]


def _plot_tuning_curves(
    ax: Axes, values: Array, activity: Array, is_cyclic: bool
) -> None:
    """Plot the activity (n, N) of the most varied units against values (N,)."""
    order = np.argsort(values, kind="stable")
    if is_cyclic:
        ax.set_xticks(QUARTERS)
    for k, unit in enumerate(_most_varied_units(activity)):
        x, y = values[order], activity[unit, order]
        if is_cyclic:
            # The curve closes after one turn.
            x, y = np.append(x, x[0] + 360), np.append(y, y[0])
        line = LINES[k % len(LINES)]
        ax.plot(x, y, color=COLOURS[k], ls=line, label=f"{unit + 1}")


def _plot_tuning_points(
    ax: Axes, values: Array, activity: Array, is_cyclic: bool
) -> None:
    """Plot the activity (n, N) of the most varied units as points over values (N,).

    A line would join trials that differ in more than their values. Against directions,
    the cosine tuning is drawn as a line.
    """
    order = np.argsort(values, kind="stable")
    angles = np.arange(361)
    if is_cyclic:
        ax.set_xticks(QUARTERS)
    for k, unit in enumerate(_most_varied_units(activity)):
        x, y = values[order], activity[unit, order]
        label = f"{unit + 1}"
        ax.plot(x, y, MARKERS[k], color=COLOURS[k], ms=4, alpha=0.8, label=label)
        if is_cyclic:
            mean, depth, preferred = cosine_tuning(values, activity[unit, None])
            curve = mean + depth * np.cos(np.radians(angles) - preferred)
            ax.plot(angles, curve, color=COLOURS[k], ls=LINES[k % len(LINES)])


def _plot_preferred_directions(
    ax: Any, network: Network, angles: Array, activity: Array
) -> None:
    """Plot direction and depth of the tuning of all units (n, N) into polar axes."""
    for k, layer in enumerate(network.layers[:-1]):
        part = activity[_hidden_units(network, layer)]
        _, depth, preferred = cosine_tuning(angles, part)
        ax.plot(
            preferred,
            depth,
            "o^sD"[k % 4],
            color=COLOURS[k % len(COLOURS)],
            ms=5,
            alpha=0.8,
            label=layer.name,
        )
    ax.set_xlabel("preferred direction, depth of tuning")
    ticks = MaxNLocator(3).tick_values(0, ax.get_rmax())
    ax.set_rticks(ticks[1:-1])
    ax.legend(title="layer", **{**ABOVE, "bbox_to_anchor": (0.5, 1.1)})


KINDS: dict[str, Callable[[Figure, Comparison], None]] = {
    "paths": _plot_paths,
    "controls": _plot_controls,
    "hidden": _plot_hidden,
    "speed": _plot_speed,
    "tuning": _plot_tuning,
}

# Kinds that show the optimal movements too.
WITH_OPTIMUM = ("paths", "controls", "speed")


@np.errstate(all="ignore")
def plot(
    run: Run, kind: str = "paths", path: Path | str | None = None, show: bool = False
) -> Figure:
    """Plot one of KINDS for the training scenarios; movements lie over optimal ones.

    Raises UsageError for another kind, or if the file cannot be written.
    """
    if kind not in KINDS:
        raise UsageError(f"`kind` {kind}: use one of {', '.join(KINDS)}")
    with figure_file(7.2, 4.0, path, show) as figure:
        if kind in WITH_OPTIMUM:
            comparison = compare_with_optimum(run)
        else:
            comparison = simulate_training(run)
        KINDS[kind](figure, comparison)
        figure.suptitle(figure_title(comparison))
    return figure
