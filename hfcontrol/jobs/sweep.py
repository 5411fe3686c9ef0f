"""Train a sweep; what has finished in its folder is not trained again.

The run folders themselves say what has been done: a run belongs to a training of the
sweep if settings and plant are equal. One that has not finished goes on.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfcontrol.errors import CheckpointError, TrainingError
from hfcontrol.evaluation.run_table import result_columns
from hfcontrol.jobs.seeds import choose_processes
from hfcontrol.jobs.sweep_file import Point, Sweep
from hfcontrol.jobs.sweep_table import SCORES, SweepTable, read_scores
from hfcontrol.jobs.training_job import (
    INTERRUPTED,
    JobResult,
    Outcome,
    outcome_of,
)
from hfcontrol.jobs.trainings import Followers, Plan, run_trainings
from hfcontrol.plant.registry import load_plant
from hfcontrol.runs.folder import RunFolder, list_runs, thin
from hfcontrol.runs.form import check_settings
from hfcontrol.runs.run import Run
from hfcontrol.runs.settings import Settings

NOT_STARTED = "not started; the same command trains it"
UNFINISHED = "stopped before its end; the same command continues it"


@dataclass(frozen=True)
class _Found:
    """A run in the sweep's folder: its settings, its plant, whether it has finished."""

    path: Path
    settings: Settings
    plant: tuple[Any, Any]  # the hashes of its files
    is_finished: bool


class _Progress:
    """Rows of the trainings that have finished, and why others have not."""

    def __init__(self, sweep: Sweep, points: list[Point]) -> None:
        self.sweep = sweep
        self.points = points
        names = [name for point in points for name in point.varied]
        self.varied = list(dict.fromkeys(names))
        self.rows: dict[int, dict[str, Any]] = {}
        self.lost: dict[int, str] = {}

    def add(self, number: int, outcome: Outcome, scores: dict[str, Any]) -> None:
        """Add the row of a training."""
        point = self.points[number]
        self.rows[number] = {
            **{name: getattr(point.settings, name) for name in self.varied},
            "seed": outcome.seed,
            "loss": outcome.loss,
            **{name: scores.get(name) for name in SCORES},
            "updates": outcome.updates,
            "rollouts": outcome.rollouts,
            "seconds": outcome.seconds,
            "stop": outcome.stop,
            "run": outcome.path.name,
        }
        self.lost.pop(number, None)

    def table(self) -> SweepTable:
        """Return what there is so far, in the order of the sweep."""
        rows = [self.rows[number] for number in sorted(self.rows)]
        lost = {
            self.points[number].label: why for number, why in sorted(self.lost.items())
        }
        return SweepTable(rows, self.varied, self.sweep.out, lost)


def run_sweep(
    sweep: Sweep,
    jobs: int | None = None,
    backend: str | None = None,
    judge: str = "auto",
    command: Callable[[Point], str] | None = None,
    follow: Followers | None = None,
) -> SweepTable:
    """Train a sweep; return its table, which is in its folder as CSV too.

    jobs, backend: as in `train_seeds`.
    judge: of which trials the optimum is found, as in `evaluate`.
    command: the command line that a run records.
    follow: what is called with outcomes, messages and reports.

    A signal stops all trainings after their update; the same call continues them.
    Raises UsageError for wrong settings, and TrainingError if none has finished.
    """
    follow = follow or Followers()
    points = sweep.trainings()
    processes = choose_processes(points[0].settings, jobs, backend, follow.message)
    progress = _Progress(sweep, points)
    plans = list(_plan(progress, judge, command))
    if len(plans) < len(points):
        done = len(points) - len(plans)
        follow.message(f"{done} of {len(points)} trainings have finished before")
    with suppress(KeyboardInterrupt):  # a second Ctrl-C: the table of what there is
        _train(plans, progress, backend, processes, follow)
    table = progress.table()
    if not table.rows:
        reasons = set(table.lost.values()) or {NOT_STARTED}
        raise TrainingError(f"no training of the sweep has finished: {min(reasons)}")
    table.save()
    return table


def _plan(
    progress: _Progress, judge: str, command: Callable[[Point], str] | None
) -> Iterator[Plan]:
    """Yield the trainings that are left; add the rows of the others."""
    out = progress.sweep.out
    runs = list(_find_runs(out))
    known = read_scores(out)
    plants = {}
    for number, point in enumerate(progress.points):
        settings = point.settings
        if settings.plant not in plants:
            plant = load_plant(settings.plant)
            plants[settings.plant] = (plant.source_hash, dict(plant.inputs))
        found = _match(runs, settings, plants[settings.plant])
        scores = known.get(found.path.name) if found else None
        if found and found.is_finished and scores and _suffices(scores, judge):
            run = Run.load(found.path, plant=settings.plant)
            progress.add(number, outcome_of(run), scores)
            continue
        progress.lost[number] = NOT_STARTED
        recorded = command and command(point)
        path = found.path if found else None
        yield Plan(str(number), settings, recorded, path, judge)


def _suffices(scores: dict[str, float | None], judge: str) -> bool:
    """Whether known numbers hold those that are asked for."""
    if scores["held_out_loss"] is None:
        return scores["return"] is not None
    return judge == "none" or scores["ratio"] is not None


def _find_runs(out: Path) -> Iterator[_Found]:
    """Yield the runs in a folder, of which only headers are read."""
    for folder in list_runs([out]) if out.is_dir() else []:
        with suppress(CheckpointError):
            yield _read(folder)


def _read(folder: RunFolder) -> _Found:
    file = folder.curriculum_file
    tree = folder.load(file or "newest", arrays=False)
    plant = tree.get("plant")
    digest = plant.get("hash") if isinstance(plant, dict) else None
    stop = tree.get("stop")
    has_ended = file is None and stop not in (None, INTERRUPTED)
    settings = check_settings(tree.get("settings"))
    return _Found(folder.path, settings, (digest, tree.get("inputs")), has_ended)


def _match(
    runs: list[_Found], settings: Settings, plant: tuple[Any, Any]
) -> _Found | None:
    """Return the run of these settings, a finished one first."""
    same = [run for run in runs if run.settings == settings and run.plant == plant]
    return next((run for run in same if run.is_finished), same[0] if same else None)


def _train(
    plans: list[Plan],
    progress: _Progress,
    backend: str | None,
    processes: int,
    follow: Followers,
) -> None:
    """Train what is left, and write the table after each training."""
    if not plans:
        return
    updates = run_trainings(
        plans, progress.sweep.out, backend, processes, follow.message
    )
    for update in updates:
        number = int(update.key)
        if update.kind == "report":
            label = progress.points[number].label
            follow.report({**update.value, "name": label})
        elif update.kind == "lost":
            progress.lost[number] = update.value
        else:
            _add_result(number, update.value, progress, follow)


def _add_result(
    number: int, result: JobResult, progress: _Progress, follow: Followers
) -> None:
    """Add what a worker reports of its training."""
    outcome = result.outcome
    if result.fault is not None:
        progress.lost[number] = result.fault
    elif outcome is None or outcome.stop == INTERRUPTED:
        if outcome or result.unfinished:
            progress.lost[number] = UNFINISHED
    else:
        assert result.evaluation is not None
        progress.add(number, outcome, result_columns(result.evaluation))
        # Hundreds of runs with a checkpoint per hold would fill the disk.
        thin(outcome.path, keep=1)
        progress.table().save()
        follow.outcome(outcome)
