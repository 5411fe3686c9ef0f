"""Run folders: how a run and its checkpoints are named, found, locked and thinned."""

import math
import os
import re
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hfcontrol.errors import CheckpointError
from hfcontrol.runs import hdf5 as checkpoint

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

RUN_STAMP = re.compile(r"-(\d{8}-\d{6})-seed-?\d+(?:-(\d+))?$")
CHECKPOINT_NAME = re.compile(r"(\d{5,})-loss(-?[\d.]+e[+-]\d+|-?inf|nan)\.h5")
WARMING = "warming.h5"  # where a warm-up stands, until the first checkpoint is written
LISTED = 10  # runs named in a message before it becomes unreadable


class CheckpointFile(NamedTuple):
    """One checkpoint of a run, as its name tells it."""

    updates: int
    loss: float
    path: Path


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run, with one checkpoint file per hold."""

    path: Path

    @classmethod
    def create(cls, root, plant, task, seed, now=None):
        """Make the folder of a new run, `root/plant-task-date-time-seed0`; a second of that name ends in -2, and so on.

        plant: a name or a path, of which the stem is used; now: a datetime, default the local time.
        Raises CheckpointError where the folder cannot be made.
        """
        words = (
            re.sub(r"\W+", "-", word).strip("-") for word in (Path(plant).stem, task)
        )
        name = "-".join(
            [*words, f"{now or datetime.now():%Y%m%d-%H%M%S}", f"seed{seed}"]
        )
        try:
            Path(root).mkdir(parents=True, exist_ok=True)
            for copy in count(1):
                folder = Path(root) / (name if copy == 1 else f"{name}-{copy}")
                with suppress(FileExistsError):
                    folder.mkdir()
                    return cls(folder)
        except OSError as error:
            raise CheckpointError(
                f"cannot make a run folder in {root}: {error.strerror}; "
                "choose a folder that can be written with --out"
            ) from error

    @contextmanager
    def lock(self):
        """Keep every other training out of this folder while the context lasts; what a killed one left half-written goes.

        The operating system drops the lock with the process, however it ends: a `lock` file that is merely lying there
        blocks nobody (but where Python has no fcntl, such a file must be removed by hand).
        Raises CheckpointError, with the process id of the holder, if the folder is locked.
        """
        take, give_back = (
            (_take_flock, _give_back_flock) if fcntl else (_take_file, _give_back_file)
        )
        file = self.path / "lock"
        try:
            descriptor = take(file)
        except (BlockingIOError, FileExistsError) as error:
            stale = "" if fcntl else f", or remove {file} if that process is gone"
            raise CheckpointError(
                f"{self.path} is in use by the training with process id {_holder(file)}; "
                f"wait for it or stop it{stale}"
            ) from error
        except OSError as error:
            raise CheckpointError(
                f"cannot lock {self.path}: {error.strerror}; train into another folder"
            ) from error
        try:
            with suppress(
                OSError
            ):  # neither is worth a training; a full disk will be told by `save`
                for leftover in self.path.glob("*.tmp"):
                    leftover.unlink()
                os.ftruncate(descriptor, 0)
                os.write(descriptor, str(os.getpid()).encode())
            yield self
        finally:
            give_back(file, descriptor)

    def save(self, tree, updates, loss):
        """Write the checkpoint after so many updates, in place of an earlier one of as many; its path.

        The earlier one is removed only when the new one is whole. Raises CheckpointError as `checkpoint.save` does.
        """
        path = self.path / f"{updates:05d}-loss{loss:.1e}.h5"
        checkpoint.save(path, tree)
        for other in self.checkpoints():
            if other.updates == updates and other.path != path:
                other.path.unlink(missing_ok=True)
        return path

    @property
    def warming(self):
        """The file of a warm-up that is not over, or None."""
        file = self.path / WARMING
        return file if file.exists() else None

    def save_warming(self, tree):
        """Write where the warm-up stands, in place of where it stood before; raises as `save` does."""
        checkpoint.save(self.path / WARMING, tree)

    def warmed(self, first=None):
        """Remove the file of the warm-up, now that there is a checkpoint proper; where it is the `first` one after all of the warm-up,
        also those that were made of it before."""
        for file in self.checkpoints() if first else ():
            if file.path != first:
                file.path.unlink(missing_ok=True)
        (self.path / WARMING).unlink(missing_ok=True)

    def still_warming(self):
        """The CheckpointError of a run that can be gone on with, and nothing else."""
        return CheckpointError(
            f"{self.path} has no checkpoint yet, for its warm-up (--grow, --guide or --race) is not over; "
            f"go on with: hfcontrol train --resume {self.path}"
        )

    def checkpoints(self):
        """Every `CheckpointFile` of the run, in the order of updates."""
        matches = (
            (CHECKPOINT_NAME.fullmatch(path.name), path)
            for path in self.path.glob("*.h5")
        )
        files = [
            CheckpointFile(int(match[1]), float(match[2]), path)
            for match, path in matches
            if match
        ]
        return sorted(files, key=lambda file: (file.updates, file.path.name))

    def _some(self):
        files = self.checkpoints()
        if not files and self.warming:
            raise self.still_warming()
        if not files:
            raise CheckpointError(
                f"{self.path} holds no checkpoints; `hfcontrol runs` lists the runs that do"
            )
        return files

    def first(self):
        """The checkpoint with the fewest updates; CheckpointError if the run has none."""
        return self._some()[0]

    def newest(self):
        """The checkpoint with the most updates; CheckpointError if the run has none."""
        return self._some()[-1]

    def best(self):
        """The checkpoint whose name tells the lowest loss, the earlier one of equals; CheckpointError if there is none."""
        return min(
            self._some(),
            key=lambda file: math.inf if math.isnan(file.loss) else file.loss,
        )

    def load(self, which="newest"):
        """The tree of one checkpoint.

        which: "newest", "best", "first", a `CheckpointFile` or a path.
        Raises CheckpointError if it cannot be read, naming the whole checkpoint that comes before it, if one does.
        """
        if which in ("newest", "best", "first"):
            which = getattr(self, which)()
        path = Path(getattr(which, "path", which))
        try:
            return checkpoint.load(path)
        except CheckpointError as error:
            whole = self._whole_before(path)
            if whole is None:
                raise
            raise CheckpointError(
                f"{error}; the last whole one before it is {whole}"
            ) from error

    def _whole_before(self, path):
        names = [file.path.name for file in self.checkpoints()]
        earlier = names[: names.index(path.name)] if path.name in names else []
        for name in reversed(earlier):
            with suppress(CheckpointError):
                checkpoint.load(self.path / name)
                return self.path / name
        return None


def run_roots():
    """Where runs are looked for: ./weights, and the runs shipped with hfcontrol (in the package, or beside it)."""
    package = Path(__file__).parent.parent
    installed = package / "weights"
    return [
        Path("weights"),
        installed if installed.is_dir() else package.parent / "weights",
    ]


def list_runs(roots=None):
    """Every run under the roots with a checkpoint or a warm-up that is not over, the newest first.

    The order is that of the names: time stamp, then the number after it. Runs without a stamp count as oldest.
    """
    folders = {}
    for root in map(Path, roots or run_roots()):
        for folder in root.glob("*/"):
            if _is_run(folder):
                folders.setdefault(folder.resolve(), folder)
    return [
        RunFolder(folder) for folder in sorted(folders.values(), key=_age, reverse=True)
    ]


def _is_run(folder):
    return bool(RunFolder(folder).checkpoints() or RunFolder(folder).warming)


def _age(folder):
    match = RUN_STAMP.search(folder.name)
    return (
        (match[1], int(match[2] or 1), folder.name) if match else ("", 0, folder.name)
    )


def find_run(text=None, roots=None):
    """The run a user means, and which of its checkpoints: a pair for `run.load(which)`.

    text: nothing for the newest run; else a run's folder, its name under one of the roots, or a checkpoint file.
    Raises CheckpointError, listing the runs there are, if there is no such run.
    """
    if text is None:
        runs = list_runs(roots)
        if runs:
            return runs[0], "newest"
        raise CheckpointError(f"there is no run yet; {_known(runs)}")
    if Path(text).is_file():
        return RunFolder(Path(text).parent), Path(text)
    for folder in (Path(text), *(Path(root) / text for root in roots or run_roots())):
        if _is_run(folder):
            return RunFolder(folder), "newest"
    inside = [
        folder.name for folder in sorted(Path(text).glob("*/")) if _is_run(folder)
    ]
    if inside:
        raise CheckpointError(
            f"{text} is no run, but holds {len(inside)} of them, such as {Path(text) / inside[-1]}: name one"
        )
    fault = (
        "holds no checkpoints" if Path(text).is_dir() else "is no run and no checkpoint"
    )
    raise CheckpointError(f"{text} {fault}; {_known(list_runs(roots))}")


def _known(runs):
    if not runs:
        return "make one with: hfcontrol train --plant arm2"
    names = ", ".join(run.path.name for run in runs[:LISTED])
    return (
        f"the newest runs are {names}"
        if len(runs) > LISTED
        else f"the runs are {names}"
    )


def thin(folder, keep=10):
    """Remove checkpoints of a run until about `keep` are left, spread evenly over it; the paths removed.

    The first, the best and the last always stay. Raises CheckpointError if the run has none, or they cannot be removed.
    """
    run = RunFolder(Path(folder))
    files = run.checkpoints()
    spread = np.linspace(0, len(files) - 1, keep).round().astype(int)
    kept = {
        file.path
        for file in (run.first(), run.best(), run.newest(), *(files[i] for i in spread))
    }
    dropped = [file.path for file in files if file.path not in kept]
    try:
        for path in dropped:
            path.unlink()
    except OSError as error:
        raise CheckpointError(
            f"cannot remove {error.filename}: {error.strerror}"
        ) from error
    return dropped


def _holder(file):
    with suppress(OSError):
        return file.read_text().strip() or "unknown"
    return "unknown"


def _take_flock(file):
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _give_back_flock(file, descriptor):
    # The file stays: were it removed, two trainings could each lock a file of this name.
    os.close(descriptor)


def _take_file(file):
    return os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)


def _give_back_file(file, descriptor):
    os.close(descriptor)
    file.unlink()
