"""`hfcontrol sweep`: grids and lists of settings times seeds, from a TOML file."""

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from hfcontrol.cli.messages import name_options, option_names
from hfcontrol.cli.options import (
    JSON,
    JUDGE,
    Decorator,
    HomePath,
    add_options,
    format_settings,
    judge_choice,
)
from hfcontrol.cli.output import echo, print_json, print_table, show_status
from hfcontrol.cli.ranks import shared_by_mpi
from hfcontrol.cli.seeds import StatusLine, ignore
from hfcontrol.cli.train import BACKEND
from hfcontrol.errors import TrainingError

if TYPE_CHECKING:
    from hfcontrol.jobs.sweep_file import Point
    from hfcontrol.jobs.sweep_table import SweepTable

# Columns of the printed table, and rows that a terminal shows.
SHOWN = ("seed", "loss", "ratio", "success", "return", "updates", "seconds", "stop")
MOST_ROWS = 40


OPTIONS: list[Decorator] = [
    click.option(
        "--out",
        type=HomePath(file_okay=False),
        metavar="FOLDER",
        help="Folder of the runs, sweep.csv and sweep.png. [weights/FILE]",
    ),
    click.option(
        "--jobs",
        type=int,
        metavar="N",
        help="Number of processes; by default one per core, and one on a GPU.",
    ),
    BACKEND,
    click.option(
        "--x",
        default="seconds",
        show_default=True,
        metavar="COLUMN",
        help="Column on the horizontal axis of the figure.",
    ),
    click.option(
        "--y",
        metavar="COLUMN",
        help="Column on the vertical axis; by default the ratio to the optimum.",
    ),
    *JUDGE,
    JSON,
    click.option("--quiet", is_flag=True, help="Print nothing but errors."),
]


@click.command()
@click.argument("file", type=HomePath(dir_okay=False), metavar="FILE.toml")
@partial(add_options, OPTIONS)
def sweep(
    file: str,
    out: str | None,
    x: str,
    y: str | None,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Train grids and lists of settings with many seeds.

    \b
    hfcontrol sweep effort.toml
    hfcontrol sweep effort.toml --backend dask:10.0.0.1:8786

    FILE.toml has tables [settings], shared by all, [grid], lists of values of which
    every combination is trained, and [[points]], one or more settings each; and seeds =
    "0-3". The results are sweep.csv and the figure sweep.png, the trade-off of two
    columns. What has finished is not trained again: after Ctrl-C, or with more values
    or seeds, the same command trains what is left.
    """
    judge = judge_choice(options["judge"], options["no_judge"])
    where = (options["jobs"], options["backend"])
    says_nothing = quiet or as_json
    names = option_names(click.get_current_context().command)

    def tell(text: str) -> None:
        if not says_nothing:
            echo(name_options(text, names))

    shown = show_status("preparing")
    with shared_by_mpi(), nullcontext(ignore) if quiet else shown as replace:
        from hfcontrol.jobs.sweep import run_sweep
        from hfcontrol.jobs.sweep_file import read_sweep
        from hfcontrol.jobs.trainings import Followers

        planned = read_sweep(file, out)
        status = StatusLine(planned.count, replace)

        follow = Followers(status.finish, tell, status.report)
        table = run_sweep(planned, *where, judge, command_of, follow)
    _show(table, x, y, says_nothing)
    if as_json:
        _print_json(table)
    if table.lost:
        raise TrainingError(describe_lost(table))


def command_of(point: "Point") -> str:
    """Return the command line that makes the run of a point alone."""
    from hfcontrol.runs.summary import own_settings

    return f"hfcontrol train {format_settings(own_settings(point.settings))}"


def _show(table: "SweepTable", x: str, y: str | None, says_nothing: bool) -> None:
    """Draw the figure, and print the table and the files."""
    # Imported when there is something to draw: matplotlib loads slowly.
    from hfcontrol.figures.tradeoff import plot_tradeoff

    figure = table.out / "sweep.png"
    plot_tradeoff(table, figure, x, y)
    if says_nothing:
        return
    columns = [name for name in (*table.varied, *SHOWN) if _has_values(table, name)]
    rows = [[_text(row[name]) for name in columns] for row in table.rows[:MOST_ROWS]]
    print_table(columns, rows)
    if len(table) > MOST_ROWS:
        echo(f"and {len(table) - MOST_ROWS} more rows")
    echo((table.out / "sweep.csv").absolute(), figure.absolute())


def _has_values(table: "SweepTable", name: str) -> bool:
    return any(row[name] is not None for row in table.rows)


def _text(value: Any) -> str:
    """Return a value for the table, short."""
    from hfcontrol.schema import format_value

    return f"{value:.4g}" if isinstance(value, float) else format_value(value)


def _print_json(table: "SweepTable") -> None:
    for row in table.rows:
        print_json({"event": "training", **row})
    numbers = {"trainings": len(table), "lost": table.lost}
    print_json({"event": "done", **numbers, "out": str(table.out)})


def describe_lost(table: "SweepTable") -> str:
    """Return one line that names trainings without a result, and why."""
    by_reason: dict[str, list[str]] = {}
    for label, reason in table.lost.items():
        by_reason.setdefault(reason, []).append(label)
    faults = [
        f"{len(labels)} (such as {labels[0]}): {reason}"
        for reason, labels in by_reason.items()
    ]
    return f"{len(table.lost)} trainings have no result; {'; '.join(faults)}"
