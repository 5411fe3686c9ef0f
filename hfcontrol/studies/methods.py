"""Study: what the plant's derivative is worth.

Hessian-free, L-BFGS and Adam use the exact gradient; PPO and A2C have none. Plant,
task, network and initial weights are the same.

The score is the cost of the mean action on held-out scenarios over the optimal cost.
Plant steps are counted per trial: those of rollouts, and separately those of
finite-difference Jacobians; steps of tangents and adjoints need no plant. The result
shows the interquartile mean over seeds with a bootstrap interval (Agarwal et al. 2021).
METHODS says what was tried to choose each method's options. Methods with derivatives
first grow their horizon if the task asks for it; that counts, scoring does not.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import trim_mean

from hfcontrol.arrays.settings import POLICY_OPTIMIZERS
from hfcontrol.errors import UsageError
from hfcontrol.runs.settings import settings_for
from hfcontrol.studies.course import Report
from hfcontrol.studies.harness import GROW, Setup

TASKS = {"arm2": "reach", "cartpole": "balance"}

# The ratio to which prices are reported.
RATIO = 1.1

# A score follows when steps or seconds have grown by this factor.
SPACING = 1.15

# Bootstrap samples, and the interval [%].
SAMPLES = 2000
INTERVAL = (2.5, 97.5)

PRICES = ("plant_steps", "jacobian_steps", "tangent_steps", "adjoint_steps", "seconds")

Course = dict[str, Any]


class Method(NamedTuple):
    """Options of a training, and what was tried to find them."""

    options: dict[str, Any]
    tried: str


METHODS = {
    "Hessian-free": Method({"optimizer": "hf"}, "nothing: the defaults"),
    "L-BFGS": Method(
        {"optimizer": "lbfgs", "batches": 50},
        "nothing: SciPy's defaults, restarted every 50 updates",
    ),
    "Adam": Method({"optimizer": "adam"}, "rates 1e-3, 3e-3, 1e-2 on seed 0"),
    "PPO": Method(
        {"optimizer": "ppo"}, "rates 3e-4, 1e-3, 3e-3, and less exploration, on seed 0"
    ),
    "A2C": Method({"optimizer": "a2c"}, "rates 7e-4, 3e-3 on seed 0"),
}

# Learning rates that were better than the default.
RATES = {"arm2": {"Adam": 1e-3}, "cartpole": {"Adam": 1e-2}}


def study(
    plant: str = "arm2",
    seeds: int = 5,
    seconds: float = 30.0,
    report: Report | None = None,
) -> Iterator[dict[str, Any]]:
    """Train every method with every seed; yield the result after each training.

    Raises UsageError for an unknown plant.
    """
    if plant not in TASKS:
        known = " and ".join(TASKS)
        raise UsageError(f"`plant` {plant}: this study has {known}")
    result: dict[str, Any] = {
        "study": "methods",
        "plant": plant,
        "task": TASKS[plant],
        "seeds": seeds,
        "limit": seconds,
        "courses": [],
        "options": {name: _options(plant, name) for name in METHODS},
    }
    for seed in range(seeds):
        for name in METHODS:
            prefix = f"{name}, seed {seed}: "
            course = train(plant, name, seed, seconds, _with_prefix(report, prefix))
            result["courses"].append({"method": name, "seed": seed, **course})
            yield result | {"summary": summarise(result["courses"])}


def _options(plant: str, name: str) -> dict[str, Any]:
    """Return the options of a method, its learning rate, and what was tried."""
    method = METHODS[name]
    rate = RATES[plant].get(name)
    return {**method.options, "learning_rate": rate, "tried": method.tried}


def _with_prefix(report: Report | None, prefix: str) -> Report:
    """Return a report that puts a prefix before its text."""

    def prefixed(text: str) -> None:
        if report:
            report(prefix + text)

    return prefixed


def train(
    plant: str, name: str, seed: int, seconds: float, report: Callable[[str], None]
) -> Course:
    """Train with one method; return lists of the PRICES and the held-out ratio."""
    options = dict(METHODS[name].options)
    if name in RATES[plant]:
        options["learning_rate"] = RATES[plant][name]
    task = TASKS[plant]
    if options.get("optimizer") not in POLICY_OPTIMIZERS:
        options["grow"] = GROW.get((plant, task), 0)
    settings = settings_for(
        plant=plant, task=task, seed=seed, max_seconds=seconds, **options
    )
    setup = Setup(settings)
    yardstick = setup.held_out()
    trials = yardstick.loop.trials
    steps = yardstick.loop.scenario.steps

    course: Course = {price: [] for price in (*PRICES, "ratio")}
    for event, clock in setup.events(setup.after_curriculum()):
        counts = event.state.counts
        spent = {
            "plant_steps": event.state.rollouts * steps * trials,
            "jacobian_steps": counts.jacobian_steps,
            "tangent_steps": counts.tangent_steps,
            "adjoint_steps": counts.adjoint_steps,
            "seconds": clock,
        }
        if event.kind == "done" or _is_due(course, spent):
            ratio = yardstick.ratio(event.state.optimizer.theta)
            for price, value in spent.items():
                course[price].append(float(value))
            course["ratio"].append(ratio if np.isfinite(ratio) else None)
            report(
                f"{spent['plant_steps']:.3g} plant steps, {clock:.1f} s, "
                f"ratio {ratio:.4g}"
            )
        # Limits of the trainer are checked between updates only.
        if clock >= seconds:
            break
    return course


def _is_due(course: Course, spent: dict[str, float]) -> bool:
    """Return whether steps or seconds have grown enough for another score."""
    if not course["seconds"]:
        return True
    watched = ("plant_steps", "seconds")
    return any(spent[price] > SPACING * course[price][-1] for price in watched)


def mean_and_interval(values: list[float | None]) -> list[float | None]:
    """Return the interquartile mean of values (K,) and its bootstrap interval.

    A value of None counts as infinite; so does a result that is not finite.
    """
    # Seed 0 for the bootstrap too: the same result twice.
    numbers = np.array([np.inf if v is None else v for v in values], dtype=float)
    drawn = np.random.default_rng(0).choice(numbers, (SAMPLES, len(numbers)))
    with np.errstate(invalid="ignore"):
        mean = trim_mean(numbers, 0.25)
        interval = np.percentile(trim_mean(drawn, 0.25, axis=1), INTERVAL)
    return [float(v) if np.isfinite(v) else None for v in (mean, *interval)]


def ratio_at(course: Course, price: str, value: float) -> float | None:
    """Return the last ratio before more than `value` was spent, or None."""
    place = np.searchsorted(course[price], value, side="right") - 1
    return course["ratio"][place] if place >= 0 else None


def price_of_ratio(course: Course, price: str, ratio: float = RATIO) -> float | None:
    """Return what was spent when the held-out ratio was first reached, or None."""
    for spent, reached in zip(course[price], course["ratio"], strict=True):
        if reached is not None and reached <= ratio:
            return spent
    return None


def summarise(courses: list[Course]) -> dict[str, Any]:
    """Return each method's final ratio, and its median prices of RATIO over the seeds.

    A price is None if most seeds did not reach RATIO.
    """
    summary = {}
    for name in dict.fromkeys(course["method"] for course in courses):
        same = [course for course in courses if course["method"] == name]
        prices = {
            price: [price_of_ratio(course, price) for course in same]
            for price in PRICES
        }
        reached = [seconds for seconds in prices["seconds"] if seconds is not None]
        summary[name] = {
            "ratio": mean_and_interval([course["ratio"][-1] for course in same]),
            "reached": len(reached),
            "of": len(same),
            **{price: _median(values) for price, values in prices.items()},
        }
    return summary


def _median(values: list[float | None]) -> float | None:
    """Return the median, with None as infinite; None if it is infinite."""
    median = float(np.median([np.inf if v is None else v for v in values]))
    return median if np.isfinite(median) else None
