"""Hidden activity of a controller, and its tuning to targets or starts."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from hfcontrol.arrays.types import Array
from hfcontrol.errors import UsageError
from hfcontrol.evaluation.evaluation import Comparison
from hfcontrol.figures.canvas import ABOVE, COLOURS, Canvas, check_trial
from hfcontrol.figures.coordinates import QUARTERS, order_trials
from hfcontrol.network.architecture import Layer
from hfcontrol.network.network import Network

LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "^", "s", "D", "v", "P")

# Units in a panel of tuning curves.
TUNED_UNITS = 6


def plot_hidden(canvas: Canvas, comparison: Comparison) -> None:
    """Plot the activity of all hidden units in one trial, the first by default."""
    network = comparison.run.network
    trial = 1 if canvas.trial is None else check_trial(canvas.trial, comparison)
    activity = comparison.rollout.hidden(network)[:, :, trial - 1]
    layers = network.layers[:-1]
    largest = np.abs(activity).max()
    canvas.set_size(2.4 + 3.0 * len(layers), 3.8)
    axes = canvas.make_axes(1, len(layers))
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
    label = f"activity in trial {trial}"
    bar = canvas.figure.colorbar(image, ax=axes, label=label, aspect=40)
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


def plot_tuning(canvas: Canvas, comparison: Comparison) -> None:
    """Plot each layer's mean activity against target or start.

    Against directions, the preferred directions of all units are plotted too, unless
    the caller has given axes.
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
    has_polar = is_cyclic and canvas.given is None
    columns = len(layers) + has_polar
    canvas.set_size(1.0 + 3.4 * columns, 4.4)
    figure = canvas.figure
    if canvas.given is None:
        panels = [figure.add_subplot(1, columns, k + 1) for k in range(len(layers))]
    else:
        panels = canvas.make_axes(1, len(layers))
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
    if has_polar:
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
