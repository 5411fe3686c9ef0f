"""Figures show the numbers of the run; their files are whole or not written."""

import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image
from trainings import small_run

import hfcontrol as hf
from hfcontrol.errors import UsageError
from hfcontrol.evaluation.evaluation import compare_with_optimum
from hfcontrol.figures import coordinates, plots
from hfcontrol.figures.activity import TUNED_UNITS, cosine_tuning
from hfcontrol.figures.canvas import OPTIMAL_COLOUR
from hfcontrol.figures.coordinates import simulate_training
from hfcontrol.figures.output import figure_file
from hfcontrol.plant.registry import load_plant

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pendulum(tmp_path_factory):
    """A run of a plant without a hand or links."""
    return small_run("pendulum", "swing", tmp_path_factory.mktemp("pendulum"))


def line_data(lines):
    """The data of lines (T, 2, N)."""
    return np.array([line.get_xydata() for line in lines]).transpose(1, 2, 0)


def scale_of(ax):
    """The factor from metres, and the unit, of lengths along the x axis."""
    unit = ax.get_xlabel().partition(" ")[2]
    return {"[m]": 1, "[cm]": 100}[unit], unit


def axis_labels(figure):
    """Every label of every axis of a figure."""
    labels = []
    for ax in figure.axes:
        labels += [ax.get_xlabel(), ax.get_ylabel()]
    return [label for label in labels if label]


@pytest.mark.parametrize(
    "suffix, begins",
    [(".png", b"\x89PNG"), (".PNG", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")],
)
def test_suffix_decides_the_format(run, tmp_path, suffix, begins):
    path = tmp_path / f"error{suffix}"
    plots.plot_error(run, path)
    content = path.read_bytes()
    assert content.startswith(begins)
    assert len(content) < 1e6
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_same_run_gives_same_file(run, tmp_path, suffix):
    files = [tmp_path / f"{k}{suffix}" for k in range(2)]
    for file in files:
        plots.plot(run, "speed", file)
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("axis", plots.AXES)
def test_learning_curve_is_that_of_the_run(run, axis):
    left = plots.plot_error(run, axis=axis).axes[0]
    best, curve, holds, first, optimum = left.lines
    points = [point for point in run.state.curve if point.updates > 0]
    loss = [point.loss for point in points]
    assert curve.get_xdata().tolist() == [getattr(point, axis) for point in points]
    assert curve.get_ydata().tolist() == loss
    assert holds.get_ydata().tolist() == [point.loss for point in run.state.history]
    assert best.get_ydata().tolist() == [min(loss[: k + 1]) for k in range(len(loss))]
    assert (left.get_xscale(), left.get_yscale()) == ("log", "log")
    # Lines across: the loss before the first update, and the mean optimal loss.
    optimal = np.mean(compare_with_optimum(run).optimum.losses)
    assert set(first.get_ydata()) == {run.history.loss[0]}
    np.testing.assert_allclose(optimum.get_ydata(), optimal, rtol=1e-12)


def test_hand_paths_are_those_of_the_run_over_the_optimum(run):
    comparison, figure = compare_with_optimum(run), plots.plot_error(run)
    ax, trials = figure.axes[1], comparison.scenario.trials
    optimal, ours = ax.lines[:trials], ax.lines[trials:]
    assert len(ours) == trials
    for lines, x in ((ours, comparison.rollout.x), (optimal, comparison.optimum.x)):
        np.testing.assert_array_equal(line_data(lines), 100 * comparison.paths(x))
    targets = ax.collections[0].get_offsets().T
    np.testing.assert_array_equal(
        targets, 100 * comparison.scenario.goal_output[-1, run.plant.hand]
    )
    assert len({to_hex(line.get_color()) for line in ours}) == trials


def test_controls_and_speeds_are_those_of_the_run(run):
    comparison = compare_with_optimum(run)
    time = run.plant.dt * np.arange(comparison.scenario.steps)
    for k, ax in enumerate(plots.plot(run, "controls").axes[:2]):
        for n, line in enumerate(ax.lines[comparison.scenario.trials :]):
            np.testing.assert_array_equal(
                line.get_xydata(),
                np.column_stack([time, comparison.rollout.u[:, k, n]]),
            )
    ax = plots.plot(run, "speed").axes[0]
    # Semi-implicit Euler moves the positions by the new rates.
    states = comparison.rollout.x
    x = states[1:].copy()
    x[:, :2] = 0.5 * (states[1:, :2] + states[:-1, :2])
    # The plant's own rates.
    speed = 100 * np.linalg.norm(comparison.outputs(x)[:, 2:], axis=1)
    drawn = np.array(
        [line.get_ydata() for line in ax.lines[comparison.scenario.trials :]]
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


def test_plant_without_hand_shows_its_positions(pendulum):
    comparison = compare_with_optimum(pendulum)
    ax = plots.plot_error(pendulum).axes[1]
    drawn = np.array(
        [line.get_ydata() for line in ax.lines[comparison.scenario.trials :]]
    )
    np.testing.assert_array_equal(drawn.T, comparison.rollout.x[:, 0])
    assert ax.get_ylabel() == "angle [rad]"
    for kind in plots.KINDS:
        plots.plot(pendulum, kind)


def test_plant_without_place_shows_norm_of_rates(pendulum):
    """Semi-implicit Euler moves a position by the rate of the next state."""
    comparison = compare_with_optimum(pendulum)
    ax = plots.plot(pendulum, "speed").axes[0]
    lines = line_data(ax.lines[comparison.scenario.trials :])[:, 1]
    np.testing.assert_allclose(
        lines, np.abs(comparison.rollout.x[1:, 1]), rtol=1e-9, atol=1e-13
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
def test_place_of_a_plant_is_found_by_its_names(tmp_path, state, plane):
    names = tuple(state.split())
    source = f"""
STATE, CONTROL, DT = {names}, ('push',), 0.1
def step_batch(x, u, p, dt):
    return x + dt * u
"""
    (tmp_path / "point.py").write_text(source)
    found = load_plant(tmp_path / "point.py").path_indices
    assert (None if found is None else tuple(found)) == plane


def test_path_in_space_is_drawn_from_above_and_against_time(own):
    run = own("balloon", "rise")
    comparison = compare_with_optimum(run)
    plane, height = plots.plot(run, "paths").axes
    trials = comparison.scenario.trials
    scale, unit = scale_of(plane)
    np.testing.assert_array_equal(
        line_data(plane.lines[trials:]), scale * comparison.rollout.x[:, :2]
    )
    np.testing.assert_array_equal(
        line_data(height.lines[trials:])[:, 1], scale * comparison.rollout.x[:, 2]
    )
    assert [ax.get_xlabel() for ax in (plane, height)] == [f"x {unit}", "time [s]"]
    assert [ax.get_ylabel() for ax in (plane, height)] == [f"y {unit}", f"z {unit}"]
    speed = plots.plot(run, "speed").axes[0]
    # Positions are moved by the new rates.
    rates = comparison.rollout.x[1:, 3:]
    expected = scale * np.linalg.norm(rates, axis=1)
    np.testing.assert_allclose(
        line_data(speed.lines[trials:])[:, 1], expected, rtol=1e-9, atol=1e-12
    )
    assert speed.get_ylabel() == f"speed {unit[:-1]}/s]"


def test_moving_goals_are_dotted(own):
    run = own("puck", "follow")
    comparison = compare_with_optimum(run)
    ax = plots.plot(run, "paths").axes[0]
    goals = [line for line in ax.lines if line.get_linestyle() == ":"]
    paths = [
        line
        for line in ax.lines
        if line not in goals and to_hex(line.get_color()) != to_hex(OPTIMAL_COLOUR)
    ]
    assert (
        len(goals)
        == len(paths)
        == coordinates.READABLE_TRIALS
        < comparison.scenario.trials
    )
    count = coordinates.READABLE_TRIALS
    shown = [int(n) for n in coordinates.select_evenly(comparison, count)]
    np.testing.assert_array_equal(
        line_data(goals), comparison.scenario.goal[:, :2, shown]
    )
    np.testing.assert_array_equal(line_data(paths), comparison.rollout.x[:, :2, shown])
    assert [to_hex(line.get_color()) for line in goals] == [
        to_hex(line.get_color()) for line in paths
    ]
    with pytest.raises(UsageError, match="`kind=hidden`"):
        plots.plot(run, "tuning")


def test_jumping_goals_are_marked_where_they_stood(own):
    comparison = compare_with_optimum(own("puck", "back"))
    ax, steps = plots.plot(comparison.run, "paths").axes[0], comparison.scenario.steps
    scale, _ = scale_of(ax)
    assert coordinates.standing_goal_times(comparison) == [steps // 2, steps]
    # The last collection are the starts.
    times = coordinates.standing_goal_times(comparison)
    for collection, t in zip(ax.collections[:-1], times, strict=True):
        np.testing.assert_array_equal(
            collection.get_offsets().T, scale * comparison.scenario.goal[t, :2]
        )


def test_free_coordinate_has_no_goal(own):
    """`around` leaves y free here: there is no goal in the plane to mark."""
    comparison = compare_with_optimum(own("puck", "around"))
    goals = coordinates.goal_coordinates(comparison)
    assert np.isnan(goals[:, 1]).all() and not goals[:, 0].any()
    ax = plots.plot(comparison.run, "paths").axes[0]
    offsets = ax.collections[0].get_offsets()
    assert offsets.mask.any(axis=1).all()


def test_trials_are_ordered_by_what_differs_between_them(run, pendulum, own):
    angles, label, is_cyclic = coordinates.order_trials(simulate_training(run))
    np.testing.assert_allclose(angles, 45.0 * np.arange(8), atol=1e-6)
    assert label == "direction of target [deg]" and is_cyclic
    assert coordinates.order_trials(simulate_training(pendulum))[1:] == (
        "target angle [rad]",
        False,
    )
    assert coordinates.order_trials(simulate_training(own("puck", "around")))[1:] == (
        "start x [m]",
        False,
    )
    assert coordinates.order_trials(simulate_training(own("balloon", "rise")))[1:] == (
        "target x [m]",
        False,
    )
    assert coordinates.order_trials(simulate_training(own("puck", "follow")))[1:] == (
        "trial",
        False,
    )


def test_legend_has_the_colours_of_the_lines(run):
    ax = plots.plot(run, "speed").axes[0]
    *network, optimal = ax.get_legend().findobj(Line2D)
    used = {
        to_hex(line.get_color())
        for line in ax.lines[compare_with_optimum(run).scenario.trials :]
    }
    shown = {to_hex(line.get_color()) for line in network}
    assert len(shown) >= 3 and shown <= used
    assert to_hex(optimal.get_color()) == to_hex(OPTIMAL_COLOUR)


def test_cosine_tuning_is_first_harmonic_of_fourier_series(rng):
    """Cosines are found exactly."""
    angles, mean, depth = 360 * rng.random(20), rng.standard_normal(6), rng.random(6)
    preferred = rng.uniform(-np.pi, np.pi, 6)
    activity = mean[:, None] + depth[:, None] * np.cos(
        np.radians(angles) - preferred[:, None]
    )
    fit = cosine_tuning(angles, activity)
    for found, true in zip(fit, (mean, depth, preferred), strict=True):
        np.testing.assert_allclose(found, true, rtol=1e-10, atol=1e-12)
    activity = rng.standard_normal((6, 16))
    harmonics = np.fft.rfft(activity) / 16
    mean, depth, preferred = cosine_tuning(22.5 * np.arange(16), activity)
    np.testing.assert_allclose(mean, harmonics[:, 0].real, atol=1e-14)
    np.testing.assert_allclose(
        depth * np.exp(-1j * preferred), 2 * harmonics[:, 1], atol=1e-14
    )


def test_tuning_curves_are_those_of_the_units(run):
    comparison = simulate_training(run)
    activity = comparison.rollout.hidden(run.network).mean(axis=0)
    directions = coordinates.order_trials(comparison).values
    *curves, polar = plots.plot(run, "tuning").axes
    for layer, first, ax in zip(run.network.layers[:-1], (0, 5), curves, strict=True):
        assert len(ax.lines) == min(layer.size, TUNED_UNITS)
        for line in ax.lines:
            x, y = line.get_xydata()[:-1].T
            np.testing.assert_array_equal(x, np.sort(directions))
            np.testing.assert_array_equal(
                y, activity[first + int(line.get_label()) - 1]
            )
            assert line.get_xydata()[-1].tolist() == [x[0] + 360, y[0]]
    _, depth, preferred = cosine_tuning(directions, activity)
    shown = np.concatenate([line.get_xydata() for line in polar.lines])
    np.testing.assert_allclose(
        shown, np.column_stack([preferred, depth]), rtol=1e-9, atol=1e-12
    )


def test_tuning_over_random_starts_is_drawn_as_points(own):
    run = own("puck", "around")
    comparison = simulate_training(run)
    ax = plots.plot(run, "tuning").axes[0]
    activity = comparison.rollout.hidden(run.network).mean(axis=0)
    for line in ax.lines:
        assert line.get_linestyle() == "None"
        x, y = line.get_xydata().T
        np.testing.assert_array_equal(x, np.sort(comparison.scenario.x0[0]))
        np.testing.assert_array_equal(
            y,
            activity[int(line.get_label()) - 1, np.argsort(comparison.scenario.x0[0])],
        )


@pytest.mark.parametrize("kind", ["hidden", "tuning"])
def test_hidden_activity_needs_no_optimum(run, monkeypatch, kind):
    monkeypatch.setattr(plots, "compare_with_optimum", None)
    assert "optimal" not in plots.plot(run, kind).get_suptitle()


@pytest.mark.parametrize(
    "draw",
    [
        plots.plot_error,
        *(lambda run, kind=kind: plots.plot(run, kind) for kind in plots.KINDS),
    ],
)
def test_axis_labels_have_units(run, draw):
    unitless = {
        "loss",
        "updates",
        "rollouts of the plant",
        "unit, in the order of its peak",
        "mean activity over time",
        "activity in trial 1",
        "preferred direction, depth of tuning",
    }
    labels = axis_labels(draw(run))
    assert len(labels) >= 2
    assert all(label in unitless or label.endswith("]") for label in labels), labels


def test_title_shows_loss_and_ratio(run):
    title = plots.plot(run, "paths").get_suptitle()
    assert "arm2, reach" in title
    assert f"{run.state.loss:.2g}" in title
    assert "× optimal" in title


def test_run_stopped_in_first_hold_has_a_figure(run, tmp_path):
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
            lambda run, folder: plots.plot(run, "gait"),
            "paths, states, phase, controls, hidden, speed, tuning",
        ),
        (lambda run, folder: plots.plot(run, show=True), "no window can be opened"),
    ],
)
def test_mistakes_raise_errors_of_one_line(run, tmp_path, monkeypatch, call, words):
    monkeypatch.setenv("MPLBACKEND", "agg")
    with pytest.raises(UsageError, match=words) as error:
        call(run, tmp_path)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_old_file_stays_if_drawing_fails(run, tmp_path, monkeypatch):
    path = tmp_path / "error.png"
    path.write_text("before")
    monkeypatch.setattr(plots, "figure_title", lambda comparison: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        plots.plot_error(run, path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_folder_in_place_of_file_raises_error(run, tmp_path):
    (tmp_path / "error.png").mkdir()
    with pytest.raises(UsageError, match="cannot write"):
        plots.plot_error(run, tmp_path / "error.png")
    assert [path.name for path in tmp_path.iterdir()] == ["error.png"]


def test_import_leaves_pyplot_alone():
    """Importing pyplot would choose a window toolkit."""
    code = """
import sys
import hfcontrol.figures.movies
import hfcontrol.figures.plots
sys.exit('matplotlib.pyplot' in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_figures_do_not_depend_on_the_users_style(tmp_path):
    """LaTeX need not be installed, and a tight box would change the size."""
    paths = [tmp_path / "plain.png", tmp_path / "own.png"]
    own = {"text.usetex": True, "savefig.bbox": "tight", "font.size": 30}
    for path, style in zip(paths, ({}, own), strict=True):
        with rc_context(style), figure_file(3, 2, path) as figure:
            figure.add_subplot(title="a title")
    plain, styled = (path.read_bytes() for path in paths)
    assert plain == styled


class Cart:
    """A cart with a pole: the tip moves along, and the task is about the states."""

    SOURCE = """
STATE = ("cart", "pole", "cart_rate", "pole_rate")
CONTROL, OUTPUT = ("push",), ("hand_x", "hand_y")
DT, INTEGRATOR = 0.05, "semi_implicit"
def dynamics(x, u, p, dx):
    dx[0] = x[2]
    dx[1] = x[3]
    dx[2] = u[0]
    dx[3] = x[1] - u[0]
def output(x, p, z):
    z[0] = x[0] + x[1]
    z[1] = 1.0 - 0.5 * x[1] * x[1]
TASKS = {"stand": {"generator": "around", "start": (0.0,) * 4,
                   "spread": (0.1, 0.1, 0.0, 0.0), "target": (0.0,) * 4,
                   "trials": 4, "steps": 10, "effort": 1e-2, "running": 1.0,
                   "success": {"state": 1e-9}}}
"""


@pytest.fixture(scope="module")
def cart(tmp_path_factory):
    """A run of a plant whose hand is no place that it could choose."""
    folder = tmp_path_factory.mktemp("cart")
    (folder / "cart.py").write_text(Cart.SOURCE)
    plain = {"strategy": "plain", "seed": 0}
    return hf.train(folder / "cart.py", hidden=(4,), rollouts=8, out=folder, **plain)


def test_a_plant_that_only_drags_its_hand_shows_states_and_a_phase_plane(cart):
    comparison = compare_with_optimum(cart)
    trials, x = comparison.scenario.trials, comparison.rollout.x
    figure = plots.plot_error(cart)
    panels = [ax for ax in figure.axes if ax.get_ylabel().startswith(("cart", "pole"))]
    *states, first_plane, second_plane = panels
    assert [ax.get_ylabel() for ax in states] == [
        name.replace("_", " ") for name in cart.plant.state
    ]
    for k, ax in enumerate(states):
        drawn = line_data(ax.lines[trials:])
        np.testing.assert_array_equal(drawn[:, 1], x[:, k])
        goals = ax.collections[0].get_offsets()
        np.testing.assert_array_equal(goals[:, 1], 0.0)
    for ax, pair in ((first_plane, [0, 2]), (second_plane, [1, 3])):
        np.testing.assert_array_equal(line_data(ax.lines[trials:]), x[:, pair])
    # An arm has a control for each position: its hand goes where it wants to.
    assert not coordinates.has_task_in_plane(comparison)


def test_places_that_are_states_are_drawn_in_the_plane(own, run):
    assert coordinates.has_task_in_plane(simulate_training(run))
    assert coordinates.has_task_in_plane(simulate_training(own("puck", "follow")))


def test_a_criterion_that_fails_good_trials_is_in_the_title(cart, run, monkeypatch):
    """Nearly optimal, and yet without success: the title says what success is."""
    monkeypatch.setattr(plots, "NEAR_OPTIMAL", np.inf)
    title = plots.plot(cart, "states").get_suptitle()
    assert "success 0 %: final state error below 1e-09" in title
    monkeypatch.setattr(plots, "NEAR_OPTIMAL", 0.0)
    assert "success" not in plots.plot(cart, "states").get_suptitle()


def test_one_trial_is_drawn_alone(run):
    comparison = compare_with_optimum(run)
    states = plots.plot(run, "states", trial=3)
    for k, ax in enumerate(states.axes[:4]):
        _, ours = ax.lines
        np.testing.assert_array_equal(ours.get_ydata(), comparison.rollout.x[:, k, 2])
    hidden = plots.plot(run, "hidden", trial=8)
    drawn = np.concatenate([ax.images[0].get_array() for ax in hidden.axes[:2]])
    activity = comparison.rollout.hidden(run.network)[:, :, 7]
    np.testing.assert_array_equal(np.sort(drawn, axis=None), np.sort(activity, None))
    for kind, trial in (("hidden", 9), ("hidden", 0), ("paths", 0), ("tuning", 1)):
        with pytest.raises(UsageError, match=f"`trial` {trial}"):
            plots.plot(run, kind, trial=trial)


def test_a_figure_is_a_picture_in_a_notebook(run):
    """Also without pyplot, whose import would teach notebooks to show figures."""
    figure = plots.plot(run, "paths")
    with Image.open(BytesIO(figure._repr_png_())) as picture:
        assert picture.format == "PNG"
        np.testing.assert_allclose(picture.size, figure.get_size_inches() * figure.dpi)


def test_figures_go_into_the_axes_of_the_caller(run):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert hf.plot(run, "loss", axes=left) is figure
    assert plots.plot(run, "paths", axes=right) is figure
    assert left.lines and right.lines and not figure.get_suptitle()
    with pytest.raises(UsageError, match="needs 2 axes, but 1 came"):
        plots.plot(run, "controls", axes=left)
    for wrong in ("left", [], [left, 5]):
        with pytest.raises(UsageError, match="`axes`: must be axes of matplotlib"):
            plots.plot(run, "controls", axes=wrong)
    with pytest.raises(UsageError, match="panels of its own"):
        hf.plot(run, "error", axes=left)


def test_several_runs_are_overlaid_in_a_colour_each(run, cart):
    trials = compare_with_optimum(run).scenario.trials
    runs = [run, type(run)(run.path.with_name("twin"), run.tree)]
    ax = plots.plot_runs(runs, "paths").axes[0]
    colours = [to_hex(line.get_color()) for line in ax.lines]
    assert len(ax.lines) == 3 * trials and len(set(colours)) == 3
    assert colours.count(to_hex(OPTIMAL_COLOUR)) == trials
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == [run.path.name, "twin"]
    curves = hf.plot([run, cart], "loss", axis="rollouts").axes[0]
    assert len(curves.lines) == 4
    assert curves.lines[2].get_xdata().tolist() == cart.history.rollouts[1:].tolist()
    with pytest.raises(UsageError, match="of plants with other states"):
        plots.plot_runs([run, cart], "paths")
    with pytest.raises(UsageError, match="shows a single run, but 2"):
        plots.plot_runs(runs, "hidden")
    with pytest.raises(UsageError, match="the list of runs is empty"):
        hf.plot([])
