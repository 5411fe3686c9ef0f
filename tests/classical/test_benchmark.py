"""The benchmark: the same scenarios for all, honest numbers, and what is left out."""

import json

import numpy as np
import pytest
from trainings import SMALL, call, complaint, small_run, strict_json, write_cart

import hfcontrol as hf
from hfcontrol.classical.benchmark import BACK, OUT, compare_controllers
from hfcontrol.errors import UsageError
from hfcontrol.evaluation.evaluation import evaluate
from hfcontrol.figures.benchmarks import plot_benchmark
from hfcontrol.runs.run import Run

pytestmark = pytest.mark.slow

LAWS = ["pd", "operational_space", "lqr", "ilqr"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def run(folder):
    """A controller of arm2 that reaches roughly."""
    return hf.train("arm2", out=folder, **{**SMALL, "steps": 20})


@pytest.fixture(scope="module")
def parked(folder):
    """A controller of a plant without a hand."""
    cart = str(write_cart(folder))
    return hf.train(cart, out=folder, hidden=(4,), batches=2, rollouts=6)


@pytest.fixture(scope="module")
def result(run):
    return compare_controllers([run])


@pytest.fixture(scope="module")
def numbers(result):
    return result.numbers()


def rows_of(numbers, **chosen):
    """The rows with some values."""
    pairs = chosen.items()
    return [row for row in numbers["rows"] if all(row[k] == v for k, v in pairs)]


def test_every_controller_has_a_row_in_every_case(run, numbers):
    name = run.path.name
    cases = [(m, c) for m in (OUT, BACK) for c in ("nominal", "noise", "load")]
    found = [(r["motion"], r["condition"], r["controller"]) for r in numbers["rows"]]
    assert found == [(*case, who) for case in cases for who in (name, *LAWS)]
    assert numbers["left_out"] == {}
    assert all(row["microseconds"] > 0 for row in numbers["rows"])
    json.dumps(numbers, allow_nan=False)


@pytest.mark.parametrize(
    "condition, changes",
    [
        ("nominal", {}),
        ("noise", {"sensory_noise": 0.005, "motor_noise": "5%"}),
        ("load", {"vary": ("load=0..1",)}),
    ],
)
def test_a_trained_row_equals_its_evaluation(run, numbers, condition, changes):
    held_out = evaluate(run, run.settings.changed(**changes))["sets"]["held_out"]
    (row,) = rows_of(numbers, motion=OUT, condition=condition, controller=run.path.name)
    for name in ("loss", "optimal_loss", "ratio", "success"):
        assert row[name] == pytest.approx(held_out[name], rel=1e-12)
    assert row["error"] == held_out["error"]


def test_all_controllers_get_the_same_noise(run, result):
    """Of the controls, what is not the law's is that of the scenario."""
    (case,) = (c for c in result.cases if (c.motion, c.condition) == (OUT, "noise"))
    scenario = case.comparison.scenario
    assert scenario.motor_gain.std() == pytest.approx(0.05, rel=0.1)
    for movement in case.movements.values():
        noisy = movement.arriving * (1 + scenario.motor_gain) + scenario.motor_noise
        np.testing.assert_allclose(movement.u, noisy, atol=1e-12)
        seen = movement.x[:-1] + scenario.sensory_noise
        np.testing.assert_allclose(movement.y, seen, atol=1e-12)


def test_the_way_back_begins_where_the_way_out_has_ended(run, result):
    """The first half is the way out, and the state is not reset."""
    cases = {(c.motion, c.condition): c for c in result.cases}
    out, back = cases[OUT, "nominal"], cases[BACK, "nominal"]
    steps = out.comparison.scenario.steps
    for name in (run.path.name, "pd", "operational_space", "lqr"):
        whole, half = back.movements[name].x, out.movements[name].x
        np.testing.assert_allclose(whole[: steps + 1], half, atol=1e-12)
        moved = np.abs(whole[steps + 1] - whole[steps]).max()
        assert moved < 10 * np.abs(np.diff(half, axis=0)).max()
    start = back.comparison.scenario.x0
    np.testing.assert_array_equal(back.comparison.scenario.goal[-1], start)
    final = back.movements["ilqr"].x[-1]
    assert np.abs(final - start).max() < 0.2 * np.abs(whole[steps] - start).max()


def test_a_way_back_costs_as_much_as_a_way_out_that_is_undone(result):
    """The cost of a movement out and back is that of both halves."""
    cases = {(c.motion, c.condition): c for c in result.cases}
    out, back = cases[OUT, "nominal"], cases[BACK, "nominal"]
    steps = out.comparison.scenario.steps
    movement = back.movements["lqr"]
    first = out.comparison.scenario.cost.losses(
        movement.x[: steps + 1], movement.u[:steps]
    )
    effort = 0.5 * 1e-5 * (movement.u[steps:] ** 2).sum(axis=(0, 1))
    start = movement.x[0]
    final = 0.5 * ((movement.x[-1] - start) ** 2).sum(axis=0)
    np.testing.assert_allclose(movement.losses, first + effort + final, rtol=1e-12)


def test_no_controller_beats_the_optimum_and_the_plan_attains_it(numbers):
    for row in rows_of(numbers, condition="nominal"):
        assert row["ratio"] > 1 - 1e-6
        if row["controller"] == "ilqr":
            assert row["ratio"] == pytest.approx(1, abs=1e-4)


def test_the_same_call_gives_the_same_numbers(run, numbers):
    again = compare_controllers([run], ["pd"], trials=8).numbers()
    for row in rows_of(again, controller="pd"):
        (before,) = rows_of(
            numbers, **{k: row[k] for k in ("motion", "condition", "controller")}
        )
        assert {**row, "microseconds": 0} == {**before, "microseconds": 0}


def test_laws_that_a_plant_does_not_allow_are_left_out_with_a_reason(parked):
    numbers = compare_controllers([parked], trials=2).numbers()
    assert numbers["left_out"] == {
        "load": "cart has no parameter load; name another one with `vary` or `param`",
        "operational_space": "cart has no hand (hand_x and hand_y among its OUTPUT "
        "names)",
    }
    assert list(numbers["gains"]) == ["pd", "lqr"]
    assert rows_of(numbers, motion=BACK, controller="pd", condition="noise")


def test_a_task_with_moving_goals_has_no_way_back(folder):
    run = small_run("puck", "follow", folder)
    numbers = compare_controllers([run], trials=3).numbers()
    assert {row["motion"] for row in numbers["rows"]} == {OUT}
    assert "no single goal" in numbers["left_out"][BACK]
    assert "goal moves" in numbers["left_out"]["lqr"]


def test_a_way_back_that_the_trials_do_not_have_is_left_out(folder):
    """Of trials that a plant file draws with a moving goal."""
    moving = {
        "goal": (
            "return np.zeros((2, trials)), np.stack([places, np.zeros(trials)])",
            "goal = np.stack([places, np.zeros(trials)])\n"
            "    return np.zeros((2, trials)), np.tile(goal, (11, 1, 1))",
        )
    }
    path = folder / "moving"
    path.mkdir()
    cart = str(write_cart(path, **moving))
    run = hf.train(cart, out=folder, hidden=(4,), batches=2, rollouts=6)
    numbers = hf.benchmark(run, ["pd"], 3)
    assert "no single goal" in numbers["left_out"][BACK]
    assert len(rows_of(numbers, controller="pd")) == 2


def test_several_runs_and_conditions_of_ones_own(run, folder):
    other = hf.train("arm2", task="out_and_back", out=folder, **SMALL)
    numbers = hf.benchmark(
        [run, str(other.path)], ["pd"], 4, motor_noise="20%", feedback_delay=2
    )
    names = [run.path.name, other.path.name, "pd"]
    assert [r["controller"] for r in rows_of(numbers, motion=OUT)] == 3 * names
    assert numbers["conditions"] == {
        "nominal": {"feedback_delay": 2},
        "noise": {"feedback_delay": 2, "motor_noise": "20%"},
        "load": {"feedback_delay": 2, "vary": ("load=0..1",)},
    }


def test_a_run_under_its_own_noise_keeps_it(folder):
    run = hf.train("arm2", out=folder, motor_noise="9%", **SMALL)
    numbers = hf.benchmark(run, ["pd"], 4)
    assert numbers["conditions"]["noise"] == {"motor_noise": "9%"}
    assert numbers["conditions"]["nominal"] == {}


def test_a_figure_has_a_panel_for_each_controller_and_condition(result, tmp_path):
    path = tmp_path / "paths.png"
    figure = plot_benchmark(result, path)
    assert path.stat().st_size > 10_000
    assert len(figure.axes) == 3 * 5
    titles = [ax.get_title() for ax in figure.axes[1:5]]
    assert titles == ["PD + gravity", "operational space", "LQR", "iLQR + feedback"]
    # Each shown trial has a line out and a line back.
    assert {len(ax.lines) for ax in figure.axes} == {16}
    assert all(ax.texts[0].get_text() for ax in figure.axes)
    again = tmp_path / "again.png"
    plot_benchmark(result, again)
    assert again.read_bytes() == path.read_bytes()


def test_a_plant_without_a_place_is_drawn_against_time(parked, tmp_path):
    result = compare_controllers([parked], ["pd"], trials=2)
    figure = plot_benchmark(result, tmp_path / "cart.png")
    assert figure.axes[-1].get_xlabel() == "time [s]"


MISTAKES = [
    (["nothing"], {}, "nothing"),
    (None, {"controllers": ["pid"]}, "pid: unknown; there are pd, operational_space"),
    (None, {"trials": 0}, "`trials` 0: must be a whole number of at least 1"),
    (None, {"effort": 1.0}, "`effort` 1.0: not a condition"),
    (None, {"feedback_delay": 99}, "does not fit"),
]


@pytest.mark.parametrize("runs, keywords, words", MISTAKES)
def test_mistakes_are_answered_by_one_line(run, runs, keywords, words):
    with pytest.raises(hf.HFControlError) as caught:
        hf.benchmark(runs or run, **keywords)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_law_by_name_must_be_possible(parked):
    with pytest.raises(UsageError, match="`controllers` operational_space: cart has"):
        hf.benchmark(parked, ["operational_space"])


def test_runs_must_be_of_one_plant(run, parked):
    with pytest.raises(UsageError, match="runs of one plant"):
        hf.benchmark([run, parked])


def test_the_command_prints_a_table_and_writes_two_files(run, capsys, tmp_path):
    arguments = ["benchmark", run.path, "--trials", 4, "--out", tmp_path]
    status, out, err = call(capsys, *arguments, "--controllers", "pd,lqr")
    assert (status, err) == (0, f"run {run.path}\n")
    table = tmp_path / f"benchmark-{run.path.name}.json"
    numbers = json.loads(table.read_text())
    assert out.splitlines()[0] == "arm2 reach, 4 trials"
    assert out.count("PD + gravity") == out.count("LQR") == 6
    assert all(f"{row['loss']:.3e}" in out for row in numbers["rows"])
    assert out.splitlines()[-2:] == [str(table.with_suffix(".png")), str(table)]
    assert table.with_suffix(".png").stat().st_size > 10_000


def test_the_command_prints_json(parked, capsys, tmp_path):
    arguments = ["benchmark", parked.path, "--controllers", "lqr", "--json"]
    arguments += ["--trials", 2]
    status, out, _ = call(capsys, *arguments, "--out", tmp_path)
    assert status == 0
    assert {row["controller"] for row in strict_json(out)["rows"]} == {
        parked.path.name,
        "lqr",
    }


@pytest.mark.parametrize(
    "arguments, words",
    [
        ("--controllers pid", "--controllers pid: unknown"),
        ("--controllers pd,operational-space", "operational_space: cart has no hand"),
        ("--motor-noise loud", "--motor-noise loud"),
        ("--vary load=0..1", "load"),
        ("--trials 0", "--trials 0"),
    ],
)
def test_mistakes_of_the_command(parked, capsys, tmp_path, arguments, words):
    line = complaint(
        capsys,
        "benchmark",
        parked.path,
        *arguments.split(),
        "--out",
        tmp_path,
        status=2,
    )
    assert words in line
    assert not list(tmp_path.glob("benchmark-*"))


def test_tuned_laws_reach_the_targets_of_the_shipped_run():
    result = compare_controllers([Run.load("weights/arm2-reach")], ["pd", "lqr"], {}, 4)
    for row in rows_of(result.numbers(), condition="nominal", motion=OUT):
        assert row["success"] == 1
        assert row["error"]["max"] < 1
