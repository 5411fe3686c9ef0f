"""Where runs are: those of the user, and those that come with hfcontrol."""

import re
from pathlib import Path

from hfcontrol.runs.records import last_out

# Anchored at the end, because the names of plant and task may hold dashes.
RUN_STAMP = re.compile(r"-(\d{8}-\d{6})-seed-?\d+(?:-(\d+))?$")


def own_roots() -> list[Path]:
    """Folders whose runs the user has made: ./weights, and what `out` named last here.

    `out` is remembered for each working folder, so that the newest run is one that was
    trained from the current folder.
    """
    roots = [Path("weights")]
    out = last_out()
    if out is not None and out != roots[0].resolve():
        roots.append(out)
    return roots


def run_roots() -> list[Path]:
    """Folders that are searched for runs: `own_roots` and the shipped runs."""
    return [*own_roots(), _shipped_root()]


def _shipped_root() -> Path:
    """The folder of the runs that come with hfcontrol."""
    package = Path(__file__).parent.parent
    installed = package / "weights"
    # In a checkout the shipped runs are next to the package, not inside it.
    return installed if installed.is_dir() else package.parent / "weights"


def is_shipped(path: Path) -> bool:
    """Whether a folder is that of a run that comes with hfcontrol."""
    # In a checkout, the user's own runs are there too; theirs have a time stamp.
    folder = path.resolve()
    is_there = folder.parent == _shipped_root().resolve()
    return is_there and not RUN_STAMP.search(folder.name)
