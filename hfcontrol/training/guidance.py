"""Guidance: a network first learns to follow good trajectories, over growing horizons.

Over a long horizon the cost of an untrained controller has poor minima: a pole that
hangs or spins, a vehicle that has flown away. Following trajectories x*, u* that iLQR
has found has no such minima: the residuals x - x* and u - u* are those of the closed
loop itself, so the network learns in the states that it visits, and a loss of nearly
zero can be reached. This is guided policy search (Levine and Koltun 2013) with
trajectories that are found once, and exact gradients through the plant.

There are several times as many trajectories as trials, and every hold follows others of
them: a network that always follows the same ones memorises them, and on an unstable
plant fails between them.
"""

from dataclasses import replace

import numpy as np

from hfcontrol.closed_loop.wiring import Wiring
from hfcontrol.kernels.base import Kernels
from hfcontrol.optim.families import family
from hfcontrol.plant.contract import Plant
from hfcontrol.tasks.cost import Cost, Residuals
from hfcontrol.tasks.scenario import Scenario, select_trials, shorten_scenario
from hfcontrol.tasks.task import Task

# Parts of the horizon, one after another.
PARTS = tuple(k / 8 for k in range(1, 9))

# Part of the control limits that the trajectories use: a network reaches a limit only
# with infinite commands.
MARGIN = 0.9

# Rms distance from trajectories that the hold before did not follow, in typical sizes,
# at which the next part begins.
CLOSE = 0.005

# Number of trajectories per trial.
POOL = 4

# Weight of the controls, in typical sizes; that of the states is 1.
CONTROL = 0.1


class Guide:
    """Finds trajectories for a task's trials, and makes tasks to follow them."""

    def __init__(
        self,
        plant: Plant,
        kernels: Kernels,
        task: Task,
        wiring: Wiring,
        rng: np.random.Generator,
    ) -> None:
        self.plant = plant
        self.trials = task.trials
        self.scenario = task.draw(rng, trials=POOL * task.trials)
        tighter = replace(wiring, limits=wiring.limits.shrink(MARGIN))
        self.trajectories = family(kernels, self.scenario, tighter)

    def task_for(self, part: float) -> "FollowingTask":
        """Return the task of following over a part of the horizon.

        It is done at the loss of trajectories that are `CLOSE` in every state:
        1/2 CLOSE^2 nx T dt.
        """
        steps = max(1, round(part * self.scenario.steps))
        nx = self.plant.nx
        target_loss = 0.5 * CLOSE**2 * nx * steps * self.plant.dt

        short = shorten_scenario(self.scenario, steps)
        scenario = replace(short, cost=self._cost(steps), arrivals=(steps,))
        return FollowingTask(scenario, target_loss, self.trials)

    def _cost(self, steps: int) -> Cost:
        """Return the squared distance from the trajectories, in typical sizes."""
        found = self.trajectories
        dt = self.plant.dt

        of_state = np.zeros((steps + 1, *self.scenario.x0.shape))
        # the initial state is given, not followed
        of_state[1:] = dt / np.square(self.plant.typical_state)[:, None]
        of_control = np.zeros_like(found.u[:steps])
        of_control[:] = CONTROL * dt / np.square(self.plant.typical_control)[:, None]
        return replace(
            self.scenario.cost,
            weights=Residuals(of_state, of_control),
            custom=None,
            references=Residuals(found.x[: steps + 1], found.u[:steps]),
        )


class FollowingTask:
    """The task of following trajectories, some of them in every hold.

    `target_loss` is the loss at which it is done.
    """

    random = True
    noisy = False
    optimum_is_zero = True

    def __init__(self, scenario: Scenario, target_loss: float, trials: int) -> None:
        self.scenario = scenario
        self.target_loss = target_loss
        self.trials = trials

    def draw(self, rng: np.random.Generator) -> Scenario:
        """Draw some of the trials."""
        drawn = rng.choice(self.scenario.trials, self.trials, replace=False)
        return select_trials(self.scenario, np.sort(drawn))
