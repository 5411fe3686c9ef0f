"""Training by policy gradients: rollouts of an exploring policy, each followed by a round of updates on it.

It gives the events of `Trainer`, one hold for each rollout. Its loss is that of the exploring policy on the rollout which the
next updates will be made from; what the controller is worth without exploring, `hfcontrol evaluate` tells.
"""

import time
from dataclasses import dataclass, field, replace

import numpy as np

from hfcontrol.closed_loop.counts import Counts
from hfcontrol.closed_loop.loop import ClosedLoop
from hfcontrol.policy_gradient.learner import Learner
from hfcontrol.training.holds import HoldState
from hfcontrol.training.state import CurvePoint, Event, Limits, TrainingState
from hfcontrol.training.stop import StopToken


@dataclass
class PolicyTrainer:
    """One problem for PPO or A2C: task, plant, network, the world that is explored, and the learner's options."""

    task: object
    plant: object
    kernels: object
    network: object
    wiring: object
    optimizer: object
    world: object
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self):
        self.learner = Learner(
            self.optimizer, self.network, self.world.policy, self.world.n_context
        )

    def init(self, theta, rng):
        """The state before the first rollout, from weights theta (P,) and a generator of all that is random."""
        state = self.learner.init(theta, rng)
        return TrainingState(state, HoldState("inputs"), rng.bit_generator.state)

    def prepare(self):
        """Compiles or loads all that a training will call."""
        rng = np.random.default_rng(0)
        state = self.learner.init(self.network.initial(rng), rng)
        experience = self.world.explore(
            state.theta, self.world.policy, self.learner.log_spread(state), rng
        )
        batch, _ = self.learner.prepared(state, experience)
        self.learner.loss_and_gradient(state.trained.theta, state.inputs, batch.of([0]))

    def run(self, state, stop_token=None):
        """Events from `state` on, until a limit is reached; the last one is "done".

        `stop_token` is read between rollouts.
        """
        stop_token = stop_token or StopToken()
        rng, clock = np.random.default_rng(), time.perf_counter() - state.seconds
        rng.bit_generator.state = state.random
        experience, fresh = self._explored(state, rng), not state.rollouts
        if fresh:
            state = self._marked(state, experience, clock, first=experience.loss)
            yield Event("start", state, experience.loop, experience.rollout)
        stop = self._reached(state, clock, stop_token)
        while stop is None:
            inner, report = self.learner.update(state.optimizer, experience, rng)
            state = replace(
                state,
                optimizer=inner,
                updates=inner.updates,
                random=rng.bit_generator.state,
            )
            experience = self._explored(state, rng)
            state = self._marked(state, experience, clock)
            yield Event("hold", state, experience.loop, experience.rollout, report)
            stop = self._reached(state, clock, stop_token)
        yield Event("done", state, experience.loop, experience.rollout, stop=stop)

    def _explored(self, state, rng):
        inner = state.optimizer
        return self.world.explore(
            inner.theta, self.world.policy, self.learner.log_spread(inner), rng
        )

    @staticmethod
    def _marked(state, experience, clock, **changes):
        state = replace(
            state,
            loss=experience.loss,
            counts=state.counts + Counts(rollouts=1),
            seconds=time.perf_counter() - clock,
            **changes,
        )
        mark = CurvePoint(state.loss, state.updates, state.rollouts, state.seconds)
        history = (*state.history, mark) if state.updates else ()
        return replace(state, history=history, curve=(*state.curve, mark))

    def _reached(self, state, clock, stop_token):
        """The limit reached, if any."""
        limits = self.limits
        return limits.reached(
            state.loss,
            limits.loss,
            stop_token.stopped,
            state.rollouts,
            time.perf_counter() - clock,
        )


def plant_loop(task, plant, kernels, network, wiring):
    """The function of a generator that draws a scenario of a task and gives the closed loop on it."""
    return lambda rng: ClosedLoop(plant, kernels, network, task.draw(rng), wiring)
