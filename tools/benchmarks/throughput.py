"""Steps of single trials in a second, updates included, of our PPO and of Stable-Baselines3's, on arm2's reach task with 64 parallel trials,
in one run on the same cores (optional: pip install stable-baselines3). Ours is recurrent, theirs is not."""

import os
import time

from hfcontrol.settings import build, settings_for
from hfcontrol.warmup import warm_up

from benchmarks.report import show, table

ROLLOUTS = 20
THEIRS = {"minibatches like ours, one thread": {"threads": 1}, "minibatches like ours": {"threads": os.cpu_count()},
          "its own minibatches of 64": {"threads": os.cpu_count(), "parts": 40}, "its own minibatches of 64, one thread": {"parts": 40}}


def measure(seeds):
    """A row for each program: steps per second, the median over seeds."""
    found = {"hfcontrol": [ours(seed) for seed in seeds]}
    try:
        from benchmarks.stable_baselines import throughput
        for told, settings in THEIRS.items():
            found[f"Stable-Baselines3, {told}"] = [throughput(updates=3, seed=seed, **settings) for seed in seeds]
    except ImportError as error:
        print(f"Stable-Baselines3: left out, {error}")
    rows = [{"program": name, "seeds": list(seeds), "steps_per_second": sorted(values)[len(values) // 2]} for name, values in found.items()]
    table("PPO, arm2 reach, 64 trials, 32 + 32 units, 10 passes", ("program", "steps per second", "ours by it"),
          [(r["program"], show(r["steps_per_second"]), show(rows[0]["steps_per_second"] / r["steps_per_second"])) for r in rows])
    return rows


def ours(seed):
    """Steps of single trials per second of our PPO, compiling not counted."""
    settings = settings_for(plant="arm2", task="reach", optimizer="ppo", rollouts=ROLLOUTS, seed=seed)
    trainer = build(settings)
    trainer.prepare()
    begin = time.perf_counter()
    *_, done = trainer.run(warm_up(trainer, settings))
    return done.state.rollouts * trainer.task.trials * trainer.task.steps / (time.perf_counter() - begin)
