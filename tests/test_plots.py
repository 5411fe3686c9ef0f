"""Figures show what the run holds, in readable files that are made whole or not at all."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

import hfcontrol as hf
from hfcontrol import plots
from hfcontrol.errors import UsageError
from hfcontrol.evaluation import judge
from trainings import PENDULUM

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny training of the two-link arm: eight targets, a few holds."""
    return hf.train("arm2", hidden=(5, 4), trials=8, steps=10, batches=2, rollouts=12, hold="scenario",
                    out=tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def pendulum(tmp_path_factory):
    """A run of a plant without a hand and without links."""
    folder = tmp_path_factory.mktemp("pendulum")
    (folder / "pendulum.py").write_text(PENDULUM.replace("LINKS", ""))
    return hf.train(str(folder / "pendulum.py"), hidden=(4,), batches=2, rollouts=6, out=folder)


def axes_words(figure):
    """Every label of every axis of a figure."""
    return [word for ax in figure.axes for word in (ax.get_xlabel(), ax.get_ylabel()) if word]


@pytest.mark.parametrize("suffix, begins", [(".png", b"\x89PNG"), (".PNG", b"\x89PNG"), (".pdf", b"%PDF"),
                                            (".svg", b"<?xml")])
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
    assert best.get_ydata().tolist() == [min(loss[:k + 1]) for k in range(len(loss))]
    assert (left.get_xscale(), left.get_yscale()) == ("log", "log")


def test_the_hand_paths_are_those_of_the_run_over_the_optimum(run):
    judged, figure = judge(run), plots.plot_error(run)
    ax, trials = figure.axes[1], judged.scenario.trials
    optimal, ours = ax.lines[:trials], ax.lines[trials:]
    assert len(ours) == trials
    for lines, x in ((ours, judged.rollout.x), (optimal, judged.optimum.x)):
        drawn = np.array([line.get_xydata() for line in lines]).transpose(1, 2, 0)
        np.testing.assert_array_equal(drawn, 100 * judged.paths(x))
    targets = ax.collections[0].get_offsets().T
    np.testing.assert_array_equal(targets, 100 * judged.scenario.goal_output[-1, run.plant.hand])
    assert len({to_hex(line.get_color()) for line in ours}) == trials


def test_controls_and_speeds_are_those_of_the_run(run):
    judged = judge(run)
    time = run.plant.dt * np.arange(judged.scenario.steps)
    for k, ax in enumerate(plots.plot(run, "controls").axes[:2]):
        for n, line in enumerate(ax.lines[judged.scenario.trials:]):
            np.testing.assert_array_equal(line.get_xydata(), np.column_stack([time, judged.rollout.u[:, k, n]]))
    ax = plots.plot(run, "speed").axes[0]
    x = judged.rollout.x[1:].copy()  # with the new rates, by which semi-implicit Euler moves the positions
    x[:, :2] = 0.5 * (judged.rollout.x[1:, :2] + judged.rollout.x[:-1, :2])
    speed = 100 * np.linalg.norm(judged.outputs(x)[:, 2:], axis=1)  # of the plant's own rates
    drawn = np.array([line.get_ydata() for line in ax.lines[judged.scenario.trials:]]).T
    np.testing.assert_allclose(drawn, speed, rtol=1e-4)


def test_hidden_units_are_sorted_by_their_peaks(run):
    activity = judge(run).rollout.hidden(run.network)
    figure = plots.plot(run, "hidden")
    images = [ax.images[0].get_array() for ax in figure.axes if ax.images and ax.get_title()]
    assert [image.shape for image in images] == [(size, activity.shape[0]) for size in run.settings.hidden]
    for image in images:
        assert np.all(np.diff(np.abs(image).argmax(axis=1)) >= 0)
    drawn = np.concatenate(images)
    np.testing.assert_array_equal(np.sort(drawn, axis=None), np.sort(activity[:, :, 0], axis=None))


def test_a_plant_without_a_hand_shows_its_positions(pendulum):
    judged = judge(pendulum)
    ax = plots.plot_error(pendulum).axes[1]
    drawn = np.array([line.get_ydata() for line in ax.lines[judged.scenario.trials:]])
    np.testing.assert_array_equal(drawn.T, judged.rollout.x[:, 0])
    assert ax.get_ylabel() == "angle [rad]"
    for kind in ("paths", "controls", "hidden"):
        plots.plot(pendulum, kind)
    with pytest.raises(UsageError, match="no hand"):
        plots.plot(pendulum, "speed")


def test_several_runs_in_one_figure(run, tmp_path):
    rows = [(f"run {k}", [mark._replace(loss=mark.loss / k) for mark in run.state.history]) for k in range(1, 10)]
    figure = plots.plot_holds(rows, tmp_path / "holds.svg")
    for ax, axis in zip(figure.axes, ("rollouts", "seconds")):
        for line, (words, history) in zip(ax.lines, rows, strict=True):
            assert line.get_label() == words
            assert list(line.get_xdata()) == [getattr(mark, axis) for mark in history]
            assert list(line.get_ydata()) == [mark.loss for mark in history]
        assert len({(line.get_color(), line.get_linestyle()) for line in ax.lines}) == len(rows)


@pytest.mark.parametrize("draw", [plots.plot_error, *(lambda run, kind=kind: plots.plot(run, kind) for kind in plots.KINDS)])
def test_axes_that_have_a_unit_tell_it(run, draw):
    unitless = {"loss", "updates", "rollouts of the plant", "unit, in the order of its peak", "mean activity over time",
                "activity in trial 1"}
    words = axes_words(draw(run))
    assert len(words) >= 2
    assert all(word in unitless or word.endswith("]") for word in words), words


def test_the_title_tells_loss_and_ratio(run):
    title = plots.plot(run, "paths").get_suptitle()
    assert "arm2, reach" in title and f"{run.state.loss:.2g}" in title and "× optimal" in title


def test_a_run_stopped_in_its_first_hold_has_a_figure(run, tmp_path):
    state = run.tree["state"]
    tree = {**run.tree, "state": {**state, "history": {name: values[:0] for name, values in state["history"].items()},
                                     "curve": {name: values[:1] for name, values in state["curve"].items()}}}
    plots.plot_error(type(run)(run.path, tree), tmp_path / "error.png")
    with Image.open(tmp_path / "error.png") as picture:
        assert picture.width == pytest.approx(2 * 840, abs=1)


@pytest.mark.parametrize("call, words", [
    (lambda run, folder: plots.plot_error(run, folder / "error.jpg"), ".png, .pdf, .svg"),
    (lambda run, folder: plots.plot_error(run, folder / "error"), ".png, .pdf, .svg"),
    (lambda run, folder: plots.plot_error(run, folder / "none" / "error.png"), "No such file"),
    (lambda run, folder: plots.plot_error(run, axis="hours"), "updates, rollouts, seconds"),
    (lambda run, folder: plots.plot(run, "phase"), "paths, controls, hidden, speed"),
    (lambda run, folder: plots.plot(run, show=True), "no window can be opened"),
])
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
    code = "import sys, hfcontrol.animate, hfcontrol.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
