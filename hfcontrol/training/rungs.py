"""Rungs: what a ladder tries one after another, and where it stands.

The ladder itself is in ladder.py.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.counts import NO_COUNTS, Counts
from hfcontrol.training.curriculum import CurriculumOptions
from hfcontrol.training.state import TrainingState


class LadderOptions(CurriculumOptions, Protocol):
    """The settings that a ladder reads."""

    @property
    def trials(self) -> int | None:
        """Number of trials that the user asks for; None for that of the task."""
        ...


@dataclass(frozen=True)
class Rung:
    """A rung: its name, and the options of its curriculum."""

    name: str
    imitate: int = 0
    grow: int = 0
    guide: int = 0
    race: int = 1
    seed: int = 0


# The rung between the others, when a network overfits.
MORE_TRIALS = "more trials"

RUNGS = (
    Rung("imitation of the optimal laws", imitate=32),
    Rung("a growing horizon", grow=12),
    Rung("guidance by good trajectories", guide=32),
    Rung("a race of other initial weights", race=4),
)


def further_rungs(settings: LadderOptions) -> tuple[Rung, ...]:
    """Return the rungs after the first one, which has the curriculum of the settings.

    What the settings ask for is not tried again.
    """
    left = []
    for rung in RUNGS:
        is_new = all(
            getattr(settings, name) == getattr(Rung, name)
            for name in ("imitate", "grow", "guide", "race")
            if getattr(rung, name) != getattr(Rung, name)
        )
        if is_new:
            left.append(replace(rung, seed=settings.seed))
    return tuple(left)


@dataclass(frozen=True)
class LadderState:
    """Where a ladder stands, besides the curriculum or training in progress.

    * `rung` counts from 0, `updates` and `begun` are the updates and counts before it
    * `best` is the state at the end of the best rung so far, `best_cost` the operations
      of that rung
    * a budget is measured from the counts `spent`, when the excess was `excess`
    * `optimal` is the optimal loss of the judged trials, None until it is needed
    * `is_free`: whether the rung is trained to its end, whatever it costs
    * `theta`: the first weights (P,), None for initial ones
    * `climbs`: whether there are rungs after the first one
    * `trials`: as many times the task's trials are trained on, `best_trials` in the
      best rung
    """

    rung: int = 0
    updates: int = 0
    begun: Counts = NO_COUNTS
    best: TrainingState | None = None
    best_cost: float = 0.0
    spent: Counts = NO_COUNTS
    excess: float = np.inf
    optimal: float | None = None
    is_free: bool = False
    theta: Array | None = None
    climbs: bool = False
    trials: int = 1
    best_trials: int = 1

    @property
    def has_climbed(self) -> bool:
        """Whether the first rung is over."""
        return self.rung > 0 or self.trials > 1
