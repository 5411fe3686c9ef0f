"""The files that a plant is made of besides its own: what it reads, and its helpers.

A plant file may read numbers from a JSON file, or import functions from a module next
to it; a model has meshes and textures. Their SHA-256 are part of the plant's, so that a
change of them is noticed as one of the plant file is.
"""

import ast
import hashlib
import os
import sys
import sysconfig
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

# Frames of Python's import system.
IMPORTING = "<frozen importlib"

# Names of folders that libraries are installed in, also for one user or on PYTHONPATH.
LIBRARIES = frozenset(("site-packages", "dist-packages"))

# Endings of code that Python makes or loads by itself.
CODE_SUFFIXES = (".pyc", ".pyd", ".so", ".dll")


class _Reads(threading.local):
    """The files that were opened for reading in the innermost `record_reads`."""

    paths: list[str] | None = None


_reads = _Reads()


@contextmanager
def record_reads() -> Iterator[list[str]]:
    """Yield a list, to which files are added that the block opens for reading.

    What modules read while they are imported is left out: Python imports a module only
    once, and the list must be the same each time that a plant is loaded.
    """
    _install_hook()
    before = _reads.paths
    paths: list[str] = []
    _reads.paths = paths
    try:
        yield paths
    finally:
        _reads.paths = before


@cache
def _install_hook() -> None:
    """Let Python report files that are opened; a hook cannot be removed."""
    sys.addaudithook(_notice)


def _notice(event: str, arguments: tuple[Any, ...]) -> None:
    """Add a file that is opened to the list, if there is one in this thread."""
    # The hook is called for all events of the process, so it ends here at once.
    if event != "open" or _reads.paths is None:
        return
    path, mode, flags = arguments
    is_named = isinstance(path, str | bytes | os.PathLike)
    if is_named and _only_reads(mode, flags) and not _is_importing():
        _reads.paths.append(os.fsdecode(path))


def _only_reads(mode: str | None, flags: int) -> bool:
    """Whether a file is opened for reading alone."""
    if mode is not None and set(mode) & set("wax+"):
        return False
    return not flags & (os.O_WRONLY | os.O_RDWR)


def _is_importing() -> bool:
    """Whether a module is being imported."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename.startswith(IMPORTING):
            return True
        frame = frame.f_back
    return False


@cache
def _python_folders() -> tuple[Path, ...]:
    """Return the folders of Python, of its libraries and of this package."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = [sysconfig.get_path(name) for name in names]
    folders += [sys.prefix, sys.base_prefix, str(Path(__file__).parents[1])]
    # The root would hold every file.
    found = {Path(folder).resolve() for folder in folders}
    return tuple(folder for folder in found if folder.parent != folder)


def _is_of_python(path: Path) -> bool:
    """Whether a resolved path is that of Python, of a library or of this package."""
    if not LIBRARIES.isdisjoint(path.parts):
        return True
    return any(path.is_relative_to(folder) for folder in _python_folders())


def digest_files(files: Iterable[str | Path], beside: Path) -> dict[str, str]:
    """Return the SHA-256 of files, by their paths as seen from a plant's file.

    Left out are the plant's file itself, those of Python and its libraries, and
    whatever is no regular file that can be read.
    """
    own = beside.resolve()
    digests = {}
    for file in files:
        path = Path(file).resolve()
        if path == own or path.suffix in CODE_SUFFIXES or not path.is_file():
            continue
        if _is_of_python(path):
            continue
        try:
            name = os.path.relpath(path, own.parent)
            digests[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        except (OSError, ValueError):
            continue
    return dict(sorted(digests.items()))


def helper_files(tree: ast.AST) -> list[str]:
    """Return the files of the modules that a source imports, and of those they import.

    Those of Python's libraries are left out.
    """
    found: list[str] = []
    sources = [tree]
    while sources:
        for name in _imported_names(sources.pop()):
            file = getattr(sys.modules.get(name), "__file__", None)
            if file is None or file in found or not _is_users_source(file):
                continue
            found.append(file)
            try:
                sources.append(ast.parse(Path(file).read_bytes()))
            except (OSError, ValueError, SyntaxError):
                continue
    return found


def _is_users_source(file: str) -> bool:
    """Whether a file is a Python source outside of Python's folders."""
    path = Path(file).resolve()
    return path.suffix == ".py" and not _is_of_python(path)


def _imported_names(tree: ast.AST) -> Iterator[str]:
    """Yield the names of all modules that a source may import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            # Each name may be a module of a package.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
