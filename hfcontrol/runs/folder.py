"""Run folders: how a run and its checkpoints are named, found, locked and thinned."""

import errno
import math
import os
import re
import reprlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from types import NoneType
from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.files import (
    expand_home,
    open_own_file,
    path_of_descriptor,
    read_regular_file,
)
from hfcontrol.errors import CheckpointError, HFControlWarning, UsageError
from hfcontrol.runs import hdf5 as checkpoint
from hfcontrol.runs.curves import restore_curves, store_curves
from hfcontrol.runs.hdf5 import Tree
from hfcontrol.runs.roots import RUN_STAMP, own_roots, run_roots
from hfcontrol.texts import file_name

try:
    import fcntl

    HAS_FLOCK = True
except ImportError:  # Windows: the existence of a lock file takes its place
    HAS_FLOCK = False

STAMP_FORMAT = "%Y%m%d-%H%M%S"

# A loss may be negative, as that of an environment is, or not finite.
CHECKPOINT_NAME = re.compile(
    r"([0-9]{5,})-loss(-?[0-9]\.[0-9]e[+-][0-9]+|-?inf|nan)\.h5"
)

# Temporary files of checkpoints, by the random part that `write_atomically` adds, or by
# the process id that earlier versions added.
TEMPORARY_NAME = re.compile(
    rf"(?:{CHECKPOINT_NAME.pattern}|warming\.h5|curve-[0-9a-f]+\.h5)\.[0-9a-f]+\.tmp"
)
MOST_LOCK_BYTES = 4096

# Errors of file systems that have no locks, such as some network shares.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
HOLDER_WIDTH = 20  # characters of the process id in a lock file

# State of an unfinished curriculum; the first checkpoint replaces it.
CURRICULUM_FILE = "warming.h5"
MOST_LISTED = 10  # runs named in an error message; more would be unreadable


class CheckpointFile(NamedTuple):
    """One checkpoint of a run, as its file name describes it."""

    updates: int
    loss: float
    path: Path


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run, with one checkpoint file per hold.

    `held` is the descriptor of the lock file, while a training has the folder locked.
    """

    path: Path
    held: int | None = field(default=None, compare=False)

    @classmethod
    def create(
        cls,
        root: Path | str,
        plant: str,
        task: str,
        seed: int,
        now: datetime | None = None,
    ) -> "RunFolder":
        """Create the folder of a new run, `root/plant-task-date-time-seed0`.

        plant: a name or a path, whose stem is used.
        now: the time in the name, default the local time, or a second after the newest
            run of `root` if the clock was set back.

        If the name is taken, it gets the suffix -2, -3 and so on. Raises
        CheckpointError if the folder cannot be created.
        """
        words = [
            file_name(re.sub(r"\W+", "-", word)) for word in (Path(plant).stem, task)
        ]
        stamp = f"{now or _time_of_new_run(Path(root)):{STAMP_FORMAT}}"
        name = "-".join([*words, stamp, f"seed{seed}"])
        root = expand_home(root)
        try:
            root.mkdir(parents=True, exist_ok=True)
            return cls(_make_unique(root, name))
        except OSError as error:
            raise CheckpointError(
                f"cannot create a run folder in {root}: {error.strerror}; choose a "
                "writable folder with `out`"
            ) from error

    @contextmanager
    def lock(self) -> Iterator["RunFolder"]:
        """Keep other trainings out of this folder while the context lasts.

        Temporary files that a killed training left behind are removed. Raises
        CheckpointError, with the process id of the holder, if the folder is locked.
        """
        # The operating system drops a flock with its process, however that ends, so a
        # remaining `lock` file blocks nobody. Without fcntl it must be removed by hand.
        acquire, release = (
            (_acquire_flock, _release_flock)
            if HAS_FLOCK
            else (_acquire_file, _release_file)
        )
        file = self.path / "lock"
        try:
            descriptor = acquire(file)
        except (BlockingIOError, FileExistsError) as error:
            stale = "" if HAS_FLOCK else f", or remove {file} if that process has ended"
            raise CheckpointError(
                f"{self.path} is in use by the training with process id "
                f"{_read_holder(file)}; wait for it or stop it{stale}"
            ) from error
        except OSError as error:
            raise CheckpointError(
                f"cannot lock {self.path}: {error.strerror}; train into another folder"
            ) from error
        try:
            # Neither step is worth failing for; `save` reports a full disk.
            with suppress(OSError):
                for leftover in self.path.glob("*.tmp"):
                    if TEMPORARY_NAME.fullmatch(leftover.name):
                        leftover.unlink()
                # Of one length, so that an older entry is covered without truncation.
                os.write(descriptor, f"{os.getpid():<{HOLDER_WIDTH}}".encode())
            yield replace(self, held=descriptor)
        finally:
            release(file, descriptor)

    def follow(self) -> "RunFolder":
        """Return this folder where it is now, if it has been moved while it is locked.

        Raises CheckpointError if it is gone: removed, or moved to another disk.
        """
        if self.held is None or self.path.is_dir():
            return self
        file = path_of_descriptor(self.held)
        if file is None:
            raise CheckpointError(
                f"{self.path} was removed, or moved to another disk, while training; "
                "nothing more can be saved there; put it back and continue with "
                "`resume`, or train again"
            )
        return replace(self, path=file.parent)

    def save(self, tree: Tree, updates: int, loss: float) -> Path:
        """Write the checkpoint after `updates` updates and return its path.

        It replaces an earlier checkpoint with the same number of updates, which is
        removed only when the new one is complete. Raises CheckpointError as
        `hdf5.save` does.
        """
        # Zero-padded, so that most tools list checkpoints in their order.
        path = self.path / f"{updates:05d}-loss{loss:.1e}.h5"
        checkpoint.save(path, store_curves(tree, self.path))
        for other in self.checkpoints():
            if other.updates == updates and other.path != path:
                other.path.unlink(missing_ok=True)
        return path

    @property
    def curriculum_file(self) -> Path | None:
        """The file of an unfinished curriculum, or None."""
        file = self.path / CURRICULUM_FILE
        return file if file.exists() else None

    def save_curriculum(self, tree: Tree) -> None:
        """Write the state of the curriculum, replacing the one before."""
        checkpoint.save(self.path / CURRICULUM_FILE, store_curves(tree, self.path))

    def end_curriculum(self, first: Path | None = None) -> None:
        """Remove the file of the curriculum, because a checkpoint exists now.

        first: the first checkpoint after the curriculum; all others come from its
        middle (see `Training.events`), and are removed.
        """
        if first is not None:
            for file in self.checkpoints():
                if file.path != first:
                    file.path.unlink(missing_ok=True)
        (self.path / CURRICULUM_FILE).unlink(missing_ok=True)

    def unfinished_error(self) -> CheckpointError:
        """The error for any use of an unfinished curriculum except resuming it."""
        return CheckpointError(
            f"{self.path} has no checkpoint yet, because its curriculum has not "
            f"finished; continue with: hfcontrol train --resume {self.path}"
        )

    def checkpoints(self) -> list[CheckpointFile]:
        """All checkpoints of the run, in the order of their updates."""
        files = []
        for path in self.path.glob("*.h5"):
            match = CHECKPOINT_NAME.fullmatch(path.name)
            if match:
                files.append(CheckpointFile(int(match[1]), float(match[2]), path))
        return sorted(files, key=lambda file: (file.updates, file.path.name))

    def _some_checkpoints(self) -> list[CheckpointFile]:
        """All checkpoints; CheckpointError if the run has none."""
        files = self.checkpoints()
        if not files and self.curriculum_file:
            raise self.unfinished_error()
        if not files:
            raise CheckpointError(
                f"{self.path} holds no checkpoints; `hfcontrol runs` lists the runs "
                "that do"
            )
        return files

    def first(self) -> CheckpointFile:
        """The checkpoint with the fewest updates; CheckpointError if there is none."""
        return self._some_checkpoints()[0]

    def newest(self) -> CheckpointFile:
        """The checkpoint with the most updates; CheckpointError if there is none."""
        return self._some_checkpoints()[-1]

    def best(self) -> CheckpointFile:
        """The checkpoint whose name shows the lowest loss, the earlier one of equals.

        Raises CheckpointError if there is none.
        """
        return min(
            self._some_checkpoints(),
            # Nothing is less than NaN, so that a NaN in front would be the minimum.
            key=lambda file: math.inf if math.isnan(file.loss) else file.loss,
        )

    def load(
        self, which: CheckpointFile | Path | str = "newest", arrays: bool = True
    ) -> Tree:
        """Load the tree of one checkpoint.

        which: "newest", "best", "first", a `CheckpointFile` or a path.
        arrays: whether to read its arrays, which are None otherwise.

        Raises CheckpointError if it cannot be read; the message names the last
        readable checkpoint before it, if there is one.
        """
        if which in ("newest", "best", "first"):
            which = getattr(self, str(which))()
        path = which.path if isinstance(which, CheckpointFile) else Path(which)
        try:
            tree = checkpoint.load(path, arrays)
            return restore_curves(tree, path.parent) if arrays else tree
        except CheckpointError as error:
            readable = self._last_readable_before(path)
            if readable is None:
                raise
            raise CheckpointError(
                f"{error}; the last complete one before it is {readable}"
            ) from error

    def _last_readable_before(self, path: Path) -> Path | None:
        """The last checkpoint before `path` that can be read, or None."""
        names = [file.path.name for file in self.checkpoints()]
        earlier = names[: names.index(path.name)] if path.name in names else []
        # The nearest first: the least of the training is lost then.
        for name in reversed(earlier):
            with suppress(CheckpointError):
                checkpoint.load(self.path / name)
                return self.path / name
        return None


def _make_unique(root: Path, name: str) -> Path:
    """Create the folder `name`, or the first of `name`-2, `name`-3, ... that is new."""
    for copy in count(1):
        folder = root / (name if copy == 1 else f"{name}-{copy}")
        with suppress(FileExistsError):
            # Not tested before: another training may make the folder in between.
            folder.mkdir()
            return folder
    raise AssertionError("count never ends")


def _time_of_new_run(root: Path) -> datetime:
    """The time for the name of a new run: now, but later than all runs of its folder.

    The newest run is the one that commands use by default.
    """
    now = datetime.now()
    newest = None
    with suppress(OSError):
        times = (_time_of(name) for name in os.listdir(root))
        newest = max((time for time in times if time), default=None)
    if newest is None or newest <= now:
        return now
    try:
        return newest + timedelta(seconds=1)
    except OverflowError:
        # After the last second of the calendar.
        return now


def _time_of(name: str) -> datetime | None:
    """The time in the name of a run's folder, or None."""
    match = RUN_STAMP.search(name)
    try:
        return datetime.strptime(match[1], STAMP_FORMAT) if match else None
    except ValueError:
        return None


def list_runs(roots: Sequence[Path | str] | None = None) -> list[RunFolder]:
    """All runs under the roots, the newest first.

    A run is a folder with a checkpoint or an unfinished curriculum. Runs are ordered by
    name: by time stamp, then by the number after it. Those without a time stamp come
    last.
    """
    folders: dict[Path, Path] = {}
    # Roots may overlap or be links; a run counts once.
    for root in map(Path, roots or run_roots()):
        for folder in root.glob("*/"):
            if _is_run(folder):
                folders.setdefault(folder.resolve(), folder)
    newest_first = sorted(folders.values(), key=_age, reverse=True)
    return [RunFolder(folder) for folder in newest_first]


def _is_run(folder: Path) -> bool:
    run = RunFolder(folder)
    return bool(run.checkpoints() or run.curriculum_file)


def _age(folder: Path) -> tuple[str, int, str]:
    """The key that orders run folders by age."""
    match = RUN_STAMP.search(folder.name)
    if not match or _time_of(folder.name) is None:
        # The empty text sorts before all stamps, and so comes last of the newest first.
        return "", 0, folder.name
    return match[1], int(match[2] or 1), folder.name


def find_run(
    text: Path | str | None = None, roots: Sequence[Path | str] | None = None
) -> tuple[RunFolder, Path | str]:
    """Find the run that a user means; returns (run, checkpoint for `run.load`).

    text: a run's folder, its name under one of the roots, or a checkpoint file; None
    for the newest run that the user has made, under `own_roots`.

    Raises CheckpointError, listing the existing runs, if there is no such run, and
    UsageError for what is no path.
    """
    if not isinstance(text, (str, os.PathLike, NoneType)):
        raise UsageError(
            f"run {reprlib.repr(text)}: must be the path or name of a run, a "
            "checkpoint, or None for the newest run"
        )
    if text is None:
        runs = list_runs(roots or own_roots())
        if runs:
            return runs[0], "newest"
        places = " or ".join(map(str, roots or own_roots()))
        raise CheckpointError(f"there is no run in {places}; {_suggest_run(roots)}")
    path = expand_home(text)
    if path.is_file():
        return RunFolder(path.parent), path
    # A path comes first: what lies here is meant before what is shipped.
    for folder in (path, *(Path(root) / path for root in roots or run_roots())):
        if _is_run(folder):
            return RunFolder(folder), "newest"
    raise _not_a_run(path, roots)


def _not_a_run(path: Path, roots: Sequence[Path | str] | None) -> CheckpointError:
    """The error for a path that is neither a run nor a checkpoint."""
    # Such as ./weights itself, which is a folder of runs.
    inside = [folder.name for folder in sorted(path.glob("*/")) if _is_run(folder)]
    if inside:
        return CheckpointError(
            f"{path} is not a run, but holds {len(inside)} of them, such as "
            f"{path / inside[-1]}: name one"
        )
    fault = (
        "holds no checkpoints" if path.is_dir() else "is neither a run nor a checkpoint"
    )
    return CheckpointError(f"{path} {fault}; {_suggest(list_runs(roots))}")


def _suggest_run(roots: Sequence[Path | str] | None) -> str:
    """The end of an error message: a run to name, or how to make one."""
    runs = list_runs(roots or run_roots())
    train = "make one with: hfcontrol train --plant arm2"
    return f"name one, such as {runs[0].path.name}, or {train}" if runs else train


def _suggest(runs: list[RunFolder]) -> str:
    """The end of an error message: the existing runs, or how to make one."""
    if not runs:
        return "make one with: hfcontrol train --plant arm2"
    names = ", ".join(run.path.name for run in runs[:MOST_LISTED])
    if len(runs) > MOST_LISTED:
        return f"the newest runs are {names}"
    return f"the runs are {names}"


def thin(folder: Path | str, keep: int = 10) -> list[Path]:
    """Remove checkpoints of a run until about `keep` are left; returns those removed.

    The remaining ones are spread evenly over the run; the first, the best and the last
    always stay. Raises CheckpointError if the run has none, or if they cannot be
    removed.
    """
    run = RunFolder(expand_home(folder))
    files = run.checkpoints()
    spread = np.linspace(0, len(files) - 1, keep).round().astype(int)
    kept = {run.first().path, run.best().path, run.newest().path}
    kept.update(files[i].path for i in spread)
    dropped = [file.path for file in files if file.path not in kept]
    try:
        for path in dropped:
            path.unlink()
    except OSError as error:
        raise CheckpointError(
            f"cannot remove {error.filename}: {error.strerror}"
        ) from error
    return dropped


def _read_holder(file: Path) -> str:
    """The process id in a lock file."""
    with suppress(OSError):
        content = read_regular_file(file, MOST_LOCK_BYTES)
        holder = content[:HOLDER_WIDTH].strip()
        # Anyone may have written the file: only a number is shown.
        if holder.isdigit():
            return holder.decode("ascii")
    return "unknown"


def _acquire_flock(file: Path) -> int:
    # Without O_TRUNC: until it is locked, the file may name another holder.
    descriptor = open_own_file(file)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in NO_LOCKS:
            warnings.warn(
                f"{file.parent} is on a file system without locks; take care that no "
                "other training uses this folder",
                HFControlWarning,
                stacklevel=4,
            )
            return descriptor
        os.close(descriptor)
        raise
    return descriptor


def _release_flock(file: Path, descriptor: int) -> None:
    # The file stays: if it were removed, two trainings could each lock a file of this
    # name.
    os.close(descriptor)


def _acquire_file(file: Path) -> int:
    # O_EXCL lets only one of several processes create the file.
    return os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)


def _release_file(file: Path, descriptor: int) -> None:
    moved = path_of_descriptor(descriptor)
    os.close(descriptor)
    (moved or file).unlink(missing_ok=True)
