"""The command line: `hfcontrol COMMAND`.

Only hfcontrol.cli prints or exits. A command's module is imported when the command is
used, because the modules of all commands take pydantic, which `--help` can do without.
"""

import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import click
from click.shell_completion import shell_complete

from hfcontrol.cli.messages import name_options, option_names
from hfcontrol.cli.status import FAILURE, INTERRUPTED, USAGE
from hfcontrol.cli.streams import describe_fault, prepare_streams, print_error
from hfcontrol.errors import (
    HFControlError,
    HFControlWarning,
    PlantError,
    TaskError,
    UsageError,
)
from hfcontrol.texts import one_line
from hfcontrol.version import __version__

PROGRAM = "hfcontrol"

# Shells that complete words set this variable.
COMPLETION = "_HFCONTROL_COMPLETE"


class CommandEntry(NamedTuple):
    """Where a command is, and what `hfcontrol --help` says about it."""

    module: str
    name: str
    help: str


# In the order in which one needs them.
COMMANDS = {
    "train": CommandEntry(
        "train", "train", "Train a controller, with a checkpoint after every hold."
    ),
    "sweep": CommandEntry(
        "sweep", "sweep", "Train grids and lists of settings with many seeds."
    ),
    "evaluate": CommandEntry(
        "evaluate", "evaluate", "Compare controllers with the optimum."
    ),
    "benchmark": CommandEntry(
        "benchmark", "benchmark", "Compare trained controllers with classical ones."
    ),
    "plot-error": CommandEntry(
        "figures", "plot_error", "Draw the learning curve and the movements."
    ),
    "plot": CommandEntry(
        "figures", "plot", "Draw paths, states, controls, speed or hidden activity."
    ),
    "animate": CommandEntry("figures", "animate", "Show the plant moving, in a movie."),
    "report": CommandEntry(
        "report", "report", "Write a page about runs, to read and to pass on."
    ),
    "simulate": CommandEntry(
        "simulate", "simulate", "Write the controller's movements to a file."
    ),
    "export": CommandEntry(
        "export", "export", "Write a controller as C source, npz or ONNX."
    ),
    "runs": CommandEntry("runs", "runs", "List runs, or thin out their checkpoints."),
    "info": CommandEntry(
        "runs", "info", "Show what a run contains and why it stopped."
    ),
    "plants": CommandEntry(
        "plants", "plants", "List the shipped plants, with a command for each task."
    ),
    "check": CommandEntry(
        "plants", "check", "Check a plant file against the contract."
    ),
    "compare": CommandEntry(
        "compare",
        "compare",
        "Repeat a comparison of the sources: NAME.png and NAME.json.",
    ),
    "completion": CommandEntry(
        "completion",
        "completion",
        "Print the script by which a shell completes hfcontrol.",
    ),
}


class LazyGroup(click.Group):
    """A group that imports a command when it is used."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the names of the commands in their order."""
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Return a command, or None if there is none of that name."""
        if name not in COMMANDS:
            return None
        entry = COMMANDS[name]
        module = import_module(f"hfcontrol.cli.{entry.module}")
        command: click.Command = getattr(module, entry.name)
        return command

    def format_commands(
        self, context: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write the list of commands from their entries, without importing them."""
        rows = [(name, entry.help) for name, entry in COMMANDS.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, context: click.Context) -> Any:
        """Run a command; its errors name options in place of settings."""
        try:
            return super().invoke(context)
        except HFControlError as error:
            lines = (self.name_options(context, str(line)) for line in error.args)
            raise type(error)(*lines) from error

    def name_options(self, context: click.Context, message: str) -> str:
        """Return a message with settings replaced by options of the command in use."""
        used = context.invoked_subcommand
        command = self.get_command(context, used) if used else None

        # A message may be about a setting of the run that only training has.
        names = option_names(self.get_command(context, "train"), command)
        return name_options(message, names)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="hfcontrol")
def cli() -> None:
    """Train recurrent controllers for your simulator by second-order optimisation.

    \b
    hfcontrol train --plant arm2 --batches 32
    hfcontrol plot-error
    hfcontrol animate
    hfcontrol evaluate
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    A mistake of the user is one line on stderr, several faults of a plant file's tasks
    are one line each. The exit status is 2 for wrong usage
    and 1 for a failure.
    """
    prepare_streams()
    warnings.showwarning = _show_warning
    try:
        _run(sys.argv[1:] if arguments is None else arguments)
    except click.exceptions.Exit as end:
        # --help and --version end a command.
        if end.exit_code:
            sys.exit(end.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        # `hfcontrol` alone: the help is what one looks for, and no failure.
        click.echo(error.ctx.get_help() if error.ctx else "")
    except click.UsageError as error:
        place = error.ctx.command_path if error.ctx else "hfcontrol"
        _fail(f"{place}: {error.format_message()} (see `{place} --help`)", USAGE)
    except click.ClickException as error:
        _fail(f"hfcontrol: {error.format_message()}", FAILURE)
    except HFControlError as error:
        # A plant file or task is input of the user, as options are.
        wrong_usage = isinstance(error, (UsageError, PlantError, TaskError))
        # Several faults of one input have a line each.
        lines = [f"hfcontrol: {line}" for line in str(error).split("\n")]
        _fail(lines, USAGE if wrong_usage else FAILURE)
    except MemoryError:
        _fail(
            "hfcontrol: not enough memory; reduce --trials, --steps or --hidden",
            FAILURE,
        )
    except OSError as error:
        # Such as a full disk behind a redirected output.
        fault = describe_fault(error)
        _fail([f"hfcontrol: {fault}"] if fault else [], FAILURE)
    except (KeyboardInterrupt, click.Abort) as error:
        _fail(f"hfcontrol: {str(error) or 'stopped'}", INTERRUPTED)


def _run(arguments: Sequence[str]) -> None:
    """Run a command.

    click's own `main` takes every EOFError for Ctrl-D and every broken pipe for that of
    the output, although a plant may have raised them.
    """
    if COMPLETION in os.environ:
        sys.exit(shell_complete(cli, {}, PROGRAM, COMPLETION, os.environ[COMPLETION]))
    with cli.make_context(PROGRAM, list(arguments)) as context:
        cli.invoke(context)


def _show_warning(
    message: Warning | str, category: type[Warning], *place: Any, **options: Any
) -> None:
    """Print a warning of hfcontrol on one line of stderr; others are for authors."""
    if issubclass(category, HFControlWarning):
        text = " ".join(str(message).split())
        context = click.get_current_context(silent=True)
        if context is not None:
            text = cli.name_options(context.find_root(), text)
        print_error(one_line(f"hfcontrol: {text}"))
    elif not (issubclass(category, RuntimeWarning) and _is_ours(place[0])):
        # A plant's own warning may be any text.
        text = " ".join(str(message).split())
        kind = category.__name__
        print_error(one_line(f"{place[0]}:{place[1]}: {kind}: {text}"))


def _is_ours(file: str) -> bool:
    """Whether a warning about numbers comes from NumPy or hfcontrol.

    What it means is said in words where it matters.
    """
    return bool({"hfcontrol", "numpy"} & set(Path(file).parts))


def _fail(message: str | list[str], status: int) -> NoReturn:
    """Print a message, or several, on one line of stderr each and exit."""
    for line in [message] if isinstance(message, str) else message:
        # Messages of other libraries may have several lines.
        print_error(one_line(" ".join(line.split())))
    sys.exit(status)
