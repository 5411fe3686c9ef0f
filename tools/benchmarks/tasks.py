"""How good controllers are after some seconds of training, for every task.

They are evaluated on held-out scenarios: the ratio of mean cost to mean optimal cost,
the error at the arrivals, and the part of 1,000 trials that succeed as the task
demands. A case may be tested under other conditions than those of its training. Kernels
are compiled before the clock starts.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numba
import numpy as np

from benchmarks.cases import EVERYTHING, Selection, measure_selected
from benchmarks.report import SMALLEST, SMALLEST_SECONDS, Row, machine, show, table
from hfcontrol.api.training import train
from hfcontrol.evaluation.evaluation import compare_with_optimum, summarise
from hfcontrol.runs.run import Run
from hfcontrol.runs.settings import Settings as RunSettings

Settings = dict[str, Any]

DELAYED: Settings = {
    "feedback_delay": "40ms",
    "command_delay": "20ms",
    "motor_noise": "5%",
}
# More trials than by default: each has another strength of the field.
CURL: Settings = {"curl_field": 13.0, "trials": 256}

# Held-out trials in which successes are counted; the yardstick takes fewer.
SUCCESS_TRIALS = 1000


@dataclass(frozen=True)
class Case:
    """A task, how long it is trained and how it is tested.

    seconds: of training; None for a training that its settings limit.
    settings: of the training.
    tested: settings to test with, None for the same.
    judged: held-out trials of the yardstick, None for as many as the task says.
    """

    plant: str
    task: str
    seconds: float | None
    settings: Settings = field(default_factory=dict)
    tested: Settings | None = None
    judged: int | None = None

    @property
    def test_settings(self) -> Settings:
        """The settings with which it is tested."""
        return self.settings if self.tested is None else self.tested

    @property
    def name(self) -> str:
        """What tells it from the other cases."""
        return case_name(self.plant, self.task, self.settings, self.test_settings)


CASES = (
    Case("arm1", "angle", 20),
    Case("arm3", "reach", 90),
    Case("arm2", "anywhere", 30),
    Case("arm2_todorov", "anywhere", 30),
    Case("arm3", "anywhere", 120, judged=512),
    Case("arm2", "out_and_back", 40),
    Case("arm2", "follow", 60),
    Case("arm2", "posture", 60),
    Case("arm2", "reach", 30, DELAYED),
    Case("arm2", "reach", 30, {}, DELAYED),
    Case("arm2", "reach", 60, CURL),
    Case("arm2", "reach", 60, {**CURL, "recurrent": ()}),
    Case("arm2", "reach", 60, {}, CURL),
    Case("linear", "stabilise", 10),
    Case("pendulum", "balance", 30),
    Case("pendulum", "swing_up", 90),
    Case("acrobot", "balance", 60),
    Case("acrobot", "swing_up", 240),
    Case("cartpole", "balance", 60),
    Case("cartpole", "swing_up", 120),
    Case("diffdrive", "stabilise", 90),
    Case("quadrotor", "stabilise", 180, judged=64),
    Case("quadrotor", "poster", 240, judged=128),
    Case("electric", "follow", None, {"rollouts": 3000}, judged=64),
)
# Eight held-out trials, because the yardstick takes most of the time.
SMALLEST_CASE = Case("arm2", "reach", SMALLEST_SECONDS, SMALLEST, judged=8)


def measure(
    seeds: Sequence[int], smallest: bool = False, selection: Selection = EVERYTHING
) -> list[Row]:
    """Return rows of the cases: what every seed reached on the held-out set."""
    cases = {case.name: case for case in ((SMALLEST_CASE,) if smallest else CASES)}

    def measure_one(case: Case) -> Row:
        return measure_case(case, seeds)

    new, rows = measure_selected(cases, selection, row_name, measure_one)
    print_rows(new)
    return rows


def row_name(row: Row) -> str:
    """Return the name of a row's case."""
    return case_name(row["plant"], row["task"], row["settings"], row["tested"])


def case_name(
    plant: str, task: str, settings: Mapping[str, Any], tested: Mapping[str, Any]
) -> str:
    """Return the name of a case."""
    return f"{plant} {task} {option_words(settings)}; {option_words(tested)}"


def option_words(settings: Mapping[str, Any]) -> str:
    """Return settings as options of the command line."""
    words = []
    for name, value in settings.items():
        shown = "none" if value in ((), []) else value
        words.append(f"--{name.replace('_', '-')} {shown}")
    return " ".join(words)


def print_rows(rows: Sequence[Row]) -> None:
    """Print rows as a table, the worst of the seeds."""
    header = (
        "plant",
        "task",
        "trained with",
        "tested with",
        "seconds",
        "cores",
        "ratio",
        "success",
        "error mean",
        "error max",
    )
    title = "held-out scenarios after training (worst of the seeds)"
    table(title, header, [row_cells(row) for row in rows])


def row_cells(row: Row) -> list[Any]:
    """Return the cells of a row in the printed table."""
    about = [
        row["plant"],
        row["task"],
        option_words(row["settings"]),
        option_words(row["tested"]),
        row["seconds"],
        row["threads"],
    ]
    ratio = "-" if row["ratio"] is None else show(max(row["ratio"]), 5)
    success = f"{100 * min(row['success']):.1f} %"
    unit = row["unit"]
    errors = [f"{show(max(row[name]))} {unit}" for name in ("error", "error_max")]
    return [*about, ratio, success, *errors]


def measure_case(case: Case, seeds: Sequence[int]) -> Row:
    """Return the row of a case, from trainings with each seed."""
    summaries = []
    taken = []
    for seed in seeds:
        summary, seconds = train_and_test(case, seed)
        summaries.append(summary)
        taken.append(seconds)
        print_seed(case, seed, summary, seconds)

    ratios = [summary["ratio"] for summary in summaries]
    errors = [summary["errors"] for summary in summaries]
    figures = {
        "ratio": None if None in ratios else ratios,
        "success": [summary["success"] for summary in summaries],
        "error": [largest(arrivals, "mean") for arrivals in errors],
        "error_max": [largest(arrivals, "max") for arrivals in errors],
        "unit": summaries[0]["error"]["unit"],
    }
    return {
        **asdict(case),
        "seconds": case.seconds or round(max(taken)),
        "threads": numba.get_num_threads(),
        "tested": case.test_settings,
        "seeds": list(seeds),
        **figures,
        "processor": machine()["processor"],
    }


def print_seed(case: Case, seed: int, summary: Row, seconds: float) -> None:
    """Print what one seed reached: a case may take minutes per seed."""
    error = summary["error"]
    name = f"{case.plant} {case.task} {option_words(case.settings)} seed {seed}"
    ratio = show(summary["ratio"], 5)
    errors = f"{show(error['mean'])} (max {show(error['max'])}) {error['unit']}"
    success = f"{summary['success']:.3f}"
    print(
        f"{name}: {seconds:.1f} s, ratio {ratio}, success {success}, error {errors}",
        flush=True,
    )


def largest(arrivals: Sequence[Row], name: str) -> float:
    """Return the largest error of all arrivals."""
    return max(arrival[name] for arrival in arrivals)


def train_and_test(case: Case, seed: int) -> tuple[Row, float]:
    """Return the summary of the held-out set after a training, and its seconds."""
    settings = dict(case.settings)
    if case.seconds is not None:
        settings["max_seconds"] = case.seconds
    with tempfile.TemporaryDirectory() as folder:
        run = train(case.plant, task=case.task, seed=seed, out=folder, **settings)
        tested = run.settings.changed(**(case.tested or {}))
        comparison = compare_with_optimum(run, "held_out", tested, case.judged)
        summary = summarise(comparison)
        summary["success"] = success_rate(run, tested)
    return summary, run.state.seconds


def success_rate(run: Run, settings: RunSettings) -> float:
    """Return the part of many held-out trials that succeed."""
    loop = run.closed_loop("held_out", settings, trials=SUCCESS_TRIALS)
    rollout = loop.rollout(run.theta)
    return float(np.mean(run.task(settings).success(rollout, loop.scenario)))
