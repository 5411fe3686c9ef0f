"""The yardstick: the best open-loop controls that can be found for every trial.

iLQR runs from several starts, and trials try each other's feedback laws. The best is
kept; iLQR is local, so even that need not be the global optimum.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hfcontrol.arrays.device import to_device, to_device_of, to_host
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.wiring import Wiring
from hfcontrol.kernels.base import Kernels
from hfcontrol.optim.ilqr import (
    DAMPING_START,
    OpenLoop,
    Trajectories,
    backward_pass,
    improve,
    select_entries,
)
from hfcontrol.plant.contract import Plant
from hfcontrol.tasks.scenario import Scenario, move_scenario

# Most iterations of iLQR before trials learn from each other.
EXPLORING = 50

# Noise of the random start, in typical sizes of the controls.
NOISE = 0.3

# Most trials at a time, for the memory that they take.
TOGETHER = 4096

# Trials whose feedback laws the others try, and how often they do.
LEADERS = 32
ROUNDS = 5

# Relative difference of losses below which two optima are the same.
SAME = 1e-4

# Trials of which one leads a family.
FAMILY_LEADERS = 16

# Cap on a loss in units of the median when a law is chosen to lead a family: a few
# trials that it does not serve shall not decide.
FAR = 3.0

# A trial leaves its family if its own trajectory is better by more than this factor.
MUCH = 1.5


@dataclass(frozen=True)
class Optimum:
    """The best trajectories found.

    Loss of every trial (N,), states x (T+1, nx, N) and controls u (T, nu, N).
    """

    losses: Array
    x: Array
    u: Array


def follow_laws(
    system: OpenLoop, leaders: OpenLoop, found: Trajectories
) -> Iterator[Trajectories]:
    """Yield what the trials of a system make of each leader's feedback law.

    The law of a leader, v = v_leader + K_leader (x - x_leader), belongs to the
    trajectory found for it.
    """
    trials = system.scenario.trials
    evenly = np.linspace(0, found.losses.size - 1, LEADERS).astype(int)
    for leader in np.unique(evenly):
        if np.isfinite(found.losses[leader]):
            alone = found.select(np.array([leader]))
            expansion = leaders.subset([leader]).expand(alone.x, alone.v, alone.u)
            _, K = backward_pass(expansion, np.full(1, DAMPING_START))
            yield system.simulate(
                np.repeat(alone.v, trials, axis=2),
                np.repeat(K, trials, axis=1),
                np.repeat(alone.x, trials, axis=2),
            )


def take_better_laws(
    system: OpenLoop, leaders: OpenLoop, found: Trajectories, own: Trajectories
) -> Trajectories:
    """Replace a system's own trajectories, in place, by those of better laws.

    The laws are those of the trajectories found for the leaders.
    """
    for followed in follow_laws(system, leaders, found):
        trials = np.flatnonzero(followed.losses < own.losses)
        own.put(trials, followed.select(trials))
    return own


def share_laws(system: OpenLoop, found: Trajectories) -> Trajectories:
    """Let trials learn from each other, in place.

    A trial takes over what another one's law does better and improves it, as long as
    there is any.
    """
    for _ in range(ROUNDS):
        # a copy: all laws are those of the trajectories before this round
        better = take_better_laws(system, system, found, found.copy())
        trials = np.flatnonzero(better.losses < found.losses * (1 - SAME))
        if not trials.size:
            break
        start = select_entries(better.v, trials)
        found.put(trials, improve(system.subset(trials), start))
    return found


def optimum(
    kernels: Kernels,
    plant: Plant,
    scenario: Scenario,
    wiring: Wiring,
    commands: Array | None = None,
    rng: np.random.Generator | None = None,
) -> Optimum:
    """Return the best of iLQR from several starts and of the laws of other trials.

    The starts are zero, noise, and a controller's commands as they arrive (T, nu, N),
    if given. If there is noise, the losses are a bound that no controller attains: the
    optimum knows the noise in advance.
    """
    scenario, wiring = _to_kernels(kernels, scenario, wiring)
    starts = _starts(plant, scenario, rng)
    # the optimum shall not be worse than the controller that it is compared with
    if commands is not None:
        starts.append(wiring.apply_limit(to_device_of(commands, scenario.x0)))

    system = OpenLoop(kernels, scenario, wiring)
    blocks = -(-scenario.trials // TOGETHER)
    parts = []
    for trials in np.array_split(np.arange(scenario.trials), blocks):
        of_block = [select_entries(v, trials) for v in starts]
        parts.append(_best(system.subset(trials), of_block))

    joined = (np.concatenate(arrays, axis=-1) for arrays in zip(*parts, strict=True))
    x, _, u, losses = joined
    return Optimum(losses, to_host(x), to_host(u))


def _to_kernels(
    kernels: Kernels, scenario: Scenario, wiring: Wiring
) -> tuple[Scenario, Wiring]:
    """Return scenario and wiring on the device of the kernels."""
    if kernels.device == "cpu":
        return scenario, wiring
    return move_scenario(scenario, to_device, kernels), wiring.move(to_device)


def _starts(
    plant: Plant, scenario: Scenario, rng: np.random.Generator | None = None
) -> list[Array]:
    """Return controls (T, nu, N) from which iLQR starts: zero and noise."""
    shape = (scenario.steps, plant.nu, scenario.trials)
    if rng is None:
        rng = np.random.default_rng(0)
    size = NOISE * np.asarray(plant.typical_control)[:, None]
    starts = (np.zeros(shape), size * rng.standard_normal(shape))
    return [to_device_of(v, scenario.x0) for v in starts]


def _best(system: OpenLoop, starts: list[Array]) -> Trajectories:
    """Return the best trajectories of iLQR from several starts v (T, nu, N)."""
    trials = starts[0].shape[2]
    v = np.concatenate(starts, axis=2)
    v[: system.wiring.command_delay] = 0.0

    # trajectories may diverge: their losses are infinite then
    with np.errstate(all="ignore"):
        repeated = system.subset(np.tile(np.arange(trials), len(starts)))
        found = improve(repeated, v, EXPLORING)
        by_start = found.losses.reshape(len(starts), trials)
        chosen = by_start.argmin(axis=0) * trials + np.arange(trials)
        shared = share_laws(system, found.select(chosen))
        return share_laws(system, improve(system, shared.v))


def family(
    kernels: Kernels, plant: Plant, scenario: Scenario, wiring: Wiring
) -> Optimum:
    """Return good trajectories of all trials that resemble each other.

    A few trials are optimised. All trials follow the feedback law of that one of them
    whose law serves the others best; they are improved from there and learn from each
    other. A trial for which iLQR from zero gives something much better keeps that.

    Nearby starts may have optima of quite different kinds, such as a swing-up to the
    left or to the right. These are the yardstick, but no controller whose commands
    change continuously with the state can follow them.
    """
    scenario, wiring = _to_kernels(kernels, scenario, wiring)
    system = OpenLoop(kernels, scenario, wiring)
    count = min(FAMILY_LEADERS, scenario.trials)
    evenly = np.linspace(0, scenario.trials - 1, count).astype(int)
    leaders = system.subset(evenly)
    found = _best(leaders, _starts(plant, leaders.scenario))

    # trajectories may diverge: their losses are infinite then
    with np.errstate(all="ignore"):
        shape = (scenario.steps, plant.nu, scenario.trials)
        zero = np.zeros_like(scenario.x0, shape=shape)
        own = improve(system, zero, EXPLORING)

        most = FAR * np.median(found.losses)
        followed = min(
            follow_laws(system, leaders, found),
            key=lambda trajectories: np.minimum(trajectories.losses, most).sum(),
            default=own,
        )
        alike = improve(system, followed.v, EXPLORING)
        _bring_strays_back(system, alike, np.array(plant.typical_state)[:, None])
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
