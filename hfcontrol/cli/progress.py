"""What `hfcontrol train` shows of a training: text for people, JSON for scripts."""

import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hfcontrol.cli.output import (
    echo,
    print_diagnosis,
    print_evaluation,
    print_json,
    show_status,
)
from hfcontrol.cli.terminal import LiveLine
from hfcontrol.texts import one_line

# Imported when training starts: the help does without NumPy.
if TYPE_CHECKING:
    from hfcontrol.evaluation.advice import Signs
    from hfcontrol.runs.training import Training
    from hfcontrol.training.state import Event, Stop, TrainingState

# Settings of the curricula that advice may name.
CURRICULA = ("grow", "race", "guide")


class Display(Protocol):
    """Shows the events of a training."""

    def show_event(self, event: "Event", training: "Training") -> None:
        """Show an event."""

    def show_end(self, event: "Event", training: "Training") -> None:
        """Show the last event, and the result of the training."""

    def close(self) -> None:
        """Leave a clean terminal, whatever has ended the training."""


def resume_command(training: "Training", *options: str) -> str:
    """The command line that continues a training."""
    words = ["hfcontrol", "train", "--resume", str(training.folder.path), *options]
    return shlex.join(words)


def skip_curriculum(events: "Iterator[Event]", quiet: bool) -> "Iterator[Event]":
    """Yield the events after the curriculum, or the one that stops it.

    Unless `quiet`, a terminal shows what the curriculum is doing.
    """
    event = next(events)
    if event.kind == "curriculum":
        status = show_status(event.activity)
        with nullcontext(_ignore) if quiet else status as set_status:
            while event.kind == "curriculum" and not event.stop:
                set_status(event.activity)
                event = next(events)
    yield event
    yield from events


def _ignore(text: str) -> None:
    """Show nothing."""


def mean_hand_error(event: "Event") -> float | None:
    """Mean distance of the hand from its targets [cm]; None for other plants."""
    from hfcontrol.evaluation.evaluation import hand_errors

    if event.loop is None:
        return None
    # One of several processes knows the movements of its own trials alone.
    if event.rollout.x.shape[-1] < event.loop.trials:
        return None
    errors = hand_errors(event.loop, event.rollout)
    return None if errors is None else 100 * float(errors.mean())


def format_loss(loss: float, event: "Event", trials: str = "") -> str:
    """A loss as text, and that of which trials; in an environment the return."""
    if event.loop is None:
        return f"return {-loss:.4g}"
    return f"{trials} loss {loss:.3e}".lstrip()


def stop_reason(event: "Event") -> "Stop":
    """Why the training ended, of its last event."""
    assert event.stop is not None
    return event.stop


class Silent:
    """Shows nothing."""

    def show_event(self, event: "Event", training: "Training") -> None:
        """Ignore an event."""

    def show_end(self, event: "Event", training: "Training") -> None:
        """Ignore the end."""

    def close(self) -> None:
        """Do nothing."""


class JsonLines:
    """JSON for scripts: one line per hold, and a last one with the run's info."""

    def __init__(self) -> None:
        self.report: Any = None  # of the last update

    def show_event(self, event: "Event", training: "Training") -> None:
        """Print a line at the end of a hold."""
        # The event at the end of a hold has no report of its own.
        self.report = event.report or self.report
        if event.kind == "rung":
            print_json({"event": "rung", "next": event.activity})
        if event.kind != "hold":
            return
        state, report = event.state, self.report
        counts = {
            "hold": state.holds,
            "updates": state.updates,
            "rollouts": state.rollouts,
        }
        step = {
            "rho": report and report.rho,
            "damping": getattr(state.optimizer, "damping", None),
            "divergence": getattr(report, "divergence", None),
            "solver": report and report.solver,
            "iterations": report and report.iterations,
        }
        print_json(
            {
                "event": "hold",
                **counts,
                "loss": state.loss,
                "accepted": event.accepted,
                "kind": state.hold.kind,
                **step,
                "hand_error_cm": mean_hand_error(event),
                "seconds": state.seconds,
            }
        )

    def show_end(self, event: "Event", training: "Training") -> None:
        """Print the last line."""
        if event.kind != "curriculum":
            print_json({"event": "done", **training.run.info()})
            return
        # A run in its curriculum has no checkpoint, and so no info.
        print_json(
            {
                "event": "done",
                "run": str(training.folder.path),
                "stop": stop_reason(event).word,
                "warming": event.activity,
                "seconds": event.state.seconds,
            }
        )

    def close(self) -> None:
        """Do nothing."""


class Progress:
    """Text for people: one line per hold, and a table of the evaluation at the end.

    On a terminal, the line of the current hold is updated in place.
    """

    def __init__(self, training: "Training", judge: str = "auto") -> None:
        self.live = LiveLine() if sys.stdout.isatty() else None
        self.judge = judge
        self.report: Any = None  # of the last update
        echo(_describe_problem(training))
        for reason in training.prepared.reasons:
            echo(reason)
        print_diagnosis(training.prepared, training.task, training.conditioning)
        echo(
            f"kernels ready in {training.prepared.seconds:.1f} s; "
            f"run {training.folder.path}"
        )
        state = training.state
        if training.curriculum and training.folder.curriculum_file:
            echo(f"continuing with the curriculum: {training.curriculum.activity}")
        elif state and state.updates:
            echo(f"continuing after {state.updates} updates, loss {state.loss:.3e}")

    def show_event(self, event: "Event", training: "Training") -> None:
        """Print the line of the current hold, or of the finished one."""
        self.report = event.report or self.report
        if event.kind in ("rung", "notice"):
            self._show_line(event.activity, is_final=True)
        if event.kind == "curriculum" and self.live and not event.stop:
            self._show_line(event.activity, is_final=False)
        # In a file or pipe, a line per update would bury the holds.
        if event.kind == "hold" or (event.kind == "update" and self.live):
            self._show_line(self._format_line(event), event.kind == "hold")

    def _show_line(self, line: str, is_final: bool) -> None:
        """Print a line, or show it on a terminal until the next one."""
        if is_final:
            self.close()
            # A narrow terminal shows the most important numbers.
            columns = shutil.get_terminal_size().columns if self.live else None
            echo(one_line(line)[:columns])
        elif self.live:
            self.live.show(line)

    def close(self) -> None:
        """Remove the line in progress."""
        if self.live:
            self.live.close()

    def _format_line(self, event: "Event") -> str:
        """The numbers of an event, by importance: a narrow terminal cuts the rest."""
        state = event.state
        in_hold = event.kind == "update"
        words = [
            # A hold counts when it has ended; the current one is shown with its number.
            f"hold {state.holds + in_hold:3d}",
            f"update {state.updates:5d}",
            f"rollouts {state.rollouts:5d}",
            format_loss(event.rollout.loss if in_hold else state.loss, event),
        ]
        error = mean_hand_error(event)
        if error is not None:
            words.append(f"hand {10 * error:6.2f} mm")
        words.append(f"{state.seconds:.1f} s")
        if hasattr(state.optimizer, "damping"):
            words.append(f"damping {state.optimizer.damping:.0e}")
        words += self._report_words()
        undone = not (event.accepted or in_hold)
        return "  ".join(words) + ("  undone" if undone else "")

    def _report_words(self) -> list[str]:
        """The numbers of the last update's report."""
        report = self.report
        if not report:
            return []
        words = []
        is_number = report.rho == report.rho  # first-order updates have no rho: NaN
        if is_number:
            words.append(f"rho {report.rho:5.2f}")
        if hasattr(report, "divergence"):
            words.append(f"kl {report.divergence:.3f}")
        if getattr(report, "lost", 0):
            words.append(f"lost {report.lost}")
        iterations = f" {report.iterations:3d}" if report.iterations else ""
        words.append(f"{report.solver}{iterations}")
        return words

    def show_end(self, event: "Event", training: "Training") -> None:
        """Print why the training ended, how to continue it, and how good it is."""
        self.close()
        echo(describe_end(event, training))

        word = stop_reason(event).word
        limits = training.trainer.limits
        # Other reasons to stop are final; a limit is doubled as a suggestion.
        options = {
            "interrupted": (),
            "rollouts": ("--rollouts", f"{2 * (limits.rollouts or 0)}"),
            "time": ("--max-seconds", f"{2 * (limits.seconds or 0):g}"),
        }
        if word in options:
            echo(f"continue with: {resume_command(training, *options[word])}")
        # Whoever interrupts wants the prompt back, not a search for the optimum.
        if word == "interrupted":
            return

        from hfcontrol.evaluation.evaluation import evaluate

        with show_status("searching for the optimum"):
            evaluation = evaluate(
                training.run, judge=self.judge, pilots=training.pilots
            )
        print_evaluation(evaluation)
        difference = _other_draws(training)
        if difference:
            echo(difference)
        signs = find_signs(word, evaluation, training)
        if signs is not None:
            print_advice(signs, training)


def _describe_problem(training: "Training") -> str:
    """Plant, task and network of a training, in one line."""
    trainer, task = training.trainer, training.task
    architecture = trainer.network.architecture
    hidden = "+".join(map(str, architecture.hidden))
    feedforward = "" if architecture.recurrent else " without recurrence"
    return (
        f"{trainer.plant.name} {task.name}: {task.trials} trials, {task.steps} steps "
        f"of {1000 * trainer.plant.dt:g} ms; "
        f"{hidden} {architecture.cell} units{feedforward}, "
        f"{trainer.network.size} weights, seed {training.settings.seed}"
    )


def _other_draws(training: "Training") -> str:
    """Why the loss at the end of a training is not that of the table, if it is not."""
    from hfcontrol.arrays.settings import POLICY_OPTIMIZERS
    from hfcontrol.tasks.task import Task

    task = training.task
    if training.settings.optimizer in POLICY_OPTIMIZERS:
        if not isinstance(task, Task):
            return "the return of the training is that of the exploring policy"
        return "the loss above is that of the exploring policy, the table is without"
    if isinstance(task, Task) and task.random:
        drawn = "noise and trials" if task.noisy else "trials"
        return f"the loss above is on the last {drawn} of training, the table on others"
    return ""


def describe_end(event: "Event", training: "Training") -> str:
    """Why a training ended, and what it reached by then, in one line."""
    state = event.state
    line = f"stopped: {stop_reason(event).sentence}"
    if training.curriculum:
        line += f", in the curriculum ({training.curriculum.activity})"
    if event.kind != "curriculum":
        line += (
            f"; {format_loss(state.loss, event, 'training')} after {state.updates} "
            f"updates in {state.holds} holds, {state.rollouts} rollouts"
        )
    return f"{line}, {state.seconds:.1f} s{_describe_kept(state)}"


def _describe_kept(state: "TrainingState") -> str:
    """Which weights are kept, and the loss that has chosen them, if not the last."""
    trials = "training" if state.best_theta is None else "validation"
    if not state.leads:
        loss = state.controller_loss
        return f"; kept: weights of an earlier rung, {trials} loss {loss:.3e}"
    if not state.is_validated:
        return ""
    hold = state.best_hold
    return f"; kept: the weights after hold {hold}, {trials} loss {state.best_loss:.3e}"


def train_words(command: str) -> list[str]:
    """Return the words of a recorded command line, which began a training.

    A checkpoint may record anything: what is no `hfcontrol train` is not repeated.
    """
    try:
        program, *words = shlex.split(command)
    except ValueError:
        program, words = "", []
    if Path(program).stem in ("hfcontrol", "__main__") and words[:1] == ["train"]:
        return ["hfcontrol", *words]
    return ["hfcontrol", "train"]


def find_signs(
    word: str, evaluation: dict[str, Any], training: "Training"
) -> "Signs | None":
    """Return what an evaluation and the settings say about the result of a training.

    word: why it stopped. Returns None for an environment, which has no optimum.
    """
    from hfcontrol.arrays.settings import POLICY_OPTIMIZERS
    from hfcontrol.evaluation.advice import Signs
    from hfcontrol.tasks.settings import CHANCE, HIDING

    sets = evaluation.get("sets")
    if sets is None:
        return None
    settings, plant = training.settings, training.trainer.plant
    curricula = [name for name in CURRICULA if not settings.is_default(name)]
    hides = [name for name in HIDING if not settings.is_default(name)]
    chance = [name for name in CHANCE if not settings.is_default(name)]
    if evaluation["noisy"] and not chance:
        # The task itself pushes.
        chance = ["push"]
    architecture = training.trainer.network.architecture
    return Signs(
        stop=word,
        training=sets["training"]["ratio"],
        held_out=sets["held_out"]["ratio"],
        saturated=sets["training"]["saturated"] or 0.0,
        trials=training.task.trials,
        hidden=architecture.hidden,
        chance=tuple(chance),
        sees_part=bool(hides) or plant.ny < plant.n_body,
        remembers=bool(architecture.recurrent),
        climbs=settings.strategy == "auto" or settings.optimizer in POLICY_OPTIMIZERS,
        used=tuple(curricula),
        seed=settings.seed,
    )


def print_advice(signs: "Signs", training: "Training") -> None:
    """Print what limits a result, a line each, and at most two commands to try."""
    from hfcontrol.evaluation.advice import best_ways, find_causes

    causes = find_causes(signs)
    for cause in causes:
        echo(cause.sentence)
    for way in best_ways(causes):
        run = str(training.folder.path)
        words = ["hfcontrol", "evaluate", run]
        if way.command == "train":
            words = train_words(training.command)
        echo(f"try: {shlex.join([*words, *way.options])}")
