"""Files that are written whole or not at all."""

import os
from contextlib import contextmanager, suppress
from pathlib import Path

from hfcontrol.errors import CheckpointError, UsageError


@contextmanager
def atomic_write(path, suffixes):
    """A temporary file beside `path` that takes its place when all went well and is removed when not.

    Raises UsageError for a suffix that is not allowed, and where the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        raise UsageError(
            f"{path}: its ending decides the format; it must be one of {', '.join(suffixes)}"
        )
    temporary = path.with_name(f".{path.stem}-{os.getpid()}{path.suffix.lower()}")
    try:
        temporary.touch()
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror or error}; give another file with --out"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path, content):
    """Put content in place of a file by way of a temporary neighbour, so that a kill at any instant leaves a whole file."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise CheckpointError(
            f"cannot write {path}: {error.strerror}; make room or choose another folder"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
    _flush_folder(path.parent)


def _flush_folder(folder):
    # Not every file system can flush a folder. Where it cannot, a power cut may lose the newest file, never halve it.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
