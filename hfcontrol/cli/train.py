"""`hfcontrol train`: training with live progress."""

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from hfcontrol.cli.completion import complete_run
from hfcontrol.cli.groups import GroupedCommand
from hfcontrol.cli.options import (
    CONDITIONS,
    JSON,
    JUDGE,
    Decorator,
    add_options,
    given_options,
    judge_choice,
    setting_option,
)
from hfcontrol.cli.output import show_status
from hfcontrol.cli.progress import (
    Display,
    JsonLines,
    Progress,
    Silent,
    resume_command,
    skip_curriculum,
)
from hfcontrol.cli.ranks import shared_by_mpi
from hfcontrol.cli.seeds import ShowMode, Where, train_many
from hfcontrol.errors import TrainingError, UsageError
from hfcontrol.runs.settings import POLICY_SETTINGS

# Imported when training starts: the help does without NumPy.
if TYPE_CHECKING:
    from hfcontrol.runs.logs import Log
    from hfcontrol.runs.training import Training
    from hfcontrol.training.state import Event, Stop
    from hfcontrol.training.stop import StopToken

# All settings, in the order of the help: those that most users need come first.
SETTINGS_BEFORE_SEEDS = (
    "plant",
    "task",
    "trials",
    "steps",
    "batches",
    "hold",
    "average",
    "rollouts",
    "hidden",
    "skip",
    "recurrent",
    "cell",
    "scheme",
    "unfold",
    "time_constants",
    "learn_start",
    "density",
    "freeze",
    "dale",
    "effort",
    "running",
    "final",
    "space",
    "target_centre",
    "target_radius",
    *CONDITIONS,
    "observe",
    "optimizer",
    "learning_rate",
    "solver",
    "damping",
    "structural",
    "cg_cap",
    "curvature_trials",
    "store_every",
    "estimator",
    "rtol",
    "atol",
    "solver_step",
    *POLICY_SETTINGS,
    "device",
    "dtype",
    "seed",
)
SETTINGS_AFTER_SEEDS = (
    "strategy",
    "race",
    "imitate",
    "grow",
    "guide",
    "target_loss",
    "target_ratio",
    "max_seconds",
)


def setting_options(names: Iterable[str]) -> Decorator:
    """Return the decorator that adds the options of several settings."""
    return partial(add_options, [setting_option(name) for name in names])


BACKEND = click.option(
    "--backend",
    metavar="WHERE",
    help="Where many trainings run: local (the default), dask:ADDRESS or ray:ADDRESS "
    "(extras dask and ray).",
)
SEED_OPTIONS: list[Decorator] = [
    click.option(
        "--seeds",
        metavar="A-B",
        help="Train one controller per seed, 0-31 or 0,3,7, in parallel, and show the "
        "best. On a GPU they train one after another.",
    ),
    click.option(
        "--jobs",
        type=int,
        metavar="N",
        help="Number of processes for --seeds; by default one per core, and one on a "
        "GPU.",
    ),
    BACKEND,
]
RUN_OPTIONS: list[Decorator] = [
    click.option(
        "--out", metavar="FOLDER", help="Where to create the run's folder. [weights]"
    ),
    click.option(
        "--resume",
        metavar="RUN",
        shell_complete=complete_run,
        help="Continue a run where it stopped, bit for bit; limits may change.",
    ),
    click.option(
        "--from",
        "start",
        metavar="RUN",
        shell_complete=complete_run,
        help="Start a new run from another's weights.",
    ),
    click.option(
        "--log",
        multiple=True,
        metavar="WORD",
        help="Also log to the run's folder: csv, or tensorboard (extra); repeatable.",
    ),
    # None, not False, so that it counts as not given.
    click.option(
        "--force",
        is_flag=True,
        default=None,
        help="Resume although the plant's file has changed.",
    ),
    *JUDGE,
    click.option("--quiet", is_flag=True, help="Print nothing but errors."),
    JSON,
]

# Options about which run to make or to continue; they are no settings.
RUN_NAMES = ("out", "resume", "start", "force", "log")


@click.command(cls=GroupedCommand)
@setting_options(SETTINGS_BEFORE_SEEDS)
@partial(add_options, SEED_OPTIONS)
@setting_options(SETTINGS_AFTER_SEEDS)
@partial(add_options, RUN_OPTIONS)
def train(
    seeds: str | None,
    jobs: int | None,
    backend: str | None,
    judge: str | None,
    no_judge: bool,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a controller, with a checkpoint after every hold.

    \b
    hfcontrol train --plant arm2 --batches 32
    hfcontrol train --plant my_plant.py --task reach --max-seconds 60
    hfcontrol train --plant arm2 --effort 0 --target-loss 5e-5
    hfcontrol train --plant arm2 --seeds 0-31
    hfcontrol train --resume weights/arm2-reach-20261121-093105-seed0

    Training stops at a target, at --rollouts, at --max-seconds, when it has converged,
    or at Ctrl-C (after the update in progress; a second Ctrl-C stops at once).

    Resuming runs the shipped plant of that name, or the file that you have trained on
    (--plant FILE if it moved). It never runs the copy of the plant's source inside the
    checkpoint, which is data.
    """
    judged = judge_choice(judge, no_judge)
    run = {name: options.pop(name) for name in RUN_NAMES}
    settings = given_options(**options)
    mode = ShowMode(quiet, as_json, judged)
    if seeds is not None:
        out = run.pop("out")
        others = given_options(**run)
        with shared_by_mpi():
            train_many(settings, seeds, Where(jobs, backend), out, others, mode)
        return
    for name, value in given_options(jobs=jobs, backend=backend).items():
        raise UsageError(f"`{name}` {value}: applies only with `seeds`; leave it out")
    with shared_by_mpi():
        _train_one(settings, run, mode)


def _train_one(settings: dict[str, Any], run: dict[str, Any], mode: ShowMode) -> None:
    """Train one controller, or continue its training; show how it goes.

    `run` are the options named in `RUN_NAMES`.
    """
    quiet, as_json, judged = mode
    with nullcontext() if quiet else show_status("preparing and compiling"):
        from hfcontrol.runs.logs import check_logs, open_logs

        logs = check_logs(run.pop("log"))
        training = _prepare(settings, **run)
    display: Display
    # Who asks for JSON wants it, however quiet the rest is.
    if as_json:
        display = JsonLines()
    elif quiet:
        display = Silent()
    else:
        display = Progress(training, judged)
    # Imported by now. What runs away is reported in words, not by warnings of NumPy.
    import numpy as np

    from hfcontrol.arrays.communicator import is_first

    with ExitStack() as stack:
        stack.enter_context(closing(display))
        # Of the processes that share a training, one writes.
        opened = open_logs(
            logs if is_first() else [], training.folder.path, training.updates
        )
        for log in opened:
            stack.enter_context(closing(log))
        with np.errstate(all="ignore"), _stop_on_signals(training, quiet) as stop_token:
            last = _follow(training, stop_token, display, opened)
        display.show_end(last, training)
    check_end(last.stop, training)


def _follow(
    training: "Training",
    stop_token: "StopToken",
    display: Display,
    logs: "list[Log]",
) -> "Event":
    """Show and log the events of a training; return the last one, with its reason.

    If nothing can be shown any more, as on a closed terminal, the training is stopped,
    and the error raised when its state is saved.
    """
    fault: OSError | None = None
    is_silent = isinstance(display, Silent)
    for event in skip_curriculum(training.events(stop_token), is_silent):
        try:
            if fault is None:
                display.show_event(event, training)
                for log in logs:
                    log(event)
        except OSError as error:
            fault = error
            stop_token.stop()
    if fault is not None:
        raise fault
    return event


def check_end(stop: "Stop | None", training: "Training") -> None:
    """Raise TrainingError, for status 1, if derivatives were not finite."""
    if stop is not None and stop.word == "not_finite":
        raise TrainingError(
            f"training {stop.sentence}; {training.folder.path} holds the last weights"
        )


def _prepare(
    settings: dict[str, Any],
    out: str | None,
    resume: str | None,
    start: str | None,
    force: bool | None,
) -> "Training":
    """Return the training of these settings, compiled and ready."""
    from hfcontrol.runs.run import Run
    from hfcontrol.runs.settings import settings_for
    from hfcontrol.runs.training import continue_training, start_training

    if resume is not None:
        # What may not change is refused there, `out` and `start` included.
        limits = settings | given_options(out=out, start=start)
        return continue_training(
            Run.load(resume, allow_unfinished=True), limits, bool(force)
        )
    if force:
        raise UsageError(
            "`force`: applies only with `resume`, for a run whose plant has changed"
        )
    first = None if start is None else Run.load(start)
    return start_training(settings_for(**settings), out, first)


@contextmanager
def _stop_on_signals(training: "Training", quiet: bool) -> "Iterator[StopToken]":
    """Yield a `StopToken` that Ctrl-C, a termination signal and a hang-up set.

    The update in progress is finished then; a second signal stops at once.
    """
    from hfcontrol.runs.interrupts import stop_on_signal
    from hfcontrol.training.stop import StopToken

    stop_token = StopToken()

    def announce() -> None:
        # os.write is safe in a signal handler, print is not. A closed terminal must
        # not end the training from here.
        with suppress(OSError):
            text = b"\nfinishing the update in progress; Ctrl-C again stops at once\n"
            os.write(2, text)

    try:
        with stop_on_signal(stop_token, None if quiet else announce):
            yield stop_token
    except KeyboardInterrupt:
        saved = training.folder.checkpoints() or training.folder.curriculum_file
        how = "no hold had ended, so nothing was saved"
        if saved:
            command = resume_command(training)
            how = f"continue from the last checkpoint with: {command}"
        raise click.Abort(f"stopped at once; {how}") from None
