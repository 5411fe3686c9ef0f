"""Every cell on reaching and on balancing: what it takes to a ratio to the optimum."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks.cases import EVERYTHING, Selection, measure_selected
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
from hfcontrol.errors import UsageError
from hfcontrol.network.cells import CELLS
from hfcontrol.studies.harness import GROW

TASKS = (("arm2", "reach"), ("cartpole", "balance"))
RATIO = 1.02
MOST_SECONDS = 60

# Units of two layers. Cells whose connections have three or four weights get half. Two
# layers of integrators cannot be trained, and the decay of `ltc_signed` is stable with
# time constants below a control step only.
UNITS = (32, 32)
HALF = {"hidden": (16, 16)}
OWN_SETTINGS: dict[str, Row] = {
    "ltc_conductance": HALF,
    "cfc": HALF,
    "gru": HALF,
    "lstm": HALF,
    "input_flow": {"hidden": (64,)},
    "ltc_signed": {"time_constants": "2ms..10ms"},
}

# With `smallest`: one cell of each kind.
SMALLEST_CELLS = ("tanh", "ltc")


class Case(NamedTuple):
    """A cell and the task that its network learns."""

    cell: str
    plant: str = "arm2"
    task: str = "reach"

    @property
    def name(self) -> str:
        """What tells it from the other cases."""
        return " ".join(self)


def all_cases() -> list[Case]:
    """Return every cell on every task."""
    # A linear layer has no memory and no nonlinearity: it is no cell to choose.
    cells = [cell for cell in CELLS if cell != "linear"]
    return [Case(cell, *task) for task in TASKS for cell in cells]


def measure(
    seeds: Sequence[int], smallest: bool = False, selection: Selection = EVERYTHING
) -> list[Row]:
    """Return a row per case: seconds and updates to the ratio, and ratios reached.

    Raises UsageError for seeds to add: a row has medians, which cannot be joined.
    """
    if selection.add:
        raise UsageError(
            "`--add` with `cells`: its rows hold medians; measure all seeds at once"
        )
    cases = all_cases()
    limits: Row = {"max_seconds": MOST_SECONDS}
    if smallest:
        cases = [Case(cell) for cell in SMALLEST_CELLS]
        limits = {**SMALLEST, "max_seconds": SMALLEST_SECONDS}

    def measure_one(case: Case) -> Row:
        return measure_cell(case, seeds, limits)

    by_name = {case.name: case for case in cases}
    new, rows = measure_selected(by_name, selection, row_name, measure_one)
    header = (
        "cell",
        "task",
        "units",
        "weights",
        "seconds (worst)",
        "updates",
        "not",
        "worst",
    )
    table(f"cells, to a ratio of {RATIO}", header, [cells_of(row) for row in new])
    return rows


def row_name(row: Row) -> str:
    """Return the name of a row's case."""
    return Case(row["cell"], row["plant"], row["task"]).name


def measure_cell(case: Case, seeds: Sequence[int], limits: dict[str, Any]) -> Row:
    """Return the row of a case, with the spread over the seeds."""
    own = OWN_SETTINGS.get(case.cell, {})
    grow = GROW.get((case.plant, case.task), 0)
    settings = {**case._asdict(), "hidden": UNITS, "grow": grow, **own, **limits}
    results: list[Result] = []
    for seed in seeds:
        results.append(train_to((RATIO,), "ratio", seed=seed, **settings))

    def spent(measure: str) -> Row:
        return spread([result.spent(str(RATIO), measure) for result in results])

    return {
        **case._asdict(),
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
    task = f"{row['plant']} {row['task']}"
    about = [row["cell"], task, units, row["parameters"]]
    return [*about, times, updates, seconds["missing"], ratio]
