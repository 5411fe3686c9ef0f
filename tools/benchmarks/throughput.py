"""Steps of single trials in a second, updates included, of our PPO and of Stable-Baselines3's, on arm2's reach task with 64 parallel trials,
in one run on the same cores (optional: pip install sb3-contrib). Ours is recurrent; theirs is, too, where it says so."""

import time

from benchmarks.report import show, table
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.settings import settings_for
from hfcontrol.training.curriculum import run_curriculum

ROLLOUTS = 20
THEIRS = {
    "its own minibatches of 64": {"parts": 40},
    "minibatches like ours": {},
    "recurrent (sb3-contrib), minibatches like ours": {"recurrent": True},
}  # one thread each, which is their fastest


def measure(seeds):
    """A row for each program: steps per second, the median over seeds."""
    found = {"hfcontrol": [ours(seed) for seed in seeds]}
    try:
        from benchmarks.stable_baselines import throughput

        for told, settings in THEIRS.items():
            found[f"Stable-Baselines3, {told}"] = [
                throughput(updates=3, seed=seed, **settings) for seed in seeds
            ]
    except ImportError as error:
        print(f"Stable-Baselines3: left out, {error}")
    rows = [
        {
            "program": name,
            "seeds": list(seeds),
            "steps_per_second": sorted(values)[len(values) // 2],
        }
        for name, values in found.items()
    ]
    table(
        "PPO, arm2 reach, 64 trials, 32 + 32 units, 10 passes",
        ("program", "steps per second", "ours by it"),
        [
            (
                r["program"],
                show(r["steps_per_second"]),
                show(rows[0]["steps_per_second"] / r["steps_per_second"]),
            )
            for r in rows
        ],
    )
    return rows


def ours(seed):
    """Steps of single trials per second of our PPO, compiling not counted."""
    settings = settings_for(
        plant="arm2", task="reach", optimizer="ppo", rollouts=ROLLOUTS, seed=seed
    )
    trainer = make_trainer(settings)
    trainer.prepare()
    begin = time.perf_counter()
    *_, done = trainer.run(run_curriculum(trainer, settings))
    return (
        done.state.rollouts
        * trainer.task.trials
        * trainer.task.steps
        / (time.perf_counter() - begin)
    )
