"""Train from settings and score on held-out scenarios: the harness of all studies.

    setup = Setup(settings_for(plant="arm2", seed=0, max_seconds=10))
    yardstick = setup.held_out()
    for event, seconds in setup.events(setup.after_curriculum()):
        print(seconds, yardstick.ratio(event.state.theta))

The benchmarks in tools/ use it too, so that every table counts and times in one way.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from hfcontrol.arrays.random import Stream, stream
from hfcontrol.arrays.threads import single_thread
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.loop import ClosedLoop
from hfcontrol.errors import TrainingError
from hfcontrol.jobs.local import LocalEngine
from hfcontrol.jobs.protocol import Channel
from hfcontrol.kernels import compile_plant
from hfcontrol.optim.yardstick import Optima
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.interrupts import stop_on_signal
from hfcontrol.runs.preparation import prepare
from hfcontrol.runs.settings import Settings
from hfcontrol.training.curriculum import run_curriculum

# Updates on each part of a growing horizon, for tasks that random weights need it for.
GROW = {("cartpole", "balance"): 12}

# A controller within this factor of the optimum may lead to a better one.
GOOD = 2.0

Clock = Callable[[], float]
Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Yardstick:
    """A closed loop on fixed scenarios, and how their optimum is found."""

    loop: Any
    optima: Optima

    @property
    def optimal(self) -> float:
        """The mean optimal loss, by batched iLQR."""
        return self.optima(self.loop)

    def ratio(self, theta: Array) -> float:
        """Return the loss of theta (P,) over the optimal loss, as `evaluate` does.

        The commands of a good controller are one more start of the optimum.
        """
        rollout = self.loop.rollout(theta)
        optimal = self.optimal
        if rollout.loss <= GOOD * optimal:
            optimal = self.optima(self.loop, rollout)
        return float(rollout.loss / optimal)


class Setup:
    """A training that settings describe, compiled before any clock starts.

    It begins from random weights, with the strategy `plain`, since studies compare what
    comes after them. Raises a kind of HFControlError if the settings do not fit
    together.
    """

    def __init__(self, settings: Settings) -> None:
        settings = settings.changed(strategy="plain")
        self.settings = settings
        self.trainer: Any = make_trainer(settings)
        prepare(self.trainer, settings)

    def initial_weights(self) -> Array:
        """Return the initial weights (P,) of the seed."""
        rng = stream(self.settings.seed, Stream.WEIGHTS)
        return self.trainer.network.initial(rng)

    def initial_state(self) -> Any:
        """Return the state of the training before its first rollout."""
        scenarios = stream(self.settings.seed, Stream.SCENARIOS)
        return self.trainer.init(self.initial_weights(), scenarios)

    def after_curriculum(self) -> Any:
        """Return the state after the curriculum that the settings ask for."""
        return run_curriculum(self.trainer, self.settings)

    def events(
        self, state: Any, clock: Clock = time.perf_counter
    ) -> Iterator[tuple[Any, float]]:
        """Train from a state; yield events with the seconds of training so far.

        The clock stands still while the caller works on an event.
        """
        events = self.trainer.run(state)
        seconds = state.seconds
        while True:
            # Only the generator runs between these two readings.
            begin = clock()
            event = next(events, None)
            seconds += clock() - begin
            if event is None:
                return
            yield event, seconds

    def train(self) -> Any:
        """Train to the end, curriculum included; return the last state."""
        *_, (last, _) = self.events(self.after_curriculum())
        return last.state

    def training_scenarios(self) -> Yardstick:
        """Return the yardstick on the scenarios of the first hold."""
        loop = self.trainer.loop(stream(self.settings.seed, Stream.SCENARIOS))
        return Yardstick(loop, Optima(loop.kernels))

    def held_out(self, trials: int | None = None) -> Yardstick:
        """Return the yardstick on held-out scenarios, on the CPU in float64."""
        trainer = self.trainer
        rng = stream(self.settings.seed, Stream.HELD_OUT)
        scenario = trainer.task.draw(rng, "held_out", trials)
        # A controller trained on a GPU or in float32 is scored like any other.
        loop = ClosedLoop(
            trainer.plant,
            compile_plant(trainer.plant),
            trainer.network,
            scenario,
            trainer.wiring,
        )
        return Yardstick(loop, Optima(loop.kernels))


def run_jobs(
    function: Callable[[Job], Result], jobs: Sequence[Job], processes: int | None = None
) -> Iterator[tuple[Job, Result]]:
    """Yield every job with its function value as it finishes, from parallel processes.

    There is one process per core by default. Each has one thread, so that its CPU time
    is the time that a job takes alone. At Ctrl-C, no further job starts; when those in
    progress have finished, KeyboardInterrupt is raised. A second Ctrl-C stops at once.
    A job whose
    process dies is run again; raises TrainingError if that happens three times.
    """
    processes = min(processes or os.cpu_count() or 1, len(jobs))
    if processes == 1:
        for job in jobs:
            yield job, _run_alone(function, job)
        return
    with LocalEngine(processes) as engine:
        for k, job in enumerate(jobs):
            engine.submit(f"job{k}", _run_unless_stopped, (function, job))
        with stop_on_signal(engine):
            for update in engine.results():
                if update.kind == "lost":
                    raise TrainingError(f"{update.value}; use fewer `jobs`")
                if update.kind == "finished" and update.value is not None:
                    yield update.value
            is_interrupted = engine.stopped
    if is_interrupted:
        raise KeyboardInterrupt


def _run_unless_stopped(
    key: str, call: tuple[Callable[[Job], Result], Job], channel: Channel
) -> tuple[Job, Result] | None:
    """Return a job and its function value, or None after a request to stop."""
    if channel.stopped:
        return None
    function, job = call
    return job, _run_alone(function, job)


def _run_alone(function: Callable[[Job], Result], job: Job) -> Result:
    """Return the function value of a job, computed with one thread."""
    with single_thread():
        return function(job)
