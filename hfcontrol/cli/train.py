"""`hfcontrol train`: training with live progress."""

import os
import signal
from contextlib import contextmanager, nullcontext

import click

from hfcontrol.cli.options import JSON, conditions, given, policies, working
from hfcontrol.cli.progress import Lines, Progress, Silent, past_warm_up, resuming
from hfcontrol.cli.seeds import train_many
from hfcontrol.errors import UsageError


def _layers(context, parameter, text):
    """Whole numbers "32,32" as a tuple; other words are left for `Settings` to judge."""
    try:
        return text and tuple(int(word) for word in text.split(","))
    except ValueError:
        if parameter.name == "hidden":
            raise UsageError(
                f"--hidden {text}: units of each layer with commas between, such as 32,32"
            ) from None
        return text


def _words(context, parameter, text):
    """Words "shoulder,elbow" as a tuple."""
    return text and tuple(text.split(","))


@click.command()
@click.option(
    "--plant",
    metavar="NAME|FILE",
    help="A shipped plant (see `hfcontrol plants`), a file ending in .py or .xml, or gym:ID. [arm2]",
)
@click.option(
    "--task", metavar="WORD", help="A task of the plant; its first one by default."
)
@click.option(
    "--trials",
    type=int,
    metavar="N",
    help="Trials simulated side by side; the task's own number by default.",
)
@click.option(
    "--steps",
    type=int,
    metavar="N",
    help="Horizon in control steps; the task's own by default.",
)
@click.option(
    "--batches",
    type=int,
    metavar="N",
    help="The most weight updates made on one rollout's inputs. [32]",
)
@click.option(
    "--hold",
    metavar="WORD",
    help="What stays fixed meanwhile: auto, model, scenario, inputs or post. [auto]",
)
@click.option(
    "--average",
    type=int,
    metavar="N",
    help="The controller is the mean of the weights after the last N holds or so, for tasks that are random. [1]",
)
@click.option(
    "--rollouts",
    type=int,
    metavar="N",
    help="Stop after so many simulations of all trials on the true plant.",
)
@click.option(
    "--hidden",
    callback=_layers,
    metavar="N,N",
    help="Units of each hidden layer. [32,32]",
)
@click.option(
    "--skip",
    is_flag=False,
    flag_value="all",
    callback=_layers,
    metavar="[LAYERS]",
    help="Hidden layers that also see the input: 2,3 or all or none. [2]",
)
@click.option(
    "--recurrent",
    is_flag=False,
    flag_value="all",
    callback=_layers,
    metavar="[LAYERS]",
    help="Hidden layers with recurrent connections: 1,2 or all or none. [all]",
)
@click.option(
    "--cell",
    metavar="WORD",
    help="What the hidden units are: tanh or linear; in continuous time ctrnn, ltc, ltc_tanh, "
    "ltc_conductance, rnn_ode or neural_ode; cfc, a closed form. [tanh]",
)
@click.option(
    "--scheme",
    metavar="WORD",
    help="How cells in continuous time are solved: fused, euler or rk4. [fused]",
)
@click.option(
    "--unfold",
    type=int,
    metavar="N",
    help="Steps of the scheme within a control step. [1]",
)
@click.option(
    "--time-constants",
    metavar="A..B",
    help="Of these cells at the start, such as 20ms..200ms; 1 to 20 control steps by default.",
)
@click.option(
    "--learn-start",
    is_flag=True,
    default=None,
    help="Learn the initial hidden state; zero otherwise.",
)
@click.option(
    "--density",
    type=float,
    metavar="PART",
    help="Part of the connections between layers that exist. [1.0]",
)
@click.option(
    "--freeze",
    callback=_words,
    metavar="LAYERS",
    help="Layers that stay as they were drawn: 1,2 or out.",
)
@click.option(
    "--dale",
    type=float,
    metavar="PART",
    help="Part of the hidden units that excite, the others inhibit: one sign for all a unit sends out.",
)
@click.option(
    "--effort",
    type=float,
    metavar="WEIGHT",
    help="Of 1/2 u^2 per step; the task's own by default, 0 for none.",
)
@click.option(
    "--running",
    type=float,
    metavar="WEIGHT",
    help="Of the squared distance of the positions at every step.",
)
@click.option(
    "--space", metavar="WORD", help="Where distance is measured: joint or hand. [joint]"
)
@conditions
@click.option(
    "--observe",
    callback=_words,
    metavar="NAMES",
    help="What the network sees of the plant: names with commas between, or positions; all by default.",
)
@click.option(
    "--optimizer",
    metavar="WORD",
    help="hf (Hessian-free), or to compare: adam, momentum, lbfgs; ppo and a2c need no derivatives. [hf]",
)
@click.option(
    "--learning-rate",
    type=float,
    metavar="RATE",
    help="Of adam (3e-3), momentum (1e-2), ppo (1e-3) and a2c (7e-4).",
)
@click.option(
    "--solver",
    metavar="WORD",
    help="Of the Hessian-free step: auto, cg or residual. [auto]",
)
@click.option(
    "--damping",
    type=float,
    metavar="LAM",
    help="Tikhonov damping to start with; it adapts. [1.0]",
)
@click.option(
    "--structural",
    type=float,
    metavar="MU",
    help="Damping of changes of hidden state and trajectory, times the damping. [0.0]",
)
@click.option(
    "--cg-cap",
    type=int,
    metavar="N",
    help="The most conjugate-gradient iterations of an update. [100]",
)
@click.option(
    "--curvature-trials",
    type=int,
    metavar="N",
    help="Take the curvature of so many trials only, spread evenly; 16 for targets on a circle, all otherwise.",
)
@click.option(
    "--store-every",
    type=int,
    metavar="K",
    help="Keep the network's activity every K steps only and compute it again in between: long horizons in less "
    "memory, but half as long again. [1]",
)
@click.option(
    "--estimator",
    metavar="WORD",
    help="Train on the differential equation itself: ctpg, backsolve, backsolve_checkpoints, discrete, euler or rk4.",
)
@click.option(
    "--rtol",
    type=float,
    metavar="TOL",
    help="Relative tolerance of its adaptive solver. [0.0001]",
)
@click.option(
    "--atol",
    type=float,
    metavar="TOL",
    help="Absolute tolerance of its adaptive solver. [1e-06]",
)
@click.option(
    "--solver-step",
    metavar="TIME",
    help="Of euler and rk4, such as 10ms; the control step by default.",
)
@policies
@click.option(
    "--device",
    metavar="WORD",
    help="Where to train: cpu, gpu, or auto for a GPU where there is one. [cpu]",
)
@click.option(
    "--dtype",
    metavar="WORD",
    help="The network's numbers while it trains: float64 or float32. [float64]",
)
@click.option(
    "--seed",
    type=int,
    metavar="N",
    help="Of the initial weights and of all that is random. [0]",
)
@click.option(
    "--seeds",
    metavar="A-B",
    help="Train one controller for each seed, 0-31 or 0,3,7, side by side; the best is shown. On a GPU all go as one.",
)
@click.option(
    "--jobs",
    type=int,
    metavar="N",
    help="Train --seeds in so many processes at once; by default as many as cores, and on a GPU only what cannot go as one.",
)
@click.option(
    "--race",
    type=int,
    metavar="N",
    help="Start N networks, give each a dozen updates, go on with the best. [1]",
)
@click.option(
    "--grow",
    type=int,
    metavar="N",
    help="Begin with an eighth of the horizon, then a quarter and a half, N updates each. [0]",
)
@click.option(
    "--guide",
    type=int,
    metavar="N",
    help="Begin by following trajectories that iLQR finds, over growing horizons, at most N updates each. [0]",
)
@click.option("--target-loss", type=float, metavar="LOSS", help="Stop at this loss.")
@click.option(
    "--target-ratio",
    type=float,
    metavar="RATIO",
    help="Stop at this ratio to the optimal loss.",
)
@click.option(
    "--max-seconds",
    type=float,
    metavar="S",
    help="Stop after so many seconds of training, looked at between updates.",
)
@click.option(
    "--out", metavar="FOLDER", help="Where the run's folder is made. [weights]"
)
@click.option(
    "--resume",
    metavar="RUN",
    help="Go on with a run where it stopped, bit for bit; limits may be new.",
)
@click.option(
    "--from", "start", metavar="RUN", help="Start a new run from another's weights."
)
@click.option(
    "--force",
    is_flag=True,
    default=None,
    help="Resume although the plant's file has changed.",
)
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@JSON
def train(out, resume, start, force, quiet, as_json, seeds, jobs, **options):
    """Train a controller, with a checkpoint after every hold.

    \b
    hfcontrol train --plant arm2 --batches 32
    hfcontrol train --resume weights/arm2-reach-20261121-093105-seed0
    the final-state cost of the source, and with its control penalty:
    hfcontrol train --plant arm2 --effort 0 --target-loss 5e-5
    hfcontrol train --plant arm2 --effort 1e-4
    the best of 32 seeds; and on a GPU where there is one:
    hfcontrol train --plant arm2 --seeds 0-31
    hfcontrol train --plant arm2 --device auto

    It stops at a target, at --rollouts, at --max-seconds, when nothing more is to be gained, or at Ctrl-C (after the update
    in progress; a second Ctrl-C stops at once). A checkpoint is data: resuming runs the shipped plant of that name, or your
    own file at its recorded path (or --plant FILE if it moved), never the copy of the source inside the checkpoint.
    """
    if seeds is not None:
        train_many(
            given(**options),
            seeds,
            jobs,
            out,
            given(resume=resume, start=start, force=force),
            quiet,
            as_json,
        )
        return
    if jobs is not None:
        raise UsageError(f"--jobs {jobs}: it belongs to --seeds")
    with nullcontext() if quiet else working("preparing"):
        training = _prepared(given(**options), out, resume, start, force)
    show = Silent() if quiet else Lines() if as_json else Progress(training)
    with _stopping(training, quiet) as stop_token:
        for event in past_warm_up(training.events(stop_token), quiet):
            show.event(event, training)
    show.end(training, event)


def _prepared(options, out, resume, start, force):
    """The training that the options ask for, compiled and ready."""
    from hfcontrol.runs import run as runs
    from hfcontrol.runs.settings import settings_for
    from hfcontrol.runs.training import continue_training, start_training

    if resume is not None:
        options |= given(out=out, **{"from": start})
        return continue_training(runs.Run.load(resume, warming=True), options, force)
    if force:
        raise UsageError("--force: it belongs to --resume RUN, whose plant has changed")
    return start_training(
        settings_for(**options), out, None if start is None else runs.Run.load(start)
    )


@contextmanager
def _stopping(training, quiet):
    """Yield a `StopToken` that Ctrl-C and a termination signal set.

    The update in progress is finished then; a second signal stops at once.
    """
    from hfcontrol.training.stop import StopToken

    stop_token = StopToken()

    def stop(number, frame):
        if stop_token.stopped:
            raise KeyboardInterrupt
        stop_token.stop()
        if not quiet:
            os.write(
                2, b"\nfinishing the update in progress; Ctrl-C again stops at once\n"
            )  # safe in a signal handler

    before = {
        number: signal.signal(number, stop)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop_token
    except KeyboardInterrupt:
        saved = training.folder.checkpoints() or training.folder.warming
        raise click.Abort(
            "stopped at once; "
            + (
                f"go on from the last checkpoint with: {resuming(training)}"
                if saved
                else "no hold had ended, so nothing was saved"
            )
        ) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
