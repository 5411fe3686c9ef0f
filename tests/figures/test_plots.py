"""Figures show what the run holds, in readable files that are made whole or not at all."""

import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D
from PIL import Image
from trainings import small_run

import hfcontrol as hf
from hfcontrol.errors import UsageError
from hfcontrol.evaluation.evaluation import compare_with_optimum
from hfcontrol.figures import drawing as scenes
from hfcontrol.figures import plots
from hfcontrol.figures.drawing import OPTIMAL, simulated
from hfcontrol.plant.registry import load_plant

ROOT = Path(__file__).parents[2]


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


@pytest.fixture(scope="module")
def pendulum(tmp_path_factory):
    """A run of a plant without a hand and without links."""
    return small_run("pendulum", "swing", tmp_path_factory.mktemp("pendulum"))


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Runs of users' own plants, by plant and task: `own("puck", "follow")`."""
    return cache(
        lambda name, task: small_run(
            name, task, tmp_path_factory.mktemp(f"{name}-{task}")
        )
    )


def drawn(lines):
    """What lines show (T, 2, N)."""
    return np.array([line.get_xydata() for line in lines]).transpose(1, 2, 0)


def scale_of(ax):
    """The number and the unit that lengths along the axis of x have, for each metre."""
    unit = ax.get_xlabel().partition(" ")[2]
    return {"[m]": 1, "[cm]": 100}[unit], unit


def axes_words(figure):
    """Every label of every axis of a figure."""
    return [
        word
        for ax in figure.axes
        for word in (ax.get_xlabel(), ax.get_ylabel())
        if word
    ]


@pytest.mark.parametrize(
    "suffix, begins",
    [(".png", b"\x89PNG"), (".PNG", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")],
)
def test_the_ending_decides_the_format(run, tmp_path, suffix, begins):
    path = tmp_path / f"error{suffix}"
    plots.plot_error(run, path)
    content = path.read_bytes()
    assert content.startswith(begins)
    assert len(content) < 1e6
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_the_same_run_gives_the_same_file(run, tmp_path, suffix):
    files = [tmp_path / f"{k}{suffix}" for k in range(2)]
    for file in files:
        plots.plot(run, "speed", file)
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("axis", plots.AXES)
def test_the_learning_curve_is_that_of_the_run(run, axis):
    left = plots.plot_error(run, axis=axis).axes[0]
    best, curve, holds = left.lines
    marks = [mark for mark in run.state.curve if mark.updates > 0]
    loss = [mark.loss for mark in marks]
    assert curve.get_xdata().tolist() == [getattr(mark, axis) for mark in marks]
    assert curve.get_ydata().tolist() == loss
    assert holds.get_ydata().tolist() == [mark.loss for mark in run.state.history]
    assert best.get_ydata().tolist() == [min(loss[: k + 1]) for k in range(len(loss))]
    assert (left.get_xscale(), left.get_yscale()) == ("log", "log")


def test_the_hand_paths_are_those_of_the_run_over_the_optimum(run):
    judged, figure = compare_with_optimum(run), plots.plot_error(run)
    ax, trials = figure.axes[1], judged.scenario.trials
    optimal, ours = ax.lines[:trials], ax.lines[trials:]
    assert len(ours) == trials
    for lines, x in ((ours, judged.rollout.x), (optimal, judged.optimum.x)):
        drawn = np.array([line.get_xydata() for line in lines]).transpose(1, 2, 0)
        np.testing.assert_array_equal(drawn, 100 * judged.paths(x))
    targets = ax.collections[0].get_offsets().T
    np.testing.assert_array_equal(
        targets, 100 * judged.scenario.goal_output[-1, run.plant.hand]
    )
    assert len({to_hex(line.get_color()) for line in ours}) == trials


def test_controls_and_speeds_are_those_of_the_run(run):
    judged = compare_with_optimum(run)
    time = run.plant.dt * np.arange(judged.scenario.steps)
    for k, ax in enumerate(plots.plot(run, "controls").axes[:2]):
        for n, line in enumerate(ax.lines[judged.scenario.trials :]):
            np.testing.assert_array_equal(
                line.get_xydata(), np.column_stack([time, judged.rollout.u[:, k, n]])
            )
    ax = plots.plot(run, "speed").axes[0]
    x = judged.rollout.x[
        1:
    ].copy()  # with the new rates, by which semi-implicit Euler moves the positions
    x[:, :2] = 0.5 * (judged.rollout.x[1:, :2] + judged.rollout.x[:-1, :2])
    speed = 100 * np.linalg.norm(
        judged.outputs(x)[:, 2:], axis=1
    )  # of the plant's own rates
    drawn = np.array(
        [line.get_ydata() for line in ax.lines[judged.scenario.trials :]]
    ).T
    np.testing.assert_allclose(drawn, speed, rtol=1e-4)


def test_hidden_units_are_sorted_by_their_peaks(run):
    activity = compare_with_optimum(run).rollout.hidden(run.network)
    figure = plots.plot(run, "hidden")
    images = [
        ax.images[0].get_array() for ax in figure.axes if ax.images and ax.get_title()
    ]
    assert [image.shape for image in images] == [
        (size, activity.shape[0]) for size in run.settings.hidden
    ]
    for image in images:
        assert np.all(np.diff(np.abs(image).argmax(axis=1)) >= 0)
    drawn = np.concatenate(images)
    np.testing.assert_array_equal(
        np.sort(drawn, axis=None), np.sort(activity[:, :, 0], axis=None)
    )


def test_a_plant_without_a_hand_shows_its_positions(pendulum):
    judged = compare_with_optimum(pendulum)
    ax = plots.plot_error(pendulum).axes[1]
    drawn = np.array([line.get_ydata() for line in ax.lines[judged.scenario.trials :]])
    np.testing.assert_array_equal(drawn.T, judged.rollout.x[:, 0])
    assert ax.get_ylabel() == "angle [rad]"
    for kind in plots.KINDS:
        plots.plot(pendulum, kind)


def test_a_plant_without_a_place_has_the_speed_of_its_positions(pendulum):
    """Semi-implicit Euler moves a position by its new rate, which is the rate of the state after the step."""
    judged, ax = compare_with_optimum(pendulum), plots.plot(pendulum, "speed").axes[0]
    lines = drawn(ax.lines[judged.scenario.trials :])[:, 1]
    np.testing.assert_allclose(
        lines, np.abs(judged.rollout.x[1:, 1]), rtol=1e-9, atol=1e-13
    )
    assert ax.get_ylabel() == "norm of the rates\n[rad/s]"


@pytest.mark.parametrize(
    "state, plane",
    [
        ("x y x_rate y_rate", (0, 1)),
        ("y x z x_rate y_rate z_rate", (1, 0, 2)),
        ("mass_x rate_x rate_y mass_y", (0, 3)),
        ("elbow_x elbow_y hand_x hand_y", (2, 3)),
        ("hand_y z hand_x", (2, 0)),
        ("x z", None),
        ("x tip_x tip_y", (1, 2)),
        ("a_x b_y", None),
        ("angle rate", None),
    ],
)
def test_a_plants_place_is_found_by_its_names(tmp_path, state, plane):
    names = tuple(state.split())
    source = f"STATE, CONTROL, DT = {names}, ('push',), 0.1\ndef step_batch(x, u, p, dt):\n    return x + dt * u\n"
    (tmp_path / "point.py").write_text(source)
    found = load_plant(tmp_path / "point.py").path_indices
    assert (None if found is None else tuple(found)) == plane


def test_a_place_in_space_is_drawn_from_above_and_against_time(own):
    run = own("balloon", "rise")
    judged, (plane, height) = compare_with_optimum(run), plots.plot(run, "paths").axes
    trials, (scale, unit) = judged.scenario.trials, scale_of(plane)
    np.testing.assert_array_equal(
        drawn(plane.lines[trials:]), scale * judged.rollout.x[:, :2]
    )
    np.testing.assert_array_equal(
        drawn(height.lines[trials:])[:, 1], scale * judged.rollout.x[:, 2]
    )
    assert [ax.get_xlabel() for ax in (plane, height)] == [f"x {unit}", "time [s]"]
    assert [ax.get_ylabel() for ax in (plane, height)] == [f"y {unit}", f"z {unit}"]
    speed = plots.plot(run, "speed").axes[0]
    expected = scale * np.linalg.norm(
        judged.rollout.x[1:, 3:], axis=1
    )  # the new rates, by which the positions are moved
    np.testing.assert_allclose(
        drawn(speed.lines[trials:])[:, 1], expected, rtol=1e-9, atol=1e-12
    )
    assert speed.get_ylabel() == f"speed {unit[:-1]}/s]"


def test_goals_that_move_are_dotted(own):
    run = own("puck", "follow")
    judged, ax = compare_with_optimum(run), plots.plot(run, "paths").axes[0]
    goals = [line for line in ax.lines if line.get_linestyle() == ":"]
    paths = [
        line
        for line in ax.lines
        if line not in goals and to_hex(line.get_color()) != to_hex(OPTIMAL)
    ]
    assert len(goals) == len(paths) == scenes.READABLE < judged.scenario.trials
    shown = [int(n) for n in scenes.chosen(judged, scenes.READABLE)]
    np.testing.assert_array_equal(drawn(goals), judged.scenario.goal[:, :2, shown])
    np.testing.assert_array_equal(drawn(paths), judged.rollout.x[:, :2, shown])
    assert [to_hex(line.get_color()) for line in goals] == [
        to_hex(line.get_color()) for line in paths
    ]
    with pytest.raises(UsageError, match="--kind hidden"):
        plots.plot(run, "tuning")


def test_goals_that_jump_are_marked_where_they_stood(own):
    judged = compare_with_optimum(own("puck", "back"))
    ax, steps = plots.plot(judged.run, "paths").axes[0], judged.scenario.steps
    scale, _ = scale_of(ax)
    assert scenes.stations(judged) == [steps // 2, steps]
    for collection, t in zip(ax.collections, scenes.stations(judged)):
        np.testing.assert_array_equal(
            collection.get_offsets().T, scale * judged.scenario.goal[t, :2]
        )


def test_what_is_not_asked_for_has_no_goal(own):
    """`around` leaves y free here: there is no place to go to, and nothing to mark."""
    judged = compare_with_optimum(own("puck", "around"))
    goals = scenes.goals(judged)
    assert np.isnan(goals[:, 1]).all() and not goals[:, 0].any()
    assert (
        plots.plot(judged.run, "paths")
        .axes[0]
        .collections[0]
        .get_offsets()
        .mask.any(axis=1)
        .all()
    )


def test_trials_are_told_apart_by_what_differs(run, pendulum, own):
    angles, words, cyclic = scenes.ordering(simulated(run))
    np.testing.assert_allclose(angles, 45.0 * np.arange(8), atol=1e-6)
    assert words == "direction of target [deg]" and cyclic
    assert scenes.ordering(simulated(pendulum))[1:] == ("target angle [rad]", False)
    assert scenes.ordering(simulated(own("puck", "around")))[1:] == (
        "start x [m]",
        False,
    )
    assert scenes.ordering(simulated(own("balloon", "rise")))[1:] == (
        "target x [m]",
        False,
    )
    assert scenes.ordering(simulated(own("puck", "follow")))[1:] == ("trial", False)


def test_the_legend_has_the_colours_of_the_lines(run):
    ax = plots.plot(run, "speed").axes[0]
    *network, optimal = ax.get_legend().findobj(Line2D)
    used = {
        to_hex(line.get_color())
        for line in ax.lines[compare_with_optimum(run).scenario.trials :]
    }
    shown = {to_hex(line.get_color()) for line in network}
    assert len(shown) >= 3 and shown <= used
    assert to_hex(optimal.get_color()) == to_hex(OPTIMAL)


def test_cosine_tuning_is_found(rng):
    """From cosines themselves; and from anything else it is the first harmonic of the Fourier series."""
    angles, mean, depth = 360 * rng.random(20), rng.standard_normal(6), rng.random(6)
    preferred = rng.uniform(-np.pi, np.pi, 6)
    activity = mean[:, None] + depth[:, None] * np.cos(
        np.radians(angles) - preferred[:, None]
    )
    for found, true in zip(
        plots.cosine_tuning(angles, activity), (mean, depth, preferred)
    ):
        np.testing.assert_allclose(found, true, rtol=1e-10, atol=1e-12)
    activity = rng.standard_normal((6, 16))
    harmonics = np.fft.rfft(activity) / 16
    mean, depth, preferred = plots.cosine_tuning(22.5 * np.arange(16), activity)
    np.testing.assert_allclose(mean, harmonics[:, 0].real, atol=1e-14)
    np.testing.assert_allclose(
        depth * np.exp(-1j * preferred), 2 * harmonics[:, 1], atol=1e-14
    )


def test_tuning_curves_are_those_of_the_units(run):
    judged = simulated(run)
    activity, directions = (
        judged.rollout.hidden(run.network).mean(axis=0),
        scenes.ordering(judged)[0],
    )
    *curves, polar = plots.plot(run, "tuning").axes
    for layer, first, ax in zip(run.network.layers, (0, 5), curves):
        assert len(ax.lines) == min(layer.size, plots.TUNED)
        for line in ax.lines:
            x, y = line.get_xydata()[:-1].T
            np.testing.assert_array_equal(x, np.sort(directions))
            np.testing.assert_array_equal(
                y, activity[first + int(line.get_label()) - 1]
            )
            assert line.get_xydata()[-1].tolist() == [x[0] + 360, y[0]]
    _, depth, preferred = plots.cosine_tuning(directions, activity)
    shown = np.concatenate([line.get_xydata() for line in polar.lines])
    np.testing.assert_allclose(
        shown, np.column_stack([preferred, depth]), rtol=1e-9, atol=1e-12
    )


def test_tuning_among_random_starts_is_drawn_as_points(own):
    run = own("puck", "around")
    judged, ax = simulated(run), plots.plot(run, "tuning").axes[0]
    activity = judged.rollout.hidden(run.network).mean(axis=0)
    for line in ax.lines:
        assert line.get_linestyle() == "None"
        x, y = line.get_xydata().T
        np.testing.assert_array_equal(x, np.sort(judged.scenario.x0[0]))
        np.testing.assert_array_equal(
            y, activity[int(line.get_label()) - 1, np.argsort(judged.scenario.x0[0])]
        )


@pytest.mark.parametrize("kind", ["hidden", "tuning"])
def test_activity_waits_for_no_optimum(run, monkeypatch, kind):
    monkeypatch.setattr(plots, "compare_with_optimum", None)
    assert "optimal" not in plots.plot(run, kind).get_suptitle()


def test_several_runs_in_one_figure(run, tmp_path):
    rows = [
        (f"run {k}", [mark._replace(loss=mark.loss / k) for mark in run.state.history])
        for k in range(1, 10)
    ]
    figure = plots.plot_holds(rows, tmp_path / "holds.svg")
    for ax, axis in zip(figure.axes, ("rollouts", "seconds")):
        for line, (words, history) in zip(ax.lines, rows, strict=True):
            assert line.get_label() == words
            assert list(line.get_xdata()) == [getattr(mark, axis) for mark in history]
            assert list(line.get_ydata()) == [mark.loss for mark in history]
        assert len(
            {(line.get_color(), line.get_linestyle()) for line in ax.lines}
        ) == len(rows)


@pytest.mark.parametrize(
    "draw",
    [
        plots.plot_error,
        *(lambda run, kind=kind: plots.plot(run, kind) for kind in plots.KINDS),
    ],
)
def test_axes_that_have_a_unit_tell_it(run, draw):
    unitless = {
        "loss",
        "updates",
        "rollouts of the plant",
        "unit, in the order of its peak",
        "mean activity over time",
        "activity in trial 1",
        "preferred direction, depth of tuning",
    }
    words = axes_words(draw(run))
    assert len(words) >= 2
    assert all(word in unitless or word.endswith("]") for word in words), words


def test_the_title_tells_loss_and_ratio(run):
    title = plots.plot(run, "paths").get_suptitle()
    assert (
        "arm2, reach" in title
        and f"{run.state.loss:.2g}" in title
        and "× optimal" in title
    )


def test_a_run_stopped_in_its_first_hold_has_a_figure(run, tmp_path):
    state = run.tree["state"]
    tree = {
        **run.tree,
        "state": {
            **state,
            "history": {name: values[:0] for name, values in state["history"].items()},
            "curve": {name: values[:1] for name, values in state["curve"].items()},
        },
    }
    plots.plot_error(type(run)(run.path, tree), tmp_path / "error.png")
    with Image.open(tmp_path / "error.png") as picture:
        assert picture.width == pytest.approx(2 * 840, abs=1)


@pytest.mark.parametrize(
    "call, words",
    [
        (
            lambda run, folder: plots.plot_error(run, folder / "error.jpg"),
            ".png, .pdf, .svg",
        ),
        (
            lambda run, folder: plots.plot_error(run, folder / "error"),
            ".png, .pdf, .svg",
        ),
        (
            lambda run, folder: plots.plot_error(run, folder / "none" / "error.png"),
            "No such file",
        ),
        (
            lambda run, folder: plots.plot_error(run, axis="hours"),
            "updates, rollouts, seconds",
        ),
        (
            lambda run, folder: plots.plot(run, "phase"),
            "paths, controls, hidden, speed, tuning",
        ),
        (lambda run, folder: plots.plot(run, show=True), "no window can be opened"),
    ],
)
def test_mistakes_are_told_in_one_line(run, tmp_path, monkeypatch, call, words):
    monkeypatch.setenv("MPLBACKEND", "agg")
    with pytest.raises(UsageError, match=words) as error:
        call(run, tmp_path)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_what_was_there_stays_when_drawing_fails(run, tmp_path, monkeypatch):
    path = tmp_path / "error.png"
    path.write_text("before")
    monkeypatch.setattr(plots, "heading", lambda judged: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        plots.plot_error(run, path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_in_the_way_is_told(run, tmp_path):
    (tmp_path / "error.png").mkdir()
    with pytest.raises(UsageError, match="cannot write"):
        plots.plot_error(run, tmp_path / "error.png")
    assert [path.name for path in tmp_path.iterdir()] == ["error.png"]


def test_pyplot_is_left_alone():
    """It would choose a window toolkit for whoever imports this."""
    code = "import sys, hfcontrol.figures.movies, hfcontrol.figures.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
