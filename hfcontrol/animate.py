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

from hfcontrol.canvas import STYLE, replacing
from hfcontrol.errors import UsageError
from hfcontrol.evaluation import judge
from hfcontrol.plots import Paths, in_plane, ordering, shown
from hfcontrol.runs import Run

FRAME, PAUSE = 0.04, 0.4  # [s] between frames of a reach, and at each target
TRAINING, SHORTEST, LONGEST, LAST = 6.0, 0.05, 0.5, 2.0  # [s] that all checkpoints, each of them and the last one stay
MOST_CHECKPOINTS = 120
DPI, PALETTE = 100, 256
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


def _chosen(judged, count):
    """Trials spread evenly over directions or targets, in their order."""
    values, _, cyclic = ordering(judged)
    places = np.linspace(0, len(values) - (not cyclic), min(count, len(values)), endpoint=not cyclic)
    return np.argsort(values, kind="stable")[places.astype(int)]


def _stage(judged, chosen):
    """A figure with the trails of the chosen trials and, where the plant has links, `pose(trial, step)` that sets them."""
    plant, scenario = judged.run.plant, judged.scenario
    links, plane = plant.functions.get("links"), in_plane(plant)
    figure = Figure(figsize=(5.6, 5.2) if plane else (8.0, 4.0), dpi=DPI, layout="constrained")
    left, right = figure.subfigures(1, 2) if links and not plane else (figure, figure)
    paths = Paths(right, judged, chosen, optimum=False)
    if not links:
        return figure, paths, lambda trial, step: None
    ax = paths.axes[0] if plane else left.subplots()
    states = np.concatenate([judged.rollout.x, scenario.goal[-1:]])  # the last posture is that of the target
    points = paths.scale * np.array([[links(x, scenario.params[:, n]) for x in states[:, :, n]] for n in chosen])
    target, = ax.plot([], [], "o-", color="0.85", lw=6, ms=8, visible=not plane)
    arm, = ax.plot(*points[0, 0].T, "o-", color="0.35", lw=6, ms=8, mfc="white", mew=2, alpha=0.85, zorder=4)
    ax.update_datalim(points.reshape(-1, 2))
    ax.set_aspect("equal")
    ax.margins(0.08)
    if not plane:
        ax.set_axis_off()

    def pose(trial, step):
        arm.set_data(*points[trial, step].T)
        target.set_data(*points[trial, -1].T)

    return figure, paths, pose


def reaches(run, targets=8):
    """The scene of one trial after another at the plant's own pace, to targets spread evenly; past trails remain."""
    judged = judge(run)
    plant, data, chosen = run.plant, shown(judged), _chosen(judged, targets)
    figure, paths, pose = _stage(judged, chosen)
    stride = max(1, round(FRAME / plant.dt))
    steps = sorted({*range(0, len(data), stride), len(data) - 1})
    title = figure.suptitle(" ")

    def draw(k):
        trial, step = k // len(steps), steps[k % len(steps)]
        trails = np.full_like(data, np.nan)
        trails[:, :, chosen[:trial]] = data[:, :, chosen[:trial]]
        trails[:step + 1, :, chosen[trial]] = data[:step + 1, :, chosen[trial]]
        paths.move(trails)
        pose(trial, step)
        title.set_text(f"{plant.name}, {run.trainer.task.name}: target {trial + 1} of {len(chosen)}, "
                       f"{plant.dt * step:.2f} s")

    return Scene(figure, draw, [*(plant.dt * np.diff(steps)), PAUSE] * len(chosen))


def learning(run):
    """The scene of all trials, over the optimum, at each checkpoint up to that of the run, thinned where there are many."""
    judged = judge(run)
    files = [file for file in run.folder.checkpoints() if file.updates <= run.state.updates]
    files = [files[i] for i in np.unique(np.linspace(0, len(files) - 1, MOST_CHECKPOINTS).astype(int))]
    data = [shown(judged, judged.loop.rollout(Run.load(file.path).theta).x) for file in files]
    figure = Figure(figsize=(5.6, 5.2), dpi=DPI, layout="constrained")
    paths = Paths(figure, judged)
    for ax in paths.axes:
        ax.margins(x=0.25 if in_plane(run.plant) else 0.05, y=0.25)  # room for the paths of the beginning
    title = figure.suptitle(" ")

    def draw(k):
        paths.move(data[k])
        title.set_text(f"{run.plant.name}, {run.trainer.task.name}: {files[k].updates} updates, loss {files[k].loss:.1e}")

    pace = float(np.clip(TRAINING / len(files), SHORTEST, LONGEST))
    return Scene(figure, draw, [pace] * (len(files) - 1) + [LAST])


def _frames(scene, progress):
    """Every frame of a scene as an image, all of one palette: the commonest colours of the first and the last."""
    canvas, count = FigureCanvasAgg(scene.figure), len(scene.durations)

    def render(k):
        scene.draw(k)
        canvas.draw()
        picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        return picture.point(lambda value: value | 7)  # few colours, of which white is one

    ends = np.hstack([render(0), render(count - 1)])
    scene.figure.set_layout_engine("none")  # what moves must not shift what stands still
    common = sorted(Image.fromarray(ends).getcolors(ends.size), reverse=True)[:PALETTE]
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
    hundredths = [10 * round(100 * d) for d in durations]  # [ms], of which the format keeps whole hundredths of a second
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:], duration=hundredths, loop=0)


def _html(path, frames, durations):
    page = PAGE.replace("WIDTH", str(frames[0].width))
    page = page.replace("FRAMES", json.dumps([base64.b64encode(_png(frame)).decode() for frame in frames]))
    path.write_text(page.replace("DURATIONS", json.dumps([round(1000 * d) for d in durations])), encoding="utf-8")


def _mp4(path, frames, durations):
    pace = min(durations)
    pictures = b"".join(_png(frame) * max(1, round(d / pace)) for frame, d in zip(frames, durations))
    command = ["ffmpeg", "-y", "-v", "error", "-f", "image2pipe", "-c:v", "png", "-framerate", f"{1 / pace:.6g}", "-i", "-",
               "-pix_fmt", "yuv420p", "-movflags", "+faststart", str(path)]
    done = subprocess.run(command, input=pictures, capture_output=True)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise UsageError(f"ffmpeg could not write the mp4 ({reason[-1]}); use .gif or .html")


WRITERS = {".gif": _gif, ".mp4": _mp4, ".html": _html}


def animate(run, path, targets=8, training=False, progress=None):
    """Write a movie of a run to `path`, whose ending decides the format: gif, mp4 (by ffmpeg) or html.

    It shows reaches to `targets` targets on the training scenarios; with `training`, the paths of all trials across the
    checkpoints. `progress(done, total)` is called after each frame. A movie that is stopped leaves no file. Raises
    UsageError where the file cannot be written.
    """
    if targets < 1:
        raise UsageError(f"--targets {targets}: at least 1 is needed")
    with rc_context(STYLE), replacing(path, WRITERS) as temporary:
        if temporary.suffix == ".mp4" and not shutil.which("ffmpeg"):
            raise UsageError(f"{path}: mp4 needs ffmpeg, which is not installed; install it, or use .gif or .html")
        scene = learning(run) if training else reaches(run, targets)
        WRITERS[temporary.suffix](temporary, _frames(scene, progress), scene.durations)
