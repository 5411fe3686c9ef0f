"""What a sweep has found: a row per training, as CSV, DataFrame and text."""

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hfcontrol.arrays.files import write_atomically
from hfcontrol.runs.tables import make_dataframe
from hfcontrol.schema import format_value

CSV_FILE = "sweep.csv"

# Columns with the numbers of an evaluation.
SCORES = ("return", "held_out_loss", "ratio", "success")


@dataclass(frozen=True)
class SweepTable:
    """The trainings of a sweep that have finished.

    rows: a dict for each, with the same keys: the settings that vary, `seed`, `loss`,
        the numbers of its evaluation, its counts, why it stopped, and its run folder.
    varied: the settings that vary, by name.
    lost: why others have not finished, by what varies and their seed.
    """

    rows: list[dict[str, Any]]
    varied: list[str]
    out: Path
    lost: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"SweepTable({len(self.rows)} trainings in {str(self.out)!r})"

    def to_dataframe(self) -> Any:
        """Return a pandas DataFrame of the rows; UsageError without pandas."""
        keys = list(self.rows[0]) if self.rows else []
        return make_dataframe({key: [row[key] for row in self.rows] for key in keys})

    def save(self) -> Path:
        """Write the rows as CSV to the sweep's folder; return the file."""
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        if self.rows:
            writer.writerow(self.rows[0])
        for row in self.rows:
            writer.writerow(_cell(value) for value in row.values())
        path = self.out / CSV_FILE
        write_atomically(path, text.getvalue().encode())
        return path


def _cell(value: Any) -> Any:
    """Return a value for CSV: lists as on the command line, None as nothing."""
    return format_value(value) if isinstance(value, (list, tuple)) else value


def read_scores(out: Path) -> dict[str, dict[str, float | None]]:
    """Return the evaluations in a sweep's CSV by the names of runs, if there are any.

    What cannot be read is evaluated again.
    """
    try:
        with open(out / CSV_FILE, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {
            row["run"]: {name: _number(row[name]) for name in SCORES} for row in rows
        }
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError, TypeError):
        return {}


def _number(text: str) -> float | None:
    return float(text) if text else None
