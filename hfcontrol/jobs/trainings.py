"""Trainings on an engine: what seeds, sweeps and benchmarks have in common."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from hfcontrol.jobs.backends import check_backend, open_engine
from hfcontrol.jobs.protocol import Engine, Update
from hfcontrol.jobs.training_job import (
    Caller,
    JobResult,
    Outcome,
    TrainingJob,
    make_caller,
    receive,
    train_job,
)
from hfcontrol.runs.interrupts import stop_on_signal
from hfcontrol.runs.records import remember_out, remember_plant
from hfcontrol.runs.settings import Settings

OnMessage: TypeAlias = Callable[[str], object]
OnReport: TypeAlias = Callable[[dict[str, Any]], object]
OnOutcome: TypeAlias = Callable[[Outcome], object]


def _ignore(news: object) -> None:
    """Do nothing."""


class Followers(NamedTuple):
    """Who follows many trainings.

    outcome: called with each `Outcome` as soon as it is known.
    message: called with each line about the progress of all.
    report: called with the numbers of a training in progress, after each hold.
    """

    outcome: OnOutcome = _ignore
    message: OnMessage = _ignore
    report: OnReport = _ignore


class Plan(NamedTuple):
    """A training to be made: its key among all, settings, and as in `TrainingJob`."""

    key: str
    settings: Settings
    command: str | None = None
    run: Path | None = None
    judge: str | None = None


def run_trainings(
    plans: Sequence[Plan],
    out: Path | str | None,
    backend: str | None,
    processes: int,
    say: OnMessage,
) -> Iterator[Update]:
    """Run trainings; yield reports, and each `JobResult` as it finishes.

    A signal asks all of them to stop; a second one raises KeyboardInterrupt.

    Raises UsageError for a wrong backend, PlantError for a plant that cannot be loaded,
    and TrainingError if workers have other versions.
    """
    with open_engine(check_backend(backend), processes) as engine:
        for note in engine.notes():
            say(note)
        plants = {plan.settings.plant for plan in plans}
        with make_caller(plants, out, engine.is_local) as caller:
            if not engine.is_local:
                _remember(caller)
            for plan in plans:
                job = TrainingJob(
                    plan.settings, caller, plan.command, plan.run, plan.judge
                )
                engine.submit(plan.key, train_job, job)
            with stop_on_signal(engine), closing(_follow(engine, caller, say)) as found:
                yield from found


def _remember(caller: Caller) -> None:
    """Record on this machine what workers train on others."""
    for name in caller.plants:
        remember_plant(name)
    remember_out(caller.out)


def _follow(
    engine: Engine, caller: Caller, say: OnMessage
) -> Generator[Update, None, None]:
    """Yield what becomes of the jobs, with their runs in the caller's folder."""
    told: set[str] = set()
    for update in engine.results():
        if update.kind == "finished":
            result: JobResult = receive(update.value, caller)
            update = update._replace(value=result)
            there = result.machine
            here = caller.machine
            if there and there.processor != here.processor and there.host not in told:
                told.add(there.host)
                say(
                    f"{there.host} has the processor {there.processor}, this machine "
                    f"{here.processor}: results may differ in the last bits"
                )
        yield update
