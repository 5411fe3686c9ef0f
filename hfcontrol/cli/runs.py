"""`hfcontrol runs` and `hfcontrol info`: which runs there are and what one holds."""

import click

from hfcontrol.cli.options import JSON, RUN
from hfcontrol.cli.output import print_json

SHOWN = 8  # losses of holds that `info` shows


@click.command()
@click.argument("names", nargs=-1, metavar="[RUN]...")
@click.option(
    "--thin",
    is_flag=True,
    help="Remove checkpoints of the runs named, never the first, the best or the last.",
)
@click.option(
    "--keep",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    metavar="N",
    help="About how many --thin leaves.",
)
@JSON
def runs(names, thin, keep, as_json):
    """List runs, or thin out their checkpoints.

    The newest run comes first. A run without a reason to have stopped was killed, or is in training.

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
    folders = [find_run(name)[0] for name in names] or list_runs()
    if as_json and not thin:
        print_json([_told(folder) for folder in folders])
    elif not folders:
        click.echo("no runs yet; make one with: hfcontrol train --plant arm2")
    elif thin:
        _thin(folders, keep)
    else:
        _list(folders)


def _told(folder):
    """What `info` tells of a folder, or its path and what is wrong with it."""
    from hfcontrol.errors import CheckpointError
    from hfcontrol.runs.run import Run

    try:
        return Run.load(folder.path).info()
    except CheckpointError as error:
        return {"run": str(folder.path), "error": str(error)}


def _thin(folders, keep):
    from hfcontrol.runs.folder import thin

    for folder in folders:
        with folder.lock():
            removed = thin(folder.path, keep)
        click.echo(
            f"{folder.path}: checkpoints removed {len(removed)}, left {len(folder.checkpoints())}"
        )


def _list(folders):
    width = max(len(str(folder.path)) for folder in folders)
    click.echo(
        f"{'':{width}}  {'loss':>9}  {'updates':>7}  {'rollouts':>8}  {'seconds':>7}  stopped by"
    )
    for folder in folders:
        info = _told(folder)
        if "error" in info:
            click.echo(
                f"{folder.path!s:{width}}  {info['error'].removeprefix(f'{folder.path} ')}"
            )
        else:
            click.echo(
                f"{folder.path!s:{width}}  {info['loss']:9.3e}  {info['updates']:7}  {info['rollouts']:8}  "
                f"{info['seconds']:7.1f}  {info['stop'] or '-'}"
            )


@click.command()
@RUN
@JSON
def info(run, as_json):
    """Show what a run contains and why it stopped.

    Of a run's folder, its newest checkpoint; or name a checkpoint. Without RUN, the newest run.

    \b
    hfcontrol info
    hfcontrol info weights/arm2-reach --json
    """
    from hfcontrol.runs.run import Run

    told = Run.load(run).info()
    if as_json:
        print_json(told)
        return
    history = told.pop("loss_history")
    for name, value in told.items():
        shown = (
            "-"
            if value is None
            else f"{value:.4g}"
            if isinstance(value, float)
            else value
        )
        if name == "time_constants" and value:
            shown = f"{1000 * min(value):.4g} to {1000 * max(value):.4g} ms"
        click.echo(f"{name.replace('_', ' '):16} {shown}")
    if history:
        click.echo(
            f"{'loss of holds':16} {'... ' * (len(history) > SHOWN)}"
            f"{', '.join(f'{loss:.2e}' for loss in history[-SHOWN:])}"
        )
