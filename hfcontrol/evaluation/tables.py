"""The numbers of an evaluation as texts: for a terminal, a notebook and a report."""

from collections.abc import Callable
from typing import Any, NamedTuple

from hfcontrol.evaluation.evaluation import is_beaten


class Table(NamedTuple):
    """Texts of a table: heads of the columns, rows of name and cells, and sentences."""

    heads: list[str]
    rows: list[tuple[str, list[str]]]
    notes: list[str]


class Row(NamedTuple):
    """A row of the table: its name, and how it shows a set of scenarios."""

    name: str
    show: Callable[[dict[str, Any]], str]


def evaluation_table(evaluation: dict[str, Any]) -> Table:
    """Return the table of an evaluation, a column per set of scenarios.

    An environment has no rows, and its return is a sentence.
    """
    if "return" in evaluation:
        return Table([], [], [_describe_return(evaluation)])
    sets = evaluation["sets"]
    heads = [name.replace("_", "-") for name in sets]
    rows = [
        (row.name, [row.show(numbers) for numbers in sets.values()])
        for row in _table_rows(list(sets.values()))
    ]
    notes = [
        f"{name.replace('_', '-')}: {sentence}"
        for name, numbers in sets.items()
        for sentence in numbers.get("not_finite", ())
    ]
    if any(is_beaten(numbers["ratio"]) for numbers in sets.values()):
        notes.append(
            "the controller is better than the optimum, which is thus not the best "
            "known: every ratio here may be too low"
        )
    if evaluation["noisy"]:
        notes.append(
            "the optimum knows all noise, pushes and jitter in advance: a bound that "
            "no controller attains"
        )
    return Table(heads, rows, notes)


def _describe_return(evaluation: dict[str, Any]) -> str:
    """Return what is said of an environment, which has no optimum to compare with."""
    found = evaluation["return"]
    return (
        f"return of the most likely actions over {evaluation['episodes']} episodes: "
        f"{found['mean']:.1f} +- {found['deviation']:.1f}, from {found['min']:.1f} to "
        f"{found['max']:.1f}"
    )


def _table_rows(sets: list[dict[str, Any]]) -> list[Row]:
    """Return the rows of the table, with the units of the first set."""
    first = sets[0]
    count = len(first["errors"])
    errors = [_error_row(k, first["errors"][k], count) for k in range(count)]
    rows = [
        Row("trials", lambda s: f"{s['trials']}"),
        Row("loss", lambda s: f"{s['loss']:.3e}"),
        *_judgement_rows(sets),
        *errors,
    ]
    # A tank has no speed, and only a reach has a straight line to deviate from.
    if first["final_speed"]:
        speed = f"final speed{_unit(first['final_speed'])}"
        rows.append(Row(speed, lambda s: _show_spread(s["final_speed"])))
    rows.append(Row("peak controls", _show_peaks))
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
