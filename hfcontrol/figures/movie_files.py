"""Movies as files: gif, mp4 (by ffmpeg) or a single html page."""

import base64
import io
import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from hfcontrol.errors import UsageError
from hfcontrol.figures.scenes import Scene

# Colours of a gif, besides the one that stands for transparency.
PALETTE_SIZE = 255

# Frames whose colours make up the palette.
SAMPLED_FRAMES = 17

Progress = Callable[[int, int], None]
Frame = Image.Image

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>hfcontrol</title>
<style>body {font-family: sans-serif; width: WIDTHpx; margin: auto} input {width: \
80%}</style></head>
<body><img id="frame" alt="movie"><br><button id="play">pause</button> <input \
id="slider" type="range" min="0" value="0">
<script>
const frames = FRAMES, durations = DURATIONS;
const [image, play, slider] = ["frame", "play", "slider"].map(id => \
document.getElementById(id));
let playing = true, timer;
slider.max = frames.length - 1;
function show(k) {
  slider.value = k;
  image.src = "data:image/png;base64," + frames[k];
  clearTimeout(timer);
  if (playing) timer = setTimeout(() => show((k + 1) % frames.length), durations[k]);
}
slider.oninput = () => show(+slider.value);
play.onclick = () => { playing = !playing; play.textContent = playing ? "pause" : \
"play"; show(+slider.value); };
show(0);
</script></body></html>
"""


def render_frames(scene: Scene, progress: Progress | None = None) -> list[Frame]:
    """Return every frame of a scene as an image; all have the same palette.

    The palette is made of the commonest colours of SAMPLED_FRAMES frames.
    `progress(done, total)` is called after each frame.
    """
    canvas = FigureCanvasAgg(scene.figure)
    count = len(scene.durations)

    def render(k: int) -> Frame:
        scene.draw(k)
        canvas.draw()
        picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        # Round to 32 levels per channel, up, so that white stays white.
        return picture.point(lambda value: value | 7)

    sampled = np.unique(np.linspace(0, count - 1, SAMPLED_FRAMES).astype(int))
    sample = np.hstack([np.asarray(render(k)) for k in sampled])
    # Fix the layout: moving lines must not shift the axes.
    scene.figure.set_layout_engine("none")
    palette = _palette(Image.fromarray(sample))

    frames = []
    for k in range(count):
        frame = render(k).quantize(palette=palette, dither=Image.Dither.NONE)
        frames.append(frame)
        if progress:
            progress(k + 1, count)
    return frames


def _palette(sample: Frame) -> Frame:
    """Return an image with the palette of a sample's commonest colours."""
    counts = sample.getcolors(3 * sample.width * sample.height)
    common = sorted(counts or [], reverse=True)[:PALETTE_SIZE]
    colours: list[Any] = [colour for _, colour in common]
    palette = Image.new("P", (1, 1))
    palette.putpalette([value for colour in colours for value in colour])
    return palette


def _png(frame: Frame) -> bytes:
    """Return an image as the bytes of a png."""
    buffer = io.BytesIO()
    frame.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _write_gif(path: Path, frames: Sequence[Frame], durations: list[float]) -> None:
    """Write a gif."""
    # The unit is [ms], but the format stores whole hundredths of a second.
    milliseconds = [10 * round(100 * duration) for duration in durations]
    frames[0].save(
        path,
        "GIF",
        save_all=True,
        append_images=frames[1:],
        duration=milliseconds,
        loop=0,
    )


def _write_html(path: Path, frames: Sequence[Frame], durations: list[float]) -> None:
    """Write a page that holds all frames and plays them."""
    pictures = [base64.b64encode(_png(frame)).decode() for frame in frames]
    milliseconds = [round(1000 * duration) for duration in durations]
    page = PAGE.replace("WIDTH", str(frames[0].width))
    page = page.replace("FRAMES", json.dumps(pictures))
    page = page.replace("DURATIONS", json.dumps(milliseconds))
    path.write_text(page, encoding="utf-8")


def _write_mp4(path: Path, frames: Sequence[Frame], durations: list[float]) -> None:
    """Write an mp4 by ffmpeg; raise UsageError if ffmpeg fails."""
    # The frame rate is that of the shortest frame; longer ones are repeated.
    shortest = min(durations)
    pictures = b""
    for frame, duration in zip(frames, durations, strict=True):
        pictures += _png(frame) * max(1, round(duration / shortest))

    overwrite = ["-y", "-v", "error"]
    source = ["-f", "image2pipe", "-c:v", "png", "-framerate", f"{1 / shortest:.6g}"]
    # Players need this pixel format, and browsers the index at the start of the file.
    encoding = ["-pix_fmt", "yuv420p", "-movflags", "+faststart"]
    command = ["ffmpeg", *overwrite, *source, "-i", "-", *encoding, str(path)]
    done = subprocess.run(command, input=pictures, capture_output=True)
    if done.returncode:
        messages = done.stderr.decode(errors="replace").strip().splitlines()
        reason = messages[-1] if messages else "no reason given"
        raise UsageError(
            f"ffmpeg could not write the mp4 ({reason}); use .gif or .html"
        )


WRITERS = {".gif": _write_gif, ".mp4": _write_mp4, ".html": _write_html}
