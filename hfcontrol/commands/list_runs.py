"""`hfcontrol runs` and `hfcontrol info`: which runs there are and what one holds."""

import click

from hfcontrol.commands.options import JSON, RUN, say_json


@click.command()
@click.argument("names", nargs=-1, metavar="[RUN]...")
@click.option("--thin", is_flag=True, help="Remove checkpoints of the runs named, never the first, the best or the last.")
@click.option("--keep", type=click.IntRange(min=0), default=10, show_default=True, help="About how many --thin leaves.")
def runs(names, thin, keep):
    """List runs, the newest first; or thin out their checkpoints.

    \b
    hfcontrol runs
    hfcontrol runs --thin weights/arm2-reach-20261121-093105-seed0
    """
    from hfcontrol.errors import CheckpointError, UsageError
    from hfcontrol.run_folder import find_run, list_runs
    from hfcontrol.run_folder import thin as thin_out
    from hfcontrol.runs import Run

    folders = [find_run(name)[0] for name in names] or list_runs()
    if thin:
        if not names:
            raise UsageError("--thin: name the runs to thin, such as hfcontrol runs --thin weights/RUN")
        for folder in folders:
            with folder.lock():
                removed = thin_out(folder.path, keep)
            click.echo(f"{folder.path}: {len(removed)} checkpoints removed, {len(folder.checkpoints())} left")
        return
    for folder in folders:
        try:
            info = Run.load(folder.path).info()
            click.echo(f"{folder.path}  loss {info['loss']:.3e}  {info['updates']} updates  {info['rollouts']} rollouts  "
                       f"{info['seconds']:.1f} s  {info['stop'] or 'unfinished'}")
        except CheckpointError as error:
            click.echo(f"{folder.path}  unreadable: {error}")
    if not folders:
        click.echo("no runs yet; make one with: hfcontrol train --plant arm2")


@click.command()
@RUN
@JSON
def info(run, as_json):
    """Tell what a run or a checkpoint holds: command, counts, loss, why it stopped. Without RUN, the newest run.

    \b
    hfcontrol info
    hfcontrol info weights/arm2-reach --json
    """
    from hfcontrol.runs import Run

    told = Run.load(run).info()
    if as_json:
        say_json(told)
        return
    history = told.pop("loss_history")
    for name, value in told.items():
        click.echo(f"{name.replace('_', ' '):16} {value}")
    click.echo(f"{'loss of holds':16} {', '.join(f'{loss:.2e}' for loss in history[-8:])}")
