"""Which states a plant file takes as angles."""

from types import SimpleNamespace

from hfcontrol.evaluation.units_check import _indices_in_radians

SOURCE = """
import math
from math import tan


def dynamics(x, u, p, dx):
    angle = 2 * x[5]
    dx[0] = math.sin(x[2]) + tan(x[0]) + math.cos(u[1])
    dx[1] = math.exp(x[3]) + math.sin(angle) + math.sin(x[i]) + math.atan2(x[1], x[4])
"""


def test_states_in_sin_cos_and_tan_are_angles():
    """Neither controls, other functions, nor names that stand for something else."""
    assert _indices_in_radians(SimpleNamespace(source=SOURCE)) == {0, 2}


def test_a_source_that_is_no_python_has_none():
    assert _indices_in_radians(SimpleNamespace(source="<mujoco>")) == set()
