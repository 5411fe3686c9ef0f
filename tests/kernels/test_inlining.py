"""Inlining of helpers: results stay the same, and no call is left that can go."""

import ast

import pytest

from hfcontrol.kernels.inlining import inline_helpers

PIECE = '''
def njit(**options):
    return lambda function: function

@njit(error_model="numpy", inline="always")
def twice(a):
    """Twice a."""
    return 2 * a

@njit(error_model="numpy", inline="always")
def fill(values, start):
    for i in range(len(values)):
        start += twice(i)
        values[i] = start

@njit(error_model="numpy", inline="always")
def both(a):
    b = twice(a)
    return a, b

@njit(error_model="numpy", inline="always")
def sign(a):
    if a < 0:
        return -1
    return 1

@njit()
def LATE():
    return later(3)

later = twice

@njit()
def run(start):
    i, values, b = 7, [0, 0, 0], 10
    fill(values, start)
    if start > 1:
        fill(values[:2], twice(twice(start)))
    c, d = both(b + i)
    e = twice(c) + twice(d) if start > 2 else sign(start)
    return i, b, start, values, c, d, e, twice(sign(-start))
'''


def defined(source):
    names = {}
    exec(source, names)
    return names


def calls(source, function):
    """The names that a function of a source calls."""
    node = next(
        n
        for n in ast.parse(source).body
        if isinstance(n, ast.FunctionDef) and n.name == function
    )
    return {
        n.func.id
        for statement in node.body
        for n in ast.walk(statement)
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
    }


@pytest.mark.parametrize("start", [1, 2, 3])
def test_inlined_code_computes_the_same(start):
    """The code has some difficult cases.

    Helpers and callers share names, a helper changes its argument, and some parts are
    not evaluated.
    """
    assert defined(inline_helpers(PIECE))["run"](start) == defined(PIECE)["run"](start)


def test_all_calls_that_can_be_inlined_are():
    source = inline_helpers(PIECE)
    # `twice` and `sign` where they may not be evaluated.
    assert calls(source, "run") == {"range", "len", "sign", "twice"}
    assert calls(source, "fill") == {"range", "len"} and calls(source, "both") == set()


def test_call_of_a_name_that_is_defined_again_stays():
    """A call means what the name means when the call is made."""
    again = (
        PIECE
        + "\n\n@njit()\ndef call(a):\n    return twice(a)\n"
        + "\n\n@njit()\ndef twice(a):\n    return 3 * a\n"
    )
    names = defined(inline_helpers(again))
    assert calls(inline_helpers(again), "call") == {"twice"} and names["call"](5) == 15
    assert names["LATE"]() == 6


def test_local_name_of_the_caller_is_kept():
    source = (
        PIECE
        + "\n\n@njit()\ndef call(a):\n    twice = 5\n    return both(a)[1] + twice\n"
    )
    assert defined(inline_helpers(source))["call"](3) == 11


def test_new_names_differ_from_the_callers():
    source = (
        PIECE
        + "\n\n@njit()\ndef call(a):\n    b_1 = a_2 = 1\n"
        + "    return both(a + 1)[1] + b_1 + a_2\n"
    )
    assert defined(inline_helpers(source))["call"](3) == 10


def test_helper_that_reads_a_shadowed_name_is_not_inlined():
    other = (
        "\n\nK = 7\n\n@njit(inline='always')\ndef read(a):\n    return a + K\n\n"
        "@njit()\ndef call(a):\n    K = 1\n    return read(a) + K\n"
    )
    assert defined(inline_helpers(PIECE + other))["call"](3) == 11


def test_alias_of_a_helper_is_inlined():
    source = inline_helpers(PIECE + "\n\n@njit()\ndef call(a):\n    return later(a)\n")
    assert calls(source, "call") == set() and defined(source)["call"](5) == 10
