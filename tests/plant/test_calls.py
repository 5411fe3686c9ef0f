"""`links` and `marks` that fail or return nonsense: one line with file and line."""

from types import SimpleNamespace

import numpy as np
import pytest

from hfcontrol.errors import PlantError
from hfcontrol.figures.coordinates import link_points, mark_points
from hfcontrol.plant.calls import describe_value
from hfcontrol.plant.reader import read_plant

CART = """
import numpy as np

STATE, CONTROL = ("place", "place_rate"), ("push",)
DT, INTEGRATOR = 0.1, "euler"


def dynamics(x, u, p, dx):
    dx[0] = x[1]
    dx[1] = u[0]


"""
LINE = len(CART.splitlines()) + 1


def comparison_of(source):
    """What drawing reads of a comparison: two steps of three trials."""
    plant = read_plant(CART + source, "cart.py")
    rng = np.random.default_rng(0)
    rollout = SimpleNamespace(
        x=rng.standard_normal((3, 2, 3)), u=rng.standard_normal((2, 1, 3))
    )
    scenario = SimpleNamespace(params=np.zeros((0, 3)))
    run = SimpleNamespace(plant=plant)
    return SimpleNamespace(run=run, rollout=rollout, scenario=scenario)


def draw(source):
    """Draw what the source defines: its links or its marks, in trials 2 and 0."""
    comparison = comparison_of(source)
    trials = np.array([2, 0])
    if "links" in comparison.run.plant.functions:
        return link_points(comparison, comparison.rollout.x, trials), comparison
    return mark_points(comparison, trials), comparison


def test_links_and_marks_are_drawn_at_every_state_of_the_trials():
    source = "def links(x, p):\n    return [(0.0, 0.0), (x[0], x[1])]"
    points, comparison = draw(source)
    assert points.shape == (2, 3, 2, 2)
    for i, n in enumerate((2, 0)):
        np.testing.assert_array_equal(points[i, :, 1], comparison.rollout.x[:, :, n])
    source = "def marks(x, u, p):\n    return np.array([[x[0], 0.0, u[0]]])"
    marks, comparison = draw(source)
    assert marks.shape == (2, 3, 1, 3)
    # At the last state the last control stays.
    controls = comparison.rollout.u[[0, 1, 1], 0, 0]
    np.testing.assert_array_equal(marks[1, :, 0, 2], controls)


LINKS, MARKS = "def links(x, p):\n    ", "def marks(x, u, p):\n    "


@pytest.mark.parametrize(
    "source, line, words",
    [
        (f"{LINKS}return x[7]", LINE + 1, "links fails: IndexError: index 7 is out of"),
        (f"{LINKS}raise KeyError", LINE + 1, "links fails: KeyError"),
        (
            f"{LINKS}return None",
            LINE,
            "links gives nothing; it must give points (k, 2)",
        ),
        (f"{LINKS}return 'abc'", LINE, "links gives a str that is no array of numbers"),
        (f"{LINKS}return [[0, 0], [1]]", LINE, "links gives a list that is no array"),
        (
            f"{LINKS}return x",
            LINE,
            "links gives an array (2,) of float64; it must give",
        ),
        (
            f"{LINKS}return np.zeros((1, 4))",
            LINE,
            "links gives an array (1, 4) of float",
        ),
        (
            f"{LINKS}return np.zeros((1 + (x[0] > 0), 2))",
            LINE,
            "links gives more points at some states than at others; the number must be",
        ),
        (f"{MARKS}return 3", LINE, "marks gives a single int; it must give x, y and a"),
        (
            f"{MARKS}return u / {{}}",
            LINE + 1,
            "marks fails: TypeError: unsupported oper",
        ),
        (
            f"{MARKS}return np.zeros((1 + (x[0] > 0), 3))",
            LINE,
            "marks gives more points at some states than at others; the number must be",
        ),
    ],
)
def test_drawings_that_fail_are_reported_in_one_line(source, line, words):
    with pytest.raises(PlantError) as caught:
        draw(source)
    assert str(caught.value).startswith(f"cart.py, line {line}: {words}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value, words",
    [
        (None, "nothing"),
        (1.0, "a single float"),
        ([True, False], "an array (2,) of bool"),
        ({"x": 1}, "a dict that is no array of numbers"),
        ([[1], [1, 2]], "a list that is no array of numbers"),
        (["1"], "a list that is no array of numbers"),
    ],
)
def test_a_returned_value_is_described(value, words):
    assert describe_value(value) == words
