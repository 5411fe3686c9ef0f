"""Movies of a run: movements of the plant, or all paths while the network learns."""

import base64
import shutil
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from hfcontrol.arrays.files import atomic_write
from hfcontrol.errors import UsageError
from hfcontrol.evaluation.evaluation import compare_with_optimum
from hfcontrol.figures.canvas import Canvas
from hfcontrol.figures.coordinates import (
    drawn_coordinates,
    goal_coordinates,
    problem_title,
    select_evenly,
    simulate_training,
)
from hfcontrol.figures.drawing import Paths
from hfcontrol.figures.movie_files import WRITERS, Progress, gif_bytes
from hfcontrol.figures.output import project_style
from hfcontrol.figures.scenes import DPI, Scene, make_trial_scene
from hfcontrol.runs.run import Run

# Least time between frames of a trial, and pause at its end [s].
FRAME_SECONDS = 0.04
PAUSE = 0.4

# Most frames of one trial.
MOST_FRAMES = 150

# Most trials of a movie if `targets` is None, and the longest duration of a movie [s].
# Slow plants are shown faster than they are.
MOST_TARGETS = 8
LONG_MOVIE = 10.0

# From each of these times on [s], times are shown in a larger unit.
UNITS = ((172_800.0, 86_400.0, "d"), (7_200.0, 3_600.0, "h"), (300.0, 60.0, "min"))


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
    default it is MOST_TARGETS, or fewer if these take longer than LONG_MOVIE. If they
    still do, the scene is as much faster than the plant, and says so.
    """
    comparison = simulate_training(run)
    plant, last = run.plant, comparison.scenario.steps
    seconds = plant.dt * last
    if targets is None:
        targets = int(np.clip(LONG_MOVIE / (seconds + PAUSE), 2, MOST_TARGETS))
    trials = select_evenly(comparison, targets)
    stage = make_trial_scene(comparison, trials)
    # Of many trials, the pauses alone may take longer.
    pause = min(PAUSE, 0.5 * LONG_MOVIE / len(trials))
    speed = max(1.0, len(trials) * seconds / (LONG_MOVIE - len(trials) * pause))

    # Every stride-th step is a frame, and the last one.
    frame_seconds = FRAME_SECONDS * speed
    stride = max(1, round(frame_seconds / plant.dt), -(-last // MOST_FRAMES))
    steps = sorted({*range(0, last, stride), last})
    goals = goal_coordinates(comparison)
    has_targets = np.nan_to_num(np.ptp(goals, axis=2)).any()
    word = "target" if has_targets else "trial"
    name = problem_title(plant, comparison.task)
    pace = f", {speed:.3g} × as fast" if speed > 1.01 else ""
    title = stage.figure.suptitle(" ")

    def draw(k: int) -> None:
        n, frame = divmod(k, len(steps))
        step = steps[frame]
        stage.draw(n, step)
        now = _format_time(plant.dt * step, seconds)
        title.set_text(f"{name}: {word} {n + 1} of {len(trials)}, {now}{pace}")

    durations = [*(plant.dt * np.diff(steps) / speed), pause]
    return Scene(stage.figure, draw, durations * len(trials))


def _format_time(seconds: float, longest: float) -> str:
    """Return a time in the unit that suits the longest one [s]."""
    for least, size, unit in UNITS:
        if longest >= least:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.2f} s"


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
    paths = Paths(Canvas(figure), comparison)
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


@dataclass(frozen=True, repr=False)
class Movie:
    """A movie of a run: its scene, and the file that it was written to, if any."""

    scene: Scene
    path: Path | None = None

    def __repr__(self) -> str:
        frames, seconds = len(self.scene.durations), sum(self.scene.durations)
        where = "" if self.path is None else f", {str(self.path)!r}"
        return f"Movie({frames} frames, {seconds:.1f} s{where})"

    def to_gif(self) -> bytes:
        """Return the movie as the bytes of a gif."""
        with project_style():
            return gif_bytes(self.scene)

    def _repr_html_(self) -> str:
        """Return the movie as an image in HTML."""
        data = base64.b64encode(self.to_gif()).decode()
        return f'<img alt="movie of the run" src="data:image/gif;base64,{data}">'


@np.errstate(all="ignore")
def animate(
    run: Run,
    path: Path | str | None = None,
    targets: int | None = None,
    training: bool = False,
    progress: Progress | None = None,
) -> Movie:
    """Return a movie of a run, and write it if there is a `path`: gif, mp4 or html.

    It shows movements to `targets` targets on the training scenarios (see
    `movement_scene`) or, with `training`, the paths of all trials across the
    checkpoints. `progress(done, total)` is called after each frame. A movie that is
    interrupted leaves no file.

    Raises UsageError if the file cannot be written.
    """
    if targets is not None and targets < 1:
        raise UsageError(f"`targets` {targets}: at least 1 is needed")
    writing = nullcontext() if path is None else atomic_write(path, WRITERS)
    with project_style(), writing as temporary:
        if temporary is not None:
            _check_ffmpeg(temporary.suffix, path)
        scene = training_scene(run) if training else movement_scene(run, targets)
        if temporary is not None:
            WRITERS[temporary.suffix](temporary, scene, progress)
    return Movie(scene, None if path is None else Path(path))


def _check_ffmpeg(suffix: str, path: Path | str | None) -> None:
    """Raise UsageError for an mp4 where ffmpeg is not installed."""
    if suffix == ".mp4" and not shutil.which("ffmpeg"):
        raise UsageError(
            f"{path}: mp4 needs ffmpeg, which is not installed; install it, or use "
            ".gif or .html"
        )
