"""Checkpoints: nested dictionaries in HDF5 files that are whole or not there at all.

The format: a dict is a group, an array a dataset, anything else a JSON text. The SHA-256 digest of the file follows the
HDF5 part, where HDF5 readers ignore it, so that a damaged checkpoint is never taken for a whole one.
"""

import hashlib
import io
import json
import math
import struct
from pathlib import Path
from urllib.parse import quote, unquote

import h5py
import numpy as np

from hfcontrol.arrays.files import write_atomically
from hfcontrol.errors import CheckpointError

MARKER, VERSION = b"hfcontrol checkpoint", 1
DIGEST_SIZE = hashlib.sha256().digest_size
NUMBERS = "biufc"  # the NumPy kinds that HDF5 gives back as they were
TEXT, ONE = (
    h5py.h5t.py_create(h5py.string_dtype(), logical=True),
    h5py.h5s.create(h5py.h5s.SCALAR),
)


def save(path, tree):
    """Write a nested dict to a file, which appears whole or not at all.

    tree: str keys; values of str, int (of any size), float, bool, None, numeric arrays and NumPy scalars, lists and
    tuples of those scalars, nested dicts. `load` gives back the same values of the same types; arrays come back
    C-contiguous. Raises CheckpointError for anything else in the tree, and where the file cannot be written; what
    was there before is then untouched.
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", track_order=True) as file:
        file.attrs.update(format=np.bytes_(MARKER), version=VERSION)
        _write(file, tree, where="")
    content = buffer.getvalue()
    write_atomically(Path(path), content + hashlib.sha256(content).digest())


def load(path):
    """The nested dict that `save` wrote.

    Raises CheckpointError for a file that is missing, damaged, of a newer format, or not a checkpoint.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"cannot read {path}: {error.strerror}; `hfcontrol runs` lists the runs there are"
        ) from error
    if (
        hashlib.sha256(content[:-DIGEST_SIZE]).digest() != content[-DIGEST_SIZE:]
    ):  # before HDF5 trips over it
        fault = (
            "is cut short or damaged"
            if MARKER in content
            else "is not an hfcontrol checkpoint"
        )
        raise CheckpointError(
            f"{path} {fault}; `hfcontrol runs` lists the runs there are"
        )
    with h5py.File(io.BytesIO(content), "r") as file:
        if file.attrs["version"] > VERSION:
            raise CheckpointError(
                f"{path} has checkpoint format {file.attrs['version']}, this hfcontrol reads up to "
                f"{VERSION}; install a newer hfcontrol"
            )
        return _read(file)


def _write(group, tree, where):
    for key, value in tree.items():
        if type(key) is not str or key in ("", "."):
            raise CheckpointError(
                f"the key {key!r} in {where or 'the checkpoint'} cannot be saved; keys are words"
            )
        name, here = (
            quote(key, safe=" "),
            f"{where}/{key}",
        )  # HDF5 takes a slash for a path
        if type(value) is dict:
            _write(group.create_group(name, track_order=True), value, here)
        elif type(value) is np.ndarray and value.dtype.kind in NUMBERS:
            value = np.asarray(value, order="C")
            space = h5py.h5s.create_simple(value.shape) if value.ndim else ONE
            _put(
                group, name, h5py.h5t.py_create(value.dtype, logical=True), space, value
            )
        else:
            _put(
                group,
                name,
                TEXT,
                ONE,
                np.array(json.dumps(_packed(value, here)).encode(), dtype=object),
            )


def _put(group, name, kind, space, value):
    """`group[name] = value`, in a third of its time: a checkpoint has more than a hundred of them, and many seeds save at once."""
    h5py.h5d.create(group.id, name.encode(), kind, space).write(space, space, value)


def _read(group):
    tree = {}
    for name, node in group.items():
        if isinstance(node, h5py.Group):
            value = _read(node)
        elif h5py.check_string_dtype(node.dtype):
            value = json.loads(node.asstr()[()], object_hook=_unpacked)
        else:
            value = node[...]
        tree[unquote(name)] = value
    return tree


def _packed(value, where):
    """The value as JSON has it; what JSON lacks becomes an object of one entry, its type and its content."""
    kind = type(value)
    if kind is float and not math.isfinite(value):
        return {"float": struct.pack("<d", value).hex()}
    if value is None or kind in (bool, int, float, str):
        return value
    if kind is list:
        return [_packed(entry, where) for entry in value]
    if kind is tuple:
        return {"tuple": [_packed(entry, where) for entry in value]}
    if isinstance(value, np.generic) and value.dtype.kind in NUMBERS:
        return {value.dtype.str: value.tobytes().hex()}
    raise CheckpointError(
        f"{where} is a {kind.__name__}, which cannot be saved; turn it into a dict, a numeric array, "
        "a list, a tuple, a str, a number or None"
    )


def _unpacked(packed):
    ((kind, content),) = packed.items()
    if kind == "tuple":
        return tuple(content)
    if kind == "float":
        return struct.unpack("<d", bytes.fromhex(content))[0]
    return np.frombuffer(bytes.fromhex(content), kind)[0]
