"""What the plant's derivative is worth (`hfcontrol compare methods`): its figures, and of each method the few numbers that say how it
ended."""

from pathlib import Path

from benchmarks.comparisons import last
from benchmarks.report import show, table
from hfcontrol.studies import study
from hfcontrol.studies.plots import draw

SECONDS = {"arm2": 30.0, "cartpole": 60.0}
PICTURES = Path(__file__).parent.parent / "pictures"


def measure(seeds):
    """A row for each plant and method."""
    rows = []
    for plant, seconds in SECONDS.items():
        result = last(study("methods", plant=plant, seeds=len(seeds), seconds=seconds))
        draw(result, PICTURES / f"methods-{plant}.png")
        rows += [
            {
                "plant": plant,
                "task": result["task"],
                "method": name,
                "limit": seconds,
                "tried": result["options"][name]["tried"],
                **found,
            }
            for name, found in result["summary"].items()
        ]
    table(
        "methods, to a held-out ratio of 1.1",
        (
            "plant",
            "method",
            "reached",
            "plant steps",
            "Jacobian steps",
            "seconds",
            "final ratio",
        ),
        [
            (
                r["plant"],
                r["method"],
                f"{r['reached']} of {r['of']}",
                show(r["plant_steps"]),
                show(r["jacobian_steps"]),
                show(r["seconds"]),
                show(r["ratio"][0], 4),
            )
            for r in rows
        ],
    )
    return rows
