"""Learning curves that are stored once: checkpoints of a run share their first parts.

A curve grows by a point with each update, and every checkpoint has the whole curve. Its
full parts of `PART` points therefore go into files of their own, next to the
checkpoints, and a checkpoint holds their digests and the points after them. Short
curves have no full part, and are in the checkpoint alone.

A part is written once and never changed. Its name is the SHA-256 of its points, so that
no other file can take its place. If one is lost, the weights of the run are not: its
points become NaN, and a warning says so.
"""

import hashlib
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.errors import CheckpointError, HFControlWarning
from hfcontrol.runs import hdf5 as checkpoint
from hfcontrol.runs.hdf5 import Tree
from hfcontrol.training.state import CurvePoint

PART = 4096  # points, about 130 kB

# The columns of a curve, and the key of the digests of its parts.
COLUMNS = CurvePoint._fields
PARTS = "parts"

# More than any training has; a checkpoint could name any number of parts.
MOST_PARTS = 10_000


def store_curves(tree: Tree, folder: Path) -> Tree:
    """Return a tree whose curves are without their full parts, which become files.

    Raises CheckpointError if a file cannot be written.
    """
    return {key: _store(value, folder) for key, value in tree.items()}


def _store(value: Any, folder: Path) -> Any:
    """Return a value with its curves, at any depth, stored in a folder."""
    if not isinstance(value, dict):
        return value
    if set(value) != set(COLUMNS):
        return store_curves(value, folder)
    count = len(value[COLUMNS[0]]) // PART
    if not count:
        return value

    digests = []
    for k in range(count):
        part = {key: a[k * PART : (k + 1) * PART] for key, a in value.items()}
        digest = _digest(part)
        digests.append(digest)
        file = _part_file(folder, digest)
        if not file.exists():
            checkpoint.save(file, part)
    rest = {key: a[count * PART :] for key, a in value.items()}
    return {**rest, PARTS: digests}


def restore_curves(tree: Tree, folder: Path) -> Tree:
    """Return a tree with whole curves: what `store_curves` has taken out is back.

    A warning tells of parts that cannot be read. Raises CheckpointError for digests
    that are none.
    """
    return {key: _restore(value, folder) for key, value in tree.items()}


def _restore(value: Any, folder: Path) -> Any:
    """Return a value with its curves, at any depth, restored from a folder."""
    if not isinstance(value, dict):
        return value
    if set(value) != {*COLUMNS, PARTS}:
        return restore_curves(value, folder)
    digests = value[PARTS]
    _check_digests(digests)
    parts = [_load_part(folder, digest) for digest in digests]
    whole = {}
    for key in COLUMNS:
        rest = value[key]
        if not isinstance(rest, np.ndarray) or rest.ndim != 1:
            raise CheckpointError(f"the column {key} of a learning curve is no array")
        whole[key] = np.concatenate([*(part[key] for part in parts), rest])
    return whole


def _check_digests(digests: Any) -> None:
    """Raise CheckpointError unless the names of parts are different digests."""
    is_list = isinstance(digests, list) and len(digests) <= MOST_PARTS
    if is_list and all(isinstance(digest, str) for digest in digests):
        are_digests = all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)
        if are_digests and len(set(digests)) == len(digests):
            return
    raise CheckpointError("the parts of a learning curve have no digests")


def _load_part(folder: Path, digest: str) -> dict[str, Array]:
    """Return the columns of a part; NaN and zeros if it cannot be read."""
    file = _part_file(folder, digest)
    try:
        part = checkpoint.load(file)
    except CheckpointError as error:
        return _lost_part(str(error))
    columns = [part.get(key) for key in COLUMNS]
    are_columns = all(isinstance(a, np.ndarray) and a.shape == (PART,) for a in columns)
    if set(part) != set(COLUMNS) or not are_columns or _digest(part) != digest:
        return _lost_part(f"{file} is not the file of this name")
    return part


def _lost_part(reason: str) -> dict[str, Array]:
    """Return the columns of a part that is lost, with a warning."""
    text = f"{PART} points of the learning curve are lost: {reason}"
    warnings.warn(text, HFControlWarning, stacklevel=2)
    counts = np.zeros(PART, dtype=np.int64)
    floats = np.full(PART, np.nan)
    return {
        key: counts if CurvePoint.__annotations__[key] is int else floats
        for key in COLUMNS
    }


def _part_file(folder: Path, digest: str) -> Path:
    return folder / f"curve-{digest}.h5"


def _digest(part: dict[str, Array]) -> str:
    """Return the SHA-256 of the points of a part."""
    digest = hashlib.sha256()
    for key in COLUMNS:
        digest.update(f"{key} {part[key].dtype.str}\n".encode())
        digest.update(np.ascontiguousarray(part[key]).tobytes())
    return digest.hexdigest()
