"""Logs of a training where people look: a csv file, and TensorBoard.

A log is made when a training has its folder, and gets every event. Python's own logging
(`logging.getLogger("hfcontrol")`) is in training.py. Logs are no part of the training:
what is logged changes no weight, and no checkpoint holds it.
"""

import csv
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from hfcontrol.arrays.files import open_own_file
from hfcontrol.errors import UsageError
from hfcontrol.training.state import Event

# Events that are logged: those after which the loss has changed.
LOGGED = ("start", "update", "hold")

CSV_FILE = "log.csv"
TENSORBOARD_FOLDER = "tensorboard"

# The columns of the csv file; a cell is empty where there is no such number.
COLUMNS = (
    "event",
    "update",
    "hold",
    "rollouts",
    "seconds",
    "loss",
    "accepted",
    "damping",
    "rho",
    "iterations",
)


class Log(Protocol):
    """Something that follows a training."""

    def __call__(self, event: Event) -> None:
        """Log an event."""

    def close(self) -> None:
        """Finish the log."""


class CsvLog:
    """A csv file in the run's folder, a row per event; it grows when a run is resumed.

    Every row is in the file as soon as it is known, so that other programs can follow.
    Raises UsageError for a link in its place: the folder may come from anyone.
    """

    def __init__(self, folder: Path, resumed_at: int) -> None:
        path = folder / CSV_FILE
        try:
            descriptor = open_own_file(path)
        except OSError as error:
            raise UsageError(f"`log` csv: cannot write {path}: {error}") from None
        # Open for the length of the training; `close` ends it.
        self.file = os.fdopen(
            descriptor, "a", newline="", encoding="utf-8", buffering=1
        )
        self.writer = csv.DictWriter(self.file, COLUMNS, extrasaction="ignore")
        if self.file.seek(0, os.SEEK_END) == 0:
            self.writer.writeheader()

    def __call__(self, event: Event) -> None:
        """Write the row of an event."""
        if event.kind in LOGGED:
            row = {"event": event.kind, "accepted": int(event.accepted)}
            self.writer.writerow({**row, **event.numbers})

    def close(self) -> None:
        """Close the file."""
        self.file.close()


class TensorBoardLog:
    """Files for TensorBoard in the run's folder, a curve per number over the updates.

    resumed_at: updates made before; what was logged after them is taken back.

    Raises UsageError for a link in its place.
    """

    def __init__(self, folder: Path, resumed_at: int) -> None:
        writer = import_tensorboard()
        path = folder / TENSORBOARD_FOLDER
        if path.is_symlink():
            raise UsageError(f"`log` tensorboard: {path} is a link; remove it")
        self.writer = writer(str(path), purge_step=resumed_at or None)

    def __call__(self, event: Event) -> None:
        """Add the numbers of an event to their curves."""
        if event.kind not in LOGGED:
            return
        numbers = event.numbers
        step = numbers.pop("update")
        name = "loss/hold" if event.kind == "hold" else "loss/update"
        self.writer.add_scalar(name, numbers.pop("loss"), step)
        for key, value in numbers.items():
            self.writer.add_scalar(f"training/{key}", value, step)

    def close(self) -> None:
        """Write what is left."""
        self.writer.close()


def import_tensorboard() -> Any:
    """Return the writer of TensorBoard's files; UsageError if it is not installed."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise UsageError(
            "`log` tensorboard: needs tensorboardX, which is not installed: "
            "pip install 'hfcontrol[tensorboard]'"
        ) from None
    return SummaryWriter


LOGS: dict[str, type[CsvLog] | type[TensorBoardLog]] = {
    "csv": CsvLog,
    "tensorboard": TensorBoardLog,
}


def check_logs(names: Iterable[str] | str) -> list[str]:
    """Return the names of logs as a list; UsageError for what is none."""
    listed = [names] if isinstance(names, str) else list(names)
    for name in listed:
        if name not in LOGS:
            raise UsageError(f"`log` {name}: must be {' or '.join(LOGS)}")
        if name == "tensorboard":
            import_tensorboard()
    return listed


def open_logs(names: Iterable[str], folder: Path, resumed_at: int) -> list[Log]:
    """Return the logs of a training in its folder, after a number of updates."""
    return [LOGS[name](folder, resumed_at) for name in names]
