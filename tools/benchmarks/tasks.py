"""How good controllers are on scenarios they were not trained on, after so many seconds of training, for every task.

What counts is the held-out set: the ratio of mean cost to mean optimal cost, the part of the trials that succeed as the
task asks, and the error at the end. Kernels are compiled before the clock starts.
"""

import tempfile

import numpy as np

from hfcontrol.evaluation import evaluate
from hfcontrol.runs import train

from benchmarks.report import show, table

ANYWHERE = (("arm2", "anywhere", 15, {}), ("arm2_todorov", "anywhere", 15, {}))
CASES = (
    ("arm2", "anywhere", 30, {}),
    ("arm2_todorov", "anywhere", 30, {}),
    ("arm3", "anywhere", 120, {}),
    ("arm2", "out_and_back", 60, {}),
    ("arm2", "follow", 60, {}),
    ("arm2", "posture", 60, {}),
    ("pendulum", "balance", 30, {}),
    ("cartpole", "balance", 60, {}),
    ("diffdrive", "stabilise", 120, {}),
    ("quadrotor", "stabilise", 180, {}),
    ("quadrotor", "poster", 180, {}),
    ("linear", "stabilise", 30, {}),
)


def anywhere(seeds):
    """The rows of any start to any target within 15 seconds."""
    return measure(seeds, ANYWHERE)


def measure(seeds, cases=CASES):
    """Rows of plant, task and seconds with what every seed reached on the held-out set; the worst counts."""
    rows = [case(*one, seeds) for one in cases]
    table("held-out scenarios after training (worst of the seeds)",
          ("plant", "task", "seconds", "ratio", "success", "error mean", "error max"),
          [(r["plant"], r["task"], r["seconds"], "-" if r["ratio"] is None else show(max(r["ratio"]), 5),
            f"{100 * min(r['success']):.1f} %", f"{show(max(r['error']))} {r['unit']}",
            f"{show(max(r['error_max']))} {r['unit']}") for r in rows])
    return rows


def case(plant, task, seconds, settings, seeds):
    """One row; prints it as it comes."""
    sets = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            run = train(plant, task=task, seed=seed, max_seconds=seconds, out=folder, **settings)
            told, spent = evaluate(run)["sets"]["held_out"], run.state.seconds
        print(f"{plant} {task} seed {seed}: {spent:.1f} s, ratio {show(told['ratio'], 5)}, success {told['success']:.3f}, "
              f"error {show(told['error']['mean'])} (max {show(told['error']['max'])}) {told['error']['unit']}", flush=True)
        sets.append({**told, "spent": spent})
    ratios = [s["ratio"] for s in sets]
    return {"plant": plant, "task": task, "seconds": seconds, "settings": settings, "seeds": list(seeds),
            "ratio": None if None in ratios else ratios, "success": [s["success"] for s in sets],
            "error": [float(np.max([e["mean"] for e in s["errors"]])) for s in sets],
            "error_max": [float(np.max([e["max"] for e in s["errors"]])) for s in sets], "unit": sets[0]["error"]["unit"]}
