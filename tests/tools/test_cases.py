"""Cases and seeds of benchmarks that are measured one at a time."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from benchmarks import cells
from benchmarks.cases import Selection, join_seeds, measure_selected

from hfcontrol.errors import UsageError


def row(name, seeds, ratio, seconds=1.0):
    """A row of a section: a list with a number for each seed, and one number."""
    return {"name": name, "seeds": seeds, "ratio": ratio, "seconds": seconds}


def test_seeds_of_two_rows_are_joined_in_order_and_new_ones_win():
    old = row("a", [0, 2], [1.0, 3.0], 5.0)
    joined = join_seeds(old, row("a", [1, 2], [2.0, 9.0], 4.0))
    assert joined == row("a", [0, 1, 2], [1.0, 2.0, 9.0], 5.0)


@pytest.mark.parametrize("old, new", [(None, [2.0]), ([1.0], None)])
def test_what_one_row_lacks_is_not_invented(old, new):
    joined = join_seeds(row("a", [0], old), row("a", [1], new))
    assert joined["seeds"] == [0, 1] and joined["ratio"] is None


def test_only_the_chosen_cases_are_measured_and_others_keep_their_rows():
    before = [row("arm reach", [0], [1.0]), row("cart balance", [0], [2.0])]
    cases = {"cart balance": 1, "arm reach": 2, "arm follow": 3}
    measured = []

    def measure(case):
        measured.append(case)
        return row("arm reach", [1], [7.0])

    selection = Selection("reach", before, add=True)
    new, rows = measure_selected(cases, selection, lambda row: row["name"], measure)
    assert measured == [2]
    assert new == [row("arm reach", [0, 1], [1.0, 7.0])]
    # In the order of the cases, without the one that was never measured.
    assert rows == [before[1], *new]


def test_medians_are_not_joined():
    with pytest.raises(UsageError, match="medians"):
        cells.measure([0], selection=Selection(add=True))
