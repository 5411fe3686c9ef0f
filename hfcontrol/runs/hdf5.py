"""Checkpoints: nested dictionaries in HDF5 files that are complete or do not exist.

The format: one JSON text, the header, holds the whole tree except for its arrays,
which are datasets next to it. The SHA-256 digest of the file follows the HDF5 part,
where HDF5 readers ignore it; `load` uses it to recognise a damaged checkpoint. Files of
format 1, where a dict is a group, and all but arrays a JSON text, are read too.

A checkpoint may come from anyone, with a digest that is right. `load` reads what `save`
writes and nothing else: no links, no data outside the file, no filters, no references,
and no array that is larger than the file. Each entry is looked at before it is read.
"""

import hashlib
import io
import json
import math
import struct
from collections.abc import Callable
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
VERSION = 2
DIGEST_SIZE = hashlib.sha256().digest_size
NUMERIC_KINDS = "biufc"  # NumPy dtype kinds that HDF5 returns as they were

# The name of the header; names of arrays are quoted, and have no such characters.
HEADER = "(header)"

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
    arrays: dict[str, Array] = {}
    header = json.dumps(_pack_tree(tree, "", arrays))
    with h5py.File(buffer, "w") as file:
        file.attrs.update(format=np.bytes_(MARKER), version=VERSION)
        text = np.array(header.encode(), dtype=object)
        _put(file, HEADER, TEXT_TYPE, SCALAR_SPACE, text)
        for name, array in arrays.items():
            _put_array(file, name, array)
    content = buffer.getvalue()
    write_atomically(Path(path), content + hashlib.sha256(content).digest())


def load(path: Path | str, arrays: bool = True) -> Tree:
    """Load the nested dict that `save` wrote.

    Without `arrays` they are None, which is quicker. Raises CheckpointError if the file
    is missing, no regular file, damaged, not a checkpoint, or of a newer format, or if
    it holds what `save` does not write.
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
            reader = _Reader(len(content))
            if version == 1:
                return reader.read(file)
            return reader.read_flat(file, arrays)
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


def _pack_tree(tree: Tree, where: str, arrays: dict[str, Array]) -> dict[str, Any]:
    """Turn a dict into what JSON can express, and put its arrays into `arrays`.

    `where` names it in errors, and its arrays in the file.
    """
    packed: dict[str, Any] = {}
    for key, value in tree.items():
        # Types are compared exactly: a subclass would come back as its base class.
        if type(key) is not str or key in ("", "."):
            raise CheckpointError(
                f"the key {key!r} in {where or 'the checkpoint'} cannot be saved; use "
                "a text"
            )
        here = f"{where}/{key}"
        if type(value) is dict:
            packed[key] = _pack_tree(value, here, arrays)
        elif type(value) is np.ndarray and value.dtype.kind in NUMERIC_KINDS:
            # HDF5 would read a slash as a path; keys may hold slashes of their own.
            name = here.removeprefix("/")
            name = quote(name, safe=" ").replace(".", "%2E").replace("%2F", ".")
            while name in arrays:
                name += "+"
            arrays[name] = value
            packed[key] = {"array": name}
        else:
            packed[key] = _pack(value, here)
    return {"dict": packed}


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

    Many seeds save at once.
    """
    dataset = h5py.h5d.create(group.id, name.encode(), kind, space)
    dataset.write(space, space, value)


class _Reader:
    """Reads the groups of a file of `size` bytes, each entry after a look at it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.entries = 0

    def read_flat(self, file: h5py.File, arrays: bool) -> Tree:
        """Return the dict of a file's header, with its arrays or None in their place.

        Raises ValueError for datasets that the header does not name.
        """
        left = set(file)
        if HEADER not in left:
            raise ValueError("it has no header")
        left.remove(HEADER)
        packed = json.loads(self._read_text(file, HEADER))

        def read_array(name: Any) -> Array | None:
            # Each array once: a header could name a large one many times.
            if not isinstance(name, str) or name not in left:
                raise ValueError("it has no array of a name in its header")
            left.remove(name)
            if not arrays:
                return None
            found = self._read_entry(file, name, 0)
            if not isinstance(found, np.ndarray):
                raise ValueError(f"{name} is no array")
            return found

        tree = self._unpack(packed, read_array)
        if left:
            raise ValueError("it has datasets that its header does not name")
        if not isinstance(tree, dict):
            raise ValueError("its header is no dictionary")
        return tree

    def _read_text(self, file: h5py.File, name: str) -> str:
        """Return the text of a dataset; raises ValueError for anything else."""
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{name} is a link")
        node = file[name]
        if not isinstance(node, h5py.Dataset) or not h5py.check_string_dtype(
            node.dtype
        ):
            raise ValueError(f"{name} is no text")
        self._check_storage(node, name)
        return self._text_of(node, name)

    def _unpack(
        self, packed: Any, read_array: Callable[[Any], Array | None], depth: int = 0
    ) -> Any:
        """Return the value that `_pack_tree` or `_pack` has packed."""
        if depth > MOST_DEPTH:
            raise ValueError(f"its entries are nested more than {MOST_DEPTH} times")
        if isinstance(packed, list):
            return [self._unpack(entry, read_array, depth + 1) for entry in packed]
        if not isinstance(packed, dict):
            return packed
        ((kind, content),) = packed.items()
        if kind == "array":
            return read_array(content)
        if kind != "dict":
            if kind == "tuple" and isinstance(content, list):
                content = self._unpack(content, read_array, depth + 1)
            return _unpack({kind: content})

        self.entries += len(content)
        if self.entries > MOST_ENTRIES:
            raise ValueError(f"it has more than {MOST_ENTRIES} entries")
        return {
            key: self._unpack(value, read_array, depth + 1)
            for key, value in content.items()
        }

    def read(self, group: h5py.Group, depth: int = 0) -> Tree:
        """Return the dict of a group of format 1; raises ValueError."""
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
        self._check_storage(node, name)
        if h5py.check_string_dtype(node.dtype) is not None:
            return json.loads(self._text_of(node, name), object_hook=_unpack)

        if node.dtype.kind not in NUMERIC_KINDS or node.dtype.subdtype:
            raise ValueError(f"{name} is neither numbers nor a text")
        if node.shape is None:
            raise ValueError(f"{name} has no shape")
        # Before memory is allocated: what was never written has no storage.
        needed = math.prod(node.shape) * node.dtype.itemsize
        if needed > self.size or node.id.get_storage_size() < needed:
            raise ValueError(f"{name} is larger than what is stored of it")
        return node[...]

    @staticmethod
    def _check_storage(node: h5py.Dataset, name: str) -> None:
        """Raise ValueError for a dataset that is not stored as `save` stores it."""
        properties = node.id.get_create_plist()
        # A contiguous dataset is neither virtual nor filtered.
        if properties.get_layout() not in LAYOUTS or properties.get_nfilters():
            raise ValueError(f"{name} is stored in a way that hfcontrol does not use")
        if properties.get_external_count():
            raise ValueError(f"{name} is stored in another file")

    @staticmethod
    def _text_of(node: h5py.Dataset, name: str) -> str:
        """Return the text of a dataset of texts, which must be a single one."""
        text = h5py.check_string_dtype(node.dtype)
        if node.shape != () or text.length is not None:
            raise ValueError(f"{name} is no single text")
        found: str = node.asstr()[()]
        return found


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
