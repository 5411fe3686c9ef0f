"""Prepare a training: compile or load all that it calls, and say what was chosen."""

import time
from typing import Any, NamedTuple, cast

import numpy as np

from hfcontrol.arrays.device import device_name
from hfcontrol.arrays.random import Stream, stream
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.loop import ClosedLoop
from hfcontrol.optim.hessian_free import HessianFree
from hfcontrol.policy_gradient.trainer import PolicyTrainer
from hfcontrol.runs.settings import Settings
from hfcontrol.runs.sharing import check_shares
from hfcontrol.tasks.task import Task
from hfcontrol.training.diagnosis import Diagnosis
from hfcontrol.training.holds import begin_hold, choose_hold, list_holds
from hfcontrol.training.memory import check_memory
from hfcontrol.training.trainer import Trainer


class Preparation(NamedTuple):
    """What was done before training: its time [s], the solver, reasons for choices.

    `operations` are those of an update, None if they are not known. `diagnosis` is what
    was found out about the problem, None if nothing was.
    """

    seconds: float
    solver: str
    reasons: tuple[str, ...]
    operations: float | None = None
    diagnosis: Diagnosis | None = None


def prepare(trainer: Trainer | PolicyTrainer, settings: Settings) -> Preparation:
    """Compile or load all that a training calls, and say what was chosen and why."""
    begin = time.perf_counter()
    check_shares(trainer)
    if isinstance(trainer, PolicyTrainer):
        trainer.prepare()
        reason = (
            f"{settings.optimizer}: learns from costs alone, by "
            f"{trainer.sampler.description}"
        )
        seconds = time.perf_counter() - begin
        return Preparation(seconds, settings.optimizer, (reason,))

    if not trainer.estimator and trainer.kernels.device == "cpu":
        # One trial takes little memory, and tells what all of them take.
        task = cast(Task, trainer.task)
        single = trainer.loop_on(task.draw(np.random.default_rng(0), trials=1))
        check_memory(cast(ClosedLoop, single), trainer.optimizer, task.trials)
    # One call of each operation compiles it. The loop is one of control steps or one in
    # continuous time; what only the former has is used for it alone.
    loop: Any = trainer.loop(stream(settings.seed, Stream.SCENARIOS))
    theta = trainer.move(np.zeros(trainer.network.size))
    linear = loop.linearise(loop.rollout(theta))
    linear.jvp(linear.gradient)
    _prepare_holds(trainer, loop, theta)

    _, why_hold = choose_hold(trainer.hold, loop, trainer.fresh)
    reasons = [f"hold {why_hold}"]
    reasons += _describe_passes(trainer, loop)

    solver: str = settings.optimizer
    operations: float | None = None
    if isinstance(trainer.optimizer, HessianFree):
        solver, why = trainer.optimizer.choose_solver(loop)
        operations = trainer.optimizer.predict_operations(loop)
        if loop.active_residuals():
            # One residual is enough to compile the pass of them all.
            rows = linear.rows(loop.active_residuals()[-1:])
            loop.passes.gram(rows.reshape(-1, theta.size))
        reasons.append(f"solver {why}")

    if (settings.guide or settings.imitate) and trainer.optimal is not None:
        # One trial is enough to compile iLQR.
        trainer.optimal(loop.subset(1))
    if settings.imitate:
        reasons.append(
            "imitate: learns the laws about the optima of a few trials first, with at "
            f"most {settings.imitate} updates"
        )
    if settings.guide:
        reasons.append(
            f"guide: follows iLQR's trajectories first, with at most {settings.guide} "
            "updates on each part of the horizon"
        )
    seconds = time.perf_counter() - begin
    return Preparation(seconds, solver, tuple(reasons), operations)


def _prepare_holds(trainer: Trainer, loop: Any, theta: Array) -> None:
    """Call what the holds of a training call beyond a rollout and its derivatives."""
    if trainer.estimator:
        return
    # One trial is enough to compile.
    single = loop.subset(1)
    start = single.rollout(theta)
    for state in list_holds(trainer.hold, loop, trainer.fresh):
        hold = begin_hold(single, start, state)
        rollout = hold.rollout(theta)
        linear = hold.linearise(rollout)
        linear.jvp(linear.gradient)
        hold.close(rollout, state)


def _describe_passes(trainer: Trainer, loop: Any) -> list[str]:
    """Return where the passes run, if that is not compiled code on the CPU."""
    lines = []
    if trainer.kernels.device == "gpu":
        passes = type(loop.passes).__name__.removesuffix("Passes").lower()
        lines.append(
            f"device {device_name()}, passes {passes}, network in {trainer.dtype}"
        )
    if not trainer.plant.compiled:
        lines.append(
            f"passes fused, except for steps of {trainer.plant.name}, which is not "
            "compiled"
        )
    return lines
