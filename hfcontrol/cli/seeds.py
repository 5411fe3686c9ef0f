"""`hfcontrol train --seeds`: what became of each seed, their spread, and how good the best is."""

import shlex
import sys
from contextlib import nullcontext

import click

from hfcontrol.cli.output import print_evaluation, print_json, show_status
from hfcontrol.errors import UsageError


def train_many(options, seeds, jobs, out, others, quiet, as_json):
    """Trains the controllers of many seeds and shows what became of each, their spread, and how good the best is."""
    from hfcontrol.runs.seeds import parse_seeds, train_seeds
    from hfcontrol.runs.settings import settings_for

    if "seed" in options or others:
        other = (
            "seed" if "seed" in options else next(iter(others)).replace("start", "from")
        )
        raise UsageError(
            f"--seeds {seeds} with --{other}: each seed begins a run of its own; leave one of them out"
        )
    numbers, settings = parse_seeds(seeds), settings_for(**options)
    words = [
        word
        for k, word in enumerate(sys.argv[1:], 1)
        if not word.startswith(("--seeds", "--jobs"))
        and sys.argv[k - 1] not in ("--seeds", "--jobs")
    ]

    def show(outcome):
        if as_json:
            print_json({"event": "seed", **vars(outcome), "path": str(outcome.path)})
        elif not quiet:
            click.echo(
                f"seed {outcome.seed:4d}  loss {outcome.loss:.3e}  {outcome.updates} updates  {outcome.rollouts} rollouts  "
                f"{outcome.seconds:.1f} s  {outcome.stop}"
            )

    with nullcontext() if quiet else show_status(f"training {len(numbers)} controllers"):
        outcomes = train_seeds(
            settings,
            numbers,
            out,
            jobs,
            shlex.join(["hfcontrol", *words]),
            show,
            None if quiet or as_json else click.echo,
        )
    _say_spread(outcomes, as_json, quiet)


def _say_spread(outcomes, as_json, quiet):
    """The spread of the seeds' losses, and how good the best is."""
    from statistics import median

    from hfcontrol.evaluation.evaluation import evaluate
    from hfcontrol.runs.run import Run

    losses, run = [outcome.loss for outcome in outcomes], Run.load(outcomes[0].path)
    if as_json:
        print_json(
            {
                "event": "done",
                "seeds": len(losses),
                "median": median(losses),
                "worst": losses[-1],
                **run.info(),
            }
        )
    elif not quiet:
        click.echo(
            f"best: seed {outcomes[0].seed}, loss {losses[0]:.3e}; median {median(losses):.3e}, worst {losses[-1]:.3e} of "
            f"{len(losses)}; run {run.path}"
        )
        with show_status("looking for the optimum"):
            evaluation = evaluate(run)
        print_evaluation(evaluation)
