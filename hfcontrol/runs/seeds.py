"""Train the same settings with many seeds; each seed makes the run of `--seed` alone.

On the CPU the seeds train in parallel processes with one thread each. On a GPU they
train one after another, because each of them uses the whole device.
"""

import os
import warnings
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

from joblib import delayed

from hfcontrol.arrays.device import resolve_device
from hfcontrol.errors import HFControlError, TrainingError, UsageError
from hfcontrol.runs.folder import thin
from hfcontrol.runs.interrupts import stop_on_signal
from hfcontrol.runs.processes import StopFile, end_processes, run_calls
from hfcontrol.runs.settings import Settings
from hfcontrol.runs.training import Training, start_training
from hfcontrol.training.state import Event

# A longer range is more likely a typing error than a plan.
MOST_SEEDS = 1024

LOST_PROCESS = (
    "its process, or that of another seed, ended unexpectedly, perhaps for lack of "
    "memory; use fewer `jobs`"
)
NO_MEMORY = "there was not enough memory; use fewer `jobs`"
Results: TypeAlias = Generator["SeedResult", None, None]
OutFolder: TypeAlias = Path | str | None
OnMessage: TypeAlias = Callable[[str], object] | None


@dataclass(frozen=True)
class Outcome:
    """Result of one seed: run folder, loss, counts, seconds, and why it stopped."""

    seed: int
    path: Path
    loss: float
    updates: int
    rollouts: int
    seconds: float
    stop: str


OnOutcome: TypeAlias = Callable[[Outcome], object] | None


@dataclass(frozen=True)
class SeedOutcomes:
    """Results of all seeds: the outcomes, the best first, and why others were lost.

    Seeds that the user stopped before they had started are `not_started`.
    """

    best_first: list[Outcome]
    lost: dict[int, str]
    not_started: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class SeedResult:
    """What a job reports of its seed: an outcome, an unfinished curriculum or a fault.

    All three are None for a seed that was not started because the user stopped.
    """

    seed: int
    outcome: Outcome | None = None
    unfinished: Path | None = None  # run folder, for --resume
    fault: str | None = None


@dataclass(frozen=True)
class Job:
    """Everything that a process needs to train one seed."""

    settings: Settings
    out: OutFolder
    command: str | None  # recorded in the checkpoints

    @classmethod
    def for_seed(
        cls, settings: Settings, seed: int, out: OutFolder, command: str | None
    ) -> "Job":
        """The job of one seed of a batch that shares settings, folder and command."""
        # The command in a checkpoint makes that run alone.
        own_command = command and f"{command} --seed {seed}"
        return cls(settings.changed(seed=seed), out, own_command)


class _Results:
    """Collects the results of all seeds, and passes each on as it comes."""

    def __init__(
        self,
        on_outcome: OnOutcome,
        on_message: OnMessage,
    ) -> None:
        self.outcomes: list[Outcome] = []
        self.lost: dict[int, str] = {}
        self.not_started: list[int] = []
        self.reported: set[int] = set()
        self.on_outcome = on_outcome
        self.on_message = on_message

    def add(self, result: SeedResult) -> None:
        """Keep a result; unfinished runs are only announced, `--resume` finds them."""
        self.reported.add(result.seed)
        if result.fault is not None:
            self.lost[result.seed] = result.fault
        elif result.unfinished is not None:
            self.say(
                f"seed {result.seed:4d}  stopped in its curriculum; continue with: "
                f"hfcontrol train --resume {result.unfinished}"
            )
        elif result.outcome is not None:
            self.outcomes.append(result.outcome)
            if self.on_outcome:
                self.on_outcome(result.outcome)
        else:
            self.not_started.append(result.seed)

    def say(self, message: str) -> None:
        """Pass a message on."""
        if self.on_message:
            self.on_message(message)

    def all(self) -> SeedOutcomes:
        """The outcomes by increasing loss; TrainingError if there is none."""
        lost = dict(sorted(self.lost.items()))
        if self.outcomes:
            # Seeds decide between equal losses, not the order in which they finished.
            ordered = sorted(self.outcomes, key=lambda o: (o.loss, o.seed))
            return SeedOutcomes(ordered, lost, sorted(self.not_started))
        reasons = set(lost.values())
        if len(reasons) == 1 and reasons != {LOST_PROCESS}:
            # One mistake in the settings of all seeds.
            raise TrainingError(*reasons.pop().split("\n"))
        if lost:
            raise TrainingError(describe_lost(lost))
        raise TrainingError(
            "stopped before any seed had finished; `hfcontrol runs` lists what was "
            "saved of them"
        )


def describe_lost(lost: dict[int, str]) -> str:
    """Return one line that names lost seeds, why, and how to train them again."""
    by_reason: dict[str, list[str]] = {}
    for seed, reason in lost.items():
        by_reason.setdefault(reason, []).append(str(seed))
    faults = []
    for reason, seeds in by_reason.items():
        noun = "seed" if len(seeds) == 1 else "seeds"
        faults.append(f"{noun} {', '.join(seeds)}: {reason}")
    return (
        f"{len(lost)} of the seeds were lost; {'; '.join(faults)}; train them again "
        f"with `seeds` {','.join(map(str, lost))}"
    )


def parse_seeds(text: str) -> list[int]:
    """Sorted seeds of a text such as "0-31" or "0,3,7"; UsageError for other texts."""
    fault = UsageError(
        f"`seeds` {text}: whole numbers such as 0-31 or 0,3,7 are allowed, at most "
        f"{MOST_SEEDS} of them"
    )
    found: set[int] = set()
    for part in str(text).split(","):
        low, dash, high = part.partition("-")
        numeric = low.isdecimal() and (high.isdecimal() if dash else True)
        if not numeric:
            raise fault

        first, last = int(low), int(high or low)
        # Checked before the range is made: 0-999999999999 must not fill the memory.
        if last - first >= MOST_SEEDS:
            raise fault
        found.update(range(first, last + 1))
    if not 1 <= len(found) <= MOST_SEEDS:
        raise fault
    return sorted(found)


def train_seeds(
    settings: Settings,
    seeds: list[int],
    out: OutFolder = None,
    jobs: int | None = None,
    command: str | None = None,
    on_outcome: OnOutcome = None,
    on_message: OnMessage = None,
) -> SeedOutcomes:
    """Train one controller per seed; returns the outcomes, and why seeds were lost.

    settings: shared by all trainings, except for the seed.
    out: where the run folders are created, default ./weights.
    jobs: number of parallel processes, default one per core on the CPU, one on a GPU.
    command: recorded in the checkpoints, with `--seed` appended.
    on_outcome: called with each `Outcome` as soon as it is known.
    on_message: called with each line about the progress of the seeds.

    SIGINT or SIGTERM stops every training after its update in progress; a second one
    stops at once. The best run keeps all checkpoints, the others keep a few. If a
    process ends unexpectedly, the seeds that were training are lost, and the others go
    on. Raises UsageError if `jobs` is below 1, DeviceError if no GPU is usable, and
    TrainingError with the first seed's own message if no seed could be trained.
    """
    if jobs is not None and jobs < 1:
        raise UsageError(f"`jobs` {jobs}: must be at least 1")
    results = _Results(on_outcome, on_message)
    try:
        processes = _choose_processes(settings, jobs, results)
        tasks = [Job.for_seed(settings, seed, out, command) for seed in seeds]
        _run_jobs(tasks, processes, results)
    except KeyboardInterrupt:  # a second Ctrl-C: report the seeds that had finished
        pass

    outcomes = results.all()
    # Hundreds of runs with a checkpoint per hold would fill the disk.
    for outcome in outcomes.best_first[1:]:
        thin(outcome.path, keep=1)
    return outcomes


def _choose_processes(settings: Settings, jobs: int | None, results: _Results) -> int:
    """The number of processes; a message says so if they share a GPU."""
    if resolve_device(settings.device) == "cpu":
        return jobs or os.cpu_count() or 1
    processes = jobs or 1
    how = "one after another" if processes == 1 else f"in {processes} processes"
    results.say(f"the seeds train on the GPU {how}")
    return processes


def _run_jobs(jobs: list[Job], processes: int, results: _Results) -> None:
    """Run the jobs in parallel processes and add their results as they finish.

    One process is this one, with all its threads. Otherwise each has one thread.
    """
    processes = min(processes, len(jobs))
    with TemporaryDirectory(prefix="hfcontrol-") as folder:
        stop_file = StopFile(Path(folder) / "stop")
        try:
            with stop_on_signal(stop_file):
                while jobs:
                    jobs = _run_until_broken(jobs, processes, stop_file, results)
        finally:
            # While the folder exists: a job that it told to stop must not go on.
            if processes > 1:
                end_processes()


def _run_until_broken(
    jobs: list[Job], processes: int, stop_file: StopFile, results: _Results
) -> list[Job]:
    """Run the jobs; return those that did not start before a process ended.

    When one process ends, joblib ends all of them.
    """
    arriving = _results(jobs, processes, stop_file)
    try:
        for result in arriving:
            results.add(result)
        return []
    except BrokenProcessPool:
        pass
    finally:
        # After an error, nobody waits for the jobs in progress: joblib kills them.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            arriving.close()
    left = [job for job in jobs if job.settings.seed not in results.reported]
    started = [job for job in left if _mark(stop_file, job).exists()]
    # Without a culprit, a new set of processes would break as well.
    for job in started or left:
        results.lost[job.settings.seed] = LOST_PROCESS
    return [job for job in left if job not in started] if started else []


def _mark(stop_file: StopFile, job: Job) -> Path:
    """Return the file that says that a job has started."""
    return stop_file.path.with_name(f"started-{job.settings.seed}")


def _results(jobs: list[Job], processes: int, stop_file: StopFile) -> Results:
    """Start the jobs and return an iterator over their results, in order of arrival."""
    calls = (delayed(_train_one)(job, stop_file) for job in jobs)
    return run_calls(calls, processes)


def _train_one(job: Job, stop_file: StopFile) -> SeedResult:
    """Train one seed, until it ends or a stop is requested."""
    seed = job.settings.seed
    # After a request to stop, joblib still runs the jobs that it has not started.
    if stop_file.stopped:
        return SeedResult(seed)
    _mark(stop_file, job).touch()
    try:
        training = start_training(job.settings, job.out, command=job.command)
        # Only the last event matters, and earlier ones hold large arrays.
        last = deque(training.events(stop_file), maxlen=1).pop()
    except HFControlError as error:
        return SeedResult(seed, fault=str(error))
    except MemoryError:
        return SeedResult(seed, fault=NO_MEMORY)
    if stop_file.orphaned:
        os._exit(1)  # nobody takes the result, and joblib would wait for another job
    return _result(training, last)


def _result(training: Training, event: Event) -> SeedResult:
    """The result of a training that ended with `event`."""
    seed, path = training.settings.seed, training.folder.path
    if event.kind == "curriculum":
        return SeedResult(seed, unfinished=path)
    assert event.stop is not None
    state = event.state
    outcome = Outcome(
        seed,
        path,
        state.controller_loss,
        state.updates,
        state.rollouts,
        state.seconds,
        event.stop.word,
    )
    return SeedResult(seed, outcome)
