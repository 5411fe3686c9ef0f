"""Options: settings give the options, the names in messages and the options page."""

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from trainings import ENVIRONMENT, call

from hfcontrol.cli.app import COMMANDS, cli
from hfcontrol.cli.completion import SHELLS
from hfcontrol.cli.evaluate import evaluate
from hfcontrol.cli.groups import OTHERS
from hfcontrol.cli.messages import name_options, option_names
from hfcontrol.cli.options import CONDITIONS, format_options, given_options
from hfcontrol.cli.reference import options_page
from hfcontrol.cli.train import train
from hfcontrol.plant.registry import load_plant
from hfcontrol.runs.settings import MODELS, Settings

ROOT = Path(__file__).parents[2]
NAMES = {"cg_cap": "--cg-cap", "hold": "--hold", "start": "--from"}


def loaded_libraries(script):
    """Top-level packages in sys.modules after a script, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", f"{script}\nimport sys; print(*sys.modules)"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    words = done.stdout.splitlines()[-1].split()
    return {name.partition(".")[0] for name in words}


@pytest.mark.parametrize(
    "script",
    [
        "import hfcontrol; dir(hfcontrol)",
        "from hfcontrol.cli import main; main(['--help'])",
        "from hfcontrol.cli import main; main(['--version'])",
    ],
)
def test_start_up_imports_no_large_library(script):
    large = {"numpy", "numba", "scipy", "h5py", "matplotlib", "pydantic", "gymnasium"}
    large |= {"rich", "jinja2", "tqdm", "pandas"}
    assert not loaded_libraries(script) & large


def test_settings_models_import_no_numpy():
    libraries = loaded_libraries("import hfcontrol.runs.settings")
    assert "pydantic" in libraries
    assert not libraries & {"numpy", "numba", "scipy", "h5py", "matplotlib"}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_has_their_own_short_help(name):
    command = cli.get_command(click.Context(cli), name)
    assert command.name == name
    assert COMMANDS[name].help == command.help.partition("\n")[0]


def test_every_setting_is_an_option_of_train():
    names = {option.name for option in train.params}
    assert set(Settings.model_fields) <= names


def test_every_condition_is_an_option_of_evaluate():
    names = [option.name for option in evaluate.params]
    assert [name for name in names if name in CONDITIONS] == list(CONDITIONS)


@pytest.mark.parametrize(
    "message, expected",
    [
        ("`cg_cap` 0: must be at least 1", "--cg-cap 0: must be at least 1"),
        ("choose `hold=model`", "choose --hold model"),
        ("`start` with `cg_cap`", "--from with --cg-cap"),
        ("`draw` and `hfcontrol runs`", "`draw` and `hfcontrol runs`"),
        ("no setting", "no setting"),
    ],
)
def test_settings_in_messages_become_options(message, expected):
    assert name_options(message, NAMES) == expected


def test_messages_of_a_command_may_name_settings_of_training():
    names = option_names(train, evaluate)
    assert names["estimator"] == "--estimator"
    assert names["as_json"] == "--json"
    assert names["start"] == names["from"] == "--from"


def test_given_options_leave_out_what_was_not_given():
    values = given_options(a=None, b=(), c=0, d=False, e="", f=("x",))
    assert values == {"c": 0, "d": False, "e": "", "f": ("x",)}


def test_options_are_written_as_on_the_command_line():
    values = {"feedback_delay": "40ms", "vary": ("load=0..1", "mass=5%")}
    assert format_options(values) == "--feedback-delay 40ms, --vary load=0..1 mass=5%"


def test_the_options_page_is_current():
    """If not: python -m hfcontrol.cli.reference > docs/options.md."""
    page = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    assert page == options_page()


def completed(arguments, incomplete):
    """The words that a shell completes after some arguments of the command line."""
    shell = ShellComplete(cli, {}, "hfcontrol", "_HFCONTROL_COMPLETE")
    found = shell.get_completions(arguments, incomplete)
    return [item.value for item in found if item.type == "plain"]


def test_shells_complete_commands_plants_tasks_words_and_runs(run):
    assert completed([], "plot") == ["plot-error", "plot"]
    assert completed(["train", "--plant"], "cart") == ["cartpole"]
    tasks = list(load_plant("pendulum").tasks)
    assert completed(["train", "--plant", "pendulum", "--task"], "") == tasks
    # A file is not run to be completed.
    assert completed(["train", "--plant", "mine.py", "--task"], "") == []
    assert completed(["train", "--cell"], "ltc_c") == ["ltc_conductance"]
    assert completed(["info"], "arm2") == [Path(run).name]
    assert completed(["train", "--resume"], "x") == []


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_of_a_shell_is_printed(capsys, shell):
    status, out, _ = call(capsys, "completion", shell)
    assert status == 0 and "_HFCONTROL_COMPLETE" in out


def test_the_help_of_train_is_in_groups(capsys):
    _, out, _ = call(capsys, "train", "--help")
    heads = re.findall(r"^([A-Z][\w ]+):$", out, re.MULTILINE)
    assert heads[0] == "Options" and heads[-1] == OTHERS
    assert set(heads[1:-1]) <= set(MODELS)
    first = out[out.index("Options:") : out.index(f"{heads[1]}:")]
    assert first.index("--plant") < first.index("--task") < first.index("--seeds")
    assert "--gae-lambda" not in first and "--hold" not in first
    # Every option is in one group.
    for option in train.params:
        flag = max(option.opts, key=len)
        assert len(re.findall(rf"^  {flag}\b(?!-)", out, re.MULTILINE)) == 1, flag
