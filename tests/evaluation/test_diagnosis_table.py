"""The table of a diagnosis: what it says, and when."""

import pytest

from hfcontrol.evaluation.diagnosis_table import diagnosis_rows, target_names
from hfcontrol.plant.registry import load_plant
from hfcontrol.runs.settings import Settings
from hfcontrol.runs.training import prepare_problem
from hfcontrol.tasks.options import TaskOptions
from hfcontrol.tasks.task import Task

# A heater whose target is above what its limited power can reach.
HEATER = """
STATE, CONTROL = ("temperature",), ("power",)
DT, INTEGRATOR, LIMIT = 0.1, "euler", 2.0
TRIM = (1.0,)
def dynamics(x, u, p, dx):
    dx[0] = u[0] - 1.0 - RATE * (x[0] - 350.0)
TASKS = {"warm": {"generator": "around", "start": (350.0,), "spread": (1.0,),
                  "target": (GOAL,), "trials": 6, "steps": 20, "running": 1.0,
                  "effort": 1e-3}}
"""


def rows_of(tmp_path, rate="0.1", goal="350.0"):
    """The rows of the heater's diagnosis as a dictionary."""
    path = tmp_path / "heater.py"
    path.write_text(HEATER.replace("RATE", rate).replace("GOAL", goal))
    problem = prepare_problem(Settings(plant=str(path), hidden=(4,)))
    rows = diagnosis_rows(problem.prepared, problem.trainer.task, problem.conditioning)
    return dict(rows)


def test_a_heater_at_350_kelvin(tmp_path):
    """It rests with its goal at a power of 1, and loses e^-0.2 of an error."""
    rows = rows_of(tmp_path)
    assert "in 6 trials, of which 100 % succeed" in rows["optimum"]
    assert "the goal is held by power 1" in rows["trim"]
    assert rows["growth"].startswith("0.8")
    assert rows["substeps"] == "1, as the plant file says"
    assert "temperature 350 +-" in rows["states"]
    assert "temperature 350 +-" in rows["targets"]
    assert "temperature 350 +-" in rows["observations"]
    assert "in these sizes" in rows["network"]
    assert "for an update" in rows["operations"]
    assert "for the optimum" in rows["operations"]


@pytest.mark.parametrize(
    "plant, task, space, named",
    [
        ("arm2", "reach", "joint", "elbow_rate"),
        ("arm2", "reach", "hand", "hand_y"),
        ("arm1", "follow", "joint", "change of angle in 0.2 s"),
        ("electric", "follow", "joint", "component 1 of `sees`"),
    ],
)
def test_every_component_of_the_target_has_a_name(plant, task, space, named):
    made = Task(load_plant(plant), None, task, TaskOptions(space=space))
    names = target_names(made)
    assert len(set(names)) == len(names) == made.n_target
    assert named in names


def test_a_goal_that_no_controller_reaches(tmp_path):
    rows = rows_of(tmp_path, goal="400.0")
    assert "of which 0 % succeed" in rows["optimum"]
    assert "no controller can succeed" in rows["optimum"]
    assert "100 % of the controls at a limit" in rows["optimum"]


def test_a_mode_that_is_faster_than_the_control_step(tmp_path):
    """Euler's method needs abs(1 - 40 h) <= 0.9, and so h <= 0.0475."""
    rows = rows_of(tmp_path, rate="40.0")
    assert rows["substeps"].startswith("3 per control step, because")


@pytest.mark.parametrize("strategy", ["plain", "auto"])
def test_nothing_is_diagnosed_without_need(strategy):
    effort = 0.0 if strategy == "auto" else 1e-3
    settings = Settings(plant="arm2", strategy=strategy, trials=4, effort=effort)
    assert prepare_problem(settings).prepared.diagnosis is None
