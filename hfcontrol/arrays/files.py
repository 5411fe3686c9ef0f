"""Files that are written completely or not at all."""

import errno
import os
import secrets
import stat
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hfcontrol.errors import CheckpointError, UsageError


def expand_home(path: str | Path) -> Path:
    """Return a path with `~` and `~user` replaced; an unknown user stays.

    Shells do not expand `--plant=~/mine.py`, and Python expands nothing.
    """
    return Path(os.path.expanduser(path))


def readable(name: str) -> str:
    """Return the name of a file as text.

    A name may be no UTF-8, or hold bytes that the locale does not know.
    """
    return os.fsencode(name).decode("utf-8", errors="replace")


@contextmanager
def atomic_write(path: str | Path, suffixes: Collection[str]) -> Iterator[Path]:
    """Yield a temporary file in the folder of `path`, which then replaces `path`.

    The temporary file is removed if anything fails. Raises UsageError if the suffix of
    `path` is not one of `suffixes`, or if the file cannot be written.
    """
    path = expand_home(path)
    suffix = path.suffix.lower()
    if suffix not in suffixes:
        raise UsageError(
            f"{path}: the suffix decides the format; it must be one of "
            f"{', '.join(suffixes)}"
        )

    # Writers choose the format by the suffix, so the temporary file has it too.
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(8)}{suffix}")
    try:
        # Only a new file: a link of this name would be followed.
        temporary.touch(exist_ok=False)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror or error}; "
            "choose another file with `out`"
        ) from error
    finally:
        # A read-only file system refuses this too, which must not hide the first error.
        with suppress(OSError):
            temporary.unlink()


def write_atomically(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Replace a file; a kill at any instant leaves the old or the new one complete.

    `mode` are its permissions, less those that the umask takes away. Raises
    CheckpointError if the file cannot be written.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")

    def create(name: str, flags: int) -> int:
        return os.open(name, flags, mode)

    try:
        with open(temporary, "xb", opener=create) as file:
            file.write(content)
            file.flush()
            # The content must be on the disk before the name points to it.
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


def _flush_folder(folder: Path) -> None:
    """Write the entries of a folder to the disk, on file systems that can do it."""
    # Elsewhere a power cut may lose the newest file, but never leaves half of it.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def open_own_file(path: Path) -> int:
    """Open a file for reading and writing, or create it; returns its descriptor.

    The content stays. Raises OSError for a link, also a hard one, a pipe, a device or a
    folder.
    """
    flags = os.O_RDWR | os.O_CREAT
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        reason = f"{path.name} is a link; remove it"
        raise OSError(errno.ELOOP, reason, str(path)) from None
    status = os.fstat(descriptor)
    # A second name means that writing here changes a file that lies elsewhere.
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(descriptor)
        reason = f"{path.name} is a link or no regular file; remove it"
        raise OSError(errno.EINVAL, reason, str(path))
    return descriptor


def read_regular_file(
    path: str | Path, most_bytes: int, own: bool = False, follow: bool = False
) -> bytes:
    """Return the content of a file that is neither a link nor a device nor a pipe.

    With `own` it must be one that this user alone can write; with `follow` it may be a
    link to one. Raises OSError, also for files of other kinds or with more than
    `most_bytes`.
    """
    # Opening a pipe would wait for its writer, and a device may do anything.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)
    if not follow:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(errno.ELOOP, "it is a link; name the file", str(path)) from None
    status = os.fstat(descriptor)
    # Python cannot make a file of a folder's descriptor.
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    with open(descriptor, "rb") as file:
        if status.st_size > most_bytes:
            size = f"it has {status.st_size} bytes, more than {most_bytes}"
            raise OSError(errno.EFBIG, size, str(path))
        if own and others_may_write(status):
            raise OSError(errno.EPERM, "other users can write it", str(path))
        # A file that grows meanwhile is cut, and what checks it sees that.
        return file.read(most_bytes)


def others_may_write(status: os.stat_result) -> bool:
    """Whether a file or folder belongs to another user, or others may write to it."""
    # Windows has other permissions, by which a user's own folder is closed.
    if not hasattr(os, "getuid"):
        return False
    is_open = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return status.st_uid != os.getuid() or bool(is_open)


def path_of_descriptor(descriptor: int) -> Path | None:
    """Return where an open file is now; None if it is gone.

    Linux and macOS know; elsewhere it is None.
    """
    path: Path | None = None
    with suppress(OSError, ValueError):
        if sys.platform == "linux":
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        elif sys.platform == "darwin":
            import fcntl

            content = fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024))
            path = Path(os.fsdecode(content.rstrip(b"\0")))
        if path and os.path.samestat(path.stat(), os.fstat(descriptor)):
            return path
    return None
