"""PPO on Gymnasium's own environments: mean returns of a hundred episodes after a budget of steps, seed by seed."""

import tempfile

import hfcontrol as hf
from benchmarks.report import show, table
from hfcontrol.evaluation.evaluation import evaluate

MLP = {"cell": "tanh", "recurrent": ()}
LTC = {"cell": "ltc", "hidden": (16,), "skip": ()}
MASKED = ("y0", "y2")  # position and angle, no velocities
PENDULUM = {"trials": 16, "discount": 0.9}
CASES = [  # environment, what is told of it, settings, steps at most
    ("CartPole-v1", "16-unit LTC", LTC, 200_000),
    ("CartPole-v1", "16-unit MLP", {**MLP, "hidden": (16,), "skip": ()}, 200_000),
    ("CartPole-v1", "no velocities, 16-unit LTC", {**LTC, "observe": MASKED}, 500_000),
    (
        "CartPole-v1",
        "no velocities, 16-unit MLP",
        {**MLP, "hidden": (16,), "skip": (), "observe": MASKED},
        500_000,
    ),
    (
        "Pendulum-v1",
        "64 + 64 MLP",
        {**MLP, "hidden": (64, 64), "skip": (), **PENDULUM},
        300_000,
    ),
    ("Pendulum-v1", "16-unit LTC", {**LTC, **PENDULUM}, 300_000),
]
EPISODE = {"CartPole-v1": 500, "Pendulum-v1": 200}


def measure(seeds):
    """A row for each environment and network: returns and seconds by seed."""
    rows = []
    for name, told, settings, budget in CASES:
        found = []
        for seed in seeds:
            rollouts = budget // (settings.get("trials", 8) * EPISODE[name])
            with tempfile.TemporaryDirectory() as folder:
                run = hf.train(
                    f"gym:{name}",
                    optimizer="ppo",
                    rollouts=rollouts,
                    seed=seed,
                    out=folder,
                    **settings,
                )
                found.append((evaluate(run)["return"]["mean"], run.state.seconds))
        rows.append(
            {
                "environment": name,
                "network": told,
                "steps": budget,
                "seeds": list(seeds),
                "returns": [r for r, _ in found],
                "seconds": [s for _, s in found],
            }
        )
        print(f"{name}, {told}: {', '.join(f'{r:.1f}' for r, _ in found)}", flush=True)
    table(
        "PPO on Gymnasium's environments",
        ("environment", "network", "steps", "returns", "seconds"),
        [
            (
                r["environment"],
                r["network"],
                f"{r['steps']:,}",
                ", ".join(f"{v:.0f}" for v in r["returns"]),
                show(max(r["seconds"])),
            )
            for r in rows
        ],
    )
    return rows
