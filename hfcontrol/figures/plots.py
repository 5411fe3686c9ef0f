"""Figures of a run: learning curves, paths, controls, speeds, hidden activity and its tuning, as png, pdf or svg.

Every function draws into a figure of its own, saves it where `path` is given, opens a window where `show` is true, and
returns the figure. The same run gives the same file, byte for byte.
"""

import numpy as np
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter

from hfcontrol.errors import UsageError
from hfcontrol.evaluation.evaluation import compare_with_optimum, summarise
from hfcontrol.figures.drawing import (
    OPTIMAL,
    Paths,
    colouring,
    label,
    lengths,
    ordering,
    places,
    readable,
    simulated,
    traces,
)
from hfcontrol.figures.output import figure_file

AXES = {
    "updates": "updates",
    "rollouts": "rollouts of the plant",
    "seconds": "time [s]",
}
# Okabe and Ito (2008), which the colour-blind tell apart; their yellow is too light for lines on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", "-.", ":")
QUARTERS = (0, 90, 180, 270, 360)  # [deg]
ABOVE = {
    "loc": "lower center",
    "bbox_to_anchor": (0.5, 1.0),
    "ncols": 3,
}  # place of a legend
TUNED, FEW = 6, 40  # units in a tuning panel; holds up to which each is marked


def heading(judged):
    """A title: plant, task, loss, and its ratio to the optimal loss where that is known and not zero."""
    run, ratio = judged.run, judged.optimum and summarise(judged)["ratio"]
    ending = f", {ratio:#.4g} × optimal" if ratio else ""
    return f"{run.plant.name}, {run.trainer.task.name}: loss {np.mean(judged.rollout.losses):.2g}{ending}"


def _log_ticks(axis, values):
    """Logarithmic labels that neither collide nor are missing, however short the axis is."""
    values = values[np.isfinite(values) & (values > 0)]
    axis.set_minor_formatter(NullFormatter())
    if len(values) and 0 < (decades := np.ptp(np.log10(values))) < 2:
        axis.set_major_locator(
            LogLocator(
                subs=(1, 2, 5) if decades > 0.8 else (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
            )
        )
        axis.set_major_formatter(FormatStrFormatter("%g"))


def _columns(marks, axis):
    """The marks' places on an axis and their losses, from the first update on: a logarithmic axis has no zero."""
    marks = [mark for mark in marks if mark.updates > 0]
    return (
        np.array([getattr(mark, name) for mark in marks], dtype=float)
        for name in (axis, "loss")
    )


def _learning_curve(ax, state, axis):
    x, loss = _columns(state.curve, axis)
    ax.set(xscale="log", yscale="log", xlabel=AXES[axis], ylabel="loss")
    ax.plot(x, np.fmin.accumulate(loss), color=COLOURS[5], lw=3, label="best so far")
    ax.plot(x, loss, color=COLOURS[0], lw=1, label="every update")
    holds = list(_columns(state.history, axis))
    if 0 < len(holds[0]) <= FEW:
        ax.plot(
            *holds, color=COLOURS[0], ls="", marker="o", ms=4, label="end of a hold"
        )
    _log_ticks(ax.xaxis, x)
    _log_ticks(ax.yaxis, loss)
    ax.legend()


def plot_error(run, path=None, axis="updates", show=False):
    """The training error, and beside it the paths or positions on the training scenarios, over the optimal ones.

    `axis`: against updates, rollouts or seconds. Raises UsageError for another, and for files that cannot be written.
    """
    if axis not in AXES:
        raise UsageError(f"--axis {axis}: known are {', '.join(AXES)}")
    if run.plant.environment:
        return _plot_returns(run, path, axis, show)
    with figure_file(8.4, 3.9, path, show) as figure:
        judged = compare_with_optimum(run)
        left, right = figure.subfigures(1, 2)
        _learning_curve(left.subplots(), run.state, axis)
        paths = Paths(right, judged)
        figure.set_figheight(max(3.9, 0.9 + sum(_heights(paths))))
        _legend(paths.axes[0], paths.colours, _goal(paths))
        figure.suptitle(heading(judged))
    return figure


def _plot_returns(run, path, axis, show):
    """The return of the exploring policy of an environment, which has no paths to show."""
    with figure_file(6.4, 3.9, path, show) as figure:
        ax, marks = figure.subplots(), run.state.curve
        ax.plot(
            [getattr(m, axis) for m in marks],
            [-m.loss for m in marks],
            color=COLOURS[0],
            lw=1,
        )
        ax.set(
            xlabel=AXES[axis].replace("plant", "environment"),
            ylabel="return while exploring",
        )
        figure.suptitle(
            f"{run.plant.environment.id}: return {-run.state.loss:.4g} after {run.state.rollouts} rollouts"
        )
    return figure


def _heights(paths):
    """The relative heights of the axes of `Paths`."""
    return paths.axes[0].get_gridspec().get_height_ratios()


def _legend(ax, colours, *more):
    """Above the axes: the network's lines in some of their colours, the optimal ones, and `more` pairs (handle, words)."""
    some = colours[np.linspace(0, len(colours) - 1, 4).astype(int)]
    pairs = [
        (tuple(Line2D([], [], color=c, lw=1.5) for c in some), "network"),
        (Line2D([], [], color=OPTIMAL, lw=1.5), "optimal"),
        *more,
    ]
    ax.legend(
        *zip(*pairs), handler_map={tuple: HandlerTuple(ndivide=None, pad=0)}, **ABOVE
    )


def _goal(paths):
    """A handle and words for the goals of `Paths`."""
    look = {"marker": "o", "mfc": "white", "ls": ""} if paths.times else {"ls": ":"}
    return Line2D([], [], color="black", **look), "goal"


def _plot_paths(figure, judged):
    paths = Paths(figure, judged)
    figure.set_size_inches(
        6.4 + 0.8 * (not paths.flat), 1.5 + 1.6 * max(2.2, sum(_heights(paths)))
    )
    _legend(paths.axes[0], paths.colours, _goal(paths))
    if not paths.flat:
        _colour_scale(figure, judged, paths.axes)


def _plot_controls(figure, judged):
    plant = judged.run.plant
    time = plant.dt * np.arange(judged.scenario.steps)
    words = [label(*pair) for pair in zip(plant.control, plant.units["control"])]
    _plot_traces(figure, judged, time, judged.rollout.u, judged.optimum.u, words)


def _plot_speed(figure, judged):
    """Speed of the place whose path is drawn, or the norm of the rates of all positions where there is none."""
    plant = judged.run.plant
    paths = [
        places(judged, x, plant.path_indices is not None)
        for x in (judged.rollout.x, judged.optimum.x)
    ]
    if plant.path_indices is None:
        units = {plant.units["state"][i] for i in plant.positions}
        scale, unit, name = (
            1,
            units.pop() if len(units) == 1 else "",
            "norm of the rates",
        )
    else:
        (scale, unit), name = (
            lengths(plant, paths[0]),
            f"{plant.output[plant.path_indices[0]][:-1]}speed",
        )
    speeds = (
        scale * np.linalg.norm(np.diff(path, axis=0), axis=1, keepdims=True) / plant.dt
        for path in paths
    )
    time = plant.dt * (np.arange(judged.scenario.steps) + 0.5)
    _plot_traces(figure, judged, time, *speeds, [label(name, unit and f"{unit}/s")])


def _plot_traces(figure, judged, time, ours, best, words):
    trials = readable(judged)
    colours = colouring(judged)[0][trials]
    figure.set_size_inches(7.2, 1.6 + (2.0 if len(words) <= 4 else 1.4) * len(words))
    axes = figure.subplots(len(words), 1, sharex=True, squeeze=False)[:, 0]
    traces(axes, time, ours[:, :, trials], best[:, :, trials], words, colours)
    figure.align_ylabels(axes)
    _legend(axes[0], colours)
    _colour_scale(figure, judged, axes)


def _colour_scale(figure, judged, axes):
    """What the colours of the trials mean, where there are several."""
    _, words, cyclic = ordering(judged)
    if judged.scenario.trials > 1:
        ticks = QUARTERS if cyclic else MaxNLocator(integer=words == "trial")
        bar = figure.colorbar(
            colouring(judged)[1], ax=list(axes), label=words, aspect=30, ticks=ticks
        )
        bar.outline.set_visible(False)


def _plot_hidden(figure, judged):
    network, activity = judged.run.network, judged.rollout.hidden(judged.run.network)
    picture, layers = activity[:, :, 0], network.layers[:-1]
    most = np.abs(picture).max()
    figure.set_size_inches(2.4 + 3.0 * len(layers), 3.8)
    axes = figure.subplots(1, len(layers), squeeze=False)[0]
    for layer, ax in zip(layers, axes):
        part = picture[:, _units(network, layer)]
        part = part[:, np.argsort(np.abs(part).argmax(axis=0), kind="stable")]
        image = ax.imshow(
            part.T,
            aspect="auto",
            cmap="RdBu_r",
            vmin=-most,
            vmax=most,
            interpolation="nearest",
            extent=(0, len(part) * judged.run.plant.dt, layer.size + 0.5, 0.5),
        )
        ax.set(xlabel="time [s]", title=f"layer {layer.name}")
        ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes[0].set_ylabel("unit, in the order of its peak")
    figure.colorbar(
        image, ax=list(axes), label="activity in trial 1", aspect=40
    ).outline.set_visible(False)


def _units(network, layer):
    """Places of a layer's units among all hidden ones."""
    return slice(
        layer.units.start - network.hidden.start,
        layer.units.stop - network.hidden.start,
    )


def cosine_tuning(angles, activity):
    """Mean, depth and preferred direction [rad] (n,) of activity (n, N) over angles (N,) [deg], by least squares.

    activity = mean + depth cos(angle - preferred), the cosine tuning of Georgopoulos et al. (1982).
    """
    turn = np.radians(angles)
    mean, x, y = np.linalg.lstsq(
        np.column_stack([np.ones_like(turn), np.cos(turn), np.sin(turn)]),
        activity.T,
        rcond=None,
    )[0]
    return mean, np.hypot(x, y), np.arctan2(y, x)


def _plot_tuning(figure, judged):
    """Mean activity of each layer against direction or target, and the preferred directions of all units."""
    network, (values, words, cyclic) = judged.run.network, ordering(judged)
    if words == "trial":
        raise UsageError(
            f"--kind tuning: task {judged.task.name} has no targets or starts, one for each trial, that units "
            "could be tuned to; --kind hidden shows their activity"
        )
    activity, layers = judged.rollout.hidden(network).mean(axis=0), network.layers[:-1]
    columns = len(layers) + cyclic
    figure.set_size_inches(1.0 + 3.4 * columns, 4.4)
    panels = [figure.add_subplot(1, columns, k + 1) for k in range(len(layers))]
    alone = not np.ptp(judged.scenario.x0, axis=1).any()
    for layer, ax in zip(layers, panels):
        _tuning_curves(ax, values, activity[_units(network, layer)], cyclic, alone)
        ax.set_xlabel(words)
        ax.legend(title=f"unit of layer {layer.name}", **ABOVE)
    panels[0].set_ylabel("mean activity over time")
    if cyclic:
        _preferred(
            figure.add_subplot(1, columns, columns, projection="polar"),
            network,
            values,
            activity,
        )


def _tuning_curves(ax, values, activity, cyclic, alone):
    """Activity (n, N) against direction or target, for the units in which it varies most.

    Where more than that differs between the trials, the values are not `alone`, points are drawn about the cosine tuning.
    """
    order, turn = np.argsort(values, kind="stable"), np.arange(361)
    if cyclic:
        ax.set_xticks(QUARTERS)
    for k, unit in enumerate(np.argsort(-activity.std(axis=1), kind="stable")[:TUNED]):
        x, y = values[order], activity[unit, order]
        color, line, words = COLOURS[k], LINES[k % len(LINES)], f"{unit + 1}"
        if not alone:
            ax.plot(x, y, "o^sDvP"[k], color=color, ms=4, alpha=0.8, label=words)
            if cyclic:
                mean, depth, preferred = cosine_tuning(values, activity[unit, None])
                ax.plot(
                    turn,
                    mean + depth * np.cos(np.radians(turn) - preferred),
                    color=color,
                    ls=line,
                )
            continue
        if cyclic:
            x, y = np.append(x, x[0] + 360), np.append(y, y[0])
        ax.plot(x, y, color=color, ls=line, label=words)


def _preferred(ax, network, angles, activity):
    """Preferred direction and depth of the cosine tuning of all units (n, N), in polar axes."""
    for k, layer in enumerate(network.layers[:-1]):
        _, depth, preferred = cosine_tuning(angles, activity[_units(network, layer)])
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
    ax.set_rticks(MaxNLocator(3).tick_values(0, ax.get_rmax())[1:-1])
    ax.legend(title="layer", **{**ABOVE, "bbox_to_anchor": (0.5, 1.1)})


KINDS = {
    "paths": _plot_paths,
    "controls": _plot_controls,
    "hidden": _plot_hidden,
    "speed": _plot_speed,
    "tuning": _plot_tuning,
}
OVER_OPTIMUM = (
    "paths",
    "controls",
    "speed",
)  # kinds that show the optimal movements too


def plot(run, kind="paths", path=None, show=False):
    """One figure of a run on its training scenarios, of the KINDS; movements are drawn over the optimal ones.

    Raises UsageError for other kinds, and for files that cannot be written.
    """
    if kind not in KINDS:
        raise UsageError(f"--kind {kind}: known are {', '.join(KINDS)}")
    with figure_file(7.2, 4.0, path, show) as figure:
        judged = compare_with_optimum(run) if kind in OVER_OPTIMUM else simulated(run)
        KINDS[kind](figure, judged)
        figure.suptitle(heading(judged))
    return figure


def plot_holds(rows, path=None, show=False):
    """Learning curves of several runs, given as pairs (label, history of `CurvePoint`s): against rollouts and seconds."""
    with figure_file(8.4, 4.2, path, show) as figure:
        axes = figure.subplots(1, 2, sharey=True)
        for ax, axis in zip(axes, ("rollouts", "seconds")):
            ax.set(xscale="log", yscale="log", xlabel=AXES[axis])
            for k, (words, history) in enumerate(rows):
                ax.plot(
                    [getattr(mark, axis) for mark in history],
                    [mark.loss for mark in history],
                    color=COLOURS[k % len(COLOURS)],
                    ls=LINES[k % len(LINES)],
                    lw=1.6,
                    label=words,
                )
        axes[0].set_ylabel("loss")
        figure.legend(
            *axes[0].get_legend_handles_labels(),
            loc="outside lower center",
            ncols=min(4, len(rows)),
        )
    return figure
