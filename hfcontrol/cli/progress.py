"""What `hfcontrol train` shows of a training in progress: text for people, JSON for scripts, or nothing."""

import shlex
import shutil
import sys
from contextlib import nullcontext

import click

from hfcontrol.cli.output import CLEAR_LINE, print_evaluation, print_json, show_status

POOR = 1.5  # ratio to the optimum above which a training that settled ended in a poor minimum


def resuming(training, *options):
    """The command that goes on with a training."""
    return shlex.join(
        ["hfcontrol", "train", "--resume", str(training.folder.path), *options]
    )


def past_warm_up(events, quiet):
    """The events from the first of the training proper on, or the one that stops its warm-up; on a terminal those before are told."""
    event = next(events)
    if event.kind == "curriculum":
        with nullcontext(_unsaid) if quiet else show_status(event.activity) as say:
            while event.kind == "curriculum" and not event.stop:
                say(event.activity)
                event = next(events)
    yield event
    yield from events


def _unsaid(text):
    """Says nothing."""


class Silent:
    """Shows nothing."""

    def event(self, event, training):
        """Ignores an event."""

    def end(self, training, event):
        """Ignores the end."""


def hand_error(event):
    """Mean distance of the hand from its target at the end [cm], or None for a plant without a hand."""
    from hfcontrol.evaluation.evaluation import hand_errors

    if event.loop is None:
        return None
    errors = hand_errors(event.loop, event.rollout)
    return None if errors is None else 100 * float(errors.mean())


def worth(loss, loop):
    """A loss in words, or the return of the environment that takes the place of a plant's loop."""
    return f"loss {loss:.3e}" if loop is not None else f"return {-loss:.4g}"


class Lines:
    """JSON for scripts: a line for each hold, the last with everything that `info` tells."""

    report = None

    def event(self, event, training):
        """A line at the end of a hold."""
        self.report = event.report or self.report
        if event.kind == "hold":
            state, report = event.state, self.report
            print_json(
                {
                    "event": "hold",
                    "hold": state.holds,
                    "updates": state.updates,
                    "rollouts": state.rollouts,
                    "loss": state.loss,
                    "accepted": event.accepted,
                    "kind": state.hold.kind,
                    "rho": report and report.rho,
                    "damping": getattr(state.optimizer, "damping", None),
                    "divergence": getattr(report, "divergence", None),
                    "solver": report and report.solver,
                    "iterations": report and report.iterations,
                    "hand_error_cm": hand_error(event),
                    "seconds": state.seconds,
                }
            )

    def end(self, training, event):
        """The last line."""
        told = {
            "run": str(training.folder.path),
            "stop": event.stop.word,
            "warming": event.activity,
            "seconds": event.state.seconds,
        }
        print_json(
            {
                "event": "done",
                **(told if event.kind == "curriculum" else training.run.info()),
            }
        )


class Progress:
    """Text for people: one line for each hold, updated in place on a terminal, and a table at the end."""

    def __init__(self, training):
        self.live, self.report = sys.stdout.isatty(), None
        trainer, task, state = training.trainer, training.trainer.task, training.state
        architecture = trainer.network.architecture
        hidden = "+".join(map(str, architecture.hidden))
        units = f"{hidden} {architecture.cell} units{'' if architecture.recurrent else ' without recurrence'}"
        click.echo(
            f"{trainer.plant.name} {task.name}: {task.trials} trials, {task.steps} steps of "
            f"{1000 * trainer.plant.dt:g} ms; {units}, "
            f"{trainer.network.size} weights, seed {training.settings.seed}"
        )
        for reason in training.prepared.reasons:
            click.echo(reason)
        click.echo(
            f"kernels ready in {training.prepared.seconds:.1f} s; run {training.folder.path}"
        )
        if training.curriculum and training.folder.curriculum_file:
            click.echo(f"going on with the warm-up: {training.curriculum.activity}")
        elif state and state.updates:
            click.echo(f"going on after {state.updates} updates, loss {state.loss:.3e}")

    def event(self, event, training):
        """The line of the hold in progress, or the finished one."""
        self.report = event.report or self.report
        if event.kind == "hold" or (event.kind == "update" and self.live):
            line = self._line(event)
            if self.live:  # a line that the terminal breaks could not be overwritten
                line = CLEAR_LINE + line[: shutil.get_terminal_size().columns - 1]
            click.echo(line, nl=event.kind == "hold")

    def _line(self, event):
        """The numbers of an event, the ones that matter most first: a narrow terminal shows no others."""
        state, report, error = event.state, self.report, hand_error(event)
        within = event.kind == "update"
        words = [
            f"hold {state.holds + within:3d}",
            f"update {state.updates:5d}",
            f"rollouts {state.rollouts:5d}",
            worth(event.rollout.loss if within else state.loss, event.loop),
        ]
        words += [] if error is None else [f"hand {10 * error:6.2f} mm"]
        words.append(f"{state.seconds:.1f} s")
        words += (
            [f"damping {state.optimizer.damping:.0e}"]
            if hasattr(state.optimizer, "damping")
            else []
        )
        if report:
            words += [f"rho {report.rho:5.2f}"] if report.rho == report.rho else []
            words += (
                [f"kl {report.divergence:.3f}"] if hasattr(report, "divergence") else []
            )
            words.append(
                report.solver
                + (f" {report.iterations:3d}" if report.iterations else "")
            )
        return "  ".join(words) + ("" if event.accepted or within else "  undone")

    def end(self, training, event):
        """Why it ended, how to go on, and how good it is."""
        warming = event.kind == "curriculum"
        if self.live and event.state.hold_start and not warming:
            click.echo()
        state, limits, word = event.state, training.trainer.limits, event.stop.word
        within = (
            f", within the warm-up ({training.curriculum.activity})"
            if training.curriculum
            else ""
        )
        reached = (
            ","
            if warming
            else f"; {worth(state.loss, event.loop)} after {state.updates} updates, {state.rollouts} rollouts,"
        )
        click.echo(
            f"stopped: {event.stop.sentence}{within}{reached} {state.seconds:.1f} s"
        )
        more = {
            "interrupted": (),
            "rollouts": ("--rollouts", f"{2 * (limits.rollouts or 0)}"),
            "time": ("--max-seconds", f"{2 * (limits.seconds or 0):g}"),
        }
        if word in more:
            click.echo(f"go on with: {resuming(training, *more[word])}")
        if word != "interrupted":
            from hfcontrol.evaluation.evaluation import evaluate

            with show_status("looking for the optimum"):
                evaluation = evaluate(training.run)
            print_evaluation(evaluation)
            for line in advice(word, evaluation, training.settings):
                click.echo(line)


def advice(word, evaluation, settings):
    """What to try, as a line, where a training ended in a poor minimum: it settled though much is left to gain."""
    ratio = evaluation.get("sets", {}).get("training", {}).get("ratio")
    if word in ("converged", "failed") and ratio is not None and ratio > POOR:
        ways = [
            way
            for way, given in (
                ("--grow 12", settings.grow),
                ("--race 4", settings.race > 1),
            )
            if not given
        ]
        yield f"it settled far from the optimum: {', '.join([*ways, '--guide 32', 'another --seed'])} may lead elsewhere"
