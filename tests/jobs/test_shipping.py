"""What travels between caller and worker: only the plant that was named runs."""

import os
from dataclasses import replace

import pytest
from trainings import CART

from hfcontrol.errors import CheckpointError, PlantError
from hfcontrol.jobs.shipping import Parcel, SentPlant, pack_run, unpack_run
from hfcontrol.plant.registry import load_plant
from hfcontrol.runs.folder import RunFolder
from hfcontrol.runs.records import is_known

MARK = "import pathlib\npathlib.Path(__file__).with_suffix('.ran').touch()\n"


@pytest.fixture
def plant(tmp_path):
    """The file of a plant that leaves a mark when it runs."""
    path = tmp_path / "cart.py"
    path.write_text(MARK + CART)
    return path


def test_the_text_that_was_sent_runs_and_no_other(plant):
    """Whether the worker has no file of this name, or another one."""
    name = str(plant)
    sent = SentPlant.pack(name)
    ran = plant.with_suffix(".ran")
    for other in (None, "raise SystemExit\n"):
        ran.unlink()
        plant.unlink(missing_ok=True)
        if other is not None:
            plant.write_text(other)
        with sent.use():
            assert load_plant(name).source == MARK + CART
        assert ran.exists()
    with pytest.raises(PlantError):
        load_plant(name)
    assert not is_known(name)


def test_a_text_with_another_hash_does_not_run(plant):
    sent = replace(SentPlant.pack(str(plant)), source="raise SystemExit\n")
    plant.with_suffix(".ran").unlink()
    with pytest.raises(PlantError, match="has it with the hash"), sent.use():
        pytest.fail("it was used")
    assert not plant.with_suffix(".ran").exists()


def test_a_file_that_the_plant_reads_is_compared(plant):
    """The line names the file, both hashes, and what to do."""
    table = plant.with_name("table.txt")
    table.write_text("1")
    read = f"from pathlib import Path\nPath({str(table)!r}).read_text()\n"
    plant.write_text(read + CART)
    sent = SentPlant.pack(str(plant))
    with sent.use():
        pass
    table.write_text("2")
    with pytest.raises(PlantError) as caught, sent.use():
        pytest.fail("it was used")
    assert "table.txt: the worker on" in str(caught.value)
    table.unlink()
    plant.write_text(CART)
    with pytest.raises(PlantError, match="No such file"), sent.use():
        pytest.fail("it was used")


def test_shipped_plants_are_compared_and_not_sent():
    sent = SentPlant.pack("pendulum")
    assert sent.source is None and sent.digest == ""
    other = replace(sent, source_hash="123")
    with pytest.raises(PlantError, match="the caller with 123"), other.use():
        pytest.fail("it was used")


def test_a_run_travels_with_what_it_is_resumed_from(tmp_path):
    folder = RunFolder.create(tmp_path / "there", "arm2", "reach", 0)
    names = [
        "00001-loss2.0e+00.h5",
        "00002-loss1.0e+00.h5",
        "curve-" + "a" * 64 + ".h5",
    ]
    for name in names:
        (folder.path / name).write_text(name)
    (folder.path / "lock").write_text("1")
    path = unpack_run(pack_run(folder.path), tmp_path / "here")
    assert path.name == folder.path.name
    assert sorted(os.listdir(path)) == names
    assert sorted(pack_run(folder.path, newest_only=True).files) == names[1:]


@pytest.mark.parametrize(
    "folder, file",
    [
        ("../arm2-reach-20261130-150000-seed0", "00001-loss2.0e+00.h5"),
        ("arm2", "00001-loss2.0e+00.h5"),
        ("arm2-reach-20261130-150000-seed0", "../00001-loss2.0e+00.h5"),
        ("arm2-reach-20261130-150000-seed0", "log.csv"),
        ("arm2-reach-20261130-150000-seed0", "curve-../x.h5"),
    ],
)
def test_names_that_no_run_has_are_refused(tmp_path, folder, file):
    with pytest.raises(CheckpointError, match="a file that no run has"):
        unpack_run(Parcel(folder, {file: b""}), tmp_path / "out")
    assert not (tmp_path / "out").exists()
