"""Every cell on arm2's reach task: what it takes to a ratio to the optimal loss."""

from collections.abc import Sequence
from typing import Any

from benchmarks.report import (
    SMALLEST,
    SMALLEST_SECONDS,
    Result,
    Row,
    show,
    spread,
    table,
    train_to,
)
from hfcontrol.network.cells import CELLS

RATIO = 1.02
MOST_SECONDS = 60

# Units of two layers. Cells whose connections have four weights each get half.
UNITS = (32, 32)
FEWER_UNITS = {"ltc_conductance": (16, 16), "cfc": (16, 16)}

# With `smallest`: one cell of each kind.
SMALLEST_CELLS = ("tanh", "ltc")


def measure(seeds: Sequence[int], smallest: bool = False) -> list[Row]:
    """Return a row per cell: seconds and updates to the ratio, and ratios reached."""
    # A linear layer has no memory and no nonlinearity: it is no cell to choose.
    cells = [cell for cell in CELLS if cell != "linear"]
    limits: Row = {"max_seconds": MOST_SECONDS}
    if smallest:
        cells = list(SMALLEST_CELLS)
        limits = {**SMALLEST, "max_seconds": SMALLEST_SECONDS}
    rows = [measure_cell(cell, seeds, limits) for cell in cells]

    header = ("cell", "units", "weights", "seconds (worst)", "updates", "not", "worst")
    title = f"cells, arm2 reach, to a ratio of {RATIO}"
    table(title, header, [cells_of(row) for row in rows])
    return rows


def measure_cell(cell: str, seeds: Sequence[int], limits: dict[str, Any]) -> Row:
    """Return the row of a cell, with the spread over the seeds."""
    settings = {"hidden": FEWER_UNITS.get(cell, UNITS), **limits}
    results: list[Result] = []
    for seed in seeds:
        results.append(train_to((RATIO,), "ratio", cell=cell, seed=seed, **settings))

    def spent(measure: str) -> Row:
        return spread([result.spent(str(RATIO), measure) for result in results])

    return {
        "cell": cell,
        "hidden": list(settings["hidden"]),
        "parameters": int(results[0].theta.size),
        "seeds": list(seeds),
        "ratio": RATIO,
        "seconds": spent("seconds"),
        "updates": spent("updates"),
        "reached": spread([result.ratio for result in results]),
    }


def cells_of(row: Row) -> list[Any]:
    """Return the cells of a row in the printed table."""
    seconds = row["seconds"]
    units = "+".join(map(str, row["hidden"]))
    times = f"{show(seconds['median'])} ({show(seconds['worst'])})"
    updates = show(row["updates"]["median"])
    ratio = show(row["reached"]["worst"], 5)
    about = [row["cell"], units, row["parameters"]]
    return [*about, times, updates, seconds["missing"], ratio]
