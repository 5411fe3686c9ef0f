"""`hfcontrol export`: write a controller for other programs."""

from pathlib import Path

import click

from hfcontrol.cli.figures import OUT
from hfcontrol.cli.options import PLANT, RUN
from hfcontrol.cli.output import print_result, show_status

FORMATS = ("c", "npz", "onnx")


@click.command()
@RUN
@PLANT
@click.option(
    "--format",
    "kind",
    metavar="WORD",
    help="File format: c, npz or onnx; default the ending of --out, or c.",
)
@OUT
@click.option(
    "--bare",
    is_flag=True,
    help="Write the network without the delays or noise that it was trained with.",
)
@click.option(
    "--float32",
    "is_single",
    is_flag=True,
    help="Write an ONNX graph in single precision (C: -DHFCONTROL_FLOAT).",
)
def export(
    run: str | None,
    plant: str | None,
    kind: str | None,
    out: str | None,
    bare: bool,
    is_single: bool,
) -> None:
    """Write a controller as C source, npz or ONNX.

    The C file (C99, no allocation, only math.h) defines a state, a reset and a step,
    named after the file; -DHFCONTROL_FLOAT compiles it for float. The npz file holds
    the weights and a description of the layers. The ONNX graph (extra `onnx`) maps
    target, observation and state to control, next_state and is_finite; its property
    `start` is the first state; with --float32 all of them are in single precision.
    Without RUN, the newest run is exported.

    The plant is not needed; a run of an older version names one that is (--plant).

    Delays and noise belong to the plant and are not exported. A controller that was
    trained with them needs --bare, for a plant that has its own.

    \b
    hfcontrol export --format c
    hfcontrol export weights/arm2-reach --out arm.c
    """
    with show_status("exporting"):
        from hfcontrol.deploy.export import check_exportable, default_path, export_run
        from hfcontrol.errors import UsageError
        from hfcontrol.runs.run import Run

        # Before the run is loaded: the quickest checks come first.
        kind = _choose_format(kind, out)
        if is_single and kind != "onnx":
            raise UsageError(
                f"--float32 with --format {kind}: only an ONNX graph has its dtype "
                "inside; compile the C source with -DHFCONTROL_FLOAT"
            )
        loaded = Run.load(run, plant=plant)
        if not bare:
            check_exportable(loaded)
        path = Path(out) if out else default_path(loaded, f".{kind}")
        export_run(loaded, path, bare, is_single)
    print_result(loaded, path)


def _choose_format(kind: str | None, out: str | None) -> str:
    """Return the format that `--format` and the ending of `--out` agree on.

    Raises UsageError for another format, and if the two do not agree.
    """
    from hfcontrol.errors import UsageError

    if kind is not None and kind not in FORMATS:
        raise UsageError(f"--format {kind}: must be c, npz or onnx")
    ending = Path(out or "").suffix.lower().removeprefix(".")
    if out is None or ending not in FORMATS:
        # Another ending is refused where the file is written.
        return kind or "c"
    if kind not in (None, ending):
        raise UsageError(
            f"--format {kind} with --out {out}: the ending says {ending}; name a file "
            f"that ends in .{kind}, or leave --format out"
        )
    return ending
