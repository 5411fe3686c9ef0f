"""`hfcontrol compare`: repeat the comparisons of the sources."""

from pathlib import Path
from typing import Any

import click

from hfcontrol.cli.options import HomePath, given_options
from hfcontrol.cli.output import echo, prepare_folder, show_status, write_json


@click.command()
@click.argument("name", required=False)
@click.option(
    "--seeds",
    type=int,
    metavar="N",
    help="Number of trainings of each kind; default the study's own number.",
)
@click.option(
    "--samples",
    type=int,
    metavar="N",
    help="Number of weights and starts at which gradients are compared. [16]",
)
@click.option(
    "--updates",
    type=int,
    metavar="N",
    help="Updates of the first-order optimizers; default the source's number, or less.",
)
@click.option(
    "--seconds",
    type=float,
    metavar="S",
    help="Length of every training of `cells` and `methods`, or the horizon of "
    "`backsolve`.",
)
@click.option(
    "--optimizer",
    metavar="WORD",
    help="Optimizer: first-order, as in the source, or hf. [first-order]",
)
@click.option(
    "--plant",
    metavar="NAME",
    help="Plant of `orders` (quadrotor, diffdrive or cartpole) or of `methods` (arm2 "
    "or cartpole).",
)
@click.option(
    "--costs",
    metavar="WORDS",
    help="Costs of `holds`: some of final, running and effort. [final,running]",
)
@click.option(
    "--holds",
    metavar="WORDS",
    help="Holds of `holds`: some of scenario, model, inputs, post and auto. [all]",
)
@click.option(
    "--batches",
    metavar="N,N",
    help="Most updates of a hold, in `holds`. [1,4,8,32]",
)
@click.option(
    "--rollouts",
    type=int,
    metavar="N",
    help="Most rollouts, and most updates, of every training of `holds`. [600]",
)
@click.option(
    "--look-for-claim",
    is_flag=True,
    default=None,
    help="Let `holds` train on recorded inputs only, with several settings of damping "
    "and radius.",
)
@click.option(
    "--jobs",
    type=int,
    metavar="N",
    help="Number of parallel processes of `holds`; one per core by default.",
)
@click.option(
    "--most-seconds", type=float, metavar="S", help="Stop every training after S s."
)
@click.option(
    "--out",
    default=".",
    show_default=True,
    type=HomePath(file_okay=False),
    metavar="FOLDER",
    help="Folder for the figure compare-NAME.png and its numbers compare-NAME.json.",
)
def compare(name: str | None, out: str, **options: Any) -> None:
    """Repeat a comparison of the sources: NAME.png and NAME.json.

    \b
    hfcontrol compare                          lists them
    hfcontrol compare gradients --samples 8
    hfcontrol compare quadrotor --optimizer hf --seeds 3
    hfcontrol compare holds --batches 1,32 --costs final

    Ctrl-C stops the study and draws what it has finished. The .json always holds the
    numbers finished so far.
    """
    with show_status("preparing") as set_status:
        from hfcontrol.studies import STUDIES, study

        if name is None:
            for word, (_, text) in STUDIES.items():
                echo(f"{word:12}{text}")
            return
        # Variants of a study have figures of their own.
        named = ("plant", "optimizer", "costs", "holds")
        variant = [options[key].replace(",", "-") for key in named if options[key]]
        if options["look_for_claim"]:
            variant.append("claim")
        stem = "-".join(["compare", name, *variant])
        figure = Path(out, f"{stem}.png")
        numbers = Path(out, f"{stem}.json")

        result: dict[str, Any] | None = None
        stopped = False
        results = study(name, set_status, **given_options(**options))
        # Found out now, and not after hours of training.
        prepare_folder(figure.parent)
        try:
            for result in results:
                write_json(result, numbers)
        except KeyboardInterrupt:
            # Not an error: the figure shows what has finished.
            stopped = True
        if result is None:
            raise click.Abort("stopped before any part of the study had finished")

        # Imported when there is something to draw: matplotlib loads slowly.
        from hfcontrol.studies.plots import draw

        draw(result, figure)
    echo(figure.absolute(), numbers.absolute())
    if stopped:
        echo("stopped: these files hold what had finished by then")
