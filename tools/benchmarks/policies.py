"""Policy gradients on Gymnasium's own environments: returns after a number of steps."""

import tempfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import hfcontrol as hf
from benchmarks.cases import EVERYTHING, Selection, measure_selected
from benchmarks.report import Row, show, table
from hfcontrol.errors import HFControlError
from hfcontrol.evaluation.evaluation import evaluate

MLP: dict[str, Any] = {"cell": "tanh", "recurrent": (), "skip": ()}
LTC: dict[str, Any] = {"cell": "ltc", "hidden": (16,), "skip": ()}
SMALL_MLP = {**MLP, "hidden": (16,)}
LARGE_MLP = {**MLP, "hidden": (64, 64)}
NO_VELOCITIES = {"observe": ("y0", "y2")}  # position and angle
PENDULUM = {"trials": 16, "discount": 0.9}


class Case(NamedTuple):
    """An environment, a phrase about the network, settings, and most steps."""

    environment: str
    network: str
    settings: dict[str, Any]
    steps: int


CARTPOLE = "CartPole-v1"
CASES = (
    Case(CARTPOLE, "16-unit LTC", LTC, 200_000),
    Case(CARTPOLE, "16-unit MLP", SMALL_MLP, 200_000),
    Case(CARTPOLE, "no velocities, 16-unit LTC", {**LTC, **NO_VELOCITIES}, 500_000),
    Case(
        CARTPOLE, "no velocities, 16-unit MLP", {**SMALL_MLP, **NO_VELOCITIES}, 500_000
    ),
    Case(CARTPOLE, "A2C, 16-unit MLP", {**SMALL_MLP, "optimizer": "a2c"}, 300_000),
    Case("Pendulum-v1", "64 + 64 MLP", {**LARGE_MLP, **PENDULUM}, 300_000),
    Case("Pendulum-v1", "16-unit LTC", {**LTC, **PENDULUM}, 300_000),
)
EPISODE = {CARTPOLE: 500, "Pendulum-v1": 200}  # steps
DEFAULT_TRIALS = 8

# With `smallest`: one rollout of one trial, and two episodes to evaluate it.
SMALLEST_CASE = Case(CARTPOLE, "16-unit MLP", {**SMALL_MLP, "trials": 1}, 500)
SMALLEST_EPISODES = 2


def measure(
    seeds: Sequence[int], smallest: bool = False, selection: Selection = EVERYTHING
) -> list[Row]:
    """Return a row per environment and network: returns and seconds by seed."""
    cases = (SMALLEST_CASE,) if smallest else CASES
    episodes = SMALLEST_EPISODES if smallest else None

    def measure_one(case: Case) -> Row:
        return run_case(case, seeds, episodes)

    by_name = {f"{case.environment} {case.network}": case for case in cases}
    try:
        new, rows = measure_selected(by_name, selection, row_name, measure_one)
    except (ImportError, HFControlError) as error:
        print(f"Gymnasium's environments: left out, {error}")
        return list(selection.before)
    print_rows(new)
    return rows


def row_name(row: Row) -> str:
    """Return the name of a row's case."""
    return f"{row['environment']} {row['network']}"


def print_rows(rows: Sequence[Row]) -> None:
    """Print rows as a table."""
    lines = []
    for row in rows:
        returns = ", ".join(f"{value:.0f}" for value in row["returns"])
        steps = f"{row['steps']:,}"
        seconds = show(max(row["seconds"]))
        lines.append([row["environment"], row["network"], steps, returns, seconds])
    header = ("environment", "network", "steps", "returns", "seconds")
    table("PPO and A2C on Gymnasium's environments", header, lines)


def run_case(case: Case, seeds: Sequence[int], episodes: int | None) -> Row:
    """Return the row of one case; `episodes` evaluate each controller."""
    trials = case.settings.get("trials", DEFAULT_TRIALS)
    rollouts = case.steps // (trials * EPISODE[case.environment])
    returns = []
    seconds = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            run = hf.train(
                f"gym:{case.environment}",
                rollouts=rollouts,
                seed=seed,
                out=folder,
                **{"optimizer": "ppo", **case.settings},
            )
            result = evaluate(run, trials=episodes)
        returns.append(result["return"]["mean"])
        seconds.append(run.state.seconds)
    shown = ", ".join(f"{value:.1f}" for value in returns)
    print(f"{case.environment}, {case.network}: {shown}", flush=True)
    return {
        "environment": case.environment,
        "network": case.network,
        "steps": case.steps,
        "seeds": list(seeds),
        "returns": returns,
        "seconds": seconds,
    }
