"""Families of good trajectories that resemble each other, for a network to follow."""

import numpy as np

from hfcontrol.arrays.device import to_host
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.wiring import Wiring
from hfcontrol.kernels.base import Kernels
from hfcontrol.optim.ilqr import OpenLoop, Trajectories, improve
from hfcontrol.optim.sharing import follow_laws, share_laws, take_better_laws
from hfcontrol.optim.yardstick import (
    EXPLORING,
    Optimum,
    find_best,
    select_evenly,
    to_kernels,
)
from hfcontrol.tasks.scenario import Scenario

# Trials of which one leads a family.
FAMILY_LEADERS = 16

# Cap on a loss in units of the median when a law is chosen to lead a family: a few
# trials that it does not serve shall not decide.
FAR = 3.0

# A trial leaves its family if its own trajectory is better by more than this factor.
MUCH = 1.5


def family(kernels: Kernels, scenario: Scenario, wiring: Wiring) -> Optimum:
    """Return good trajectories of all trials that resemble each other.

    A few trials are optimised. All trials follow the feedback law of that one of them
    whose law serves the others best; they are improved from there and learn from each
    other. A trial for which iLQR from zero gives something much better keeps that.

    Nearby starts may have optima of quite different kinds, such as a swing-up to the
    left or to the right. These are the yardstick, but no controller whose commands
    change continuously with the state can follow them.
    """
    scenario, wiring = to_kernels(kernels, scenario, wiring)
    system = OpenLoop(kernels, scenario, wiring)
    leaders = system.subset(select_evenly(scenario.trials, FAMILY_LEADERS))
    typical = np.array(kernels.plant.typical_state)[:, None]

    # trajectories may diverge: their losses are infinite then
    with np.errstate(all="ignore"):
        found = find_best(leaders)
        zero = np.zeros_like(scenario.motor_noise)
        own = improve(system, zero, EXPLORING)

        most = FAR * np.median(found.losses)
        followed = min(
            follow_laws(system, leaders, found),
            key=lambda trajectories: np.minimum(trajectories.losses, most).sum(),
            default=own,
        )
        alike = improve(system, followed.v, EXPLORING)
        _bring_strays_back(system, alike, typical)
        share_laws(system, alike)

    # not `>`: a loss that is not a number leaves the family too
    leaving = np.flatnonzero(~(alike.losses <= MUCH * own.losses))
    alike.put(leaving, own.select(leaving))
    return Optimum(alike.losses, to_host(alike.x), to_host(alike.u))


def _bring_strays_back(system: OpenLoop, found: Trajectories, typical: Array) -> None:
    """Make trials that end elsewhere than most follow the laws of the others, in place.

    A trial strays if its final error differs from the median by more than a typical
    size (nx, 1). It follows a law of another trial where that serves about as well.
    """
    goal = np.nan_to_num(to_host(system.scenario.goal[-1]))
    error = to_host(found.x[-1]) - goal
    distance = np.abs(error - np.median(error, axis=1, keepdims=True))
    stray = ~(distance < typical).all(axis=0)
    if not stray.any() or stray.all():
        return

    inside = np.flatnonzero(~stray)
    outside = np.flatnonzero(stray)
    own = found.select(outside)
    # handicapped, so that a law that is slightly worse is taken
    own = own._replace(losses=MUCH * own.losses)
    taken = take_better_laws(
        system.subset(outside), system.subset(inside), found.select(inside), own
    )
    improved = improve(system.subset(outside), taken.v, EXPLORING)
    found.put(outside, improved)
