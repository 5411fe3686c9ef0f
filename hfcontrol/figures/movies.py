"""Movies of a run: the plant reaching, or the paths of all trials as training changes them, as gif, mp4 or html."""

import base64
import io
import json
import shutil
import subprocess
from typing import Callable, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from hfcontrol.arrays.files import atomic_write
from hfcontrol.errors import UsageError
from hfcontrol.evaluation.evaluation import compare_with_optimum
from hfcontrol.figures.drawing import (
    BODY,
    GOAL,
    VALUES,
    Body,
    Paths,
    chosen,
    colouring,
    goals,
    in_plane,
    label,
    marked,
    poses,
    roomy,
    shown,
    simulated,
    stations,
)
from hfcontrol.figures.output import STYLE
from hfcontrol.runs.run import Run

FRAME, PAUSE = 0.04, 0.4  # [s] between frames of a trial, at the least, and at its end
MOST_FRAMES = 150  # of one trial
MOST_TARGETS, LONG_MOVIE = (
    8,
    24.0,
)  # where their number is not given: at most, and at most that many seconds of them
TRAINING, SHORTEST, LONGEST, LAST = (
    6.0,
    0.05,
    0.5,
    2.0,
)  # [s] that all checkpoints, each of them and the last one stay
MOST_CHECKPOINTS = 120
DPI, PALETTE, SAMPLED = (
    100,
    255,
    17,
)  # colours of a movie besides transparency, and frames from which they are taken
PALE = 0.5  # opacity of what has passed
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>hfcontrol</title>
<style>body {font-family: sans-serif; width: WIDTHpx; margin: auto} input {width: 80%}</style></head>
<body><img id="frame" alt="movie"><br><button id="play">pause</button> <input id="slider" type="range" min="0" value="0">
<script>
const frames = FRAMES, durations = DURATIONS;
const [image, play, slider] = ["frame", "play", "slider"].map(id => document.getElementById(id));
let playing = true, timer;
slider.max = frames.length - 1;
function show(k) {
  slider.value = k;
  image.src = "data:image/png;base64," + frames[k];
  clearTimeout(timer);
  if (playing) timer = setTimeout(() => show((k + 1) % frames.length), durations[k]);
}
slider.oninput = () => show(+slider.value);
play.onclick = () => { playing = !playing; play.textContent = playing ? "pause" : "play"; show(+slider.value); };
show(0);
</script></body></html>
"""


class Scene(NamedTuple):
    """A figure, a function that draws frame k into it whatever was drawn before, and how long each frame stays [s]."""

    figure: Figure
    draw: Callable
    durations: list


def _trails(data, n, step, past):
    """The trajectories (T+1, k, n) of one trial up to a step and, where wanted, of those before it; NaN elsewhere."""
    trails = np.full_like(data, np.nan)
    trails[:, :, : n * past] = data[:, :, : n * past]
    trails[: step + 1, :, n] = data[: step + 1, :, n]
    return trails


def _pale(lines, n):
    """Makes all lines pale but the n-th."""
    for k, line in enumerate(lines):
        line.set_alpha(1.0 if k == n else PALE)


class _Flat:
    """A scene in the plane: trails, goal, body and marks; without a plane, trails against time and the body beside them.

    The trails of the trials before stay, paler, unless the goals move.
    """

    def __init__(self, judged, trials, points):
        plane = in_plane(judged.run.plant)
        self.data, self.goal = shown(judged)[:, :, trials], goals(judged)[:, :, trials]
        self.points = (
            self.data[:, :2].transpose(2, 0, 1)[:, :, None]
            if points is None and plane
            else points
        )
        self.marks, self.beside = (
            marked(judged, trials),
            self.points is not None and not plane,
        )
        self.aims = poses(judged, judged.scenario.goal, trials) if self.beside else None
        self.figure = Figure(
            figsize=(5.6, 5.2) if plane else (8.0, 4.0), dpi=DPI, layout="constrained"
        )
        left, right = (
            self.figure.subfigures(1, 2) if self.beside else (self.figure, self.figure)
        )
        self.paths = Paths(right, judged, trials, optimum=False)
        if self.points is not None:
            self._furnish(left.subplots() if self.beside else self.paths.axes[0])

    def _furnish(self, ax):
        scale, everything = self.paths.scale, [self.points.reshape(-1, 2)]
        if self.beside:
            self.aim = Body(ax, self.points, "0.85")
            everything.append(self.aims.reshape(-1, 2))
            ax.set_axis_off()
        else:
            (self.ring,) = ax.plot(
                [], [], "o", ms=14, mfc="none", mec=GOAL, mew=2.5, zorder=5
            )
        self.body = Body(ax, scale * self.points)
        if self.marks is not None:
            marks = self.marks[0, 0]
            self.dots = ax.scatter(
                *scale * marks[:, :2].T,
                c=marks[:, 2],
                s=150,
                cmap=VALUES,
                vmin=-1,
                vmax=1,
                edgecolors=BODY,
                zorder=3,
            )
            self.figure.colorbar(
                self.dots,
                ax=ax,
                ticks=(-1, 0, 1),
                shrink=0.6,
                aspect=25,
                label="value of the marks",
            )
            everything.append(self.marks[..., :2].reshape(-1, 2))
        everything = np.concatenate(everything)
        ax.update_datalim(scale * everything[np.isfinite(everything).all(axis=1)])
        ax.set_aspect("equal")
        ax.margins(0.08)

    def draw(self, n, step):
        """Shows the n-th trial up to a step."""
        scale, paths = self.paths.scale, self.paths
        paths.move(_trails(self.data, n, step, bool(paths.times)))
        for lines in paths.lines:
            _pale(lines, n)
        if self.points is not None:
            self.body.pose(scale * self.points[n, step])
            if self.beside:
                self.aim.pose(self.aims[n, step])
            else:
                self.ring.set_data(*scale * self.goal[step : step + 1, :2, n].T)
        paths.move_goals(_trails(self.goal, n, step, False))
        if paths.aims and not self.beside:
            paths.starts.set_offsets(scale * self.data[0, :2, n])
        if self.marks is not None and self.points is not None:
            self.dots.set_offsets(scale * self.marks[n, step, :, :2])
            self.dots.set_array(self.marks[n, step, :, 2])


class _Space:
    """A scene in space: the body, the trail of its last point with a shadow beneath, and the goal."""

    def __init__(self, judged, trials, points):
        plant, colours = judged.run.plant, colouring(judged)[0][trials]
        self.points, self.data = points, points[:, :, -1].transpose(1, 2, 0)
        self.goal = poses(judged, np.nan_to_num(judged.scenario.goal), trials)[:, :, -1]
        self.past = bool(stations(judged))
        self.figure = Figure(figsize=(5.6, 5.2), dpi=DPI)
        ax = self.figure.add_axes(
            (0.0, 0.04, 0.92, 0.9), projection="3d"
        )  # the layout engine would cut its labels
        everything = np.concatenate([points.reshape(-1, 3), self.goal.reshape(-1, 3)])
        everything = everything[np.isfinite(everything).all(axis=1)]
        low, high = roomy(everything.min(axis=0), everything.max(axis=0))
        self.floor = low[2]
        self.shadows = [ax.plot([], [], [], color="0.6", lw=1.2)[0] for _ in trials]
        self.trails = [
            ax.plot([], [], [], color=colour, lw=1.8)[0] for colour in colours
        ]
        (self.ring,) = ax.plot([], [], [], "o", ms=12, mfc="none", mec=GOAL, mew=2.5)
        self.body = Body(ax, points)
        names = (
            ("x", "y")
            if plant.path_indices is None
            else (plant.output[i] for i in plant.path_indices[:2])
        )
        ax.set(
            **{
                f"{axis}label": label(name, "m")
                for axis, name in zip("xyz", (*names, "height"))
            }
        )
        ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
        ax.set_box_aspect(high - low, zoom=0.9)
        ax.locator_params(nbins=5)
        ax.zaxis.labelpad = 8

    def draw(self, n, step):
        """Shows the n-th trial up to a step."""
        trails = _trails(self.data, n, step, self.past)
        for k, (trail, shadow) in enumerate(zip(self.trails, self.shadows)):
            trail.set_data_3d(*trails[:, :, k].T)
            shadow.set_data_3d(*trails[:, :2, k].T, np.full(len(trails), self.floor))
        _pale(self.trails, n)
        _pale(self.shadows, n)
        self.ring.set_data_3d(*self.goal[n, step : step + 1].T)
        self.body.pose(self.points[n, step])


def reaches(run, targets=None):
    """The scene of one trial after another at the plant's own pace, to targets or from starts spread evenly.

    `targets` is their number; by default it is MOST_TARGETS, or as many as LONG_MOVIE seconds show.
    """
    judged = simulated(run)
    plant, last, aims = run.plant, judged.scenario.steps, goals(judged)
    most = int(np.clip(LONG_MOVIE / (plant.dt * last), 2, MOST_TARGETS))
    trials = chosen(judged, targets or most)
    points = poses(judged, judged.rollout.x, trials)
    stage = (_Space if points is not None and points.shape[-1] == 3 else _Flat)(
        judged, trials, points
    )
    stride = max(1, round(FRAME / plant.dt), -(-last // MOST_FRAMES))
    steps = sorted({*range(0, last, stride), last})
    word = "target" if np.nan_to_num(np.ptp(aims, axis=2)).any() else "trial"
    title = stage.figure.suptitle(" ")

    def draw(k):
        n, step = k // len(steps), steps[k % len(steps)]
        stage.draw(n, step)
        title.set_text(
            f"{plant.name}, {run.trainer.task.name}: {word} {n + 1} of {len(trials)}, {plant.dt * step:.2f} s"
        )

    return Scene(
        stage.figure, draw, [*(plant.dt * np.diff(steps)), PAUSE] * len(trials)
    )


def learning(run):
    """The scene of all trials, over the optimum, at each checkpoint up to that of the run, thinned where there are many."""
    judged = compare_with_optimum(run)
    files = [
        file for file in run.folder.checkpoints() if file.updates <= run.state.updates
    ]
    files = [
        files[i]
        for i in np.unique(np.linspace(0, len(files) - 1, MOST_CHECKPOINTS).astype(int))
    ]
    data = [
        shown(judged, judged.loop.rollout(Run.load(file.path).theta).x)
        for file in files
    ]
    figure = Figure(figsize=(5.6, 5.2), dpi=DPI, layout="constrained")
    paths = Paths(figure, judged)
    for ax in paths.axes:
        ax.margins(
            x=0.25 if paths.flat and ax is paths.axes[0] else 0.05, y=0.25
        )  # room for the paths of the beginning
    title = figure.suptitle(" ")

    def draw(k):
        paths.move(data[k][:, :, paths.trials])
        title.set_text(
            f"{run.plant.name}, {run.trainer.task.name}: {files[k].updates} updates, loss {files[k].loss:.1e}"
        )

    pace = float(np.clip(TRAINING / len(files), SHORTEST, LONGEST))
    return Scene(figure, draw, [pace] * (len(files) - 1) + [LAST])


def _frames(scene, progress):
    """Every frame of a scene as an image, all of one palette: the commonest colours of SAMPLED frames."""
    canvas, count = FigureCanvasAgg(scene.figure), len(scene.durations)

    def render(k):
        scene.draw(k)
        canvas.draw()
        picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        return picture.point(
            lambda value: value | 7
        )  # few colours, of which white is one

    sample = np.hstack(
        [render(k) for k in np.unique(np.linspace(0, count - 1, SAMPLED).astype(int))]
    )
    scene.figure.set_layout_engine(
        "none"
    )  # what moves must not shift what stands still
    common = sorted(Image.fromarray(sample).getcolors(sample.size), reverse=True)[
        :PALETTE
    ]
    palette = Image.new("P", (1, 1))
    palette.putpalette([value for _, colour in common for value in colour])
    frames = []
    for k in range(count):
        frames.append(render(k).quantize(palette=palette, dither=Image.Dither.NONE))
        if progress:
            progress(k + 1, count)
    return frames


def _png(frame):
    buffer = io.BytesIO()
    frame.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _gif(path, frames, durations):
    hundredths = [
        10 * round(100 * d) for d in durations
    ]  # [ms], of which the format keeps whole hundredths of a second
    frames[0].save(
        path,
        "GIF",
        save_all=True,
        append_images=frames[1:],
        duration=hundredths,
        loop=0,
    )


def _html(path, frames, durations):
    page = PAGE.replace("WIDTH", str(frames[0].width))
    page = page.replace(
        "FRAMES",
        json.dumps([base64.b64encode(_png(frame)).decode() for frame in frames]),
    )
    path.write_text(
        page.replace("DURATIONS", json.dumps([round(1000 * d) for d in durations])),
        encoding="utf-8",
    )


def _mp4(path, frames, durations):
    pace = min(durations)
    pictures = b"".join(
        _png(frame) * max(1, round(d / pace)) for frame, d in zip(frames, durations)
    )
    command = [
        "ffmpeg",
        "-y",
        "-v",
        "error",
        "-f",
        "image2pipe",
        "-c:v",
        "png",
        "-framerate",
        f"{1 / pace:.6g}",
        "-i",
        "-",
        "-pix_fmt",
        "yuv420p",
        "-movflags",
        "+faststart",
        str(path),
    ]
    done = subprocess.run(command, input=pictures, capture_output=True)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines() or [
            "no reason given"
        ]
        raise UsageError(
            f"ffmpeg could not write the mp4 ({reason[-1]}); use .gif or .html"
        )


WRITERS = {".gif": _gif, ".mp4": _mp4, ".html": _html}


def animate(run, path, targets=None, training=False, progress=None):
    """Write a movie of a run to `path`, whose ending decides the format: gif, mp4 (by ffmpeg) or html.

    It shows movements to `targets` targets on the training scenarios (None: as many as `reaches` chooses); with `training`,
    the paths of all trials across the checkpoints. `progress(done, total)` is called after each frame. A movie that is
    stopped leaves no file. Raises UsageError where the file cannot be written.
    """
    if targets is not None and targets < 1:
        raise UsageError(f"--targets {targets}: at least 1 is needed")
    with rc_context(STYLE), atomic_write(path, WRITERS) as temporary:
        if temporary.suffix == ".mp4" and not shutil.which("ffmpeg"):
            raise UsageError(
                f"{path}: mp4 needs ffmpeg, which is not installed; install it, or use .gif or .html"
            )
        scene = learning(run) if training else reaches(run, targets)
        WRITERS[temporary.suffix](temporary, _frames(scene, progress), scene.durations)
