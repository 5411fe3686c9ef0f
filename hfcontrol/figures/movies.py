"""Movies of a run: movements of the plant, or all paths while the network learns."""

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from hfcontrol.arrays.files import atomic_write
from hfcontrol.errors import UsageError
from hfcontrol.evaluation.evaluation import compare_with_optimum
from hfcontrol.figures.coordinates import (
    drawn_coordinates,
    goal_coordinates,
    problem_title,
    select_evenly,
    simulate_training,
)
from hfcontrol.figures.drawing import Paths
from hfcontrol.figures.movie_files import WRITERS, Progress, render_frames
from hfcontrol.figures.output import project_style
from hfcontrol.figures.scenes import DPI, Scene, make_trial_scene
from hfcontrol.runs.run import Run

# Least time between frames of a trial, and pause at its end [s].
FRAME_SECONDS = 0.04
PAUSE = 0.4

# Most frames of one trial.
MOST_FRAMES = 150

# Most trials of a movie if `targets` is None, and their longest duration together [s].
MOST_TARGETS = 8
LONG_MOVIE = 24.0


class CheckpointPace(NamedTuple):
    """How long checkpoints are shown [s]: all together, one of them, the last one."""

    total: float
    shortest: float
    longest: float
    last: float


PACE = CheckpointPace(total=6.0, shortest=0.05, longest=0.5, last=2.0)
MOST_CHECKPOINTS = 120


def movement_scene(run: Run, targets: int | None = None) -> Scene:
    """Return the scene of one trial after another, at the plant's own pace.

    The trials are evenly spaced over targets or starts. `targets` is their number; by
    default it is MOST_TARGETS, or fewer if these take longer than LONG_MOVIE.
    """
    comparison = simulate_training(run)
    plant, last = run.plant, comparison.scenario.steps
    if targets is None:
        targets = int(np.clip(LONG_MOVIE / (plant.dt * last), 2, MOST_TARGETS))
    trials = select_evenly(comparison, targets)
    stage = make_trial_scene(comparison, trials)

    # Every stride-th step is a frame, and the last one.
    stride = max(1, round(FRAME_SECONDS / plant.dt), -(-last // MOST_FRAMES))
    steps = sorted({*range(0, last, stride), last})
    goals = goal_coordinates(comparison)
    has_targets = np.nan_to_num(np.ptp(goals, axis=2)).any()
    word = "target" if has_targets else "trial"
    name = problem_title(plant, comparison.task)
    title = stage.figure.suptitle(" ")

    def draw(k: int) -> None:
        n, frame = divmod(k, len(steps))
        step = steps[frame]
        stage.draw(n, step)
        seconds = plant.dt * step
        title.set_text(f"{name}: {word} {n + 1} of {len(trials)}, {seconds:.2f} s")

    durations = [*(plant.dt * np.diff(steps)), PAUSE]
    return Scene(stage.figure, draw, durations * len(trials))


def training_scene(run: Run) -> Scene:
    """Return the scene of all trials, over the optimum, at each checkpoint.

    It ends at the run's own checkpoint. Of many checkpoints it shows MOST_CHECKPOINTS.
    """
    comparison = compare_with_optimum(run)
    updates = run.state.updates
    files = [file for file in run.folder.checkpoints() if file.updates <= updates]
    shown = np.unique(np.linspace(0, len(files) - 1, MOST_CHECKPOINTS).astype(int))
    files = [files[i] for i in shown]
    data = []
    for file in files:
        rollout = comparison.loop.rollout(Run.load(file.path).theta)
        data.append(drawn_coordinates(comparison, rollout.x))

    figure = Figure(figsize=(5.6, 5.2), dpi=DPI, layout="constrained")
    paths = Paths(figure, comparison)
    for ax in paths.axes:
        # Room for the paths of the first checkpoints, which go far.
        in_plane = paths.n_plane and ax is paths.axes[0]
        ax.margins(x=0.25 if in_plane else 0.05, y=0.25)
    name = problem_title(run.plant, comparison.task)
    title = figure.suptitle(" ")

    def draw(k: int) -> None:
        paths.set_trajectories(data[k][:, :, paths.trials])
        file = files[k]
        title.set_text(f"{name}: {file.updates} updates, loss {file.loss:.1e}")

    seconds = float(np.clip(PACE.total / len(files), PACE.shortest, PACE.longest))
    return Scene(figure, draw, [seconds] * (len(files) - 1) + [PACE.last])


@np.errstate(all="ignore")
def animate(
    run: Run,
    path: Path | str,
    targets: int | None = None,
    training: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write a movie of a run to `path`; its suffix decides the format: gif, mp4, html.

    It shows movements to `targets` targets on the training scenarios (see
    `movement_scene`) or, with `training`, the paths of all trials across the
    checkpoints. `progress(done, total)` is called after each frame. A movie that is
    interrupted leaves no file.

    Raises UsageError if the file cannot be written.
    """
    if targets is not None and targets < 1:
        raise UsageError(f"`targets` {targets}: at least 1 is needed")
    with project_style(), atomic_write(path, WRITERS) as temporary:
        suffix = temporary.suffix
        if suffix == ".mp4" and not shutil.which("ffmpeg"):
            raise UsageError(
                f"{path}: mp4 needs ffmpeg, which is not installed; install it, or use "
                ".gif or .html"
            )
        scene = training_scene(run) if training else movement_scene(run, targets)
        frames = render_frames(scene, progress)
        WRITERS[suffix](temporary, frames, scene.durations)
