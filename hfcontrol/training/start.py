"""Starts: the weights that a training begins with.

An untrained network is a poor start for a plant that runs away from it, or whose
signals are far from one. The candidates, in this order:

law      the better of two linear laws (laws.py), if its loss is at most `GOOD` times
         the optimum
plain    random weights, as they are or in typical sizes
last     the better law, whatever it costs, if the plain loss is not finite

A law that is merely better than random weights is a trap: where the optimal law varies
with time, training from a constant one ends in a poor minimum.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, cast

import numpy as np

from hfcontrol.arrays.random import Stream, stream
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.linear_model import NOTHING_FIXED
from hfcontrol.closed_loop.loop import ClosedLoop
from hfcontrol.plant.stiffness import stable_substeps
from hfcontrol.tasks.scenario import Scenario, select_trials
from hfcontrol.tasks.task import Task
from hfcontrol.training.conditioning import (
    PLAIN,
    Conditioning,
    is_ordinary,
)
from hfcontrol.training.diagnosis import Diagnosis, diagnose
from hfcontrol.training.laws import (
    Law,
    imitated_law,
    regulator_law,
    start_with_law,
)
from hfcontrol.training.trainer import Trainer

# Trials at whose starts and goals the plant's modes are looked at.
POINTS = 4

# A state needs other difference steps if it is smaller than its typical size by this
# factor: the steps are 6e-6 typical sizes.
FAR = 1e3

# A law is taken if its loss is at most this multiple of the optimal loss. From a law at
# 2.7 times the optimum, diffdrive was trained slower than from random weights.
GOOD = 2.0

LAWS: dict[str, Callable[[Diagnosis, np.random.Generator], Law]] = {
    "the regulator about the goal": regulator_law,
    "a law that imitates the optima": imitated_law,
}

# From a conditioning to the trainer of the problem.
Build = Callable[[Conditioning], Trainer]


class Start(NamedTuple):
    """Where a training begins: its problem, and the weights theta (P,).

    `reason` says why in words, `diagnosis` on what grounds, None if
    the task has no use for one.
    """

    conditioning: Conditioning
    theta: Array
    reason: str
    diagnosis: Diagnosis | None


class Candidate(NamedTuple):
    """A start on trial: conditioning, theta (P,), mean loss, what it is in words."""

    conditioning: Conditioning
    theta: Array
    loss: float
    name: str


def choose_start(build: Build, seed: int, insists_on_law: bool = False) -> Start:
    """Return the start of a training whose trainer `build` returns.

    With `insists_on_law`, the better law is taken whatever its loss.
    """
    trainer = build(PLAIN)
    scenario = trainer.task.draw(stream(seed, Stream.SCENARIOS))
    conditioning = _with_substeps(trainer, scenario)
    if conditioning is not PLAIN:
        trainer = build(conditioning)
    theta = trainer.network.initial(stream(seed, Stream.WEIGHTS))
    reason = "start: random weights"
    if trainer.task.optimum_is_zero:
        # many controls are optimal, and so their sizes mean nothing
        return Start(conditioning, theta, reason, None)

    evaluated = _evaluated_trials(trainer, scenario, seed)
    diagnosis = _diagnose_in_sizes(build, conditioning, evaluated)
    law = _best_law(build, conditioning, diagnosis, seed)
    optimal = diagnosis.loss
    if law is not None and (insists_on_law or law.loss <= GOOD * optimal):
        ratio = law.loss / optimal
        reason = f"start: {law.name}, {ratio:.4g} times the optimum"
        return Start(law.conditioning, law.theta, reason, diagnosis)

    if not is_ordinary(diagnosis.sizes, trainer.network.output_sizes):
        conditioning = conditioning.with_sizes(diagnosis.sizes)
        reason += ", signals in typical sizes"
        trainer = build(conditioning)
        theta = trainer.network.initial(stream(seed, Stream.WEIGHTS))
    loss = _loop_on(trainer, scenario).rollout(theta, NOTHING_FIXED).loss
    if np.isfinite(loss) or law is None or not np.isfinite(law.loss):
        return Start(conditioning, theta, reason, diagnosis)
    reason = f"start: {law.name}; with random weights the plant runs away"
    return Start(law.conditioning, law.theta, reason, diagnosis)


def _with_substeps(trainer: Trainer, scenario: Scenario) -> Conditioning:
    """Return a conditioning with the substeps that the plant needs, and nothing else.

    The modes are those at starts and goals of a few trials of a scenario.
    """
    plant = trainer.plant
    if not plant.compiled:
        return PLAIN
    few = np.linspace(0, scenario.trials - 1, min(POINTS, scenario.trials)).astype(int)
    sample = select_trials(scenario, few)
    goal = np.where(np.isnan(sample.goal[-1]), sample.x0, sample.goal[-1])
    n = plant.n_body
    x = np.concatenate([sample.x0[:n], goal[:n]], axis=1)
    params = np.tile(sample.params, 2)
    trim = np.reshape(plant.trim, (-1, 1))
    u = np.tile(np.broadcast_to(trim, (plant.nu, 1)), x.shape[1])
    substeps = stable_substeps(plant, x, u, params)
    return PLAIN if substeps == plant.substeps else Conditioning(substeps=substeps)


def _evaluated_trials(trainer: Trainer, scenario: Scenario, seed: int) -> Scenario:
    """Return the training trials of an evaluation, whose optima it needs anyway.

    They are those of `scenario`, unless an evaluation has fewer of them.
    """
    task = cast(Task, trainer.task)
    trials = task.evaluation_trials
    if trials == scenario.trials:
        return scenario
    return task.draw(stream(seed, Stream.SCENARIOS), trials=trials)


def _diagnose_in_sizes(
    build: Build, conditioning: Conditioning, scenario: Scenario
) -> Diagnosis:
    """Return the diagnosis of a problem whose difference steps fit its states.

    Steps that are far too long for a state fail. Starts and goals show its size before
    the optima are known; where the optima show something else, they are found again.
    """
    plant = build(conditioning).plant
    used = np.array(plant.typical_state, dtype=float)
    goal = np.abs(np.nan_to_num(scenario.goal)).max(axis=(0, 2))
    largest = np.maximum(np.abs(scenario.x0).max(axis=1), goal)
    shown = np.where(largest > 0, largest, used)
    for _ in range(2):
        sized = conditioning
        if (shown < used / FAR).any():
            used = np.minimum(shown, used)
            sized = replace(conditioning, state_size=used)
        diagnosis = diagnose(_loop_on(build(sized), scenario))
        shown = diagnosis.sizes.states.size
        if not (shown < used / FAR).any():
            break
    return diagnosis


def _loop_on(trainer: Trainer, scenario: Scenario) -> ClosedLoop:
    """Return the closed loop on a scenario."""
    loop = trainer.loop_on(scenario)
    assert isinstance(loop, ClosedLoop)
    return loop


def _best_law(
    build: Build, conditioning: Conditioning, diagnosis: Diagnosis, seed: int
) -> Candidate | None:
    """Return the law of lowest loss on the sampled trials, or None."""
    conditioning = conditioning.with_sizes(diagnosis.sizes, linear_path=True)
    trainer = build(conditioning)
    loop = _loop_on(trainer, diagnosis.system.scenario)
    initial = trainer.network.initial(stream(seed, Stream.WEIGHTS))
    best: Candidate | None = None
    for number, (name, make) in enumerate(LAWS.items()):
        rng = stream(seed, Stream.LAWS, number)
        try:
            law = make(diagnosis, rng)
        except np.linalg.LinAlgError:
            continue
        theta = start_with_law(trainer.network, law, initial)
        loss = loop.rollout(theta, NOTHING_FIXED).loss
        if best is None or loss < best.loss:
            best = Candidate(conditioning, theta, loss, name)
    return best
