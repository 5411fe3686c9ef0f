"""How good controllers are on scenarios they were not trained on, after so many seconds of training, for every task.

What counts is the held-out set: the ratio of mean cost to mean optimal cost, the error at the arrivals, and the part of
1,000 trials that succeed as the task asks. A case may be tested under other conditions than it was trained with. Kernels
are compiled before the clock starts.
"""

import tempfile
from typing import NamedTuple

import numba
import numpy as np

from benchmarks.report import machine, show, table
from hfcontrol.api.training import train
from hfcontrol.evaluation.evaluation import compare_with_optimum, summarise

DELAYED = {"feedback_delay": "40ms", "command_delay": "20ms", "motor_noise": "5%"}
CURL = {"curl_field": 13.0, "trials": 256}
MANY = 1000  # held-out trials of which the successful are counted; the yardstick is found for fewer


class Case(NamedTuple):
    """A plant, its task, seconds of training (None: as long as it takes), settings of the training, others to test with (None: the
    same), and how many held-out trials the yardstick is found for (None: as many as the task says)."""

    plant: str
    task: str
    seconds: float | None
    settings: dict = {}
    tested: dict | None = None
    judged: int | None = None


CASES = (
    Case("arm2", "anywhere", 30),
    Case("arm2_todorov", "anywhere", 30),
    Case("arm3", "anywhere", 120, judged=512),
    Case("arm2", "out_and_back", 40),
    Case("arm2", "follow", 60),
    Case("arm2", "posture", 60),
    Case("arm2", "reach", 30, DELAYED),
    Case("arm2", "reach", 30, {}, DELAYED),
    Case("arm2", "reach", 60, CURL),
    Case("arm2", "reach", 60, {**CURL, "recurrent": ()}),
    Case("arm2", "reach", 60, {}, CURL),
    Case("linear", "stabilise", 10),
    Case("pendulum", "balance", 30),
    Case("pendulum", "swing_up", 90),
    Case("acrobot", "balance", 60),
    Case("acrobot", "swing_up", 240),
    Case("cartpole", "balance", 60),
    Case("cartpole", "swing_up", 120),
    Case("diffdrive", "stabilise", 90),
    Case("quadrotor", "stabilise", 180, judged=64),
    Case("quadrotor", "poster", 240, judged=128),
    Case("electric", "follow", None, {"rollouts": 3000}, judged=64),
)


def measure(seeds, only="", before=(), add=False):
    """Rows of the cases with what every seed reached on the held-out set; those without the word `only` are as before. With `add`
    the seeds join those of before."""
    known = {
        name_of(r["plant"], r["task"], r["settings"], r["tested"]): r for r in before
    }
    names = {
        name_of(
            c.plant, c.task, c.settings, c.settings if c.tested is None else c.tested
        ): c
        for c in CASES
    }
    new = {name: row(case, seeds) for name, case in names.items() if only in name}
    if add:
        new = {
            name: joined(known[name], r) if name in known else r
            for name, r in new.items()
        }
    shown(list(new.values()))
    return [{**known, **new}[name] for name in names if name in known or name in new]


def joined(old, new):
    """A row with the seeds of two, the new ones in the place of the old."""
    seeds, rows = sorted({*old["seeds"], *new["seeds"]}), (new, old)
    of = [
        next((r, r["seeds"].index(seed)) for r in rows if seed in r["seeds"])
        for seed in seeds
    ]
    lists = {
        name: [r[name][k] for r, k in of] for name in ("success", "error", "error_max")
    }
    ratio = (
        None if None in (old["ratio"], new["ratio"]) else [r["ratio"][k] for r, k in of]
    )
    return {
        **new,
        **lists,
        "ratio": ratio,
        "seeds": seeds,
        "seconds": max(old["seconds"], new["seconds"]),
    }


def name_of(plant, task, settings, tested):
    """What tells one case from the others."""
    return f"{plant} {task} {words(settings)}; {words(tested)}"


def shown(rows):
    """Prints rows as a table, the worst of the seeds, and returns them."""
    table(
        "held-out scenarios after training (worst of the seeds)",
        (
            "plant",
            "task",
            "trained with",
            "tested with",
            "seconds",
            "cores",
            "ratio",
            "success",
            "error mean",
            "error max",
        ),
        [
            (
                r["plant"],
                r["task"],
                words(r["settings"]),
                words(r["tested"]),
                r["seconds"],
                r["threads"],
                "-" if r["ratio"] is None else show(max(r["ratio"]), 5),
                f"{100 * min(r['success']):.1f} %",
                f"{show(max(r['error']))} {r['unit']}",
                f"{show(max(r['error_max']))} {r['unit']}",
            )
            for r in rows
        ],
    )
    return rows


def words(settings):
    """Settings as the options that give them."""
    return " ".join(
        f"--{name.replace('_', '-')} {value if value not in ((), []) else 'none'}"
        for name, value in settings.items()
    )


def row(case, seeds):
    """The row of a case; each seed is printed as it comes."""
    sets, limit, taken = (
        [],
        {} if case.seconds is None else {"max_seconds": case.seconds},
        [],
    )
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            run = train(
                case.plant,
                task=case.task,
                seed=seed,
                out=folder,
                **case.settings,
                **limit,
            )
            tested = run.settings.changed(**(case.tested or {}))
            told = summarise(
                compare_with_optimum(run, "held_out", tested, case.judged)
            ) | {"success": success(run, tested)}
        print(
            f"{case.plant} {case.task} {words(case.settings)} seed {seed}: {run.state.seconds:.1f} s, "
            f"ratio {show(told['ratio'], 5)}, success {told['success']:.3f}, error {show(told['error']['mean'])} "
            f"(max {show(told['error']['max'])}) {told['error']['unit']}",
            flush=True,
        )
        sets.append(told)
        taken.append(run.state.seconds)
    ratios = [s["ratio"] for s in sets]
    tested = case.settings if case.tested is None else case.tested
    return {
        **case._asdict(),
        "seconds": case.seconds or round(max(taken)),
        "threads": numba.get_num_threads(),
        "tested": tested,
        "seeds": list(seeds),
        "ratio": None if None in ratios else ratios,
        "success": [s["success"] for s in sets],
        "error": [max(e["mean"] for e in s["errors"]) for s in sets],
        "error_max": [max(e["max"] for e in s["errors"]) for s in sets],
        "unit": sets[0]["error"]["unit"],
        "processor": machine()["processor"],
    }


def success(run, settings):
    """The part of many held-out trials that succeed."""
    loop = run.closed_loop("held_out", settings, trials=MANY)
    return float(
        np.mean(run.task(settings).success(loop.rollout(run.theta), loop.scenario))
    )
