"""What a hold keeps fixed (`hfcontrol compare holds`), with the figure.

The part "holds" is the study with its defaults. The part "claim" looks for the blog
post's claim with other settings and a third cost. The part "long" gives `inputs` and
`post` more rollouts.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.comparisons import last_result
from benchmarks.report import ROOT, Row, show, table
from hfcontrol.studies import study
from hfcontrol.studies.plots import draw

PICTURES = ROOT / "tools" / "pictures"

# Settings of the parts, and most seeds of the last two.
PARTS: dict[str, dict[str, Any]] = {
    "holds": {},
    "claim": {
        "batches": "32",
        "costs": "final,running,effort",
        "look_for_claim": True,
    },
    "long": {
        "batches": "1,32",
        "costs": "final",
        "holds": "inputs,post",
        "rollouts": 4000,
    },
}
FEW_SEEDS = 3

SMALLEST = {"seeds": 1, "batches": "2", "rollouts": 2, "costs": "final", "jobs": 1}


def measure(seeds: Sequence[int], smallest: bool = False) -> list[Row]:
    """Return a row per part, cost, variant and N."""
    if smallest:
        with TemporaryDirectory() as folder:
            return measure_part("holds", Path(folder), **SMALLEST)
    few = min(len(seeds), FEW_SEEDS)
    rows = measure_part("holds", PICTURES, seeds=len(seeds), **PARTS["holds"])
    for part in ("claim", "long"):
        rows += measure_part(part, None, seeds=few, **PARTS[part])
    return rows


def measure_part(part: str, pictures: Path | None, **sizes: Any) -> list[Row]:
    """Return a row per cost, variant and N, and draw the figure if it has a folder."""
    result = last_result(study("holds", **sizes))
    if pictures:
        draw(result, pictures / "holds.png")
    rows = rows_of(part, result)
    header = ("cost", "hold", "N", "reached", "lowest loss", "rollouts", "CPU seconds")
    for cost, target in result["targets"].items():
        title = f"holds, {cost}: to a loss of {show(target, 4)}, optimum "
        title += show(result["optimal"][cost], 4)
        lines = [cells_of(row) for row in rows if row["cost"] == cost]
        table(title, header, lines)
    return rows


def rows_of(part: str, result: Row) -> list[Row]:
    """Return the rows of a study's summary with what they have in common."""
    rows = []
    for found in result["summary"]:
        cost = found["cost"]
        common = {
            "part": part,
            "limit": result["rollouts"],
            "optimal": result["optimal"][cost],
            "target": result["targets"][cost],
        }
        rows.append({**common, **found})
    return rows


def cells_of(row: Row) -> list[Any]:
    """Return the cells of a row in the printed table."""
    reached = f"{row['reached']} of {row['of']}"
    lowest = ", ".join(show(loss, 4) for loss in row["lowest"])
    spent = [show(row[name]) for name in ("rollouts", "seconds")]
    return [row["cost"], row["variant"], row["batches"], reached, lowest, *spent]
