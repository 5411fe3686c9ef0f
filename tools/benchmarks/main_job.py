"""Seconds to a loss or ratio, for every cost of the reach task, on both arms."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks.report import (
    PRECISE_NAME,
    SMALLEST,
    SMALLEST_SECONDS,
    Result,
    Row,
    show,
    spread,
    table,
    train_to,
)
from hfcontrol.arrays.random import Stream, stream
from hfcontrol.evaluation.evaluation import path_deviation
from hfcontrol.optim.yardstick import optimum
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.settings import Settings

# 5e-5 is somewhat below the loss of the source's published weights.
LOSSES = (1e-2, 1e-3, 5e-5, 1e-6, 1e-8)
RATIOS = (1.1, 1.02, 1.01, 1.001)
MEASURES = ("seconds", "updates", "rollouts", "products")


class Case(NamedTuple):
    """A training: its name, settings, thresholds, and by what they are measured."""

    name: str
    settings: dict[str, Any]
    thresholds: Sequence[float]
    by: str = "ratio"
    max_seconds: float = 120

    @property
    def threshold_names(self) -> list[str]:
        """Names of the thresholds, that of the hand among them if a ratio counts."""
        names = [str(threshold) for threshold in self.thresholds]
        return [*names, PRECISE_NAME] if self.by == "ratio" else names

    def smallest(self) -> "Case":
        """Return the case on a tiny problem, for a moment."""
        settings = {**self.settings, **SMALLEST}
        return self._replace(settings=settings, max_seconds=SMALLEST_SECONDS)


COSTS = (
    Case("final state only", {"effort": 0.0}, LOSSES, "loss"),
    Case("default (effort 1e-5)", {}, RATIOS),
    Case("effort 1e-4", {"effort": 1e-4}, RATIOS),
    Case("running 0.05, effort 1e-3", {"running": 0.05, "effort": 1e-3}, RATIOS),
)
LARGE = Case(
    "arm2, 96+96 units, 100 steps, effort 1e-4",
    {"effort": 1e-4, "hidden": (96, 96), "steps": 100},
    (1.02, 1.01),
    max_seconds=300,
)
LARGE_SEEDS = 5  # at most: each takes minutes


def measure(seeds: Sequence[int], smallest: bool = False) -> list[Row]:
    """Return rows of cost, plant and threshold, with the spread over the seeds."""
    if smallest:
        return [row for case in COSTS[:2] for row in run_case(case.smallest(), seeds)]
    rows = []
    for plant in ("arm2", "arm2_todorov"):
        for cost in COSTS:
            settings = {"plant": plant, **cost.settings}
            case = cost._replace(name=f"{plant}, {cost.name}", settings=settings)
            rows += run_case(case, seeds)
    return rows + run_case(LARGE, seeds[:LARGE_SEEDS])


def run_case(case: Case, seeds: Sequence[int]) -> list[Row]:
    """Return the rows of one case, one per threshold; prints them too."""
    results: list[Result] = []
    deviations = []
    settings = {**case.settings, "max_seconds": case.max_seconds}
    for seed in seeds:
        result = train_to(case.thresholds, case.by, seed=seed, **settings)
        results.append(result)
        deviations.append(path_deviations(result, seed, case.settings))
    worst = max(deviations, key=lambda found: found["controller"] / found["optimum"])
    # Both arms have a hand.
    hand_mm = max(result.hand_mm or 0.0 for result in results)

    rows: list[Row] = []
    for threshold in case.threshold_names:
        row: Row = {
            "case": case.name,
            "by": case.by,
            "threshold": threshold,
            "seeds": list(seeds),
        }
        for name in MEASURES:
            row[name] = spread([result.spent(threshold, name) for result in results])
        row["reached"] = spread([result.value(case.by) for result in results])
        rows.append(row)
    rows[0]["path_deviation"] = worst
    rows[0]["hand_mm"] = hand_mm
    print_case(case, rows)
    return rows


def print_case(case: Case, rows: Sequence[Row]) -> None:
    """Print the rows of a case."""
    deviation = rows[0]["path_deviation"]
    title = (
        f"{case.name} (hand error at the end {show(rows[0]['hand_mm'])} mm, "
        f"path deviation {show(deviation['controller'])} %, of the optimum "
        f"{show(deviation['optimum'])} % of the reach)"
    )
    lines = []
    for row in rows:
        medians = [show(row[name]["median"]) for name in MEASURES[1:]]
        seconds = row["seconds"]
        times = [show(seconds["median"]), show(seconds["worst"])]
        lines.append([row["threshold"], *times, *medians, seconds["missing"]])
    header = (case.by, "seconds: median", "worst", *MEASURES[1:], "not reached")
    table(title, header, lines)


def path_deviations(result: Result, seed: int, chosen: dict[str, Any]) -> Row:
    """Return the mean largest deviation from the straight line [% of reach].

    That of the controller's paths, and of the optimal ones.
    """
    settings = Settings(seed=seed, **chosen)
    trainer: Any = make_trainer(settings)
    loop = trainer.loop(stream(settings.seed, Stream.SCENARIOS))
    scenario = loop.scenario
    hand = loop.plant.hand
    goal = scenario.goal_output[-1, hand]
    best = optimum(loop.kernels, scenario, loop.wiring)
    states = {"controller": loop.rollout(result.theta).x, "optimum": best.x}

    deviations = {}
    for name, x in states.items():
        paths = loop.kernels.output(x, scenario.params)[:, hand]
        deviations[name] = 100 * float(path_deviation(paths, goal).mean())
    return deviations
