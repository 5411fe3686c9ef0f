"""`hfcontrol export`: a controller for other programs."""

from pathlib import Path

import click

from hfcontrol.cli.options import RUN
from hfcontrol.cli.output import show_status


@click.command()
@RUN
@click.option(
    "--format",
    "kind",
    default="c",
    show_default=True,
    metavar="WORD",
    help="c, npz or onnx.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="File to write, whose ending decides the format; by default one named after the run, here.",
)
@click.option(
    "--bare",
    is_flag=True,
    help="Write the network alone of a controller that was trained with delays or noise.",
)
def export(run, kind, out, bare):
    """Write a controller as C source, npz or ONNX.

    The C file (C99, no allocation, nothing but math.h) has a state, a reset and a step, named after the file; -DHFCONTROL_FLOAT
    compiles it for float. The npz has the weights, and the layers in words. The ONNX graph (extra `onnx`) takes target, observation and
    state, and gives control and next_state; its property `start` is the first state. Without RUN, the newest run.

    Delays and noise are the plant's and are not written: a controller that was trained with some is written with --bare alone, for a
    plant that brings its own.

    \b
    hfcontrol export --format c
    hfcontrol export weights/arm2-reach --out arm.c
    """
    with show_status("exporting"):
        from hfcontrol.deploy.controller import Controller
        from hfcontrol.deploy.export import check_exportable, export_controller
        from hfcontrol.errors import UsageError
        from hfcontrol.runs.run import Run

        if kind not in ("c", "npz", "onnx"):
            raise UsageError(f"--format {kind}: c, npz or onnx")
        run = Run.load(run)
        if not bare:
            check_exportable(run)
        name = run.path.resolve().name
        path = Path(out or f"{name.replace('-', '_') if kind == 'c' else name}.{kind}")
        export_controller(
            Controller.load(run),
            path,
            f"{run.plant.name} {run.trainer.task.name}, a controller",
            name,
        )
    click.echo(path.absolute())
