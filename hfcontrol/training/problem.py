"""A training problem: all that a training needs besides its state."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hfcontrol.arrays.device import to_device
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.continuous import ContinuousLoop, Estimator
from hfcontrol.closed_loop.loop import ClosedLoop, PassOptions
from hfcontrol.closed_loop.protocol import Loop
from hfcontrol.closed_loop.wiring import Wiring
from hfcontrol.errors import UsageError
from hfcontrol.kernels.base import Kernels
from hfcontrol.network.network import Network
from hfcontrol.optim.protocol import Optimizer
from hfcontrol.optim.yardstick import select_evenly
from hfcontrol.plant.contract import Plant
from hfcontrol.tasks.scenario import Scenario, select_trials
from hfcontrol.training.holds import CHOICES, Hold, HoldState, begin_hold, choose_hold
from hfcontrol.training.protocol import DrawsScenarios
from hfcontrol.training.state import Limits, OptimalLoss, TrainingState

# Trials on which a ratio to the optimum is taken.
JUDGED = 16


@dataclass
class TrainingProblem:
    """A training problem: task, network, wiring, optimizer, hold and limits.

    * `hold` is one of `holds.CHOICES`.
    * `optimal` returns the mean optimal loss of a loop's scenario; it is called only if
      a target ratio needs it, or after a start from a law.
    * `fused`, `store_every` and `dtype` are those of `ClosedLoop`. With an `estimator`,
      plant and network are one differential equation (`ContinuousLoop`).
    * `begin_hold` returns the hold of a loop, its start, the `HoldState`, and the
      updates made in it before (see `holds.begin_hold`).
    * With kernels of a GPU, training runs there. States may be on any device.
    * With `average` = n > 1, the controller is, from the n-th hold on, a running mean
      of the weights after each hold (Polyak and Juditsky 1992). Random scenarios pull
      the weights in other directions; the mean is nearer to the minimum.
    * With `fresh`, scenarios are drawn again after every hold, also a rejected one: a
      network can overfit to fixed trials. (Those of a random task are drawn again after
      every accepted hold.)
    * New weights are tried on the trials of `validation` after every hold, if there are
      any. The controller is the best of them. Targets of random trials are theirs.
    * `loop_type` is the class of the loop in control steps.
    * With `remedies`, rejected holds change what the next ones keep fixed, see
      rejections.py, and a plant that is rough gets wider finite differences at once.

    Raises UsageError for an unknown hold, and for a target ratio if the optimal loss is
    zero or a bound that no controller attains.
    """

    task: DrawsScenarios
    plant: Plant
    kernels: Kernels
    network: Network
    wiring: Wiring
    optimizer: Optimizer[Any]
    hold: str = "auto"
    limits: Limits = field(default_factory=Limits)
    optimal: OptimalLoss | None = None
    fused: bool = True
    store_every: int = 1
    estimator: Estimator | None = None
    dtype: str = "float64"
    average: int = 1
    begin_hold: Callable[[Loop, Any, HoldState, int], Hold] = begin_hold
    fresh: bool = False
    validation: Scenario | None = None
    loop_type: type[ClosedLoop] = ClosedLoop
    remedies: bool = False

    def __post_init__(self) -> None:
        if self.hold not in CHOICES:
            raise UsageError(f"`hold` {self.hold}: must be one of {', '.join(CHOICES)}")
        self.limits.check_task(self.task)

    def loop(self, rng: np.random.Generator) -> Loop:
        """Return the closed loop on a scenario drawn from rng."""
        return self.loop_on(self.task.draw(rng))

    def loop_on(self, scenario: Scenario) -> Loop:
        """Return the closed loop on a scenario."""
        if self.estimator:
            return ContinuousLoop(
                self.plant,
                self.kernels,
                self.network,
                scenario,
                self.wiring,
                self.estimator,
            )
        return self.loop_type(
            self.plant,
            self.kernels,
            self.network,
            scenario,
            self.wiring,
            PassOptions(self.fused, self.store_every, self.dtype),
        )

    def judged(self, loop: Loop) -> Loop:
        """Return the loop of the few trials on which a ratio to the optimum is taken.

        They are evenly spaced among those of a loop.
        """
        few = select_evenly(loop.trials, JUDGED)
        return self.loop_on(select_trials(loop.scenario, few))

    def init(
        self,
        theta: Array,
        rng: np.random.Generator,
        hold_state: HoldState | None = None,
    ) -> TrainingState:
        """Return the state before the first rollout, from weights theta (P,).

        `rng` draws the scenarios.
        """
        if hold_state is None:
            # any scenario will do: only costs and sizes are read
            loop = self.loop(np.random.default_rng(0))
            hold_state, _ = choose_hold(self.hold, loop, self.fresh)
        inner = self.optimizer.init(self.move(theta))
        return TrainingState(inner, hold_state, rng.bit_generator.state)

    def move(self, a: Array) -> Array:
        """Return an array on the device of this training."""
        return to_device(a) if self.kernels.device == "gpu" else a
