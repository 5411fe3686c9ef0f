"""The figures of the blog post, drawn from our trainings on the same axes.

The axes are those of the scripts next to the post (train_AHF/plot_error.py): the
training error over training iterations of 32 updates, both logarithmic, and the hand's
paths in metres with crosses at start and targets.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import hfcontrol as hf
from hfcontrol.arrays.files import atomic_write
from hfcontrol.arrays.types import Array
from hfcontrol.evaluation.evaluation import Comparison, compare_with_optimum
from hfcontrol.figures.movie_files import WRITERS
from hfcontrol.figures.movies import animate
from hfcontrol.figures.output import figure_file, project_style
from hfcontrol.figures.scenes import DPI, Scene

# What the post reports: the iterations, the updates of each, and the last error.
ITERATIONS = 13405
UPDATES = 32
ERROR = 5e-5
ERROR_RANGE = (1e-5, 10.0)

Trained = tuple[hf.Run, Comparison]


def draw_paths(ax: Axes, comparison: Comparison) -> None:
    """Draw the paths of the hand [m], with crosses at start and targets."""
    paths = comparison.paths()
    assert paths is not None
    goal = comparison.scenario.goal_output[-1, comparison.loop.plant.hand]
    ax.plot(paths[:, 0], paths[:, 1], lw=0.8)
    ax.plot(*goal, "x", color="tab:red", ms=4, mew=1)
    ax.plot(*paths[0, :, 0], "x", color="tab:blue", ms=10, mew=3)
    ax.set(xlabel="x [m]", ylabel="y [m]", aspect="equal")


def learning_curve(run: hf.Run) -> tuple[Array, Array]:
    """Return the iterations of the post and the error, at every update."""
    curve = [point for point in run.state.curve if point.updates > 0]
    iterations = np.array([point.updates for point in curve]) / UPDATES
    return iterations, np.array([point.loss for point in curve])


def set_error_axes(ax: Axes) -> None:
    """Set the post's axes of the training error, and mark where the post ended."""
    ax.axhline(ERROR, color="red", ls="--", lw=1)
    ax.plot(ITERATIONS, ERROR, "k*", ms=12, label="the post's last error")
    ax.set(
        xscale="log",
        yscale="log",
        xlim=(0.8 / UPDATES, 1.5 * ITERATIONS),
        ylim=ERROR_RANGE,
        xlabel=f"training iterations ({UPDATES} updates each)",
        ylabel="error",
        title="training error",
    )


def draw_error(trained: Sequence[Trained], path: Path) -> None:
    """Draw the post's figure: the training error and the paths of all reaches."""
    with figure_file(10, 3.6, path) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(2, 1))
        for run, _ in trained:
            label = f"hfcontrol, seed {run.settings.seed}"
            left.plot(*learning_curve(run), label=label)
        set_error_axes(left)
        left.legend()
        draw_paths(right, trained[0][1])
        right.set_title("hand trajectories")


def training_scene(run: hf.Run) -> Scene:
    """Return the scene of the post's figure while the network learns.

    It has a frame for each checkpoint.
    """
    figure = Figure(figsize=(8, 3), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    files = run.folder.checkpoints()
    iterations, losses = learning_curve(run)
    (line,) = left.plot([], [])
    set_error_axes(left)
    comparison = compare_with_optimum(run)
    draw_paths(right, comparison)
    right.autoscale(False)

    def draw(k: int) -> None:
        count = files[k].updates
        # Not every update has a point: holds on a linear model have one at their end.
        seen = iterations <= count / UPDATES
        line.set_data(iterations[seen], losses[seen])
        rollout = comparison.loop.rollout(hf.Run.load(files[k].path).theta)
        right.clear()
        draw_paths(right, replace(comparison, rollout=rollout))
        right.set_title(f"{count} updates")
        # The paths of the first updates leave this region, as in the post.
        goal = comparison.scenario.goal_output[-1, comparison.loop.plant.hand]
        right.set(xlim=around(goal[0]), ylim=around(goal[1]))

    return Scene(figure, draw, [0.25] * (len(files) - 1) + [3.0])


def around(values: Array) -> tuple[float, float]:
    """Return limits of an axis that show these values with some room."""
    room = 0.3 * np.ptp(values)
    return float(values.min() - room), float(values.max() + room)


def draw_arms(panels: Sequence[tuple[str, Comparison]], path: Path) -> None:
    """Draw the paths of the second arm's reaches, with a panel for each cost."""
    with figure_file(2.7 * len(panels), 3.0, path) as figure:
        axes = figure.subplots(1, len(panels))
        for ax, (title, comparison) in zip(np.atleast_1d(axes), panels, strict=True):
            draw_paths(ax, comparison)
            ax.set_title(title)
            ax.locator_params(nbins=4)
            ax.set_ylabel("y [m]" if title == panels[0][0] else "")


def make_movies(run: hf.Run, folder: Path, targets: int) -> None:
    """Make the post's movies: its figure during the training, and the arm reaching."""
    path = folder / "post-training.gif"
    with project_style(), atomic_write(path, WRITERS) as temporary:
        scene = training_scene(run)
        WRITERS[".gif"](temporary, scene, None)
    animate(run, folder / "post-arm.gif", targets=targets)
