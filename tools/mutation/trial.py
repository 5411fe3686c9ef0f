"""One run of chosen tests in a process of its own, on a copy of the tree.

Modes: `compiled` is how users run the program; `python` runs kernels without Numba, so
that nothing is compiled again for an altered kernel; `simulated` runs GPU code in
Numba's simulator.
"""

import json
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

MODES = ("python", "compiled", "simulated")
MODE_VARIABLES = {
    "python": "NUMBA_DISABLE_JIT",
    "compiled": "",
    "simulated": "NUMBA_ENABLE_CUDASIM",
}

# What the tests import; loaded once, before processes are forked.
LIBRARIES = "numba scipy.optimize scipy.linalg scipy.stats pytest h5py click pydantic"

MOST_MEMORY = 16 * 2**30
# Tests that sleep use no processor time: a limit of the clock for a busy machine.
MOST_SECONDS = 1800


@dataclass
class Trial:
    """What to run: a mode, arguments of pytest, and the ids of chosen tests (or all).

    With `measure`, the result also has the lines that each test runs.
    """

    tree: str
    mode: str
    arguments: list[str]
    chosen: list[str] | None = None
    cpu_limit: int = 600
    measure: bool = False
    kernels_of: str = ""


@dataclass
class Result:
    """What came of a trial.

    `seconds` of each test are those of the processor; `lines` maps a file to the tests
    of each of its lines, and a test that stands for all of its file ends with `::`.
    """

    outcome: str
    by: str = ""
    cpu: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    lines: dict[str, dict[str, list[str]]] = field(default_factory=dict)


def load_libraries() -> None:
    """Import what all trials need, to be forked with it."""
    for name in LIBRARIES.split():
        __import__(name)


def run_trial(trial: Trial) -> Result:
    """Run a trial in a new process, and return what came of it."""
    tree = Path(trial.tree)
    # The simulator must be asked for before Numba is imported.
    method = "spawn" if trial.mode == "simulated" else "fork"
    context: Any = multiprocessing.get_context(method)
    return _wait(context.Process(target=_run, args=(trial,)), tree)


def fork_and_wait(
    work: Callable[[], Result], tree: Path, most: float | None = MOST_SECONDS
) -> Result:
    """Return what a function returns in a forked process, within some seconds."""
    context: Any = multiprocessing.get_context("fork")
    return _wait(context.Process(target=_answer, args=(work, tree)), tree, most)


def _wait(process: Any, tree: Path, most: float | None = MOST_SECONDS) -> Result:
    """Run a process to its end, and return its answer.

    One that ends without an answer, by its limit of time or a crash, noticed the
    alteration.
    """
    before = _children_cpu()
    process.start()
    process.join(most)
    late = process.is_alive()
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.join()
    cpu = _children_cpu() - before
    path = _answer_path(tree, process.pid)
    if path.exists():
        answer = json.loads(path.read_text())
        path.unlink()
        return Result(**{**answer, "cpu": cpu})
    is_time = late or process.exitcode in (-signal.SIGXCPU, -signal.SIGKILL)
    outcome = "hang" if is_time else "crash"
    return Result(outcome, by=f"exit {process.exitcode}", cpu=cpu)


def _answer_path(tree: Path, process_id: int) -> Path:
    return tree.parent / f"answer-{process_id}.json"


def _answer(work: Callable[[], Result], tree: Path) -> None:
    # A group of its own, to be ended as a whole.
    os.setpgrp()
    result = work()
    _answer_path(tree, os.getpid()).write_text(json.dumps(asdict(result)))
    sys.stdout.flush()
    os._exit(0)


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _run(trial: Trial) -> None:
    _answer(lambda: _prepare_and_run(trial), Path(trial.tree))


def _prepare_and_run(trial: Trial) -> Result:
    prepare(Path(trial.tree), trial.mode)
    limit = trial.cpu_limit
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
    # An altered file and its original may have the same size and second.
    sys.dont_write_bytecode = not trial.measure
    if trial.kernels_of:
        _share_kernels(Path(trial.tree), Path(trial.kernels_of))
    return _run_pytest(trial)


def prepare(tree: Path, mode: str) -> None:
    """Make this process one that runs the tests of a copy of the program."""
    home = tree.parent / "home"
    home.mkdir(exist_ok=True)
    # Altered code may write anywhere: a home of its own keeps that away from the user.
    os.environ.update(HOME=str(home), TMPDIR=str(home), MPLBACKEND="Agg")
    os.environ.update(PYTHONPATH=os.pathsep.join([str(tree), str(tree / "tests")]))
    if MODE_VARIABLES[mode]:
        os.environ[MODE_VARIABLES[mode]] = "1"
    os.chdir(tree)
    sys.path[:0] = [str(tree), str(tree / "tests")]
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))
    with open(tree.parent / "output.txt", "w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    if mode == "python":
        import numba

        numba.config.DISABLE_JIT = 1  # type: ignore[attr-defined]


def _run_pytest(trial: Trial) -> Result:
    import pytest

    watcher = _Watcher(trial)
    folder = Path(trial.tree).parent / "pytest"
    arguments = ["-q", "-p", "no:cacheprovider", "--basetemp", str(folder)]
    if not trial.measure:
        arguments.append("-x")
    try:
        status = pytest.main([*arguments, *trial.arguments], plugins=[watcher])
    except BaseException as error:
        # An altered module that a plugin imports may raise anything.
        return Result("noticed", by=f"{type(error).__name__} before the tests")
    result = watcher.result()
    if status not in (0, 1, 5) and not result.by:
        # The tests cannot be collected.
        result.outcome, result.by = "noticed", f"pytest ends with {int(status)}"
    return result


def _share_kernels(tree: Path, folder: Path) -> None:
    """Fill the cache of an altered tree with the kernels of the unaltered one.

    The folder's name is a hash of the sources. The names of the files in it are hashes
    of the code, so that only kernels that the alteration touches are compiled again.
    """
    spec = spec_from_file_location("cache_only", tree / "hfcontrol/kernels/cache.py")
    assert spec is not None and spec.loader is not None
    cache = module_from_spec(spec)
    root = tree.parent / "cache"
    os.environ["HFCONTROL_CACHE"] = str(root)
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(mode=0o700)
    # The alteration may be in this very module.
    with suppress(Exception):
        spec.loader.exec_module(cache)
        name = f"kernels_{cache.hash_sources(cache.kernel_sources())}"
        shutil.copytree(folder, root / name)
        (root / name).chmod(0o700)


class _Watcher:
    """A plugin of pytest that chooses tests, and notes their time and their lines."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.seconds: dict[str, float] = {}
        self.failed: list[str] = []
        self.coverage: Any = None
        if trial.measure:
            import coverage

            root = Path(trial.tree) / "hfcontrol"
            self.coverage = coverage.Coverage(data_file=None, source=[str(root)])
            self.coverage.start()
            self.coverage.switch_context("import")

    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        """Keep the chosen tests, in the order in which they were chosen."""
        if self.trial.chosen is None:
            return
        place = {name: i for i, name in enumerate(self.trial.chosen)}
        kept = [item for item in items if item.nodeid in place]
        items[:] = sorted(kept, key=lambda item: place[item.nodeid])

    def pytest_runtest_logstart(self, nodeid: str, location: Any) -> None:
        """Begin to measure a test."""
        self.began = time.process_time()
        if self.coverage is not None:
            self.coverage.switch_context(nodeid)

    def pytest_runtest_logfinish(self, nodeid: str, location: Any) -> None:
        """Note the time of a test."""
        self.seconds[nodeid] = time.process_time() - self.began

    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> None:
        """What a shared fixture runs, it runs for all tests of the file."""
        if self.coverage is not None and fixturedef.scope != "function":
            file = request.node.nodeid.partition("::")[0]
            self.coverage.switch_context(f"{file}::")

    def pytest_fixture_post_finalizer(self, fixturedef: Any, request: Any) -> None:
        """Nothing is measured while fixtures end."""

    def pytest_runtest_call(self, item: Any) -> None:
        """Measure the test again, after its fixtures."""
        if self.coverage is not None:
            self.coverage.switch_context(item.nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note a failure."""
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_collectreport(self, report: Any) -> None:
        """Note a file that cannot be imported."""
        if report.failed:
            self.failed.append(f"{report.nodeid} (import)")

    def result(self) -> Result:
        """Return what came of all tests."""
        outcome = "noticed" if self.failed else "unnoticed"
        by = self.failed[0] if self.failed else ""
        result = Result(outcome, by, seconds=self.seconds, failed=self.failed)
        if self.coverage is not None:
            self.coverage.stop()
            result.lines = dict(self._lines())
        return result

    def _lines(self) -> Iterator[tuple[str, dict[str, list[str]]]]:
        data = self.coverage.get_data()
        for file in data.measured_files():
            name = str(Path(file).relative_to(self.trial.tree))
            lines = data.contexts_by_lineno(file)
            yield name, {str(n): tests for n, tests in lines.items()}
