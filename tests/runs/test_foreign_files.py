"""Checkpoints from anyone, whose digest is right: data, or refused in one line."""

import hashlib
import io
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

import hfcontrol as hf
from hfcontrol.errors import CheckpointError
from hfcontrol.runs import hdf5 as checkpoint

SHIPPED = Path(hf.__file__).parent.parent / "weights" / "arm2-reach"
NAME = "00001-loss1.0e-02.h5"


def shipped_content():
    """The last checkpoint of the shipped run."""
    return sorted(SHIPPED.glob("*.h5"))[-1].read_bytes()


def write_altered(path, change, content=None):
    """Write a checkpoint with `change` applied to its HDF5 part, and its digest."""
    buffer = io.BytesIO((content or shipped_content())[:-32])
    with h5py.File(buffer, "r+") as file:
        change(file)
    altered = buffer.getvalue()
    path.write_bytes(altered + hashlib.sha256(altered).digest())
    return path


def refusal(path):
    """The one line about a checkpoint that is refused."""
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(path)
    message = str(caught.value)
    assert "\n" not in message and "\x1b" not in message and len(message) < 500
    return message


@pytest.fixture
def secret(tmp_path):
    """A file that no checkpoint may open."""
    path = tmp_path / "secret"
    path.write_bytes(b"01234567" * 8)
    return path


def replaced(name, make):
    """A change that puts a new entry in the place of another."""

    def change(file):
        del file[name]
        make(file, name)

    return change


def virtual(file, name):
    layout = h5py.VirtualLayout((8,), "f8")
    layout[:] = h5py.VirtualSource("secret", "x", (8,))
    file.create_virtual_dataset(name, layout)


def never_written(file, name):
    space = h5py.h5s.create_simple((10**12,))
    h5py.h5d.create(file.id, name.encode(), h5py.h5t.NATIVE_DOUBLE, space)


def unknown_filter(file, name):
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((8,))
    properties.set_filter(32_000, h5py.h5z.FLAG_OPTIONAL)
    space = h5py.h5s.create_simple((8,))
    kind = h5py.h5t.NATIVE_DOUBLE
    h5py.h5d.create(file.id, name.encode(), kind, space, properties)


def put(value, **options):
    """What puts a dataset with these options."""
    return lambda file, name: file.create_dataset(name, data=value, **options)


COLUMN = "state/history/loss"


@pytest.mark.parametrize(
    "make, fault",
    [
        (lambda file, name: file.update({name: h5py.SoftLink("/task")}), "is a link"),
        (lambda file, name: file.update({name: h5py.SoftLink("/no")}), "is a link"),
        (
            lambda file, name: file.update({name: h5py.ExternalLink("secret", "/")}),
            "is a link",
        ),
        (virtual, "stored in a way"),
        (never_written, "larger than what is stored"),
        (unknown_filter, "stored in a way"),
        (put(np.zeros(8), chunks=(8,)), "stored in a way"),
        (put(np.zeros(1000), compression="gzip"), "stored in a way"),
        (put(["a", "b"]), "no single text"),
        (put(np.bytes_(b"abc")), "no single text"),
        (put(np.void(b"abc")), "neither numbers nor a text"),
        (put(np.zeros(2, [("a", "f8"), ("b", "i4")])), "neither numbers nor a text"),
        (put(h5py.Empty("f8")), "no shape"),
        (lambda file, name: file.update({name: file["state"].ref}), "neither numbers"),
        (lambda file, name: file.update({name: np.dtype("f8")}), "neither a group"),
        (lambda file, name: file.update({name: file}), "nested more than"),
        (put("{"), "no checkpoint that hfcontrol has written"),
        (put('{"a": 1, "b": 2}'), "no checkpoint that hfcontrol has written"),
        (put('{"|O": "00"}'), "no type of numbers"),
        (put('{"<f8": "00"}'), "no checkpoint that hfcontrol has written"),
        (put('{"V9999999999": ""}'), "no checkpoint that hfcontrol has written"),
        (put("[" * 100_000), "no checkpoint that hfcontrol has written"),
        (put("9" * 10_000), "no checkpoint that hfcontrol has written"),
        (put(b"\xff\xfe"), "no checkpoint that hfcontrol has written"),
    ],
)
def test_what_save_does_not_write_is_refused(tmp_path, monkeypatch, make, fault):
    monkeypatch.chdir(tmp_path)
    assert fault in refusal(write_altered(tmp_path / NAME, replaced(COLUMN, make)))


def test_data_in_another_file_is_not_read(tmp_path, secret, monkeypatch):
    """Of 64 bytes of another file, which HDF5 would read as 8 numbers."""

    def external(file, name):
        place = [(str(secret), 0, 64)]
        file.create_dataset(name, (8,), "f8", external=place)

    path = write_altered(tmp_path / NAME, replaced(COLUMN, external))
    read, get = [], h5py.Dataset.__getitem__

    def watched(node, *arguments):
        read.append(node.name)
        return get(node, *arguments)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", watched)
    assert "loss is stored in another file" in refusal(path)
    assert read and f"/{COLUMN}" not in read


@pytest.mark.parametrize("version", ["1", 1.0, [1, 1], None, 2])
def test_version_of_another_kind_is_refused(tmp_path, version):
    def change(file):
        del file.attrs["version"]
        if version is not None:
            file.attrs["version"] = version

    assert NAME in refusal(write_altered(tmp_path / NAME, change))


def test_text_behind_the_digest_that_is_no_hdf5_is_refused(tmp_path):
    content = b"hfcontrol checkpoint, but no HDF5"
    (tmp_path / NAME).write_bytes(content + hashlib.sha256(content).digest())
    assert "no checkpoint" in refusal(tmp_path / NAME)


def test_only_regular_files_are_opened(tmp_path):
    """A pipe would wait for ever, a link may lead anywhere."""
    os.mkfifo(tmp_path / "pipe.h5")
    (tmp_path / "link.h5").symlink_to(sorted(SHIPPED.glob("*.h5"))[-1])
    (tmp_path / "folder.h5").mkdir()
    (tmp_path / "device.h5").symlink_to("/dev/zero")
    for name in ("pipe", "folder", "link", "device"):
        assert "cannot read" in refusal(tmp_path / f"{name}.h5")


def test_file_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "MOST_BYTES", 1000)
    (tmp_path / NAME).write_bytes(shipped_content())
    assert "more than 1000" in refusal(tmp_path / NAME)
