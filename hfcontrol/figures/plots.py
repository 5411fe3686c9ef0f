"""Figures of a run: learning curves, paths, states, controls and hidden activity.

Every function draws a new figure, saves it if `path` is given, opens a window if `show`
is true, and returns the figure. The same run gives the same file, byte for byte.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from hfcontrol.errors import HFControlWarning, PlantError, UsageError
from hfcontrol.evaluation.evaluation import Comparison, compare_with_optimum, summarise
from hfcontrol.figures.activity import plot_hidden, plot_tuning
from hfcontrol.figures.canvas import COLOURS, Canvas
from hfcontrol.figures.coordinates import (
    get_optimum,
    has_task_in_plane,
    problem_title,
    simulate_training,
)
from hfcontrol.figures.drawing import Paths
from hfcontrol.figures.learning import (
    AXES,
    overlay_learning_curves,
    plot_learning_curve,
)
from hfcontrol.figures.output import figure_file
from hfcontrol.figures.traces import (
    add_path_legend,
    draw_planes,
    phase_pairs,
    plot_controls,
    plot_movement,
    plot_phase,
    plot_speed,
    plot_states,
)
from hfcontrol.policy_gradient.samplers import Episodes
from hfcontrol.runs.run import Run
from hfcontrol.tasks.success import describe_success
from hfcontrol.texts import plain_label

# Below this ratio a controller is nearly optimal, and one wonders why trials fail.
NEAR_OPTIMAL = 1.1

# States next to a learning curve.
FEW_STATES = 5


def figure_title(comparison: Comparison) -> str:
    """Return plant, task and loss, and the ratio to the optimal loss if it is known.

    There is no ratio if the optimal loss is zero. If a controller is nearly optimal and
    still fails trials, the criterion of success is on a second line.
    """
    plant = comparison.run.plant
    loss = np.mean(comparison.rollout.losses)
    title = f"{problem_title(plant, comparison.task)}: loss {loss:.2g}"
    if not comparison.optimum:
        return title
    numbers = summarise(comparison)
    ratio, success = numbers["ratio"], numbers["success"]
    if not ratio:
        return title
    title += f", {ratio:#.4g} × optimal"
    if ratio < NEAR_OPTIMAL and success < 1:
        criterion = plain_label(describe_success(comparison.task))
        title += f"\nsuccess {100 * success:.0f} %: {criterion}"
    return title


def _check_axis(axis: str) -> None:
    """Raise UsageError for an axis of learning curves that there is not."""
    if axis not in AXES:
        raise UsageError(f"`axis` {axis}: use one of {', '.join(AXES)}")


@np.errstate(all="ignore")
def plot_error(
    run: Run, path: Path | str | None = None, axis: str = "updates", show: bool = False
) -> Figure:
    """Plot the training error, and next to it the movements over the optimal ones.

    `axis` is updates, rollouts or seconds. Movements are paths in the plane or, for a
    plant without a place there, its states against time and a phase plane. Without the
    plant, there are no movements, and a warning says why. Raises UsageError for another
    axis, or if the file cannot be written.
    """
    _check_axis(axis)
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
        in_plane = has_task_in_plane(comparison)
        panels: Any = figure.subfigures(1, 2 if in_plane else 3)
        _plot_curve(panels[0].subplots(), run, axis, comparison)
        if in_plane:
            canvas = Canvas(panels[1])
            paths = Paths(canvas, comparison)
            figure.set_figheight(max(3.9, 0.9 + paths.height))
            add_path_legend(canvas, paths)
        else:
            _plot_states_and_plane(figure, panels, comparison)
        figure.suptitle(figure_title(comparison))
    return figure


def _plot_states_and_plane(
    figure: Figure, panels: Sequence[FigureBase], comparison: Comparison
) -> None:
    """Plot states against time into the second panel, a phase plane into the third."""
    plant = comparison.run.plant
    count = min(plant.n_body, FEW_STATES)
    figure.set_size_inches(12.0, max(3.9, 1.2 + 1.2 * count))
    states = Canvas(panels[1])
    axes = states.make_axes(count, sharex=True)
    plot_states(Canvas(panels[1], axes), comparison, FEW_STATES)
    # The most interesting pair comes last: a pole is balanced by the cart before it.
    pairs = phase_pairs(plant)[-2:]
    if pairs:
        plane = Canvas(panels[2])
        draw_planes(plane, comparison, plane.make_axes(len(pairs)), pairs)


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
        plot_learning_curve(figure.subplots(), run.state, axis)
        title = plain_label(f"{run.tree['plant']['name']}, {run.task_name}")
        figure.suptitle(f"{title}: loss {run.state.loss:.2g}")
    return figure


KINDS: dict[str, Callable[[Canvas, Comparison], None]] = {
    "paths": plot_movement,
    "states": plot_states,
    "phase": plot_phase,
    "controls": plot_controls,
    "hidden": plot_hidden,
    "speed": plot_speed,
    "tuning": plot_tuning,
}

# Kinds that show the optimal movements too, and those of a single run.
WITH_OPTIMUM = ("paths", "states", "phase", "controls", "speed")
OF_ONE_RUN = ("hidden", "tuning")


@np.errstate(all="ignore")
def plot(
    run: Run,
    kind: str = "paths",
    path: Path | str | None = None,
    show: bool = False,
    trial: int | None = None,
    axes: Axes | Iterable[Axes] | None = None,
) -> Figure:
    """Plot one of KINDS for the training scenarios; movements lie over optimal ones.

    trial: the only trial to draw, from 1; of hidden activity the first by default.
    axes: axes to draw into, in place of a new figure.

    Raises UsageError for another kind, or if the file cannot be written.
    """
    return plot_runs([run], kind, path, show, trial, axes)


def plot_runs(
    runs: Sequence[Run],
    kind: str = "paths",
    path: Path | str | None = None,
    show: bool = False,
    trial: int | None = None,
    axes: Axes | Iterable[Axes] | None = None,
) -> Figure:
    """Plot one of KINDS for several runs, in the same axes and a colour for each.

    The arguments are those of `plot`; optimal movements are those of the first run.
    Raises UsageError for runs of different plants, and for kinds of one run alone.
    """
    _check_kind(kind, runs, trial)
    with figure_file(7.2, 4.0, path, show, axes) as figure:
        canvas = Canvas(figure, axes, trial)
        for k, run in enumerate(runs):
            shows_optimum = kind in WITH_OPTIMUM and k == 0
            find = compare_with_optimum if shows_optimum else simulate_training
            comparison = find(run)
            canvas.begin_run(None if len(runs) == 1 else COLOURS[k % len(COLOURS)])
            KINDS[kind](canvas, comparison)
            if canvas.given is None and len(runs) == 1:
                figure.suptitle(figure_title(comparison))
        if len(runs) > 1:
            canvas.add_run_legend(run_names(runs))
            if canvas.given is None:
                title = problem_title(comparison.run.plant, comparison.task)
                figure.suptitle(title)
    return figure


@np.errstate(all="ignore")
def plot_loss(
    runs: Sequence[Run],
    path: Path | str | None = None,
    axis: str = "updates",
    show: bool = False,
    axes: Axes | Iterable[Axes] | None = None,
    optimum: bool = True,
) -> Figure:
    """Plot the learning curve of a run, or of several in the same axes.

    optimum: whether that of a single run shows the optimal loss, which takes a search;
        an environment has none.

    Raises UsageError for another axis, or if the file cannot be written.
    """
    _check_axis(axis)
    with figure_file(6.4, 3.9, path, show, axes) as figure:
        canvas = Canvas(figure, axes)
        if len(runs) > 1:
            overlay_learning_curves(canvas, runs, run_names(runs), axis)
            return figure
        (run,) = runs
        (ax,) = canvas.make_axes(1)
        has_optimum = optimum and run.task_name != Episodes.name
        _plot_curve(ax, run, axis, compare_with_optimum(run) if has_optimum else None)
    return figure


def _plot_curve(ax: Axes, run: Run, axis: str, comparison: Comparison | None) -> None:
    """Plot the learning curve of a run, with the optimal loss if it is known."""
    if comparison is None:
        plot_learning_curve(ax, run.state, axis)
        return
    optimal = float(np.mean(get_optimum(comparison).losses))
    # A training on random trials has seen others, and its losses may be lower.
    label = "optimum of these trials" if comparison.task.draws else "optimum"
    plot_learning_curve(ax, run.state, axis, optimal, label)


def run_names(runs: Sequence[Run]) -> list[str]:
    """Return the names of runs for a legend."""
    return [plain_label(run.path.resolve().name) for run in runs]


def _check_kind(kind: str, runs: Sequence[Run], trial: int | None) -> None:
    """Raise UsageError for a kind that there is not, or that does not fit."""
    if kind not in KINDS:
        raise UsageError(f"`kind` {kind}: use one of {', '.join(KINDS)}")
    if kind == "tuning" and trial is not None:
        raise UsageError(
            f"`trial` {trial}: `kind=tuning` is about all trials; leave `trial` out"
        )
    if len(runs) == 1:
        return
    if kind in OF_ONE_RUN:
        raise UsageError(
            f"`kind` {kind}: shows a single run, but {len(runs)} were named; draw "
            "them one by one"
        )
    names = {(run.plant.state, run.plant.control) for run in runs}
    if len(names) > 1:
        raise UsageError(
            f"`kind` {kind}: the runs are of plants with other states or controls; "
            "draw runs of one plant"
        )
