"""The yardstick: the best open-loop controls that can be found for every trial.

1. A few pilots, evenly spaced trials, try every start of starts.py.
2. If one start alone finds the best for every pilot, all trials use that start.
3. Trials share their laws. If a law serves another trial better than its own optimum,
   or if the pilots need several starts, the trials disagree: there are several valleys.
4. Then explorers try the starts that plan ahead and share their laws with the pilots,
   and all trials follow the laws of both. Few trials get companions, so that what is
   found for a trial hardly depends on how many there are.
5. The commands of a controller are one more start, if they are given.

iLQR is local, so even the best need not be the global optimum.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from hfcontrol.arrays.device import to_device, to_device_of, to_host
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.wiring import Wiring
from hfcontrol.kernels.base import Kernels
from hfcontrol.optim.ilqr import OpenLoop, Trajectories, improve, join_trials
from hfcontrol.optim.regulator import Rest, find_rest
from hfcontrol.optim.sharing import SAME, share_laws, take_better_laws
from hfcontrol.optim.starts import (
    Start,
    grown_horizon,
    noise_about_trim,
    rolled_out_law,
    zero_controls,
)
from hfcontrol.tasks.scenario import (
    Scenario,
    is_same_scenario,
    mix_trials,
    move_scenario,
)

# All starts; the first that suffices is used for all trials.
STARTS: tuple[Start, ...] = (
    zero_controls,
    rolled_out_law,
    noise_about_trim,
    grown_horizon,
)

# Those that explorers try: the others help a few trials, whose laws they follow.
PLANS: tuple[Start, ...] = (rolled_out_law, grown_horizon)

# Most iterations of iLQR before trials learn from each other.
EXPLORING = 50

# Trials that try all starts at first, and trials that try plans if the first disagree.
PILOTS = 16
EXPLORERS = 64

# Scenarios whose optima are remembered: those of training, validation and judging.
REMEMBERED = 4


@dataclass(frozen=True)
class Optimum:
    """The best trajectories found.

    Loss of every trial (N,), states x (T+1, nx, N) and controls u (T, nu, N).
    """

    losses: Array
    x: Array
    u: Array


class Pilots(NamedTuple):
    """What was found for the trials of a scenario that try every start.

    Their best trajectories, and the first start that alone finds the best for each of
    them, None if they need several.
    """

    scenario: Scenario
    best: Trajectories
    start: Start | None


def optimum(
    kernels: Kernels,
    scenario: Scenario,
    wiring: Wiring,
    controls: Array | None = None,
    pilots: Pilots | None = None,
) -> Optimum:
    """Return the best of iLQR from several starts and of the laws of other trials.

    A controller's controls as they arrive (T, nu, N) are one more start: the optimum is
    not worse than the controller. If there is noise, the losses are a bound that no
    controller attains: the optimum knows the noise in advance. `pilots` of the same
    plant and wiring save the search for them; those of another scenario are ignored.
    """
    scenario, wiring = to_kernels(kernels, scenario, wiring)
    system = OpenLoop(kernels, scenario, wiring)
    # trajectories may diverge: their losses are infinite then
    with np.errstate(all="ignore"):
        found = find_best(system, pilots)
        if controls is not None:
            arriving = to_device_of(controls, scenario.x0)
            found = _try_controls(system, arriving, found)
    return Optimum(found.losses, to_host(found.x), to_host(found.u))


class Optima:
    """Mean optimal losses of the scenarios of closed loops, each found once.

    `pilots` of the same plant save a part of the search, see `optimum`.
    """

    def __init__(self, kernels: Kernels, pilots: Pilots | None = None) -> None:
        self.kernels = kernels
        self.pilots = pilots
        self._known: list[tuple[Scenario, Trajectories]] = []

    def __call__(self, loop: Any, rollout: Any = None) -> float:
        """Return the mean optimal loss of a loop's scenario.

        The commands of a rollout are one more start. The plant is not tapered, as in an
        evaluation.
        """
        no_taper = np.full_like(loop.wiring.taper, np.inf)
        wiring = replace(loop.wiring, taper=no_taper)
        system = OpenLoop(
            self.kernels, *to_kernels(self.kernels, loop.scenario, wiring)
        )
        # trajectories may diverge: their losses are infinite then
        with np.errstate(all="ignore"):
            found = self._find(system)
            if rollout is not None:
                command = loop.whole(rollout).command
                command = to_device_of(command, system.scenario.x0)
                arriving = system.wiring.arriving_controls(command)
                found = _try_controls(system, arriving, found)
        return float(np.mean(found.losses))

    def _find(self, system: OpenLoop) -> Trajectories:
        """Return the optima of a system, from memory if they are known."""
        if self.kernels.device != "cpu":
            return find_best(system)
        for scenario, known in self._known:
            if is_same_scenario(scenario, system.scenario):
                return known
        found = find_best(system, self.pilots)
        self._known = [*self._known, (system.scenario, found)][-REMEMBERED:]
        return found


def to_kernels(
    kernels: Kernels, scenario: Scenario, wiring: Wiring
) -> tuple[Scenario, Wiring]:
    """Return scenario and wiring on the device of the kernels."""
    if kernels.device == "cpu":
        return scenario, wiring
    return move_scenario(scenario, to_device, kernels), wiring.move(to_device)


def select_evenly(trials: int, most: int) -> Array:
    """Return the indices of at most so many evenly spaced trials."""
    count = min(trials, most)
    return np.linspace(0, trials - 1, count).astype(int)


def find_pilots(system: OpenLoop) -> Pilots:
    """Return what all starts find for `PILOTS` trials of a system, at most."""
    pilots = system.subset(select_evenly(system.scenario.trials, PILOTS))
    tried = try_starts(pilots, STARTS)
    best = share_laws(pilots, best_of(tried))
    return Pilots(pilots.scenario, best, _first_sufficient(tried, best))


def find_best(system: OpenLoop, pilots: Pilots | None = None) -> Trajectories:
    """Return the best trajectories from all starts."""
    trials = select_evenly(system.scenario.trials, PILOTS)
    scenario = system.subset(trials).scenario
    if pilots is None or not is_same_scenario(pilots.scenario, scenario):
        pilots = find_pilots(system)

    best, start = pilots.best, pilots.start
    if start is not None:
        found = best.copy()
        if len(trials) < system.scenario.trials:
            found = best_of(try_starts(system, [start]))
            found.put(trials, best)
        if not _disagree(system, found):
            return _converge(system, found)
    return _explore(system, trials, best)


def try_starts(system: OpenLoop, starts: Sequence[Start]) -> list[Trajectories]:
    """Return what iLQR makes of every start, in one batch."""
    rest = find_rest(system)
    v = [_controls(system, rest, start) for start in starts]
    trials = system.scenario.trials
    repeated = system.subset(np.tile(np.arange(trials), len(v)))
    found = improve(repeated, np.concatenate(v, axis=2), EXPLORING)
    columns = np.arange(len(v) * trials).reshape(len(v), trials)
    return [found.select(of_start) for of_start in columns]


def best_of(tried: list[Trajectories]) -> Trajectories:
    """Return the best trajectories of every trial."""
    best = tried[0].copy()
    for found in tried[1:]:
        better = np.flatnonzero(found.losses < best.losses)
        best.put(better, found.select(better))
    return best


def _controls(system: OpenLoop, rest: Rest, start: Start) -> Array:
    """Return the controls v (T, nu, N) of a start."""
    # a generator for each start, so that it does not depend on the others
    v = start(system, rest, np.random.default_rng(0))
    v[: system.wiring.command_delay] = 0.0
    return v


def _first_sufficient(tried: list[Trajectories], best: Trajectories) -> Start | None:
    """Return the first start that finds the best for every trial, or None."""
    for start, found in zip(STARTS, tried, strict=True):
        if (found.losses <= (1 + SAME) * best.losses).all():
            return start
    return None


def _disagree(system: OpenLoop, found: Trajectories) -> bool:
    """Return whether a trial's law serves another one better than its own; share it."""
    before = found.losses.copy()
    share_laws(system, found)
    return bool((found.losses < before * (1 - SAME)).any())


def _converge(system: OpenLoop, found: Trajectories) -> Trajectories:
    """Return the trajectories after all iterations of iLQR and shared laws.

    The laws of those found are shared already: they are not shared again unless they
    change.
    """
    converged = improve(system, found.v)
    if not (converged.losses < found.losses * (1 - SAME)).any():
        return converged
    return share_laws(system, converged)


def _explore(system: OpenLoop, pilots: Array, best: Trajectories) -> Trajectories:
    """Return the best trajectories of trials that lie in several valleys.

    `pilots` are the indices of trials, and `best` the trajectories found for them.
    """
    trials = system.scenario.trials
    others = np.setdiff1d(select_evenly(trials, EXPLORERS), pilots)
    chosen = np.concatenate([pilots, others])
    explorers = _with_companions(system.subset(chosen))
    if explorers.scenario.trials > len(pilots):
        later = np.arange(len(pilots), explorers.scenario.trials)
        found = best_of(try_starts(explorers.subset(later), PLANS))
        best = join_trials([best, found])
    best = _converge(explorers, share_laws(explorers, best))

    own = best.select(np.arange(len(chosen)))
    found = system.simulate(np.zeros_like(system.scenario.motor_noise))
    found.put(chosen, own)
    if len(chosen) == trials:
        return found
    take_better_laws(system, explorers, best, found)
    found = improve(system, found.v, EXPLORING)
    found.put(chosen, own)
    share_laws(system, found)
    return _converge(system, found)


def _with_companions(system: OpenLoop) -> OpenLoop:
    """Return a system with at least `EXPLORERS` trials.

    The new ones are mixtures of the others: they lie between them.
    """
    scenario = system.scenario
    missing = EXPLORERS - scenario.trials
    # a single trial has none to be mixed with
    if missing <= 0 or scenario.trials == 1:
        return system
    mixed = mix_trials(scenario, missing, np.random.default_rng(0))
    return OpenLoop(system.kernels, mixed, system.wiring)


def _try_controls(system: OpenLoop, v: Array, found: Trajectories) -> Trajectories:
    """Return the better of what was found and what iLQR makes of other controls."""
    v[: system.wiring.command_delay] = 0.0
    tried = improve(system, v)
    best = best_of([found, tried])
    if (best.losses < found.losses * (1 - SAME)).any():
        share_laws(system, best)
    return best
