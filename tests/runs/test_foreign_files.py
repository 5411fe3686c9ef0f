"""Checkpoints from anyone, whose digest is right: data, or refused in one line."""

import hashlib
import io
import math
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

import hfcontrol as hf
from hfcontrol.cli.runs import runs
from hfcontrol.errors import CheckpointError, HFControlError
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


@pytest.mark.parametrize("version", ["1", 1.0, [1, 1], None, 0, 3])
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


def set_entry(tree, path, value):
    """A tree with another value at a path such as state/hold/kind."""
    first, _, rest = path.partition("/")
    if rest:
        value = set_entry(tree[first], rest, value)
    return {**tree, first: value}


def remove_entry(tree, path):
    """A tree without the entry at a path."""
    first, _, rest = path.partition("/")
    if rest:
        return {**tree, first: remove_entry(tree[first], rest)}
    return {name: value for name, value in tree.items() if name != first}


def list_paths(tree, where=""):
    """The paths of all entries of a tree, of groups too."""
    for name, value in tree.items():
        yield f"{where}{name}"
        if isinstance(value, dict):
            yield from list_paths(value, f"{where}{name}/")


@pytest.fixture(scope="module")
def tree():
    """The tree of the shipped run, with the entries that newer runs have."""
    run = hf.Run.load(SHIPPED)
    return {**run.tree, "interface": run.interface.tree(), "inputs": {}}


def load_tree(folder, tree):
    """The run of a tree, by a file in a folder, as `train --resume` loads it."""
    folder.mkdir(exist_ok=True)
    checkpoint.save(folder / NAME, tree)
    return hf.Run.load(folder, allow_unfinished=True)


@pytest.mark.parametrize(
    "path, value, message",
    [
        ("settings/hidden", (10**9,), "too few for the units"),
        ("settings/trials", 10**12, "settings/trials is 1000000000000; it must be"),
        ("settings/store_every", 10**12, "at most 10000000"),
        ("settings/hold", "\x1b[31m", "settings are wrong"),
        ("settings/plant", 3, "settings are wrong"),
        ("settings/optimizer", "adam", "settings are wrong: `damping`"),
        ("state/optimizer/kind", "policy", "must be hf, for hf"),
        ("state/optimizer/theta", np.zeros(3), "differ in size"),
        ("state/optimizer/theta", np.full(3714, np.nan), "finite in all entries"),
        ("state/optimizer/theta", np.zeros((3714, 1)), "array of one dimension"),
        ("state/optimizer/theta", np.zeros(3714, complex), "float64 or float32"),
        ("state/optimizer/damping", float("nan"), "finite number from 0 on"),
        ("state/optimizer/damping", -1.0, "finite number from 0 on"),
        ("state/mean", np.zeros(5), "state/mean has 5 weights, and others 3714"),
        ("state/hold/kind", "other", "one of model, scenario, inputs"),
        ("state/hold/radius", -1.0, "finite number from 0 on"),
        ("state/hold/more", 1, "its entry state/hold/more is unknown"),
        ("state/random/state/state", -1, "no state of a generator"),
        ("state/random/state/inc", 2**128, "no state of a generator"),
        ("state/random/bit_generator", "MT19937", "must be PCG64"),
        ("state/history/loss", np.zeros(3), "differ in length"),
        ("state/history/updates", np.full(13, -1), "from 0 on in all entries"),
        ("state/updates", -1, "a whole number from 0 on"),
        ("state/updates", 2**63, "a whole number from 0 on"),
        ("state/updates", True, "a whole number from 0 on"),
        ("state/loss", "low", "state/loss is 'low'; it must be a number"),
        ("state/begun", {"begun": 1}, "at the beginning of a hold"),
        ("conditioning", {"substeps": 10**9}, "from 1 to 1000"),
        ("conditioning", {"state_size": np.zeros(4)}, "above zero"),
        ("interface/dt", 0.0, "interface/dt is 0.0; it must be a finite number above"),
        ("interface/dt", math.nan, "finite number"),
        ("interface/n_target", 10**9, "at most 10000000"),
        ("interface/observation", (), "at least one name"),
        ("interface/units", {}, "interface/units/state is None; it must be 4 texts"),
        ("interface/low", np.zeros(3), "a number for each control"),
        ("interface/low", np.full(2, math.nan), "limits that are no range"),
        ("interface/typical_control", np.zeros(2), "above zero in all entries"),
        ("interface/more", 1, "interface/more is unknown"),
        ("interface/state", 3, "must be a tuple"),
        ("inputs", {"a": 3}, "inputs/a is 3; it must be a text"),
        ("plant/hash", "../../x", "a SHA-256 in hexadecimal"),
        ("stop", np.zeros(3), "stop is an array (3,) of float64; it must be why"),
        ("stop", "\x1b[31mred", "is '\\x1b[31mred'; it must be why"),
        ("versions", {}, "versions/hfcontrol is missing"),
        ("command", 3, "command is 3; it must be a text"),
        ("warming", {}, "warming/others is missing"),
        ("ladder", {"rung": 1}, "ladder/rung is 1; it must be at most 0"),
        ("ladder", {"best": {}}, "ladder/best"),
        ("ladder", {"theta": np.zeros(5)}, "has 3714 weights, and others 5"),
        ("ladder", {"begun": {"rollouts": -1}}, "a whole number from 0 on"),
    ],
)
def test_entry_that_no_training_writes_is_refused_by_name(
    tmp_path, tree, path, value, message
):
    with pytest.raises(CheckpointError) as caught:
        load_tree(tmp_path / "run", set_entry(tree, path, value))
    text = str(caught.value)
    assert message in text and "\n" not in text and "\x1b" not in text
    assert len(text) < 600


VALUES = (None, True, 0, -1, 2**70, 1.5, -1.0, np.inf, np.nan, "", "x", "\x1b[31m")
ARRAYS = (
    np.zeros(0),
    np.zeros(3714),
    np.full(3714, np.nan),
    np.ones((2, 2)),
    np.array(1),
)
GROUPS = ([], [1, "a"], (), (32, -1), {}, {"a": 1})


def mutated(tree, rng):
    """A tree with one to three entries changed, removed, or put elsewhere."""
    for _ in range(rng.integers(1, 4)):
        paths = list(list_paths(tree))
        path = paths[rng.integers(len(paths))]
        action = rng.integers(4)
        if action == 0:
            tree = remove_entry(tree, path)
        elif action == 1:
            other = paths[rng.integers(len(paths))]
            tree = set_entry(tree, path, value_at(tree, other))
        else:
            pool = (VALUES, ARRAYS, GROUPS)[rng.integers(3)]
            tree = set_entry(tree, path, pool[rng.integers(len(pool))])
    return tree


def value_at(tree, path):
    for name in path.split("/"):
        tree = tree[name]
    return tree


@pytest.mark.parametrize("seed", range(3))
def test_mutated_checkpoint_is_refused_in_one_line_or_works(tmp_path, tree, seed):
    """75 altered trees, loaded and taken apart as info, evaluate and resume do."""
    rng = np.random.default_rng(seed)
    refused = 0
    for _ in range(25):
        try:
            run = load_tree(tmp_path / "run", mutated(tree, rng))
        except CheckpointError as error:
            refused += 1
            assert "\n" not in str(error) and "\x1b" not in str(error)
            continue
        run.info()
        run.state, run.theta, run.curriculum, run.conditioning  # noqa: B018
        try:
            assert run.network.size == run.theta.size
        except HFControlError as error:
            # Settings that the plant or its tasks do not have.
            assert "\x1b" not in str(error)
    # Most settings may have other values, and older files fewer entries.
    assert refused > 10


def test_bad_files_do_not_stop_the_list_of_runs(tmp_path, tree, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "weights"
    folder.mkdir()
    load_tree(folder / "good", tree)
    for name in ("wrong", "pipe", "text", "name"):
        (folder / name).mkdir()
    changed = set_entry(tree, "settings/hidden", "many")
    checkpoint.save(folder / "wrong" / NAME, changed)
    os.mkfifo(folder / "pipe" / NAME)
    (folder / "text" / NAME).write_text("no checkpoint")
    (folder / "name" / "00001-loss1..0e+00.h5").write_text("")
    runs.callback((), False, 10, False)
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if line.startswith("weights/")]
    assert len(lines) == 4
    (good,) = (line for line in lines if line.startswith("weights/good"))
    assert "converged" in good
