"""Many alterations in one run of pytest: each in a process forked after collection.

To import the program and its tests takes seconds, and most tests take milliseconds. So
both are imported once. A forked process then gives the altered function its new code,
and runs the tests that concern it.

That works for code inside functions. Constants, defaults and bodies of classes have
done their work when a module has been imported: they need a process that imports the
altered file (trial.py).
"""

import gc
import resource
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from mutation.alterations import Alteration
from mutation.trial import Result, fork_and_wait, prepare

# Bit of a code object that functions have, and modules and classes have not.
IS_FUNCTION = 0x1


@dataclass
class Attempt:
    """An alteration, the ids of the tests that concern it, and its limit [s]."""

    alteration: Alteration
    tests: list[str]
    cpu_limit: int


Report = Callable[[Attempt, Result], None]


def run_session(
    tree: Path, mode: str, attempts: list[Attempt], checks: list[str], report: Report
) -> Result:
    """Make attempts on a copy of the program, and report what came of each.

    The outcome of an attempt is "import" if the altered code runs at import only. The
    session ends at once, "failed", if tests `checks` fail for the unaltered program.
    """
    session = Session(tree, attempts, checks, report)
    return fork_and_wait(lambda: _collect_and_try(session, mode), tree, most=None)


def _collect_and_try(session: "Session", mode: str) -> Result:
    tree, attempts = session.tree, session.attempts
    prepare(tree, mode)
    import pytest

    files = {test.partition("::")[0] for a in attempts for test in a.tests}
    options = ["-q", "-s", "-p", "no:cacheprovider", "-p", "no:xdist"]
    basetemp = ["--basetemp", str(tree.parent / "pytest")]
    pytest.main([*options, *basetemp, *sorted(files)], plugins=[session])
    return Result("done" if session.is_complete else "failed", by=session.fault)


class Session:
    """A plugin of pytest whose loop makes the attempts in the place of all tests."""

    def __init__(
        self, tree: Path, attempts: list[Attempt], checks: list[str], report: Report
    ) -> None:
        self.tree = tree
        self.attempts = attempts
        self.checks = checks
        self.report = report
        self.is_complete = False
        self.fault = "the tests cannot be collected"
        self.failed: list[str] = []

    def pytest_runtestloop(self, session: Any) -> bool:
        """Fork a process for each attempt."""
        items = {item.nodeid: item for item in session.items}
        checks = [items[test] for test in self.checks if test in items]
        unaltered = fork_and_wait(lambda: self._run_tests(checks), self.tree)
        self.fault = unaltered.by
        if unaltered.outcome != "unnoticed":
            return True
        for attempt in self.attempts:
            chosen = [items[test] for test in attempt.tests if test in items]
            work = partial(self._try, attempt, chosen)
            result = fork_and_wait(work, self.tree)
            self.report(attempt, result)
        self.is_complete = True
        return True

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note a failure."""
        if report.failed:
            self.failed.append(report.nodeid)

    def _try(self, attempt: Attempt, items: list[Any]) -> Result:
        """Change the code, and run tests until one of them fails."""
        limit = attempt.cpu_limit
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
        if not change_code(self.tree, attempt.alteration):
            return Result("import")
        return self._run_tests(items)

    def _run_tests(self, items: list[Any]) -> Result:
        seconds: dict[str, float] = {}
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            seconds[item.nodeid] = 0.0
            if self.failed:
                return Result("noticed", self.failed[0], seconds=seconds)
        return Result("unnoticed", seconds=seconds)


def change_code(tree: Path, alteration: Alteration) -> bool:
    """Give the functions that an alteration is in their new code.

    Returns False if that is not possible: the code runs at import, or nothing has
    imported it.
    """
    path = tree / alteration.file
    source = path.read_bytes()
    before = compile(source, str(path), "exec")
    after = compile(alteration.apply(source), str(path), "exec")
    if not same_code(before, after):
        return False
    changed = [
        (old, new)
        for old, new in zip(functions_in(before), functions_in(after), strict=True)
        if not same_code(old, new) or not same_inner_code(old, new)
    ]
    if not changed:
        return False
    living = defaultdict(list)
    for found in gc.get_objects():
        if type(found) is FunctionType:
            living[_place_of(found.__code__)].append(found)
    exchanged: list[tuple[FunctionType, CodeType]] = []
    for old, new in changed:
        if not living[_place_of(old)]:
            return False
        # Those inside it too: some were made when their module was imported.
        for one, other in _with_inner(old, new):
            exchanged += [(function, other) for function in living[_place_of(one)]]
    if any(len(f.__code__.co_freevars) != len(c.co_freevars) for f, c in exchanged):
        return False
    for function, code in exchanged:
        function.__code__ = code
    return True


def _with_inner(old: CodeType, new: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    """Yield an old and a new code object, and functions in them that differ."""
    yield old, new
    # Without a statement there may be fewer.
    if len(_inner(old)) == len(_inner(new)):
        for one, other in zip(_inner(old), _inner(new), strict=True):
            if one != other:
                yield from _with_inner(one, other)


def _place_of(code: CodeType) -> tuple[str, str, int]:
    return code.co_filename, code.co_name, code.co_firstlineno


def same_code(a: CodeType, b: CodeType) -> bool:
    """Whether two code objects are equal, but for lines and the functions in them."""
    return _describe(a) == _describe(b)


def same_inner_code(a: CodeType, b: CodeType) -> bool:
    """Whether the functions in two equal code objects are equal."""
    pairs = zip(_inner(a), _inner(b), strict=True)
    return all(same_code(x, y) and same_inner_code(x, y) for x, y in pairs)


def functions_in(code: CodeType) -> Iterator[CodeType]:
    """Yield the functions of a module, those of its classes too, but no inner ones."""
    for inner in _inner(code):
        if inner.co_flags & IS_FUNCTION:
            yield inner
        else:
            yield from functions_in(inner)


def _inner(code: CodeType) -> list[CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def _describe(code: CodeType) -> tuple[object, ...]:
    constants = [
        # Signs and types count: 0.0 equals -0.0, and 1 equals True.
        "code" if isinstance(constant, CodeType) else repr(constant)
        for constant in code.co_consts
    ]
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return code.co_code, constants, names
