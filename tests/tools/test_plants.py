"""The section `plants` of tools/bench: what it measures, and what it measures again."""

import sys
from pathlib import Path

import pytest

from hfcontrol.errors import UsageError

TOOLS = Path(__file__).parents[2] / "tools"

PLANT = """
STATE, CONTROL, DT, INTEGRATOR = ("x", "x_rate"), ("u",), 0.1, "rk4"

def dynamics(x, u, p, dx):
    dx[0] = x[1]
    dx[1] = u[0]

TASKS = {
    name: {"generator": "around", "start": (1.0, 0.0), "target": (0.0, 0.0),
           "steps": 5, "trials": 2, "running": 1.0, "effort": 1.0}
    for name in ("stop", "rest")
}
"""


@pytest.fixture
def plants(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(TOOLS), *sys.path])
    from benchmarks import plants

    return plants


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mass.py"
    path.write_text(PLANT)
    return path


def names(plants, *words):
    return [(plant.name, task) for _, plant, task in plants.find_tasks(words)]


def test_words_name_files_tasks_and_folders(plants, file):
    assert names(plants, str(file)) == [("mass", "stop")]
    assert names(plants, f"{file}:rest", "linear") == [
        ("mass", "rest"),
        ("linear", "stabilise"),
    ]
    assert names(plants, str(file.parent)) == [("mass", "stop")]
    assert ("pendulum", "balance") in names(plants)
    with pytest.raises(UsageError, match="no task 'fly'; its tasks are stop, rest"):
        names(plants, f"{file}:fly")


@pytest.mark.parametrize(
    "code, count", [("abc", 1), ("modified", 2)], ids=["committed", "modified"]
)
def test_a_row_is_measured_again_only_for_other_code(
    plants, file, monkeypatch, code, count
):
    measured = []

    def measure_training(name, named, choice):
        measured.append(named["seed"])
        return {**dict.fromkeys(plants.MEASURED), "stop": "time"}

    monkeypatch.setattr(plants, "measure_training", measure_training)
    monkeypatch.setattr(plants, "code_version", lambda: code)
    choice = plants.Choice([str(file)])
    saved = []
    rows = plants.measure([0, 1], choice=choice, save=saved.append)
    assert [len(each) for each in saved] == [1, 2]
    again = plants.measure([0, 1], choice=choice, before=rows)
    assert len(again) == 2
    assert measured == count * [0, 1]
    monkeypatch.setattr(plants, "code_version", lambda: "other")
    plants.measure([1], choice=choice, before=rows)
    assert len(measured) == 2 * count + 1


def test_a_training_that_cannot_begin_is_a_row_and_the_worst(plants, file):
    wrong = plants.Choice([str(file)], 1.0, {"trials": -1})
    (row,) = plants.measure([0], choice=wrong)
    assert row["stop"].startswith("error: ")
    assert row["held_out"] is None
    good = {**row, "held_out": 1.5}
    assert plants.worst_rows([good, row, {**good, "held_out": 1.2}]) == [row]
    assert plants.worst_rows([good, {**good, "held_out": 1.2}]) == [good]


@pytest.mark.parametrize(
    "kind, activity, rung",
    [
        ("rung", "next: growth; the best weights are at 4 times the optimum", "growth"),
        ("curriculum", "growing, 5 steps: update 3, loss 0.03", "growing"),
        ("update", "", ""),
    ],
)
def test_rungs_are_named_without_their_reasons(plants, kind, activity, rung):
    event = plants.Event(kind, None, None, None, activity=activity)
    assert plants.rung_of(event) == rung
