"""Train the same settings with many seeds; each seed makes the run of `--seed` alone.

On the CPU the seeds train in parallel processes with one thread each, or on a cluster.
On a GPU of this machine they train one after another, because each of them uses the
whole device.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from hfcontrol.arrays.device import resolve_device
from hfcontrol.errors import TrainingError, UsageError
from hfcontrol.jobs.backends import LOCAL, check_backend
from hfcontrol.jobs.protocol import LOST_WORKER
from hfcontrol.jobs.training_job import JobResult, Outcome
from hfcontrol.jobs.trainings import Followers, OnMessage, Plan, run_trainings
from hfcontrol.runs.folder import thin
from hfcontrol.runs.settings import Settings

# A longer range is more likely a typing error than a plan.
MOST_SEEDS = 1024

NOBODY = Followers()
OutFolder: TypeAlias = Path | str | None


@dataclass(frozen=True)
class SeedOutcomes:
    """Results of all seeds: the outcomes, the best first, and why others were lost.

    Seeds that the user stopped before they had started are `not_started`.
    """

    best_first: list[Outcome]
    lost: dict[int, str]
    not_started: list[int] = field(default_factory=list)


def plan_seed(settings: Settings, seed: int, command: str | None) -> Plan:
    """Return the training of one seed of a batch that shares settings and command."""
    # The command in a checkpoint makes that run alone.
    own_command = command and f"{command} --seed {seed}"
    return Plan(f"seed{seed}", settings.changed(seed=seed), own_command)


class _Results:
    """Collects the results of all seeds, and passes each on as it comes."""

    def __init__(self, follow: Followers) -> None:
        self.follow = follow
        self.outcomes: list[Outcome] = []
        self.lost: dict[int, str] = {}
        self.not_started: list[int] = []

    def add(self, result: JobResult) -> None:
        """Keep a result; unfinished runs are only announced, `--resume` finds them."""
        if result.fault is not None:
            self.lost[result.seed] = result.fault
        elif result.unfinished is not None:
            self.follow.message(
                f"seed {result.seed:4d}  stopped in its curriculum; continue with: "
                f"hfcontrol train --resume {result.unfinished}"
            )
        elif result.outcome is not None:
            self.outcomes.append(result.outcome)
            self.follow.outcome(result.outcome)
        else:
            self.not_started.append(result.seed)

    def all(self) -> SeedOutcomes:
        """The outcomes by increasing loss; TrainingError if there is none."""
        lost = dict(sorted(self.lost.items()))
        if self.outcomes:
            # Seeds decide between equal losses, not the order in which they finished.
            ordered = sorted(self.outcomes, key=lambda o: (o.loss, o.seed))
            return SeedOutcomes(ordered, lost, sorted(self.not_started))
        reasons = set(lost.values())
        if len(reasons) == 1 and reasons != {LOST_WORKER}:
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
    follow: Followers = NOBODY,
    backend: str | None = None,
) -> SeedOutcomes:
    """Train one controller per seed; returns the outcomes, and why seeds were lost.

    settings: shared by all trainings, except for the seed.
    out: where the run folders are created, default ./weights.
    jobs: number of parallel processes, default one per core on the CPU, one on a GPU.
    command: recorded in the checkpoints, with `--seed` appended.
    follow: what is called with outcomes, messages and reports.
    backend: local, dask:ADDRESS or ray:ADDRESS.

    SIGINT or SIGTERM stops every training after its update in progress; a second one
    stops at once. The best run keeps all checkpoints, the others keep a few. If a
    worker ends unexpectedly, its seed goes on in another one from its last checkpoint;
    it is lost if that fails three times. Raises UsageError if `jobs` is below 1 or
    nobody answers at the backend's address, DeviceError if no GPU is usable, and
    TrainingError with the first seed's own message if no seed could be trained.
    """
    results = _Results(follow)
    try:
        processes = choose_processes(settings, jobs, backend, follow.message)
        plans = [plan_seed(settings, seed, command) for seed in seeds]
        _run(plans, out, backend, processes, results)
    except KeyboardInterrupt:  # a second Ctrl-C: report the seeds that had finished
        pass

    outcomes = results.all()
    # Hundreds of runs with a checkpoint per hold would fill the disk.
    for outcome in outcomes.best_first[1:]:
        thin(outcome.path, keep=1)
    return outcomes


def choose_processes(
    settings: Settings,
    jobs: int | None,
    backend: str | None,
    say: OnMessage,
) -> int:
    """Return the number of processes here; a message says so if they share a GPU.

    Raises UsageError for a number below 1, or one for a cluster.
    """
    if jobs is not None and jobs < 1:
        raise UsageError(f"`jobs` {jobs}: must be at least 1")
    if check_backend(backend) != LOCAL:
        if jobs is not None:
            raise UsageError(
                f"`jobs` {jobs} with `backend` {backend}: the cluster has as many jobs "
                "at a time as workers; leave it out"
            )
        return 1
    if resolve_device(settings.device) == "cpu":
        return jobs or os.cpu_count() or 1
    processes = jobs or 1
    how = "one after another" if processes == 1 else f"in {processes} processes"
    say(f"the seeds train on the GPU {how}")
    return processes


def _run(
    plans: list[Plan],
    out: OutFolder,
    backend: str | None,
    processes: int,
    results: _Results,
) -> None:
    """Run trainings and add their results as they finish."""
    seeds = {plan.key: plan.settings.seed for plan in plans}
    for update in run_trainings(plans, out, backend, processes, results.follow.message):
        if update.kind == "finished":
            results.add(update.value)
        elif update.kind == "lost":
            results.add(JobResult(seeds[update.key], fault=update.value))
        else:
            results.follow.report(update.value)
