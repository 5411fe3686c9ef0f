"""`hfcontrol train`: training with live progress."""

import signal
import sys
from contextlib import contextmanager

import click
from click.core import ParameterSource

from hfcontrol.commands.options import JSON, conditions, given, say_json, table
from hfcontrol.errors import UsageError

WITH_RESUME = {"resume", "plant", "rollouts", "max_seconds", "target_loss", "target_ratio", "force", "quiet", "as_json"}


def _layers(context, parameter, text):
    """Layer numbers or sizes "32,32" as a tuple; a word stays a word."""
    if text is None or text in ("auto", "all", "none"):
        return text
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r}: whole numbers with commas between, such as 32,32") from None


@click.command()
@click.option("--plant", metavar="NAME|FILE", help="A shipped plant (see `hfcontrol plants`) or a file ending in .py. [arm2]")
@click.option("--task", help="A task of the plant; its first one by default.")
@click.option("--trials", type=int, help="Trials simulated side by side; the task's own number by default.")
@click.option("--steps", type=int, help="Horizon in control steps; the task's own by default.")
@click.option("--batches", type=int, help="The most weight updates made on one rollout's inputs. [32]")
@click.option("--hold", help="What stays fixed meanwhile: auto, model, scenario, inputs or post. [auto]")
@click.option("--rollouts", type=int, help="Stop after so many simulations of all trials on the true plant.")
@click.option("--hidden", callback=_layers, metavar="N,N", help="Units of each hidden layer. [32,32]")
@click.option("--skip", is_flag=False, flag_value="all", callback=_layers, metavar="[LAYERS]",
              help="Hidden layers that also see the input: 2,3 or all or none. [2]")
@click.option("--recurrent", is_flag=False, flag_value="all", callback=_layers, metavar="[LAYERS]",
              help="Hidden layers with recurrent connections: 1,2 or all or none. [all]")
@click.option("--cell", help="What the hidden units are: tanh or linear. [tanh]")
@click.option("--learn-start", is_flag=True, default=None, help="Learn the initial hidden state; zero otherwise.")
@click.option("--effort", type=float, help="Weight of 1/2 u^2 per step; the task's own by default, 0 for none.")
@click.option("--running", type=float, help="Weight of the squared distance of the positions at every step.")
@click.option("--space", help="Where distance is measured: joint or hand. [joint]")
@conditions
@click.option("--optimizer", help="hf (Hessian-free), or to compare: adam, momentum, lbfgs. [hf]")
@click.option("--learning-rate", type=float, help="Of adam (3e-3) and momentum (1e-2).")
@click.option("--solver", help="Of the Hessian-free step: auto, cg or residual. [auto]")
@click.option("--damping", type=float, help="Tikhonov damping to start with; it adapts. [1]")
@click.option("--structural", type=float, help="Damping of changes of hidden state and trajectory, times the damping. [0]")
@click.option("--cg-cap", type=int, help="The most conjugate-gradient iterations of an update. [100]")
@click.option("--seed", type=int, help="Of the initial weights and of all that is random. [0]")
@click.option("--race", type=int, metavar="K", help="Start K networks, give each a dozen updates, go on with the best. [1]")
@click.option("--target-loss", type=float, help="Stop at this loss.")
@click.option("--target-ratio", type=float, help="Stop at this ratio to the optimal loss.")
@click.option("--max-seconds", type=float, help="Stop after so many seconds of training, looked at between updates.")
@click.option("--out", type=click.Path(file_okay=False), help="Folder for the run's folder. [weights]")
@click.option("--resume", metavar="RUN", help="Go on with a run where it stopped, bit for bit; limits may be new.")
@click.option("--from", "start", metavar="RUN", help="Start a new run from another's weights.")
@click.option("--force", is_flag=True, help="Resume although the plant's file has changed.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@JSON
@click.pass_context
def train(context, out, resume, start, force, quiet, as_json, **options):
    """Train a controller; every hold ends in a checkpoint, so nothing is lost.

    \b
    hfcontrol train --plant arm2 --batches 32
    hfcontrol train --plant arm2 --effort 0 --target-loss 5e-5      the final-state cost of the source
    hfcontrol train --plant arm2 --effort 1e-4                      with its control penalty
    hfcontrol train --resume weights/arm2-reach-20261121-093105-seed0

    It stops at a target, at --rollouts, at --max-seconds, when nothing more is to be gained, or at Ctrl-C (after the update
    in progress). A checkpoint is data: resuming runs the shipped plant of that name, or your own file at its recorded path
    (or --plant FILE if it moved), never the copy of the source inside the checkpoint.
    """
    from hfcontrol import runs
    from hfcontrol.settings import Settings

    options = given(**options)
    if resume:
        named = {name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
        if named - WITH_RESUME:
            wrong = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(named - WITH_RESUME))
            raise UsageError(f"--resume with {wrong}: only limits may change (--rollouts, --max-seconds, --target-loss, "
                             "--target-ratio); --from RUN starts a new run from its weights")
        training = runs.go_on(runs.Run.load(resume), options, force)
    else:
        training = runs.begin(Settings(**options), out, start and runs.Run.load(start))
    show = Silent() if quiet else Lines() if as_json else Progress(training)
    with _stopping(training.trainer):
        for event in training.events():
            show.event(event, training)
    show.end(training, event)


@contextmanager
def _stopping(trainer):
    """Ctrl-C and a termination signal let the update in progress finish; a second Ctrl-C stops at once."""
    def stop(number, frame):
        if trainer.interrupted:
            raise KeyboardInterrupt
        trainer.interrupted = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Silent:
    """Shows nothing."""

    def event(self, event, training):
        """Ignores an event."""

    def end(self, training, event):
        """Ignores the end."""


def hand_error(event):
    """Mean distance of the hand from its target at the end [cm], or None for a plant without a hand."""
    from hfcontrol.evaluate import hand_errors

    errors = hand_errors(event.loop, event.rollout)
    return None if errors is None else 100 * float(errors.mean())


class Lines:
    """JSON for scripts: a line for each hold, the last with everything that `info` tells."""

    report = None

    def event(self, event, training):
        """A line at the end of a hold."""
        self.report = event.report or self.report
        if event.kind == "hold":
            state, report = event.state, self.report
            say_json({"event": "hold", "hold": state.holds, "updates": state.updates, "rollouts": state.rollouts,
                      "loss": state.loss, "accepted": event.accepted, "kind": state.hold.kind,
                      "rho": report and (report.rho if report.rho == report.rho else None),
                      "damping": getattr(state.optimizer, "damping", None), "solver": report and report.solver,
                      "iterations": report and report.iterations, "hand_error_cm": hand_error(event),
                      "seconds": state.seconds})

    def end(self, training, event):
        """The last line."""
        say_json({"event": "done", **training.run.info()})


class Progress:
    """Text for people: one line for each hold, updated in place on a terminal, and a table at the end."""

    def __init__(self, training):
        self.live, self.report = sys.stdout.isatty(), None
        trainer, task = training.trainer, training.trainer.task
        hidden = "+".join(map(str, trainer.network.topology.hidden))
        click.echo(f"{trainer.plant.name} {task.name}: {task.trials} trials, {task.steps} steps of "
                   f"{1000 * trainer.plant.dt:g} ms; {hidden} {trainer.network.topology.cell} units, "
                   f"{trainer.network.size} weights, seed {training.settings.seed}")
        for reason in training.prepared.reasons:
            click.echo(reason)
        click.echo(f"kernels ready in {training.prepared.seconds:.1f} s; run {training.folder.path}")

    def event(self, event, training):
        """The line of the hold in progress, or the finished one."""
        self.report = event.report or self.report
        if event.kind == "hold" or (event.kind == "update" and self.live):
            line = self._line(event, training)
            done = "\n" if event.kind == "hold" else ""
            click.echo(f"\r\x1b[K{line}{done}" if self.live else line, nl=not self.live)

    def _line(self, event, training):
        state, report = event.state, self.report
        loss = event.rollout.loss if event.kind == "update" else state.loss
        words = [f"hold {state.holds + (event.kind == 'update'):3d}", f"update {state.updates:5d}",
                 f"rollouts {state.rollouts:5d}", f"loss {loss:.3e}"]
        if report:
            if report.rho == report.rho:
                words.append(f"rho {report.rho:5.2f}")
            words += [f"damping {state.optimizer.damping:.0e}"] if hasattr(state.optimizer, "damping") else []
            words.append(report.solver + (f" {report.iterations:3d}" if report.iterations else ""))
        error = hand_error(event)
        words += [] if error is None else [f"hand {10 * error:.2f} mm"]
        words.append(f"{state.seconds:.1f} s")
        return "  ".join(words) + ("" if event.accepted or event.kind == "update" else "  undone")

    def end(self, training, event):
        """Why it ended, how to go on, and how good it is."""
        if self.live and event.state.begun:
            click.echo()
        state, path = event.state, training.folder.path
        click.echo(f"stopped: {event.stop.sentence}; loss {state.loss:.3e} after {state.updates} updates, "
                   f"{state.rollouts} rollouts, {state.seconds:.1f} s")
        if event.stop.word in ("interrupted", "time", "rollouts"):
            click.echo(f"go on with: hfcontrol train --resume {path}")
        if event.stop.word == "interrupted":
            return
        from hfcontrol.evaluate import evaluate

        for line in table(evaluate(training.run)):
            click.echo(line)
        if training.trainer.task.noisy:
            click.echo("the optimum knows the noise in advance: a bound that no controller attains")
