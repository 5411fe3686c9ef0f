"""What several commands print: a status line, JSON, and the table of an evaluation."""

import json
import math
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from hfcontrol.texts import one_line

# Imported when there is something to print: the help does without NumPy.
if TYPE_CHECKING:
    from hfcontrol.runs.preparation import Preparation
    from hfcontrol.runs.run import Run
    from hfcontrol.training.conditioning import Conditioning

# Returns to the beginning of a terminal's line and clears it.
CLEAR_LINE = "\r\x1b[K"

# The longest names are like "path deviation [% of reach]".
NAME_WIDTH = 28
MIN_COLUMN_WIDTH = 24

# A table of texts: the width of its names and of all.
ROW_NAME_WIDTH = 14
TABLE_WIDTH = 88


def echo(*texts: object, error: bool = False) -> None:
    """Print texts, a line each; what would move the cursor or colour is spelt out.

    Names and messages may come from the file of a stranger.
    """
    for text in texts or ("",):
        click.echo(one_line(text), err=error)


def echo_in_place(text: object, error: bool = False) -> None:
    """Print a text in the place of the line in progress, without ending it."""
    click.echo(CLEAR_LINE + one_line(text), nl=False, err=error)


@contextmanager
def show_status(text: str) -> Iterator[Callable[[str], None]]:
    """Show on a terminal what hfcontrol is doing, until the block ends.

    Yields the function that replaces the text. Nothing is written to a file or pipe.
    """
    # On stderr, so that a redirected result holds nothing else.
    live = sys.stderr.isatty()

    def write(text: str) -> None:
        # A terminal that is gone must not end what goes on.
        with suppress(OSError):
            if live:
                echo_in_place(text, error=True)

    def replace(text: str) -> None:
        write(f"{text} ...")

    replace(text)
    try:
        yield replace
    finally:
        write("")


def print_result(run: "Run", *files: Path) -> None:
    """Print the files that a command has written, and on stderr for which run."""
    # Results may go to a pipe, which holds nothing else.
    echo(f"run {run.path}", error=True)
    echo(*(file.absolute() for file in files))


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


class Row(NamedTuple):
    """A row of the table: its name, and how it shows a set of scenarios."""

    name: str
    show: Callable[[dict[str, Any]], str]


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
    if "return" in evaluation:
        _print_return(evaluation)
        return

    sets = evaluation["sets"]
    rows = _table_rows(list(sets.values()))
    heads = [name.replace("_", "-") for name in sets]
    lines = [("", heads)]
    for row in rows:
        lines.append((row.name, [row.show(numbers) for numbers in sets.values()]))

    # Two spaces separate the columns.
    widths = [len(cell) + 2 for _, cells in lines for cell in cells]
    width = max(MIN_COLUMN_WIDTH, *widths)
    for name, cells in lines:
        columns = [f"{cell:>{width}}" for cell in cells]
        echo(f"{name:{NAME_WIDTH}}" + "".join(columns))

    for name, numbers in sets.items():
        for sentence in numbers.get("not_finite", ()):
            echo(f"{name.replace('_', '-')}: {sentence}")

    # imported here: `--help` and the list of runs do without NumPy
    from hfcontrol.evaluation.evaluation import is_beaten

    if any(is_beaten(numbers["ratio"]) for numbers in sets.values()):
        echo(
            "the controller is better than the optimum, which is thus not the best "
            "known: every ratio here may be too low"
        )
    if evaluation["noisy"]:
        echo(
            "the optimum knows all noise and pushes in advance: a bound that no "
            "controller attains"
        )


def _print_return(evaluation: dict[str, Any]) -> None:
    """Print the return of an environment, which has no optimum to compare with."""
    found = evaluation["return"]
    echo(
        f"return of the most likely actions over {evaluation['episodes']} episodes: "
        f"{found['mean']:.1f} +- {found['deviation']:.1f}, from {found['min']:.1f} to "
        f"{found['max']:.1f}"
    )


def _table_rows(sets: list[dict[str, Any]]) -> list[Row]:
    """Return the rows of the table, with the units of the first set."""
    first = sets[0]
    count = len(first["errors"])
    errors = [_error_row(k, first["errors"][k], count) for k in range(count)]
    speed = f"final speed{_unit(first['final_speed'])}"
    rows = [
        Row("trials", lambda s: f"{s['trials']}"),
        Row("loss", lambda s: f"{s['loss']:.3e}"),
        *_judgement_rows(sets),
        *errors,
        Row(speed, lambda s: _show_spread(s["final_speed"])),
        Row("peak controls", _show_peaks),
    ]
    if first["path_deviation"]:
        rows.append(Row("path deviation [% of reach]", _show_path))
    rows.append(Row("success", lambda s: f"{100 * s['success']:.0f} %"))
    return rows


def _judgement_rows(sets: list[dict[str, Any]]) -> list[Row]:
    """Return the rows about the optimum: none, if no trial was judged."""
    if not any(numbers["judged"] for numbers in sets):
        return []
    rows = [
        Row("optimal loss", lambda s: f"{s['optimal_loss']:.3e}"),
        Row("ratio to optimal", _show_ratio),
    ]
    if any(numbers["judged"] < numbers["trials"] for numbers in sets):
        judged = Row("judged trials", lambda s: f"{s['judged']} of {s['trials']}")
        rows.insert(0, judged)
    return rows


def _error_row(k: int, error: dict[str, Any], count: int) -> Row:
    """Return the row of the error at arrival k of `count`; the last is the end."""
    name = "final error" if k == count - 1 else f"error at step {error['step']}"
    return Row(name + _unit(error), lambda s: _show_spread(s["errors"][k]))


def _show_ratio(numbers: dict[str, Any]) -> str:
    """Return the ratio to optimal, if there is one."""
    ratio = numbers["ratio"]
    if ratio is not None:
        return f"{ratio:.4f}"
    return "not finite" if numbers.get("not_finite") else "optimum is zero"


def _show_peaks(numbers: dict[str, Any]) -> str:
    """Return the largest value of each control."""
    return ", ".join(f"{peak:.3g}" for peak in numbers["peak_control"])


def _show_path(numbers: dict[str, Any]) -> str:
    """Return the deviation from a straight path [%]."""
    deviation = numbers["path_deviation"]
    return f"{100 * deviation['mean']:.1f} (max {100 * deviation['max']:.1f})"


def _show_spread(number: dict[str, Any]) -> str:
    """Return mean and maximum."""
    return f"{number['mean']:.3g} (max {number['max']:.3g})"


def _unit(number: dict[str, Any]) -> str:
    """Return the unit in brackets, if there is one."""
    return f" [{number['unit']}]" if number["unit"] else ""
