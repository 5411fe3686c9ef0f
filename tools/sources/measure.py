"""Run the commands of a claim for several seeds, and read what they wrote."""

import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import hfcontrol as hf
from hfcontrol.cli.app import main as hfcontrol
from hfcontrol.evaluation.evaluation import (
    Comparison,
    compare_with_optimum,
    summarise,
)
from hfcontrol.studies import study
from hfcontrol.studies.plots import draw

Facts = dict[str, list[Any]]


class Quantity(NamedTuple):
    """A number of a trained run, as a sentence shows it: its median and its worst."""

    text: str
    digits: int = 3


QUANTITIES = {
    "updates": Quantity("{} updates"),
    "rollouts": Quantity("{} rollouts"),
    "cpu_seconds": Quantity("{} s of one core"),
    "loss": Quantity("loss {}"),
    "ratio": Quantity("{} x the optimal loss", 5),
    "error": Quantity("hand {} cm off on arrival"),
    "halfway_error": Quantity("hand {} cm off at the target"),
    "return_error": Quantity("hand {} cm off after the return"),
    "optimum_error": Quantity("the optimum's hand {} cm off"),
    "rate": Quantity("joints still turn at {} rad/s"),
    "deviation": Quantity("paths {} % of the reach off the straight line"),
    "peak": Quantity("peak torque {} N m"),
    "speed_before": Quantity("{} % of the peak speed left 50 ms before the end"),
    "ms": Quantity("{} ms per update"),
    "success": Quantity("{} % of 1,000 reaches succeed"),
    "running_1_rollouts": Quantity("reached after {} rollouts"),
    "running_32_rollouts": Quantity("reached after {} rollouts"),
    "final_1": Quantity("final state, N = 1: loss {}"),
    "final_32": Quantity("N = 32: loss {}"),
    "running_1": Quantity("running cost, N = 1: {} x the optimum"),
    "running_32": Quantity("N = 32: {} x the optimum"),
    "ctpg_loss": Quantity("CTPG ends at {}"),
    "backsolve_lowest": Quantity("integrating backward: lowest {}"),
    "backsolve_loss": Quantity("ends at {}"),
    "backsolve_error": Quantity("its error of the start ends at {}", 2),
    "ctpg_first": Quantity("held-out cost {} at first"),
    "ctpg_last": Quantity("{} at the end of CTPG"),
    "ctpg_evaluations": Quantity("after {} evaluations"),
    "euler_last": Quantity("{} at the end of Euler's method with as many"),
    "source_last": Quantity("{} with the paper's steps"),
    "source_evaluations": Quantity("after {} evaluations"),
    "cell_seconds": Quantity("{} s, over the cells that get there"),
    "ltc_return": Quantity("LTC {}"),
    "mlp_return": Quantity("MLP {}"),
    "blind_ltc_return": Quantity("without velocities LTC {}"),
    "blind_mlp_return": Quantity("MLP {}"),
    "a2c_return": Quantity("A2C, MLP {}"),
    "success_ltc": Quantity("`balance`: LTC {} %"),
    "success_mlp": Quantity("MLP {} %"),
    "success_reach": Quantity("`reach`: MLP {} %"),
    "hf_reach": Quantity("Hessian-free, `reach`: {} x the optimum", 4),
    "hf_balance": Quantity("`balance`: {} x the optimum", 4),
    "ppo_reach": Quantity("PPO, `reach`: {} x the optimum", 4),
    "ppo_balance": Quantity("`balance`: {} x the optimum", 4),
    "cosine_initial": Quantity("cosine {} at the initial weights"),
    "cosine_trained": Quantity("cosine {} at weights trained to a loss of 5e-5"),
    "cosine_inputs": Quantity("cosine {} after training with that gradient"),
}

# Errors of Jacobians, by what they are derivatives, with the step of the differences.
for _eps in ("1e-06", "0.001", "0.01"):
    for _by in ("state", "control"):
        _text = f"by the {_by}, step {_eps}: {{}} %"
        QUANTITIES[f"{_by}_{_eps}"] = Quantity(_text, 2)


# Evaluations for a gradient of an accuracy, by estimator and plant.
for _name in ("ctpg", "discrete", "rk4", "euler"):
    for _plant in ("linear", "diffdrive"):
        _text = f"{_name} {{}} evaluations on `{_plant}`"
        QUANTITIES[f"{_name}_{_plant}"] = Quantity(_text)


class Measured(NamedTuple):
    """A command, its seeds, and a list with one value per seed for each quantity."""

    command: str
    seeds: list[int]
    facts: Facts

    def median(self, name: str) -> float:
        """Return the median of a quantity over the seeds."""
        return float(np.median(self.facts[name]))

    def worst(self, name: str) -> float:
        """Return the largest value of a quantity."""
        return float(max(self.facts[name]))

    def reached(self) -> bool:
        """Return whether every training stopped at its target."""
        return all(stop == "target" for stop in self.facts["stop"])

    def sentence(self, shown: Sequence[str]) -> str:
        """Return some quantities in words."""
        known = [name for name in shown if name in self.facts]
        return ", ".join(describe(name, self.facts[name]) for name in known)


def describe(name: str, values: Sequence[float]) -> str:
    """Return a quantity in words: its median and, of several seeds, its worst."""
    quantity = QUANTITIES[name]
    median = f"{np.median(values):.{quantity.digits}g}"
    worst = f"{worst_of(name, values):.{quantity.digits}g}"
    shown = median if median == worst else f"{median} ({worst})"
    return quantity.text.format(shown)


def worst_of(name: str, values: Sequence[float]) -> float:
    """Return the worst value: the largest, or the smallest of what should be large."""
    is_good = name.startswith(("success", "cosine")) or "return" in name
    is_good = is_good and name != "return_error"
    return min(values) if is_good else max(values)


def run_command(command: str, seed: int, folder: Path) -> tuple[hf.Run, float]:
    """Run `hfcontrol train ...` with a seed; return its run and its CPU seconds."""
    words = shlex.split(command)[1:]
    place = folder / f"{len(list(folder.iterdir()))}"
    begin = time.process_time()
    hfcontrol([*words, "--seed", str(seed), "--quiet", "--out", str(place)])
    seconds = time.process_time() - begin
    (path,) = place.iterdir()
    return hf.Run.load(path), seconds


def run_study(
    command: str, more: dict[str, Any], picture: Path
) -> tuple[list[int], Facts]:
    """Run `hfcontrol compare NAME ...`; return its seeds, and facts of its trainings.

    `more` are sizes of the study, whose figure is drawn as `picture`. Euler's method is
    that with as many evaluations.
    """
    _, _, name, *options = shlex.split(command)
    pairs = zip(options[::2], options[1::2], strict=True)
    sizes = {key.removeprefix("--"): int(value) for key, value in pairs}
    *_, result = study(name, **{**sizes, **more})
    draw(result, picture)
    return facts_of_study(result)


def facts_of_study(result: dict[str, Any]) -> tuple[list[int], Facts]:
    """Return the seeds of a study of trainings, and their costs and evaluations."""
    by_method: dict[str, list[dict[str, Any]]] = {}
    for course in result["courses"]:
        by_method.setdefault(course["method"], []).append(course)
    ours = by_method["ctpg"]
    euler = by_method["euler, 1 x evaluations"]
    # Euler's method with the paper's steps, which some studies have too.
    source = [name for name in by_method if name.endswith(" ms")]
    facts = {
        "ctpg_first": [course["held_out"][0] for course in ours],
        "ctpg_last": [course["held_out"][-1] for course in ours],
        "ctpg_evaluations": [course["evaluations"][-1] for course in ours],
        "euler_last": [course["held_out"][-1] for course in euler],
    }
    if source:
        courses = by_method[source[0]]
        facts["source_last"] = [course["held_out"][-1] for course in courses]
        spent = [course["evaluations"][-1] for course in courses]
        facts["source_evaluations"] = spent
    return [course["seed"] for course in ours], facts


def final_rates(comparison: Comparison) -> float:
    """Return the root mean square of the joints' final rates [rad/s]."""
    positions = comparison.loop.plant.positions
    body = comparison.rollout.x[-1, : comparison.loop.plant.n_body]
    rates = np.delete(body, positions, axis=0)
    return float(np.sqrt(np.mean(rates**2)))


def speed_before_end(comparison: Comparison, seconds: float = 0.05) -> float:
    """Return the hand's speed that long before the end, in percent of its peak."""
    paths = comparison.paths()
    assert paths is not None
    speeds = np.linalg.norm(np.diff(paths, axis=0), axis=1)
    steps = round(seconds / comparison.loop.plant.dt)
    return float(100 * np.mean(speeds[-1 - steps] / speeds.max(axis=0)))


def optimum_error(comparison: Comparison) -> float:
    """Return the mean distance of the optimum's hand from its goal [cm]."""
    assert comparison.optimum is not None
    paths = comparison.paths(comparison.optimum.x)
    assert paths is not None
    hand = comparison.loop.plant.hand
    goal = comparison.scenario.goal_output[-1, hand]
    return float(100 * np.linalg.norm(paths[-1] - goal, axis=0).mean())


def facts_of(run: hf.Run, seconds: float) -> tuple[dict[str, Any], Comparison]:
    """Return the quantities of a run on held-out targets, and its comparison."""
    comparison = compare_with_optimum(run, "held_out")
    summary = summarise(comparison)
    info = run.info()
    deviation = summary["path_deviation"]
    facts = {
        "stop": info["stop"],
        "updates": info["updates"],
        "rollouts": info["rollouts"],
        "cpu_seconds": seconds,
        "loss": summary["loss"],
        "ratio": summary["ratio"],
        "error": summary["error"]["mean"],
        "halfway_error": summary["errors"][0]["mean"],
        "optimum_error": optimum_error(comparison),
        "rate": final_rates(comparison),
        "deviation": None if deviation is None else 100 * deviation["mean"],
        "peak": max(summary["peak_control"]),
        "speed_before": speed_before_end(comparison),
    }
    return facts, comparison


def collect(rows: Sequence[dict[str, Any]]) -> Facts:
    """Return one list per quantity from one dict per seed."""
    return {name: [row[name] for row in rows] for name in rows[0]}
