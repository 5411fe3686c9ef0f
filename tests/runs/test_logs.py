"""Logs of a training: csv, TensorBoard and Python's logging hold its numbers."""

import csv
import logging
import struct
import sys

import numpy as np
import pytest
from trainings import SMALL_OPTIONS, call, complaint

import hfcontrol as hf
from hfcontrol.runs.logs import COLUMNS, open_logs

SMALL = {"trials": 4, "steps": 4, "hidden": (3,), "strategy": "plain", "batches": 2}


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """A training that is logged everywhere, and its events."""
    events = []
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger("hfcontrol")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        run = hf.train(
            "arm2",
            **SMALL,
            rollouts=5,
            log=("csv", "tensorboard"),
            on_event=events.append,
            out=tmp_path_factory.mktemp("runs"),
        )
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    return run, events, records


def rows_of(run):
    """The rows of a run's csv file."""
    with (run.path / "log.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def scalars(run):
    """The numbers in a run's files for TensorBoard: (tag, step, value)."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted((run.path / "tensorboard").iterdir()):
        content = path.read_bytes()
        # Records of a length (8 bytes), its checksum (4), the data and theirs (4).
        while content:
            (size,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + size])
            found += [(v.tag, event.step, v.simple_value) for v in event.summary.value]
            content = content[16 + size :]
    return found


def test_the_csv_has_a_row_per_event(logged):
    run, events, _ = logged
    shown = [event for event in events if event.kind in ("start", "update", "hold")]
    rows = rows_of(run)
    assert list(rows[0]) == list(COLUMNS) and len(rows) == len(shown)
    for row, event in zip(rows, shown, strict=True):
        assert row["event"] == event.kind
        assert int(row["update"]) == event.state.updates
        assert float(row["loss"]) == event.numbers["loss"]
    # Numbers of the last update: those of its report.
    updates = [row for row in rows if row["event"] == "update"]
    assert float(updates[-1]["damping"]) > 0 and int(updates[-1]["iterations"]) > 0


@pytest.mark.parametrize("log, name", [("csv", "log.csv"), ("tensorboard",) * 2])
def test_a_link_in_the_place_of_a_log_is_not_followed(log, name, tmp_path):
    """A run folder may come from anyone."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine").write_text("mine")
    place = elsewhere / "mine" if log == "csv" else elsewhere
    (tmp_path / name).symlink_to(place)
    with pytest.raises(hf.HFControlError, match="is a link; remove it"):
        open_logs([log], tmp_path, 0)
    assert [path.name for path in elsewhere.iterdir()] == ["mine"]
    assert (elsewhere / "mine").read_text() == "mine"


def test_a_resumed_run_goes_on_in_its_csv(tmp_path):
    run = hf.train("arm2", **SMALL, rollouts=4, out=tmp_path, log="csv")
    before = rows_of(run)
    resumed = hf.resume(run, rollouts=8, log="csv")
    rows = rows_of(resumed)
    assert rows[: len(before)] == before and len(rows) > len(before)
    assert int(rows[-1]["update"]) == resumed.state.updates
    whole = hf.train("arm2", **SMALL, rollouts=8, out=tmp_path)
    assert np.array_equal(whole.theta, resumed.theta)


def test_tensorboard_has_the_losses(logged):
    run, events, _ = logged
    found = scalars(run)
    losses = [(step, value) for tag, step, value in found if tag == "loss/update"]
    shown = [event for event in events if event.kind in ("start", "update")]
    assert losses == [
        (event.state.updates, np.float32(event.numbers["loss"])) for event in shown
    ]
    assert {"loss/hold", "training/damping"} <= {tag for tag, _, _ in found}


def test_python_logging_has_updates_as_debug(logged):
    run, events, records = logged
    levels = [(r.levelname, r.getMessage().split(": ")[1]) for r in records]
    kinds = [("DEBUG" if e.kind == "update" else "INFO", e.kind) for e in events]
    assert levels == kinds
    assert all(r.getMessage().startswith(run.path.name) for r in records)


def test_logs_are_checked_before_the_training(monkeypatch, tmp_path):
    with pytest.raises(hf.HFControlError, match="`log` xml: must be csv or tensorb"):
        hf.train("arm2", log="xml", out=tmp_path)
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(hf.HFControlError, match=r"hfcontrol\[tensorboard\]"):
        hf.train("arm2", log="tensorboard", out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_option_logs_as_the_keyword_does(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = [*SMALL_OPTIONS, "--quiet", "--log", "csv"]
    assert call(capsys, "train", *options) == (0, "", "")
    run = hf.Run.load()
    assert int(rows_of(run)[-1]["update"]) == run.state.updates
    line = complaint(capsys, "train", "--log", "x", status=2)
    assert "--log x: must be csv or tensorboard" in line
    line = complaint(capsys, "train", "--seeds", "0-1", "--log", "csv", status=2)
    assert "--seeds 0-1 with --log" in line
