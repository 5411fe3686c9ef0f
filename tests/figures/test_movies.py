"""Movies: whole or no files, the pace of the plant, what is drawn in each frame."""

import base64
import io
import re
import shutil
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from PIL import Image
from trainings import PENDULUM

import hfcontrol as hf
from hfcontrol.arrays.random import Stream, stream
from hfcontrol.closed_loop.loop import ClosedLoop, PassOptions
from hfcontrol.errors import UsageError
from hfcontrol.evaluation.evaluation import Comparison, compare_with_optimum
from hfcontrol.figures import movies, scenes
from hfcontrol.figures.coordinates import (
    READABLE_TRIALS,
    select_evenly,
    simulate_training,
)
from hfcontrol.plant.registry import plant_names
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.run import Run
from hfcontrol.runs.settings import Settings

LINKS = """
def links(x, p):
    return np.array([[0.0, 0.0], [np.sin(x[0]), -np.cos(x[0])]])
"""


@pytest.fixture(scope="module", params=["", LINKS], ids=["no links", "links"])
def pendulum(request, tmp_path_factory):
    """A run of a plant without a hand."""
    folder = tmp_path_factory.mktemp("pendulum")
    (folder / "pendulum.py").write_text(PENDULUM.replace("LINKS", request.param))
    return hf.train(
        str(folder / "pendulum.py"), hidden=(4,), batches=2, rollouts=6, out=folder
    )


def draw_trial(scene, run, n, step):
    """Draw the n-th of a scene's trials at a step.

    Returns the axes, and states, goals and controls [time, entry] of that trial.
    """
    comparison = simulate_training(run)
    frames = comparison.scenario.steps + 1
    scene.draw(n * frames + step)
    trial = select_evenly(comparison, len(scene.durations) // frames)[n]
    rollout, goal = comparison.rollout, comparison.scenario.goal
    return scene.figure.axes[0], *(
        values[:, :, trial] for values in (rollout.x, goal, rollout.u)
    )


def scale_of(ax):
    """The factor from metres of lengths along the x axis."""
    return {"[m]": 1, "[cm]": 100}[ax.get_xlabel().partition(" ")[2]]


def ring_of(ax):
    """The line that marks the goal."""
    (ring,) = (line for line in ax.lines if line.get_markersize() > 10)
    return ring


def gif_length(path):
    """Number of frames and duration [s] of a gif."""
    with Image.open(path) as movie:
        times = []
        for k in range(movie.n_frames):
            movie.seek(k)
            times.append(movie.info["duration"])
        return movie.n_frames, sum(times) / 1000


def test_gif_has_the_pace_of_the_plant(run, tmp_path):
    path, calls = tmp_path / "reach.gif", []
    movies.animate(run, path, targets=3, progress=lambda *counts: calls.append(counts))
    frames, seconds = gif_length(path)
    assert seconds == pytest.approx(3 * (10 * run.plant.dt + movies.PAUSE))
    assert calls == [(k + 1, frames) for k in range(frames)]
    assert path.stat().st_size < 2e5
    assert list(tmp_path.iterdir()) == [path]


def test_background_stays_white(run, tmp_path):
    movies.animate(run, tmp_path / "reach.gif", targets=1)
    with Image.open(tmp_path / "reach.gif") as movie:
        assert movie.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_html_page_needs_no_other_file(run, tmp_path):
    movie = movies.animate(run, tmp_path / "reach.html", targets=2)
    page = (tmp_path / "reach.html").read_text(encoding="utf-8")
    frames = re.findall(r'frames\[\d+\] = "data:image/png;base64,([^"]*)"', page)
    usual = np.median(movie.scene.durations)
    assert len(frames) * usual == pytest.approx(
        2 * (10 * run.plant.dt + movies.PAUSE), abs=2 * usual
    )
    pictures = [base64.b64decode(frame.replace("\\", "")) for frame in frames]
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    assert "http" not in page and ".fa-play::before" in page


def test_mp4_is_piped_to_ffmpeg(run, tmp_path, monkeypatch):
    given = []

    def ffmpeg(command, input, **_):
        given.append((command, input))
        (tmp_path / command[-1]).write_bytes(b"movie")
        return subprocess.CompletedProcess(command, 0, b"", b"")

    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(subprocess, "run", ffmpeg)
    movies.animate(run, tmp_path / "reach.mp4", targets=1)
    ((command, pictures),) = given
    pace = float(command[command.index("-framerate") + 1])
    assert pictures.count(b"\x89PNG") / pace == pytest.approx(
        10 * run.plant.dt + movies.PAUSE, abs=1 / pace
    )
    assert [path.name for path in tmp_path.iterdir()] == ["reach.mp4"]
    failed = subprocess.CompletedProcess([], 1, b"", b"some lines\nno codec\n")
    monkeypatch.setattr(subprocess, "run", lambda command, **_: failed)
    with pytest.raises(UsageError, match="no codec"):
        movies.animate(run, tmp_path / "other.mp4", targets=1)


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
def test_ffmpeg_writes_a_movie(run, tmp_path):
    movies.animate(run, tmp_path / "reach.mp4", targets=1)
    assert (tmp_path / "reach.mp4").read_bytes()[4:8] == b"ftyp"


def test_movements_are_those_of_the_run(run):
    comparison = compare_with_optimum(run)
    scene = movies.movement_scene(run, 8)
    ax = scene.figure.axes[0]
    trails, arm = ax.lines[:8], ax.lines[-1]
    frames = len(scene.durations) // 8
    # The end of the second reach.
    scene.draw(2 * frames - 1)
    first, second, third = (line.get_xydata() for line in trails[:3])
    np.testing.assert_array_equal(first, 100 * comparison.paths()[:, :, 0])
    np.testing.assert_array_equal(second, 100 * comparison.paths()[:, :, 1])
    assert np.isnan(third).all()
    np.testing.assert_allclose(arm.get_xydata()[-1], second[-1], rtol=1e-12)
    # Its beginning.
    scene.draw(frames)
    is_visible = np.isfinite(trails[1].get_xydata()).all(axis=1)
    assert is_visible.tolist() == [True] + 10 * [False]
    assert "target 2 of 8" in scene.figure.get_suptitle()


def test_training_shows_every_checkpoint(run, tmp_path):
    scene = movies.training_scene(run)
    files = run.folder.checkpoints()
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
    movies.animate(run, tmp_path / "training.gif", training=True)
    assert gif_length(tmp_path / "training.gif")[1] == pytest.approx(
        sum(scene.durations), abs=0.01 * len(files)
    )


def test_training_with_moving_goals_shows_few_trials(own):
    run = own("puck", "follow")
    scene, files = movies.training_scene(run), run.folder.checkpoints()
    ax, trials = (
        scene.figure.axes[0],
        select_evenly(simulate_training(run), READABLE_TRIALS),
    )
    for k, file in enumerate(files):
        scene.draw(k)
        paths = [
            line for line in ax.lines[READABLE_TRIALS:] if line.get_linestyle() == "-"
        ]
        drawn = np.array([line.get_xydata() for line in paths]).transpose(1, 2, 0)
        np.testing.assert_array_equal(
            drawn,
            scale_of(ax)
            * simulate_training(Run.load(file.path)).rollout.x[:, :2, trials],
        )


def test_training_ends_at_requested_checkpoint(run):
    files = run.folder.checkpoints()
    assert len(movies.training_scene(Run.load(files[1].path)).durations) == 2


def test_many_checkpoints_are_thinned(run, monkeypatch):
    monkeypatch.setattr(movies, "MOST_CHECKPOINTS", 2)
    scene = movies.training_scene(run)
    scene.draw(1)
    assert (
        len(scene.durations) == 2
        and f"{run.state.updates} updates" in scene.figure.get_suptitle()
    )


@pytest.mark.parametrize("training", [False, True])
def test_plant_without_hand_has_movies(pendulum, tmp_path, training):
    movies.animate(pendulum, tmp_path / "movie.gif", targets=2, training=training)
    assert gif_length(tmp_path / "movie.gif")[0] > 1


def test_arm_of_one_link_is_drawn_next_to_its_angle(tmp_path):
    run = hf.train(
        "arm1", hidden=(4,), trials=4, steps=10, batches=2, rollouts=4, out=tmp_path
    )
    scene = movies.movement_scene(run, 4)
    scene.draw(len(scene.durations) - 1)
    traces, arm = scene.figure.axes
    angle = traces.lines[-1].get_ydata()[-1]
    x, y = np.diff(arm.lines[-1].get_xydata(), axis=0)[0]
    assert np.arctan2(y, x) == pytest.approx(angle)


def test_moving_goal_leaves_a_trail(own):
    run = own("puck", "follow")
    scene = movies.movement_scene(run, 3)
    ax, x, goal, _ = draw_trial(scene, run, 1, 7)
    scale = scale_of(ax)
    np.testing.assert_array_equal(ring_of(ax).get_xydata(), scale * goal[7:8, :2])
    dotted = [line.get_xydata() for line in ax.lines if line.get_linestyle() == ":"]
    trails = [line.get_xydata() for line in ax.lines[:3]]
    for lines, expected in ((dotted, goal[:, :2]), (trails, x[:, :2])):
        assert np.isnan(lines[0]).all() and np.isnan(lines[2]).all()
        assert np.isnan(lines[1][8:]).all()
        np.testing.assert_array_equal(lines[1][:8], scale * expected[:8])
    # Only the start of this trial is drawn.
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), scale * x[:1, :2])


def test_goal_of_out_and_back_jumps(own):
    run = own("puck", "back")
    scene = movies.movement_scene(run, 4)
    half = simulate_training(run).scenario.steps // 2
    for step in (0, half, half + 1, 2 * half):
        ax, _, goal, _ = draw_trial(scene, run, 2, step)
        np.testing.assert_array_equal(
            ring_of(ax).get_xydata()[0], scale_of(ax) * goal[step, :2]
        )
        assert goal[step, :2].any() == (step <= half)
        assert f"target 3 of 4, {0.05 * step:.2f} s" in scene.figure.get_suptitle()


def test_free_goal_is_not_marked(own):
    run = own("puck", "around")
    scene = movies.movement_scene(run, 2)
    ax = draw_trial(scene, run, 1, 3)[0]
    assert np.isnan(ring_of(ax).get_ydata()).all()
    assert "trial 2 of 2" in scene.figure.get_suptitle()


def test_nan_separates_strokes_of_links(own):
    """The puck is a solid square with an eye in front and a point in the middle."""
    run = own("puck", "around")
    ax, x, _, _ = draw_trial(movies.movement_scene(run, 2), run, 0, 9)
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
    scene = movies.movement_scene(run, 2)
    for step in (0, 5, 12):
        ax, _, _, u = draw_trial(scene, run, 1, step)
        lamps = ax.collections[-1]
        np.testing.assert_array_equal(
            lamps.get_offsets(), scale_of(ax) * np.array([[2.0, 0.0], [0.0, 2.0]])
        )
        # At the last state the last control stays.
        np.testing.assert_array_equal(lamps.get_array(), u[min(step, 11)] / 2.0)
        assert lamps.get_clim() == (-1, 1)


def test_links_in_space_are_drawn_in_space(own):
    """The trail is that of the last point of links, and the goal is its target."""
    run = own("balloon", "rise")
    scene = movies.movement_scene(run, 2)
    ax, x, goal, _ = draw_trial(scene, run, 1, 6)
    up = np.array([1.0, 1.0, -1.0])
    trails, shadows = ax.lines[2:4], ax.lines[:2]
    ends = x[:, :3] * up
    np.testing.assert_array_equal(np.transpose(trails[1].get_data_3d())[:7], ends[:7])
    assert np.isnan(trails[1].get_data_3d()[2][7:]).all()
    assert np.isfinite(trails[0].get_data_3d()).all()
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


def test_trails_of_earlier_trials_are_faded(run):
    scene = movies.movement_scene(run, 3)
    scene.draw(len(scene.durations) - 1)
    assert [line.get_alpha() for line in scene.figure.axes[0].lines[:3]] == [
        scenes.FADED,
        scenes.FADED,
        1.0,
    ]


def test_palette_has_the_colours_of_every_trial(own, tmp_path, monkeypatch):
    """Trials in the middle, too: the first and last frame do not show them."""
    monkeypatch.setattr(movies, "MOST_FRAMES", 4)
    run = own("puck", "follow")
    movies.animate(run, tmp_path / "reach.gif", targets=4)
    scene = movies.movement_scene(run, 4)
    frames = len(scene.durations) // 4
    with Image.open(tmp_path / "reach.gif") as movie:
        for n, line in enumerate(scene.figure.axes[0].lines[:4]):
            movie.seek((n + 1) * frames - 1)
            pixels = np.asarray(movie.convert("RGB")).reshape(-1, 3).astype(int)
            apart = np.abs(pixels - 255 * np.array(to_rgb(line.get_color()))).max(
                axis=1
            )
            assert apart.min() < 8


@pytest.mark.parametrize(
    "longest, expected, pace", [(10.0, 8, 1), (1.5, 3, 1), (0.6, 2, None)]
)
def test_no_movie_is_longer_than_the_longest(run, monkeypatch, longest, expected, pace):
    """Trials of 0.1 s with a pause after each; the fewest are two, shown faster."""
    monkeypatch.setattr(movies, "LONG_MOVIE", longest)
    scene = movies.movement_scene(run)
    scene.draw(0)
    title = scene.figure.get_suptitle()
    assert f"1 of {expected}," in title
    assert sum(scene.durations) <= longest * (1 + 1e-12)
    if pace is None:
        pauses = 2 * scene.durations[-1]
        pace = 2 * 0.1 / (sum(scene.durations) - pauses)
        assert title.endswith(f"{pace:.3g} \u00d7 as fast") or pace <= 1.01
    else:
        assert "as fast" not in title


@pytest.mark.parametrize(
    "seconds, longest, text",
    [(1.25, 20, "1.25 s"), (90, 600, "1.5 min"), (5400, 86400, "1.5 h")],
)
def test_slow_plants_have_larger_units_of_time(seconds, longest, text):
    assert movies._format_time(seconds, longest) == text


def test_a_movie_shows_in_a_notebook(run):
    movie = movies.animate(run, targets=1)
    assert repr(movie) == f"Movie({len(movie.scene.durations)} frames, 0.5 s)"
    page = movie._repr_html_()
    data = re.fullmatch(r'<img alt=".*" src="data:image/gif;base64,(.*)">', page)
    with Image.open(io.BytesIO(base64.b64decode(data[1]))) as gif:
        assert gif.n_frames == len(movie.scene.durations)


def test_long_trial_has_few_frames(run, monkeypatch):
    monkeypatch.setattr(movies, "MOST_FRAMES", 2)
    scene = movies.movement_scene(run, 1)
    np.testing.assert_allclose(scene.durations, [0.05, 0.05, movies.PAUSE])


@pytest.mark.parametrize("name, task", [("puck", "around"), ("balloon", "rise")])
def test_diverging_trial_is_drawn_while_it_is_finite(own, monkeypatch, name, task):
    run = own(name, task)
    comparison = simulate_training(run)
    x = comparison.rollout.x.copy()
    x[5:, 0], x[7:, 1] = np.inf, np.nan
    monkeypatch.setattr(
        movies,
        "simulate_training",
        lambda _: replace(comparison, rollout=replace(comparison.rollout, x=x)),
    )
    scene = movies.movement_scene(run, 2)
    for k in (0, 9):
        scene.draw(k)
        FigureCanvasAgg(scene.figure).draw()
    low, high = scene.figure.axes[0].get_xlim()
    assert np.isfinite([low, high]).all()
    assert low < scale_of(scene.figure.axes[0]) * x[0, 0, 0] < high


@pytest.mark.parametrize("name", plant_names())
def test_every_shipped_plant_is_drawn(name, monkeypatch):
    """With an untrained controller: the last point of links is the plant's place."""
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
    comparison = Comparison(
        run,
        trainer.task,
        loop,
        loop.rollout(trainer.network.initial(stream(settings.seed, Stream.WEIGHTS))),
        None,
    )
    monkeypatch.setattr(movies, "simulate_training", lambda _: comparison)
    scene = movies.movement_scene(run, 2)
    for k in (0, len(scene.durations) // 2 - 1):
        scene.draw(k)
        FigureCanvasAgg(scene.figure).draw()
    plane = trainer.plant.path_indices
    trial = select_evenly(comparison, 2)[0]
    paths = scene.figure.axes[0]
    if "links" in trainer.plant.functions and plane is not None:
        ax = paths if len(trainer.plant.positions) > 1 else scene.figure.axes[1]
        if name == "diffdrive":
            # Its body is a solid, without rods.
            body = ax.patches[-1].get_xy()
        elif ax.name == "3d":
            body = np.transpose(ax.lines[-1].get_data_3d())
        else:
            body = np.transpose(ax.lines[-1].get_data())
        scale = 100 if "[cm]" in paths.get_xlabel() else 1
        np.testing.assert_allclose(
            body[-1, :2],
            scale * comparison.outputs()[-1, plane[:2], trial],
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
        ("reach.gif", {"targets": -3}, "`targets` -3"),
    ],
)
def test_mistakes_raise_errors_before_any_work(
    run, tmp_path, monkeypatch, name, options, words
):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(movies, "movement_scene", None)
    with pytest.raises(UsageError, match=words):
        movies.animate(run, tmp_path / name, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", movies.WRITERS)
def test_interrupted_movie_leaves_the_old_file(run, tmp_path, monkeypatch, suffix):
    path = tmp_path / f"reach{suffix}"
    path.write_text("before")
    monkeypatch.setattr(shutil, "which", lambda name: name)

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        movies.animate(run, path, targets=1, progress=stop)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
