"""Folders of compiled code.

Numba's own cache notices that the file of a function has changed, but not the file of
a helper that it calls. The cache folder of the kernels is therefore named after a hash
of everything that they are compiled from: an edited helper never runs old code.
"""

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path

# Sources besides this package that compiled code depends on.
OTHER_SOURCES = ("network/tables.py",)


def cache_folder() -> Path:
    """Return the folder of everything that is compiled.

    It is HFCONTROL_CACHE, or the user's cache folder, or a temporary one: the first
    that can be written and belongs to this user.
    """
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    temporary = Path(tempfile.gettempdir()) / f"hfcontrol-{user}"
    for folder in (_user_cache_folder(), temporary):
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryFile(dir=folder):
                # Code in folders of other users must not run.
                if not hasattr(os, "getuid") or folder.stat().st_uid == user:
                    return folder
        except OSError:
            continue
    return Path(tempfile.mkdtemp(prefix="hfcontrol-"))


def _user_cache_folder() -> Path:
    if os.environ.get("HFCONTROL_CACHE"):
        return Path(os.environ["HFCONTROL_CACHE"])
    if sys.platform == "darwin":
        return Path("~/Library/Caches/hfcontrol").expanduser()
    root = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return root.expanduser() / "hfcontrol"


@cache
def kernel_folder() -> Path:
    """Return the cache folder of the kernels of this version of the program."""
    return cache_folder() / f"kernels_{hash_sources(kernel_sources())}"


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
