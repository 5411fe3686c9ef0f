"""Hand-set `train` entries of the shipped tasks against the defaults.

Every task is trained twice with each seed and for the same processor time: with the
settings that were once chosen for it by hand, and with the defaults in their place. A
task keeps such an entry only if the defaults are worse. The settings are listed here,
so that a comparison can be repeated after its entry is gone.
"""

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import plants
from benchmarks.report import SMALLEST, Row, show, table
from hfcontrol.runs.settings import Settings

SWING: dict[str, Any] = {
    "strategy": "plain",
    "guide": 32,
    "cg_cap": 40,
    "recurrent": "none",
}
FOLLOW: dict[str, Any] = {"strategy": "plain", "grow": 12}
BACK: dict[str, Any] = {"strategy": "plain", "grow": 4}

# Those of arm2 are not listed: its shipped run was trained with them.
HAND_SET: dict[str, dict[str, Any]] = {
    "acrobot:swing_up": SWING,
    "arm1:follow": FOLLOW,
    "arm2_todorov:out_and_back": BACK,
    "arm2_todorov:anywhere": {**BACK, "batches": 4},
    "arm2_todorov:follow": FOLLOW,
    "arm3:out_and_back": BACK,
    "arm3:anywhere": {**FOLLOW, "batches": 4},
    "arm3:follow": FOLLOW,
    "cartpole:swing_up": SWING,
    "cartpole:poster": SWING,
    "electric:follow": {
        "strategy": "plain",
        "grow": 30,
        "batches": 8,
        "average": 8,
        "curvature_trials": 32,
        "recurrent": "none",
    },
    "pendulum:swing_up": SWING,
    "quadrotor:stabilise": {**FOLLOW, "curvature_trials": 64},
    "quadrotor:poster": {
        "strategy": "plain",
        "guide": 12,
        "cg_cap": 40,
        "curvature_trials": 64,
    },
}


def measure(
    seeds: Sequence[int],
    smallest: bool = False,
    choice: plants.Choice | None = None,
    before: Sequence[Row] = (),
    save: Callable[[list[Row]], None] | None = None,
) -> list[Row]:
    """Return the rows of before and the new ones; `save` gets them after each."""
    choice = choice or plants.Choice()
    if smallest:
        settings = {**SMALLEST, "rollouts": 2, "guide": 2}
        choice = plants.Choice(["pendulum:swing_up"], 2.0, settings)
    rows = list(before)
    for word in choice.words or HAND_SET:
        for settings in variants(HAND_SET[word]):
            one = plants.Choice([word], choice.seconds, {**settings, **choice.settings})
            rows = plants.measure(seeds, choice=one, before=rows, save=save)
    print_pairs(rows)
    return rows


def variants(entry: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of an entry, and the defaults in their place."""
    return entry, {name: Settings.model_fields[name].default for name in entry}


def print_pairs(rows: Sequence[Row]) -> None:
    """Print what the worst seed reached with each entry and without."""
    header = ("task", "seeds", "seconds", "by hand: ratio", "s", "auto: ratio", "s")
    lines = []
    for word in HAND_SET:
        own = [row for row in rows if f"{row['plant']}:{row['task']}" == word]
        pair = [
            [row for row in own if (row["settings"]["strategy"] == "plain") is by_hand]
            for by_hand in (True, False)
        ]
        if all(pair):
            cells = [cell for same in pair for cell in worst_cells(same)]
            seeds = ", ".join(sorted({str(row["seed"]) for row in own}))
            lines.append([word, seeds, show(own[0]["limit"]), *cells])
    table("hand-set entries and defaults, the worst seed", header, lines)


def worst_cells(rows: Sequence[Row]) -> list[str]:
    """Return the held-out ratio and the seconds of the worst of some rows."""
    worst = max(rows, key=plants.badness)
    return [show(worst["held_out"], 6), show(worst["seconds"])]
