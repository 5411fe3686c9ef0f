"""What the plant's derivative is worth (`hfcontrol compare methods`), with figures."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.comparisons import last_result
from benchmarks.report import ROOT, SMALLEST_SECONDS, Row, show, table
from hfcontrol.studies import study
from hfcontrol.studies.plots import draw

SECONDS = {"arm2": 30.0, "cartpole": 60.0}
PICTURES = ROOT / "tools" / "pictures"


def measure(seeds: Sequence[int], smallest: bool = False) -> list[Row]:
    """Return a row per plant and method."""
    if smallest:
        with TemporaryDirectory() as folder:
            rows = measure_plant("arm2", 1, SMALLEST_SECONDS, Path(folder))
    else:
        rows = []
        for plant, seconds in SECONDS.items():
            rows += measure_plant(plant, len(seeds), seconds, PICTURES)

    header = (
        "plant",
        "method",
        "reached",
        "plant steps",
        "Jacobian steps",
        "seconds",
        "final ratio",
    )
    lines = [method_cells(row) for row in rows]
    table("methods, to a held-out ratio of 1.1", header, lines)
    return rows


def measure_plant(plant: str, seeds: int, seconds: float, pictures: Path) -> list[Row]:
    """Return a row per method on one plant, and draw the figure."""
    result = last_result(study("methods", plant=plant, seeds=seeds, seconds=seconds))
    draw(result, pictures / f"methods-{plant}.png")
    rows = []
    for name, found in result["summary"].items():
        about = {
            "plant": plant,
            "task": result["task"],
            "method": name,
            "limit": seconds,
            "tried": result["options"][name]["tried"],
        }
        rows.append({**about, **found})
    return rows


def method_cells(row: Row) -> list[Any]:
    """Return the cells of a row in the printed table."""
    reached = f"{row['reached']} of {row['of']}"
    spent = [show(row[name]) for name in ("plant_steps", "jacobian_steps", "seconds")]
    # The first of the three is the mean; the others are its interval.
    ratio = show(row["ratio"][0], 4)
    return [row["plant"], row["method"], reached, *spent, ratio]
