"""Movies as files: gif, mp4 (by ffmpeg) or a single html page."""

import io
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.animation import HTMLWriter
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

# Matplotlib's player has icons from a font on the network; a page has to do without.
ICON_FONT = re.compile(r"<link[^>]*font-awesome[^>]*>")
ICONS = {
    "minus": "\u2212",
    "fast-backward": "\u00ab",
    "step-backward": "\u2039",
    "play fa-flip-horizontal": "\u25b6",
    "play": "\u25b6",
    "pause": "||",
    "step-forward": "\u203a",
    "fast-forward": "\u00bb",
    "plus": "+",
}

# Most bytes of the frames in a page [MB]; matplotlib would leave out later frames.
MOST_EMBEDDED = 200


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


def gif_bytes(scene: Scene, progress: Progress | None = None) -> bytes:
    """Return a scene as the bytes of a gif."""
    frames = render_frames(scene, progress)
    # The unit is [ms], but the format stores whole hundredths of a second.
    milliseconds = [10 * round(100 * duration) for duration in scene.durations]
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        "GIF",
        save_all=True,
        append_images=frames[1:],
        duration=milliseconds,
        loop=0,
    )
    return buffer.getvalue()


def _write_gif(path: Path, scene: Scene, progress: Progress | None) -> None:
    """Write a gif."""
    path.write_bytes(gif_bytes(scene, progress))


def _repeats(scene: Scene) -> tuple[float, list[int]]:
    """Return the duration of a frame [s], and how often each frame is shown.

    It is that of most frames; the last step of a trial may be shorter.
    """
    usual = float(np.median(scene.durations))
    counts = [max(1, round(duration / usual)) for duration in scene.durations]
    return usual, counts


def _write_html(path: Path, scene: Scene, progress: Progress | None) -> None:
    """Write a page that holds all frames and plays them, by matplotlib."""
    seconds, counts = _repeats(scene)
    with rc_context({"animation.embed_limit": MOST_EMBEDDED}):
        rate: Any = 1 / seconds  # need not be whole
        writer = HTMLWriter(fps=rate, embed_frames=True, default_mode="loop")
        with writer.saving(scene.figure, path, dpi=scene.figure.dpi):
            for k, count in enumerate(counts):
                scene.draw(k)
                for _ in range(count):
                    writer.grab_frame()
                if k == 0:
                    # Fix the layout: moving lines must not shift the axes.
                    scene.figure.set_layout_engine("none")
                if progress:
                    progress(k + 1, len(counts))
    rules = [
        f".fa-{icon.replace(' ', '.')}::before {{content: '{sign}'}}"
        for icon, sign in ICONS.items()
    ]
    rules += [".fa {font-style: normal; display: inline-block}"]
    rules += [".fa-flip-horizontal {transform: scaleX(-1)}"]
    style = f"<style>{' '.join(rules)}</style>"
    page, count = ICON_FONT.subn(style, path.read_text(encoding="utf-8"))
    head = '<!DOCTYPE html>\n<meta charset="utf-8"><title>hfcontrol</title>\n'
    path.write_text(head + (page if count else style + page), encoding="utf-8")


def _write_mp4(path: Path, scene: Scene, progress: Progress | None) -> None:
    """Write an mp4 by ffmpeg; raise UsageError if ffmpeg fails."""
    seconds, counts = _repeats(scene)
    frames = render_frames(scene, progress)
    pictures = b""
    for frame, count in zip(frames, counts, strict=True):
        pictures += _png(frame) * count

    overwrite = ["-y", "-v", "error"]
    source = ["-f", "image2pipe", "-c:v", "png", "-framerate", f"{1 / seconds:.6g}"]
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
