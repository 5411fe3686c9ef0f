"""tools/mutate: what it alters, which tests it chooses, and what it counts."""

import json
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest
from scipy.stats import binomtest

ROOT = Path(__file__).parents[2]

SOURCE = '''"""A text stays as it is."""
__all__ = ["f"]


def f(x: int = 1, i: int = 0) -> int:
    """Return something."""
    if x < 2 and not i:
        raise ValueError(f"{x + 1} is wrong")
    y = x[i] + g(x, i)
    y = y * 2
    return -y
'''

# By hand, each line's alterations in brackets.
EXPECTED = {
    "if x < 2 and not i:": {
        "if (x < 2 or not i):",
        "if (x <= 2) and not i:",
        "if (x >= 2) and not i:",
        "if x < 3 and not i:",
        "if x < (1) and not i:",
        "if x < (-2) and not i:",
        "if x < 2 and (i):",
    },
    "y = x[i] + g(x, i)": {
        "y = (x[i] - g(x, i))",
        "y = x[i - 1] + g(x, i)",
        "y = x[i + 1] + g(x, i)",
        "y = x[i] + g(i, x)",
    },
    "y = y * 2": {
        "pass",
        "y = (y / 2)",
        "y = y * 3",
        "y = y * (1)",
        "y = y * (-2)",
    },
    "return -y": {"return (y)"},
    'raise ValueError(f"{x + 1} is wrong")': {"pass"},
    "def f(x: int = 1, i: int = 0) -> int:": {
        "def f(x: int = 2, i: int = 0) -> int:",
        "def f(x: int = (0), i: int = 0) -> int:",
        "def f(x: int = (-1), i: int = 0) -> int:",
        "def f(x: int = 1, i: int = 1) -> int:",
        "def f(x: int = 1, i: int = (-1)) -> int:",
    },
}


@pytest.fixture(scope="module")
def mutate():
    """The script tools/mutate as a module."""
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        loader = SourceFileLoader("mutate", str(ROOT / "tools" / "mutate"))
        module = module_from_spec(spec_from_loader("mutate", loader))
        loader.exec_module(module)
    finally:
        sys.path.remove(str(ROOT / "tools"))
    return module


@pytest.fixture
def alterations(mutate, tmp_path):
    """All alterations of the source above."""
    path = tmp_path / "f.py"
    path.write_text(SOURCE)
    return mutate.alterations_of(path, "hfcontrol/optim/f.py")


def test_the_alterations_of_a_known_source(alterations):
    found = {}
    for one in alterations:
        found.setdefault(one.before, set()).add(one.after)
    assert found == EXPECTED


def test_an_alteration_changes_its_own_bytes_alone(mutate, alterations):
    source = SOURCE.encode()
    for one in alterations:
        altered = one.apply(source)
        assert altered.startswith(source[: one.start])
        assert altered.endswith(source[one.end :])
        assert mutate.is_another_program(source, altered)


@pytest.mark.parametrize("altered", [SOURCE + "\n# why\n", SOURCE + "f("])
def test_other_layout_and_wrong_syntax_are_no_other_program(mutate, altered):
    assert not mutate.is_another_program(SOURCE.encode(), altered.encode())


def test_lines_are_those_of_a_statement_or_of_its_header(alterations):
    lines = {one.before: (one.line, one.last) for one in alterations}
    assert lines["if x < 2 and not i:"] == (7, 7)
    assert lines["y = x[i] + g(x, i)"] == (9, 9)


def test_the_same_seed_draws_the_same_places(mutate, monkeypatch):
    found = mutate.all_alterations(["hfcontrol/optim/excess.py"])
    first, second, other = (mutate.draw(found, 8, seed) for seed in (3, 3, 4))
    assert first == second != other
    places = {(one.start, one.end, one.kind) for one in first}
    assert len(places) == 8
    assert all(mutate.locate(one) == one for one in first)


MODULE = """
from functools import cache

LIMIT = 3

def add(x, y=1):
    return x + y

class Thing:
    size = 2

    @property
    def rows(self):
        return [2 * i for i in range(self.size)]

    @staticmethod
    def fits(x):
        return x < LIMIT

@cache
def less(x):
    return x - 4

def adder(step):
    def go(x):
        return x * step
    return go

# Made at import, from the code of a function in a function.
double = adder(2)
"""

# What the module's functions return, before and after some alterations.
BEFORE = (6, [0, 2], False, 5, 8)
AFTER = {
    "return (x - y)": (4, [0, 2], False, 5, 8),
    "return [(2 / i) for i in range(self.size)]": (6, ZeroDivisionError, False, 5, 8),
    "return (x <= LIMIT)": (6, [0, 2], True, 5, 8),
    "return x - 5": (6, [0, 2], False, 4, 8),
    "return (x / step)": (6, [0, 2], False, 5, 2),
    # What has done its work when a module is imported.
    "LIMIT = 4": None,
    "size = 3": None,
    "def add(x, y=2):": None,
}


def values_of(module):
    """What the functions of the module above return."""
    try:
        rows = module.Thing().rows
    except ZeroDivisionError as error:
        rows = type(error)
    less = module.less.__wrapped__(9)
    fits = module.Thing.fits(3)
    return module.add(5), rows, fits, less, module.double(4)


def test_living_functions_get_altered_code(mutate, tmp_path):
    """Methods, properties and cached functions too; their names stay what they are."""
    change_code = sys.modules["mutation.session"].change_code
    path = tmp_path / "living.py"
    path.write_text(MODULE)
    found = {a.after: a for a in mutate.alterations_of(path, path.name)}
    for after, values in AFTER.items():
        loader = SourceFileLoader("living", str(path))
        module = module_from_spec(spec_from_loader("living", loader))
        loader.exec_module(module)
        assert values_of(module) == BEFORE
        assert change_code(tmp_path, found[after]) is (values is not None)
        assert values_of(module) == (values or BEFORE)


@pytest.fixture
def measured(mutate, tmp_path):
    """Four tests: of a line, of another one, of a shared fixture, and of nothing."""
    names = ["a.py::one", "a.py::two", "b.py::three", "c.py::four"]
    lines = {
        "9": ["compiled a.py::one"],
        "10": ["compiled a.py::two"],
        "11": ["compiled b.py::", "compiled import"],
        "5": ["compiled import"],
    }
    data = {
        "seconds": {f"compiled {name}": 1.0 for name in names},
        "lines": {"hfcontrol/optim/f.py": lines},
    }
    path = tmp_path / "measured.json"
    path.write_text(json.dumps(data))
    return mutate.Measured(path)


@pytest.mark.parametrize(
    "before, tests",
    [
        ("y = x[i] + g(x, i)", {"a.py::one"}),
        ("y = y * 2", {"a.py::two"}),
        # A fixture that tests share stands for all of their file.
        ("return -y", {"b.py::three"}),
        # What runs at import concerns every test of the file.
        (
            "def f(x: int = 1, i: int = 0) -> int:",
            {"a.py::one", "a.py::two", "b.py::three"},
        ),
    ],
)
def test_an_alteration_meets_the_tests_that_run_its_lines(
    measured, alterations, before, tests
):
    one = next(a for a in alterations if a.before == before)
    assert measured.tests_of(one) == {f"compiled {name}" for name in tests}


@pytest.mark.parametrize("hits, n", [(0, 10), (7, 10), (276, 300), (300, 300)])
def test_the_interval_is_that_of_wilson(mutate, hits, n):
    known = binomtest(hits, n).proportion_ci(method="wilson")
    assert mutate.interval(hits, n) == pytest.approx((known.low, known.high), abs=1e-4)


def test_the_report_separates_what_is_listed(mutate, tmp_path, monkeypatch, capsys):
    known, new = (
        {
            "file": "hfcontrol/optim/f.py",
            "line": 9,
            "kind": "constant",
            "before": f"{name} = 1",
            "after": f"{name} = 2",
            "outcome": "unnoticed",
            "tests": 3,
        }
        for name in ("known", "new")
    )
    listed = tmp_path / "listed.json"
    listed.write_text(json.dumps([{**known, "why": "it is a name"}]))
    monkeypatch.setattr(mutate, "EQUIVALENT", listed)
    mutate.report([known, new, *({**new, "outcome": "noticed"} for _ in range(2))])
    out = capsys.readouterr().out
    assert "new = 2" in out and "known = 2" not in out
    assert "noticed: 2 of 4 (50.0 %" in out and "1 are listed" in out


def test_what_is_listed_is_in_the_source(mutate):
    """A list that is older than the code excuses nothing."""
    rows = json.loads((ROOT / "tools" / "mutate.json").read_text())
    for row in rows:
        text = " ".join((ROOT / row["file"]).read_text(encoding="utf-8").split())
        assert row["before"] in text, row
        assert row["why"]
