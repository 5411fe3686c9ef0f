"""Figures of a run: learning curves, hand paths, controls, speeds and hidden activity, as png, pdf or svg.

Every function draws into a figure of its own, saves it where `path` is given, opens a window where `show` is true, and
returns the figure. The same run gives the same file, byte for byte.
"""

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.lines import Line2D
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter

from hfcontrol.canvas import drawing
from hfcontrol.errors import UsageError
from hfcontrol.evaluation import judge, summary

AXES = {"updates": "updates", "rollouts": "rollouts of the plant", "seconds": "time [s]"}
# Okabe and Ito (2008), which the colour-blind tell apart; their yellow is too light for lines on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES, OPTIMAL = ("-", "--", "-.", ":"), "0.72"
# A wheel on which lightness tells apart the hues that the colour-blind confuse.
WHEEL = LinearSegmentedColormap.from_list(
    "directions", ["#56B4E9", "#009E73", "#E69F00", "#D55E00", "#882255", "#0072B2", "#56B4E9"], N=360)
RAMP = LinearSegmentedColormap.from_list("targets", colormaps["viridis"](np.linspace(0, 0.9)))  # without its light yellow
QUARTERS = (0, 90, 180, 270, 360)  # [deg]
ABOVE = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": 3}  # place of a legend
TUNED, FEW = 6, 40  # units in a tuning panel; holds up to which each is marked


def in_plane(plant):
    """Whether hand paths say all: not without a hand, nor with one position, which sends all along the same path."""
    return plant.hand is not None and len(plant.positions) > 1


def shown(judged, x=None):
    """Hand paths (T+1, 2, N) [m] where they say all, else positions, along the rollout or other states x."""
    x = judged.rollout.x if x is None else x
    return judged.paths(x) if in_plane(judged.run.plant) else x[:, judged.run.plant.positions]


def ordering(judged):
    """What tells the trials apart, as (values (N,), words for an axis, whether they go round a circle).

    The direction of the hand's target [deg]; else the first position of target or start, whichever differs between the
    trials; else the number of the trial.
    """
    plant, scenario = judged.run.plant, judged.scenario
    if in_plane(plant):
        line = scenario.goal_output[-1, plant.hand] - judged.paths()[0]
        return np.degrees(np.arctan2(line[1], line[0])).round(9) % 360, "direction of target [deg]", True
    first = plant.positions[0]
    for word, values in (("target", scenario.goal[-1, first]), ("start", scenario.x0[first])):
        if np.ptp(values) > 0:
            return values, f"{word} {_label(plant.state[first], plant.units['state'][first])}", False
    return np.arange(1.0, scenario.trials + 1), "trial", False


def colouring(judged):
    """The colours of the trials (N, 4), and the colour scale they are taken from."""
    values, _, cyclic = ordering(judged)
    ends, colours = ((0, 360), WHEEL) if cyclic else ((values.min(), values.max()), RAMP)
    scale = ScalarMappable(Normalize(*ends), colours)
    return scale.to_rgba(values), scale


def traces(figure, time, ours, best, names, units, colours):
    """Stacked axes of trajectories (T, k, N) against time (T,) [s], optimal ones beneath; the axes and the lines [k][N]."""
    axes, lines, width = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0], [], _width(ours)
    for k, ax in enumerate(axes):
        if best is not None:
            ax.plot(time, best[:, k], color=OPTIMAL, lw=width)
        ax.set_prop_cycle(color=colours)
        lines.append(ax.plot(time, ours[:, k], lw=width))
        ax.set_ylabel(_label(names[k], units[k]))
    axes[-1].set_xlabel("time [s]")
    return axes, lines


def _label(name, unit):
    return name.replace("_", " ") + (f" [{unit}]" if unit else "")


def _width(trajectories):
    return float(np.clip(8 / np.sqrt(trajectories.shape[2]), 0.6, 1.8))


def _legend(ax):
    ax.legend([Line2D([], [], color=c, lw=1.5) for c in ("black", OPTIMAL)], ["network (in colour)", "optimal"], **ABOVE)


class Paths:
    """Hand paths with start and targets, or positions against time, drawn into a figure; `move` replaces them."""

    def __init__(self, figure, judged, trials=slice(None), optimum=True):
        plant, colours = judged.run.plant, colouring(judged)[0][trials]
        ours, best = (shown(judged, x)[:, :, trials] for x in (judged.rollout.x, judged.optimum.x))
        goal = judged.scenario.goal[-1, plant.positions][:, trials]
        self.trials, self.plane, self.scale = trials, in_plane(plant), 1.0
        if self.plane:
            hand = np.where(np.isnan(goal).any(axis=0), np.nan, judged.scenario.goal_output[-1, plant.hand][:, trials])
            self._hand_paths(figure, ours, best if optimum else None, hand, colours)
        else:
            time, words = plant.dt * np.arange(len(ours)), np.array([plant.state, plant.units["state"]])[:, plant.positions]
            self.axes, self.lines = traces(figure, time, ours, best if optimum else None, *words, colours)
            for ax, values in zip(self.axes, goal):
                ends = np.full(len(values), time[-1])
                ax.scatter(ends, values, s=20 * _width(ours), c="white", edgecolors=colours, clip_on=False, zorder=3)

    def _hand_paths(self, figure, ours, best, goal, colours):
        ax, width = figure.subplots(), _width(ours)
        self.scale, unit = (100, "cm") if np.ptp(ours, axis=(0, 2)).max() < 1 else (1, "m")
        if best is not None:
            ax.plot(*self.scale * best.transpose(1, 0, 2), color=OPTIMAL, lw=1.5 * width)
        ax.set_prop_cycle(color=colours)
        self.axes, self.lines = [ax], [ax.plot(*self.scale * ours.transpose(1, 0, 2), lw=width)]
        ax.scatter(*self.scale * goal, s=20 * width, c="white", edgecolors=colours, zorder=3)
        ax.scatter(*self.scale * ours[0], s=20 * width, c="black", zorder=3)
        ax.set(xlabel=f"hand x [{unit}]", ylabel=f"hand y [{unit}]", aspect="equal")
        ax.locator_params(nbins=6)

    def move(self, data):
        """Draws other trajectories (T+1, k, N), those of all trials, in place of the present ones; NaN is not drawn."""
        data = self.scale * data[:, :, self.trials]
        for k, lines in enumerate(self.lines):
            for n, line in enumerate(lines):
                line.set_data(*data[:, :, n].T) if self.plane else line.set_ydata(data[:, k, n])


def heading(judged):
    """A title: plant, task, loss, and its ratio to the optimal loss where there is one."""
    numbers, run = summary(judged), judged.run
    ratio = "" if numbers["ratio"] is None else f", {numbers['ratio']:.3f} × optimal"
    return f"{run.plant.name}, {run.trainer.task.name}: loss {numbers['loss']:.2g}{ratio}"


def _log_ticks(axis, values):
    """Logarithmic labels that neither collide nor are missing, however short the axis is."""
    values = values[np.isfinite(values) & (values > 0)]
    axis.set_minor_formatter(NullFormatter())
    if len(values) and 0 < (decades := np.ptp(np.log10(values))) < 2:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades > 0.8 else (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8)))
        axis.set_major_formatter(FormatStrFormatter("%g"))


def _columns(marks, axis):
    """The marks' places on an axis and their losses, from the first update on: a logarithmic axis has no zero."""
    marks = [mark for mark in marks if mark.updates > 0]
    return (np.array([getattr(mark, name) for mark in marks], dtype=float) for name in (axis, "loss"))


def _learning_curve(ax, state, axis):
    x, loss = _columns(state.curve, axis)
    ax.set(xscale="log", yscale="log", xlabel=AXES[axis], ylabel="loss")
    ax.plot(x, np.fmin.accumulate(loss), color=COLOURS[5], lw=3, label="best so far")
    ax.plot(x, loss, color=COLOURS[0], lw=1, label="every update")
    if len(state.history) <= FEW:
        ax.plot(*_columns(state.history, axis), color=COLOURS[0], ls="", marker="o", ms=4, label="end of a hold")
    _log_ticks(ax.xaxis, x)
    _log_ticks(ax.yaxis, loss)
    ax.legend()


def plot_error(run, path=None, axis="updates", show=False):
    """The training error, and beside it the hand paths of the training scenarios over the optimal ones.

    `axis`: against updates, rollouts or seconds. Raises UsageError for another, and for files that cannot be written.
    """
    if axis not in AXES:
        raise UsageError(f"--axis {axis}: known are {', '.join(AXES)}")
    with drawing(8.4, 3.9, path, show) as figure:
        judged = judge(run)
        left, right = figure.subfigures(1, 2)
        _learning_curve(left.subplots(), run.state, axis)
        _legend(Paths(right, judged).axes[0])
        figure.suptitle(heading(judged))
    return figure


def _plot_paths(figure, judged):
    axes = Paths(figure, judged).axes
    figure.set_size_inches(6.4, 3.4 + 2.2 * len(axes))
    _legend(axes[0])


def _plot_controls(figure, judged):
    plant = judged.run.plant
    time = plant.dt * np.arange(judged.scenario.steps)
    _plot_traces(figure, judged, time, judged.rollout.u, judged.optimum.u, plant.control, plant.units["control"])


def _plot_speed(figure, judged):
    plant = judged.run.plant
    if plant.hand is None:
        raise UsageError(f"--kind speed: plant {plant.name} has no hand; --kind paths shows its positions")
    speeds = (100 * np.linalg.norm(np.diff(judged.paths(x), axis=0), axis=1, keepdims=True) / plant.dt
              for x in (judged.rollout.x, judged.optimum.x))
    _plot_traces(figure, judged, plant.dt * (np.arange(judged.scenario.steps) + 0.5), *speeds, ["hand speed"], ["cm/s"])


def _plot_traces(figure, judged, time, ours, best, names, units):
    (_, words, cyclic), (colours, scale) = ordering(judged), colouring(judged)
    axes, _ = traces(figure, time, ours, best, names, units, colours)
    figure.set_size_inches(7.2, 1.6 + 2.0 * len(names))
    _legend(axes[0])
    ticks = QUARTERS if cyclic else None
    figure.colorbar(scale, ax=list(axes), label=words, aspect=30, ticks=ticks).outline.set_visible(False)


def _plot_hidden(figure, judged):
    network, activity = judged.run.network, judged.rollout.hidden(judged.run.network)
    picture, layers = activity[:, :, 0], network.layers[:-1]
    most = np.abs(picture).max()
    figure.set_size_inches(3.6 + 2.6 * len(layers), 3.8)
    *axes, last = figure.subplots(1, len(layers) + 1, width_ratios=[1] * len(layers) + [1.5])
    for layer, ax in zip(layers, axes):
        part = picture[:, layer.rows.start - network.hidden.start:layer.rows.stop - network.hidden.start]
        part = part[:, np.argsort(np.abs(part).argmax(axis=0), kind="stable")]
        image = ax.imshow(part.T, aspect="auto", cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest",
                          extent=(0, len(part) * judged.run.plant.dt, layer.size + 0.5, 0.5))
        ax.set(xlabel="time [s]", title=f"layer {layer.name}")
        ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes[0].set_ylabel("unit, in the order of its peak")
    figure.colorbar(image, ax=axes, label="activity in trial 1", aspect=40).outline.set_visible(False)
    _tuning(last, judged, activity.mean(axis=0), [f"{layer.name}, {k + 1}" for layer in layers for k in range(layer.size)])


def _tuning(ax, judged, activity, names):
    """Mean activity (n_hidden, N) against direction, for the units in which it varies most."""
    values, words, cyclic = ordering(judged)
    order = np.argsort(values, kind="stable")
    for k, unit in enumerate(np.argsort(-activity.std(axis=1), kind="stable")[:TUNED]):
        x, y = values[order], activity[unit, order]
        if cyclic:
            x, y = np.append(x, x[0] + 360), np.append(y, y[0])
        ax.plot(x, y, color=COLOURS[k], ls=LINES[k % len(LINES)], label=names[unit])
    ax.set(xlabel=words, ylabel="mean activity over time", **({"xticks": QUARTERS} if cyclic else {}))
    ax.legend(title="layer, unit", **ABOVE)


KINDS = {"paths": _plot_paths, "controls": _plot_controls, "hidden": _plot_hidden, "speed": _plot_speed}


def plot(run, kind="paths", path=None, show=False):
    """One figure of a run on its training scenarios, over the optimum: paths, controls, hidden or speed.

    Raises UsageError for other kinds, and for files that cannot be written.
    """
    if kind not in KINDS:
        raise UsageError(f"--kind {kind}: known are {', '.join(KINDS)}")
    with drawing(7.2, 4.0, path, show) as figure:
        judged = judge(run)
        KINDS[kind](figure, judged)
        figure.suptitle(heading(judged))
    return figure


def plot_holds(rows, path=None, show=False):
    """Learning curves of several runs, given as pairs (label, history of `Mark`s): against rollouts and seconds."""
    with drawing(8.4, 4.2, path, show) as figure:
        axes = figure.subplots(1, 2, sharey=True)
        for ax, axis in zip(axes, ("rollouts", "seconds")):
            ax.set(xscale="log", yscale="log", xlabel=AXES[axis])
            for k, (words, history) in enumerate(rows):
                ax.plot([getattr(mark, axis) for mark in history], [mark.loss for mark in history],
                        color=COLOURS[k % len(COLOURS)], ls=LINES[k % len(LINES)], lw=1.6, label=words)
        axes[0].set_ylabel("loss")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(4, len(rows)))
    return figure
