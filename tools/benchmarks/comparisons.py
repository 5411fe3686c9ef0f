"""The sources' comparisons (`hfcontrol compare`), and the figures of how each ended."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any
from unittest import mock

from benchmarks.cases import EVERYTHING, Selection
from benchmarks.report import Row, show, table
from hfcontrol.errors import UsageError
from hfcontrol.studies import gradients as gradients_study
from hfcontrol.studies import orders as orders_study
from hfcontrol.studies import study

SAMPLES = 8  # weights at which gradients are measured
COARSE = 4  # tolerances, and steps, of the smallest study of gradients


def measure(
    seeds: Sequence[int], smallest: bool = False, selection: Selection = EVERYTHING
) -> list[Row]:
    """Return rows of the gradients' prices and of the orders' ratios.

    Raises UsageError for seeds to add: the studies begin with the first one.
    """
    if selection.add:
        raise UsageError(
            "`--add` with `comparisons`: its studies begin with seed 0; measure all "
            "seeds at once"
        )
    if smallest:
        # The first result of a study has the same form as the last one.
        with coarse_gradients():
            rows = gradient_rows(next(study("gradients", samples=1)))
        # This study has no setting for Hessian-free's updates.
        with mock.patch.object(orders_study, "SECOND_UPDATES", 1):
            result = next(study("orders", plant="diffdrive", seeds=1, updates=1))
        return rows + order_rows(result)

    def measure_gradients() -> list[Row]:
        return gradient_rows(last_result(study("gradients", samples=SAMPLES)))

    def measure_orders(plant: str) -> list[Row]:
        results = study("orders", plant=plant, seeds=len(seeds))
        return order_rows(last_result(results))

    cases: dict[str, Callable[[], list[Row]]] = {"gradients": measure_gradients}
    for plant in orders_study.RATES:
        cases[f"orders {plant}"] = partial(measure_orders, plant)

    rows = []
    for name, measure_case in cases.items():
        if selection.only in name:
            rows += measure_case()
        else:
            rows += [row for row in selection.before if case_name(row) == name]
    return rows


def case_name(row: Row) -> str:
    """Return the name of a row's case."""
    study_name: str = row["study"]
    return study_name if study_name == "gradients" else f"orders {row['plant']}"


def coarse_gradients() -> AbstractContextManager[Any]:
    """Let the study of gradients try the loosest tolerances and longest steps alone."""
    steps = gradients_study.STEPS
    return mock.patch.multiple(
        gradients_study,
        TOLERANCES=gradients_study.TOLERANCES[:COARSE],
        STEPS={name: steps[name][:COARSE] for name in steps},
    )


def last_result(results: Iterator[Row]) -> Row:
    """Return the complete result of a study."""
    *_, result = results
    return result


def gradient_rows(result: Row) -> list[Row]:
    """Return a row per plant and estimator: the median price of an accurate gradient.

    Prints them too. "error" is the error at which the price holds.
    """
    rows = []
    for plant, found in result["plants"].items():
        for name in found["evaluations"]:
            rows.append(
                {
                    "study": "gradients",
                    "plant": plant,
                    "estimator": name,
                    "error": result["error"],
                    "samples": result["samples"],
                    "evaluations": found["evaluations"][name],
                    "seconds": found["seconds"][name],
                }
            )

    lines = []
    for row in rows:
        evaluations = show_price(row["evaluations"])
        milliseconds = show_price(row["seconds"], 1e3)
        lines.append([row["plant"], row["estimator"], evaluations, milliseconds])
    header = ("plant", "estimator", "evaluations", "ms")
    table(f"a gradient with an error of {result['error']:g}", header, lines)
    return rows


def show_price(found: Row | None, scale: float = 1) -> str:
    """Return a price as text; "about" says that it was extrapolated."""
    if found is None:
        return "-"
    about = "about " if found["beyond"] else ""
    return about + show(scale * found["price"])


def order_rows(result: Row) -> list[Row]:
    """Return a row per seed, initial state and number of first-order updates.

    It holds the cost at which the best learning rate settles, what that and
    Hessian-free spent to reach it for good, and the lowest and final costs of both.
    Prints the rows too.
    """
    common = {
        "study": "orders",
        "plant": result["plant"],
        "rates": result["rates"],
        "kind": result["kind"],
    }
    rows = [{**common, **compared} for compared in result["compared"]]

    header = (
        "seed",
        "updates",
        "best",
        "cost",
        "its evaluations",
        "Hessian-free's",
        "ratio",
        "without products",
        "seconds",
        "Hessian-free's",
        "lowest",
        "final",
        "Hessian-free's lowest",
        "final",
    )
    rates = result["rates"]
    title = f"{result['plant']}: to the cost that the best rate settles at, of {rates}"
    table(title, header, [order_cells(row) for row in rows])
    return rows


def order_cells(row: Row) -> list[Any]:
    """Return the cells of a row of the orders in the printed table."""
    first = row["first_order"]
    # None if Hessian-free did not reach that cost.
    second = row["hf"] or {}
    evaluations = [first["evaluations"], second.get("evaluations"), row["ratio"]]
    without_products = second.get("without products")
    seconds = [first["seconds"], second.get("seconds")]
    figures = [*evaluations, without_products, *seconds]
    about = [row["seed"], row["after"], row["best"], show(row["cost"], 4)]
    names = ("first_order_lowest", "first_order_final", "hf_lowest", "hf_final")
    costs = [show(row[name], 4) for name in names]
    return [*about, *(show(figure) for figure in figures), *costs]
