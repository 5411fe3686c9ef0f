"""Study: what the plant's derivative is worth. Hessian-free, L-BFGS and Adam on the exact gradient, PPO and A2C, which have none,
on the same plant, task, network and first weights.

The score is the cost of the mean action on held-out scenarios by the optimal cost. Plant steps are counted trial by trial: those
of rollouts, and, apart, those for Jacobians by differences; steps of tangents and adjoints need no plant. What is shown is the
interquartile mean over seeds with a bootstrap interval (Agarwal et al. 2021). METHODS says what was tried to choose each method's options.
Those with derivatives first grow their horizon where the task asks for it, which counts; scores, and what is spent on them, do not.
"""

import time
from typing import NamedTuple

import numpy as np
from scipy.stats import trim_mean

from hfcontrol.arrays.random import Stream, stream
from hfcontrol.closed_loop.loop import ClosedLoop
from hfcontrol.errors import UsageError
from hfcontrol.optim.yardstick import optimum
from hfcontrol.runs.factory import make_trainer, prepare
from hfcontrol.runs.settings import settings_for
from hfcontrol.training.curriculum import run_curriculum

TASKS = {"arm2": "reach", "cartpole": "balance"}
RATIO = 1.1  # to which the plant steps are told
APART = 1.15  # times as many seconds or steps between two scores
SAMPLES, INTERVAL = 2000, (2.5, 97.5)  # of the bootstrap [%]
PRICES = ("plant_steps", "jacobian_steps", "tangent_steps", "adjoint_steps", "seconds")


class Method(NamedTuple):
    """Options of a training, and how many were tried to find them."""

    options: dict
    tried: str


METHODS = {
    "Hessian-free": Method({"optimizer": "hf"}, "nothing: the defaults"),
    "L-BFGS": Method(
        {"optimizer": "lbfgs", "batches": 50},
        "nothing: SciPy's defaults, started anew every 50 updates",
    ),
    "Adam": Method({"optimizer": "adam"}, "rates 1e-3, 3e-3, 1e-2 on seed 0"),
    "PPO": Method(
        {"optimizer": "ppo"}, "rates 3e-4, 1e-3, 3e-3, and less exploration, on seed 0"
    ),
    "A2C": Method({"optimizer": "a2c"}, "rates 7e-4, 3e-3 on seed 0"),
}
RATES = {
    "arm2": {"Adam": 1e-3},
    "cartpole": {"Adam": 1e-2},
}  # where another than the default is the best of those tried


def study(plant="arm2", seeds=5, seconds=30.0, tell=None):
    """The held-out ratio of each method against steps and seconds, seed by seed; after every training what there is."""
    if plant not in TASKS:
        raise UsageError(
            f"--plant {plant} with compare methods: it has {' and '.join(TASKS)}"
        )
    tell = tell or (lambda text: None)
    result = {
        "study": "methods",
        "plant": plant,
        "task": TASKS[plant],
        "seeds": seeds,
        "limit": seconds,
        "courses": [],
        "options": {
            name: {
                **m.options,
                "learning_rate": RATES[plant].get(name),
                "tried": m.tried,
            }
            for name, m in METHODS.items()
        },
    }
    for seed in range(seeds):
        for name in METHODS:
            course = trained(
                plant,
                name,
                seed,
                seconds,
                lambda text, name=name, seed=seed: tell(f"{name}, seed {seed}: {text}"),
            )
            result["courses"].append({"method": name, "seed": seed, **course})
            yield result | {"summary": summary(result["courses"])}


def trained(plant, name, seed, seconds, tell):
    """One training: lists of PRICES and of the held-out ratio (dict)."""
    rate = {"learning_rate": RATES[plant][name]} if name in RATES[plant] else {}
    settings = settings_for(
        plant=plant,
        task=TASKS[plant],
        seed=seed,
        max_seconds=seconds,
        **METHODS[name].options,
        **rate,
    )
    trainer = make_trainer(settings)
    prepare(trainer, settings)
    judged = _held_out(trainer, settings)
    best = float(
        np.mean(
            optimum(judged.kernels, judged.plant, judged.scenario, judged.wiring).losses
        )
    )
    scored, aside = {price: [] for price in (*PRICES, "ratio")}, 0.0
    for event in trainer.run(run_curriculum(trainer, settings)):
        state = event.state
        clock = max(
            state.seconds - aside, *scored["seconds"][-1:], 0.0
        )  # the last event has the time of the one before
        now = [
            state.rollouts * judged.scenario.steps * judged.trials,
            state.counts.jacobian_steps,
            state.counts.tangent_steps,
            state.counts.adjoint_steps,
            clock,
        ]
        if event.kind == "done" or not scored["seconds"] or _apart(now, scored):
            begin = time.perf_counter()
            ratio = float(judged.rollout(event.state.optimizer.theta).loss / best)
            for price, value in zip((*PRICES, "ratio"), (*map(float, now), ratio)):
                scored[price].append(value if np.isfinite(value) else None)
            tell(f"{now[0]:.3g} plant steps, {now[-1]:.1f} s, ratio {ratio:.4g}")
            aside += time.perf_counter() - begin
        if now[-1] >= seconds:
            break
    return scored


def _apart(now, scored):
    return any(
        value > APART * scored[price][-1]
        for price, value in zip(PRICES, now)
        if price in ("plant_steps", "seconds")
    )


def _held_out(trainer, settings):
    scenario = trainer.task.draw(stream(settings.seed, Stream.HELD_OUT), "held_out")
    return ClosedLoop(
        trainer.plant, trainer.kernels, trainer.network, scenario, trainer.wiring
    )


def mean_and_interval(values):
    """The interquartile mean of values (K,) and the bootstrap interval of it; None where too many are infinite."""
    values = np.array([np.inf if v is None else v for v in values], dtype=float)
    drawn = np.random.default_rng(0).choice(values, (SAMPLES, len(values)))
    with np.errstate(invalid="ignore"):
        numbers = [
            trim_mean(values, 0.25),
            *np.percentile(trim_mean(drawn, 0.25, axis=1), INTERVAL),
        ]
    return [float(v) if np.isfinite(v) else None for v in numbers]


def at(course, price, value):
    """The ratio of a course where so much was spent: the last one scored by then, None before the first."""
    place = np.searchsorted(course[price], value, side="right") - 1
    return course["ratio"][place] if place >= 0 else None


def reached(course, price, ratio=RATIO):
    """What was spent when the held-out ratio first was as good as that; None if it never was."""
    return next(
        (
            p
            for p, r in zip(course[price], course["ratio"])
            if r is not None and r <= ratio
        ),
        None,
    )


def summary(courses):
    """Of every method: final ratio (interquartile mean, interval), and for each price the median to RATIO over the seeds, None where
    most of them never got there."""
    found = {}
    for name in dict.fromkeys(c["method"] for c in courses):
        same = [c for c in courses if c["method"] == name]
        prices = {price: [reached(c, price) for c in same] for price in PRICES}
        found[name] = {
            "ratio": mean_and_interval([c["ratio"][-1] for c in same]),
            "reached": sum(p is not None for p in prices["seconds"]),
            "of": len(same),
            **{price: _median(values) for price, values in prices.items()},
        }
    return found


def _median(values):
    median = float(np.median([np.inf if v is None else v for v in values]))
    return median if np.isfinite(median) else None
