"""Mistakes in TASKS: every one is reported in one line, all of them at once."""

from typing import NamedTuple

import numpy as np
import pytest

import hfcontrol as hf
from hfcontrol.cli import main
from hfcontrol.errors import HFControlError, PlantError, TaskError
from hfcontrol.evaluation.task_check import check_starts
from hfcontrol.kernels import compile_plant
from hfcontrol.plant.reader import read_plant
from hfcontrol.plant.registry import load_plant, plant_names
from hfcontrol.runs.settings import find_task_faults, settings_for
from hfcontrol.tasks.entries import KNOWN, MODELS, check_entries, find_faults
from hfcontrol.tasks.generators import GENERATORS
from hfcontrol.tasks.options import TaskOptions
from hfcontrol.tasks.task import Task

# Two positions, four states and one control, so that all sizes differ.
SLIDE = """
import numpy as np

STATE = ("x", "y", "x_rate", "y_rate")
CONTROL = ("push",)
OUTPUT = ("hand_x", "hand_y", "depth")
DT, INTEGRATOR = 0.1, "euler"


def dynamics(x, u, p, dx):
    dx[0] = x[2]
    dx[1] = x[3]
    dx[2] = u[0]
    dx[3] = u[0] - x[1]


def output(x, p, z):
    z[0] = x[0]
    z[1] = x[1]
    z[2] = x[0] * x[1]


def near(x, u, target, p, r):
    r[0] = x[0] - target[0]
    r[1] = u[0]


def draw(rng, trials, split):
    return np.zeros((4, trials)), np.ones((4, trials))


COMMON = {"trials": 4, "steps": 6}
REACH = {**COMMON, "generator": "reach", "start": (0.1, 0.2), "radius": 0.1}
ANGLES = {**COMMON, "generator": "angles", "start": (0.1, 0.2),
          "targets": ((0.0, 0.0), (1.0, 1.0))}
STAY = {**COMMON, "generator": "stay", "range": ((0.0, 1.0), (0.0, 1.0))}
AROUND = {**COMMON, "generator": "around", "start": (0.0,) * 4, "spread": (0.1,) * 4,
          "target": (1.0, 1.0, float("nan"), float("nan"))}
OWN = {**COMMON, "draw": draw, "residual": near, "residuals": ("near", "work")}
"""

STATES = "(x, y, x_rate, y_rate)"
WHOLE = "must be a whole number of at least 1"
POSITIONS = "must be one number for each position (x, y) or each state, finite"
EACH_STATE = f"must be one number for each state {STATES}, finite"
POSTURES = (
    "must be two postures (first, last), each one number for all positions, or one "
    "number for each position (x, y), finite"
)
RANGE = "must be a pair (low, high) of finite numbers, low not above high, for each"
WEIGHT = "must be a finite number, zero or above"
CONTROL = "must be one number for all controls, or one number for each control (push)"
FRACTIONS = "must be fractions of the horizon above 0 and at most 1, in rising order"
SUCCESS = "must be a function, or a dictionary of limits above zero of hand, rates or"
SETTINGS = "must be a dictionary of settings of a training"

# The task that is changed, the change, and the message after the name of the task.
MISTAKES = [
    ("REACH", '"start": (0.1,)', f"start (0.1,): {POSITIONS}"),
    ("REACH", '"start": (0.1, 0.2, 0.3)', f"start (0.1, 0.2, 0.3): {POSITIONS}"),
    ("REACH", '"start": 0.1', f"start 0.1: {POSITIONS}"),
    ("REACH", '"start": ("a", 0.2)', f"start ('a', 0.2): {POSITIONS}"),
    ("REACH", '"start": (float("nan"), 0)', f"start (nan, 0): {POSITIONS}"),
    ("REACH", '"start": None', f"start None: {POSITIONS}"),
    ("REACH", '"start": ((1, 2), (3, 4))', f"start ((1, 2), (3, 4)): {POSITIONS}"),
    ("REACH", '"radius": 0', "radius 0: must be a finite number above zero [m]"),
    ("REACH", '"radius": "1"', "radius '1': must be a finite number above zero [m]"),
    ("REACH", '"centre": (0, 1, 2)', "centre (0, 1, 2): must be two finite coord"),
    ("ANGLES", '"targets": (1.0,)', f"targets (1.0,): {POSTURES}"),
    ("ANGLES", '"targets": (1, 2, 3)', f"targets (1, 2, 3): {POSTURES}"),
    ("ANGLES", '"targets": 2.0', f"targets 2.0: {POSTURES}"),
    ("ANGLES", '"targets": ((0,), (1,))', f"targets ((0,), (1,)): {POSTURES}"),
    ("STAY", '"range": (0.0, 1.0)', f"range (0.0, 1.0): {RANGE}"),
    ("STAY", '"range": ((0, 1),)', f"range ((0, 1),): {RANGE}"),
    ("STAY", '"range": ((1, 0), (0, 1))', f"range ((1, 0), (0, 1)): {RANGE}"),
    ("STAY", '"push": -1.0', f"push -1.0: {WEIGHT}"),
    ("AROUND", '"start": (0.0, 0.0)', f"start (0.0, 0.0): {EACH_STATE}"),
    ("AROUND", '"spread": 0.1', f"spread 0.1: {EACH_STATE}, zero or above"),
    ("AROUND", '"spread": (-1, 0, 0, 0)', f"spread (-1, 0, 0, 0): {EACH_STATE}, zero"),
    ("AROUND", '"target": (1.0, 1.0)', f"target (1.0, 1.0): {EACH_STATE}, or NaN"),
    (
        "AROUND",
        '"target": (float("nan"),) * 4',
        f"target (nan, nan, nan, nan): {EACH_STATE}, or NaN for a state that is free",
    ),
    ("REACH", '"trials": "64"', f"trials '64': {WHOLE}"),
    ("REACH", '"trials": 0', f"trials 0: {WHOLE}"),
    ("REACH", '"trials": True', f"trials True: {WHOLE}"),
    ("REACH", '"steps": 60.0', f"steps 60.0: {WHOLE}"),
    ("REACH", '"steps": -3', f"steps -3: {WHOLE}"),
    ("REACH", '"judged": 0.5', f"judged 0.5: {WHOLE}"),
    ("REACH", '"final": (1, 1, 1)', "final (1, 1, 1): has 3 weights; give one number"),
    ("REACH", '"final": {"x": 1.0}', f"final {{'x': 1.0}}: {WEIGHT}"),
    ("REACH", '"final": -1', f"final -1: {WEIGHT}"),
    ("REACH", '"running": (1, 1)', "running (1, 1): has 2 weights; give one number"),
    ("REACH", '"running": "1"', f"running '1': {WEIGHT}"),
    ("REACH", '"effort": {"push": 1.0}', f"effort {{'push': 1.0}}: {WEIGHT}"),
    ("REACH", '"effort": None', f"effort None: {WEIGHT}"),
    ("REACH", '"effort_about": (1, 2)', f"effort_about (1, 2): {CONTROL}, finite"),
    ("REACH", '"final_at": 0.5', f"final_at 0.5: {FRACTIONS}"),
    ("REACH", '"final_at": (1.0, 0.5)', f"final_at (1.0, 0.5): {FRACTIONS}"),
    ("REACH", '"final_at": (0.5, 2)', f"final_at (0.5, 2): {FRACTIONS}"),
    ("REACH", '"success": 0.1', f"success 0.1: {SUCCESS}"),
    ("REACH", '"success": {"speed": 1}', f"success {{'speed': 1}}: {SUCCESS}"),
    ("REACH", '"success": {"hand": "1"}', f"success {{'hand': '1'}}: {SUCCESS}"),
    ("REACH", '"success": {}', f"success {{}}: {SUCCESS}"),
    ("REACH", '"random": "yes"', "random 'yes': must be True or False"),
    ("REACH", '"preview": 0.1', "preview 0.1: must be times ahead, zero or above"),
    ("REACH", '"preview": (-0.1,)', "preview (-0.1,): must be times ahead, zero or"),
    ("REACH", '"sees": 3', "sees 3: must be a function"),
    ("REACH", '"generator": "raech"', "generator 'raech': must be reach, angles,"),
    ("REACH", '"generator": ["reach"]', "generator ['reach']: must be reach, angles,"),
    ("REACH", '"efort": 0.1', "unknown entry 'efort'; did you mean 'effort'?"),
    ("REACH", '"xyzzy": 0.1', "unknown entry 'xyzzy'; known are trials, steps, judged"),
    ("REACH", "1: 2", "unknown entry 1; known are trials, steps, judged"),
    ("REACH", '"train": 4', f"train 4: {SETTINGS}"),
    ("REACH", '"train": {3: 4}', f"train {{3: 4}}: {SETTINGS}"),
    ("OWN", '"draw": "draw"', "draw 'draw': must be a function"),
    (
        "OWN",
        '"residual_weight": (1, 2, 3)',
        "residual_weight (1, 2, 3): must be one number for all residuals, or one "
        "number for each residual (near, work), finite, zero or above",
    ),
    ("OWN", '"residual_weight": -1', "residual_weight -1: must be one number for all"),
]


class Still(NamedTuple):
    """A trajectory of one state."""

    x: np.ndarray


def slide(task, change="", extra=""):
    """The plant with one task `go`: a task of the file with a change."""
    tasks = f"TASKS = {{'go': {{**{task}, {change}}}}}"
    return read_plant(f"{SLIDE}\n{extra}\n{tasks}", "slide.py")


def message_of(plant, error=TaskError):
    """The message of the error that making the task raises."""
    with pytest.raises(error) as caught:
        # Faults are found before the kernels are needed.
        Task(plant, None)
    return str(caught.value)


@pytest.mark.parametrize(("task", "change", "words"), MISTAKES)
def test_a_mistake_is_reported_in_one_line(task, change, words):
    message = message_of(slide(task, change))
    assert message.startswith(f"task go of slide: {words}")
    assert "\n" not in message


@pytest.mark.parametrize(
    "task, name",
    [
        ("REACH", "radius"),
        ("REACH", "start"),
        ("REACH", "trials"),
        ("REACH", "steps"),
        ("ANGLES", "targets"),
        ("STAY", "range"),
        ("AROUND", "spread"),
        ("AROUND", "target"),
    ],
)
def test_a_missing_entry_is_reported_in_one_line(task, name):
    plant = slide(task)
    del plant.tasks["go"][name]
    message = message_of(plant)
    assert message.startswith(f"task go of slide: entry {name} is missing; it must be ")
    assert "\n" not in message


@pytest.mark.parametrize("task", ["REACH", "ANGLES", "STAY", "AROUND", "OWN"])
def test_tasks_without_mistakes_have_no_faults(task):
    assert not find_task_faults(slide(task))


def test_all_faults_of_all_tasks_are_reported_at_once():
    tasks = (
        "TASKS = {'one': {**REACH, 'steps': 0, 'radius': -1}, 'two': STAY,\n"
        "         'three': {**ANGLES, 'targets': 3, 'speed': 1}}"
    )
    plant = read_plant(f"{SLIDE}\n{tasks}", "slide.py")
    starts = [line.partition(": ")[2][:9] for line in message_of(plant).splitlines()]
    assert starts == ["steps 0: ", "radius -1", "targets 3", "unknown e"]


def test_faults_in_the_structure_of_tasks_are_reported_at_once():
    tasks = (
        "TASKS = {'one': 3, 2: REACH, 'three': {}, 'four': {**REACH, 'residual': 1}}"
    )
    with pytest.raises(PlantError) as caught:
        read_plant(f"{SLIDE}\n{tasks}", "slide.py")
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("not a int") and "has no name" in lines[1]
    assert lines[2].startswith("slide.py: TASKS['three'] must be a dictionary with")
    assert "must give both" in lines[3] and len(lines) == 4


@pytest.mark.parametrize(
    "change, words",
    [
        ('"train": {"grow": "x"}', "its `train` entry: `grow` 'x': must be a whole"),
        (
            '"train": {"colour": 3}',
            "its `train` entry has 'colour', which is not a s",
        ),
        (
            '"train": {"seed": 3}',
            "its `train` entry has 'seed', which is not a setting",
        ),
    ],
)
def test_settings_of_a_task_are_checked(change, words, tmp_path):
    """By `hfcontrol check`, and before a training."""
    plant = slide("REACH", change)
    ((task, fault),) = find_task_faults(plant)
    assert task == "go" and fault.startswith(words)

    path = tmp_path / "slide.py"
    path.write_text(plant.source)
    with pytest.raises(TaskError) as caught:
        settings_for(plant=str(path))
    assert str(caught.value) == f"task go of slide: {fault}"


def test_a_train_entry_of_another_kind_is_refused_before_a_training(tmp_path):
    path = tmp_path / "slide.py"
    path.write_text(slide("REACH", '"train": [1]').source)
    with pytest.raises(TaskError, match=r"go of slide: train \[1\]: must be a dict"):
        settings_for(plant=str(path))


def test_numpy_arrays_and_lists_are_sequences():
    changes = (
        '"start": np.array([0.1, 0.2]), "centre": [0, 1], "final": np.ones(4),'
        '"final_at": np.array([0.5, 1.0]), "trials": np.int64(3)'
    )
    assert not find_faults(*_plant_and_entries(slide("REACH", changes)))
    ranges = '"range": np.array([[0.0, 1.0], [0.0, 1.0]])'
    assert not find_faults(*_plant_and_entries(slide("STAY", ranges)))


def _plant_and_entries(plant):
    return plant, plant.tasks["go"]


def test_long_values_are_cut_and_arrays_stay_in_one_line():
    message = message_of(slide("REACH", '"start": np.arange(400.0).reshape(20, 20)'))
    assert "\n" not in message and "...: must be one number" in message


def test_entries_that_only_other_generators_use_are_ignored():
    assert not find_task_faults(slide("REACH", '"range": 3, "targets": "x"'))


@pytest.mark.parametrize("given", [{"residual": max}, {"residuals": ("worth",)}])
def test_a_residual_and_its_names_come_together(given):
    plant, entries = _plant_and_entries(slide("REACH", '"trials": 3'))
    faults = find_faults(plant, {**entries, **given})
    assert 'give "residual", a function, and "residuals", their names' in faults


def test_a_task_needs_a_generator_or_a_function():
    faults = find_faults(slide("REACH", '"trials": 3'), {"trials": 3})
    assert faults[0] == 'give a "generator", or a function as "draw"'
    assert not find_faults(*_plant_and_entries(slide("REACH", '"trials": 3')))


def test_every_generator_has_a_model():
    assert set(MODELS) == set(GENERATORS)
    assert {"start", "range", "train"} <= KNOWN


@pytest.mark.parametrize("name", plant_names())
def test_shipped_plants_have_no_faults(name):
    check_entries(load_plant(name))


def test_a_hand_can_be_limited_only_if_there_is_one():
    plant = load_plant("linear")
    entries = {**plant.tasks["stabilise"], "success": {"hand": 0.1}}
    (fault,) = find_faults(plant, entries)
    assert "limits above zero of rates or state (hand needs hand_x and" in fault


def test_check_has_a_line_for_each_fault():
    plant = slide("REACH", '"steps": 0, "radius": -1')
    findings = {finding.name: finding for finding in hf.check_plant(plant)}
    assert not findings["tasks"].ok
    lines = findings["tasks"].message.splitlines()
    assert [line[:9] for line in lines] == ["go: steps", "go: radiu"]
    assert not check_starts(plant)


def run_command(capsys, *arguments):
    """What a command prints on stdout and stderr; it must fail with status 2."""
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    assert caught.value.code == 2
    return capsys.readouterr()


def test_commands_print_a_line_for_each_fault(tmp_path, capsys):
    path = tmp_path / "slide.py"
    changes = '"trials": "64", "radius": -1, "train": {"grow": "x"}'
    path.write_text(slide("REACH", changes).source)
    faults = [
        "trials '64': must be a whole number of at least 1",
        "radius -1: must be a finite number above zero [m]",
        "its `train` entry: `grow` 'x': must be a whole number of at least 0",
    ]

    _, errors = run_command(capsys, "train", "--plant", str(path))
    expected = [f"hfcontrol: task go of slide: {fault}" for fault in faults]
    expected[2] = expected[2].replace("`grow`", "--grow")
    assert errors.splitlines() == expected

    printed, _ = run_command(capsys, "check", str(path))
    lines = [line for line in printed.splitlines() if line.startswith("FAIL")]
    assert lines == [f"FAIL tasks: go: {fault}" for fault in faults]


def test_a_training_refuses_a_wrong_success_function_before_its_first_rollout(tmp_path):
    path = tmp_path / "slide.py"
    source = "def bad(x, goal):\n    return True"
    path.write_text(slide("REACH", '"success": bad', extra=source).source)
    with pytest.raises(TaskError, match="success of task go returned a single bool"):
        hf.train(str(path), out=tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["slide.py"]


# The functions of a task, and the message after the file's name and line.
FUNCTIONS = [
    (
        '"draw": bad',
        "def bad(rng, trials, split):\n    return np.zeros((4, trials))",
        "draw of task go returned an array (4, 4) of float64; it must return two "
        "arrays, start states (4, 4) and goals (4, 4) or (7, 4, 4)",
    ),
    (
        '"draw": bad',
        "def bad(rng, trials, split):\n    return np.zeros((3, trials)), np.ones(2)",
        "draw of task go returned starts (3, 4) and goals (2,); it must return start",
    ),
    (
        '"draw": bad',
        "def bad(rng, trials, split):\n    return 'start', 'goal'",
        "draw of task go returned a str that is no array of numbers; it must return",
    ),
    (
        '"draw": bad',
        "def bad(rng, trials, split):\n    return np.zeros((4, trials)), 'goal'",
        "draw of task go returned a str that is no array of numbers; it must return",
    ),
    (
        '"draw": bad',
        "def bad(rng, trials, split):\n    return None",
        "draw of task go returned nothing; it must return two arrays, start sta",
    ),
    (
        '"draw": bad',
        "def bad(rng, trials, split):\n    return np.full((2, 4, trials), np.nan)",
        "draw of task go returned a start that is not finite, a goal that is infinite",
    ),
    (
        '"draw": bad',
        "def bad(rng, trials, split):\n    return {}['start']",
        "draw of task go fails: KeyError: 'start'",
    ),
    (
        '"draw": bad',
        "def bad(trials):\n    return 0",
        "draw of task go fails: TypeError: bad() takes 1 positional argument but 3",
    ),
    (
        '"sees": bad',
        "def bad(goal):\n    return goal[0]",
        "sees of task go returned an array (4, 1) of float64; it must return a fin",
    ),
    (
        '"sees": bad',
        "def bad(goal):\n    return goal[9]",
        "sees of task go fails: IndexError: index 9 is out of bounds",
    ),
    (
        '"success": bad',
        "def bad(x, goal):\n    return True",
        "success of task go returned a single bool; it must return an array of True "
        "or False for each of 4 trials, (4,)",
    ),
    (
        '"success": bad',
        "def bad(x, goal):\n    return np.abs(x[0])",
        "success of task go returned an array (4,) of float64; it must return an array",
    ),
    (
        '"success": bad',
        "def bad(x, goal):\n    return x < 1",
        "success of task go returned an array (4, 4) of bool; it must return an array",
    ),
    (
        '"success": bad',
        "def bad(x, goal):\n    return 1 / 0",
        "success of task go fails: ZeroDivisionError: division by zero",
    ),
]


@pytest.mark.parametrize(("change", "source", "words"), FUNCTIONS)
def test_functions_that_fail_or_return_nonsense_are_reported(change, source, words):
    """In a training, in an evaluation and by `check`, with file and line."""
    plant = slide("OWN", change, extra=source)
    task = Task(plant, compile_plant(plant))
    first = plant.source.splitlines().index(source.splitlines()[0]) + 1
    # A function that was called and failed did so in its second line.
    fails = "fails" in words and "takes" not in words

    with pytest.raises(HFControlError) as caught:
        _ = task.n_target
        scenario = task.draw(np.random.default_rng(0))
        task.success(Still(scenario.x0[None]), scenario)
    message = str(caught.value)
    assert message.startswith(f"slide.py, line {first + fails}: {words}")
    assert "\n" not in message

    (finding,) = check_starts(plant)
    assert not finding.ok
    assert finding.message.startswith(f"slide.py, line {first + fails}: {words[:20]}")


def test_a_residual_that_writes_no_number_is_refused():
    source = SLIDE.replace("r[1] = u[0]", "r[1] = (x[0], 1.0)")
    with pytest.raises(PlantError, match=r"slide.py: near writes \(.*\) as work at x"):
        read_plant(f"{source}\nTASKS = {{'go': OWN}}", "slide.py")


def test_a_start_may_have_a_number_for_each_state():
    plant = slide("REACH", '"start": (0.1, 0.2, 0.3, 0.4)')
    scenario = Task(plant, compile_plant(plant)).draw(np.random.default_rng(0))
    np.testing.assert_array_equal(scenario.x0[:, 1], (0.1, 0.2, 0.3, 0.4))
    # The goal is the posture that brings the hand to its target, at rest.
    offsets = scenario.goal[-1, :2] - scenario.x0[:2]
    np.testing.assert_allclose(np.hypot(*offsets), 0.1, rtol=1e-8)
    assert not scenario.goal[-1, 2:].any()


# Positions with a first-order state between them and their rates.
MUSCLE = SLIDE.replace('("x", "y", "x_rate", "y_rate")', '("x", "pull", "x_rate")')
MUSCLE = MUSCLE.replace("dx[1] = x[3]", "dx[1] = u[0] - x[1]")
MUSCLE = MUSCLE.replace("    dx[3] = u[0] - x[1]\n", "")


@pytest.mark.parametrize(
    "extra, positions, rates",
    [("", [0, 1], [2]), ("POSITIONS = ('x',)", [0], [2])],
)
def test_a_file_lists_positions_if_other_states_are_no_rates(extra, positions, rates):
    task = "TASKS = {'go': {**COMMON, 'generator': 'stay', 'running': 0.5, 'push': 1.0"
    spread = ", ".join(["(0.5, 1.0)"] * len(positions))
    text = f"{MUSCLE}\n{extra}\n{task}, 'range': ({spread},)}}}}"
    plant = read_plant(text, "slide.py")
    assert plant.positions.tolist() == positions and plant.rates.tolist() == rates

    scenario = Task(plant, compile_plant(plant)).draw(np.random.default_rng(0))
    assert np.flatnonzero(scenario.x0.any(axis=1)).tolist() == positions
    running = scenario.cost.weights.state[1, :, 0]
    assert np.flatnonzero(running).tolist() == positions
    pushed = scenario.disturbance.any(axis=(0, 2))
    assert np.flatnonzero(pushed).tolist() == rates


@pytest.mark.parametrize(
    "extra, words",
    [
        ("POSITIONS = ('x', 'z')", "POSITIONS holds 'z', which is no name of STATE"),
        ("POSITIONS = 'x'", "POSITIONS is 'x'; it must be a tuple of names"),
        (
            "POSITIONS = ('x',); INTEGRATOR = 'semi_implicit'",
            "POSITIONS has no effect with semi_implicit, where the first half of STATE",
        ),
    ],
)
def test_positions_that_are_none_are_refused(extra, words):
    with pytest.raises(PlantError) as caught:
        slide("OWN", extra=extra)
    assert str(caught.value).startswith(f"slide.py: {words}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "weights, counted",
    [
        ('"final": 1.0', [0, 1, 2, 3]),
        ('"final": (1, 0, 0, 0.5)', [0, 3]),
        ('"final": 0, "running": 1', [0, 1]),
        ('"final": (0, 0, 1, 0), "running": (1, 0, 0, 0)', [0, 2]),
        # Only the residuals have a cost.
        ('"final": 0', [0, 1, 2, 3]),
    ],
)
def test_the_final_error_counts_states_with_a_weight_at_the_end(weights, counted):
    plant = slide("OWN", f'{weights}, "success": {{"state": 0.5}}')
    task = Task(plant, compile_plant(plant))
    assert task.final_states.tolist() == counted

    # One state of each trial is off by 1: the trials succeed where it does not count.
    scenario = task.draw(np.random.default_rng(0))
    final = scenario.goal[-1] + np.eye(4)
    succeeded = task.success(Still(final[None]), scenario)
    assert np.flatnonzero(~succeeded).tolist() == counted


def test_a_residual_reads_no_more_of_the_target_than_hand_space_has():
    """Compiled code would read memory that belongs to something else."""
    options = TaskOptions(space="hand")
    plant = slide("OWN")
    assert Task(plant, compile_plant(plant), None, options).n_target == 2

    source = SLIDE.replace("target[0]", "target[3]")
    plant = read_plant(f"{source}\nTASKS = {{'go': OWN}}", "slide.py")
    Task(plant, compile_plant(plant))
    with pytest.raises(TaskError) as caught:
        Task(plant, compile_plant(plant), None, options)
    line = source.splitlines().index("    r[0] = x[0] - target[3]") + 1
    assert str(caught.value) == (
        f"slide.py, line {line}: residual of task go reads beyond the 2 components of "
        "the target in `space` hand; use `space` joint"
    )


# Forty more mistakes, of other kinds of values: each one is one fault of one entry.
ODD_VALUES = [
    ("REACH", '"start": {0.1, 0.2}'),
    ("REACH", '"start": b"12"'),
    ("REACH", '"start": (1j, 0)'),
    ("REACH", '"start": np.array(["a", "b"])'),
    ("REACH", '"start": np.zeros((2, 1))'),
    ("REACH", '"start": [[0.1, 0.2]]'),
    ("REACH", '"start": (10**400, 0)'),
    ("REACH", '"start": (True, False)'),
    ("REACH", '"start": range(2)'),
    ("REACH", '"start": lambda: 0'),
    ("REACH", '"radius": np.nan'),
    ("REACH", '"radius": np.array([0.1])'),
    ("REACH", '"centre": 0.3'),
    ("ANGLES", '"targets": (((0, 0), (1, 1)),)'),
    ("ANGLES", '"targets": {"first": 0, "last": 1}'),
    ("ANGLES", '"targets": ("a", "b")'),
    ("STAY", '"range": np.zeros((2, 3))'),
    ("STAY", '"range": [(0, np.inf), (0, 1)]'),
    ("AROUND", '"spread": (0.1, 0.1, None, 0)'),
    ("AROUND", '"target": (np.inf, 0, 0, 0)'),
    ("REACH", '"trials": np.inf'),
    ("REACH", '"trials": [64]'),
    ("REACH", '"steps": "60"'),
    ("REACH", '"final": ((1, 1), (1, 1), (1, 1), (1, 1))'),
    ("REACH", '"final": 10**400'),
    ("REACH", '"final": (1, 1, 1, "x")'),
    ("REACH", '"running": np.ones((4, 1))'),
    ("REACH", '"running": (0.1, np.nan, 0, 0)'),
    ("REACH", '"effort": ()'),
    ("REACH", '"effort_about": "trim"'),
    ("REACH", '"final_at": (0, 1)'),
    ("REACH", '"success": {1: 2}'),
    ("REACH", '"success": {"hand": np.nan}'),
    ("REACH", '"success": ("hand", 0.1)'),
    ("REACH", '"preview": {0.1: 1}'),
    ("REACH", '"random": 1'),
    ("REACH", '"sees": np.ones(3)'),
    ("REACH", '"train": None'),
    ("REACH", '"push": "1N"'),
    ("OWN", '"residual_weight": {"near": 1}'),
]


def test_forty_odd_values_are_forty_lines_in_train_check_and_python(tmp_path, capsys):
    """All in one file: nothing is trained, and nothing ends in a traceback."""
    assert len(ODD_VALUES) == 40
    tasks = [
        f"'t{k}': {{**{base}, {change}}}" for k, (base, change) in enumerate(ODD_VALUES)
    ]
    path = tmp_path / "slide.py"
    path.write_text(f"{SLIDE}\nTASKS = {{{', '.join(tasks)}}}\n")
    entries = [change.partition(":")[0].strip('"') for _, change in ODD_VALUES]
    starts = [f"t{k} of slide: {entry} " for k, entry in enumerate(entries)]

    with pytest.raises(TaskError) as caught:
        hf.train(str(path), out=tmp_path / "runs")
    lines = str(caught.value).splitlines()
    assert len(lines) == 40
    assert all(map(str.startswith, lines, [f"task {s}" for s in starts]))
    assert all("must " in line or "has " in line for line in lines)

    _, errors = run_command(capsys, "train", "--plant", str(path))
    assert errors.splitlines() == [f"hfcontrol: {line}" for line in lines]
    printed, _ = run_command(capsys, "check", str(path))
    faults = [line for line in printed.splitlines() if line.startswith("FAIL tasks: ")]
    named = [f"FAIL tasks: t{k}: {entry} " for k, entry in enumerate(entries)]
    assert len(faults) == 40
    assert all(map(str.startswith, faults, named))
    assert not (tmp_path / "runs").exists()
