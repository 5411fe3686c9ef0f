"""Simulators in float32 are recognised, and not taken for rough ones."""

import pytest

from hfcontrol.evaluation.plant_check import check_smooth
from hfcontrol.evaluation.plant_sample import Sample
from hfcontrol.plant.registry import load_plant

# A smooth plant, computed in `dtype`, whose force may jump.
SOURCE = """
import numpy as np
STATE, CONTROL = ("place", "place_rate"), ("force",)
DT = 0.02
def step_batch(x, u, p, dt):
    x, u = x.astype(np.DTYPE), u.astype(np.DTYPE)
    v = x[1] + np.DTYPE(dt) * (FORCE - np.DTYPE(0.2) * x[1])
    return np.stack([x[0] + np.DTYPE(dt) * v, v])
"""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("force", ["u[0]", "100 * np.round(JUMPS * u[0])"])
def test_single_precision_is_said_and_jumps_are_found(tmp_path, dtype, force):
    path = tmp_path / "simulator.py"
    # About as many jumps as the difference step meets.
    force = force.replace("JUMPS", {"float32": "50", "float64": "3e4"}[dtype])
    path.write_text(SOURCE.replace("DTYPE", dtype).replace("FORCE", force))
    sample = Sample(load_plant(str(path)))
    is_single = dtype == "float32"
    assert sample.single_states() == (["place", "place_rate"] if is_single else [])
    finding = check_smooth(sample)
    if force != "u[0]":
        assert "jump or a kink" in finding.message
    elif is_single:
        assert finding.ok and "single precision (float32)" in finding.message
    else:
        assert finding is None
