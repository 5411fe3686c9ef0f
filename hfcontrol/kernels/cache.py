"""The folder of compiled code.

Compiled code is named by a hash of the functions that it was made of (stored_code.py).
The folder of the kernels is also named by a hash of their files, which covers what the
other hash does not see, such as the code that Numba's intrinsics generate.

What is in the folder runs. So it must belong to this user, nobody else may write to it,
and it must not be a link that leads elsewhere.
"""

import hashlib
import os
import stat
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path

from hfcontrol.errors import HFControlWarning

# Sources besides this package that compiled code depends on.
OTHER_SOURCES = ("network/tables.py",)

# Write permission of the group, and of all.
OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


@cache
def cache_folder() -> Path | None:
    """Return the folder of everything that is compiled, or None if there is none.

    It is HFCONTROL_CACHE, or the user's cache folder, or a temporary one: the first
    that this user alone can write to. A warning says why another one is not used.
    """
    reasons: list[str] = []
    for folder in _candidates():
        fault = find_folder_fault(folder)
        if fault is None:
            _warn_about(reasons, f"compiled code goes to {folder}")
            return folder
        reasons.append(f"{folder} {fault}")
    _warn_about(reasons, "compiled code is not kept")
    return None


def _warn_about(reasons: list[str], consequence: str) -> None:
    if reasons:
        text = f"{'; '.join(reasons)}; {consequence}"
        warnings.warn(text, HFControlWarning, stacklevel=3)


def _candidates() -> Iterator[Path]:
    """Yield the folders that may be the cache, the preferred one first."""
    yield _user_cache_folder()
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    try:
        yield Path(tempfile.gettempdir()) / f"hfcontrol-{user}"
        # Whoever made the folder above before this user cannot know this name.
        yield Path(tempfile.mkdtemp(prefix="hfcontrol-"))
    except OSError:
        # No folder for temporary files can be written.
        return


def find_folder_fault(folder: Path) -> str | None:
    """Return why a folder cannot hold compiled code, or None; make it if necessary."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode):
            return "is a link, which others may turn to another folder"
        # Windows has other permissions, by which a user's own folder is closed.
        if hasattr(os, "getuid"):
            if status.st_uid != os.getuid():
                return "belongs to another user"
            if status.st_mode & OTHERS_MAY_WRITE:
                return "can be written by other users (chmod go-w closes it)"
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return f"cannot be written ({error.strerror})"


def _user_cache_folder() -> Path:
    if os.environ.get("HFCONTROL_CACHE"):
        return Path(os.environ["HFCONTROL_CACHE"])
    if sys.platform == "darwin":
        return Path("~/Library/Caches/hfcontrol").expanduser()
    root = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return root.expanduser() / "hfcontrol"


@cache
def kernel_folder() -> Path | None:
    """Return the folder of the code of this version of the program, or None."""
    folder = cache_folder()
    if folder is None:
        return None
    folder = folder / f"kernels_{hash_sources(kernel_sources())}"
    fault = find_folder_fault(folder)
    if fault is None:
        return folder
    _warn_about([f"{folder} {fault}"], "compiled code is not kept")
    return None


def kernel_sources() -> list[Path]:
    """Return the files that the kernels are compiled from, sorted."""
    package = Path(str(files("hfcontrol")))
    others = [package / name for name in OTHER_SOURCES]
    return sorted([*(package / "kernels").rglob("*.py"), *others])


def cell_sources() -> list[Path]:
    """Return the files that the cells' own functions are compiled from, sorted."""
    return sorted((Path(str(files("hfcontrol"))) / "network" / "cells").glob("*.py"))


def hash_sources(paths: Iterable[Path]) -> str:
    """Return a hash of files and of the versions of Python, NumPy and Numba."""
    import numba
    import numpy

    versions = (numba.__version__, numpy.__version__, *sys.version_info[:2])
    digest = hashlib.sha256(str(versions).encode())
    for path in paths:
        # The name and the length separate each file from the next one.
        content = path.read_bytes()
        digest.update(f"\n{path.name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]
