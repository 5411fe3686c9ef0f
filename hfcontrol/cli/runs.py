"""`hfcontrol runs` and `hfcontrol info`: list runs, and show what one contains."""

from typing import TYPE_CHECKING, Any

import click

from hfcontrol.cli.completion import complete_run
from hfcontrol.cli.options import JSON, RUN, format_settings
from hfcontrol.cli.output import echo, print_json

# Imported when runs are listed: the help needs neither NumPy nor h5py.
if TYPE_CHECKING:
    from hfcontrol.runs.folder import RunFolder

LOSSES_SHOWN = 8  # of the last holds, by `info`: one line of a terminal
NAME_WIDTH = 16
STOP_WIDTH = 11  # of the longest reason, "interrupted"


@click.command()
@click.argument("names", nargs=-1, metavar="[RUN]...", shell_complete=complete_run)
@click.option(
    "--thin",
    is_flag=True,
    help="Remove checkpoints of the named runs, but not the first, best or last.",
)
@click.option(
    "--keep",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    metavar="N",
    help="About how many checkpoints --thin keeps.",
)
@JSON
def runs(names: tuple[str, ...], thin: bool, keep: int, as_json: bool) -> None:
    """List runs, or thin out their checkpoints.

    The newest run comes first. A run without a reason for stopping was killed, or is
    still training. Of its settings, those are shown that are not the default.

    \b
    hfcontrol runs
    hfcontrol runs --thin weights/arm2-reach-20261121-093105-seed0
    """
    from hfcontrol.errors import UsageError
    from hfcontrol.runs.folder import find_run, list_runs

    if thin and not names:
        raise UsageError(
            "--thin: name the runs to thin, as in hfcontrol runs --thin weights/RUN"
        )
    # Without names, all runs are listed, but never thinned.
    folders = [find_run(name)[0] for name in names] or list_runs()
    if as_json and not thin:
        print_json([_info_or_error(folder) for folder in folders])
    elif not folders:
        echo("no runs yet; make one with: hfcontrol train --plant arm2")
    elif thin:
        _thin_all(folders, keep)
    else:
        _print_table(folders)


def _info_or_error(folder: "RunFolder") -> dict[str, Any]:
    """The info of a run; its path and the error if it cannot be read."""
    from hfcontrol.errors import CheckpointError
    from hfcontrol.runs.run import Run

    try:
        return Run.load(folder.path).info()
    except CheckpointError as error:
        # One damaged run must not hide all others.
        return {"run": str(folder.path), "error": str(error)}


def _thin_all(folders: "list[RunFolder]", keep: int) -> None:
    """Thin out the checkpoints of several runs."""
    from hfcontrol.runs.folder import thin

    for folder in folders:
        # A training in this folder may be about to write a checkpoint.
        with folder.lock():
            removed = thin(folder.path, keep)
        left = len(folder.checkpoints())
        echo(f"{folder.path}: checkpoints removed {len(removed)}, left {left}")


def _print_table(folders: "list[RunFolder]") -> None:
    """Print one row per run."""
    width = max(len(str(folder.path)) for folder in folders)
    echo(
        f"{'':{width}}  {'loss':>9}  {'updates':>7}  {'rollouts':>8}  {'seconds':>7}  "
        f"{'stopped by':{STOP_WIDTH}}  settings"
    )
    for folder in folders:
        # Written as they are read: there may be thousands.
        echo(f"{folder.path!s:{width}}  {_row(folder)}")


def _row(folder: "RunFolder") -> str:
    """The row of a run, without its path; what is wrong if it cannot be read."""
    from hfcontrol.errors import CheckpointError
    from hfcontrol.runs.summary import summarise

    try:
        found = summarise(folder)
    except CheckpointError as error:
        # One damaged run must not hide all others. The path is there already.
        return str(error).removeprefix(f"{folder.path} ")
    return (
        f"{found.loss:9.3e}  {found.updates:7}  {found.rollouts:8}  "
        f"{found.seconds:7.1f}  {found.stop or '-':{STOP_WIDTH}}  "
        f"{format_settings(found.settings)}"
    ).rstrip()


@click.command()
@RUN
@JSON
def info(run: str | None, as_json: bool) -> None:
    """Show what a run contains and why it stopped.

    RUN is a run's folder, for its newest checkpoint, or a checkpoint. Without RUN, the
    newest run is shown.

    \b
    hfcontrol info
    hfcontrol info weights/arm2-reach --json
    """
    from hfcontrol.runs.run import Run

    facts = Run.load(run).info()
    if as_json:
        print_json(facts)
        return
    losses = facts.pop("loss_history")
    for name, value in facts.items():
        title = name.replace("_", " ")
        echo(f"{title:{NAME_WIDTH}} {_format_fact(name, value)}")
    if losses:
        last = ", ".join(f"{loss:.2e}" for loss in losses[-LOSSES_SHOWN:])
        dots = "... " if len(losses) > LOSSES_SHOWN else ""
        echo(f"{'loss of holds':{NAME_WIDTH}} {dots}{last}")


def _format_fact(name: str, value: Any) -> str:
    """A value of `info` as text."""
    if value is None:
        return "-"
    if name == "settings":
        return format_settings(value) or "-"
    if name == "time_constants" and value:
        return f"{1000 * min(value):.4g} to {1000 * max(value):.4g} ms"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
