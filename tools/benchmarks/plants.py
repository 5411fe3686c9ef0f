"""What `hfcontrol train --plant FILE` reaches with no other option, for any plant.

A row is a task and a seed. Seconds are those of the processor on one thread, so that
other programs do not count. Choosing the start counts as training; compiling and
judging are measured apart. A row that was measured with the same code is not measured
again.
"""

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.report import ROOT, SMALLEST, Row, machine, show, table
from hfcontrol.arrays.threads import single_thread
from hfcontrol.errors import HFControlError, UsageError
from hfcontrol.evaluation.evaluation import evaluate
from hfcontrol.plant.contract import Plant
from hfcontrol.plant.registry import load_plant, plant_names
from hfcontrol.runs.settings import Settings, settings_for
from hfcontrol.runs.training import Training, start_training
from hfcontrol.training.state import Event

# Folders whose files decide what a training does.
CODE = ("hfcontrol", "plants")

# What names a row: the same code, plant file, task and settings give the same numbers.
KEY = ("plant", "hash", "task", "settings", "limit", "seed")


# Version of code that is not committed; its rows are always measured again.
MODIFIED = "modified"

# What is measured of a training; None if it does not come so far.
MEASURED = (
    "start",
    "start_seconds",
    "compile_seconds",
    "rungs",
    "seconds",
    "updates",
    "rollouts",
    "stop",
    "training",
    "held_out",
    "loss",
    "success",
    "judged",
    "judge_seconds",
)

# A training gets at least this time, however long choosing the start took.
LEAST_SECONDS = 0.01


@dataclass(frozen=True)
class Choice:
    """What is measured: plants by name, file, folder or FILE:TASK, and limits.

    words: none for all tasks of the shipped plants.
    seconds: of training.
    settings: other settings than the defaults.
    """

    words: Sequence[str] = ()
    seconds: float = 60.0
    settings: dict[str, Any] = field(default_factory=dict)


def measure(
    seeds: Sequence[int],
    smallest: bool = False,
    choice: Choice | None = None,
    before: Sequence[Row] = (),
    save: Callable[[list[Row]], None] | None = None,
) -> list[Row]:
    """Return the rows of before and the new ones; `save` gets them after each."""
    choice = choice or Choice()
    if smallest:
        settings = {**SMALLEST, "rollouts": 2}
        choice = Choice(["pendulum:balance"], 2.0, settings)
    rows = {key_of(row): row for row in before}
    measured = []
    for name, plant, task in find_tasks(choice.words):
        for seed in seeds:
            named = name_row(plant, task, seed, choice)
            row = rows.get(key_of(named))
            if row is None or not is_current(row, named):
                row = {**named, **measure_training(name, named, choice)}
                rows[key_of(named)] = row
                if save:
                    save(list(rows.values()))
            measured.append(row)
            print("  ".join(cells_of(row)), flush=True)
    print_worst(measured)
    return list(rows.values())


def find_tasks(words: Sequence[str]) -> Iterator[tuple[str, Plant, str]]:
    """Yield names, plants and tasks: the default task of each word, or all shipped."""
    if not words:
        for name in plant_names():
            plant = load_plant(name)
            for task in plant.tasks:
                yield name, plant, task
        return
    for word in words:
        if Path(word).is_dir():
            names = sorted(map(str, Path(word).glob("*.py")))
            chosen = ""
        else:
            path, _, chosen = word.partition(":")
            names = [path]
        for name in names:
            plant = load_plant(name)
            task = chosen or next(iter(plant.tasks))
            if task not in plant.tasks:
                known = ", ".join(plant.tasks)
                raise UsageError(f"{word}: no task {task!r}; its tasks are {known}")
            yield name, plant, task


def name_row(plant: Plant, task: str, seed: int, choice: Choice) -> Row:
    """Return the entries of a row that are known before it is measured."""
    return {
        "plant": plant.name,
        "hash": plant.source_hash,
        "task": task,
        "settings": choice.settings,
        "limit": choice.seconds,
        "seed": seed,
        "code": code_version(),
    }


def key_of(row: Row) -> tuple[str, ...]:
    """Return what tells a row from others."""
    return tuple(str(row[name]) for name in KEY)


@cache
def code_version() -> str:
    """Return the last commit that changed the code; "modified" if files differ."""
    version = git("log", "-1", "--format=%h", "--", *CODE)
    changes = git("status", "--porcelain", "--", *CODE)
    return MODIFIED if changes or not version else version


def git(*words: str) -> str:
    """Return what git prints; nothing where there is no git."""
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip()


def is_current(row: Row, named: Row) -> bool:
    """Return whether a row was measured with the code of now."""
    return row["code"] == named["code"] != MODIFIED


def measure_training(name: str, named: Row, choice: Choice) -> Row:
    """Return what a training reached; "stop" says why where it cannot begin or go on.

    Every clock of the program shows the processor's time meanwhile.
    """
    found: Row = dict.fromkeys(MEASURED)
    clock = mock.patch("time.perf_counter", time.process_time)
    with single_thread(), clock, tempfile.TemporaryDirectory() as folder:
        try:
            settings = settings_for(
                plant=name,
                task=named["task"],
                seed=named["seed"],
                max_seconds=choice.seconds,
                **choice.settings,
            )
            training, found = begin(settings, folder)
            found |= train(training, choice.seconds - found["start_seconds"])
            found |= judge(training)
        except HFControlError as error:
            found["stop"] = f"error: {error}"
    return {**found, "processor": machine()["processor"]}


def begin(settings: Settings, folder: str) -> tuple[Training, Row]:
    """Return a training that is about to begin, and what that took.

    It is begun twice, so that the second time nothing is compiled.
    """
    seconds = []
    for _ in range(2):
        before = time.process_time()
        training = start_training(settings, folder)
        seconds.append(time.process_time() - before)
    cold, warm = seconds
    reasons = training.prepared.reasons
    starts = [reason for reason in reasons if reason.startswith("start:")]
    found: Row = dict.fromkeys(MEASURED)
    return training, {
        **found,
        "start": starts[-1] if starts else "start: random weights",
        "start_seconds": warm,
        "compile_seconds": max(0.0, cold - warm),
    }


def train(training: Training, seconds: float) -> Row:
    """Train for some seconds; return what was done."""
    trainer = training.trainer
    trainer.limits = replace(trainer.limits, seconds=max(seconds, LEAST_SECONDS))
    rungs: list[str] = []
    for event in training.events():
        rung = rung_of(event)
        if rung and rung not in rungs:
            rungs.append(rung)
    state = training.run.state
    return {
        "rungs": rungs,
        "seconds": state.seconds,
        "updates": state.updates,
        "rollouts": state.rollouts,
        "stop": training.run.tree["stop"],
    }


def rung_of(event: Event) -> str:
    """Return the rung that begins, or the curriculum in progress, in a few words."""
    if event.kind == "rung":
        # after it stands why
        return event.activity.removeprefix("next: ").partition(";")[0]
    # after it stands how far the curriculum has come
    return event.activity.partition(":")[0].partition(",")[0]


def judge(training: Training) -> Row:
    """Return the ratios of the trained controller, and how long judging took."""
    before = time.process_time()
    sets = evaluate(training.run)["sets"]
    return {
        "training": sets["training"]["ratio"],
        "held_out": sets["held_out"]["ratio"],
        "loss": sets["held_out"]["loss"],
        "success": sets["held_out"]["success"],
        "judged": sets["held_out"]["judged"],
        "judge_seconds": time.process_time() - before,
    }


HEADER = (
    "plant",
    "task",
    "seed",
    "training s",
    "updates",
    "training",
    "held-out",
    "stop",
    "start s",
    "compiling s",
    "judging s",
    "start and rungs",
)


def cells_of(row: Row) -> list[str]:
    """Return the cells of a printed row."""
    seconds = (row["start_seconds"], row["compile_seconds"], row["judge_seconds"])
    start = (row["start"] or "-").removeprefix("start: ")
    words = [start, *(row["rungs"] or [])]
    return [
        row["plant"],
        row["task"],
        str(row["seed"]),
        show(row["seconds"]),
        show(row["updates"], 6),
        show(row["training"], 6),
        show(row["held_out"], 6),
        row["stop"],
        *map(show, seconds),
        "; ".join(words),
    ]


def print_worst(rows: Sequence[Row]) -> None:
    """Print the worst seed of every task, by the held-out ratio."""
    lines = [cells_of(worst) for worst in worst_rows(rows)]
    table("the worst seed of every task", HEADER, lines)


def worst_rows(rows: Sequence[Row]) -> list[Row]:
    """Return the row of the worst seed of every task."""
    by_task: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        by_task.setdefault((row["plant"], row["task"]), []).append(row)
    return [max(same, key=badness) for same in by_task.values()]


def badness(row: Row) -> tuple[bool, float]:
    """Return a value to sort rows by: failures last, then by ratio or loss."""
    value = row["held_out"] if row["held_out"] is not None else row["loss"]
    return value is None, value or 0.0
