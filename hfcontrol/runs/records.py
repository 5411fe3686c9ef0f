"""What this user has trained here: plants that may run, and where runs were put.

A run folder may come from anyone, and names the plant that it was trained on. That
plant runs only if the user has trained on it: its place and the SHA-256 of its code
stand in a record, a JSON file in the user's data folder (`HFCONTROL_DATA` moves it).
A record that is damaged, or that others can write to, counts as empty.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hfcontrol.arrays.files import (
    others_may_write,
    read_regular_file,
    write_atomically,
)
from hfcontrol.errors import CheckpointError, PlantError
from hfcontrol.plant.registry import PlantCode, foreign_code

FILE_NAME = "trained.json"
MOST_BYTES = 2**24

# Versions of a plant that are remembered, plants, and folders that commands were run
# in: the last ones.
MOST_VERSIONS = 100
MOST_PLANTS = 10_000
MOST_FOLDERS = 1000

LOCK_SECONDS = 10.0  # of waiting for another process that writes the record


def record_file() -> Path:
    """Return the file of the record, which need not exist."""
    if os.environ.get("HFCONTROL_DATA"):
        return Path(os.environ["HFCONTROL_DATA"]) / FILE_NAME
    # Imported here: most commands that list or show runs need no record.
    import platformdirs

    return platformdirs.user_data_path("hfcontrol", appauthor=False) / FILE_NAME


def read_record() -> dict[str, Any]:
    """Return the record: {"plants": {place: [digest, ...]}, "outs": {folder: out}}.

    `outs` has, by working folder, where the last run that was trained there was put.
    """
    found: Any = None
    # Whatever is wrong with it, the user is asked again, and no worse follows.
    with suppress(OSError, ValueError, RecursionError):
        file = record_file()
        if not others_may_write(os.lstat(file.parent)):
            found = json.loads(read_regular_file(file, MOST_BYTES, own=True))
    found = found if isinstance(found, dict) else {}
    plants, outs = found.get("plants"), found.get("outs")
    plants = plants if isinstance(plants, dict) else {}
    outs = outs if isinstance(outs, dict) else {}
    return {
        "plants": {place: each for place, each in plants.items() if _is_list(each)},
        "outs": {folder: out for folder, out in outs.items() if isinstance(out, str)},
    }


def _is_list(digests: Any) -> bool:
    """Whether a value is a list of texts."""
    return isinstance(digests, list) and all(isinstance(d, str) for d in digests)


def is_trained(code: PlantCode) -> bool:
    """Whether the user has trained on this code, as it is now."""
    digests = read_record()["plants"].get(code.place, ())
    # A file whose place is not in the record is not even opened.
    return bool(digests) and code.digest in digests


def is_known(plant: str) -> bool:
    """Whether the user has trained on this plant, perhaps as it was before."""
    code = foreign_code(plant)
    return code is None or code.place in read_record()["plants"]


def check_trusted(plant: str, run: Path) -> None:
    """Raise PlantError unless the plant of a run is shipped, or was trained on here.

    Nothing of the plant runs, and no module is imported.
    """
    code = foreign_code(plant)
    if code is None or is_trained(code):
        return
    why = "which you have not trained on here"
    if is_known(plant):
        changed = "which has changed since you trained on it"
        why = changed if code.digest else "which cannot be read"
    raise PlantError(
        f"{run} wants to run {code.what}, {why}. If you trust it, name it: "
        f"`plant={plant}`"
    )


def remember_plant(plant: str) -> None:
    """Record that the user has named a plant for a training."""
    code = foreign_code(plant)
    if code is None or not code.digest or is_trained(code):
        return

    def add(record: dict[str, Any]) -> None:
        plants = record["plants"]
        # The last one trained on comes last.
        digests = [*plants.pop(code.place, ()), code.digest]
        plants[code.place] = digests[-MOST_VERSIONS:]
        for place in list(plants)[:-MOST_PLANTS]:
            del plants[place]

    _change(add)


def remember_out(folder: Path | str) -> None:
    """Record the folder in which the last run of the current folder was put."""
    here, out = _current_folder(), str(Path(folder).resolve())
    if here is None or [*read_record()["outs"].items()][-1:] == [(here, out)]:
        return

    def add(record: dict[str, Any]) -> None:
        outs = record["outs"]
        # The last folder trained in comes last.
        outs.pop(here, None)
        outs[here] = out
        for place in list(outs)[:-MOST_FOLDERS]:
            del outs[place]

    _change(add)


def last_out() -> Path | None:
    """Return the folder in which the last run of the current folder is, or None."""
    out = read_record()["outs"].get(_current_folder())
    return None if out is None else Path(out)


def _current_folder() -> str | None:
    """Return the path of the current folder; None if it has been removed."""
    with suppress(OSError):
        return str(Path.cwd())
    return None


def _change(change: Callable[[dict[str, Any]], object]) -> None:
    """Change the record; where it cannot be written, nothing is remembered."""
    file = record_file()
    with suppress(OSError, CheckpointError), _locked(file):
        record = read_record()
        change(record)
        content = json.dumps(record, indent=1).encode()
        write_atomically(file, content, mode=0o600)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Keep other processes from writing the record, where locks work."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = FileLock(file.with_name(f"{file.name}.lock"), mode=0o600)
    # Without locks a change made at the same instant may be lost, and is asked again.
    with suppress(Timeout, NotImplementedError):
        lock.acquire(timeout=LOCK_SECONDS)
    try:
        yield
    finally:
        lock.release()
