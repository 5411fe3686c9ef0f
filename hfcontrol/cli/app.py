"""The command line: `hfcontrol COMMAND`. The only place, with commands/, that prints or exits."""

import sys

import click

from hfcontrol import __version__
from hfcontrol.cli.compare import compare
from hfcontrol.cli.evaluate import evaluate
from hfcontrol.cli.export import export
from hfcontrol.cli.figures import animate, plot, plot_error
from hfcontrol.cli.plants import check, plants
from hfcontrol.cli.runs import info, runs
from hfcontrol.cli.simulate import simulate
from hfcontrol.cli.train import train
from hfcontrol.errors import HFControlError, PlantError, TaskError, UsageError

USAGE, FAILURE, INTERRUPTED = 2, 1, 130


class InOrder(click.Group):
    """A group that lists its commands in the order in which one needs them."""

    def list_commands(self, context):
        """Names of the commands, in that order."""
        return list(self.commands)


@click.group(
    cls=InOrder,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="hfcontrol")
def cli():
    """Train recurrent controllers for your simulator by second-order optimisation, and see how good they are.

    \b
    hfcontrol train --plant arm2 --batches 32
    hfcontrol plot-error
    hfcontrol animate
    hfcontrol evaluate
    """


for command in (
    train,
    evaluate,
    plot_error,
    plot,
    animate,
    simulate,
    export,
    runs,
    info,
    plants,
    check,
    compare,
):
    cli.add_command(command)


def main(arguments=None):
    """Runs the command line; every mistake of a user's is one line on stderr, with status 2 for usage and 1 for a failure."""
    try:
        cli.main(arguments, prog_name="hfcontrol", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help())
    except click.UsageError as error:
        place = error.ctx.command_path if error.ctx else "hfcontrol"
        _fail(f"{place}: {error.format_message()} (`{place} --help` tells more)", USAGE)
    except click.ClickException as error:
        _fail(f"hfcontrol: {error.format_message()}", FAILURE)
    except HFControlError as error:
        _fail(
            f"hfcontrol: {error}",
            USAGE
            if isinstance(error, (UsageError, PlantError, TaskError))
            else FAILURE,
        )
    except MemoryError:
        _fail(
            "hfcontrol: there is not enough memory; fewer --trials, --steps or --hidden units need less",
            FAILURE,
        )
    except OSError as error:  # such as a full disk behind a redirected output
        _fail(f"hfcontrol: {error}", FAILURE)
    except (KeyboardInterrupt, click.Abort) as error:
        _fail(f"hfcontrol: {str(error) or 'stopped'}", INTERRUPTED)


def _fail(line, status):
    click.echo(" ".join(line.split()), err=True)
    sys.exit(status)
