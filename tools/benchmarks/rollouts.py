"""True rollouts that the hold `model` needs, and seconds of `auto` against `model` and `scenario`."""

from benchmarks.main_job import cases

COSTS = {
    "final state only": ({"effort": 0.0}, (5e-5,), "loss"),
    "running 0.05, effort 1e-3": ({"running": 0.05, "effort": 1e-3}, (1.01,), "ratio"),
    "effort 1e-4": ({"effort": 1e-4}, (1.01,), "ratio"),
}


def measure(seeds):
    """Rows for every cost and hold."""
    rows = []
    for name, (cost, thresholds, by) in COSTS.items():
        for hold in ("model", "scenario", "auto"):
            rows += cases(
                f"arm2, {name}, hold {hold}", seeds, thresholds, by, hold=hold, **cost
            )
    return rows
