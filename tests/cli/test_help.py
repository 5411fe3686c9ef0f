"""Help: an example for each command, true defaults, and no heavy imports."""

import re
import subprocess
import sys

import pytest
from trainings import ENVIRONMENT, call

import hfcontrol as hf
from hfcontrol.cli.app import COMMANDS
from hfcontrol.cli.train import train
from hfcontrol.runs.settings import Settings

HEAVY = {"numpy", "numba", "scipy", "h5py", "matplotlib", "PIL", "rich", "jinja2"}

SCRIPT = """
import sys
from hfcontrol.cli import main
main(sys.argv[1:])
print(*sys.modules)
"""


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_a_worked_example(capsys, name):
    status, out, err = call(capsys, name, "--help")
    assert status == 0 and not err
    assert re.search(rf"^  hfcontrol {name}\b", out, re.MULTILINE)
    assert max(map(len, out.splitlines())) <= 80


def test_no_arguments_show_the_help(capsys):
    assert call(capsys) == call(capsys, "--help") == call(capsys, "-h")
    assert all(name in call(capsys)[1] for name in COMMANDS)
    assert call(capsys, "--version")[1].split()[-1] == hf.__version__


@pytest.mark.parametrize(
    "option",
    [p for p in train.params if (p.help or "").endswith("]")],
    ids=lambda p: p.name,
)
def test_help_shows_the_true_default(option):
    shown = option.help[option.help.rindex("[") + 1 : -1]
    if option.name == "out":
        assert shown == "weights"
        return
    if option.name == "skip":
        assert shown == "2"
        assert Settings().skip == "auto"
        return
    default = getattr(Settings(), option.name)
    if isinstance(default, tuple):
        default = ",".join(map(str, default))
    assert shown == str(default)


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["train", "--help"], ["animate", "--help"], ["--version"]],
    ids=" ".join,
)
def test_help_imports_nothing_heavy(arguments):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    names = done.stdout.splitlines()[-1].split()
    loaded = {name.partition(".")[0] for name in names}
    assert "click" in loaded and not loaded & HEAVY
