"""Trials learn from each other: one follows the feedback law of another.

A trial for which iLQR has found a good valley has a law, v = v* + K (x - x*), about its
trajectory. Rolled out from the start of another trial, the law often leads that one
into the same valley.
"""

from collections.abc import Iterator

import numpy as np

from hfcontrol.optim.ilqr import (
    DAMPING_START,
    OpenLoop,
    Trajectories,
    backward_pass,
    improve,
    select_entries,
)

# Trials whose feedback laws the others try, and how often they do.
LEADERS = 32
ROUNDS = 5

# Relative difference of losses below which two optima are the same.
SAME = 1e-4


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
