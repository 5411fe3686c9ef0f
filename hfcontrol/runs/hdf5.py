"""Checkpoints: nested dictionaries in HDF5 files that are complete or do not exist.

The format: a dict is a group, an array is a dataset, anything else is a JSON text. The
SHA-256 digest of the file follows the HDF5 part, where HDF5 readers ignore it; `load`
uses it to recognise a damaged checkpoint.
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

from hfcontrol.arrays.files import write_atomically
from hfcontrol.arrays.types import Array
from hfcontrol.errors import CheckpointError

# A nested dictionary with str keys; `save` says which values are allowed.
Tree: TypeAlias = dict[str, Any]

MARKER = b"hfcontrol checkpoint"
VERSION = 1
DIGEST_SIZE = hashlib.sha256().digest_size
NUMERIC_KINDS = "biufc"  # NumPy dtype kinds that HDF5 returns as they were

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

    Raises CheckpointError if the file is missing, damaged, not a checkpoint or of a
    newer format.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"cannot read {path}: {error.strerror}; `hfcontrol runs` lists the runs "
            "that exist"
        ) from error

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

    with h5py.File(io.BytesIO(content), "r") as file:
        version = file.attrs["version"]
        if version > VERSION:
            raise CheckpointError(
                f"{path} has checkpoint format {version}, but this hfcontrol reads "
                f"formats up to {VERSION}; install a newer hfcontrol"
            )
        return _read(file)


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


def _read(group: h5py.Group) -> Tree:
    """The dict that `_write` wrote into a group."""
    tree: Tree = {}
    for name, node in group.items():
        if isinstance(node, h5py.Group):
            value = _read(node)
        elif h5py.check_string_dtype(node.dtype):
            value = json.loads(node.asstr()[()], object_hook=_unpack)
        else:
            value = node[...]
        tree[unquote(name)] = value
    return tree


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
    """The value that `_pack` turned into an object."""
    ((kind, content),) = packed.items()
    if kind == "tuple":
        return tuple(content)
    if kind == "float":
        return struct.unpack("<d", bytes.fromhex(content))[0]
    return np.frombuffer(bytes.fromhex(content), kind)[0]
