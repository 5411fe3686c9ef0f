"""Movies are made whole or not at all, last as long as the plant does, and stay small."""

import base64
import json
import re
import shutil
import subprocess
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image
from trainings import PENDULUM, small_run

import hfcontrol as hf
from hfcontrol.arrays.random import Stream, stream
from hfcontrol.closed_loop.loop import ClosedLoop, PassOptions
from hfcontrol.errors import UsageError
from hfcontrol.evaluation.evaluation import Comparison, compare_with_optimum
from hfcontrol.figures import movies as animate
from hfcontrol.figures.drawing import READABLE, chosen, simulated
from hfcontrol.plant.registry import plant_names
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.run import Run
from hfcontrol.runs.settings import Settings

LINKS = (
    "def links(x, p):\n    return np.array([[0.0, 0.0], [np.sin(x[0]), -np.cos(x[0])]])"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny training of the two-link arm: eight targets, a few holds."""
    return hf.train(
        "arm2",
        hidden=(5, 4),
        trials=8,
        steps=10,
        batches=2,
        rollouts=12,
        hold="scenario",
        out=tmp_path_factory.mktemp("runs"),
    )


@pytest.fixture(scope="module", params=["", LINKS], ids=["no links", "links"])
def pendulum(request, tmp_path_factory):
    """A run of a plant without a hand."""
    folder = tmp_path_factory.mktemp("pendulum")
    (folder / "pendulum.py").write_text(PENDULUM.replace("LINKS", request.param))
    return hf.train(
        str(folder / "pendulum.py"), hidden=(4,), batches=2, rollouts=6, out=folder
    )


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Runs of users' own plants, by plant and task: `own("puck", "follow")`."""
    return cache(
        lambda name, task: small_run(
            name, task, tmp_path_factory.mktemp(f"{name}-{task}")
        )
    )


def placed(scene, run, n, step):
    """Draws the n-th of a scene's trials at a step: its axes, and states, goals and controls [time, entry] of that trial."""
    judged = simulated(run)
    frames = judged.scenario.steps + 1
    scene.draw(n * frames + step)
    trial = chosen(judged, len(scene.durations) // frames)[n]
    rollout, goal = judged.rollout, judged.scenario.goal
    return scene.figure.axes[0], *(
        values[:, :, trial] for values in (rollout.x, goal, rollout.u)
    )


def scale_of(ax):
    """The number that a metre along the axis of x has."""
    return {"[m]": 1, "[cm]": 100}[ax.get_xlabel().partition(" ")[2]]


def ring_of(ax):
    """Where the mark of the goal is."""
    (ring,) = (line for line in ax.lines if line.get_markersize() > 10)
    return ring


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
    frames, durations = (
        json.loads(re.search(f"{name} = (\\[.*?\\])", page)[1])
        for name in ("frames", "durations")
    )
    assert len(frames) == len(durations)
    assert sum(durations) == pytest.approx(
        1000 * 2 * (10 * run.plant.dt + animate.PAUSE)
    )
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
    ((command, pictures),) = given
    pace = float(command[command.index("-framerate") + 1])
    assert pictures.count(b"\x89PNG") / pace == pytest.approx(
        10 * run.plant.dt + animate.PAUSE, abs=1 / pace
    )
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
    judged, scene = compare_with_optimum(run), animate.reaches(run, 8)
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
    assert np.isfinite(trails[1].get_xydata()).all(axis=1).tolist() == [True] + 10 * [
        False
    ]
    assert "target 2 of 8" in scene.figure.get_suptitle()


def test_training_shows_every_checkpoint(run, tmp_path):
    scene, files = animate.learning(run), run.folder.checkpoints()
    assert len(scene.durations) == len(files) > 2
    trials = compare_with_optimum(run).scenario.trials
    for k, file in enumerate(files):
        scene.draw(k)
        drawn = np.array(
            [line.get_xydata() for line in scene.figure.axes[0].lines[trials:]]
        ).transpose(1, 2, 0)
        np.testing.assert_array_equal(
            drawn, 100 * compare_with_optimum(Run.load(file.path)).paths()
        )
        assert f"{file.updates} updates" in scene.figure.get_suptitle()
    animate.animate(run, tmp_path / "training.gif", training=True)
    assert length(tmp_path / "training.gif")[1] == pytest.approx(
        sum(scene.durations), abs=0.01 * len(files)
    )


def test_training_for_a_moving_goal_shows_a_few_trials(own):
    run = own("puck", "follow")
    scene, files = animate.learning(run), run.folder.checkpoints()
    ax, trials = scene.figure.axes[0], chosen(simulated(run), READABLE)
    for k, file in enumerate(files):
        scene.draw(k)
        paths = [line for line in ax.lines[READABLE:] if line.get_linestyle() == "-"]
        drawn = np.array([line.get_xydata() for line in paths]).transpose(1, 2, 0)
        np.testing.assert_array_equal(
            drawn,
            scale_of(ax) * simulated(Run.load(file.path)).rollout.x[:, :2, trials],
        )


def test_training_ends_at_the_checkpoint_asked_for(run):
    files = run.folder.checkpoints()
    assert len(animate.learning(Run.load(files[1].path)).durations) == 2


def test_many_checkpoints_are_thinned(run, monkeypatch):
    monkeypatch.setattr(animate, "MOST_CHECKPOINTS", 2)
    scene = animate.learning(run)
    scene.draw(1)
    assert (
        len(scene.durations) == 2
        and f"{run.state.updates} updates" in scene.figure.get_suptitle()
    )


@pytest.mark.parametrize("training", [False, True])
def test_a_plant_without_a_hand(pendulum, tmp_path, training):
    animate.animate(pendulum, tmp_path / "movie.gif", targets=2, training=training)
    assert length(tmp_path / "movie.gif")[0] > 1


def test_an_arm_of_one_link_is_drawn_beside_its_angle(tmp_path):
    run = hf.train(
        "arm1", hidden=(4,), trials=4, steps=10, batches=2, rollouts=4, out=tmp_path
    )
    scene = animate.reaches(run, 4)
    scene.draw(len(scene.durations) - 1)
    traces, arm = scene.figure.axes
    angle = traces.lines[-1].get_ydata()[-1]
    x, y = np.diff(arm.lines[-1].get_xydata(), axis=0)[0]
    assert np.arctan2(y, x) == pytest.approx(angle)


def test_a_moving_goal_leaves_a_trail(own):
    run = own("puck", "follow")
    scene = animate.reaches(run, 3)
    ax, x, goal, _ = placed(scene, run, 1, 7)
    scale = scale_of(ax)
    np.testing.assert_array_equal(ring_of(ax).get_xydata(), scale * goal[7:8, :2])
    dotted = [line.get_xydata() for line in ax.lines if line.get_linestyle() == ":"]
    trails = [line.get_xydata() for line in ax.lines[:3]]
    for lines, expected in ((dotted, goal[:, :2]), (trails, x[:, :2])):
        assert (
            np.isnan(lines[0]).all()
            and np.isnan(lines[2]).all()
            and np.isnan(lines[1][8:]).all()
        )
        np.testing.assert_array_equal(lines[1][:8], scale * expected[:8])
    np.testing.assert_array_equal(
        ax.collections[0].get_offsets(), scale * x[:1, :2]
    )  # the start of this trial alone


def test_the_goal_of_there_and_back_jumps(own):
    run = own("puck", "back")
    scene = animate.reaches(run, 4)
    half = simulated(run).scenario.steps // 2
    for step in (0, half, half + 1, 2 * half):
        ax, _, goal, _ = placed(scene, run, 2, step)
        np.testing.assert_array_equal(
            ring_of(ax).get_xydata()[0], scale_of(ax) * goal[step, :2]
        )
        assert goal[step, :2].any() == (step <= half)
        assert f"target 3 of 4, {0.05 * step:.2f} s" in scene.figure.get_suptitle()


def test_a_goal_that_is_not_asked_for_is_not_marked(own):
    run = own("puck", "around")
    scene = animate.reaches(run, 2)
    ax = placed(scene, run, 1, 3)[0]
    assert np.isnan(ring_of(ax).get_ydata()).all()
    assert "trial 2 of 2" in scene.figure.get_suptitle()


def test_a_row_of_nan_lifts_the_pen(own):
    """The puck is a solid square, drawn where the puck is, with an eye in front and a point in the middle."""
    run = own("puck", "around")
    ax, x, _, _ = placed(animate.reaches(run, 2), run, 0, 9)
    scale, (square,) = scale_of(ax), ax.patches
    corners = x[9, :2] + 0.1 * np.array(
        [[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0]]
    )
    np.testing.assert_allclose(
        square.get_xy()[:5], scale * corners, rtol=1e-12, atol=1e-12
    )
    eye, middle = (line.get_xydata() for line in ax.lines[-2:])
    np.testing.assert_allclose(
        eye, scale * (x[9:10, :2] + [[0.0, 0.05]]), rtol=1e-12, atol=1e-12
    )
    np.testing.assert_array_equal(middle, scale * x[9:10, :2])


def test_marks_have_the_colours_of_their_values(own):
    run = own("puck", "follow")
    scene = animate.reaches(run, 2)
    for step in (0, 5, 12):
        ax, _, _, u = placed(scene, run, 1, step)
        lamps = ax.collections[-1]
        np.testing.assert_array_equal(
            lamps.get_offsets(), scale_of(ax) * np.array([[2.0, 0.0], [0.0, 2.0]])
        )
        np.testing.assert_array_equal(
            lamps.get_array(), u[min(step, 11)] / 2.0
        )  # at the end the last control stays
        assert lamps.get_clim() == (-1, 1)


def test_what_flies_is_drawn_in_space(own):
    """The trail is that of the last point of links, the body hangs on it, and the goal is where that point is to be."""
    run = own("balloon", "rise")
    scene = animate.reaches(run, 2)
    ax, x, goal, _ = placed(scene, run, 1, 6)
    up = np.array([1.0, 1.0, -1.0])
    trails, shadows = ax.lines[2:4], ax.lines[:2]
    ends = x[:, :3] * up
    np.testing.assert_array_equal(np.transpose(trails[1].get_data_3d())[:7], ends[:7])
    assert (
        np.isnan(trails[1].get_data_3d()[2][7:]).all()
        and np.isfinite(trails[0].get_data_3d()).all()
    )
    np.testing.assert_array_equal(
        np.transpose(shadows[1].get_data_3d()[:2])[:7], ends[:7, :2]
    )
    np.testing.assert_array_equal(shadows[1].get_data_3d()[2], ax.get_zlim()[0])
    np.testing.assert_array_equal(np.ravel(ring_of(ax).get_data_3d()), goal[6, :3] * up)
    np.testing.assert_array_equal(
        np.transpose(ax.lines[-1].get_data_3d()),
        ends[6] + [[0.0, 0.0, -0.5], [0.0, 0.0, 0.0]],
    )
    assert [ax.get_xlabel(), ax.get_ylabel(), ax.get_zlabel()] == [
        "x [m]",
        "y [m]",
        "height [m]",
    ]


def test_a_trail_pales_when_it_has_passed(run):
    scene = animate.reaches(run, 3)
    scene.draw(len(scene.durations) - 1)
    assert [line.get_alpha() for line in scene.figure.axes[0].lines[:3]] == [
        animate.PALE,
        animate.PALE,
        1.0,
    ]


def test_the_colours_of_every_trial_are_in_the_palette(own, tmp_path):
    """Those of the trials in the middle too, which neither the first nor the last frame shows."""
    run = own("puck", "follow")
    animate.animate(run, tmp_path / "reach.gif", targets=4)
    scene = animate.reaches(run, 4)
    frames = len(scene.durations) // 4
    with Image.open(tmp_path / "reach.gif") as movie:
        for n, line in enumerate(scene.figure.axes[0].lines[:4]):
            movie.seek((n + 1) * frames - 1)
            pixels = np.asarray(movie.convert("RGB")).reshape(-1, 3).astype(int)
            apart = np.abs(pixels - 255 * np.array(to_rgb(line.get_color()))).max(
                axis=1
            )
            assert apart.min() < 8


@pytest.mark.parametrize("seconds, expected", [(0.1, 8), (4.0, 6), (20.0, 2)])
def test_long_trials_make_a_movie_of_few_of_them(run, monkeypatch, seconds, expected):
    monkeypatch.setattr(animate, "LONG_MOVIE", animate.LONG_MOVIE * 0.1 / seconds)
    scene = animate.reaches(run)
    assert f"1 of {expected}," in [scene.draw(0), scene.figure.get_suptitle()][1]


def test_a_long_trial_has_no_more_frames_than_needed(run, monkeypatch):
    monkeypatch.setattr(animate, "MOST_FRAMES", 2)
    scene = animate.reaches(run, 1)
    np.testing.assert_allclose(scene.durations, [0.05, 0.05, animate.PAUSE])


@pytest.mark.parametrize("name, task", [("puck", "around"), ("balloon", "rise")])
def test_a_trial_that_leaves_the_numbers_is_drawn_as_far_as_it_goes(
    own, monkeypatch, name, task
):
    run = own(name, task)
    judged = simulated(run)
    x = judged.rollout.x.copy()
    x[5:, 0], x[7:, 1] = np.inf, np.nan
    monkeypatch.setattr(
        animate,
        "simulated",
        lambda _: replace(judged, rollout=replace(judged.rollout, x=x)),
    )
    scene = animate.reaches(run, 2)
    for k in (0, 9):
        scene.draw(k)
        animate.FigureCanvasAgg(scene.figure).draw()
    low, high = scene.figure.axes[0].get_xlim()
    assert (
        np.isfinite([low, high]).all()
        and low < scale_of(scene.figure.axes[0]) * x[0, 0, 0] < high
    )


@pytest.mark.parametrize("name", plant_names())
def test_every_shipped_plant_is_drawn(name, monkeypatch):
    """By an untrained controller: whatever its task, the last point of links is at the plant's place, and nothing warns."""
    settings = Settings(plant=name, trials=3, hidden=(3,))
    trainer = make_trainer(settings)
    scenario = trainer.task.draw(stream(settings.seed, Stream.SCENARIOS))
    loop = ClosedLoop(
        trainer.plant,
        trainer.kernels,
        trainer.network,
        scenario,
        trainer.wiring,
        PassOptions(fused=False),
    )
    run = SimpleNamespace(plant=trainer.plant, network=trainer.network, trainer=trainer)
    judged = Comparison(
        run,
        trainer.task,
        loop,
        loop.rollout(trainer.network.initial(stream(settings.seed, Stream.WEIGHTS))),
        None,
    )
    monkeypatch.setattr(animate, "simulated", lambda _: judged)
    scene = animate.reaches(run, 2)
    for k in (0, len(scene.durations) // 2 - 1):
        scene.draw(k)
        animate.FigureCanvasAgg(scene.figure).draw()
    plane, trial, paths = (
        trainer.plant.path_indices,
        chosen(judged, 2)[0],
        scene.figure.axes[0],
    )
    if "links" in trainer.plant.functions and plane is not None:
        ax = paths if len(trainer.plant.positions) > 1 else scene.figure.axes[1]
        body = (
            ax.patches[-1].get_xy()
            if name == "diffdrive"
            # which is but a solid
            else np.transpose(
                ax.lines[-1].get_data_3d()
                if ax.name == "3d"
                else ax.lines[-1].get_data()
            )
        )
        scale = 100 if "[cm]" in paths.get_xlabel() else 1
        np.testing.assert_allclose(
            body[-1, :2],
            scale * judged.outputs()[-1, plane[:2], trial],
            rtol=1e-9,
            atol=1e-12,
        )


@pytest.mark.parametrize(
    "name, options, words",
    [
        ("reach.avi", {}, ".gif, .mp4, .html"),
        ("reach", {}, ".gif, .mp4, .html"),
        ("none/reach.gif", {}, "No such file"),
        ("reach.mp4", {}, "install it, or use .gif or .html"),
        ("reach.gif", {"targets": 0}, "at least 1"),
        ("reach.gif", {"targets": -3}, "--targets -3"),
    ],
)
def test_mistakes_are_told_before_any_work(
    run, tmp_path, monkeypatch, name, options, words
):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(animate, "reaches", None)
    with pytest.raises(UsageError, match=words):
        animate.animate(run, tmp_path / name, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", animate.WRITERS)
def test_a_movie_that_is_stopped_leaves_nothing_and_harms_nothing(
    run, tmp_path, monkeypatch, suffix
):
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
