"""The studies: small ones of each kind, their results, and messages on wrong sizes."""

import json
from dataclasses import replace

import numpy as np
import pytest
from trainings import call, complaint

from hfcontrol import studies
from hfcontrol.closed_loop.continuous import Evaluations
from hfcontrol.errors import TrainingError, UsageError
from hfcontrol.optim.first_order import Adam, Momentum
from hfcontrol.plant.registry import load_plant
from hfcontrol.studies import cells, gradients, methods, orders, plots, training
from hfcontrol.studies.course import (
    ADAPTIVE,
    Budget,
    Course,
    Method,
    Problem,
    matched_steps,
    reach,
    run,
    second_order,
)
from hfcontrol.studies.orders import settled_cost
from hfcontrol.studies.plots import PLANES, draw

pytestmark = pytest.mark.slow

REGULATOR = Problem("linear", None, 2.0, (4,), 1.0)


@pytest.fixture
def small(monkeypatch):
    """Every study on the regulator's plant, with few tolerances and steps."""
    setting = training.Setting(REGULATOR, Adam(1e-2), 4, 12, 2)
    monkeypatch.setattr(
        training, "SETTINGS", {"diffdrive": setting, "quadrotor": setting}
    )
    monkeypatch.setattr(orders, "RATES", {"quadrotor": ("adam", (1e-3, 3e-2))})
    monkeypatch.setattr(orders, "SETTINGS", training.SETTINGS)
    monkeypatch.setattr(orders, "SECOND_UPDATES", 20)
    monkeypatch.setattr(
        orders,
        "PLANS",
        {
            "quadrotor": (
                (0, {"trials": 8, "cap": 5, "grow": 2}),
                (8, {"products": "midpoint", "trials": 16}),
            )
        },
    )
    monkeypatch.setattr(
        gradients,
        "problems",
        lambda: {"linear": Problem("linear", None, 2.0, (2,), cell="linear")},
    )
    monkeypatch.setattr(gradients, "TOLERANCES", 10.0 ** -np.arange(2, 10.1, 2))
    monkeypatch.setattr(
        gradients,
        "STEPS",
        {"euler": np.array([0.1, 0.01, 0.001]), "rk4": np.array([0.1, 0.03, 0.01])},
    )


def last(results):
    """The last result of a study, as JSON holds it."""
    *_, result = results
    return json.loads(json.dumps(result, allow_nan=False))


def test_gradient_errors_fall_with_evaluations(small, tmp_path):
    result = last(studies.study("gradients", samples=1))
    found = result["plants"]["linear"]["evaluations"]
    assert (
        found["euler"]["beyond"]
        and found["euler"]["price"] > 10 * found["ctpg"]["price"]
    )
    assert (
        not found["ctpg"]["beyond"] and found["rk4"]["price"] < found["euler"]["price"]
    )
    draw(result, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10000


def test_the_price_of_an_error_is_interpolated():
    rows = [
        {"estimator": "euler", "at": at, "passes": 1 / at, "error": at}
        for at in (1e-2, 1e-4)
    ]
    assert gradients.price_of_error(rows, "passes", 1e-3)["euler"] == {
        "price": pytest.approx(1e3),
        "beyond": False,
    }
    assert gradients.price_of_error(rows, "passes", 1e-6)["euler"] == {
        "price": pytest.approx(1e6),
        "beyond": True,
    }
    assert gradients.pareto_front(
        [{"passes": p, "error": e} for p, e in ((1, 3), (2, 4), (3, 1))], "passes"
    ) == [(1, 3), (3, 1)]


def test_integrating_backward_loses_the_start(tmp_path):
    result = last(studies.study("backsolve", updates=3, seconds=25.0))
    methods = result["methods"]
    assert len(methods["ctpg"]["loss"]) == 3 and methods["ctpg"]["error"] == [0, 0, 0]
    assert (
        max(methods["backsolve_checkpoints"]["error"])
        < 1e-12
        < methods["backsolve"]["error"][-1]
    )
    draw(result, tmp_path / "figure.png")


@pytest.mark.parametrize("optimizer", ["first-order", "hf"])
def test_ctpg_and_euler_train_with_as_many_evaluations(small, tmp_path, optimizer):
    result = last(
        studies.study(
            "diffdrive",
            updates=12 if optimizer == "first-order" else 600,
            optimizer=optimizer,
        )
    )
    courses = result["courses"]
    assert [c["method"] for c in courses] == [
        "ctpg",
        "euler, 1 x evaluations",
    ] * 2 and [c["seed"] for c in courses] == [0, 0, 1, 1]
    ours, euler = courses[:2]
    assert euler["evaluations"][-1] == pytest.approx(ours["evaluations"][-1], rel=0.2)
    assert all(c["held_out"][-1] < c["held_out"][0] for c in courses)
    assert np.shape(result["paths"]["methods"]["ctpg"]) == (3, 101, 2, 10)
    # the first seed's training: rollout, time, state, trial
    visited = np.array(result["visited"]["ctpg"])
    assert visited.ndim == 4 and visited.shape[1:3] == (16, 2)
    start = visited[:, 0]
    assert not np.array_equal(start[0], start[1])


@pytest.mark.parametrize("grow, shortest", [(6, 1 / 8), (0, 1.0)])
def test_hessian_free_grows_the_horizon_only_if_the_setting_says_so(
    monkeypatch, grow, shortest
):
    """Plants that learn something else on a part of the horizon do not grow it."""
    setting = training.Setting(REGULATOR, Adam(1e-2), 4, 12, 1, factors=(), grow=grow)
    monkeypatch.setattr(training, "SETTINGS", {"diffdrive": setting})
    lengths = []
    loop = Problem.loop

    def recorded_loop(problem, *arguments):
        lengths.append(problem.seconds)
        return loop(problem, *arguments)

    monkeypatch.setattr(Problem, "loop", recorded_loop)
    last(studies.study("diffdrive", updates=1, optimizer="hf"))
    assert min(lengths) == shortest * REGULATOR.seconds


def test_second_order_needs_fewer_evaluations(small, tmp_path):
    result = last(studies.study("orders", seeds=1, updates=40))
    both = [c for c in result["compared"] if c["after"] == 40]
    assert [c["begun"] for c in both] == list(result["ratios"]) == ["source", "same"]
    for found in result["compared"]:
        (best,) = (
            c
            for c in result["courses"]
            if (c["method"], c.get("begun")) == (found["best"], found["begun"])
        )
        within = np.array(best["updates"]) <= found["after"]
        costs = np.array(best["held_out"])[within]
        assert found["first_order_lowest"] == costs.min()
        assert found["first_order_final"] == costs[-1]
    for found in both:
        assert (
            found["hf"]["held_out"] <= found["cost"]
            and found["hf"]["updates"] < found["first_order"]["updates"]
        )
        assert result["ratios"][found["begun"]] == [
            found["first_order"]["evaluations"] / found["hf"]["evaluations"]
        ]
    begins = {
        (c["method"], c.get("begun")): c["held_out"][0] for c in result["courses"]
    }
    assert (
        begins["Hessian-free", None]
        == begins["adam 0.03", "same"]
        != begins["adam 0.03", "source"]
    )
    draw(result, tmp_path / "figure.png")


@pytest.mark.parametrize("plant", list(orders.PLANS))
def test_a_plan_changes_the_named_fields(plant):
    method, so_far = orders.planned_method(plant), {}
    for update, changes in orders.PLANS[plant]:
        so_far.update(changes)
        there = method.at(update)
        assert {
            name: getattr(
                next(
                    part
                    for part in (there, there.estimator, there.optimizer)
                    if hasattr(part, name)
                ),
                name,
            )
            for name in so_far
        } == so_far and (update == 0 or method.at(update - 1) != there)
        assert there.estimator.block_size == training.SETTINGS[plant].trials


def test_the_same_seed_gives_the_same_course():
    problem, method = REGULATOR, second_order("hf", ADAPTIVE, trials=4)
    one, two = (run(problem, method, 3, Budget(10)) for _ in range(2))
    assert (
        one.held_out == two.held_out
        and one.counts == two.counts
        and one.updates[-1] == 10
    )
    adam = Method("gd", ADAPTIVE, Adam(1e-3), 2)
    assert run(problem, adam, 0, Budget(3, seconds=0)).updates == [0]
    # The last update is a point, also where the seconds end between two points.
    assert run(problem, adam, 0, Budget(30, 3, seconds=1e-9)).updates == [0, 1]


def test_a_method_hands_over_to_the_next_one():
    problem, later = REGULATOR, second_order("hf", ADAPTIVE, trials=8)
    begin = replace(
        second_order("hf", ADAPTIVE, trials=4), least_damping=0.5, then=(4, later)
    )
    last = replace(later, least_damping=0.2)
    assert begin.at(3) is begin and begin.at(4) is later and later.at(9) is later
    assert replace(begin, then=(4, replace(later, then=(6, last)))).at(7) is last
    alone, both = (
        run(problem, method, 3, Budget(6))
        for method in (replace(begin, then=None), begin)
    )
    assert (
        both.counts[:3] == alone.counts[:3] and both.counts[-1].f > alone.counts[-1].f
    )


def test_methods_with_and_without_derivatives(tmp_path, monkeypatch):
    monkeypatch.setattr(methods, "TASKS", {"linear": "stabilise"})
    monkeypatch.setattr(methods, "RATES", {"linear": {"Adam": 1e-2}})
    result = last(studies.study("methods", plant="linear", seeds=1, seconds=0.5))
    assert (
        [c["method"] for c in result["courses"]]
        == list(methods.METHODS)
        == list(result["summary"])
    )
    for course in result["courses"]:
        assert all(
            np.all(np.diff(course[price]) >= 0) for price in methods.PRICES
        ) and len(course["ratio"]) == len(course["seconds"])
        assert (course["jacobian_steps"][-1] == course["adjoint_steps"][-1] == 0) == (
            course["method"] in ("PPO", "A2C")
        )
    ratios = result["courses"][0]["ratio"]
    assert result["summary"]["Hessian-free"]["ratio"][0] == ratios[-1] < ratios[0]
    draw(result, tmp_path / "figure.png")


def test_ratios_and_prices_of_a_course():
    course = {"seconds": [0.0, 1.0, 2.0], "ratio": [None, 1.2, 1.05]}
    assert (
        methods.price_of_ratio(course, "seconds") == 2.0
        and methods.price_of_ratio(course, "seconds", 1.01) is None
    )
    assert [methods.ratio_at(course, "seconds", t) for t in (-1, 0.5, 1.5, 9)] == [
        None,
        None,
        1.2,
        1.05,
    ]
    mean, low, high = methods.mean_and_interval([1.0, 2.0, 3.0, 4.0, 100.0])
    assert mean == 3.0 and low < 3 < high
    assert methods.mean_and_interval([None, None, 1.0])[0] is None


def test_matched_steps_and_first_point_below_a_cost():
    problem = REGULATOR
    course = Course(
        "ctpg",
        0,
        [0, 10],
        [Evaluations(), Evaluations(600, 300, 300)],
        [0, 1],
        [1, 1],
        [5.0, 2.0],
        [],
    )
    assert matched_steps(
        problem, course, Method("ctpg", ADAPTIVE, Adam(1e-3), 4)
    ) == pytest.approx(10)


def test_a_figure_says_how_it_differs_from_the_paper(small, tmp_path, monkeypatch):
    """Initial weights that are some times the paper's start the courses."""
    larger = replace(training.SETTINGS["diffdrive"], start_factor=3.0)
    monkeypatch.setitem(training.SETTINGS, "diffdrive", larger)
    results = studies.study("diffdrive", updates=2)
    first = next(results)
    results.close()
    assert first["difference"] == "initial weights 3 times the paper's"
    assert first["difference"] in plots._training_title(first)
    start = 3.0 * REGULATOR.paper_weights(0)
    assert first["courses"][0]["held_out"][0] == REGULATOR.held_out(start)
    assert training.SETTINGS["quadrotor"].difference == ""


def test_a_cost_is_reached_where_a_course_stays_below_it():
    """A point below it that later ones leave is none."""
    course = Course("any", 0, held_out=[9.0, 2.0, 5.0, 3.0, np.inf, 3.0, 1.0, 2.0])
    for number in range(8):
        course.updates.append(number)
        course.counts.append(Evaluations(100 * number))
        course.seconds.append(0.5 * number)
    assert reach(course, 3.0)["updates"] == 5
    assert reach(course, 2.0)["evaluations"] == 600
    assert reach(course, np.inf)["updates"] == 0 and reach(course, 1.5) is None
    assert reach(course, 3.0, 3)["updates"] == 3
    assert settled_cost(course, 7) == 2.0 and settled_cost(course, 5) == np.inf


@pytest.mark.parametrize("keeps_best", [False, True])
def test_courses_keep_the_weights_of_the_best_validation(keeps_best):
    """Under steps that are far too long, kept costs never rise by much."""
    method = Method("momentum", ADAPTIVE, Momentum(3.0), 4)
    course = run(REGULATOR, method, 0, Budget(12, 12), keeps_best=keeps_best)
    kept, latest = np.array(course.held_out), np.array(course.latest)
    assert np.nanmax(latest / np.minimum.accumulate(latest)) > 2
    assert (kept == latest).all() != keeps_best
    assert (kept[-1] <= 2 * kept.min()) == keeps_best


@pytest.mark.parametrize(
    "name, sizes, words",
    [
        ("magic", {}, "unknown study 'magic'; choose one of gradients"),
        (
            "backsolve",
            {"seeds": 3},
            "`seeds`: the study backsolve has only `updates`, `seconds`$",
        ),
        ("gradients", {"samples": 0}, "`samples` 0: must be a finite number above 0"),
        ("backsolve", {"seconds": np.inf}, "`seconds` inf: must be a finite number"),
    ],
)
def test_unknown_studies_and_sizes_are_refused(name, sizes, words):
    with pytest.raises(UsageError, match=words):
        studies.study(name, **sizes)


def test_unknown_optimizers_and_plants_are_refused():
    with pytest.raises(UsageError, match="`optimizer` adam: must be first-order"):
        next(studies.study("quadrotor", optimizer="adam"))
    words = "`plant` arm2: this study has diffdrive, quadrotor and cartpole"
    with pytest.raises(UsageError, match=words):
        next(studies.study("orders", plant="arm2"))


def test_the_command_lists_runs_and_refuses_studies(tmp_path, capsys):
    status, out, _ = call(capsys, "compare")
    assert status == 0 and "gradients" in out and "cells" in out
    status, out, _ = call(
        capsys, "compare", "backsolve", "--updates", "2", "--out", tmp_path
    )
    assert (
        status == 0
        and json.loads((tmp_path / "compare-backsolve.json").read_text())["updates"]
        == 2
    )
    assert (tmp_path / "compare-backsolve.png").stat().st_size > 10000
    assert "unknown study" in complaint(capsys, "compare", "nothing", status=2)


def test_numbers_are_written_after_every_result(tmp_path, capsys, monkeypatch):
    def results(name, report):
        yield {"finished": 1}
        assert json.loads((tmp_path / "compare-two.json").read_text()) == {
            "finished": 1
        }
        raise TrainingError("the second fails")

    monkeypatch.setattr(studies, "study", results)
    assert "the second fails" in complaint(
        capsys, "compare", "two", "--out", tmp_path, status=1
    )
    assert [path.name for path in tmp_path.iterdir()] == ["compare-two.json"]


def test_a_cell_is_trained_on_growing_horizons_where_random_weights_need_them():
    settings = cells._settings("cartpole", "balance", "tanh", 2, max_seconds=0.05)
    assert settings.grow == 12
    assert cells._train(settings)["ratio"] > 1


def test_planes_name_states_of_their_plants():
    for name, plane in PLANES.items():
        assert set(plane) <= set(load_plant(name).state)
