"""Diagnosis: what a problem looks like before it is trained.

The optima of a few training trials show where a good controller will be: the typical
value and size of every signal, how much the controls saturate, and how fast a
perturbation grows. The plant's own derivatives show modes that its integrator cannot
follow. Training is conditioned by these numbers (conditioning.py), and the laws of the
optima are where it can start (laws.py).
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.device import to_host
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.loop import ClosedLoop
from hfcontrol.closed_loop.wiring import Wiring
from hfcontrol.kernels.base import Kernels
from hfcontrol.network.input_scaling import Typical
from hfcontrol.optim.ilqr import (
    OpenLoop,
    Trajectories,
    find_laws,
)
from hfcontrol.optim.regulator import Rest, find_rest
from hfcontrol.optim.yardstick import Pilots, find_pilots
from hfcontrol.plant.contract import Plant
from hfcontrol.tasks.scenario import Scenario, without_chance

# A size is at least this part of the largest distance from the mean ...
PEAK_PART = 1 / 3

# ... and that of a limited control at least this part of its limit. Where the optimum
# keeps a control at its limit, the spread alone would leave the network no room.
LIMIT_PART = 0.3

# Signals that vary by less than this part of their largest value are constant.
CONSTANT = 1e-9


class Sizes(NamedTuple):
    """Typical values and sizes of states, controls, commands, targets, observations."""

    states: Typical
    controls: Typical
    commands: Typical
    targets: Typical
    observations: Typical

    @property
    def inputs(self) -> Typical:
        """Those of the network's inputs: the targets, then the observations."""
        pairs = zip(self.targets, self.observations, strict=True)
        return Typical(*(np.concatenate(pair) for pair in pairs))


@dataclass(frozen=True)
class Diagnosis:
    """What was found out about a problem.

    * `system`: the open loop of a few trials, the pilots of the yardstick, without
      chance
    * `pilots`: what the yardstick found for them, and `gains` (T, N, nu, nx) of the
      laws about their best trajectories
    * `rest`: the trim at their starts and goals
    * `sizes`: the typical sizes of all signals along the optima
    * `growth`: largest factor by which a perturbation of typical size grows over the
      horizon, without feedback
    * `saturated`: fraction of the optimal controls at a limit
    """

    system: OpenLoop
    pilots: Pilots
    gains: Array
    rest: Rest
    sizes: Sizes
    growth: float
    saturated: float

    @property
    def optima(self) -> Trajectories:
        """The best trajectories of the sampled trials."""
        return self.pilots.best

    @property
    def loss(self) -> float:
        """Mean optimal loss of the sampled trials; infinite if there is none."""
        return float(np.mean(self.optima.losses))


def diagnose(loop: ClosedLoop) -> Diagnosis:
    """Return the diagnosis of a closed loop, from its plant, scenario and wiring.

    The plant is not tapered, as in an evaluation, which can use the pilots again.
    """
    kernels = loop.kernels
    no_taper = np.full_like(loop.wiring.taper, np.inf)
    wiring = replace(loop.wiring, taper=no_taper)
    whole = OpenLoop(kernels, without_chance(loop.scenario), wiring)
    # trajectories may diverge: their numbers are not finite then
    with np.errstate(all="ignore"):
        pilots = find_pilots(whole)
        optima, scenario = pilots.best, pilots.scenario
        system = OpenLoop(kernels, scenario, wiring)
        gains = find_laws(system, optima.x, optima.v, optima.u)[1]
        sizes = measure_sizes(loop.plant, kernels, scenario, wiring, optima)
        system = OpenLoop(kernels, scenario, _softened(wiring, sizes.controls))
        growth = _largest_growth(system, optima, sizes.states.size)
    return Diagnosis(
        system,
        pilots,
        gains,
        find_rest(system),
        sizes,
        growth,
        float(np.mean(to_host(wiring.limits.is_saturated(optima.v)))),
    )


def measure_sizes(
    plant: Plant,
    kernels: Kernels,
    scenario: Scenario,
    wiring: Wiring,
    optima: Trajectories,
) -> Sizes:
    """Return the typical values and sizes of all signals along the optima.

    A signal that is constant there has the size that the plant file gives, or one.
    Trials without a finite optimum do not count.
    """
    found = np.flatnonzero(np.isfinite(optima.losses))
    if not found.size:
        # nothing is known: the sizes of the plant file are all there is
        zero = np.zeros
        targets = scenario.target.shape[1]
        state = Typical(zero(plant.nx), np.array(plant.typical_state, dtype=float))
        control = Typical(zero(plant.nu), np.array(plant.typical_control, dtype=float))
        return Sizes(
            state,
            control,
            control,
            Typical(zero(targets), np.ones(targets)),
            Typical(zero(plant.ny), np.ones(plant.ny)),
        )

    best = optima.select(found)
    params = scenario.params[:, found]
    seen = kernels.observe(best.x[:-1], params)
    limits = wiring.limits
    limited = np.where(limits.has_range, LIMIT_PART * limits.width, 0.0)
    controls = typical(best.v, plant.typical_control, limited)
    commands = _softened(wiring, controls).limits.commands_of(best.v)
    return Sizes(
        typical(best.x, plant.typical_state),
        controls,
        typical(commands, plant.typical_control, limited),
        typical(scenario.target[:, :, found], 1.0),
        typical(seen, 1.0),
    )


def typical(
    signals: Array, of_constants: Array | float, least: Array | float = 0.0
) -> Typical:
    """Return the typical values and sizes (n,) of signals (T, n, N).

    A size is the larger of the rms and a third of the largest distance from the mean,
    and at least `least`. Constant signals have the size `of_constants`.
    """
    values = to_host(signals)
    mean = values.mean(axis=(0, 2))
    distance = np.abs(values - mean[:, None])
    peak = distance.max(axis=(0, 2))
    rms = np.sqrt((distance**2).mean(axis=(0, 2)))
    size = np.maximum(np.maximum(rms, PEAK_PART * peak), least)
    is_constant = size <= CONSTANT * np.abs(values).max(axis=(0, 2))
    return Typical(mean, np.where(is_constant, of_constants, size))


def _largest_growth(system: OpenLoop, optima: Trajectories, size: Array) -> float:
    """Return the largest growth along the optima; blocks of trials save memory."""
    growths = []
    for block in system.blocks():
        part, best = system.subset(block), optima.select(block)
        params, taper = part.scenario.params, part.wiring.taper
        A, _ = part.kernels.jacobians_along(best.x, best.u, params, taper)
        growths.append(_growth(A.transpose(0, 3, 1, 2), size))
    return max(growths)


def _growth(A: Array, size: Array) -> float:
    """Return the largest growth of a perturbation over the horizon.

    A (T, N, nx, nx) are the plant's Jacobians along trajectories, `size` (nx,) is the
    typical size of the states, in which perturbations are measured.
    """
    total = np.broadcast_to(np.eye(len(size)), A.shape[1:])
    logarithm = 0.0
    for A_t in to_host(A):
        total = (A_t / size[:, None] * size) @ total
        # the factor goes into the logarithm, before it overflows
        largest = np.abs(total).max()
        if not 0 < largest < np.inf:
            return float(largest)
        total = total / largest
        logarithm += np.log(largest)
    return float(np.exp(min(logarithm, 700.0)))


def _softened(wiring: Wiring, controls: Typical) -> Wiring:
    """Return the wiring of a problem in typical sizes: its limits bend by them."""
    limits = replace(wiring.limits, softness=controls.size)
    return replace(wiring, limits=limits)
