"""Every cell on arm2's reach task with its default cost: ratios to the optimal loss, and what they take."""

from benchmarks.report import show, spread, table, training
from hfcontrol.network.cells import CELLS

RATIO, MOST_SECONDS = 1.02, 60
UNITS = {
    "ltc_conductance": (16, 16),
    "cfc": (16, 16),
}  # whose connections have four numbers; all others have 32 + 32 units


def measure(seeds):
    """A row for each cell with the spread over seeds of seconds and updates to the ratio, and the ratios reached."""
    rows = []
    for cell in CELLS:
        if cell == "linear":
            continue
        hidden = UNITS.get(cell, (32, 32))
        results = [
            training(
                (RATIO,),
                "ratio",
                cell=cell,
                hidden=hidden,
                seed=seed,
                max_seconds=MOST_SECONDS,
            )
            for seed in seeds
        ]
        marks = [r["marks"].get(str(RATIO)) for r in results]
        rows.append(
            {
                "cell": cell,
                "hidden": list(hidden),
                "parameters": int(results[0]["theta"].size),
                "seeds": list(seeds),
                "ratio": RATIO,
                "seconds": spread([m and m["seconds"] for m in marks]),
                "updates": spread([m and m["updates"] for m in marks]),
                "reached": spread([r["ratio"] for r in results]),
            }
        )
    table(
        f"cells, arm2 reach, to a ratio of {RATIO}",
        ("cell", "units", "numbers", "seconds (worst)", "updates", "not", "reached"),
        [
            (
                r["cell"],
                "+".join(map(str, r["hidden"])),
                r["parameters"],
                f"{show(r['seconds']['median'])} ({show(r['seconds']['worst'])})",
                show(r["updates"]["median"]),
                r["seconds"]["missing"],
                show(r["reached"]["worst"], 5),
            )
            for r in rows
        ],
    )
    return rows
