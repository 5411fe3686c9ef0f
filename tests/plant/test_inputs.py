"""The files that a plant is made of besides its own, and that a change is noticed."""

import ast
import hashlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import hfcontrol as hf
from hfcontrol.errors import HFControlWarning, PlantError, TrainingError
from hfcontrol.plant.inputs import digest_files, helper_files
from hfcontrol.plant.registry import load_plant
from hfcontrol.runs.run import Run

# A mass whose numbers stand in other files: by open, by pathlib, by NumPy, and by a
# helper, which imports another one.
RIG = """
import json
import pathlib
import numpy as np
import rig_helper

FOLDER = pathlib.Path(__file__).parent
with open(FOLDER / "rig.json") as file:
    MASS = float(json.load(file)["mass"])
DRAG = float((FOLDER / "parts" / "drag.txt").read_text())
GAIN = float(np.load(FOLDER / "gain.npy"))
SCALE = float(rig_helper.SCALE)
STATE, CONTROL = ("place", "place_rate"), ("force",)
DT = 0.1


def step_batch(x, u, p, dt):
    return np.stack([x[0] + dt * x[1], x[1] + dt * GAIN * SCALE * u[0] / MASS])


def draw(rng, trials, split):
    return rng.standard_normal((2, trials)), np.zeros((2, trials))


with open(FOLDER / "log.txt", "a") as file:
    file.write("read\\n")

TASKS = {"go": {"draw": draw, "trials": 4, "steps": 6, "effort": 1e-3}}
"""
BRIEF = {"hidden": (3,), "batches": 2, "rollouts": 4, "strategy": "plain"}


@pytest.fixture
def rig(tmp_path, monkeypatch):
    """The path of the plant above, with all its files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HFCONTROL_DATA", str(tmp_path / "data"))
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "drag.txt").write_text("0.5")
    (tmp_path / "rig.json").write_text(json.dumps({"mass": 1.0}))
    np.save(tmp_path / "gain.npy", 2.0)
    (tmp_path / "rig_helper.py").write_text("import rig_inner\nSCALE = rig_inner.ONE\n")
    (tmp_path / "rig_inner.py").write_text("ONE = 1.0\n")
    (tmp_path / "rig.py").write_text(RIG)
    yield tmp_path / "rig.py"
    for name in ("rig_helper", "rig_inner"):
        sys.modules.pop(name, None)


FILES = ["gain.npy", "parts/drag.txt", "rig.json", "rig_helper.py", "rig_inner.py"]


def test_all_files_that_a_plant_reads_are_its_inputs(rig):
    """Not those it writes, nor Python's; the same when its modules are known."""
    inputs = load_plant(rig).inputs
    digests = {n: hashlib.sha256(Path(n).read_bytes()).hexdigest() for n in FILES}
    assert inputs == digests
    assert "rig_helper" in sys.modules
    assert load_plant(rig).inputs == inputs


def test_shipped_plants_have_no_inputs():
    assert load_plant("arm2").inputs == {}


@pytest.mark.parametrize(
    "folder, counts",
    [("site-packages", False), ("dist-packages", False), ("packages", True)],
)
def test_libraries_are_no_inputs_wherever_they_are(
    folder, counts, tmp_path, monkeypatch
):
    """As after `pip install --user`, or in a folder of PYTHONPATH."""
    file = tmp_path / folder / "tool.py"
    file.parent.mkdir()
    file.write_text("ONE = 1.0\n")
    monkeypatch.setitem(sys.modules, "tool", SimpleNamespace(__file__=str(file)))
    assert helper_files(ast.parse("import tool")) == [str(file)] * counts
    assert (
        list(digest_files([file], tmp_path / "plant.py"))
        == [f"{folder}/tool.py"] * counts
    )


def test_a_changed_input_is_noticed_like_a_changed_plant(rig):
    run = hf.train(rig, **BRIEF)
    again = Run.load(run.path)
    assert not again.plant_changed and run.tree["inputs"] == again.plant.inputs
    for count, name in enumerate(FILES, start=1):
        with open(name, "ab") as file:
            file.write(b"\n")
        changed = Run.load(run.path)
        assert changed.changed_files == FILES[:count]
    names = ", ".join(FILES)
    with pytest.raises(TrainingError, match=f"^{names} changed since .*`force`"):
        hf.resume(run.path, rollouts=6)
    with pytest.warns(HFControlWarning, match="^gain.npy, .* changed since"):
        run = hf.resume(run.path, rollouts=6, force=True)
    assert not Run.load(run.path).plant_changed


def test_files_that_cannot_be_read_are_errors_of_the_plant(rig):
    Path("rig.json").unlink()
    with pytest.raises(PlantError, match=r"rig.py, line 8: FileNotFoundError"):
        load_plant(rig)
