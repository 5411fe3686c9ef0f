"""A training in a child process, and what happens to it.

A child is forked from a process that has imported and compiled everything. It shares no
memory with it afterwards: what a child continues from is on the disk.
"""

import os
import resource
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hfcontrol.errors import CheckpointError, HFControlError
from hfcontrol.jobs.seeds import train_seeds
from hfcontrol.runs import hdf5
from hfcontrol.runs.folder import RunFolder, list_runs, thin
from hfcontrol.runs.run import Run
from hfcontrol.runs.settings import Settings, settings_for
from hfcontrol.runs.training import continue_training, start_training

from .trainings import KINDS, SEEDS

# Exit statuses of a child; a traceback ends with 1.
DONE, TRACEBACK, REFUSED = 0, 1, 3

# Operations on files that Python reports before they happen.
FILE_EVENTS = ("open", "os.rename", "os.remove")
MOST_FILE_EVENTS = 80

# A child that takes longer [s] hangs; on a machine that is busy, seconds pass quickly.
PATIENCE = 1200.0

SEED_NUMBERS = [1, 2, 3]


class Training(NamedTuple):
    """A training: its kind, and the folder of its runs."""

    kind: str
    out: Path


class Fate(NamedTuple):
    """What happens to a child: the name of it, when [s], and how much is allowed."""

    name: str = "none"
    delay: float = 0.0
    number: int = 0


class Ending(NamedTuple):
    """How a child ended: its status (negative: by a signal), seconds, what it said."""

    status: int
    seconds: float
    said: str


def draw_fate(rng: np.random.Generator, seconds: float, largest: int) -> Fate:
    """Return a random fate for a training that takes `seconds`.

    `largest` is the size of its largest file [bytes].
    """
    name = str(rng.choice(FATES, p=CHANCES))
    number = int(rng.integers(1, MOST_FILE_EVENTS))
    if name == "disk full":
        number = int(rng.integers(0, largest))
    return Fate(name, float(rng.uniform(0, seconds)), number)


def run_child(training: Training, fate: Fate) -> Ending:
    """Start a training, or continue it, in a child; return how it ended.

    Raises TimeoutError for one that hangs.
    """
    begin = time.monotonic()
    said = training.out / "said"
    child = os.fork()
    if not child:
        _be_child(training, fate, said)
    if fate.name in ACTIONS:
        # The child may have ended before.
        with suppress(ProcessLookupError):
            _sleep_or_end(child, fate.delay)
            ACTIONS[fate.name](child, training)
    status = _wait(child, begin + PATIENCE)
    text = said.read_text(encoding="utf-8") if said.exists() else ""
    return Ending(status, time.monotonic() - begin, text)


def _sleep_or_end(child: int, delay: float) -> None:
    """Sleep, but no longer than the child lives."""
    end = time.monotonic() + delay
    while time.monotonic() < end:
        gone = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if gone is not None:
            return
        time.sleep(0.002)


def _wait(child: int, end: float) -> int:
    """Return the exit status of a child; one that hangs is killed."""
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise TimeoutError(f"a training took longer than {PATIENCE:g} s")
        time.sleep(0.002)


def _be_child(training: Training, fate: Fate, said: Path) -> None:
    """Train in this process, which then ends."""
    said.unlink(missing_ok=True)
    try:
        if fate.name == "disk full":
            # Also root is bound by it; Python ignores the signal and gets an error.
            hard = resource.RLIM_INFINITY
            resource.setrlimit(resource.RLIMIT_FSIZE, (fate.number, hard))
        if fate.name == "kill at a file":
            _die_at_file(training.out, fate.number)
        train(training)
        status = DONE
    except HFControlError as error:
        status = REFUSED
        _say(said, str(error))
    except BaseException:
        status = TRACEBACK
        _say(said, traceback.format_exc())
    os._exit(status)


def _say(said: Path, text: str) -> None:
    with suppress(ValueError, OSError):
        hard = resource.RLIM_INFINITY
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    said.write_text(text, encoding="utf-8")


def train(training: Training) -> None:
    """Continue each run of a training that has begun, and start the others."""
    if training.kind != SEEDS:
        _train_one(make_settings(training.kind), training.out)
        return
    for run in find_runs(training.out):
        _continue(run)
    done = {Run.load(run.path).settings.seed for run in find_runs(training.out)}
    left = [seed for seed in SEED_NUMBERS if seed not in done]
    if left:
        train_seeds(make_settings(SEEDS), left, training.out, jobs=1)
    # `train --seeds` keeps all checkpoints of the best seed of the call alone; how many
    # calls there were depends on the kills.
    for run in find_runs(training.out):
        thin(run.path, keep=1)


def make_settings(kind: str) -> Settings:
    """Return the settings of a kind."""
    return settings_for(**KINDS[kind])


def _train_one(settings: Settings, out: Path) -> None:
    runs = find_runs(out)
    if runs:
        _continue(runs[0])
    else:
        deque(start_training(settings, out).events(), maxlen=0)


def _continue(run: RunFolder) -> None:
    loaded = Run.load(run.path, allow_unfinished=True)
    deque(continue_training(loaded).events(), maxlen=0)


def find_runs(out: Path) -> list[RunFolder]:
    """Return the runs with anything to continue from; the newest is the first."""
    return list_runs([out])


def _die_at_file(out: Path, number: int) -> None:
    """Kill this process before its `number`-th operation on files of its run."""
    left = [number]

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in FILE_EVENTS or not str(arguments[0]).startswith(str(out)):
            return
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)


def _kill(child: int, training: Training) -> None:
    os.kill(child, signal.SIGKILL)


def _freeze(child: int, training: Training) -> None:
    """Stop a child for a moment; nobody else may train in its folder meanwhile."""
    os.kill(child, signal.SIGSTOP)
    # It may have ended just before; its status is left for whoever waits for it.
    os.waitid(os.P_PID, child, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    before = _locked(training)
    time.sleep(0.02)
    if before != _locked(training):
        raise AssertionError("a stopped training has lost its lock")
    os.kill(child, signal.SIGCONT)


def _freeze_and_kill(child: int, training: Training) -> None:
    os.kill(child, signal.SIGSTOP)
    os.kill(child, signal.SIGKILL)


def _locked(training: Training) -> list[bool]:
    """Return whether each run of a training is locked."""
    found = []
    for run in find_runs(training.out):
        try:
            with run.lock():
                found.append(False)
        except CheckpointError:
            found.append(True)
    return found


ACTIONS: dict[str, Callable[[int, Training], None]] = {
    "kill": _kill,
    "stop and continue": _freeze,
    "stop and kill": _freeze_and_kill,
}
FATES = [*ACTIONS, "kill at a file", "disk full"]
CHANCES = [0.4, 0.08, 0.07, 0.3, 0.15]
KILLS = ("kill", "stop and kill", "kill at a file")


def find_damage(out: Path) -> str | None:
    """Return why the newest file of a run cannot be read, or None.

    Older ones have been newest before.
    """
    files = sorted(out.rglob("*.h5"), key=lambda file: file.stat().st_mtime_ns)
    try:
        for file in files[-1:]:
            hdf5.load(file)
    except CheckpointError as error:
        return str(error)
    return None


def end_state(out: Path) -> dict[str, Any]:
    """Return all that the runs of a training end with, except for times, by seed.

    These are the names of the files, and what is in the last one of each run.
    """
    states = {}
    for run in find_runs(out):
        tree = run.load()
        names = [file.path.name for file in run.checkpoints()]
        kept = {name: tree[name] for name in ("state", "ladder", "stop", "task")}
        seed = tree["settings"]["seed"]
        states[f"seed {seed}"] = {"files": names, **_without_times(kept)}
    return states


def _without_times(value: Any) -> Any:
    """Return a tree as bytes and plain values, without the seconds of the clock."""
    if isinstance(value, dict):
        entries = ((key, entry) for key, entry in value.items() if key != "seconds")
        return {key: _without_times(entry) for key, entry in entries}
    if isinstance(value, (list, tuple)):
        return [_without_times(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return (str(value.dtype), value.shape, value.tobytes())
    # NaN is not equal to itself.
    return repr(value) if isinstance(value, float) else value
