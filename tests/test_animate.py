"""Movies are made whole or not at all, last as long as the plant does, and stay small."""

import base64
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

import hfcontrol as hf
from hfcontrol import animate
from hfcontrol.errors import UsageError
from hfcontrol.evaluation import judge
from hfcontrol.runs import Run
from trainings import PENDULUM

LINKS = "def links(x, p):\n    return np.array([[0.0, 0.0], [np.sin(x[0]), -np.cos(x[0])]])"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny training of the two-link arm: eight targets, a few holds."""
    return hf.train("arm2", hidden=(5, 4), trials=8, steps=10, batches=2, rollouts=12, hold="scenario",
                    out=tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module", params=["", LINKS], ids=["no links", "links"])
def pendulum(request, tmp_path_factory):
    """A run of a plant without a hand."""
    folder = tmp_path_factory.mktemp("pendulum")
    (folder / "pendulum.py").write_text(PENDULUM.replace("LINKS", request.param))
    return hf.train(str(folder / "pendulum.py"), hidden=(4,), batches=2, rollouts=6, out=folder)


def length(path):
    """Frames and duration [s] of a gif."""
    with Image.open(path) as movie:
        times = []
        for k in range(movie.n_frames):
            movie.seek(k)
            times.append(movie.info["duration"])
        return movie.n_frames, sum(times) / 1000


def test_a_gif_at_the_pace_of_the_plant(run, tmp_path):
    path, calls = tmp_path / "reach.gif", []
    animate.animate(run, path, targets=3, progress=lambda *counts: calls.append(counts))
    frames, seconds = length(path)
    assert seconds == pytest.approx(3 * (10 * run.plant.dt + animate.PAUSE))
    assert calls == [(k + 1, frames) for k in range(frames)]
    assert path.stat().st_size < 2e5
    assert list(tmp_path.iterdir()) == [path]


def test_white_stays_white(run, tmp_path):
    animate.animate(run, tmp_path / "reach.gif", targets=1)
    with Image.open(tmp_path / "reach.gif") as movie:
        assert movie.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_an_html_page_needs_nothing_else(run, tmp_path):
    animate.animate(run, tmp_path / "reach.html", targets=2)
    page = (tmp_path / "reach.html").read_text(encoding="utf-8")
    frames, durations = (json.loads(re.search(f"{name} = (\\[.*?\\])", page)[1]) for name in ("frames", "durations"))
    assert len(frames) == len(durations)
    assert sum(durations) == pytest.approx(1000 * 2 * (10 * run.plant.dt + animate.PAUSE))
    assert all(base64.b64decode(frame).startswith(b"\x89PNG") for frame in frames)
    assert "http" not in page and len(page) < 1e6


def test_an_mp4_is_made_by_ffmpeg(run, tmp_path, monkeypatch):
    given = []

    def ffmpeg(command, input, **_):
        given.append((command, input))
        (tmp_path / command[-1]).write_bytes(b"movie")
        return subprocess.CompletedProcess(command, 0, b"", b"")

    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(subprocess, "run", ffmpeg)
    animate.animate(run, tmp_path / "reach.mp4", targets=1)
    (command, pictures), = given
    pace = float(command[command.index("-framerate") + 1])
    assert pictures.count(b"\x89PNG") / pace == pytest.approx(10 * run.plant.dt + animate.PAUSE, abs=1 / pace)
    assert [path.name for path in tmp_path.iterdir()] == ["reach.mp4"]
    failed = subprocess.CompletedProcess([], 1, b"", b"some lines\nno codec\n")
    monkeypatch.setattr(subprocess, "run", lambda command, **_: failed)
    with pytest.raises(UsageError, match="no codec"):
        animate.animate(run, tmp_path / "other.mp4", targets=1)


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
def test_ffmpeg_makes_a_movie(run, tmp_path):
    animate.animate(run, tmp_path / "reach.mp4", targets=1)
    assert (tmp_path / "reach.mp4").read_bytes()[4:8] == b"ftyp"


def test_the_reaches_are_those_of_the_run(run):
    judged, scene = judge(run), animate.reaches(run, 8)
    ax = scene.figure.axes[0]
    trails, arm = ax.lines[:8], ax.lines[-1]
    frames = len(scene.durations) // 8
    scene.draw(2 * frames - 1)  # the end of the second reach
    first, second, third = (line.get_xydata() for line in trails[:3])
    np.testing.assert_array_equal(first, 100 * judged.paths()[:, :, 0])
    np.testing.assert_array_equal(second, 100 * judged.paths()[:, :, 1])
    assert np.isnan(third).all()
    np.testing.assert_allclose(arm.get_xydata()[-1], second[-1], rtol=1e-12)
    scene.draw(frames)  # its beginning
    assert np.isfinite(trails[1].get_xydata()).all(axis=1).tolist() == [True] + 10 * [False]
    assert "target 2 of 8" in scene.figure.get_suptitle()


def test_training_shows_every_checkpoint(run, tmp_path):
    scene, files = animate.learning(run), run.folder.checkpoints()
    assert len(scene.durations) == len(files) > 2
    trials = judge(run).scenario.trials
    for k, file in enumerate(files):
        scene.draw(k)
        drawn = np.array([line.get_xydata() for line in scene.figure.axes[0].lines[trials:]]).transpose(1, 2, 0)
        np.testing.assert_array_equal(drawn, 100 * judge(Run.load(file.path)).paths())
        assert f"{file.updates} updates" in scene.figure.get_suptitle()
    animate.animate(run, tmp_path / "training.gif", training=True)
    assert length(tmp_path / "training.gif")[1] == pytest.approx(sum(scene.durations), abs=0.01 * len(files))


def test_training_ends_at_the_checkpoint_asked_for(run):
    files = run.folder.checkpoints()
    assert len(animate.learning(Run.load(files[1].path)).durations) == 2


def test_many_checkpoints_are_thinned(run, monkeypatch):
    monkeypatch.setattr(animate, "MOST_CHECKPOINTS", 2)
    scene = animate.learning(run)
    scene.draw(1)
    assert len(scene.durations) == 2 and f"{run.state.updates} updates" in scene.figure.get_suptitle()


@pytest.mark.parametrize("training", [False, True])
def test_a_plant_without_a_hand(pendulum, tmp_path, training):
    animate.animate(pendulum, tmp_path / "movie.gif", targets=2, training=training)
    assert length(tmp_path / "movie.gif")[0] > 1


def test_an_arm_of_one_link_is_drawn_beside_its_angle(tmp_path):
    run = hf.train("arm1", hidden=(4,), trials=4, steps=10, batches=2, rollouts=4, out=tmp_path)
    scene = animate.reaches(run, 4)
    scene.draw(len(scene.durations) - 1)
    traces, arm = scene.figure.axes
    angle = traces.lines[-1].get_ydata()[-1]
    x, y = np.diff(arm.lines[-1].get_xydata(), axis=0)[0]
    assert np.arctan2(y, x) == pytest.approx(angle)


@pytest.mark.parametrize("name, options, words", [
    ("reach.avi", {}, ".gif, .mp4, .html"),
    ("reach", {}, ".gif, .mp4, .html"),
    ("none/reach.gif", {}, "No such file"),
    ("reach.mp4", {}, "install it, or use .gif or .html"),
    ("reach.gif", {"targets": 0}, "at least 1"),
])
def test_mistakes_are_told_before_any_work(run, tmp_path, monkeypatch, name, options, words):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(animate, "judge", None)
    with pytest.raises(UsageError, match=words):
        animate.animate(run, tmp_path / name, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", animate.WRITERS)
def test_a_movie_that_is_stopped_leaves_nothing_and_harms_nothing(run, tmp_path, monkeypatch, suffix):
    path = tmp_path / f"reach{suffix}"
    path.write_text("before")
    monkeypatch.setattr(shutil, "which", lambda name: name)

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        animate.animate(run, path, targets=1, progress=stop)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
