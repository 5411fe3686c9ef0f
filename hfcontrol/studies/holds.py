"""Study: what a hold keeps fixed, and for how many updates.

The blog post keeps the network's inputs fixed (hold `inputs`). It claims that N = 32
updates on the same inputs work for a running cost, and fail for the cost of the final
state alone. This study trains with every hold and several N, and counts rollouts and
CPU seconds to the lowest loss so far.

A training stops at its target (a loss near the optimum), after a number of rollouts of
the plant or as many updates, or when it converges. All trainings of a seed have the
same initial weights, and all of a cost the same scenario.

With `look_for_claim`, all trainings have the hold `inputs`, with other settings of
damping and radius. The script of the blog post makes a new optimizer for every hold:
damping 100, no warm start, at most 96 iterations of conjugate gradients.
"""

import itertools
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.errors import UsageError
from hfcontrol.runs.settings import settings_for
from hfcontrol.studies.course import Report
from hfcontrol.studies.harness import Setup, run_jobs
from hfcontrol.training.holds import HoldState, InputsHold

# The settings that all trainings share.
SHARED: dict[str, Any] = {"plant": "arm2", "task": "reach"}

# `running` is the blog post's running cost: all four states, weight 1, no effort.
COSTS: dict[str, dict[str, Any]] = {
    "final": {"running": 0.0, "effort": 0.0},
    "running": {"final": 0.0, "running": (1.0, 1.0, 1.0, 1.0), "effort": 0.0},
    "effort": {"running": 0.05, "effort": 1e-3},
}

# A training has reached its target at this loss if the optimum is zero, else at this
# ratio to the optimal loss.
TARGET_LOSS = 1e-8
TARGET_RATIO = 1.001

# What is counted, and what the trainings of a row in the summary share.
PRICES = ("rollouts", "updates", "seconds")
GROUP = ("cost", "variant", "batches")

Course = dict[str, Any]


class Variant(NamedTuple):
    """A hold and settings of its optimizer.

    With `resets` every hold begins with a new state of the optimizer. With a `radius` a
    hold ends when the rms change of the state, in typical sizes, is larger.
    """

    hold: str
    settings: dict[str, Any]
    resets: bool = False
    radius: float | None = None


HOLDS = {
    name: Variant(name, {}) for name in ("scenario", "model", "inputs", "post", "auto")
}
POST_SETTINGS = {"damping": 100.0, "cg_cap": 96}
CLAIM = {
    "damping 1": Variant("inputs", {}),
    "damping 1, reset": Variant("inputs", {}, resets=True),
    "damping 100": Variant("inputs", POST_SETTINGS),
    "damping 100, reset": Variant("inputs", POST_SETTINGS, resets=True),
    "radius 0.3": Variant("inputs", {}, radius=0.3),
    "radius 0.03": Variant("inputs", {}, radius=0.03),
}


class Job(NamedTuple):
    """One training: names of its cost and variant, N, seed, target and rollouts."""

    cost: str
    variant: str
    batches: int
    seed: int
    target: float
    rollouts: int


class InputsWithinRadius(InputsHold):
    """The hold `inputs` that ends outside a trust radius."""

    def __init__(
        self, loop: Any, start: Any, state: HoldState, updates: int, radius: float
    ) -> None:
        super().__init__(loop, start)
        self.radius = radius

    def is_over(self, before: float, now: Any, target: float | None = None) -> bool:
        """Whether the trajectory has left the radius."""
        return self.deviation(now) > self.radius


def study(
    seeds: int = 5,
    batches: str = "1,4,8,32",
    rollouts: int = 600,
    costs: str = "final,running",
    holds: str | None = None,
    look_for_claim: bool = False,
    jobs: int | None = None,
    report: Report | None = None,
) -> Iterator[dict[str, Any]]:
    """Train every cost with every hold, N and seed; yield the result after each.

    `rollouts` limits the rollouts, and the updates, of a training. `batches` are values
    of N, `costs` names of COSTS, and `holds` names of HOLDS (all by default), separated
    by commas. `look_for_claim` takes all of CLAIM instead. `jobs` is the number of
    parallel processes, by default one per core. Raises UsageError for other texts.
    """
    updates = parse_batches(batches)
    names = parse_names("costs", costs, COSTS)
    variants = choose_variants(holds, look_for_claim)
    optimal = {name: optimal_loss(name) for name in names}
    targets = {name: target_loss(loss) for name, loss in optimal.items()}

    # Seeds last, so that a study that is stopped has something of everything.
    planned = [
        Job(cost, variant, most, seed, targets[cost], rollouts)
        for seed in range(seeds)
        for cost in names
        for variant in variants
        for most in updates
    ]
    result: dict[str, Any] = {
        "study": "holds",
        **SHARED,
        "seeds": seeds,
        "batches": updates,
        "rollouts": rollouts,
        "variants": variants,
        "optimal": optimal,
        "targets": targets,
    }
    finished: dict[Job, Course] = {}
    for job, course in run_jobs(train, planned, jobs):
        finished[job] = course
        if report:
            report(f"{len(finished)} of {len(planned)} trainings")
        # Processes finish in any order; the result does not depend on it.
        courses = [finished[job] for job in planned if job in finished]
        yield result | {"courses": courses, "summary": summarise(courses)}


def choose_variants(holds: str | None, look_for_claim: bool) -> list[str]:
    """Return the names of the variants that a study trains; UsageError for others."""
    if holds is None:
        return list(CLAIM if look_for_claim else HOLDS)
    if look_for_claim:
        raise UsageError(
            f"`holds` {holds}: with `look_for_claim` all trainings have the hold "
            "inputs; leave it out"
        )
    return parse_names("holds", holds, HOLDS)


def parse_batches(text: str) -> list[int]:
    """Return the values of N in a text such as "1,32"; UsageError for another."""
    words = text.split(",")
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise UsageError(
            f"`batches` {text}: must be whole numbers above zero, separated by commas, "
            "such as 1,32"
        )
    return list(dict.fromkeys(int(word) for word in words))


def parse_names(size: str, text: str, known: Iterable[str]) -> list[str]:
    """Return the names in a text such as "final,running"; UsageError for others."""
    names = text.split(",")
    if not set(names) <= set(known):
        raise UsageError(
            f"`{size}` {text}: must be some of {', '.join(known)}, separated by commas"
        )
    return list(dict.fromkeys(names))


def settings_of(cost: str, **chosen: Any) -> Any:
    """Return the settings of a training for a cost."""
    return settings_for(**SHARED, **COSTS[cost], **chosen)


def optimal_loss(cost: str) -> float:
    """Return the optimal loss of a cost, zero if nothing stands in its way."""
    setup = Setup(settings_of(cost))
    if setup.trainer.task.optimum_is_zero:
        return 0.0
    return setup.training_scenarios().optimal


def target_loss(optimal: float) -> float:
    """Return the loss at which a training has reached its target."""
    return TARGET_RATIO * optimal or TARGET_LOSS


def train(job: Job) -> Course:
    """Train once; return a point for every new lowest loss, and one for the end.

    The points are losses, and the rollouts, updates and CPU seconds spent on them.
    """
    setup = setup_of(job)
    # Two events, of which the second is an update, before the clock starts: a new
    # process loads libraries then.
    for _ in itertools.islice(setup.events(setup.initial_state()), 2):
        pass
    points: list[tuple[float, int, int, float]] = []
    lowest = np.inf
    spent = (0, 0, 0.0)
    for event, seconds in events_of(setup, _variant(job).resets):
        state = event.state
        spent = (state.rollouts, state.updates, seconds)
        # The last point is the last rollout on the true plant with the network's own
        # inputs.
        loss = state.curve[-1].loss if state.curve else np.inf
        if loss < lowest:
            lowest = loss
            points.append((lowest, *spent))
        if lowest <= job.target or state.updates >= job.rollouts:
            break
    points.append((lowest, *spent))
    columns = map(list, zip(*points, strict=True))
    return {**job._asdict(), **dict(zip(("loss", *PRICES), columns, strict=True))}


def _variant(job: Job) -> Variant:
    """Return the variant of a job."""
    return (HOLDS | CLAIM)[job.variant]


def setup_of(job: Job) -> Setup:
    """Return the training of a job."""
    variant = _variant(job)
    settings = settings_of(
        job.cost,
        hold=variant.hold,
        batches=job.batches,
        seed=job.seed,
        rollouts=job.rollouts,
        **variant.settings,
    )
    setup = Setup(settings)
    if variant.radius:
        begin = partial(InputsWithinRadius, radius=variant.radius)
        setup.trainer.begin_hold = begin
    return setup


def events_of(setup: Setup, resets: bool) -> Iterator[tuple[Any, float]]:
    """Train; yield events with CPU seconds.

    With `resets` every hold begins with a new state of the optimizer.
    """
    state = setup.initial_state()
    is_done = False
    while not is_done:
        for event, seconds in setup.events(state, time.process_time):
            yield event, seconds
            is_done = event.kind == "done"
            if resets and event.kind == "hold":
                inner = setup.trainer.optimizer.init(event.state.optimizer.theta)
                state = replace(event.state, optimizer=inner, seconds=seconds)
                break


def lowest_losses(course: Course, price: str, spent: Array) -> Array:
    """Return the lowest loss of a course until more than `spent` (K,) of a price."""
    places = np.searchsorted(course[price], spent, side="right") - 1
    return np.array(course["loss"])[np.maximum(places, 0)]


def summarise(courses: list[Course]) -> list[dict[str, Any]]:
    """Return a row per cost, variant and N: lowest losses, and medians to the target.

    A median is None if most seeds did not reach the target.
    """
    groups: dict[tuple[Any, ...], list[Course]] = {}
    for course in courses:
        key = tuple(course[name] for name in GROUP)
        groups.setdefault(key, []).append(course)
    return [_summary(key, same) for key, same in groups.items()]


def _summary(key: tuple[Any, ...], courses: list[Course]) -> dict[str, Any]:
    """Return the row of the courses of one cost, variant and N."""
    lowest = [course["loss"][-1] for course in courses]
    reached = [course["loss"][-1] <= course["target"] for course in courses]
    row = {
        **dict(zip(GROUP, key, strict=True)),
        "lowest": lowest,
        "reached": sum(reached),
        "of": len(courses),
    }
    for price in PRICES:
        ends = [
            course[price][-1] if is_there else np.inf
            for course, is_there in zip(courses, reached, strict=True)
        ]
        median = float(np.median(ends))
        row[price] = median if np.isfinite(median) else None
    return row
