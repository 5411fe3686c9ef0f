"""Seconds to a loss or to a ratio to the optimal loss, for every cost of the reach task, on both arms."""

from benchmarks.report import show, spread, table, training
from hfcontrol.arrays.random import Stream, stream
from hfcontrol.evaluation.evaluation import path_deviation as deviation
from hfcontrol.optim.yardstick import optimum
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.settings import Settings

LOSSES, RATIOS = (1e-2, 1e-3, 5e-5, 1e-6, 1e-8), (1.1, 1.02, 1.01, 1.001)
COSTS = {
    "final state only": ({"effort": 0.0}, LOSSES, "loss"),
    "default (effort 1e-5)": ({}, RATIOS, "ratio"),
    "effort 1e-4": ({"effort": 1e-4}, RATIOS, "ratio"),
    "running 0.05, effort 1e-3": ({"running": 0.05, "effort": 1e-3}, RATIOS, "ratio"),
}
LARGE = {"effort": 1e-4, "hidden": (96, 96), "steps": 100}
MOST_SECONDS = 120


def measure(seeds):
    """Rows of cost, plant and threshold with the spread over seeds of seconds, updates and rollouts."""
    rows = []
    for plant in ("arm2", "arm2_todorov"):
        for name, (cost, thresholds, by) in COSTS.items():
            rows += cases(
                f"{plant}, {name}", seeds, thresholds, by, plant=plant, **cost
            )
    rows += cases(
        "arm2, 96+96 units, 100 steps, effort 1e-4",
        seeds[:5],
        (1.02, 1.01),
        "ratio",
        max_seconds=300,
        **LARGE,
    )
    return rows


def cases(name, seeds, thresholds, by, max_seconds=MOST_SECONDS, **settings):
    """The rows of one case; prints them too."""
    results = [
        training(thresholds, by, seed=seed, max_seconds=max_seconds, **settings)
        for seed in seeds
    ]
    rows = []
    for threshold in [
        *map(str, thresholds),
        *(["hand < 1 mm"] if by == "ratio" else []),
    ]:
        marks = [r["marks"].get(threshold) for r in results]
        row = {"case": name, "by": by, "threshold": threshold, "seeds": list(seeds)}
        for measure in ("seconds", "updates", "rollouts", "products"):
            row[measure] = spread([m and m[measure] for m in marks])
        row["reached"] = spread([r[by] for r in results])
        rows.append(row)
    deviations = [
        path_deviation(r["theta"], seed, settings) for r, seed in zip(results, seeds)
    ]
    deviation = max(
        deviations, key=lambda d: d["controller"] / d["optimum"]
    )  # the worst of the seeds
    table(
        f"{name} (hand error at the end {show(max(r['hand_mm'] for r in results))} mm, path deviation "
        f"{show(deviation['controller'])} %, of the optimum {show(deviation['optimum'])} % of the reach)",
        (
            by,
            "seconds median",
            "worst",
            "updates",
            "rollouts",
            "products",
            "not reached",
        ),
        [
            (
                r["threshold"],
                show(r["seconds"]["median"]),
                show(r["seconds"]["worst"]),
                show(r["updates"]["median"]),
                show(r["rollouts"]["median"]),
                show(r["products"]["median"]),
                r["seconds"]["missing"],
            )
            for r in rows
        ],
    )
    rows[0]["path_deviation"] = deviation
    rows[0]["hand_mm"] = max(r["hand_mm"] for r in results)
    return rows


def path_deviation(theta, seed, settings):
    """Mean largest deviation from the straight line [% of reach] of the controller's paths and of the optimal ones."""
    settings = Settings(seed=seed, **settings)
    loop = make_trainer(settings).loop(stream(settings.seed, Stream.SCENARIOS))
    rollout, scenario = loop.rollout(theta), loop.scenario
    best = optimum(loop.kernels, loop.plant, scenario, loop.wiring)
    goal = scenario.goal_output[-1, loop.plant.hand]
    return {
        name: 100
        * float(
            deviation(
                loop.kernels.output(x, scenario.params)[:, loop.plant.hand], goal
            ).mean()
        )
        for name, x in (("controller", rollout.x), ("optimum", best.x))
    }
