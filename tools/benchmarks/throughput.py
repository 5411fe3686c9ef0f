"""Steps per second of our PPO and of Stable-Baselines3's, updates included.

Both train on arm2's reach task with 64 parallel trials, in one run on the same cores.
Ours is recurrent, theirs only where the table says so. Theirs is optional:
pip install sb3-contrib.
"""

import time
from collections.abc import Sequence
from typing import Any

from benchmarks.report import Row, show, table
from hfcontrol.runs.settings import settings_for
from hfcontrol.studies.harness import Setup

ROLLOUTS = 20
UPDATES = 3  # of theirs

# One thread each, with which they are fastest.
THEIRS: dict[str, dict[str, Any]] = {
    # 64 trials of 40 steps
    "its own minibatches of 64": {"parts": 40},
    "minibatches like ours": {},
    "recurrent (sb3-contrib), minibatches like ours": {"recurrent": True},
}


def measure(seeds: Sequence[int], smallest: bool = False) -> list[Row]:
    """Return a row per program: steps per second, the median over the seeds."""
    rollouts = 1 if smallest else ROLLOUTS
    rates = {"hfcontrol": [our_rate(seed, rollouts) for seed in seeds]}
    rates |= their_rates(seeds, 1 if smallest else UPDATES)

    rows: list[Row] = []
    for name, values in rates.items():
        median = sorted(values)[len(values) // 2]
        rows.append({"program": name, "seeds": list(seeds), "steps_per_second": median})
    ours = rows[0]["steps_per_second"]
    lines = []
    for row in rows:
        rate = row["steps_per_second"]
        lines.append([row["program"], show(rate), show(ours / rate)])
    header = ("program", "steps per second", "ours divided by it")
    table("PPO, arm2 reach, 64 trials, 32 + 32 units, 10 passes", header, lines)
    return rows


def their_rates(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    """Return the rates of Stable-Baselines3 by name; none if it is not installed."""
    rates = {}
    try:
        from benchmarks.stable_baselines import throughput

        for name, settings in THEIRS.items():
            values = []
            for seed in seeds:
                values.append(throughput(updates=updates, seed=seed, **settings))
            rates[f"Stable-Baselines3, {name}"] = values
    except ImportError as error:
        print(f"Stable-Baselines3: left out, {error}")
    return rates


def our_rate(seed: int, rollouts: int) -> float:
    """Return the steps of single trials per second of our PPO, compiled before."""
    settings = settings_for(
        plant="arm2", task="reach", optimizer="ppo", rollouts=rollouts, seed=seed
    )
    setup = Setup(settings)
    task = setup.trainer.task
    begin = time.perf_counter()
    state = setup.train()
    seconds = time.perf_counter() - begin
    return state.rollouts * task.trials * task.steps / seconds
