"""Cases of a section that can be measured one at a time, and seeds one at a time."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from benchmarks.report import Row

Case = TypeVar("Case")


class Selection(NamedTuple):
    """Which cases of a section are measured, and what becomes of its stored rows.

    Cases without the words `only` in their name keep their rows of `before`. With
    `add`, the seeds are added to those of a row before instead of replacing them.
    """

    only: str = ""
    before: Sequence[Row] = ()
    add: bool = False


EVERYTHING = Selection()


def measure_selected(
    cases: Mapping[str, Case],
    selection: Selection,
    name_of: Callable[[Row], str],
    measure: Callable[[Case], Row],
) -> tuple[list[Row], list[Row]]:
    """Return the new rows, and all rows in the order of the cases.

    `name_of` gives the name of a row's case.
    """
    known = {name_of(row): row for row in selection.before}
    new: dict[str, Row] = {}
    for name, case in cases.items():
        if selection.only not in name:
            continue
        row = measure(case)
        if selection.add and name in known:
            row = join_seeds(known[name], row)
        new[name] = row
    merged = {**known, **new}
    return list(new.values()), [merged[name] for name in cases if name in merged]


def join_seeds(old: Row, new: Row) -> Row:
    """Return a row with the seeds of two; a seed of both is taken from the new one.

    Lists with an entry for each seed are joined; `seconds`, if it is one number, is the
    larger. What one row lacks is None.
    """
    seeds = sorted({*old["seeds"], *new["seeds"]})
    joined = {**new, "seeds": seeds}
    for name in new.keys() - {"seeds"}:
        pair = old[name], new[name]
        if all(is_by_seed(row, name) for row in (old, new)):
            by_seed = dict(zip(old["seeds"], old[name], strict=True))
            by_seed |= dict(zip(new["seeds"], new[name], strict=True))
            joined[name] = [by_seed[seed] for seed in seeds]
        elif None in pair and any(is_by_seed(row, name) for row in (old, new)):
            joined[name] = None
        elif name == "seconds":
            joined[name] = max(pair)
    return joined


def is_by_seed(row: Row, name: str) -> bool:
    """Whether an entry of a row is a list with a number for each of its seeds."""
    values = row[name]
    return isinstance(values, list) and len(values) == len(row["seeds"])
