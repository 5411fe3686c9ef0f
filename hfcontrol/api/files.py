"""Simulate, plot, animate and export runs from Python."""

from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeAlias

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hfcontrol.deploy.export import default_path, export_run
from hfcontrol.errors import UsageError
from hfcontrol.evaluation.trajectories import write_trajectories
from hfcontrol.figures import movies
from hfcontrol.figures.movies import Movie
from hfcontrol.figures.plots import KINDS, plot_error, plot_loss, plot_runs
from hfcontrol.runs.run import Run
from hfcontrol.runs.trajectories import Trajectories

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from hfcontrol.runs.settings import ConditionKeywords

AnyRun: TypeAlias = Run | Path | str


def simulate(
    run: AnyRun | None = None,
    split: str = "training",
    trials: int | None = None,
    out: Path | str | None = None,
    **conditions: "Unpack[ConditionKeywords]",
) -> Trajectories:
    """Return what a controller does in every trial, and write it to a file if asked.

        hf.simulate(run, "held_out", trials=8, feedback_delay="40ms").states

    run: a run, its path, or None for the newest.
    split: "training" or "held_out" scenarios.
    trials: their number, default the training's.
    out: an npz or csv to write.
    conditions: settings of the test that differ from those of the training.

    Raises UsageError for another split or ending, and for settings that do not fit.
    """
    loaded = Run.load(run)
    if out is None:
        return loaded.rollout(split, None, trials, **conditions)
    settings = loaded.settings.changed(**conditions)
    return write_trajectories(loaded, out, split, settings, trials)


def plot(
    run: AnyRun | Sequence[AnyRun] | None = None,
    kind: str = "error",
    *,
    axis: str = "updates",
    trial: int | None = None,
    axes: Axes | Iterable[Axes] | None = None,
    out: Path | str | None = None,
    show: bool = False,
) -> Figure:
    """Return a figure of a run, or of several runs in the same axes.

        hf.plot(run, "states", out="states.png")
        hf.plot([first, second], "loss", axis="rollouts", axes=ax)

    run: a run, its path, a list of them, or None for the newest.
    kind: "error", the learning curve next to the movements; "loss", the learning curve
        alone; or paths, states, phase, controls, speed, hidden or tuning.
    axis: of learning curves: updates, rollouts or seconds.
    trial: the only trial to draw, from 1.
    axes: axes of matplotlib to draw into, as many as the figure has panels. Their
        figure is returned.
    out: a png, pdf or svg to write.
    show: also open a window.

    Raises UsageError for another kind, axes that do not fit, or a file that cannot be
    written.
    """
    listed: Any = run if isinstance(run, (list, tuple)) else [run]
    runs = [Run.load(one) for one in listed]
    if not runs:
        raise UsageError("`run`: the list of runs is empty; name at least one")
    if kind not in ("error", "loss", *KINDS):
        kinds = ", ".join(("error", "loss", *KINDS))
        raise UsageError(f"`kind` {kind}: use one of {kinds}")
    if kind == "loss" or (kind == "error" and len(runs) > 1):
        if trial is not None:
            raise UsageError(f"`trial` {trial}: a learning curve has no trials")
        return plot_loss(runs, out, axis, show, axes)
    if kind != "error":
        return plot_runs(runs, kind, out, show, trial, axes)
    if axes is not None or trial is not None:
        name = "trial" if axes is None else "axes"
        raise UsageError(
            f"`{name}` with `kind=error`: it has panels of its own; use `kind=loss`, "
            "and `kind=paths` or `kind=states`"
        )
    return plot_error(runs[0], out, axis, show)


def animate(
    run: AnyRun | None = None,
    out: Path | str | None = None,
    *,
    targets: int | None = None,
    training: bool = False,
) -> Movie:
    """Return a movie of a run, which a notebook shows, and write it to a file if asked.

    run: a run, its path, or None for the newest.
    out: a gif, an html or, with ffmpeg, an mp4 to write.
    targets: number of targets to move to; default 8, or fewer if movements are long.
    training: show the paths across the checkpoints in place of the plant.

    Raises UsageError if the file cannot be written.
    """
    return movies.animate(Run.load(run), out, targets, training)


def export(
    run: AnyRun | None = None,
    out: Path | str | None = None,
    *,
    bare: bool = False,
    float32: bool = False,
) -> Path:
    """Write a controller for other programs, and return the path of the file.

    run: a run, its path, or None for the newest.
    out: a c, npz or onnx, by its ending; default a c next to the run, named after it.
    bare: write it without the delays or noise that it was trained with.
    float32: an ONNX graph in single precision.

    Raises UsageError for another ending, for a controller that was trained with delays
    or noise unless `bare`, and if the file cannot be written.
    """
    if not isinstance(out, (str, PathLike, NoneType)):
        raise UsageError(f"`out` {out!r}: must be the path of a file")
    loaded = Run.load(run)
    path = default_path(loaded) if out is None else Path(out)
    return export_run(loaded, path, bare, float32)
