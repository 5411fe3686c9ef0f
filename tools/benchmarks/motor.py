"""PPO on motor tasks: ratio and success on held-out trials."""

import tempfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import hfcontrol as hf
from benchmarks.cases import EVERYTHING, Selection, measure_selected
from benchmarks.report import SMALLEST, Row, show, table
from hfcontrol.evaluation.evaluation import evaluate

MLP: dict[str, Any] = {"recurrent": (), "skip": ()}
LTC: dict[str, Any] = {"cell": "ltc", "hidden": (16,), "skip": ()}


class Case(NamedTuple):
    """A task, a phrase about the network, settings, and rollouts.

    The learning rate falls to zero over the rollouts.
    """

    plant: str
    task: str
    network: str
    settings: dict[str, Any]
    rollouts: int


CASES = (
    Case("cartpole", "balance", "16-unit LTC", {**LTC, "learning_rate": 1e-2}, 400),
    Case("cartpole", "balance", "32 + 32 MLP", {**MLP, "learning_rate": 2e-3}, 200),
    Case(
        "arm2",
        "reach",
        "32 + 32 MLP",
        {**MLP, "learning_rate": 5e-3, "log_spread": -1.0, "gae_lambda": 0.99},
        2300,
    ),
)
SMALLEST_CASE = Case("arm2", "reach", "MLP", {**MLP, **SMALLEST}, 2)


def measure(
    seeds: Sequence[int], smallest: bool = False, selection: Selection = EVERYTHING
) -> list[Row]:
    """Return a row per task and network: ratios, successes and seconds by seed."""
    cases = (SMALLEST_CASE,) if smallest else CASES

    def measure_one(case: Case) -> Row:
        return run_case(case, seeds)

    by_name = {" ".join(case[:3]): case for case in cases}
    new, rows = measure_selected(by_name, selection, row_name, measure_one)
    print_rows(new)
    return rows


def row_name(row: Row) -> str:
    """Return the name of a row's case."""
    return f"{row['plant']} {row['task']} {row['network']}"


def print_rows(rows: Sequence[Row]) -> None:
    """Print rows as a table."""
    lines = [
        [
            f"{row['plant']} {row['task']}",
            row["network"],
            str(row["rollouts"]),
            ", ".join(show(value) for value in row["ratios"]),
            ", ".join(f"{value:.0%}" for value in row["successes"]),
            show(max(row["seconds"])),
        ]
        for row in rows
    ]
    header = ("task", "network", "rollouts", "ratios", "successes", "seconds")
    table("PPO on motor tasks", header, lines)


def run_case(case: Case, seeds: Sequence[int]) -> Row:
    """Return the row of one case."""
    ratios, successes, seconds = [], [], []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            run = hf.train(
                case.plant,
                task=case.task,
                optimizer="ppo",
                rollouts=case.rollouts,
                anneal=case.rollouts,
                seed=seed,
                out=folder,
                **case.settings,
            )
            held_out = evaluate(run)["sets"]["held_out"]
        ratios.append(held_out["ratio"])
        successes.append(held_out["success"])
        seconds.append(run.state.seconds)
        print(
            f"{case.plant} {case.task}, {case.network}, seed {seed}: ratio "
            f"{ratios[-1]:.4g}, success {successes[-1]:.0%}, {seconds[-1]:.0f} s",
            flush=True,
        )
    return {
        "plant": case.plant,
        "task": case.task,
        "network": case.network,
        "settings": case.settings,
        "rollouts": case.rollouts,
        "seeds": list(seeds),
        "ratios": ratios,
        "successes": successes,
        "seconds": seconds,
    }
