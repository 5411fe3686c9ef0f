"""Trainings of many seeds as one: what each of them wants next is gathered, and done for all at once by abreast.py.

Every training keeps its own state, limits, holds, events, checkpoints and folder, and takes the course that it takes alone, to
rounding; one that ends leaves the others to go on. For networks of plain cells on a GPU, where one small network leaves most of the
device idle.
"""

from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from hfcontrol.arrays.device import CPU_INSTEAD, free_memory
from hfcontrol.closed_loop.counts import Counts
from hfcontrol.closed_loop.loop import NOTHING_FIXED, ClosedLoop, LinearModel, PassOptions
from hfcontrol.errors import DeviceError, HFControlError
from hfcontrol.network.cells import is_continuous
from hfcontrol.optim import many_networks as abreast
from hfcontrol.optim.hessian_free import HFState, explicit_rows
from hfcontrol.optim.protocol import Report
from hfcontrol.tasks.scenario import concatenate_scenarios
from hfcontrol.training.holds import choose_hold
from hfcontrol.training.state import Event
from hfcontrol.training.trainer import RolloutWanted

VECTORS = 40  # of the size of the weights, at most, that an update by conjugate gradients holds: iterates kept, candidates, itself
ROLLOUTS = 3  # that are held at a time: that of the weights, one that is tried, and the scenarios and costs of all


def obstacle(settings, loop):
    """Why the seeds of a training with such a loop cannot go abreast, in words, or None where they can."""
    for name in ("structural", "grow", "guide", "freeze", "dale"):
        if getattr(settings, name):
            return f"--{name} is for one at a time"
    if settings.race > 1 or settings.density != 1.0:
        return f"--{'race' if settings.race > 1 else 'density'} is for one at a time"
    if settings.optimizer != "hf":
        return f"--optimizer {settings.optimizer} makes no Hessian-free steps"
    if is_continuous(settings.cell):
        return f"--cell {settings.cell} moves in continuous time"
    kind = choose_hold(settings.hold, loop)[0].kind
    return (
        None
        if settings.hold != "post" and kind == "scenario"
        else f"--hold {settings.hold} keeps {kind} fixed"
    )


def bytes_needed(loop, optimizer):
    """Bytes on the GPU, about, of one training more, whose closed loop is given."""
    T, P, rows = loop.scenario.steps, loop.network.size, loop.network.n_activations
    trials = min(optimizer.curvature_trials or loop.trials, loop.trials)
    solver, channels = optimizer.choose_solver(loop)[0], loop.active_residuals()
    channels = [c for c in channels if solver == "residual" or c.time == T]
    m, doubles = len(channels) * trials, 8
    explicit = (
        2 * m * P
        + 3 * m * m
        + 2 * m * (T + 1) * (rows + loop.plant.nx + 2 * loop.plant.nu)
    )
    return (
        ROLLOUTS * loop.trials + trials
    ) * T * loop.passes.bytes_per_step + doubles * (explicit + VECTORS * P)


def check_memory(loop, optimizer, seeds):
    """Raises DeviceError where so many seeds do not fit on the GPU, and says how many would."""
    each, free = bytes_needed(loop, optimizer), free_memory()
    if seeds * each > free:
        raise DeviceError(
            f"--device gpu: {seeds} seeds at once need about {seeds * each / 1e9:.3g} GB, and {free / 1e9:.3g} GB are free "
            f"on the GPU, enough for {int(free // each)}; give fewer --seeds, --trials or --steps, --jobs 1 to train by "
            f"turns, {CPU_INSTEAD}"
        )


@dataclass(frozen=True)
class Share:
    """What one network has of a rollout of several: its weights and loss; trajectories stay with all."""

    theta: np.ndarray
    loss: float
    linear_model: LinearModel = NOTHING_FIXED
    counts: Counts = Counts(rollouts=1)


class Stack:
    """Arrays as rows of one: rows that were given out of it and come back as they are need not be put together again."""

    def __init__(self):
        self.whole, self.rows = None, []

    def given(self, whole):
        """The rows of a whole."""
        self.whole, self.rows = whole, list(whole)
        return self.rows

    def taken(self, rows):
        """The whole of rows."""
        if len(rows) != len(self.rows) or any(
            a is not b for a, b in zip(rows, self.rows)
        ):
            self.whole, self.rows = np.stack(rows), rows
        return self.whole


class Gathering:
    """Does what trainings of one kind want, those of `trainer`'s, for all that want it at once."""

    def __init__(self, trainer):
        self.trainer, self.loops, self.loop, self.rollout = trainer, (), None, None
        self.thetas, self.directions = Stack(), Stack()

    def prepare(self, loop, count):
        """Compiles or loads what so many trainings with loops like this one will call."""
        optimizer = self.trainer.optimizer
        self._gather([loop] * count)
        rollout = self.loop.rollout(
            np.zeros_like(loop.scenario.x0, shape=(count, loop.network.size))
        )
        linear = self.loop.linearise(rollout)
        curved = linear.subset(optimizer.curvature_trials or loop.trials)
        curved.jvp(linear.gradient)
        explicit_rows(curved, self.loop, optimizer.choose_solver(self.loop)[0])

    def _gather(self, loops):
        """Makes the loops of all that want something one loop, unless they are the same as before."""
        if len(loops) != len(self.loops) or any(
            a is not b for a, b in zip(loops, self.loops)
        ):
            t = self.trainer
            self.loops, self.rollout = loops, None
            self.loop = ClosedLoop(
                t.plant,
                t.kernels,
                t.network,
                concatenate_scenarios([loop.scenario for loop in loops]),
                t.wiring,
                PassOptions(dtype=t.dtype, networks=len(loops)),
            )

    def rollouts(self, wanted):
        """The answer to each `RolloutWanted`."""
        self._gather([want.loop for want in wanted])
        self.rollout = self.loop.rollout(
            self.thetas.taken([want.theta for want in wanted])
        )
        return [
            Share(want.theta, loss)
            for want, loss in zip(wanted, self.rollout.loss.tolist())
        ]

    def steps(self, wanted):
        """The answer to each `StepWanted`."""
        self._gather([want.hold.loop for want in wanted])
        states = [want.state for want in wanted]
        theta = self.thetas.taken([state.theta for state in states])
        if self.rollout is None or self.rollout.theta is not theta:
            self.rollout = self.loop.rollout(theta)
        done = abreast.step(
            self.trainer.optimizer,
            self.loop,
            self.rollout,
            [state.damping for state in states],
            self.directions.taken([state.direction for state in states]),
            [state.updates for state in states],
        )
        self.rollout = done.rollout
        numbers = zip(
            states,
            self.thetas.given(done.rollout.theta),
            self.directions.given(done.directions),
            done.damping,
            *(a.tolist() for a in (done.accepted, done.losses)),
            done.rho,
            *(a.tolist() for a in (done.iterations, done.tried)),
            self._counts(done),
        )
        return [
            (
                HFState(theta, damping, direction, state.updates + accepted),
                Share(theta, loss),
                Report(
                    accepted,
                    loss,
                    rho,
                    done.solver,
                    iterations,
                    tried,
                    int(accepted),
                    counts,
                ),
            )
            for (
                state,
                theta,
                direction,
                damping,
                accepted,
                loss,
                rho,
                iterations,
                tried,
                counts,
            ) in numbers
        ]

    def _counts(self, done):
        """The `Counts` of every training's update: what it would have cost alone."""
        steps, states = (
            self.loop.scenario.steps,
            self.trainer.plant.nx + self.trainer.plant.nu,
        )
        trials = self.loop.trials
        return [
            Counts(
                rollouts,
                2 * states * steps * trials,
                steps * products * done.curvature_trials,
                steps * (trials + done.rows + products * done.curvature_trials),
            )
            for rollouts, products in zip(
                done.rollouts.tolist(), done.products.tolist(), strict=True
            )
        ]


def train(trainings, stop_token=None):
    """Trains all of them and yields pairs (which of them, `Event`), each already on disk when it arrives, or (which, HFControlError)
    for one that cannot go on.

    They go from update to update together: while one wants a rollout of a new scenario the others wait for it.
    """
    gathering = Gathering(trainings[0].trainer)
    with ExitStack() as locked:
        for training in trainings:
            locked.enter_context(training.folder.lock())
        courses = {
            k: training.trainer.course(training.state, stop_token)
            for k, training in enumerate(trainings)
        }
        answers, wants = dict.fromkeys(courses), {}
        while answers:
            for k, answer in answers.items():
                yield from _advanced(k, trainings[k], courses[k], answer, wants)
            rollouts = {
                k: want
                for k, want in sorted(wants.items())
                if isinstance(want, RolloutWanted)
            }
            served = rollouts or dict(sorted(wants.items()))
            serve = gathering.rollouts if rollouts else gathering.steps
            answers = dict(zip(served, serve(list(served.values())))) if served else {}
            wants = {k: want for k, want in wants.items() if k not in served}


def _advanced(k, training, course, answer, wants):
    """Lets one training go on with an answer to what it wanted, to what it wants next; yields what comes of it as `train` does."""
    try:
        told = course.send(answer)
        while isinstance(told, Event):
            training.record(told)
            yield k, told
            told = course.send(None)
        wants[k] = told
    except StopIteration:
        return
    except HFControlError as error:
        yield k, error
