"""`hfcontrol benchmark`: trained controllers next to classical ones."""

from pathlib import Path
from typing import Any

import click

from hfcontrol.cli.groups import GroupedCommand
from hfcontrol.cli.options import (
    JSON,
    PLANT,
    RUNS,
    HomePath,
    condition_options,
    format_options,
    given_options,
    parse_words,
)
from hfcontrol.cli.output import (
    echo,
    print_json,
    print_result,
    show_status,
    write_json,
)


@click.command(cls=GroupedCommand)
@RUNS
@PLANT
@click.option(
    "--controllers",
    callback=parse_words,
    metavar="NAMES",
    help="Classical controllers: pd, operational_space, lqr, ilqr, separated by "
    "commas; all that the plant allows by default.",
)
@condition_options
@click.option(
    "--trials",
    type=int,
    metavar="N",
    help="Number of held-out trials; default the training's or the task's.",
)
@click.option(
    "--out",
    type=HomePath(file_okay=False),
    metavar="FOLDER",
    help="Folder for the figure benchmark-RUN.png and its numbers benchmark-RUN.json; "
    "default the first run's.",
)
@JSON
def benchmark(
    runs: tuple[str, ...],
    plant: str | None,
    controllers: tuple[str, ...] | None,
    trials: int | None,
    out: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Compare trained controllers with classical ones.

    All controllers move out, and out and back without a reset; without noise, with
    noise (--sensory-noise, --motor-noise, --push) and with a load (--param, --vary,
    --curl-field). The other conditions apply to everything. The task is that of the
    first RUN; without RUN, it is the newest. The classical ones are tuned on the
    training trials, and all are measured on held-out trials.

    \b
    hfcontrol benchmark
    hfcontrol benchmark weights/arm2-reach --motor-noise 10% --vary load=0..2
    hfcontrol benchmark weights/arm2-reach --controllers pd,lqr --json
    """
    from hfcontrol.runs.run import Run

    # All are loaded first: a wrong name is reported before the work begins.
    chosen = [Run.load(run, plant=plant) for run in runs or (None,)]
    with show_status("preparing") as set_status:
        from hfcontrol.classical.benchmark import compare_controllers
        from hfcontrol.figures.benchmarks import plot_benchmark
        from hfcontrol.texts import file_name

        given = given_options(**options)
        # Options are written with dashes, so operational-space is accepted too.
        names = controllers and [word.replace("-", "_") for word in controllers]
        result = compare_controllers(chosen, names, given, trials, set_status)
        numbers = result.numbers()
        stem = f"benchmark-{file_name(chosen[0].path.resolve().name)}"
        folder = chosen[0].output_folder if out is None else Path(out)
        figure, table = folder / f"{stem}.png", folder / f"{stem}.json"
        set_status("drawing")
        write_json(numbers, table)
        plot_benchmark(result, figure)
    if as_json:
        print_json(numbers)
        return
    _print_table(numbers)
    echo()
    print_result(chosen[0], figure, table)


def _print_table(numbers: dict[str, Any]) -> None:
    """Print a block of rows for each motion and condition, then what is left out."""
    rows = numbers["rows"]
    titles = numbers["controllers"]
    unit = rows[0]["error"]["unit"]
    error = f"final error [{unit}]" if unit else "final error"
    heads = ["cost", "ratio to optimal", error, "success", "us per step"]
    table = [_cells(row) for row in rows]
    widths = [2 + max(map(len, column)) for column in zip(heads, *table, strict=True)]
    name_width = max(len(title) for title in titles.values())
    echo(f"{numbers['plant']} {numbers['task']}, {numbers['trials']} trials")

    def print_line(name: str, cells: list[str]) -> None:
        columns = zip(cells, widths, strict=True)
        line = "".join(f"{cell:>{width}}" for cell, width in columns)
        echo(f"{name:{name_width}}{line}")

    block = None
    for row, cells in zip(rows, table, strict=True):
        if (row["motion"], row["condition"]) != block:
            block = (row["motion"], row["condition"])
            changes = format_options(numbers["conditions"][row["condition"]])
            echo("", ", ".join(filter(None, (*block, changes))))
            print_line("", heads)
        print_line(titles[row["controller"]], cells)
    notes = [
        f"gains of {titles[name]}: {describe_unfinished(gains)}"
        for name, gains in numbers["gains"].items()
        if not gains["is_converged"]
    ]
    notes += [
        f"left out: {titles.get(name, name)}: {reason}"
        for name, reason in numbers["left_out"].items()
    ]
    if notes:
        echo("", *notes)


def describe_unfinished(gains: dict[str, Any]) -> str:
    """Return in words that a search for gains has ended at its bound."""
    return (
        f"the search ended at its bound of {gains['simulations']} simulations of "
        f"{gains['trials']} trials, before it found them to 1 %"
    )


def _cells(row: dict[str, Any]) -> list[str]:
    """Return the numbers of a row as text."""
    ratio = row["ratio"]
    error = row["error"]
    return [
        f"{row['loss']:.3e}",
        "optimum is zero" if ratio is None else f"{ratio:#.4g}",
        f"{error['mean']:.3g} (max {error['max']:.3g})",
        f"{100 * row['success']:.0f} %",
        f"{row['microseconds']:.1f}",
    ]
