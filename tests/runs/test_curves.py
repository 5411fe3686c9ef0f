"""Learning curves that checkpoints share: the same curve, stored once."""

import shutil

import numpy as np
import pytest
from helpers import bits
from trainings import SMALL

import hfcontrol as hf
from hfcontrol.errors import CheckpointError, HFControlWarning
from hfcontrol.runs import curves
from hfcontrol.runs import hdf5 as checkpoint
from hfcontrol.runs.folder import RunFolder
from hfcontrol.runs.run import Run


@pytest.fixture(autouse=True)
def short_parts(monkeypatch):
    """Parts of three points, so that short curves have several."""
    monkeypatch.setattr(curves, "PART", 3)


def curve_of(count):
    """The columns of a curve of some points."""
    rng = np.random.default_rng(count)
    counts = np.arange(count)
    return {
        "loss": rng.standard_normal(count),
        "updates": counts,
        "rollouts": 2 * counts,
        "seconds": 0.1 * counts,
    }


def same_columns(one, other):
    return all(
        one[key].tobytes() == other[key].tobytes()
        and one[key].dtype == other[key].dtype
        for key in curves.COLUMNS
    )


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 6, 7, 100])
def test_curve_comes_back_in_every_bit(tmp_path, count):
    tree = {"state": {"deep": {"history": curve_of(count)}, "loss": 1.0}}
    stored = curves.store_curves(tree, tmp_path)
    assert len(list(tmp_path.iterdir())) == count // 3
    assert len(stored["state"]["deep"]["history"]["loss"]) == count % 3 or count < 3
    found = curves.restore_curves(stored, tmp_path)
    assert same_columns(found["state"]["deep"]["history"], curve_of(count))
    assert found["state"]["loss"] == 1.0


def test_a_part_is_written_once(tmp_path):
    """Checkpoints do not grow with the curve, and no part is written again."""
    run, whole, places = RunFolder(tmp_path), curve_of(45), {}
    for count in range(3, 45, 3):
        tree = {"curve": {key: a[:count] for key, a in whole.items()}}
        path = run.save(tree, count, 0.5)
        for file in tmp_path.glob("curve-*.h5"):
            status = file.stat()
            now = (status.st_ino, status.st_mtime_ns)
            assert places.setdefault(file, now) == now
        assert same_columns(run.load(path)["curve"], tree["curve"])
    assert len(places) == 14
    # A digest of each part is all that is added.
    sizes = [file.path.stat().st_size for file in run.checkpoints()]
    assert sizes[-1] - sizes[0] < 14 * 80 and len(sizes) == 14


def test_runs_with_parts_are_resumed_bit_for_bit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(curves, "PART", 8)
    whole = hf.train("arm2", **{**SMALL, "rollouts": 40})
    assert list(whole.path.glob("curve-*.h5"))
    part = hf.train("arm2", **SMALL)
    shutil.move(part.path, "moved")
    assert bits(hf.resume("moved", rollouts=40).state) == bits(whole.state)
    # Checkpoints of before share the parts of those after.
    first = Run.load(whole.folder.checkpoints()[2].path)
    assert first.state.history == whole.state.history[: first.state.holds]


def stored_part(folder):
    """A tree with a curve of one part, and the file of that part."""
    tree = curves.store_curves({"curve": curve_of(4), "theta": np.ones(2)}, folder)
    (file,) = folder.iterdir()
    return tree, file


@pytest.mark.parametrize("damage", ["missing", "cut", "another", "no curve"])
def test_a_lost_part_costs_its_points_alone(tmp_path, damage):
    """Not the weights; the number of points stays, which counts the holds."""
    tree, file = stored_part(tmp_path)
    if damage == "missing":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-40])
    else:
        other = curve_of(3) if damage == "another" else {"loss": np.zeros(3)}
        other["loss"] = other["loss"] + 1.0
        checkpoint.save(file, other)
    with pytest.warns(
        HFControlWarning, match="3 points of the learning curve are lost"
    ):
        found = curves.restore_curves(tree, tmp_path)
    assert found["theta"].tolist() == [1.0, 1.0]
    lost = found["curve"]
    assert np.isnan(lost["loss"][:3]).all() and lost["updates"][:3].tolist() == [0] * 3
    assert lost["loss"][3] == curve_of(4)["loss"][3]


DIGEST = 64 * "0"


@pytest.mark.parametrize(
    "parts",
    [
        None,
        "0" * 64,
        [3],
        ["../../../etc/passwd"],
        [f"{DIGEST[:-1]}/"],
        [DIGEST, DIGEST],
        [f"{k:064x}" for k in range(10_001)],
    ],
    ids=lambda parts: str(parts)[:20],
)
def test_parts_of_other_names_are_refused(tmp_path, parts):
    tree, _ = stored_part(tmp_path)
    tree["curve"]["parts"] = parts
    with pytest.raises(CheckpointError, match="have no digests"):
        curves.restore_curves(tree, tmp_path)


def test_parts_are_no_checkpoints(tmp_path):
    """No command takes one for a checkpoint, and thinning leaves them."""
    run = RunFolder(tmp_path)
    for count in (3, 6, 9):
        run.save({"curve": curve_of(count)}, count, 0.5)
    assert [file.updates for file in run.checkpoints()] == [3, 6, 9]
