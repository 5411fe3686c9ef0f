"""Trainings of many seeds in one batch, on a GPU that one small network leaves idle.

The requests of all trainings are collected and served together, by
optim/many_networks.py. Every training keeps its own state, limits, holds, events,
checkpoints and folder, and goes as it goes alone, to rounding; the others continue when
one ends. Networks have plain cells, no cells in continuous time.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, cast

import numpy as np

from hfcontrol.arrays.device import CPU_INSTEAD, free_memory
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.counts import Counts
from hfcontrol.closed_loop.linear_model import NOTHING_FIXED, LinearModel
from hfcontrol.closed_loop.loop import ClosedLoop, PassOptions
from hfcontrol.closed_loop.protocol import Loop
from hfcontrol.errors import DeviceError, HFControlError
from hfcontrol.network.cells import is_continuous
from hfcontrol.optim import many_networks
from hfcontrol.optim.hessian_free import HessianFree, HFState, explicit_rows
from hfcontrol.optim.protocol import Report
from hfcontrol.tasks.scenario import concatenate_scenarios
from hfcontrol.training.holds import choose_hold
from hfcontrol.training.state import Event, TrainingState
from hfcontrol.training.stop import StopToken
from hfcontrol.training.trainer import Request, RolloutRequest, StepRequest, Trainer

# Vectors of the size of theta, at most, that an update by conjugate gradients holds:
# the iterates that it keeps, the candidates, and its own.
VECTORS = 40

# Rollouts held at a time: that of the weights, one that is tried, and the scenarios and
# costs of all trials.
ROLLOUTS = 3

DOUBLE_BYTES = 8
ONE_ROLLOUT = Counts(rollouts=1)

# Settings of which a batch has no use but their default, which is false or zero.
UNSUPPORTED = ("structural", "grow", "guide", "freeze", "dale")

Training: TypeAlias = Generator[Event | Request, Any, None]


class TrainingInFolder(Protocol):
    """A training in its run folder, see runs/training.py."""

    trainer: Trainer
    state: TrainingState
    folder: Any

    def record(self, event: Event) -> None:
        """Adopt the state of an event, and write the checkpoint that is due."""
        ...


@dataclass(frozen=True)
class NetworkRollout:
    """One network's part in a rollout of several: weights (P,) and loss.

    The trajectories stay with the rollout of all.
    """

    theta: Array
    loss: float
    linear_model: LinearModel = NOTHING_FIXED
    counts: Counts = ONE_ROLLOUT


class RowStack:
    """Stacks vectors, unless they are the rows of the stack made last.

    Trainings get rows of a stack and usually return all of them unchanged.
    """

    def __init__(self) -> None:
        self._stacked: Array | None = None
        self._rows: list[Array] = []

    def unstack(self, stacked: Array) -> list[Array]:
        """Return the rows of an array, and remember it."""
        self._stacked = stacked
        self._rows = list(stacked)
        return self._rows

    def stack(self, rows: list[Array]) -> Array:
        """Return the array with these rows."""
        if self._stacked is None or not _are_same(rows, self._rows):
            self._stacked = np.stack(rows)
            self._rows = rows
        return self._stacked


def _are_same(objects: Sequence[Any], others: Sequence[Any]) -> bool:
    """Whether two sequences contain the same objects."""
    if len(objects) != len(others):
        return False
    return all(a is b for a, b in zip(objects, others, strict=True))


def obstacle(settings: Any, loop: ClosedLoop) -> str | None:
    """Return why trainings with such settings cannot run in one batch, or None."""
    for name in UNSUPPORTED:
        if getattr(settings, name):
            return f"`{name}` works for one training at a time only"
    if settings.race > 1:
        return "`race` works for one training at a time only"
    if settings.density != 1.0:
        return "`density` works for one training at a time only"
    if settings.optimizer != "hf":
        return f"`optimizer={settings.optimizer}` makes no Hessian-free steps"
    if is_continuous(settings.cell):
        return f"`cell={settings.cell}` is a cell in continuous time"
    kind = choose_hold(settings.hold, loop)[0].kind
    if settings.hold == "post" or kind != "scenario":
        return f"`hold={settings.hold}` keeps {kind} fixed"
    return None


def bytes_needed(loop: ClosedLoop, optimizer: HessianFree) -> float:
    """Return the bytes on the GPU, about, that one more training needs."""
    T = loop.scenario.steps
    P = loop.network.size
    trials = min(optimizer.curvature_trials or loop.trials, loop.trials)

    # arrays of passes, for rollouts and for the linearised loop
    # passes on a GPU say so
    bytes_per_step: int = cast(Any, loop.passes).bytes_per_step
    stored = (ROLLOUTS * loop.trials + trials) * T * bytes_per_step

    solver, _ = optimizer.choose_solver(loop)
    indices = loop.active_residuals()
    if solver != "residual":
        indices = [c for c in indices if c.time == T]
    m = len(indices) * trials
    per_step = loop.network.n_activations + loop.plant.nx + 2 * loop.plant.nu
    # an explicit Jacobian, its Gram matrix, and the cotangents of its rows
    explicit = 2 * m * P + 3 * m * m + 2 * m * (T + 1) * per_step
    return stored + DOUBLE_BYTES * (explicit + VECTORS * P)


def check_memory(loop: ClosedLoop, optimizer: HessianFree, seeds: int) -> None:
    """Raise DeviceError if `seeds` trainings do not fit on the GPU."""
    each = bytes_needed(loop, optimizer)
    free = free_memory()
    if seeds * each > free:
        raise DeviceError(
            f"`device=gpu`: {seeds} seeds at once need about {seeds * each / 1e9:.3g} "
            f"GB, and {free / 1e9:.3g} GB are free on the GPU, enough for "
            f"{int(free // each)}; use fewer `seeds`, `trials` or `steps`, `jobs=1` to "
            f"train one after another, {CPU_INSTEAD}"
        )


class Batch:
    """Serves the requests of several trainings of one kind, those of `trainer`."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.loops: list[Loop] = []
        self.loop: Any = None
        self.rollout: Any = None
        self.thetas = RowStack()
        self.directions = RowStack()

    def prepare(self, loop: ClosedLoop, count: int) -> None:
        """Compile or load all that `count` trainings with loops like this one call."""
        optimizer: Any = self.trainer.optimizer
        self._join([loop] * count)
        shape = (count, loop.network.size)
        zero = np.zeros_like(loop.scenario.x0, shape=shape)
        linear = self.loop.linearise(self.loop.rollout(zero))
        curved = linear.subset(optimizer.curvature_trials or loop.trials)
        curved.jvp(linear.gradient)
        solver, _ = optimizer.choose_solver(self.loop)
        explicit_rows(curved, self.loop, solver)

    def _join(self, loops: list[Loop]) -> None:
        """Make one loop of several, unless they are the same as before."""
        if _are_same(loops, self.loops):
            return
        t = self.trainer
        self.loops = loops
        # the rollout at hand was one of the former loops
        self.rollout = None
        self.loop = ClosedLoop(
            t.plant,
            t.kernels,
            t.network,
            concatenate_scenarios([loop.scenario for loop in loops]),
            t.wiring,
            PassOptions(dtype=t.dtype, networks=len(loops)),
        )

    def serve_rollouts(self, requests: list[RolloutRequest]) -> list[NetworkRollout]:
        """Return the result of each request."""
        self._join([request.loop for request in requests])
        theta = self.thetas.stack([request.theta for request in requests])
        self.rollout = self.loop.rollout(theta)
        losses = self.rollout.loss.tolist()
        results = []
        for request, loss in zip(requests, losses, strict=True):
            results.append(NetworkRollout(request.theta, loss))
        return results

    def serve_steps(
        self, requests: list[StepRequest]
    ) -> list[tuple[HFState, NetworkRollout, Report]]:
        """Return the result of each request."""
        self._join([request.hold.loop for request in requests])
        states = [request.state for request in requests]
        theta = self.thetas.stack([state.theta for state in states])
        # usually the rollout at hand, that after the last update, is of these weights
        if self.rollout is None or self.rollout.theta is not theta:
            self.rollout = self.loop.rollout(theta)
        damping = [state.damping for state in states]
        directions = self.directions.stack([state.direction for state in states])
        updates = [state.updates for state in states]
        # `obstacle` admits no other optimizer
        optimizer = cast(HessianFree, self.trainer.optimizer)
        update = many_networks.step(
            optimizer, self.loop, self.rollout, damping, directions, updates
        )
        self.rollout = update.rollout

        thetas = self.thetas.unstack(update.rollout.theta)
        new_directions = self.directions.unstack(update.directions)
        reports = self._reports(update)
        results = []
        for k, report in enumerate(reports):
            count = updates[k] + report.updates
            state = HFState(thetas[k], update.damping[k], new_directions[k], count)
            results.append((state, NetworkRollout(thetas[k], report.loss), report))
        return results

    def _reports(self, update: many_networks.Update) -> list[Report]:
        """Return the report of every training's update."""
        # lists of Python's numbers, as a training alone has them in its report
        columns = (
            update.accepted.tolist(),
            update.losses.tolist(),
            update.rho,
            update.iterations.tolist(),
            update.tried.tolist(),
            self._counts(update),
        )
        reports = []
        for accepted, loss, rho, iterations, tried, counts in zip(
            *columns, strict=True
        ):
            reports.append(
                Report(
                    accepted,
                    loss,
                    rho,
                    update.solver,
                    iterations,
                    tried,
                    int(accepted),
                    counts,
                )
            )
        return reports

    def _counts(self, update: many_networks.Update) -> list[Counts]:
        """Return what every training's update would have cost alone."""
        T = self.loop.scenario.steps
        trials = self.loop.trials
        columns = self.trainer.plant.nx + self.trainer.plant.nu
        costs = zip(update.rollouts.tolist(), update.products.tolist(), strict=True)
        counts = []
        for rollouts, products in costs:
            of_products = T * products * update.curvature_trials
            # a gradient, the rows of an explicit Jacobian, and the products
            adjoint_steps = T * (trials + update.rows) + of_products
            jacobian_steps = 2 * columns * T * trials
            counts.append(Counts(rollouts, jacobian_steps, of_products, adjoint_steps))
        return counts


def train(
    trainings: Sequence[TrainingInFolder], stop_token: StopToken | None = None
) -> Iterator[tuple[int, Event | HFControlError]]:
    """Train all of them; yield pairs (index of the training, event).

    What an event reports is already on disk. If a training cannot continue, its last
    pair has the HFControlError instead. Trainings make their updates together: when one
    requests a rollout of a new scenario, the others wait for it.
    """
    batch = Batch(trainings[0].trainer)
    with ExitStack() as locks:
        for training in trainings:
            lock: AbstractContextManager[Any] = training.folder.lock()
            locks.enter_context(lock)

        running: dict[int, Training] = {}
        for k, training in enumerate(trainings):
            running[k] = training.trainer.coroutine(training.state, stop_token)
        answers: dict[int, Any] = dict.fromkeys(running)
        requests: dict[int, Request] = {}
        while answers:
            for k, answer in answers.items():
                yield from _continue(k, trainings[k], running[k], answer, requests)
            answers = _serve(batch, requests)
            for k in answers:
                del requests[k]


def _serve(batch: Batch, requests: dict[int, Request]) -> dict[int, Any]:
    """Serve the requests for rollouts, or if there are none those for steps."""
    rollouts = {}
    steps = {}
    # in the order of the trainings, so that their loops stay joined
    for k, request in sorted(requests.items()):
        if isinstance(request, RolloutRequest):
            rollouts[k] = request
        else:
            steps[k] = request
    if rollouts:
        results = batch.serve_rollouts(list(rollouts.values()))
        return dict(zip(rollouts, results, strict=True))
    if steps:
        return dict(zip(steps, batch.serve_steps(list(steps.values())), strict=True))
    return {}


def _continue(
    k: int,
    training: TrainingInFolder,
    running: Training,
    answer: Any,
    requests: dict[int, Request],
) -> Iterator[tuple[int, Event | HFControlError]]:
    """Continue a training with the answer to its request, until its next request.

    Yields its events as `train` does.
    """
    try:
        item = running.send(answer)
        while isinstance(item, Event):
            training.record(item)
            yield k, item
            item = running.send(None)
        requests[k] = item
    except StopIteration:
        return
    except HFControlError as error:
        yield k, error
