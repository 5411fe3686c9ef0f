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
from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.random import Stream, stream
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.linear_model import NOTHING_FIXED
from hfcontrol.closed_loop.loop import ClosedLoop
from hfcontrol.plant.stiffness import stable_substeps
from hfcontrol.tasks.scenario import select_trials
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

# A law is taken if its loss is at most this multiple of the optimal loss.
GOOD = 3.0

LAWS: dict[str, Callable[[Diagnosis, np.random.Generator], Law]] = {
    "the regulator about the goal": regulator_law,
    "a law that imitates the optima": imitated_law,
}


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


def choose_start(
    build: Callable[[Conditioning], Trainer], seed: int, insists_on_law: bool = False
) -> Start:
    """Return the start of a training whose trainer `build` returns.

    With `insists_on_law`, the better law is taken whatever its loss.
    """
    conditioning, trainer, loop = _with_substeps(build, seed)
    theta = trainer.network.initial(stream(seed, Stream.WEIGHTS))
    reason = "start: random weights"
    if trainer.task.optimum_is_zero:
        # many controls are optimal, and so their sizes mean nothing
        return Start(conditioning, theta, reason, None)

    diagnosis = diagnose(loop)
    law = _best_law(build, conditioning, diagnosis, seed)
    optimal = diagnosis.loss
    if law is not None and (insists_on_law or law.loss <= GOOD * optimal):
        ratio = law.loss / optimal
        reason = f"start: {law.name}, {ratio:.4g} times the optimum"
        return Start(law.conditioning, law.theta, reason, diagnosis)

    if not is_ordinary(diagnosis.sizes):
        conditioning = conditioning.with_sizes(diagnosis.sizes)
        reason += ", signals in typical sizes"
        trainer = build(conditioning)
        theta = trainer.network.initial(stream(seed, Stream.WEIGHTS))
    loss = _loop(trainer, seed).rollout(theta, NOTHING_FIXED).loss
    if np.isfinite(loss) or law is None or not np.isfinite(law.loss):
        return Start(conditioning, theta, reason, diagnosis)
    reason = f"start: {law.name}; with random weights the plant runs away"
    return Start(law.conditioning, law.theta, reason, diagnosis)


def _with_substeps(
    build: Callable[[Conditioning], Trainer], seed: int
) -> tuple[Conditioning, Trainer, ClosedLoop]:
    """Return the substeps that the plant needs, and trainer and loop with them."""
    trainer = build(PLAIN)
    loop = _loop(trainer, seed)
    plant = trainer.plant
    if not plant.compiled:
        return PLAIN, trainer, loop
    sample = select_trials(loop.scenario, loop.trial_indices(min(POINTS, loop.trials)))
    goal = np.where(np.isnan(sample.goal[-1]), sample.x0, sample.goal[-1])
    n = plant.n_body
    x = np.concatenate([sample.x0[:n], goal[:n]], axis=1)
    params = np.tile(sample.params, 2)
    trim = np.reshape(plant.trim, (-1, 1))
    u = np.tile(np.broadcast_to(trim, (plant.nu, 1)), x.shape[1])
    substeps = stable_substeps(plant, x, u, params)
    if substeps == plant.substeps:
        return PLAIN, trainer, loop
    conditioning = Conditioning(substeps=substeps)
    trainer = build(conditioning)
    return conditioning, trainer, _loop(trainer, seed)


def _loop(trainer: Trainer, seed: int) -> ClosedLoop:
    """Return the closed loop on the first training scenario."""
    loop = trainer.loop(stream(seed, Stream.SCENARIOS))
    assert isinstance(loop, ClosedLoop)
    return loop


def _best_law(
    build: Callable[[Conditioning], Trainer],
    conditioning: Conditioning,
    diagnosis: Diagnosis,
    seed: int,
) -> Candidate | None:
    """Return the law of lowest loss on the sampled trials, or None."""
    conditioning = conditioning.with_sizes(diagnosis.sizes, linear_path=True)
    trainer = build(conditioning)
    trials = diagnosis.system.scenario.trials
    loop = _loop(trainer, seed).subset(trials)
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
