"""Terminals, pipes, signals, home folders and settings of other programs."""

import errno
import io
import os
import signal
import subprocess
import sys

import pytest
from trainings import ENVIRONMENT, SMALL_OPTIONS, call, complaint, write_cart

import hfcontrol as hf
from hfcontrol.cli import streams
from hfcontrol.cli.progress import Silent
from hfcontrol.optim.hessian_free import HessianFree
from hfcontrol.runs.settings import Settings


def run_python(*words, **environment):
    """Run Python in a new process; returns (exit status, stdout, stderr)."""
    done = subprocess.run(
        [sys.executable, *words],
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_package_is_a_program():
    version = f"hfcontrol, version {hf.__version__}\n"
    assert run_python("-m", "hfcontrol", "--version") == (0, version, "")


@pytest.mark.parametrize("module", ["hfcontrol.api", "hfcontrol.cli.app"])
@pytest.mark.parametrize("words", [["-m", "hfcontrol"], ["mine.py", "hfcontrol"]])
def test_an_interrupt_while_the_program_is_imported(module, words):
    """It ends the command line in one line; in another program it is an exception."""
    code = f"""
import sys

class Finder:
    def find_spec(self, name, *others):
        if name == {module!r}:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Finder())
sys.orig_argv[1:] = {words}
import hfcontrol.cli

hfcontrol.cli.main(["--version"])
"""
    status, out, errors = run_python("-c", code)
    is_program = words[0] == "-m" or module.endswith("app")
    assert not out and ("Traceback" in errors) != is_program
    if is_program:
        assert (status, errors) == (130, "\nhfcontrol: stopped\n")


def test_numba_and_matplotlib_of_other_programs_do_not_matter():
    """No threading layer of Numba is used, and no backend of matplotlib for files."""
    code = """
from hfcontrol.arrays.threads import run_in_parallel
from hfcontrol.figures.output import figure_file
run_in_parallel(8, lambda first, end: print(end - first))
"""
    surroundings = {
        "NUMBA_THREADING_LAYER": "nonsense",
        "NUMBA_NUM_THREADS": "1",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
    assert run_python("-c", code, **surroundings) == (0, "8\n", "")


@pytest.mark.parametrize(
    "encoding, shown",
    [
        ("ascii", b"h\\xe9\\u2192\\udcff"),
        ("latin-1", b"h\xe9\\u2192\\udcff"),
        ("cp1252", b"h\xe9\\u2192\\udcff"),
        ("utf-8", "h\xe9\u2192\\udcff".encode()),
    ],
)
def test_terminals_show_what_they_can(monkeypatch, encoding, shown):
    """The last character stands for a byte of a file's name that is no UTF-8."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", None)
    streams.prepare_streams()
    print("h\xe9\u2192\udcff", end="")
    print("nobody listens", file=sys.stderr)
    assert stream.buffer.getvalue() == shown
    sys.stderr.close()


class Full(io.StringIO):
    """A stream that cannot be written."""

    def __init__(self, number):
        super().__init__()
        self.error = OSError(number, os.strerror(number))

    def write(self, text):
        raise self.error


@pytest.mark.parametrize(
    "number, said",
    [
        (errno.EPIPE, ""),
        (
            errno.ENOSPC,
            "hfcontrol: cannot write the output: No space left on device\n",
        ),
    ],
)
def test_an_output_that_takes_nothing(monkeypatch, capsys, number, said):
    monkeypatch.setattr(sys, "stdout", Full(number))
    status, _, err = call(capsys, "plants")
    assert (status, err) == (1, said)


@pytest.mark.parametrize(
    "error, status, words",
    [
        ('EOFError("the robot is gone")', 2, "the robot is gone"),
        ("BrokenPipeError()", 2, "line 9: step_batch fails"),
        ('SystemExit("bye")', 2, "bye"),
        ("MemoryError()", 2, "line 9: step_batch fails"),
        ("KeyboardInterrupt()", 130, "stopped"),
    ],
)
def test_errors_of_a_plant_are_no_interrupts(capsys, here, error, status, words):
    step = "    return np.stack([x[0] + dt * x[1]"
    plant = write_cart(here, raises=(step, f"    raise {error}\n{step}"))
    line = complaint(capsys, "train", "--plant", plant, *SMALL_OPTIONS, status=status)
    assert words in line
    assert status == 130 or "stopped" not in line
    assert not (here / "weights").exists()


def test_a_plant_file_that_exits_is_refused(capsys, here):
    plant = write_cart(here, exits=("STATE,", "raise SystemExit\nSTATE,"))
    line = complaint(capsys, "check", plant, status=2)
    assert "cart.py, line 4: SystemExit" in line


def test_training_is_saved_when_its_output_ends(monkeypatch, capsys, here):
    """The hold in progress, too; the pipe is closed at its second update."""

    def show(display, event, training):
        if event.state.updates == 2:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(Silent, "show_event", show)
    assert call(capsys, "train", *SMALL_OPTIONS, "--quiet") == (1, "", "")
    run = hf.Run.load()
    assert run.info()["stop"] == "interrupted"
    assert run.state.updates == 2 and run.state.hold_start is not None


@pytest.fixture
def raising(monkeypatch):
    """Send signals, of which there is a list, during the second update."""
    # The tests may themselves run under nohup, which ignores this one.
    kept = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    step = HessianFree.step
    updates = []
    numbers = []

    def update(*arguments):
        updates.append(None)
        if len(updates) == 2:
            for number in numbers:
                signal.raise_signal(number)
        return step(*arguments)

    monkeypatch.setattr(HessianFree, "step", update)
    yield numbers
    signal.signal(signal.SIGHUP, kept)


def test_a_closed_terminal_ends_training_and_saves_it(capfd, here, raising):
    """The shell and the system may both say so."""
    raising += [signal.SIGHUP] * 2
    status, out, _ = call(capfd, "train", *SMALL_OPTIONS)
    assert status == 0 and "stopped: interrupted" in out
    assert hf.Run.load().state.updates == 2


def test_a_hang_up_that_is_ignored_stays_so(capsys, here, raising):
    raising.append(signal.SIGHUP)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        call(capsys, "train", *SMALL_OPTIONS, "--quiet")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert hf.Run.load().info()["stop"] == "rollouts"


def test_the_home_folder_in_paths(monkeypatch, capsys, here):
    """In the form that shells leave as it is, `--plant=~/cart.py`."""
    monkeypatch.setenv("HOME", str(here / "home"))
    (here / "home").mkdir()
    write_cart(here / "home")
    words = ["--plant=~/cart.py", "--out=~/runs", "--rollouts=6", "--quiet"]
    assert call(capsys, "train", *SMALL_OPTIONS, *words) == (0, "", "")
    (run,) = (here / "home" / "runs").iterdir()
    assert Settings(plant="~/cart.py").plant == str(here / "home" / "cart.py")

    status, out, _ = call(
        capsys, "simulate", f"~/runs/{run.name}", "--out=~/moves.csv", "--trials=1"
    )
    assert status == 0 and out == f"{here / 'home' / 'moves.csv'}\n"
    assert not (here / "~").exists()
