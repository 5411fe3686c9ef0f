"""Guidance: a network first learns to follow good trajectories, which iLQR finds, over horizons that grow.

Over a long horizon the cost of an untrained controller has poor minima: a pole that hangs or spins, a vehicle that flew away.
Following trajectories x*, u* has none of that kind: its residuals x - x* and u - u* are the closed loop's own, so the
network learns in the states that *it* visits, and a loss of zero is known to be near. It is guided policy search (Levine and
Koltun 2013) with trajectories that are found once, and exact gradients through the plant.

There are several times as many trajectories as trials, and every hold follows others of them: a network that always follows
the same ones learns these by heart, and on an unstable plant loses its way between them.
"""

from dataclasses import replace

import numpy as np

from hfcontrol.optim.yardstick import family
from hfcontrol.tasks.cost import Residuals
from hfcontrol.tasks.scenario import select_trials

PARTS = tuple(k / 8 for k in range(1, 9))  # of the horizon
MARGIN = 0.9  # of the limits is what the trajectories use: a network reaches a limit only with infinite commands
CLOSE = 0.005  # rms distance from trajectories not followed just before, in typical sizes, at which the next part begins
POOL = 4  # times as many trajectories as trials
CONTROL = 0.1  # weight of the controls, in typical sizes, beside the states


class Guide:
    """Tasks of following the family of trajectories found for a task's trials on a plant."""

    def __init__(self, plant, kernels, task, wiring, rng):
        self.plant, self.trials, self.scenario = (
            plant,
            task.trials,
            task.draw(rng, trials=POOL * task.trials),
        )
        self.found = family(
            kernels, plant, self.scenario, replace(wiring, limit=MARGIN * wiring.limit)
        )

    def following(self, part):
        """The task of following over a part of the horizon."""
        s, steps = self.scenario, max(1, round(part * self.scenario.steps))
        state = np.zeros((steps + 1, *s.x0.shape))
        state[1:] = self.plant.dt / np.square(self.plant.typical_state)[:, None]
        control = np.zeros_like(self.found.u[:steps])
        control[:] = (
            CONTROL * self.plant.dt / np.square(self.plant.typical_control)[:, None]
        )
        cost = replace(
            s.cost,
            weights=Residuals(state, control),
            custom=None,
            references=Residuals(self.found.x[: steps + 1], self.found.u[:steps]),
        )
        short = {
            name: np.ascontiguousarray(getattr(s, name)[:steps])
            for name in (
                "target",
                "sensory_noise",
                "motor_noise",
                "motor_gain",
                "disturbance",
            )
        }
        goals = {
            name: getattr(s, name)[: steps + 1] for name in ("goal", "goal_output")
        }
        close = 0.5 * CLOSE**2 * self.plant.nx * steps * self.plant.dt
        return Following(
            replace(s, cost=cost, arrivals=(steps,), **short, **goals),
            close,
            self.trials,
        )


class Following:
    """A task of following some of a scenario's trials, drawn anew for every hold; `close` is the loss at which it is done."""

    random, noisy = True, False

    def __init__(self, scenario, close, trials):
        self.scenario, self.close, self.trials = scenario, close, trials

    def draw(self, rng):
        """A scenario of so many of the trials."""
        return select_trials(
            self.scenario,
            np.sort(rng.choice(self.scenario.trials, self.trials, replace=False)),
        )
