"""What several commands print: a status line, JSON, and the table of an evaluation."""

import errno
import json
import math
import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hfcontrol.cli.terminal import print_table, show_status
from hfcontrol.errors import UsageError
from hfcontrol.texts import one_line

__all__ = [
    "echo",
    "json_safe",
    "prepare_folder",
    "print_diagnosis",
    "print_evaluation",
    "print_json",
    "print_result",
    "print_table",
    "show_status",
    "write_json",
]

# Imported when there is something to print: the help does without NumPy.
if TYPE_CHECKING:
    from hfcontrol.runs.preparation import Preparation
    from hfcontrol.runs.run import Run
    from hfcontrol.training.conditioning import Conditioning

# The longest names are like "path deviation [% of reach]"; columns of several
# evaluations are as wide.
NAME_WIDTH = 28
MIN_COLUMN_WIDTH = 22

# A table of texts: the width of its names and of all.
ROW_NAME_WIDTH = 14
TABLE_WIDTH = 88


def echo(*texts: object, error: bool = False) -> None:
    """Print texts, a line each; what would move the cursor or colour is spelt out.

    Names and messages may come from the file of a stranger.
    """
    for text in texts or ("",):
        click.echo(one_line(text), err=error)


def print_result(run: "Run", *files: Path) -> None:
    """Print the files that a command has written, and on stderr for which run."""
    # Results may go to a pipe, which holds nothing else.
    echo(f"run {run.path}", error=True)
    echo(*(file.absolute() for file in files))


def prepare_folder(folder: Path) -> None:
    """Make a folder for files that will be written, if there is none.

    Raises UsageError if files cannot be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise UsageError(
            f"cannot write to {folder}: {error.strerror or error}; choose another "
            "folder with `out`"
        ) from error


def write_json(value: Any, path: Path) -> None:
    """Write a value as JSON to a file, which appears complete or not at all."""
    from hfcontrol.arrays.files import atomic_write

    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(json_safe(value), allow_nan=False, indent=1)
    with atomic_write(path, (".json",)) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def print_json(value: Any) -> None:
    """Print one JSON object on one line."""
    # Python would write NaN, which other readers of JSON refuse.
    click.echo(json.dumps(json_safe(value), allow_nan=False))


def json_safe(value: Any) -> Any:
    """Return the value with null for infinity and NaN, which JSON cannot express."""
    if isinstance(value, dict):
        return {name: json_safe(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_safe(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def print_diagnosis(
    prepared: "Preparation", task: object, conditioning: "Conditioning"
) -> None:
    """Print what was found out about a problem, if anything was; wrap long texts."""
    from hfcontrol.evaluation.diagnosis_table import diagnosis_rows
    from hfcontrol.tasks.task import Task

    if prepared.diagnosis is None or not isinstance(task, Task):
        return
    echo(f"diagnosis of {task.plant.name} {task.name}")
    indent = " " * (2 + ROW_NAME_WIDTH)
    for name, text in diagnosis_rows(prepared, task, conditioning):
        first = f"  {name:{ROW_NAME_WIDTH}}"
        lines = textwrap.wrap(text, TABLE_WIDTH - len(indent))
        echo(first + (lines or [""])[0], *(indent + line for line in lines[1:]))


def print_evaluation(evaluation: dict[str, Any]) -> None:
    """Print an evaluation: a row per number, a column per set of scenarios."""
    # imported here: `--help` and the list of runs do without NumPy
    from hfcontrol.evaluation.tables import evaluation_table

    heads, rows, notes = evaluation_table(evaluation)
    if rows:
        widths = [NAME_WIDTH, *(MIN_COLUMN_WIDTH for _ in heads)]
        print_table(["", *heads], [[name, *cells] for name, cells in rows], widths)
    for note in notes:
        echo(note)
