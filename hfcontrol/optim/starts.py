"""Starts: controls from which iLQR looks for the optimum, one function each.

iLQR finds the valley that its start lies in. These starts lie in different ones:

zero_controls     where the plant does most by itself
rolled_out_law    the regulator about the goal, for plants that are unstable without it
noise_about_trim  controls without a plan
grown_horizon     a plan that is made step by step, each from the one before
"""

from collections.abc import Callable

import numpy as np

from hfcontrol.arrays.device import to_device_of
from hfcontrol.arrays.types import Array
from hfcontrol.optim.ilqr import OpenLoop, improve
from hfcontrol.optim.regulator import Rest, regulate_goal

# Noise of the random start, in typical sizes of the controls.
NOISE = 0.3

# Parts in which the horizon grows, and iterations of iLQR at each length. Four parts
# are too coarse: a swing-up needs the plan of the horizon before.
PARTS = 20
GROWING = 15

# What a plan of a part of the horizon need not gain, as a part of its loss: the next
# length changes it by much more.
ENOUGH = 1e-4

# From a problem, its points of rest and a generator to controls v (T, nu, N).
Start = Callable[[OpenLoop, Rest, np.random.Generator], Array]


def zero_controls(system: OpenLoop, rest: Rest, rng: np.random.Generator) -> Array:
    """Return controls of zero."""
    return np.zeros_like(system.scenario.motor_noise)


def rolled_out_law(system: OpenLoop, rest: Rest, rng: np.random.Generator) -> Array:
    """Return the controls of the regulator about the goal, within the limits."""
    law = regulate_goal(system, rest.goal)
    return system.simulate(law.v, law.gains, law.reference).v


def noise_about_trim(system: OpenLoop, rest: Rest, rng: np.random.Generator) -> Array:
    """Return noise about the trim, which moves from that of the start to the goal's."""
    shape = system.scenario.motor_noise.shape
    part = np.linspace(0.0, 1.0, shape[0])[:, None, None]
    part = to_device_of(part, rest.goal.u)
    trim = (1.0 - part) * rest.start.u + part * rest.goal.u

    typical = np.asarray(system.kernels.plant.typical_control)[:, None]
    noise = NOISE * typical * rng.standard_normal(shape)
    return system.wiring.limits.clip(trim + to_device_of(noise, trim))


def grown_horizon(system: OpenLoop, rest: Rest, rng: np.random.Generator) -> Array:
    """Return the controls of a horizon that grows in `PARTS` equal parts.

    iLQR improves them at each length. The controls of a new part begin as the trim of
    the goal. What the last state alone costs counts at the full length only.
    """
    steps = system.scenario.steps
    delay = system.wiring.command_delay
    v = np.repeat(rest.goal.u[None], steps, axis=0)
    v[:delay] = 0.0
    lengths = np.ceil(np.arange(1, PARTS + 1) / PARTS * steps).astype(int)
    for length in np.unique(lengths):
        # before the delay is over there is nothing to choose
        if length > delay:
            short = system.shorten(int(length))
            v[:length] = improve(short, v[:length].copy(), GROWING, ENOUGH).v
    return v
