"""Training by policy gradients: rollouts of an exploring policy, each with its updates.

The events are those of `Trainer`, with one hold per rollout. The loss of an event is
that of the exploring policy on the rollout that the next updates learn from;
`hfcontrol evaluate` measures the controller without exploration.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from hfcontrol.arrays.communicator import of_first
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.counts import Counts
from hfcontrol.closed_loop.loop import ClosedLoop
from hfcontrol.closed_loop.wiring import Wiring
from hfcontrol.network.network import Network
from hfcontrol.plant.contract import Plant
from hfcontrol.policy_gradient.learner import Learner
from hfcontrol.policy_gradient.options import PolicyGradient
from hfcontrol.policy_gradient.samplers import Episodes, Sampler
from hfcontrol.policy_gradient.state import PolicyState
from hfcontrol.policy_gradient.trajectories import Trajectories
from hfcontrol.policy_gradient.workers import Workers
from hfcontrol.tasks.task import Task
from hfcontrol.training.holds import HoldState
from hfcontrol.training.state import CurvePoint, Event, Limits, Stop, TrainingState
from hfcontrol.training.stop import StopToken


@dataclass
class PolicyTrainer:
    """One problem for policy gradients: task, plant, network, sampler and options.

    A hold has `rounds` rollouts, each with its updates. In an environment, `kernels` is
    None.
    """

    task: Task | Episodes
    plant: Plant
    kernels: Any
    network: Network
    wiring: Wiring
    optimizer: PolicyGradient
    sampler: Sampler
    limits: Limits = field(default_factory=Limits)
    rounds: int = 1

    def __post_init__(self) -> None:
        # A learner counts rounds of updates, and `anneal` counts rollouts.
        options = replace(self.optimizer, anneal=self.optimizer.anneal * self.rounds)
        self.learner = Learner(
            options, self.network, self.sampler.policy, self.sampler.n_context
        )

    def init(self, theta: Array, rng: np.random.Generator) -> TrainingState:
        """Return the state before the first rollout, from theta (P,)."""
        state = self.learner.init(theta, rng)
        return TrainingState(state, HoldState("inputs"), rng.bit_generator.state)

    def prepare(self) -> None:
        """Compile or load the kernels of training, by a rollout and a gradient."""
        rng = np.random.default_rng(0)
        theta = self.network.initial(rng)
        state = self.learner.init(theta, rng)
        trajectories = self._collect(state, rng)
        batch, _ = self.learner.prepare_batch(state, trajectories)
        # Kernels depend on dtypes, not on sizes: one trial is enough.
        first_trial = batch.select([0])
        self.learner.loss_and_gradient(state.trained.theta, state.inputs, first_trial)

    def run(
        self, state: TrainingState, stop_token: StopToken | None = None
    ) -> Iterator[Event]:
        """Yield events from `state` on until a limit is reached; the last is "done".

        A stop requested by `stop_token` takes effect between rollouts.
        """
        stop_token = stop_token or StopToken()
        # Seconds of a resumed training go on from those before.
        clock = time.perf_counter() - state.seconds
        rng = np.random.default_rng()
        rng.bit_generator.state = state.generator

        with self.sampler.open(state.optimizer.workers) as workers:
            if workers is not None and workers.restarted:
                text = (
                    f"{workers.restarted} of {self.task.trials} copies begin a new "
                    "episode: their environment does not repeat itself"
                )
                yield Event("notice", state, None, None, activity=text)
            yield from self._rollouts(state, workers, rng, clock, stop_token)

    def _rollouts(
        self,
        state: TrainingState,
        workers: Workers | None,
        rng: np.random.Generator,
        clock: float,
        stop_token: StopToken,
    ) -> Iterator[Event]:
        """Yield the events of `run`, with workers brought to where they were."""
        # A resumed training draws its last rollout again, which is counted already.
        is_fresh = not state.rollouts
        trajectories = self._collect(state.optimizer, rng, workers)
        if is_fresh:
            state = replace(state, first_loss=trajectories.loss)
            state = self._record(state, trajectories.loss, clock)
            yield Event("start", state, trajectories.loop, trajectories.rollout)

        stop = self._reached_limit(state, clock, stop_token)
        while stop is None:
            policy_state = state.optimizer
            finished: list[float] = []
            for _ in range(self.rounds):
                policy_state, report = self.learner.update(
                    policy_state, trajectories, rng
                )
                # What is before the rollout: resuming draws it again.
                generator = rng.bit_generator.state
                saved = None if workers is None else workers.saved()
                trajectories = self._collect(policy_state, rng, workers)
                finished += trajectories.finished
            updates = policy_state.updates
            state = replace(
                state,
                optimizer=replace(policy_state, workers=saved),
                updates=updates,
                generator=generator,
            )
            loss = -float(np.mean(finished)) if finished else trajectories.loss
            state = self._record(state, loss, clock)
            yield Event("hold", state, trajectories.loop, trajectories.rollout, report)
            stop = self._reached_limit(state, clock, stop_token)
        yield Event("done", state, trajectories.loop, trajectories.rollout, stop=stop)

    def _collect(
        self,
        state: PolicyState,
        rng: np.random.Generator,
        workers: Workers | None = None,
    ) -> Trajectories:
        """Record one rollout of the controller in `state`, with exploration."""
        if not self.optimizer.has_critic:
            # Rewards to go need whole episodes, from their start.
            workers = None
        log_std = self.learner.log_std(state)
        policy = self.sampler.policy
        return self.sampler.collect(state.theta, policy, log_std, rng, workers)

    @staticmethod
    def _record(state: TrainingState, loss: float, clock: float) -> TrainingState:
        """Return the state with one more rollout in its counts and learning curve."""
        state = replace(
            state,
            loss=loss,
            counts=state.counts + Counts(rollouts=1),
            seconds=time.perf_counter() - clock,
        )
        point = CurvePoint(state.loss, state.updates, state.rollouts, state.seconds)
        history = (*state.history, point) if state.updates else ()
        return replace(state, history=history, curve=(*state.curve, point))

    def _reached_limit(
        self, state: TrainingState, clock: float, stop_token: StopToken
    ) -> Stop | None:
        """Return the limit that is reached, if any."""
        # Processes that share the training stop together.
        seconds = time.perf_counter() - clock
        stopped, seconds = of_first((stop_token.stopped, seconds))
        return self.limits.check(
            state.loss, self.limits.loss, stopped, state.rollouts, seconds
        )


def plant_loop(
    task: Task, plant: Plant, kernels: Any, network: Network, wiring: Wiring
) -> Callable[[np.random.Generator], ClosedLoop]:
    """Return a function that draws a scenario and returns the closed loop on it."""
    return lambda rng: ClosedLoop(plant, kernels, network, task.draw(rng), wiring)
