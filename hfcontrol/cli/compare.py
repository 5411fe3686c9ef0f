"""`hfcontrol compare`: the studies of the sources, repeated."""

import json
from pathlib import Path

import click

from hfcontrol.cli.options import given_options
from hfcontrol.cli.output import json_safe, show_status


@click.command()
@click.argument("name", required=False)
@click.option(
    "--seeds",
    type=int,
    metavar="N",
    help="Trainings of each kind; the study's own number by default.",
)
@click.option(
    "--samples",
    type=int,
    metavar="N",
    help="Weights and starts at which a gradient is judged. [16]",
)
@click.option(
    "--updates",
    type=int,
    metavar="N",
    help="Of the first-order optimizers; the source's number, or less, by default.",
)
@click.option(
    "--seconds",
    type=float,
    metavar="S",
    help="Of every training of `cells` and `methods`; the horizon of `backsolve`.",
)
@click.option(
    "--optimizer",
    metavar="WORD",
    help="first-order, as in the source, or hf in its place. [first-order]",
)
@click.option(
    "--plant",
    metavar="NAME",
    help="Of `orders`: quadrotor or diffdrive; of `methods`: arm2 or cartpole.",
)
@click.option(
    "--most-seconds", type=float, metavar="S", help="Stop every training after so long."
)
@click.option(
    "--out",
    default=".",
    show_default=True,
    type=click.Path(file_okay=False),
    metavar="FOLDER",
    help="Where the figure and its numbers go, as compare-NAME.png and .json.",
)
def compare(name, out, **options):
    """Repeat a comparison of the sources: NAME.png and NAME.json.

    \b
    hfcontrol compare                          lists them
    hfcontrol compare gradients --samples 8
    hfcontrol compare quadrotor --optimizer hf --seeds 3

    Ctrl-C stops it, and what is finished by then is drawn; the numbers of what is finished are always in the .json already.
    """
    with show_status("preparing") as say:
        from hfcontrol.studies import STUDIES, study

        if name is None:
            for word, (_, text) in STUDIES.items():
                click.echo(f"{word:12}{text}")
            return
        folder, words = (
            Path(out),
            [
                name,
                *(str(options[key]) for key in ("plant", "optimizer") if options[key]),
            ],
        )
        figure, numbers = (
            folder / f"compare-{'-'.join(words)}{ending}"
            for ending in (".png", ".json")
        )
        results, result, stopped = study(name, say, **given_options(**options)), None, False
        try:
            for result in results:
                _written(result, numbers)
        except KeyboardInterrupt:
            stopped = True
        if result is None:
            raise click.Abort("stopped before anything of it was finished")
        from hfcontrol.studies.plots import draw

        draw(result, figure)
    click.echo(
        f"{figure.absolute()}\n{numbers.absolute()}"
        + ("\nstopped: this is what was finished by then" if stopped else "")
    )


def _written(result, numbers):
    """Writes what is known so far, whole or not at all: whoever kills a study loses the training in progress alone."""
    from hfcontrol.arrays.files import atomic_write

    numbers.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(numbers, (".json",)) as temporary:
        temporary.write_text(
            json.dumps(json_safe(result), allow_nan=False, indent=1) + "\n",
            encoding="utf-8",
        )
