"""True rollouts that the hold `model` needs; seconds of `auto`, `model`, `scenario`."""

from collections.abc import Sequence

from benchmarks.main_job import Case, run_case
from benchmarks.report import Row

HOLDS = ("model", "scenario", "auto")
COSTS = (
    Case("final state only", {"effort": 0.0}, (5e-5,), "loss"),
    Case("default (effort 1e-5)", {}, (1.01,)),
    Case("running 0.05, effort 1e-3", {"running": 0.05, "effort": 1e-3}, (1.01,)),
    Case("effort 1e-4", {"effort": 1e-4}, (1.01,)),
)


def measure(seeds: Sequence[int], smallest: bool = False) -> list[Row]:
    """Return rows for every cost and hold."""
    rows = []
    for cost in COSTS[:1] if smallest else COSTS:
        for hold in HOLDS:
            name = f"arm2, {cost.name}, hold {hold}"
            case = cost._replace(name=name, settings={**cost.settings, "hold": hold})
            rows += run_case(case.smallest() if smallest else case, seeds)
    return rows
