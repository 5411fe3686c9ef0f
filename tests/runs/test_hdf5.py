"""Checkpoints: exact round trips, errors in one line, and writes that never harm."""

import errno
import os
import struct

import h5py
import numpy as np
import pytest

from hfcontrol.errors import CheckpointError
from hfcontrol.runs import hdf5 as checkpoint


def alike(a, b):
    """Whether two values are equal in type, structure, order of keys and every bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(alike(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(alike, a, b))
    if isinstance(a, (np.ndarray, np.generic)):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return (
        struct.pack("d", a) == struct.pack("d", b) if isinstance(a, float) else a == b
    )


@pytest.fixture
def whole(tmp_path):
    """Path and tree of a checkpoint with an array, a dict and a list."""
    tree = {
        "theta": np.random.default_rng(0).standard_normal(50),
        "cost": {"effort": 1e-5},
        "command": ["train", "--plant"],
    }
    path = tmp_path / "whole.h5"
    checkpoint.save(path, tree)
    return path, tree


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -7,
        2**127 + 1,
        0.1,
        -0.0,
        5e-324,
        float("inf"),
        -float("inf"),
        float("nan"),
        -float("nan"),
        "",
        "reach",
        "Größe 手 🦾",
        "two\nlines",
        "nul\0inside",
        "\udcff",
        "null",
        "1",
        [],
        (),
        [1, 2.0, "three", None, True],
        (1, (2, [3, ()])),
        [float("nan"), -float("inf"), 2**70],
        np.float64(0.1),
        np.float32("nan"),
        np.int64(3),
        np.bool_(True),
        [np.float64(1.5), 1.5],
        np.array(1.5),
        np.array(True),
        np.zeros(0),
        np.zeros((0, 3, 2)),
        np.arange(6, dtype=">i4").reshape(2, 3),
        np.array([np.nan, -np.nan, np.inf, -0.0]),
        np.array([True, False]),
        np.array([1 + 2j]),
        np.zeros(2, np.float32),
        np.zeros(2, np.uint8),
        {},
        {"a": {"b": {"c": {}}}},
        {
            "with/slash": 1,
            "with.dot": 2,
            "..": 3,
            "50 %": 4,
            "θ": 5,
            "z": 6,
            "a": 7,
            "%2F": 8,
        },
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_round_trip(tmp_path, value):
    checkpoint.save(tmp_path / "c.h5", {"value": value})
    assert alike(checkpoint.load(tmp_path / "c.h5"), {"value": value})


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.MT19937, np.random.SFC64])
def test_restored_generator_continues_its_stream(tmp_path, kind):
    rng = np.random.Generator(kind(3))
    rng.standard_normal(5)
    checkpoint.save(tmp_path / "c.h5", {"generator": rng.bit_generator.state})
    other = np.random.Generator(kind())
    other.bit_generator.state = checkpoint.load(tmp_path / "c.h5")["generator"]
    assert rng.bytes(100) == other.bytes(100)


def test_any_hdf5_reader_sees_the_arrays(whole):
    path, tree = whole
    with h5py.File(path) as file:
        assert np.array_equal(file["theta"][...], tree["theta"])


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(object(), id="an object"),
        np.array(["a"]),
        np.array([None]),
        1j,
        {1, 2},
        [{"a": 1}],
        b"bytes",
        len,
        {3: 1},
        {"": 1},
        {".": 1},
    ],
    ids=str,
)
def test_save_refuses_other_values_by_name(tmp_path, value):
    with pytest.raises(CheckpointError, match="/deep"):
        checkpoint.save(tmp_path / "c.h5", {"deep": value})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("existing", [True, False])
def test_full_disk_leaves_the_folder_unchanged(whole, monkeypatch, call, existing):
    path, tree = whole
    before = sorted(path.parent.iterdir())

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    target = path if existing else path.with_name("new.h5")
    with pytest.raises(
        CheckpointError, match=f"{target.name}: {os.strerror(errno.ENOSPC)}"
    ):
        checkpoint.save(target, {"new": 1})
    assert sorted(path.parent.iterdir()) == before
    assert alike(checkpoint.load(path), tree)


def test_kill_before_the_renaming_leaves_the_old_file(whole, monkeypatch):
    path, tree = whole
    seen = []
    monkeypatch.setattr(
        os,
        "replace",
        lambda new, _: seen.append(alike(checkpoint.load(new), {"new": 1})),
    )
    checkpoint.save(path, {"new": 1})
    assert seen == [True], "the temporary file must be whole when it takes its place"
    assert alike(checkpoint.load(path), tree)


def test_content_is_flushed_before_the_renaming(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *a, name=name, real=real: (calls.append(name), real(*a))
        )
    checkpoint.save(tmp_path / "c.h5", {})
    assert calls == ["fsync", "replace", "fsync"]


def test_missing_folder_is_reported(tmp_path):
    with pytest.raises(CheckpointError, match="cannot write"):
        checkpoint.save(tmp_path / "none" / "c.h5", {})
    with pytest.raises(CheckpointError, match="cannot read"):
        checkpoint.load(tmp_path / "none" / "c.h5")


@pytest.mark.parametrize("content", [b"", b"text", bytes(2000)])
def test_load_refuses_other_files(tmp_path, content):
    (tmp_path / "c.h5").write_bytes(content)
    with pytest.raises(CheckpointError, match="not an hfcontrol checkpoint"):
        checkpoint.load(tmp_path / "c.h5")


def test_load_refuses_foreign_hdf5_files(tmp_path):
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["theta"] = np.zeros(3)
    with pytest.raises(CheckpointError, match="not an hfcontrol checkpoint"):
        checkpoint.load(tmp_path / "c.h5")


def test_load_refuses_a_newer_format(tmp_path, monkeypatch):
    with monkeypatch.context() as future:
        future.setattr(checkpoint, "VERSION", checkpoint.VERSION + 1)
        checkpoint.save(tmp_path / "c.h5", {})
    with pytest.raises(CheckpointError, match="newer hfcontrol"):
        checkpoint.load(tmp_path / "c.h5")


def test_load_refuses_a_file_truncated_anywhere(whole):
    path, _ = whole
    content = path.read_bytes()
    for length in [*range(0, len(content), 97), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(
            CheckpointError,
            match="cut short" if checkpoint.MARKER in content[:length] else "not an",
        ):
            checkpoint.load(path)


def test_load_refuses_a_file_with_a_flipped_bit(whole):
    path, _ = whole
    content = path.read_bytes()
    for place in range(0, len(content), 53):
        path.write_bytes(
            content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]
        )
        with pytest.raises(CheckpointError):
            checkpoint.load(path)
