"""The comparisons: small ones of each kind, what they tell, and what is told of wrong sizes."""

import json
from dataclasses import replace

import numpy as np
import pytest
from trainings import call, complaint

from hfcontrol import studies as compare
from hfcontrol.closed_loop.continuous import Evaluations
from hfcontrol.errors import TrainingError, UsageError
from hfcontrol.optim.first_order import Adam
from hfcontrol.plant.registry import load_plant
from hfcontrol.studies import cells as every_cell
from hfcontrol.studies import gradients, methods, orders, training
from hfcontrol.studies.course import (
    ADAPTIVE,
    Course,
    Method,
    Problem,
    matched,
    reached,
    run,
    second_order,
)
from hfcontrol.studies.plots import PLANES, draw
from hfcontrol.training.curriculum import run_curriculum

REGULATOR = ("linear", None, 2.0, (4,), 1.0)


@pytest.fixture
def small(monkeypatch):
    """Every study on the regulator's plant, with few rungs."""
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
    """The whole of a study, as JSON holds it."""
    *_, result = results
    return json.loads(json.dumps(result, allow_nan=False))


def test_errors_of_gradients(small, tmp_path):
    result = last(compare.study("gradients", samples=1))
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


def test_the_price_of_an_error_lies_between_rungs():
    rows = [
        {"estimator": "euler", "at": at, "passes": 1 / at, "error": at}
        for at in (1e-2, 1e-4)
    ]
    assert gradients.at_error(rows, "passes", 1e-3)["euler"] == {
        "price": pytest.approx(1e3),
        "beyond": False,
    }
    assert gradients.at_error(rows, "passes", 1e-6)["euler"] == {
        "price": pytest.approx(1e6),
        "beyond": True,
    }
    assert gradients.front(
        [{"passes": p, "error": e} for p, e in ((1, 3), (2, 4), (3, 1))], "passes"
    ) == [(1, 3), (3, 1)]


def test_integrating_backward_loses_the_start(tmp_path):
    result = last(compare.study("backsolve", updates=3, seconds=25.0))
    methods = result["methods"]
    assert len(methods["ctpg"]["loss"]) == 3 and methods["ctpg"]["error"] == [0, 0, 0]
    assert (
        max(methods["backsolve_checkpoints"]["error"])
        < 1e-12
        < methods["backsolve"]["error"][-1]
    )
    draw(result, tmp_path / "figure.png")


@pytest.mark.parametrize("optimizer", ["first-order", "hf"])
def test_trainings_side_by_side(small, tmp_path, optimizer):
    result = last(
        compare.study(
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


def test_second_order_needs_fewer_evaluations(small, tmp_path):
    result = last(compare.study("orders", seeds=1, updates=40))
    both = [c for c in result["compared"] if c["after"] == 40]
    assert [c["begun"] for c in both] == list(result["ratios"]) == ["source", "same"]
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
def test_a_plan_changes_what_it_says(plant):
    method, so_far = orders.second(plant), {}
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


def test_a_course_is_the_same_again():
    problem, method = Problem(*REGULATOR), second_order("hf", ADAPTIVE, trials=4)
    one, two = (run(problem, method, 3, 10) for _ in range(2))
    assert (
        one.held_out == two.held_out
        and one.counts == two.counts
        and one.updates[-1] == 10
    )
    assert run(
        problem, Method("gd", ADAPTIVE, Adam(1e-3), 2), 0, 3, most_seconds=0
    ).updates == [0]


def test_another_method_takes_over():
    problem, later = Problem(*REGULATOR), second_order("hf", ADAPTIVE, trials=8)
    begin = replace(second_order("hf", ADAPTIVE, trials=4), least=0.5, then=(4, later))
    last = replace(later, least=0.2)
    assert begin.at(3) is begin and begin.at(4) is later and later.at(9) is later
    assert replace(begin, then=(4, replace(later, then=(6, last)))).at(7) is last
    alone, both = (
        run(problem, method, 3, 6) for method in (replace(begin, then=()), begin)
    )
    assert (
        both.counts[:3] == alone.counts[:3] and both.counts[-1].f > alone.counts[-1].f
    )


def test_methods_with_and_without_derivatives(tmp_path, monkeypatch):
    monkeypatch.setattr(methods, "TASKS", {"linear": "stabilise"})
    monkeypatch.setattr(methods, "RATES", {"linear": {"Adam": 1e-2}})
    result = last(compare.study("methods", plant="linear", seeds=1, seconds=0.5))
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


def test_what_a_course_of_a_method_tells():
    course = {"seconds": [0.0, 1.0, 2.0], "ratio": [None, 1.2, 1.05]}
    assert (
        methods.reached(course, "seconds") == 2.0
        and methods.reached(course, "seconds", 1.01) is None
    )
    assert [methods.at(course, "seconds", t) for t in (-1, 0.5, 1.5, 9)] == [
        None,
        None,
        1.2,
        1.05,
    ]
    mean, low, high = methods.mean_and_interval([1.0, 2.0, 3.0, 4.0, 100.0])
    assert mean == 3.0 and low < 3 < high
    assert methods.mean_and_interval([None, None, 1.0])[0] is None


def test_matched_and_reached():
    problem = Problem(*REGULATOR)
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
    assert matched(
        problem, course, Method("ctpg", ADAPTIVE, Adam(1e-3), 4)
    ) == pytest.approx(10)
    assert reached(course, 2.0)["evaluations"] == 1200 and reached(course, 1.0) is None


@pytest.mark.parametrize(
    "name, sizes, words",
    [
        ("magic", {}, "no such study; known are gradients"),
        (
            "backsolve",
            {"seeds": 3},
            "--seeds with compare backsolve: it has --updates, --seconds",
        ),
        ("gradients", {"samples": 0}, "--samples 0: a number above zero"),
    ],
)
def test_wrong_sizes(name, sizes, words):
    with pytest.raises(UsageError, match=words):
        compare.study(name, **sizes)


def test_options_that_a_study_does_not_know():
    with pytest.raises(UsageError, match="--optimizer adam: first-order"):
        next(compare.study("quadrotor", optimizer="adam"))
    with pytest.raises(UsageError, match="--plant arm2: this study knows"):
        next(compare.study("orders", plant="arm2"))


def test_the_command(tmp_path, capsys):
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
    assert "no such study" in complaint(capsys, "compare", "nothing", status=2)


def test_what_is_finished_is_written_at_once(tmp_path, capsys, monkeypatch):
    def results(name, tell):
        yield {"finished": 1}
        assert json.loads((tmp_path / "compare-two.json").read_text()) == {
            "finished": 1
        }
        raise TrainingError("the second fails")

    monkeypatch.setattr(compare, "study", results)
    assert "the second fails" in complaint(
        capsys, "compare", "two", "--out", tmp_path, status=1
    )
    assert [path.name for path in tmp_path.iterdir()] == ["compare-two.json"]


def test_cells_grow_their_horizon_where_the_task_asks(monkeypatch):
    grown = []

    def noted(trainer, settings):
        grown.append(settings.grow)
        return run_curriculum(trainer, settings)

    monkeypatch.setattr(every_cell, "run_curriculum", noted)
    found = every_cell._trained("cartpole", "balance", "tanh", 2, 0, 0.05)
    assert (
        grown == [load_plant("cartpole").tasks["balance"]["train"]["grow"]]
        and found["ratio"] > 1
    )


def test_planes_are_of_states_that_the_plants_have():
    """What the figures of whole trainings are drawn against."""
    for name, plane in PLANES.items():
        assert set(plane) <= set(load_plant(name).state)
