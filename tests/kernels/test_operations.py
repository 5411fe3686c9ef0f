"""Operations of a plant's step, counted by hand."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from hfcontrol.kernels.operations import MATH_CALL, step_operations

# 1 product, 1 sine and 1 sign; 3 passes of 2 operations and a call of 1; 1 comparison
# and both branches of 1; a loop whose range is unknown counts once.
SOURCE = """
import math

N = 3


def square(v):
    return v * v


def dynamics(x, u, p, dx):
    dx[0] = -(2.0 * math.sin(x[1]))
    for i in range(N):
        dx[1] += square(x[i]) * p[i]
    dx[2] = x[0] + 1.0 if x[0] > 0 else x[0] - 1.0
    for i in range(int(u[0])):
        dx[2] = abs(x[i]) / 2.0
"""
STEP = SOURCE.replace("dynamics", "step")
BODY = (1 + MATH_CALL + 1) + 3 * (2 + 1) + 3 + 1


@pytest.mark.parametrize(
    "source, integrator, substeps, operations",
    [
        # Each stage adds a multiple of the derivatives to the 3 states.
        (SOURCE, "euler", 1, BODY + 6),
        (SOURCE, "semi_implicit", 5, 5 * (BODY + 6)),
        (SOURCE, "rk4", 2, 2 * 4 * (BODY + 6)),
        (STEP, "none", 1, BODY),
    ],
)
def test_operations_by_hand(source, integrator, substeps, operations):
    names = {"math": math}
    exec(source, names)
    functions = {name: names[name] for name in ("dynamics", "step") if name in names}
    plant = SimpleNamespace(
        source=source,
        path=Path("plant.py"),
        functions=functions,
        nx=3,
        substeps=substeps,
        integrator=integrator,
    )
    assert step_operations(plant) == operations
