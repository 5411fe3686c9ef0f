"""Sees what a piece of Python opens, changes, starts or imports (PEP 578)."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

# Events that no input of hfcontrol may lead to.
FORBIDDEN = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "socket.connect",
    "socket.bind",
)

# Events whose first argument is a path that is changed.
CHANGES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod")

# Those of them whose last argument is an open folder, or -1.
IN_FOLDERS = ("os.remove", "os.rmdir", "os.mkdir")

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Watch:
    """Events outside of the folders that an input may touch.

    Inputs may read and write `folder`; hfcontrol itself writes to `caches`. Programs,
    libraries and devices may be read.
    """

    def __init__(self, folder: Path, caches: tuple[Path, ...] = ()) -> None:
        self.found: list[str] = []
        self.active = False
        writable = (folder, *caches, Path("/dev/null"))
        self.writable = tuple(str(path.resolve()) for path in writable)
        libraries = (ROOT, sys.prefix, sys.base_prefix, "/proc", "/sys", "/dev", "/usr")
        self.readable = (*self.writable, *map(str, libraries), "/etc", "/lib")
        # Asked once: to find it, Python opens files, which the hook would see.
        self.temporary = os.path.join(tempfile.gettempdir(), "hfcontrol-")
        # A hook cannot be removed, so it asks whether it is wanted.
        sys.addaudithook(self._see)

    @contextmanager
    def watching(self) -> Iterator[list[str]]:
        """Collect events while the context lasts."""
        self.found.clear()
        self.active = True
        try:
            yield self.found
        finally:
            self.active = False

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event in FORBIDDEN:
            self.found.append(f"{event} {arguments!r:.200}")
        elif event in CHANGES:
            # A name in an open folder, as shutil.rmtree has it, is no path.
            in_open_folder = event in IN_FOLDERS and arguments[-1] >= 0
            if not in_open_folder:
                self._check(event, arguments[0], self.writable)
        elif event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and flags & WRITES
            self._check(event, path, self.writable if writes else self.readable)
        elif event == "import" and str(arguments[0]).startswith("canary"):
            self.found.append(f"import {arguments[0]}")

    def _check(self, event: str, path: Any, allowed: tuple[str, ...]) -> None:
        """Keep an event about a path outside of the allowed folders."""
        # A number is a file that is open already.
        if not isinstance(path, str | bytes | os.PathLike):
            return
        self.active = False  # the next lines open nothing of an input
        try:
            full = os.path.realpath(os.fsdecode(path))
        except ValueError:
            return  # a null byte: no such file
        finally:
            self.active = True
        inside = any(full == top or full.startswith(top + "/") for top in allowed)
        in_temporary = full.startswith(self.temporary)
        if not inside and not in_temporary:
            self.found.append(f"{event} {full}")
