"""`hfcontrol train --seeds`: the result of each seed, their spread, and the best."""

import shlex
import sys
from collections.abc import Callable
from contextlib import nullcontext
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from hfcontrol.cli.messages import name_options, option_names
from hfcontrol.cli.output import echo, print_evaluation, print_json, show_status
from hfcontrol.errors import TrainingError, UsageError

# Imported when training starts: the help does without NumPy.
if TYPE_CHECKING:
    from hfcontrol.jobs.seeds import SeedOutcomes
    from hfcontrol.jobs.training_job import Outcome

OWN_OPTIONS = ("--seeds", "--jobs", "--backend")

# Trainings in progress that a status line names.
MOST_SHOWN = 4


class Where(NamedTuple):
    """Where many trainings run: processes here, or a cluster."""

    jobs: int | None
    backend: str | None


class StatusLine:
    """How far all trainings are, in one line: `replace` shows it."""

    def __init__(self, total: int, replace: Callable[[str], object]) -> None:
        self.total = total
        self.replace = replace
        self.finished = 0
        self.in_progress: dict[str, str] = {}

    def report(self, numbers: dict[str, Any]) -> None:
        """Show what a training in progress has reached."""
        name = numbers.get("name") or f"seed {numbers['seed']}"
        loss, updates = numbers["loss"], numbers["updates"]
        # The last ones that have reported.
        self.in_progress.pop(numbers["run"], None)
        text = f"{name}: loss {loss:.2e} at update {updates}"
        self.in_progress[numbers["run"]] = text
        self._show()

    def finish(self, outcome: "Outcome") -> None:
        """Count a training that has ended."""
        self.finished += 1
        self.in_progress.pop(outcome.path.name, None)
        self._show()

    def _show(self) -> None:
        words = [f"{self.finished} of {self.total} trainings finished"]
        words += list(self.in_progress.values())[-MOST_SHOWN:]
        self.replace("; ".join(words))


class ShowMode(NamedTuple):
    """How results are shown: not at all, as JSON, and which trials are judged."""

    quiet: bool
    as_json: bool
    judge: str


def ignore(text: str) -> None:
    """Show nothing."""


def train_many(
    options: dict[str, Any],
    seeds: str,
    where: Where,
    out: str | None,
    others: dict[str, Any],
    mode: ShowMode,
) -> None:
    """Train one controller per seed; show each result, their spread and the best.

    `others` are options of a single run, which are refused. Raises TrainingError at the
    end if a seed was lost.
    """
    from hfcontrol.jobs.seeds import describe_lost, parse_seeds, train_seeds
    from hfcontrol.jobs.trainings import Followers
    from hfcontrol.runs.settings import settings_for

    quiet, as_json, judge = mode
    single = ["seed"] if "seed" in options else list(others)
    if single:
        raise UsageError(
            f"`seeds` {seeds} with `{single[0]}`: each seed starts its own run; leave "
            "one of them out"
        )
    numbers = parse_seeds(seeds)
    settings = settings_for(**options)

    def show(outcome: "Outcome") -> None:
        status.finish(outcome)
        if as_json:
            print_json({"event": "seed", **vars(outcome), "path": str(outcome.path)})
        elif not quiet:
            echo(
                f"seed {outcome.seed:4d}  loss {outcome.loss:.3e}  "
                f"{outcome.updates} updates  {outcome.rollouts} rollouts  "
                f"{outcome.seconds:.1f} s  {outcome.stop}"
            )

    # Messages of the library name settings, which are options here.
    names = option_names(click.get_current_context().command)

    def tell(text: str) -> None:
        if not quiet and not as_json:
            echo(name_options(text, names))

    shown = show_status(f"training {len(numbers)} controllers")
    with nullcontext(ignore) if quiet else shown as replace:
        status = StatusLine(len(numbers), replace)
        outcomes = train_seeds(
            settings,
            numbers,
            out,
            where.jobs,
            command_of_one_seed(sys.argv[1:]),
            Followers(show, tell, status.report),
            where.backend,
        )
    if as_json or not quiet:
        _print_spread(outcomes, as_json, judge)
    if outcomes.lost:
        raise TrainingError(describe_lost(outcomes.lost))


def command_of_one_seed(arguments: list[str]) -> str:
    """Return the command without the options for many seeds, and their values."""
    words = ["hfcontrol"]
    before = ""
    for word in arguments:
        # `--seeds=0-3` is one word, `--seeds 0-3` are two.
        if not word.startswith(OWN_OPTIONS) and before not in OWN_OPTIONS:
            words.append(word)
        before = word
    return shlex.join(words)


def _print_spread(outcomes: "SeedOutcomes", as_json: bool, judge: str) -> None:
    """Print the spread of the seeds' losses, and the evaluation of the best run."""
    from hfcontrol.evaluation.evaluation import evaluate
    from hfcontrol.runs.run import Run

    best = outcomes.best_first[0]
    run = Run.load(best.path)
    losses = [outcome.loss for outcome in outcomes.best_first]
    if as_json:
        spread = {"seeds": len(losses), "median": median(losses), "worst": losses[-1]}
        others = {"lost": outcomes.lost, "not_started": outcomes.not_started}
        done = {"event": "done", **spread, **others}
        print_json({**done, **run.info()})
        return

    echo(
        f"best: seed {best.seed}, loss {best.loss:.3e}; median {median(losses):.3e}, "
        f"worst {losses[-1]:.3e} of {len(losses)}; run {run.path}"
    )
    if outcomes.not_started:
        seeds = ",".join(map(str, outcomes.not_started))
        echo(f"not started: train them with --seeds {seeds}")
    with show_status("searching for the optimum"):
        evaluation = evaluate(run, judge=judge)
    print_evaluation(evaluation)
