"""Warnings of `hfcontrol check`: each is found where it is true, and only there."""

import pytest

from hfcontrol.evaluation.problem_check import check_problems
from hfcontrol.evaluation.units_check import state_units
from hfcontrol.plant.reader import read_plant
from hfcontrol.plant.registry import load_plant, plant_names

CART = """
import math

STATE = ("place", "place_rate")  # [m, m/s]
CONTROL = ("push",)
DT, INTEGRATOR = 0.05, "rk4"


def dynamics(x, u, p, dx):
    dx[0] = x[1]
    dx[1] = u[0] - 0.5 * x[1]


TASKS = {"park": {"generator": "around", "start": (1.0, 0.0), "spread": (0.5, 0.3),
                  "target": (0.0, 0.0), "trials": 8, "steps": 40, "running": (1.0, 0.1),
                  "effort": 0.1}}
"""
FORCE = "dx[1] = u[0] - 0.5 * x[1]"

# Two states in discrete steps: a stock and a clock.
STOCK = """
STATE, CONTROL = ("stock", "week"), ("order",)
DT = 1.0


def step(x, u, p, dt, x_next):
    x_next[0] = 0.9 * x[0] + u[0] - 2.0
    x_next[1] = x[1] + 1.0


TASKS = {"keep": {"generator": "around", "start": (5.0, 0.0), "spread": (1.0, 0.0),
                  "target": (4.0, float("nan")), "trials": 8, "steps": 20,
                  "running": (1.0, 0.0), "effort": 0.1}}
"""


def words_of(source, *changes):
    """The messages about a plant whose source is changed."""
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    findings = check_problems(read_plant(source, "mine.py"))
    assert all(finding.ok and "\n" not in finding.message for finding in findings)
    return [finding.message for finding in findings]


@pytest.mark.parametrize("source", [CART, STOCK])
def test_sound_problems_have_no_warnings(source):
    assert not words_of(source)


@pytest.mark.parametrize("name", plant_names())
def test_shipped_plants_have_no_warnings(name):
    assert not check_problems(load_plant(name))


@pytest.mark.parametrize(
    "changes, words",
    [
        # A position cannot stay where its rate is not zero.
        ([('"target": (0.0, 0.0)', '"target": (0.0, 1.0)')], "no point of rest"),
        # A constant force beyond the limit of the control.
        (
            [(FORCE, FORCE + " - 3.0"), ("DT, ", "LIMIT = 1.0\nDT, ")],
            "place_rate: its goal is no point of rest",
        ),
        # One-sided limits: a pull is needed, and the control only pushes.
        (
            [(FORCE, FORCE + " + 3.0"), ("DT, ", "LIMIT = ((0, None),)\nDT, ")],
            "constant controls (0) change it by",
        ),
        # A spring pulls harder at a goal far away; that its rate is free is no help.
        (
            [
                (FORCE, FORCE + " - x[0]"),
                ('"target": (0.0, 0.0)', '"target": (2.0, float("nan"))'),
                ("(1.0, 0.1)", "(1.0, 0.0)"),
                ("DT, ", "LIMIT = 1.0\nDT, "),
            ],
            "place: its goal is no point of rest",
        ),
    ],
)
def test_a_goal_that_cannot_be_held_is_named(changes, words):
    (message,) = words_of(CART, *changes)
    assert words in message and "choose a goal that can be held" in message


def test_states_without_running_cost_may_move_at_the_goal():
    moving = ('"target": (0.0, 0.0)', '"target": (0.0, 1.0)')
    assert not words_of(CART, moving, ("(1.0, 0.1)", "(0.0, 0.1)"))
    assert not words_of(CART, moving, ('"running": (1.0, 0.1)', '"final": 1.0'))


def test_a_discrete_step_that_is_no_fixed_point_is_named_but_not_its_clock():
    message = words_of(STOCK, ("DT = 1.0", "DT = 1.0\nLIMIT = 1.0"))[0]
    assert message.startswith("stock: the step is not a fixed point at its goal")


def test_dry_friction_is_a_jump_at_rest():
    friction = "(1.0 if x[1] > 0 else -1.0 if x[1] < 0 else 0.0)"
    changes = [
        (FORCE, f"{FORCE} - 0.3 * {friction}"),
        ('"rk4"', '"euler"'),
        ("(0.5, 0.3)", "(0.5, 0.0)"),
    ]
    (message,) = words_of(CART, *changes)
    assert message.startswith("jump: the step of place_rate has a jump in place_rate")
    assert "dry friction" in message and "tanh(v / 0.01)" in message


def test_a_stop_is_a_kink_on_the_way():
    changes = [(FORCE, f"{FORCE} - 40.0 * max(x[0] - 0.8, 0.0)")]
    (message,) = words_of(CART, *changes)
    assert (
        message.startswith("kink: the step of ") and "in place near x = (0." in message
    )


@pytest.mark.parametrize("force", ["- x[1] * abs(x[1])", "- 9.0 * math.sin(9 * x[0])"])
def test_smooth_forces_are_no_kinks(force):
    assert not words_of(CART, (FORCE, FORCE + force))


def test_an_unstable_mode_faster_than_the_step_is_named():
    """Two eigenvalues of +-30 /s: growth by e^1.5 within 50 ms."""
    (message,) = words_of(CART, (FORCE, "dx[1] = u[0] + 900.0 * x[0]"))
    assert message.startswith("unstable mode faster than DT")
    assert "grows 4.48-fold within a control step of 0.05 s" in message
    (message,) = words_of(STOCK, ("0.9 * x[0]", "3.0 * x[0]"))
    assert message.startswith("unstable mode") and "grows 3-fold" in message
    assert not words_of(CART, (FORCE, "dx[1] = u[0] + 100.0 * x[0]"))


def test_a_fast_mode_that_the_integrator_loses_is_named():
    (message,) = words_of(CART, (FORCE, "dx[1] = u[0] - 200.0 * x[1]"))
    assert "rk4 with 1 steps per DT cannot follow it" in message
    assert "set SUBSTEPS = " in message


@pytest.mark.parametrize(
    "changes, words",
    [
        (
            [("[m, m/s]", "[rad, rad/s]"), ("(1.0, 0.0)", "(180.0, 0.0)")],
            "in [rad] but",
        ),
        (
            [("[m, m/s]", "[deg, deg/s]"), (FORCE, FORCE + " - math.sin(x[0])")],
            "place is in [deg], but the file takes sin, cos or tan of x[0]",
        ),
        ([("[m, m/s]", "[rad, deg/s]")], "place is in [rad], but place_rate, its rate"),
        (
            [("DT, ", 'UNITS = {"state": ("m", "cm/s")}\nDT, ')],
            "place is in [m], but place_rate, its rate, in [cm/s]",
        ),
    ],
)
def test_units_that_disagree_are_named(changes, words):
    (message,) = words_of(CART, *changes)
    assert message.startswith("units: ") and words in message


def test_degrees_that_are_converted_are_fine():
    degrees = ("[m, m/s]", "[deg, deg/s]")
    assert not words_of(CART, degrees, (FORCE, f"{FORCE} - math.sin(0.0175 * x[0])"))


def test_states_that_count_as_positions_are_named():
    """A first-order actuator beside a position and its rate."""
    changes = [
        ('("place", "place_rate")', '("place", "pull", "place_rate")'),
        ("# [m, m/s]", "# [m, N, m/s]"),
        ("dx[0] = x[1]", "dx[0] = x[2]\n    dx[1] = u[0] - x[1]"),
        (FORCE, "dx[2] = x[1] - 0.5 * x[2]"),
        ("(1.0, 0.0)", "(1.0, 0.0, 0.0)"),
        ("(0.5, 0.3)", "(0.5, 0.0, 0.3)"),
        ("(0.0, 0.0)", "(0.0, 0.0, 0.0)"),
        ('"running": (1.0, 0.1)', '"running": 1.0'),
    ]
    (message,) = words_of(CART, *changes)
    assert message.startswith("positions: pull count as positions, like place")
    assert message.endswith("list those that are: POSITIONS = ('place',)")
    listed = ("DT, ", "POSITIONS = ('place',)\nDT, ")
    assert not words_of(CART, *changes, listed)
    by_state = ('"running": 1.0', '"running": (1.0, 0.0, 0.1)')
    assert not words_of(CART, *changes, by_state)


def test_units_are_read_from_a_comment_or_from_the_file():
    assert state_units(read_plant(CART, "mine.py")) == ("m", "m/s")
    assert state_units(load_plant("arm1")) == ("rad", "rad/s")
