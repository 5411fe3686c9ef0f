"""A training as a job: what is sent to a worker, what it does, and what comes back.

A job trains in the caller's folder of runs if the worker sees it, and in a temporary
one otherwise. It saves which run it makes, or sends the run's last checkpoint, so that
another worker goes on from there to the same bits.
"""

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory, mkstemp
from time import monotonic
from typing import Any

import numpy as np

from hfcontrol.arrays.files import expand_home
from hfcontrol.arrays.threads import single_thread
from hfcontrol.errors import CheckpointError, HFControlError, TrainingError
from hfcontrol.evaluation.evaluation import evaluate
from hfcontrol.jobs.protocol import Channel
from hfcontrol.jobs.shipping import Parcel, SentPlant, pack_run, unpack_run
from hfcontrol.runs.folder import RunFolder
from hfcontrol.runs.machine import Machine
from hfcontrol.runs.run import Run
from hfcontrol.runs.settings import Settings
from hfcontrol.runs.training import Training, continue_training, start_training
from hfcontrol.training.state import Event, Stop, TrainingState

NO_MEMORY = "there was not enough memory; use fewer `jobs`"

# Sending checkpoints back takes at most this share of a training's time.
SENDING_SHARE = 0.1


@dataclass(frozen=True)
class Outcome:
    """Result of one training: run folder, loss, counts, seconds, why it stopped."""

    seed: int
    path: Path
    loss: float
    updates: int
    rollouts: int
    seconds: float
    stop: str


@dataclass(frozen=True)
class Caller:
    """Who submits jobs: its machine, its plants by their names, its folder of runs.

    mark: a file in that folder, by which a worker finds out whether it sees the same
        folder; None on the caller's own machine, where it does.
    """

    machine: Machine
    plants: dict[str, SentPlant]
    out: Path
    mark: Path | None

    @property
    def sees_folder(self) -> bool:
        """Whether the caller's folder of runs is here."""
        return self.mark is None or self.mark.exists()


@contextmanager
def make_caller(plants: set[str], out: Path | str | None, local: bool) -> Iterator[Any]:
    """Yield this machine as a `Caller`, for jobs with these plants.

    Raises PlantError for a plant that cannot be loaded, and CheckpointError if the
    folder cannot be written.
    """
    folder = expand_home(out or "weights")
    sent = {name: SentPlant.pack(name) for name in sorted(plants)}
    if local:
        yield Caller(Machine.here(), sent, folder, None)
        return
    folder = folder.resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, mark = mkstemp(prefix=".hfcontrol-", dir=folder)
    except OSError as error:
        raise CheckpointError(
            f"cannot write to {folder}: {error.strerror}; choose a writable folder "
            "with `out`"
        ) from None
    os.close(descriptor)
    try:
        yield Caller(Machine.here(), sent, folder, Path(mark))
    finally:
        with suppress(OSError):
            os.unlink(mark)


@dataclass(frozen=True)
class TrainingJob:
    """Everything that a worker needs for one training.

    command: recorded in the checkpoints.
    run: a run to go on with, which need not be finished.
    judge: of which trials the optimum is found at the end, as in `evaluate`; None to
        evaluate nothing.
    """

    settings: Settings
    caller: Caller
    command: str | None = None
    run: Path | None = None
    judge: str | None = None


@dataclass(frozen=True)
class JobResult:
    """What a worker reports of its job: an outcome, an unfinished curriculum, a fault.

    All three are None for a job that was not started because the user stopped.
    `mismatch` says which versions differ from the caller's: nothing was trained then.
    `parcel` holds the files of a run that is not in the caller's folder.
    """

    seed: int
    outcome: Outcome | None = None
    unfinished: Path | None = None  # run folder, for --resume
    fault: str | None = None
    mismatch: str | None = None
    machine: Machine | None = None
    parcel: Parcel | None = None
    evaluation: dict[str, Any] | None = None


def train_job(key: str, job: TrainingJob, channel: Channel) -> JobResult:
    """Train in a worker, until the training ends or a stop is requested."""
    seed = job.settings.seed
    # After a request to stop, an engine still runs the jobs that it has not started.
    if channel.stopped:
        return JobResult(seed)
    here = Machine.here()
    mismatch = here.find_difference(job.caller.machine)
    if mismatch is not None:
        return JobResult(seed, mismatch=mismatch)
    try:
        with job.caller.plants[job.settings.plant].use():
            return _Worker(key, job, channel, here).train()
    except HFControlError as error:
        return JobResult(seed, fault=str(error))
    except MemoryError:
        return JobResult(seed, fault=NO_MEMORY)


class _Worker:
    """A job in progress."""

    def __init__(
        self, key: str, job: TrainingJob, channel: Channel, here: Machine
    ) -> None:
        self.key = key
        self.job = job
        self.channel = channel
        self.here = here
        self.is_shared = job.caller.sees_folder
        self._send_after = 0.0

    def train(self) -> JobResult:
        """Train in the caller's folder, or in one that is sent back."""
        if self.is_shared:
            return self._train(self.job.caller.out)
        with TemporaryDirectory(prefix="hfcontrol-") as folder:
            return self._train(Path(folder))

    def _train(self, out: Path) -> JobResult:
        is_local = self.job.caller.mark is None
        # Processes of this machine have one thread anyway, or are the caller.
        threads = nullcontext() if is_local else single_thread()
        # What runs away is reported in words, not by warnings of NumPy.
        with threads, np.errstate(all="ignore"):
            run = self._find_run(out)
            if run is not None and is_finished(run):
                result = JobResult(self.job.settings.seed, outcome_of(run))
            else:
                training = self._begin(run, out)
                self._save(training.folder.path)
                result = self._follow(training)
            evaluation = self._evaluate(result.outcome)
            path = result.outcome.path if result.outcome else result.unfinished
            assert path is not None
            parcel = None if self.is_shared else pack_run(path)
        return JobResult(
            result.seed,
            result.outcome,
            result.unfinished,
            machine=self.here,
            parcel=parcel,
            evaluation=evaluation,
        )

    def _find_run(self, out: Path) -> Run | None:
        """Return the run that another worker has begun, or that the job names."""
        content = self.channel.saved(self.key)
        path = self.job.run
        if content is not None:
            # Of a worker with the same program, which has the caller's trust.
            saved = pickle.loads(content)
            is_parcel = isinstance(saved, Parcel)
            path = unpack_run(saved, out) if is_parcel else saved
        if path is None:
            return None
        folder = RunFolder(path)
        if not folder.checkpoints() and not folder.curriculum_file:
            # Its worker was lost before it had saved anything.
            _remove_empty(path)
            return None
        plant = self.job.settings.plant
        return Run.load(path, allow_unfinished=True, plant=plant)

    def _begin(self, run: Run | None, out: Path) -> Training:
        if run is None:
            return start_training(self.job.settings, out, command=self.job.command)
        return continue_training(run)

    def _save(self, path: Path) -> None:
        """Keep where the run is, or what it goes on from, for another worker."""
        if self.is_shared:
            self.channel.save(self.key, pickle.dumps(path))
            return
        began = monotonic()
        if began < self._send_after:
            return
        parcel = pack_run(path, newest_only=True)
        if parcel.files:
            self.channel.save(self.key, pickle.dumps(parcel))
        ended = monotonic()
        self._send_after = ended + (ended - began) / SENDING_SHARE

    def _follow(self, training: Training) -> JobResult:
        """Run a training to its end; report every hold."""
        for event in training.events(self.channel):
            # Earlier events hold large arrays, so that none is kept.
            if event.kind in ("start", "hold"):
                self._report(event, training.folder.path.name)
            if event.kind != "update" and not self.is_shared:
                self._save(training.folder.path)
        return _result(training, event)

    def _report(self, event: Event, run: str) -> None:
        numbers = {
            "run": run,
            "seed": self.job.settings.seed,
            "updates": event.state.updates,
            "loss": float(event.state.loss),
            "host": self.here.host,
            "process": os.getpid(),
        }
        self.channel.report(self.key, numbers)

    def _evaluate(self, outcome: Outcome | None) -> dict[str, Any] | None:
        """Evaluate a training that has ended by itself, if the job asks for it."""
        judge = self.job.judge
        if judge is None or outcome is None or outcome.stop == INTERRUPTED:
            return None
        run = Run.load(outcome.path, plant=self.job.settings.plant)
        return dict(evaluate(run, judge=judge))


INTERRUPTED = Stop.INTERRUPTED.word


def is_finished(run: Run) -> bool:
    """Whether a run has ended by itself."""
    stop = run.tree.get("stop")
    return run.curriculum is None and stop not in (None, INTERRUPTED)


def outcome_of(run: Run) -> Outcome:
    """Return the outcome of a run at its checkpoint."""
    stop = run.tree.get("stop") or INTERRUPTED
    return _outcome(run.settings.seed, run.path, run.state, stop)


def _outcome(seed: int, path: Path, state: TrainingState, stop: str) -> Outcome:
    return Outcome(
        seed,
        path,
        state.controller_loss,
        state.updates,
        state.rollouts,
        state.seconds,
        stop,
    )


def _remove_empty(path: Path) -> None:
    """Remove a run folder without any checkpoint."""
    with suppress(OSError):
        (path / "lock").unlink(missing_ok=True)
        path.rmdir()


def _result(training: Training, event: Event) -> JobResult:
    """Return the result of a training that ended with `event`."""
    seed, path = training.settings.seed, training.folder.path
    if event.kind == "curriculum":
        return JobResult(seed, unfinished=path)
    assert event.stop is not None
    return JobResult(seed, _outcome(seed, path, event.state, event.stop.word))


def receive(result: JobResult, caller: Caller) -> JobResult:
    """Return a result whose run is in the caller's folder.

    Raises TrainingError if the versions of the worker are not the caller's, and
    CheckpointError if the folder cannot be written.
    """
    if result.mismatch is not None:
        raise TrainingError(result.mismatch)
    if result.parcel is None:
        return result
    path = unpack_run(result.parcel, caller.out)
    outcome = result.outcome and replace(result.outcome, path=path)
    unfinished = result.unfinished and path
    return replace(result, parcel=None, outcome=outcome, unfinished=unfinished)
