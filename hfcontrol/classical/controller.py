"""A classical law as a controller, step by step, and the movements it makes."""

from dataclasses import dataclass

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.classical.observer import Observer
from hfcontrol.classical.problem import Law, Problem
from hfcontrol.closed_loop.wiring import Wiring
from hfcontrol.kernels.base import Kernels
from hfcontrol.tasks.scenario import Scenario

# A trial is lost, with an infinite loss, if a state exceeds this multiple of its
# typical size.
LOST_STATE = 1e6


@dataclass(frozen=True)
class Movement:
    """What a controller did: states x (T+1, nx, N), controls u (T, nu, N) and losses.

    `arriving` (T, nu, N) are the controls as they arrive, before motor noise;
    observations y (T, ny, N); losses (N,), infinite for lost trials.
    """

    x: Array
    u: Array
    arriving: Array
    y: Array
    losses: Array


class ClassicalController:
    """A law with its observer, and with controls clipped to the plant's limits."""

    def __init__(self, problem: Problem, law: Law) -> None:
        self.law = law
        self.observer = Observer(problem)
        self.low, self.high = problem.wiring.limits.bounds[:, :, None]
        self.reset()

    def reset(self) -> None:
        """Forget all steps: the next one is the first."""
        self.observer.reset()
        self.t = 0

    def act(self, y: Array) -> Array:
        """Return the controls (nu, N) of the next step, for observations y (ny, N)."""
        x = self.observer(y)
        u = self.law(self.t, x)
        self.t += 1
        # maximum and minimum, because np.clip takes longer for a few numbers.
        return np.minimum(np.maximum(u, self.low), self.high)


def simulate(
    controller: ClassicalController,
    kernels: Kernels,
    scenario: Scenario,
    wiring: Wiring,
) -> Movement:
    """Return the movements (all trials) of a controller in a scenario.

        y_t = observe(x_{t-d_y}) + sensory noise
        u_t = c_{t-d_u} (1 + gain_t) + motor noise
        x_{t+1} = step(x_t, u_t) + disturbance_t

    Before the first command c arrives, the controls are zero, or the bound nearest to
    zero. A lost trial stays where it was.
    """
    s = scenario
    controller.reset()
    command = np.zeros_like(s.motor_noise)
    arriving = wiring.limits.clip(command)
    u = np.zeros_like(command)
    y = np.zeros_like(s.sensory_noise)
    x = np.zeros((s.steps + 1, *s.x0.shape))
    x[0] = s.x0
    bound = LOST_STATE * kernels.plant.typical_state[:, None]
    lost = np.zeros(s.trials, dtype=bool)
    # Controllers may diverge: what overflows is lost.
    with np.errstate(all="ignore"):
        for t in range(s.steps):
            seen = x[max(t - wiring.feedback_delay, 0)]
            y[t] = kernels.observe(seen[None], s.params)[0] + s.sensory_noise[t]
            command[t] = controller.act(y[t])
            if t >= wiring.command_delay:
                arriving[t] = command[t - wiring.command_delay]
            u[t] = arriving[t] * (1.0 + s.motor_gain[t]) + s.motor_noise[t]
            moved = kernels.step(x[t], u[t], s.params) + s.disturbance[t]
            # Asked this way round, NaN is lost too.
            lost |= ~(np.abs(moved) <= bound).all(axis=0)
            x[t + 1] = np.where(lost, x[t], moved)
        losses = s.cost.losses(x, u)
    return Movement(x, u, arriving, y, np.where(lost, np.inf, losses))
