"""Checkpoints: nested dictionaries in HDF5 files that are complete or do not exist.

The format: a dict is a group, an array is a dataset, anything else is a JSON text. The
SHA-256 digest of the file follows the HDF5 part, where HDF5 readers ignore it; `load`
uses it to recognise a damaged checkpoint.

A checkpoint may come from anyone, with a digest that is right. `load` reads what `save`
writes and nothing else: no links, no data outside the file, no filters, no references,
and no array that is larger than the file. Each entry is looked at before it is read.
"""

import hashlib
import io
import json
import math
import struct
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote, unquote

import h5py
import numpy as np

from hfcontrol.arrays.files import read_regular_file, write_atomically
from hfcontrol.arrays.types import Array
from hfcontrol.errors import CheckpointError

# A nested dictionary with str keys; `save` says which values are allowed.
Tree: TypeAlias = dict[str, Any]

MARKER = b"hfcontrol checkpoint"
VERSION = 1
DIGEST_SIZE = hashlib.sha256().digest_size
NUMERIC_KINDS = "biufc"  # NumPy dtype kinds that HDF5 returns as they were

# More than any checkpoint has; a large network with its learning curve has 100 MB.
MOST_BYTES = 2**30
MOST_ENTRIES = 10_000
MOST_DEPTH = 20
MOST_REASON = 200  # characters of another library's message

# How arrays may be stored: at once, inside the file.
LAYOUTS = (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT)

# The HDF5 type of all texts, and the shape of all scalars.
TEXT_TYPE = h5py.h5t.py_create(h5py.string_dtype(), logical=True)
SCALAR_SPACE = h5py.h5s.create(h5py.h5s.SCALAR)


def save(path: Path | str, tree: Tree) -> None:
    """Write a nested dict to a file, which appears complete or not at all.

    Keys are str; values are str, int (of any size), float, bool, None, numeric arrays
    and NumPy scalars, lists and tuples of those scalars, and nested dicts. `load`
    returns the same values of the same types; arrays come back C-contiguous.

    Raises CheckpointError for any other value, and if the file cannot be written; an
    existing file is unchanged then.
    """
    # In memory first, because the digest of the whole file follows it.
    buffer = io.BytesIO()
    # HDF5 sorts keys by name unless it tracks their order.
    with h5py.File(buffer, "w", track_order=True) as file:
        file.attrs.update(format=np.bytes_(MARKER), version=VERSION)
        _write(file, tree, where="")
    content = buffer.getvalue()
    write_atomically(Path(path), content + hashlib.sha256(content).digest())


def load(path: Path | str) -> Tree:
    """Load the nested dict that `save` wrote.

    Raises CheckpointError if the file is missing, no regular file, damaged, not a
    checkpoint, or of a newer format, or if it holds what `save` does not write.
    """
    content = _read_whole(path)
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            version = _read_version(file)
            if version > VERSION:
                raise CheckpointError(
                    f"{path} has checkpoint format {version}, but this hfcontrol reads "
                    f"formats up to {VERSION}; install a newer hfcontrol"
                )
            return _Reader(len(content)).read(file)
    except CheckpointError:
        raise
    # HDF5 and JSON raise all kinds of errors about content that is wrong.
    except Exception as error:
        reason = " ".join(str(error).split())[:MOST_REASON] or type(error).__name__
        raise CheckpointError(
            f"{path} is no checkpoint that hfcontrol has written: {ascii(reason)[1:-1]}"
            "; `hfcontrol runs` lists the runs that exist"
        ) from error


def _read_whole(path: Path | str) -> bytes:
    """Return the content of a file whose digest is right."""
    try:
        content = read_regular_file(path, MOST_BYTES)
    except OSError as error:
        raise CheckpointError(
            f"cannot read {path}: {error.strerror}; `hfcontrol runs` lists the runs "
            "that exist"
        ) from error
    except ValueError as error:
        raise CheckpointError(f"cannot read {path!r}: {error}") from error

    # Checked first: HDF5 itself may crash on a damaged file.
    digest = hashlib.sha256(content[:-DIGEST_SIZE]).digest()
    if digest != content[-DIGEST_SIZE:]:
        fault = (
            "is cut short or damaged"
            if MARKER in content
            else "is not an hfcontrol checkpoint"
        )
        raise CheckpointError(
            f"{path} {fault}; `hfcontrol runs` lists the runs that exist"
        )
    return content


def _read_version(file: h5py.File) -> int:
    """Return the number of the format; raises ValueError for another kind of file."""
    attribute = file.attrs.get_id("version")
    if attribute.shape != () or attribute.dtype.kind not in "iu":
        raise ValueError("its version is no integer")
    return int(file.attrs["version"])


def _write(group: h5py.Group, tree: Tree, where: str) -> None:
    """Write the entries of a dict into a group; `where` names it in errors."""
    for key, value in tree.items():
        # Types are compared exactly: a subclass would come back as its base class.
        if type(key) is not str or key in ("", "."):
            raise CheckpointError(
                f"the key {key!r} in {where or 'the checkpoint'} cannot be saved; use "
                "a text"
            )
        name = quote(key, safe=" ")  # HDF5 would read a slash as a path
        here = f"{where}/{key}"
        if type(value) is dict:
            _write(group.create_group(name, track_order=True), value, here)
        elif type(value) is np.ndarray and value.dtype.kind in NUMERIC_KINDS:
            _put_array(group, name, value)
        else:
            text = json.dumps(_pack(value, here)).encode()
            data = np.array(text, dtype=object)
            _put(group, name, TEXT_TYPE, SCALAR_SPACE, data)


def _put_array(group: h5py.Group, name: str, value: Array) -> None:
    value = np.asarray(value, order="C")
    space = h5py.h5s.create_simple(value.shape) if value.ndim else SCALAR_SPACE
    _put(group, name, h5py.h5t.py_create(value.dtype, logical=True), space, value)


def _put(
    group: h5py.Group,
    name: str,
    kind: h5py.h5t.TypeID,
    space: h5py.h5s.SpaceID,
    value: Array,
) -> None:
    """Do `group[name] = value` in a third of its time.

    A checkpoint has more than a hundred entries, and many seeds save at once.
    """
    dataset = h5py.h5d.create(group.id, name.encode(), kind, space)
    dataset.write(space, space, value)


class _Reader:
    """Reads the groups of a file of `size` bytes, each entry after a look at it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.entries = 0

    def read(self, group: h5py.Group, depth: int = 0) -> Tree:
        """Return the dict that `_write` wrote into a group; raises ValueError."""
        # A group may be a member of itself, by a second name.
        if depth > MOST_DEPTH:
            raise ValueError(f"groups are nested more than {MOST_DEPTH} times")
        tree: Tree = {}
        for name in group:
            self.entries += 1
            if self.entries > MOST_ENTRIES:
                raise ValueError(f"it has more than {MOST_ENTRIES} entries")
            tree[unquote(name)] = self._read_entry(group, name, depth)
        return tree

    def _read_entry(self, group: h5py.Group, name: str, depth: int) -> Any:
        # Soft and external links lead to other places, perhaps to other files.
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{name} is a link")
        node = group[name]
        if isinstance(node, h5py.Group):
            return self.read(node, depth + 1)
        if not isinstance(node, h5py.Dataset):
            raise ValueError(f"{name} is neither a group nor a dataset")
        return self._read_dataset(node, name)

    def _read_dataset(self, node: h5py.Dataset, name: str) -> Any:
        """Return an array, or the value of a JSON text."""
        properties = node.id.get_create_plist()
        # A contiguous dataset is neither virtual nor filtered.
        if properties.get_layout() not in LAYOUTS or properties.get_nfilters():
            raise ValueError(f"{name} is stored in a way that hfcontrol does not use")
        if properties.get_external_count():
            raise ValueError(f"{name} is stored in another file")
        text = h5py.check_string_dtype(node.dtype)
        if text is not None:
            if node.shape != () or text.length is not None:
                raise ValueError(f"{name} is no single text")
            return json.loads(node.asstr()[()], object_hook=_unpack)

        if node.dtype.kind not in NUMERIC_KINDS or node.dtype.subdtype:
            raise ValueError(f"{name} is neither numbers nor a text")
        if node.shape is None:
            raise ValueError(f"{name} has no shape")
        # Before memory is allocated: what was never written has no storage.
        needed = math.prod(node.shape) * node.dtype.itemsize
        if needed > self.size or node.id.get_storage_size() < needed:
            raise ValueError(f"{name} is larger than what is stored of it")
        return node[...]


def _pack(value: Any, where: str) -> Any:
    """Turn a value into what JSON can express; `where` names it in errors.

    A value that JSON lacks becomes an object with one entry: its type and its content.
    """
    kind = type(value)
    # As bytes, which keep the sign and payload of NaN.
    if kind is float and not math.isfinite(value):
        return {"float": struct.pack("<d", value).hex()}
    if value is None or kind in (bool, int, float, str):
        return value
    if kind is list:
        return [_pack(entry, where) for entry in value]
    if kind is tuple:
        return {"tuple": [_pack(entry, where) for entry in value]}
    if isinstance(value, np.generic) and value.dtype.kind in NUMERIC_KINDS:
        return {value.dtype.str: value.tobytes().hex()}
    raise CheckpointError(
        f"{where} is a {kind.__name__}, which cannot be saved; turn it into a dict, a "
        "numeric array, a list, a tuple, a str, a number or None"
    )


def _unpack(packed: dict[str, Any]) -> Any:
    """Return the value that `_pack` turned into an object; raises ValueError."""
    ((kind, content),) = packed.items()
    if kind == "tuple":
        return tuple(content)
    if kind == "float":
        return struct.unpack("<d", bytes.fromhex(content))[0]
    dtype = np.dtype(kind)
    if dtype.kind not in NUMERIC_KINDS or dtype.subdtype:
        raise ValueError(f"{kind} is no type of numbers")
    (value,) = np.frombuffer(bytes.fromhex(content), dtype)
    return value
