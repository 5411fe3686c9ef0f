"""The code stays as readable as it is: the bars of tools/density."""

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def density():
    """The script tools/density as a module."""
    loader = SourceFileLoader("density", str(ROOT / "tools" / "density"))
    module = module_from_spec(spec_from_loader("density", loader))
    loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=["hfcontrol", "hfcontrol/kernels"])
def package(request, density):
    """The counts of the package, and of the kernels alone, its densest code."""
    return density.count_folder(ROOT / request.param)


def test_statements_stay_short(density, package):
    assert package.nodes / package.statements <= density.MOST_NODES_PER_STATEMENT
    large = 1000 * len(package.large) / package.code_lines
    assert large <= density.MOST_LARGE_PER_1000_LINES, package.large


def test_comments_say_why_often_enough(density, package):
    share = 100 * package.comments / package.code_lines
    assert share >= density.LEAST_COMMENTS_PER_100_LINES


def test_functions_have_few_arguments_and_types(package):
    assert package.many_arguments == []
    assert package.unannotated == []


@pytest.mark.parametrize("folder", ["hfcontrol", "plants", "tests", "tools"])
def test_no_line_is_too_wide(density, folder):
    assert density.count_folder(ROOT / folder).wide == []


def test_at_most_five_modules_are_long(package):
    assert len(package.long_modules) <= 5


def test_the_density_of_a_known_source(density, tmp_path, monkeypatch):
    """Counts by hand: an assignment of 4 nodes, a function of 3 and its return of 3."""
    monkeypatch.setattr(density, "ROOT", tmp_path)
    path = tmp_path / "known.py"
    path.write_text("# why\nx = 1\n\n\ndef f(y):\n    return y\n", encoding="utf-8")
    count = density.count_file(path)
    # Assign, Name, Store, Constant; FunctionDef, arguments, arg; Return, Name, Load.
    assert (count.statements, count.nodes) == (3, 4 + 3 + 3)
    assert (count.lines, count.comments, count.code_lines) == (6, 1, 3)
    assert count.unannotated == ["known.py:5 f: y"]
